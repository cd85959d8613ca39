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
    /// `\r`
    Cr,
}

/// The line end that most lines of `text` have; `\n` on a tie, and where there is none.
pub fn detect(text: &str) -> LineEnding {
    let count = |end| text.bytes().filter(|byte| *byte == end).count();
    let n_pairs = text.matches("\r\n").count();
    let (n_feeds, n_returns) = (count(b'\n') - n_pairs, count(b'\r') - n_pairs);
    if n_pairs > n_feeds && n_pairs >= n_returns {
        LineEnding::CrLf
    } else if n_returns > n_feeds {
        LineEnding::Cr
    } else {
        LineEnding::Lf
    }
}

/// `text` with `\n` at the end of each line.
///
/// Cut a document at its holes first and normalise the pieces: offsets into the result are not offsets into `text`.
pub fn normalise(text: &str) -> Cow<'_, str> {
    if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(text)
    }
}

/// `text` with a `\n` in every line end: offsets into the result are offsets into `text`.
pub fn with_feeds(text: &str) -> Cow<'_, str> {
    let n_returns = text.bytes().filter(|byte| *byte == b'\r').count();
    if n_returns == text.matches("\r\n").count() {
        return Cow::Borrowed(text);
    }
    let mut rest = text.chars().peekable();
    let mut feeds = String::with_capacity(text.len());
    while let Some(char) = rest.next() {
        let is_lone = char == '\r' && rest.peek() != Some(&'\n');
        feeds.push(if is_lone { '\n' } else { char });
    }
    Cow::Owned(feeds)
}

/// `text`, whose lines end with `\n`, with the line ends of the document it goes into.
pub fn apply(text: &str, ending: LineEnding) -> Cow<'_, str> {
    match ending {
        LineEnding::CrLf if text.contains('\n') => {
            Cow::Owned(normalise(text).replace('\n', "\r\n"))
        }
        LineEnding::Cr if text.contains('\n') => Cow::Owned(normalise(text).replace('\n', "\r")),
        LineEnding::CrLf | LineEnding::Lf | LineEnding::Cr => Cow::Borrowed(text),
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
            ("a\rb\rc\r", LineEnding::Cr),
            ("a\rb\n", LineEnding::Lf),
            ("a\rb\r\n", LineEnding::CrLf),
            ("a\rb\rc\nd\r\n", LineEnding::Cr),
        ] {
            assert_eq!(detect(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_pair_that_is_there_already_is_not_doubled() {
        assert_eq!(apply("a\r\nb\nc", LineEnding::CrLf), "a\r\nb\r\nc");
        assert_eq!(apply("a\r\nb\nc", LineEnding::Cr), "a\rb\rc");
    }

    #[test]
    fn feeds_take_the_place_of_lone_returns() {
        assert_eq!(with_feeds("a\rb\r\nc\n\r\r"), "a\nb\r\nc\n\n\n");
        assert_eq!(normalise("a\rb\r\nc\n\r"), "a\nb\nc\n\n");
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
