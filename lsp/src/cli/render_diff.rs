//! The change as a unified diff, plain enough for `patch` or coloured for people.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use similar::{ChangeTag, TextDiff};

use super::paint::Paint;

const CONTEXT_LINES: usize = 3;

/// The two texts of a diff and the name of their file.
pub(crate) struct Change<'a> {
    pub(crate) name: &'a str,
    pub(crate) old: &'a str,
    pub(crate) new: &'a str,
}

/// Writes the diff; nothing at all if both texts are equal.
pub(crate) fn render(change: &Change<'_>, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    // Lines end at `\n` alone: a lone carriage return is part of a line for `patch` too.
    let old: Vec<&str> = change.old.split_inclusive('\n').collect();
    let new: Vec<&str> = change.new.split_inclusive('\n').collect();
    let diff = TextDiff::configure().newline_terminated(true).diff_slices(&old, &new);
    let mut unified = diff.unified_diff();
    let unified = unified.context_radius(CONTEXT_LINES);
    for (index, hunk) in unified.iter_hunks().enumerate() {
        if index == 0 {
            let bold = Style::new().bold();
            for side in ["---", "+++"] {
                writeln!(out, "{}", paint.style(bold, &format!("{side} {}", change.name)))?;
            }
        }
        let cyan = AnsiColor::Cyan.on_default();
        writeln!(out, "{}", paint.style(cyan, &hunk.header().to_string()))?;
        for line in hunk.iter_changes() {
            let style = match line.tag() {
                ChangeTag::Equal => Style::new(),
                ChangeTag::Delete => AnsiColor::Red.on_default(),
                ChangeTag::Insert => AnsiColor::Green.on_default(),
            };
            let (content, end) = split_line_end(line.value());
            // The line end stays outside of the colours, so that a pager never carries them over.
            write!(out, "{}{end}", paint.style(style, &format!("{}{content}", line.tag())))?;
            if line.missing_newline() {
                writeln!(out, "\n\\ No newline at end of file")?;
            }
        }
    }
    Ok(())
}

/// The content of a line, and its line end.
fn split_line_end(line: &str) -> (&str, &str) {
    let content =
        line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
    line.split_at(content.len())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn diff(old: &str, new: &str, paint: Paint) -> String {
        let mut out = Vec::new();
        render(&Change { name: "src/a.rs", old, new }, paint, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn plain_diffs_are_patches() {
        assert_snapshot!(diff("fn f() {\n    g()\n}\n", "fn f() {\n    g(1)\n}\n", Paint::Plain), @r"
        --- src/a.rs
        +++ src/a.rs
        @@ -1,3 +1,3 @@
         fn f() {
        -    g()
        +    g(1)
         }
        ");
    }

    #[test]
    fn coloured_diffs_close_each_colour_before_the_line_ends() {
        let shown = diff("a\r\n", "b\r\n", Paint::Coloured);
        let expected = "\u{1b}[1m--- src/a.rs\u{1b}[0m\n\u{1b}[1m+++ src/a.rs\u{1b}[0m\n\
                        \u{1b}[36m@@ -1 +1 @@\u{1b}[0m\n\u{1b}[31m-a\u{1b}[0m\r\n\u{1b}[32m+b\u{1b}[0m\r\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_missing_last_line_end_is_told() {
        assert_snapshot!(diff("a", "ab", Paint::Plain), @r"
        --- src/a.rs
        +++ src/a.rs
        @@ -1 +1 @@
        -a
        \ No newline at end of file
        +ab
        \ No newline at end of file
        ");
    }

    #[test]
    fn an_empty_file_grows() {
        assert_snapshot!(diff("", "a\n", Paint::Plain), @r"
        --- src/a.rs
        +++ src/a.rs
        @@ -0,0 +1 @@
        +a
        ");
    }

    #[test]
    fn equal_texts_have_no_diff() {
        assert_eq!(diff("a\n", "a\n", Paint::Coloured), "");
    }

    #[test]
    fn carriage_returns_within_a_line_do_not_break_it() {
        assert!(diff("a\rb\n", "a\rc\n", Paint::Plain).ends_with("-a\rb\n+a\rc\n"));
    }
}
