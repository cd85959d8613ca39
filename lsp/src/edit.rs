//! Turns a fill into text worth showing at the cursor, or into nothing.

use crate::context::CursorContext;
use crate::line_endings;

/// What to insert at the cursor for `fill`, with the document's line ends.
///
/// `None` if there is nothing to show: the fill is empty, or it repeats what stands right of the cursor up to the end
/// of a line.
pub(crate) fn insertion(fill: &str, context: &CursorContext) -> Option<String> {
    if fill.is_empty() || repeats(fill, &context.after) {
        return None;
    }
    Some(line_endings::apply(fill, context.line_ending).into_owned())
}

/// Whether `fill` is the next line or lines of `after`, whole. A mere prefix of the line is no repetition: a bracket
/// before a bracket is often meant.
fn repeats(fill: &str, after: &str) -> bool {
    let rest = after.strip_prefix(fill.trim_end_matches('\n'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('\n'))
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
            assert_eq!(repeats(fill, after), expected, "{fill:?} before {after:?}");
        }
    }
}
