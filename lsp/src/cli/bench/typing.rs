//! What a person's hands do: pieces of a file are taken out and typed again, key by key, as an editor sees it.

use std::collections::VecDeque;
use std::ops::Range;

/// Lines of the pieces, one after the other.
const HUNK_LINES: [usize; 4] = [1, 3, 2, 4];
/// Least characters of a piece worth typing.
const SHORTEST_HUNK: usize = 8;
/// Editors set a closer only where one of these follows, or nothing.
const CLOSES_BEFORE: &str = ")]}>;,:. \t\r\n";

/// Something typed, or a jump to where typing goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Bytes that the key replaces, and with what; `None` where only the cursor moves.
    pub(crate) edit: Option<(Range<usize>, String)>,
    /// The cursor after it.
    pub(crate) cursor: usize,
    /// What will be typed from here on, before the next jump.
    pub(crate) coming: String,
    /// The cursor came from elsewhere.
    pub(crate) is_jump: bool,
    /// A person would look for a suggestion here.
    pub(crate) asks: bool,
}

/// The keys that take `n_hunks` pieces out of `text` and type them again, one piece after the other.
pub(crate) fn keys(text: &str, n_hunks: usize) -> Vec<Key> {
    let mut keys = Vec::new();
    for hunk in hunks(text, n_hunks) {
        let mut typist = Typist::jump_to(text, &hunk);
        typist.type_all(&text[hunk]);
        debug_assert_eq!(typist.text, text);
        keys.append(&mut typist.keys);
    }
    keys
}

/// Pieces of whole lines without the first one's indentation, evenly spread over the text.
fn hunks(text: &str, n_hunks: usize) -> Vec<Range<usize>> {
    let mut starts = vec![0];
    starts.extend(text.match_indices('\n').map(|(at, _)| at + 1));
    let mut found: Vec<Range<usize>> = Vec::new();
    for index in 0..n_hunks {
        let first = starts.len() * (2 * index + 1) / (2 * n_hunks);
        let n_lines = HUNK_LINES[index % HUNK_LINES.len()];
        let hunk = (first..starts.len()).find_map(|line| {
            let end = starts.get(line + n_lines).map_or(text.len(), |next| next - 1);
            let piece = text[starts[line]..end].trim_end();
            let indentation = piece.len() - piece.trim_start_matches([' ', '\t']).len();
            let hunk = starts[line] + indentation..starts[line] + piece.len();
            let starts_here = !text[hunk.start..].starts_with(['\r', '\n']);
            (starts_here && hunk.len() >= SHORTEST_HUNK).then_some(hunk)
        });
        found.extend(hunk.filter(|hunk| found.last().is_none_or(|last| last.end < hunk.start)));
    }
    found
}

/// An editor with automatic closers and indentation, and somebody who types.
struct Typist {
    text: String,
    cursor: usize,
    /// What the editor has set right of the cursor, the nearest first.
    closers: VecDeque<String>,
    keys: Vec<Key>,
}

impl Typist {
    fn jump_to(text: &str, hunk: &Range<usize>) -> Self {
        let mut typist =
            Self { text: text.to_owned(), cursor: 0, closers: VecDeque::new(), keys: Vec::new() };
        typist.press(hunk.clone(), "", "", &text[hunk.clone()]);
        if let Some(key) = typist.keys.last_mut() {
            key.is_jump = true;
        }
        typist
    }

    /// Replaces `span` by `left` and `right`, the cursor between them.
    fn press(&mut self, span: Range<usize>, left: &str, right: &str, coming: &str) {
        let with = format!("{left}{right}");
        self.text.replace_range(span.clone(), &with);
        self.cursor = span.start + left.len();
        self.push(Some((span, with)), coming);
    }

    fn push(&mut self, edit: Option<(Range<usize>, String)>, coming: &str) {
        let coming = coming.to_owned();
        self.keys.push(Key { edit, cursor: self.cursor, coming, is_jump: false, asks: true });
    }

    fn type_all(&mut self, hunk: &str) {
        let mut rest = hunk;
        while let Some(next) = rest.chars().next() {
            let at = self.cursor;
            if let Some(closer) = self.closers.front()
                && rest.starts_with(closer.as_str())
                && self.text[at..].starts_with(closer.as_str())
            {
                // Typing what the editor has set, or going down to it, moves the cursor.
                rest = &rest[closer.len()..];
                self.cursor += closer.len();
                self.closers.pop_front();
                self.push(None, rest);
                continue;
            }
            let (typed, after) = match next {
                '\r' | '\n' => line_break(rest),
                _ => rest.split_at(next.len_utf8()),
            };
            rest = after;
            if next == '\r' || next == '\n' {
                self.break_line(typed, rest);
            } else {
                self.type_character(next, rest);
            }
        }
        let left_over: usize = self.closers.iter().map(String::len).sum();
        if left_over > 0 {
            let at = self.cursor;
            self.press(at..at + left_over, "", "", "");
        }
        if let Some(key) = self.keys.last_mut() {
            key.asks = false;
        }
    }

    fn type_character(&mut self, typed: char, coming: &str) {
        let at = self.cursor;
        let closer = match typed {
            '(' => Some(")"),
            '[' => Some("]"),
            '{' => Some("}"),
            _ => None,
        };
        let next = self.text[at..].chars().next();
        let closer = closer.filter(|_| next.is_none_or(|next| CLOSES_BEFORE.contains(next)));
        if let Some(closer) = closer {
            self.closers.push_front(closer.to_owned());
        }
        self.press(at..at, typed.encode_utf8(&mut [0; 4]), closer.unwrap_or_default(), coming);
    }

    /// A line end with the indentation after it; between a pair of braces, the closer gets a line of its own.
    fn break_line(&mut self, typed: &str, coming: &str) {
        let at = self.cursor;
        let splits = self.closers.front().is_some_and(|closer| closer == "}")
            && self.text[..at].ends_with('{')
            && self.text[at..].starts_with('}');
        if !splits {
            return self.press(at..at, typed, "", coming);
        }
        let line = self.text[..at].rsplit('\n').next().unwrap_or_default();
        let indentation = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
        let line_end = if typed.starts_with('\r') { "\r\n" } else { "\n" };
        let below = format!("{line_end}{indentation}");
        if let Some(closer) = self.closers.front_mut() {
            closer.insert_str(0, &below);
        }
        self.press(at..at, typed, &below, coming);
    }
}

/// The line end that `text` begins with and the indentation after it, and what follows.
fn line_break(text: &str) -> (&str, &str) {
    let end = if text.starts_with("\r\n") { 2 } else { 1 };
    let blanks = text[end..].len() - text[end..].trim_start_matches([' ', '\t']).len();
    text.split_at(end + blanks)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Applies keys as an editor and a server would.
    fn replay(text: &str, keys: &[Key]) -> String {
        let mut text = text.to_owned();
        for key in keys {
            if let Some((span, with)) = &key.edit {
                text.replace_range(span.clone(), with);
            }
            assert!(text.is_char_boundary(key.cursor));
        }
        text
    }

    #[test]
    fn brackets_close_themselves_and_are_typed_over() {
        let text = "fn a() {\n    f(b[0], {\n        c\n    });\n}\n";
        let hunk = text.find("f(b").unwrap()..text.rfind("\n}").unwrap();
        let mut typist = Typist::jump_to(text, &hunk);
        typist.type_all(&text[hunk.clone()]);
        assert_eq!(typist.text, text);
        let keys = typist.keys;
        assert!(keys[0].is_jump && keys[0].asks && keys[0].coming == text[hunk.clone()]);
        assert_eq!(keys[2].edit, Some((hunk.start + 1..hunk.start + 1, "()".to_owned())));
        let in_brace = keys
            .iter()
            .find(|key| key.edit.as_ref().is_some_and(|(_, with)| with == "\n        \n    "));
        assert!(in_brace.is_some(), "{keys:#?}");
        assert!(keys.iter().filter(|key| key.edit.is_none()).count() >= 3);
    }

    #[test]
    fn closers_that_the_piece_leaves_open_are_taken_away() {
        let text = "if a {\n    b();\n}\n";
        let keys = keys(text, 1);
        assert_eq!(replay(text, &keys), text);
    }

    proptest! {
        #[test]
        fn the_text_is_whole_again(lines in prop::collection::vec("[ ]{0,4}[a(){}\\[\\]é;]{0,12}", 1..12), n_hunks in 1..6_usize, crlf: bool) {
            let text = lines.join(if crlf { "\r\n" } else { "\n" });
            let keys = keys(&text, n_hunks);
            prop_assert_eq!(replay(&text, &keys), text);
        }
    }
}
