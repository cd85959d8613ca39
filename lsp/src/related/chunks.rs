//! Places that somebody has been at: saved, edited, left. The newest of them are likely to matter again.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use diffcoder_engine::related::PLACE_LINES;
use ropey::Rope;
use tower_lsp::gen_lsp_types::Uri;

use crate::line_endings;

/// Places that are kept.
const MOST_CHUNKS: usize = 16;
/// Two chunks of a document with more than this share of their lines in common are one.
const SAME_SHARE: f64 = 0.5;

/// Text around a place.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) uri: Uri,
    pub(crate) text: Arc<str>,
    /// Grows from chunk to chunk.
    pub(crate) number: u64,
}

/// The places, the newest last.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    chunks: VecDeque<Chunk>,
    last_number: u64,
}

impl Ring {
    /// Adds the text around a line.
    pub(crate) fn push(&mut self, uri: &Uri, document: &Rope, line: usize) {
        let n_lines = document.len_lines();
        let start = document.line_to_char(line.saturating_sub(PLACE_LINES).min(n_lines));
        let end = document.line_to_char((line + PLACE_LINES).min(n_lines));
        let text = document.slice(start..end).to_string();
        let text = line_endings::normalise(&text);
        if text.trim().is_empty() {
            return;
        }
        self.chunks
            .retain(|chunk| chunk.uri != *uri || common_share(&chunk.text, &text) <= SAME_SHARE);
        if self.chunks.len() == MOST_CHUNKS {
            self.chunks.pop_front();
        }
        self.last_number += 1;
        self.chunks.push_back(Chunk {
            uri: uri.clone(),
            text: text.into(),
            number: self.last_number,
        });
    }

    /// The places in other documents, the newest last.
    pub(crate) fn beside(&self, uri: &Uri) -> Vec<Chunk> {
        self.chunks.iter().filter(|chunk| chunk.uri != *uri).cloned().collect()
    }

    /// The number of the newest place in another document.
    pub(crate) fn newest_beside(&self, uri: &Uri) -> u64 {
        let others = self.chunks.iter().filter(|chunk| chunk.uri != *uri);
        others.map(|chunk| chunk.number).max().unwrap_or_default()
    }
}

/// Lines that both have, of all that one of them has.
fn common_share(a: &str, b: &str) -> f64 {
    let lines = |text| -> HashSet<&str> { str::lines(text).map(str::trim).collect() };
    let (a, b) = (lines(a), lines(b));
    a.intersection(&b).count() as f64 / a.union(&b).count().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_kept_once_and_the_oldest_goes() {
        let document =
            Rope::from_str(&(0..200).map(|line| format!("line {line}\r\n")).collect::<String>());
        let (a, b) = (Uri::from("file:///a.rs"), Uri::from("file:///b.rs"));
        let mut ring = Ring::default();
        ring.push(&a, &document, 50);
        ring.push(&a, &document, 53);
        ring.push(&a, &document, 150);
        assert_eq!(ring.chunks.len(), 2);
        assert!(
            ring.chunks[0].text.contains("line 64\n") && !ring.chunks[0].text.contains("line 66")
        );
        assert!(ring.beside(&a).is_empty());
        assert_eq!(ring.newest_beside(&b), 3);
        for line in (0..3_000).step_by(30) {
            ring.push(&b, &Rope::from_str(&format!("{}x{line}", "\n".repeat(line))), line);
        }
        assert_eq!(ring.chunks.len(), MOST_CHUNKS);
        assert!(ring.beside(&b).is_empty());
    }
}
