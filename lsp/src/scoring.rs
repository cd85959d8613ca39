//! What the model is shown of a text that it is to judge, and the way back from its places.

use std::ops::Range as Span;
use std::sync::Arc;

use diffcoder_engine::infiller::ScoreRequest;

use crate::document::Document;
use crate::line_endings;

/// The request to judge `span` of `document`, and how places in its answer become bytes behind the span's start.
pub(crate) fn score_request(
    document: &Document,
    span: Span<usize>,
    alternatives: usize,
) -> (ScoreRequest, LineEnds) {
    let text = document.text.to_string();
    let piece = |range: Span<usize>| -> Arc<str> { line_endings::normalise(&text[range]).into() };
    let request = ScoreRequest {
        document_key: document.uri.0.clone(),
        left: piece(0..span.start),
        text: piece(span.clone()),
        right: piece(span.end..text.len()),
        alternatives,
    };
    (request, LineEnds::of(&text[span]))
}

/// From places in a text whose lines all end with `\n` back to those of the text as it is.
pub(crate) struct LineEnds {
    /// Where the `\n` of each `\r\n` stands in the text as the model sees it.
    shortened: Vec<usize>,
}

impl LineEnds {
    fn of(text: &str) -> Self {
        let pairs = text.match_indices("\r\n").enumerate();
        Self { shortened: pairs.map(|(before, (at, _))| at - before).collect() }
    }

    /// The place in the text as it is.
    pub(crate) fn original(&self, offset: usize) -> usize {
        offset + self.shortened.partition_point(|&line_end| line_end < offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_text_with_its_line_ends() {
        let ends = LineEnds::of("a\r\nb\nc\rd\r\n");
        // a \n b \n c \n d \n
        let places: Vec<usize> = (0..=8).map(|offset| ends.original(offset)).collect();
        assert_eq!(places, [0, 1, 3, 4, 5, 6, 7, 8, 10]);
    }
}
