//! Line ends at the model's border: the model sees `\n` alone, documents and files keep what they have.

use std::borrow::Cow;

/// How the lines of a text end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineEnding {
    /// `\n`
    #[default]
    Lf,
    /// `\r\n`
    CrLf,
}

/// The line end that most lines of `text` have; `\n` on a tie, and where there is none.
///
/// A lone `\r` counts for neither: nothing is known that still writes it, and it passes through unchanged.
pub fn detect(text: &str) -> LineEnding {
    let n_line_feeds = text.bytes().filter(|byte| *byte == b'\n').count();
    let n_pairs = text.matches("\r\n").count();
    if n_pairs > n_line_feeds - n_pairs { LineEnding::CrLf } else { LineEnding::Lf }
}

/// `text` with `\n` for each `\r\n`.
///
/// Cut a document at its holes first and normalise the pieces: offsets into the result are not offsets into `text`.
pub fn normalise(text: &str) -> Cow<'_, str> {
    if text.contains("\r\n") { Cow::Owned(text.replace("\r\n", "\n")) } else { Cow::Borrowed(text) }
}

/// `text`, whose lines end with `\n`, with the line ends of the document it goes into.
pub fn apply(text: &str, ending: LineEnding) -> Cow<'_, str> {
    match ending {
        LineEnding::CrLf if text.contains('\n') => {
            Cow::Owned(normalise(text).replace('\n', "\r\n"))
        }
        LineEnding::CrLf | LineEnding::Lf => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_majority_decides() {
        for (text, expected) in [
            ("", LineEnding::Lf),
            ("no line end", LineEnding::Lf),
            ("a\nb\n", LineEnding::Lf),
            ("a\r\nb\r\n", LineEnding::CrLf),
            ("a\r\nb\r\nc\n", LineEnding::CrLf),
            ("a\r\nb\n", LineEnding::Lf),
            ("a\rb\rc\r", LineEnding::Lf),
        ] {
            assert_eq!(detect(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_pair_that_is_there_already_is_not_doubled() {
        assert_eq!(apply("a\r\nb\nc", LineEnding::CrLf), "a\r\nb\r\nc");
    }

    proptest! {
        #[test]
        fn a_crlf_document_survives_the_round_trip(lines in prop::collection::vec("[a-zé\u{2028}]{0,4}", 1..6)) {
            let text = lines.join("\r\n");
            let normalised = normalise(&text);
            prop_assert!(!normalised.contains('\r'));
            prop_assert_eq!(apply(&normalised, LineEnding::CrLf), text.as_str());
        }

        #[test]
        fn text_without_pairs_is_left_alone(text in "[a-z\n]{0,20}") {
            prop_assert_eq!(normalise(&text), text.as_str());
            prop_assert_eq!(apply(&text, LineEnding::Lf), text.as_str());
        }
    }
}
