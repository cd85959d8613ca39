//! Bits per byte of plain text: the exact NELBO of a block-diffusion model, the log-likelihood of an autoregressive one.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use candle_core::{Device, Tensor};
use rand::seq::SliceRandom as _;
use serde::Serialize;

use diffcoder_engine::error::Result;
use diffcoder_engine::model::Model;
use diffcoder_engine::model::config::{Family, ModelConfig};
use diffcoder_engine::model::mask::SequenceMask;
use diffcoder_engine::model::ops::Ops;
use diffcoder_engine::model::weights::Weights;
use diffcoder_engine::prompt::format::PromptFormat;
use diffcoder_engine::tokenizer::{SpecialTokens, Tokenizer};

use super::{CHOICE_SEED, by_language};
use crate::config::StageKind;
use crate::data::Document;
use crate::objective::loss::{mask_patterns, next_token_targets, pattern_weight};
use crate::progress::counter;
use crate::rng::{Stream, stream};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Measure {
    /// `-log2 p(text)` of next-token prediction.
    Likelihood,
    /// The exact upper bound on it of block diffusion: all mask patterns of a block, no sampling.
    Nelbo,
}

/// A plain text as one sequence: `bos`, its tokens, `eos` to the block edge.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PlainRow {
    /// Token ids; the number of them is a multiple of N. The first is the opener and is not scored.
    tokens: Vec<u32>,
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
    /// Summed bits.
    bits: f64,
    /// `bits / bytes`.
    bits_per_byte: f64,
}

impl Tally {
    /// Adds the score of one row.
    fn add(&mut self, row: &PlainRow, nats: f64) {
        self.documents += 1;
        self.tokens += row.tokens.len() - 1;
        self.bytes += row.bytes;
        self.bits += nats / LN_2;
        self.bits_per_byte = self.bits / self.bytes.max(1) as f64;
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
        Self { tokens, bytes: kept.iter().map(|&id| bytes_of(id)).sum() }
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
                "{language:<8} {:.4} bits per byte  ({} documents, {} tokens, {} bytes)",
                tally.bits_per_byte, tally.documents, tally.tokens, tally.bytes
            );
        }
        text
    }
}

/// Scores the beginnings of `count` fixed documents of each language.
pub(super) fn measure(dir: &Path, documents: &[Document], count: usize) -> anyhow::Result<Report> {
    let path = dir.join("config.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}: name a model directory", path.display()))?;
    let config = ModelConfig::from_json(&text)?;
    let model = Model::new(&config, Weights::from_dir(dir)?, Ops::default())?;
    let tokenizer = Tokenizer::from_dir(dir)?;
    let special = tokenizer.special().clone();
    ensure!(special.bos.is_some(), "the tokenizer has no begin token");
    let (block, context_tokens, measure) = match &config.family {
        Family::Diffcoder(own) if own.stage == StageKind::Ar.name() => {
            (own.block_length, own.context_tokens, Measure::Likelihood)
        }
        Family::Diffcoder(own) => (own.block_length, own.context_tokens, Measure::Nelbo),
        _ => anyhow::bail!("{} was not made by diffcoder-train", dir.display()),
    };
    let token_bytes = token_bytes(dir)?;
    let mut results: BTreeMap<String, Tally> = BTreeMap::new();
    for (language, mut documents) in by_language(documents)? {
        documents.shuffle(&mut stream(CHOICE_SEED, 0, Stream::Data));
        documents.truncate(count);
        let bar = counter(documents.len(), "scoring")?;
        for document in documents {
            let ids = tokenizer.encode(&document.text)?;
            let length = (block, context_tokens);
            let row = PlainRow::new(&ids, &special, length, |id| {
                token_bytes.get(id as usize).copied().unwrap_or(0)
            });
            let nats = nats(&model, &row, measure, (special.mask, block))?;
            for key in [format!("{language:?}").to_lowercase(), "all".to_owned()] {
                results.entry(key).or_default().add(&row, nats);
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
    }
    Ok(Report { suite: "bpb", measure, context_tokens, results })
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

/// Nats of a row under `measure`. `mask_token` hides, `block` is N.
fn nats(
    model: &Model,
    row: &PlainRow,
    measure: Measure,
    (mask_token, block): (u32, usize),
) -> Result<f64> {
    match measure {
        Measure::Likelihood => likelihood(model, &row.tokens),
        Measure::Nelbo => nelbo(model, &row.tokens, mask_token, block),
    }
}

fn likelihood(model: &Model, tokens: &[u32]) -> Result<f64> {
    let len = tokens.len();
    let ids = Tensor::from_slice(tokens, (1, len), &Device::Cpu)?;
    let positions: Vec<u32> = (0..len as u32).collect();
    let hidden = model.forward_sequence(&ids, &positions, SequenceMask::Causal)?;
    let (rows, targets) = next_token_targets(tokens, &vec![true; len], len);
    let nll = model.head_nll(&hidden, &rows, &targets)?.to_vec1::<f32>()?;
    Ok(nll.into_iter().map(f64::from).sum())
}

/// Every pattern is one noisy row in which all blocks carry that pattern: noisy blocks do not see each other, so one
/// forward scores the pattern in each block.
fn nelbo(model: &Model, tokens: &[u32], mask_token: u32, block: usize) -> Result<f64> {
    let len = tokens.len();
    let clean = Tensor::from_slice(tokens, (1, len), &Device::Cpu)?;
    let positions: Vec<u32> = (0..len as u32).collect();
    let mut total = 0.0;
    for pattern in mask_patterns(block) {
        let mut noisy = tokens.to_vec();
        let (mut rows, mut weights) = (Vec::new(), Vec::new());
        for first in (0..len).step_by(block) {
            // The opener of the first block is no maskable token.
            let n_fixed = usize::from(first == 0);
            if first == 0 && pattern.bits & 1 == 1 {
                continue;
            }
            let n_masked = pattern.bits.count_ones() as usize;
            let weight = pattern_weight(n_masked, block - n_fixed);
            for at in (0..block).filter(|at| pattern.bits >> at & 1 == 1) {
                noisy[first + at] = mask_token;
                rows.push((first + at) as u32);
                weights.push(weight);
            }
        }
        if rows.is_empty() {
            continue;
        }
        let noisy = Tensor::from_vec(noisy, (1, len), &Device::Cpu)?;
        let hidden = model.forward_doubled(&noisy, &clean, &positions, block)?;
        let targets: Vec<u32> = rows.iter().map(|&row| tokens[row as usize]).collect();
        // The noisy half comes first.
        let nll = model.head_nll(&hidden, &rows, &targets)?.to_vec1::<f32>()?;
        total += nll.iter().zip(weights).map(|(&nll, weight)| f64::from(nll) * weight).sum::<f64>();
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::DType;
    use diffcoder_engine::model::config::ModelConfig;
    use diffcoder_engine::model::ops::Ops;
    use diffcoder_engine::model::weights::Weights;

    use super::*;
    use crate::parameters::Parameters;
    use crate::rng::{Stream, stream};

    const BLOCK: usize = 4;
    const MASK: u32 = 5;

    fn config() -> ModelConfig {
        ModelConfig::from_json(
            r#"{"model_type":"qwen3","hidden_size":16,"intermediate_size":24,"num_hidden_layers":2,
            "num_attention_heads":2,"num_key_value_heads":1,"head_dim":8,"vocab_size":64,"tie_word_embeddings":true,
            "max_position_embeddings":64,"rms_norm_eps":1e-6,"rope_theta":10000.0}"#,
        )
        .unwrap()
    }

    const SPECIAL: SpecialTokens = SpecialTokens {
        bos: Some(0),
        eos: 2,
        mask: MASK,
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
        assert_eq!(row().tokens, [0, 10, 15, 20, 25, 30, 35, 40, 45, 50, 2, 2]);
        assert_eq!(row().bytes, 27);
        let cut = PlainRow::new(&[10; 9], &SPECIAL, (BLOCK, 8), |_| 1);
        assert_eq!(cut.tokens, [0, 10, 10, 10, 10, 10, 10, 10]);
        assert_eq!(cut.bytes, 7);
        let exact = PlainRow::new(&[10; 7], &SPECIAL, (BLOCK, 16), |_| 1);
        assert_eq!(exact.tokens[8..], [2, 2, 2, 2], "a text that ends on an edge is closed too");
    }

    #[test]
    fn a_model_that_knows_nothing_pays_the_logarithm_of_the_vocabulary() {
        let config = config();
        let zeros: BTreeMap<String, Tensor> = config
            .parameter_shapes()
            .into_iter()
            .map(|(name, shape)| (name, Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()))
            .collect();
        let model =
            Model::new(&config, Weights::from_tensors(zeros, "zeros"), Ops::default()).unwrap();
        for measure in [Measure::Likelihood, Measure::Nelbo] {
            let found = nats(&model, &row(), measure, (MASK, BLOCK)).unwrap();
            assert!((found - 11.0 * 64f64.ln()).abs() < 1e-3, "{measure:?} {found}");
        }
    }

    /// Against the definition: each block alone behind its clean prefix, under the mask that serving uses.
    #[test]
    fn nelbo_is_that_of_decoding_block_by_block() {
        let config = config();
        let parameters = Parameters::init(&config, &mut stream(3, 0, Stream::Init)).unwrap();
        let model = parameters.model(&config, Ops::default()).unwrap();
        let tokens = row().tokens;
        let mut expected = 0.0;
        for first in (0..tokens.len()).step_by(BLOCK) {
            let fixed = usize::from(first == 0);
            for pattern in mask_patterns(BLOCK - fixed) {
                let mut ids = tokens[..first + BLOCK].to_vec();
                let masked: Vec<u32> = (0..BLOCK - fixed)
                    .filter(|at| pattern.bits >> at & 1 == 1)
                    .map(|at| (first + fixed + at) as u32)
                    .collect();
                for &at in &masked {
                    ids[at as usize] = MASK;
                }
                let positions: Vec<u32> = (0..ids.len() as u32).collect();
                let n = ids.len();
                let ids = Tensor::from_vec(ids, (1, n), &Device::Cpu).unwrap();
                let mask = SequenceMask::BlockCausal { block: BLOCK };
                let hidden = model.forward_sequence(&ids, &positions, mask).unwrap();
                let targets: Vec<u32> = masked.iter().map(|&at| tokens[at as usize]).collect();
                let nll = model.head_nll(&hidden, &masked, &targets).unwrap();
                let nll = nll.to_vec1::<f32>().unwrap();
                expected += pattern.weight * nll.iter().map(|&nll| f64::from(nll)).sum::<f64>();
            }
        }
        let found = nats(&model, &row(), Measure::Nelbo, (MASK, BLOCK)).unwrap();
        assert!((found - expected).abs() < 1e-4 * expected, "{found} {expected}");
    }
}
