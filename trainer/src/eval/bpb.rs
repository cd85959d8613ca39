//! Bits per byte of plain text: the exact NELBO of a block-diffusion model, the log-likelihood of an autoregressive one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::ensure;
use rand::seq::SliceRandom as _;
use serde::Serialize;

use diffcoder_engine::prompt::format::PromptFormat;
use diffcoder_engine::tokenizer::SpecialTokens;

use super::nats::{Bits, Measure, Nats, Row, Scorer};
use super::{CHOICE_SEED, by_language};
use crate::data::Document;
use crate::progress::counter;
use crate::rng::{Stream, stream};

/// A plain text as one sequence: `bos`, its tokens, `eos` to the block edge. The opener is not scored.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PlainRow {
    row: Row,
    /// UTF-8 bytes of the text that the tokens stand for.
    bytes: usize,
}

/// Bits and bytes of some texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Tally {
    /// Texts scored.
    documents: usize,
    /// Tokens scored, closing ones included.
    tokens: usize,
    /// UTF-8 bytes of the texts.
    bytes: usize,
    /// Summed bits over `bytes`.
    #[serde(flatten)]
    bits: Bits,
}

impl Tally {
    /// Adds the score of one row.
    fn add(&mut self, plain: &PlainRow, nats: Nats) {
        self.documents += 1;
        self.tokens += plain.row.tokens.len() - 1;
        self.bytes += plain.bytes;
        self.bits.add(nats, self.bytes);
    }
}

impl PlainRow {
    /// Lays `ids` out in at most `max_tokens` (a multiple of `block`); `bytes_of` gives the length of a token's text.
    fn new(
        ids: &[u32],
        special: &SpecialTokens,
        (block, max_tokens): (usize, usize),
        bytes_of: impl Fn(u32) -> usize,
    ) -> Self {
        let kept = &ids[..ids.len().min(max_tokens - 1)];
        let mut tokens: Vec<u32> = special.bos.into_iter().collect();
        tokens.extend(kept);
        // A text with room behind it is whole and closed as in training; one that was cut is not over.
        if tokens.len() < max_tokens {
            PromptFormat::Holes.close(&mut tokens, special, block);
        }
        let bytes = kept.iter().map(|&id| bytes_of(id)).sum();
        Self { row: Row { tokens, first: 1 }, bytes }
    }
}

/// What came out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    suite: &'static str,
    measure: Measure,
    /// Longest text, in tokens.
    context_tokens: usize,
    /// By language, and `all`.
    results: BTreeMap<String, Tally>,
}

impl Report {
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        for (language, tally) in &self.results {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{language:<8} {}  ({} documents, {} tokens, {} bytes)",
                tally.bits, tally.documents, tally.tokens, tally.bytes
            );
        }
        text
    }
}

/// Scores the beginnings of `count` fixed documents of each language.
pub(super) fn measure(dir: &Path, documents: &[Document], count: usize) -> anyhow::Result<Report> {
    let scorer = Scorer::open(dir)?;
    let special = scorer.tokenizer.special();
    ensure!(special.bos.is_some(), "the tokenizer has no begin token");
    let length = (scorer.keys.block_length, scorer.keys.context_tokens);
    let token_bytes = token_bytes(dir)?;
    let mut results: BTreeMap<String, Tally> = BTreeMap::new();
    for (language, mut documents) in by_language(documents)? {
        documents.shuffle(&mut stream(CHOICE_SEED, 0, Stream::Data));
        documents.truncate(count);
        let bar = counter(documents.len(), "scoring")?;
        for document in documents {
            let ids = scorer.tokenizer.encode(&document.text)?;
            let plain = PlainRow::new(&ids, special, length, |id| {
                token_bytes.get(id as usize).copied().unwrap_or(0)
            });
            let nats = scorer.nats(&plain.row)?;
            for key in [format!("{language:?}").to_lowercase(), "all".to_owned()] {
                results.entry(key).or_default().add(&plain, nats);
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
    }
    let context_tokens = scorer.keys.context_tokens;
    Ok(Report { suite: "bpb", measure: scorer.measure, context_tokens, results })
}

/// Bytes of text that each id stands for: in a byte-level vocabulary every character is one byte. Special tokens have none.
fn token_bytes(dir: &Path) -> anyhow::Result<Vec<usize>> {
    let path = dir.join("tokenizer.json");
    let tokenizer = tokenizers::Tokenizer::from_file(&path)
        .map_err(|error| anyhow::anyhow!("cannot read {}: {error}", path.display()))?;
    let added = tokenizer.get_added_tokens_decoder();
    let bytes_of = |id: u32| match tokenizer.id_to_token(id) {
        Some(token) if !added.contains_key(&id) => token.chars().count(),
        _ => 0,
    };
    Ok((0..tokenizer.get_vocab_size(true) as u32).map(bytes_of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 4;

    const SPECIAL: SpecialTokens = SpecialTokens {
        bos: Some(0),
        eos: 2,
        mask: 5,
        fim: None,
        fim_rest: None,
        filename: None,
        holes: None,
    };

    fn row() -> PlainRow {
        let ids: Vec<u32> = (0..9).map(|i| 10 + i * 5).collect();
        PlainRow::new(&ids, &SPECIAL, (BLOCK, 32), |_| 3)
    }

    #[test]
    fn rows_are_opened_closed_and_cut_at_block_edges() {
        assert_eq!(row().row.tokens, [0, 10, 15, 20, 25, 30, 35, 40, 45, 50, 2, 2]);
        assert_eq!(row().bytes, 27);
        let cut = PlainRow::new(&[10; 9], &SPECIAL, (BLOCK, 8), |_| 1);
        assert_eq!(cut.row.tokens, [0, 10, 10, 10, 10, 10, 10, 10]);
        assert_eq!(cut.bytes, 7);
        let exact = PlainRow::new(&[10; 7], &SPECIAL, (BLOCK, 16), |_| 1);
        assert_eq!(
            exact.row.tokens[8..],
            [2, 2, 2, 2],
            "a text that ends on an edge is closed too"
        );
    }
}
