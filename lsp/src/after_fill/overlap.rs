//! What a fill repeats: of the line left of the hole, of the line right of it, and of the lines below.

use super::brackets::is_closer;
use super::tail::is_word;

/// Whether `fill` is the next line or lines of `after`, whole. A mere prefix of the line is no repetition: a bracket
/// before a bracket is often meant.
pub(super) fn repeats_all(fill: &str, after: &str) -> bool {
    let rest = after.strip_prefix(fill.trim_end_matches('\n'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('\n'))
}

/// `fill` without the text of `line` (left of the hole), if it begins with that; at least two words, or it may be meant.
pub(super) fn without_line_start<'a>(fill: &'a str, line: &str) -> Option<&'a str> {
    let typed = line.trim();
    if typed.split_whitespace().count() < 2 || !typed.contains(is_word) {
        return None;
    }
    let rest = fill.trim_start().strip_prefix(typed)?;
    // A blank that stands left of the hole is not written again.
    Some(if line.ends_with([' ', '\t']) { rest.trim_start_matches([' ', '\t']) } else { rest })
}

/// Bytes of `rest` (right of the hole, up to the line's end) that the end of `fill`'s last line has already.
///
/// Closers alone do not count: whether they are repeated or meant is for the balance to say.
pub(super) fn repeated_rest(fill: &str, rest: &str) -> Option<usize> {
    let fill = fill.trim_end();
    let line = fill.rsplit('\n').next()?;
    let rest = rest.trim_end();
    let mut lengths: Vec<usize> = rest.char_indices().map(|(at, _)| at).skip(1).collect();
    lengths.push(rest.len());
    lengths.into_iter().rev().find(|&length| {
        let part = &rest[..length];
        let n_telling = part.trim().chars().filter(|char| !is_closer(*char)).count();
        line.ends_with(part)
            && n_telling >= 2
            && part.contains(is_word)
            && is_border(line, line.len() - length)
            && is_border(rest, length)
    })
}

/// Whether `at` does not cut a word of `text` in two.
fn is_border(text: &str, at: usize) -> bool {
    let ends = text[..at].chars().next_back().is_some_and(is_word);
    let begins = text[at..].chars().next().is_some_and(is_word);
    !(ends && begins)
}

/// Start of the lines of `fill` that stand below the hole already; `below` begins with the line after the hole's.
///
/// The last lines of the fill are the next ones of the file (the very last one may be cut off), or some lines of it
/// are and it goes on differently. The hole's own line is never meant. Lines without a word do not count.
pub(super) fn repeated_lines(fill: &str, below: &str) -> Option<usize> {
    let next: Vec<&str> =
        below.lines().map(str::trim).filter(|line| !line.is_empty()).take(32).collect();
    let lines: Vec<(usize, &str)> = line_starts(fill)
        .map(|(at, line)| (at, line.trim()))
        .filter(|(_, line)| !line.is_empty())
        .collect();
    let first = lines.iter().position(|(at, _)| *at > 0)?;
    (first..lines.len()).find_map(|from| {
        let tail = &lines[from..];
        let n_same = tail.iter().zip(&next).take_while(|((_, own), other)| own == *other).count();
        let words: usize = tail[..n_same].iter().map(|(_, line)| n_words(line)).sum();
        let is_all = n_same == tail.len();
        let is_all_but_half = n_same + 1 == tail.len()
            && next.get(n_same).is_some_and(|other| {
                let half = tail[n_same].1;
                half.len() >= 4 && other.starts_with(half)
            });
        let repeats = is_all && words >= 1 || is_all_but_half || n_same >= 2 && words >= 2;
        repeats.then_some(tail[0].0)
    })
}

/// Start of the last lines of `fill` that hold closers alone and stand below the hole already, as far in.
pub(super) fn repeated_closing_lines(fill: &str, below: &str, words: &[&str]) -> Option<usize> {
    let next: Vec<&str> = below.lines().filter(|line| !line.trim().is_empty()).take(8).collect();
    let lines: Vec<(usize, &str)> =
        line_starts(fill).filter(|(_, line)| !line.trim().is_empty()).collect();
    let first = lines.iter().position(|(at, _)| *at > 0)?;
    let is_closing = |line: &str| {
        words.contains(&line.trim())
            || !line.trim().is_empty()
                && line.trim().chars().all(|char| is_closer(char) || ";,".contains(char))
    };
    (first..lines.len()).find_map(|from| {
        let tail = &lines[from..];
        let is_same = tail.len() <= next.len()
            && tail.iter().zip(&next).all(|((_, own), other)| own.trim_end() == other.trim_end());
        (is_same && tail.iter().all(|(_, line)| is_closing(line))).then_some(tail[0].0)
    })
}

/// Every line of `text` with the place where it begins.
fn line_starts(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len() + 1;
        Some((start, line))
    })
}

fn n_words(line: &str) -> usize {
    line.split(|char: char| !is_word(char))
        .filter(|word| word.chars().any(char::is_alphabetic))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_that_stand_there_already_are_a_repetition() {
        for (fill, after, expected) in [
            ("b + c", "b + c\n}\n", true),
            ("b + c\n", "b + c\n}\n", true),
            ("b + c\n}", "b + c\n}", true),
            ("\n", "\n}\n", true),
            ("b", "b + c\n}\n", false),
            (")", "))\n", false),
            ("b + c\n    d", "b + c\n}\n", false),
            ("x", "", false),
        ] {
            assert_eq!(repeats_all(fill, after), expected, "{fill:?} before {after:?}");
        }
    }

    #[test]
    fn the_line_so_far_is_not_written_again() {
        assert_eq!(without_line_start("let x = 5;", "    let x = "), Some("5;"));
        assert_eq!(without_line_start("    let x = 5;", "    let x ="), Some(" 5;"));
        assert_eq!(without_line_start("f(f(a))", "f("), None);
        assert_eq!(without_line_start("5;", "let x = "), None);
    }

    #[test]
    fn the_rest_of_the_line_is_found_at_whole_words() {
        assert_eq!(repeated_rest("a + b);", " + b);"), Some(6));
        assert_eq!(repeated_rest("a + b", " + b);"), Some(4));
        assert_eq!(repeated_rest("the_fill", "fill)"), None);
        assert_eq!(repeated_rest("a)", "))"), None);
        assert_eq!(repeated_rest("x = a", "apple"), None);
    }

    #[test]
    fn lines_below_are_found() {
        assert_eq!(repeated_lines("a();\n    b();\n}", "    b();\n}\n"), Some(5));
        assert_eq!(repeated_lines("a();\n    b", "    b();\n}\n"), None);
        assert_eq!(repeated_lines("a();\n    b = 1", "    b = 12;\n}\n"), Some(5));
        assert_eq!(repeated_lines("a();\n}\n\nfn c() {\n  d", "}\n\nfn c() {\n e\n}"), Some(5));
        assert_eq!(repeated_lines("a();\n}", "}\n"), None);
        assert_eq!(repeated_lines("b();", "b();\n}\n"), None, "the hole's own line");
        assert_eq!(repeated_closing_lines("a();\n}", "}\n", &[]), Some(5));
        assert_eq!(repeated_closing_lines("a();\n  }", "}\n", &[]), None);
        assert_eq!(repeated_closing_lines("a\nend", "end\n", &["end"]), Some(2));
    }
}
