//! What a text costs under a model: the log-likelihood of an autoregressive one, the exact NELBO of a block-diffusion one.

use std::f64::consts::LN_2;
use std::fmt;
use std::path::Path;

use anyhow::Context as _;
use candle_core::{Device, Tensor};
use serde::Serialize;

use diffcoder_engine::error::Result;
use diffcoder_engine::model::config::{DiffcoderKeys, Family, ModelConfig};
use diffcoder_engine::model::mask::SequenceMask;
use diffcoder_engine::model::ops::Ops;
use diffcoder_engine::model::weights::Weights;
use diffcoder_engine::model::{Model, RowGroup};
use diffcoder_engine::tokenizer::Tokenizer;

use crate::config::StageKind;
use crate::objective::loss::{mask_patterns, next_token_targets};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Measure {
    /// `-log2 p(text)` of next-token prediction.
    Likelihood,
    /// The exact upper bound on it of block diffusion: all mask patterns of a block, no sampling.
    Nelbo,
}

/// One sequence, of which a part is scored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Token ids; the number of them is a multiple of N.
    pub(super) tokens: Vec<u32>,
    /// The first token that is scored, at least 1 for a likelihood; all behind it are, too.
    pub(super) first: usize,
}

/// What a row costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Nats {
    /// Under the [`Measure`].
    pub(super) total: f64,
    /// `-ln p` of decoding each block left to right, one token per forward: the exact likelihood of that order, where
    /// NELBO is the average over all orders. `None` for next-token prediction, which has no other.
    pub(super) left_to_right: Option<f64>,
}

/// Bits of several rows, and what a byte of their texts costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Bits {
    /// Summed bits under the [`Measure`].
    bits: f64,
    /// `bits` over the bytes of the texts.
    bits_per_byte: f64,
    /// Summed bits of decoding left to right, see [`Nats::left_to_right`].
    #[serde(skip_serializing_if = "Option::is_none")]
    left_to_right_bits: Option<f64>,
    /// `left_to_right_bits` over the bytes of the texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_to_right_bits_per_byte: Option<f64>,
}

impl Bits {
    /// Adds a row; `bytes` are those of all texts by now, this one's among them.
    pub(super) fn add(&mut self, nats: Nats, bytes: usize) {
        let bytes = bytes.max(1) as f64;
        self.bits += nats.total / LN_2;
        self.bits_per_byte = self.bits / bytes;
        if let Some(nats) = nats.left_to_right {
            let bits = self.left_to_right_bits.unwrap_or_default() + nats / LN_2;
            self.left_to_right_bits = Some(bits);
            self.left_to_right_bits_per_byte = Some(bits / bytes);
        }
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4} bits per byte", self.bits_per_byte)?;
        match self.left_to_right_bits_per_byte {
            Some(bits) => write!(f, ", {bits:.4} left to right"),
            None => Ok(()),
        }
    }
}

/// A model that `diffcoder-train` made, and how its rows are scored.
pub(super) struct Scorer {
    /// The model.
    pub(super) model: Model,
    /// Its tokenizer.
    pub(super) tokenizer: Tokenizer,
    /// How it is served.
    pub(super) keys: DiffcoderKeys,
    /// Likelihood of a model that was trained on next tokens alone, NELBO of every other.
    pub(super) measure: Measure,
}

impl Scorer {
    /// Loads a model directory or a checkpoint with its tokenizer.
    pub(super) fn open(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("config.json");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}: name a model directory", path.display()))?;
        let config = ModelConfig::from_json(&text)?;
        let Family::Diffcoder(keys) = config.family.clone() else {
            anyhow::bail!("{} was not made by diffcoder-train", dir.display())
        };
        let measure = match keys.stage == StageKind::Ar.name() {
            true => Measure::Likelihood,
            false => Measure::Nelbo,
        };
        let model = Model::new(&config, Weights::from_dir(dir)?, Ops::default())?;
        Ok(Self { model, tokenizer: Tokenizer::from_dir(dir)?, keys, measure })
    }

    /// Nats of the scored part of a row.
    pub(super) fn nats(&self, row: &Row) -> Result<Nats> {
        let special = self.tokenizer.special();
        nats(&self.model, row, self.measure, (special.mask, self.keys.block_length))
    }
}

/// Nats of a row under `measure`. `mask_token` hides, `block` is N.
fn nats(
    model: &Model,
    row: &Row,
    measure: Measure,
    (mask_token, block): (u32, usize),
) -> Result<Nats> {
    match measure {
        Measure::Likelihood => Ok(Nats { total: likelihood(model, row)?, left_to_right: None }),
        Measure::Nelbo => nelbo(model, row, mask_token, block),
    }
}

fn likelihood(model: &Model, Row { tokens, first }: &Row) -> Result<f64> {
    let len = tokens.len();
    let scored: Vec<bool> = (0..len).map(|at| at >= *first).collect();
    let ids = Tensor::from_slice(tokens, (1, len), &Device::Cpu)?;
    let positions: Vec<u32> = (0..len as u32).collect();
    let hidden = model.forward_sequence(&ids, &positions, SequenceMask::Causal)?;
    let (rows, targets) = next_token_targets(tokens, &scored, len);
    let nll = model.head_nll(&hidden, &rows, &targets)?.to_vec1::<f32>()?;
    Ok(nll.into_iter().map(f64::from).sum())
}

/// Block by block as it is decoded: each mask pattern of a block is a forward of the block alone, behind the cached
/// blocks left of it. What is not scored of the first block stands there, as it does when a block is decoded.
///
/// Decoding left to right meets those patterns alone that mask a block from one token on to its end, and decides the
/// first of the masks.
fn nelbo(model: &Model, row: &Row, mask_token: u32, block: usize) -> Result<Nats> {
    let tokens = &row.tokens;
    let mut cache = model.new_cache();
    let mask = SequenceMask::BlockCausal { block };
    let start = row.first / block * block;
    let (before, branches) = (&tokens[..start], &[]);
    let prompt =
        RowGroup { cache: &mut cache, tokens: before, mask, commit: start, logits: 0..0, branches };
    if start > 0 {
        model.forward(&mut [prompt])?;
    }
    let (mut total, mut left_to_right) = (0.0, 0.0);
    for (first, clean) in (start..).step_by(block).zip(tokens[start..].chunks(block)) {
        let fixed = row.first.saturating_sub(first);
        for pattern in mask_patterns(clean.len() - fixed) {
            let is_masked = |at: &usize| *at >= fixed && pattern.bits >> (at - fixed) & 1 == 1;
            let masked: Vec<usize> = (0..clean.len()).filter(is_masked).collect();
            let mut noisy = clean.to_vec();
            masked.iter().for_each(|&at| noisy[at] = mask_token);
            let (tokens, logits) = (&noisy, 0..noisy.len());
            let group = RowGroup { cache: &mut cache, tokens, mask, commit: 0, logits, branches };
            let logits = model.forward(&mut [group])?.to_vec2::<f32>()?;
            let nats = |&at: &usize| cross_entropy(&logits[at], clean[at]);
            total += pattern.weight * masked.iter().map(nats).sum::<f64>();
            if masked[0] + masked.len() == clean.len() {
                left_to_right += nats(&masked[0]);
            }
        }
        if first + clean.len() == tokens.len() {
            break;
        }
        let (commit, logits) = (clean.len(), 0..0);
        let done = RowGroup { cache: &mut cache, tokens: clean, mask, commit, logits, branches };
        model.forward(&mut [done])?;
    }
    Ok(Nats { total, left_to_right: Some(left_to_right) })
}

/// Nats of a token under the softmax of `logits`.
fn cross_entropy(logits: &[f32], token: u32) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - most).exp()).sum();
    sum.ln() - f64::from(logits[token as usize] - most)
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

    fn random_model(seed: u64) -> Model {
        let config = config();
        let parameters = Parameters::init(&config, &mut stream(seed, 0, Stream::Init)).unwrap();
        parameters.model(&config, Ops::default()).unwrap()
    }

    fn row(first: usize) -> Row {
        Row { tokens: vec![0, 10, 15, 20, 25, 30, 35, 40, 45, 50, 2, 2], first }
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
            for (first, scored) in [(1, 11.0), (6, 6.0)] {
                let found = nats(&model, &row(first), measure, (MASK, BLOCK)).unwrap();
                for found in [found.total].into_iter().chain(found.left_to_right) {
                    let expected = scored * 64f64.ln();
                    assert!((found - expected).abs() < 1e-3, "{measure:?} {found} {expected}");
                }
            }
        }
    }

    /// Against the definition: each block alone behind its clean prefix, under the mask that serving uses.
    #[test]
    fn nelbo_is_that_of_decoding_block_by_block() {
        let model = random_model(3);
        for scored_from in [1, 4, 6] {
            let tokens = row(scored_from).tokens;
            let mut expected = 0.0;
            for first in (scored_from / BLOCK * BLOCK..tokens.len()).step_by(BLOCK) {
                let fixed = scored_from.saturating_sub(first);
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
            let found = nats(&model, &row(scored_from), Measure::Nelbo, (MASK, BLOCK)).unwrap();
            let found = found.total;
            assert!((found - expected).abs() < 1e-4 * expected, "{found} {expected}");
        }
    }

    /// Against the definition: token by token, what is right of a token in its block masked, what is left of it clean.
    #[test]
    fn left_to_right_is_the_chain_of_decoding_in_that_order() {
        let model = random_model(5);
        for scored_from in [1, 4, 6] {
            let tokens = row(scored_from).tokens;
            let mut expected = 0.0;
            for at in scored_from..tokens.len() {
                let end = (at / BLOCK + 1) * BLOCK;
                let mut ids = tokens[..end].to_vec();
                ids[at..].fill(MASK);
                let positions: Vec<u32> = (0..end as u32).collect();
                let ids = Tensor::from_vec(ids, (1, end), &Device::Cpu).unwrap();
                let mask = SequenceMask::BlockCausal { block: BLOCK };
                let hidden = model.forward_sequence(&ids, &positions, mask).unwrap();
                let nll = model.head_nll(&hidden, &[at as u32], &[tokens[at]]).unwrap();
                expected += f64::from(nll.to_vec1::<f32>().unwrap()[0]);
            }
            let found = nats(&model, &row(scored_from), Measure::Nelbo, (MASK, BLOCK)).unwrap();
            let found = found.left_to_right.unwrap();
            assert!((found - expected).abs() < 1e-4 * expected, "{found} {expected}");
        }
    }

    /// Against training: the doubled forward scores a pattern in all blocks at once.
    #[test]
    fn nelbo_is_that_of_the_training_forward() {
        let model = random_model(4);
        let tokens = row(0).tokens;
        let n = tokens.len();
        let ids = |ids: &[u32]| Tensor::from_slice(ids, (1, n), &Device::Cpu).unwrap();
        let positions: Vec<u32> = (0..n as u32).collect();
        let mut expected = 0.0;
        for pattern in mask_patterns(BLOCK) {
            let is_masked = |at: &u32| pattern.bits >> (*at as usize % BLOCK) & 1 == 1;
            let masked: Vec<u32> = positions.iter().copied().filter(is_masked).collect();
            let mut noisy = tokens.clone();
            masked.iter().for_each(|&at| noisy[at as usize] = MASK);
            let doubled = model.forward_doubled(&ids(&noisy), &ids(&tokens), &positions, BLOCK);
            let targets: Vec<u32> = masked.iter().map(|&at| tokens[at as usize]).collect();
            let nll = model.head_nll(&doubled.unwrap(), &masked, &targets).unwrap();
            let nll = nll.to_vec1::<f32>().unwrap();
            expected += pattern.weight * nll.iter().map(|&nll| f64::from(nll)).sum::<f64>();
        }
        let found = nats(&model, &row(0), Measure::Nelbo, (MASK, BLOCK)).unwrap().total;
        assert!((found - expected).abs() < 1e-4 * expected, "{found} {expected}");
    }
}
