//! Brackets: those that a fill leaves open or closes once too often, seen against the text after it.

use std::ops::Range;

use tree_sitter::{Node, Tree};

/// One bracket of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bracket {
    /// Byte of the text.
    pub(super) at: usize,
    /// Whether it opens.
    is_open: bool,
    /// The bracket that closes the pair.
    pub(super) closer: char,
}

/// How brackets go together around and in a fill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Balance {
    /// Brackets of the whole text without a partner.
    pub(super) n_lonely: usize,
    /// Those that the fill opens and does not close, the outermost first.
    pub(super) open_in_fill: Vec<Bracket>,
}

fn bracket(at: usize, char: char) -> Option<Bracket> {
    let (is_open, closer) = match char {
        '(' => (true, ')'),
        '[' => (true, ']'),
        '{' => (true, '}'),
        ')' | ']' | '}' => (false, char),
        _ => return None,
    };
    Some(Bracket { at, is_open, closer })
}

/// Whether `char` closes a pair.
pub(super) fn is_closer(char: char) -> bool {
    matches!(char, ')' | ']' | '}')
}

/// The line of `text` in which its last statement begins: where the brackets were opened that its last line closes.
/// `brackets` are those of `text` and of what follows it.
pub(super) fn statement_line<'a>(text: &'a str, brackets: &[Bracket]) -> &'a str {
    let line_start = |at: usize| text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let last = line_start(text.len());
    let (mut start, mut depth) = (last, 0_usize);
    for bracket in brackets.iter().rev().skip_while(|bracket| bracket.at >= text.len()) {
        if bracket.at < start && depth == 0 {
            break;
        }
        start = start.min(line_start(bracket.at));
        depth = if bracket.is_open { depth.saturating_sub(1) } else { depth + 1 };
    }
    // One that nothing has opened says nothing of where a statement begins.
    let start = if depth == 0 { start } else { last };
    text[start..].split('\n').next().unwrap_or_default()
}

/// Whether the last bracket of `before` that is open is a round or a square one: lines within are indented as one likes.
pub(super) fn goes_on(before: &[Bracket]) -> bool {
    let mut depth = 0_usize;
    for bracket in before.iter().rev() {
        match (bracket.is_open, depth) {
            (true, 0) => return bracket.closer != '}',
            (true, _) => depth -= 1,
            (false, _) => depth += 1,
        }
    }
    false
}

/// Whether `text` closes once too often with `closer`.
pub(super) fn has_lonely_closer(text: &str, closer: char) -> bool {
    let mut depth = 0_usize;
    in_text(text, 0).iter().filter(|bracket| bracket.closer == closer).any(|bracket| {
        let is_lonely = !bracket.is_open && depth == 0;
        depth = if bracket.is_open { depth + 1 } else { depth.saturating_sub(1) };
        is_lonely
    })
}

/// The brackets of plain text, `at` being the place of its first byte.
pub(super) fn in_text(text: &str, at: usize) -> Vec<Bracket> {
    text.char_indices().filter_map(|(index, char)| bracket(at + index, char)).collect()
}

/// The brackets that are tokens of `tree` within `span`: none of strings or comments.
pub(super) fn in_tree(tree: &Tree, span: &Range<usize>) -> Vec<Bracket> {
    let mut found = Vec::new();
    let mut cursor = tree.walk();
    loop {
        let node = cursor.node();
        let is_outside = node.end_byte() <= span.start || node.start_byte() >= span.end;
        if !is_outside && cursor.goto_first_child() {
            continue;
        }
        if !is_outside {
            push_token(&node, span, &mut found);
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return found;
            }
        }
    }
}

fn push_token(node: &Node<'_>, span: &Range<usize>, found: &mut Vec<Bracket>) {
    let kind = node.kind();
    let is_token = !node.is_named() && !node.is_missing() && kind.len() == node.byte_range().len();
    // `${`, `#{`, `$((` and their like open what a plain bracket closes.
    let is_bracket = kind.chars().all(|char| "()[]{}$#@!&?".contains(char));
    // The pattern of a shell's `case` ends with a bracket that nothing opens.
    let is_case_pattern = kind == ")"
        && node.parent().is_some_and(|parent| {
            parent.kind() == "case_item" && parent.child(0).is_none_or(|first| first.kind() != "(")
        });
    if is_token && is_bracket && !is_case_pattern {
        let in_span = |bracket: &Bracket| span.contains(&bracket.at);
        found.extend(in_text(kind, node.start_byte()).into_iter().filter(in_span));
    }
}

/// Matches the brackets before, in and after a fill.
pub(super) fn balance(before: &[Bracket], fill: &[Bracket], after: &[Bracket]) -> Balance {
    let mut open: Vec<Bracket> = Vec::new();
    let mut n_lonely = 0;
    let mut open_in_fill = Vec::new();
    for (part, brackets) in [before, fill, after].into_iter().enumerate() {
        for bracket in brackets {
            if bracket.is_open {
                open.push(*bracket);
                continue;
            }
            // A closer reaches past openers that were forgotten in between.
            match open.iter().rposition(|opener| opener.closer == bracket.closer) {
                Some(index) => {
                    n_lonely += open.len() - index - 1;
                    open.truncate(index);
                }
                None => n_lonely += 1,
            }
        }
        if part == 1
            && let Some(first) = fill.first()
        {
            open_in_fill = open.iter().filter(|opener| opener.at >= first.at).copied().collect();
        }
    }
    Balance { n_lonely: n_lonely + open.len(), open_in_fill }
}

/// `text` without the last one, two, … closers at its end; with each closer goes what only made sense after it.
pub(super) fn without_last_closers(text: &str, words: &[&str]) -> Vec<String> {
    const MOST: usize = 4;
    let mut shorter = Vec::new();
    let mut rest = text;
    while shorter.len() < MOST {
        let trimmed = rest.trim_end().trim_end_matches([';', ',']).trim_end();
        let word = words.iter().find_map(|word| {
            let line = trimmed.rsplit('\n').next()?;
            (line.trim() == *word).then(|| &trimmed[..trimmed.len() - word.len()])
        });
        let Some(cut) = word.or_else(|| trimmed.strip_suffix(is_closer)) else { break };
        rest = cut.trim_end();
        shorter.push(rest.to_owned());
    }
    shorter
}

/// Lengths of the starts of `rest` (the line right of the hole) that consist of closers, quotes and line punctuation, all
/// of which `fill` has too; first those that it ends with.
pub(super) fn closing_starts(rest: &str, fill: &str) -> Vec<usize> {
    const MOST: usize = 6;
    let is_closing = |char: char| is_closer(char) || "\"'`>;,".contains(char);
    let mut own = fill.chars();
    let mut lengths = Vec::new();
    for (index, char) in rest.char_indices() {
        if is_closing(char) {
            if !own.any(|other| other == char) {
                break;
            }
            lengths.push(index + char.len_utf8());
        } else if char != ' ' {
            break;
        }
    }
    lengths.truncate(MOST);
    let (mut ends, others): (Vec<usize>, Vec<usize>) =
        lengths.into_iter().partition(|length| fill.ends_with(&rest[..*length]));
    ends.reverse();
    ends.extend(others);
    ends
}

/// `text` with closers for the innermost one, two, … of `open`, each where it would be written: behind its bracket's
/// line, or on a line of its own that is as far in as that line. `indentation` is what line `n` of the text begins with.
pub(super) fn with_closers(
    text: &str,
    start: usize,
    open: &[Bracket],
    indentation: impl Fn(usize) -> String,
) -> Vec<String> {
    const MOST: usize = 6;
    let mut longer = Vec::new();
    let mut closed = text.to_owned();
    let mut closing_line = None;
    for bracket in open.iter().rev().take(MOST) {
        let at = bracket.at - start;
        let line = text[..at].matches('\n').count();
        let line_end = text[at..].find('\n').map(|newline| at + newline);
        match line_end {
            // What was opened on one line is closed on one line.
            Some(_) if closing_line == Some(line) => {}
            Some(end) if !text[end..].trim().is_empty() => {
                closing_line = Some(line);
                closed = format!("{}\n{}", closed.trim_end(), indentation(line));
            }
            _ => closed.truncate(closed.trim_end().len()),
        }
        closed.push(bracket.closer);
        longer.push(closed.clone());
    }
    longer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(before: &str, fill: &str, after: &str) -> (usize, String) {
        let fill_at = before.len();
        let balance = balance(
            &in_text(before, 0),
            &in_text(fill, fill_at),
            &in_text(after, fill_at + fill.len()),
        );
        (balance.n_lonely, balance.open_in_fill.iter().map(|bracket| bracket.closer).collect())
    }

    #[test]
    fn lonely_brackets_are_counted() {
        assert_eq!(of("{", "(a)", "}"), (0, String::new()));
        assert_eq!(of("{ f(", "a", "}"), (1, String::new()));
        assert_eq!(of("{ f(", "a)", ")}"), (1, String::new()));
        assert_eq!(of("{", "if { f(", "}"), (2, "})".to_owned()));
        assert_eq!(of("{", "a }", "}"), (1, String::new()));
    }

    #[test]
    fn a_statement_begins_where_its_brackets_do() {
        for (text, line) in [
            ("a;\nfn f(\n    b: u8,\n) -> u8 {", "fn f("),
            ("x = f(a,\n      g(b,\n        c))", "x = f(a,"),
            ("a {\n    b();\n    c(1)[2]", "    c(1)[2]"),
            ("a(1)\nnothing opens it )", "nothing opens it )"),
            ("", ""),
        ] {
            assert_eq!(statement_line(text, &in_text(text, 0)), line, "{text:?}");
            // What follows is no part of it.
            let whole = format!("{text}\n  )]");
            assert_eq!(statement_line(text, &in_text(&whole, 0)), line, "{whole:?}");
        }
    }

    #[test]
    fn closers_go_where_they_would_be_written() {
        let text = "if a {\n    f(b";
        let open = in_text(text, 0);
        let longer = with_closers(text, 0, &open, |line| "  ".repeat(line + 1));
        assert_eq!(longer, ["if a {\n    f(b)", "if a {\n    f(b)\n  }"]);
        assert_eq!(with_closers("if a {\n", 0, &in_text("{", 5), |_| String::new()), ["if a {}"]);
    }

    #[test]
    fn closers_are_taken_off_one_by_one() {
        assert_eq!(without_last_closers("f(a));\n}", &[]), ["f(a));", "f(a)", "f(a"]);
        assert_eq!(without_last_closers("a\n  end\nend", &["end"]), ["a\n  end", "a"]);
        assert_eq!(without_last_closers("append", &["end"]), [""; 0]);
    }

    #[test]
    fn the_range_reaches_over_what_the_fill_has_too() {
        assert_eq!(closing_starts(")\"); x", "f()\")"), [3, 1, 2]);
        assert_eq!(closing_starts(");", "a);"), [2, 1]);
        assert_eq!(closing_starts(");", "a) + b"), [1]);
        assert_eq!(closing_starts("; }", "a"), [0; 0]);
    }
}
