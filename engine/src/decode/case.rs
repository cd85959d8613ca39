//! Recorded decode traces of Stable-DiffCoder's published loop, and their replay.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use super::canvas::Canvas;
use super::sample::Sampler;
use super::stop::StopRule;
use super::{CommitMode, DecodeRule, Decoder, Forward, Outcome, Unwatched};
use crate::error::{EngineError, Result};
use crate::infiller::{DecodeOrder, Unmasking};

/// Value of [`StableCase::algorithm`] in the cases that this file replays.
pub const STABLE_ALGORITHM: &str = "stable_diffcoder";

/// One trace, as the JSON files of the reference numbers hold it.
#[derive(Clone, Debug, Deserialize)]
pub struct StableCase {
    /// Directory name of the model.
    pub model: String,
    /// [`STABLE_ALGORITHM`].
    pub algorithm: String,
    /// Arguments of the published loop.
    pub params: StableParams,
    /// The prompt.
    pub prompt_ids: Vec<u32>,
    /// What the generated region starts as; all masks if absent.
    pub canvas_ids: Option<Vec<u32>>,
    /// Prompt and result.
    pub output_ids: Vec<u32>,
    /// Denoising and commit forwards.
    pub forward_calls: usize,
    /// (forward call, position, token, confidence) of every commit in order.
    pub events_call_pos_token_conf: Vec<(usize, usize, u32, f64)>,
}

/// Arguments of the published loop.
#[derive(Clone, Debug, Deserialize)]
pub struct StableParams {
    /// Tokens to generate.
    pub gen_length: usize,
    /// Tokens of a block.
    pub block_length: usize,
    /// Denoising steps over all blocks.
    pub steps: usize,
    /// Confidence threshold; `None` commits by plan.
    pub threshold: Option<f64>,
    /// The mask.
    pub mask_id: u32,
    /// The end token.
    pub eos_id: Option<u32>,
}

/// How a replay went.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// Largest difference of a confidence; infinite if other tokens were committed.
    pub largest_error: f64,
    /// The first thing that differs other than by a confidence.
    pub mismatch: Option<String>,
}

impl StableCase {
    /// Reads a case from its JSON text.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| {
            EngineError::Request(format!("not a recorded {STABLE_ALGORITHM} trace: {error}"))
        })
    }

    /// The row of the table that replays this case.
    pub fn rule(&self, commit: CommitMode) -> Result<DecodeRule> {
        let StableParams { gen_length, block_length, steps, threshold, eos_id, .. } = self.params;
        let blocks = gen_length.checked_div(block_length).unwrap_or(0);
        if blocks == 0 || gen_length % block_length != 0 || steps % blocks != 0 || steps < blocks {
            return Err(EngineError::Request(format!(
                "{steps} steps do not divide over {gen_length} tokens in blocks of {block_length}"
            )));
        }
        let steps_per_block = steps / blocks;
        let unmasking = match threshold {
            None => Unmasking::Static { steps_per_block },
            // With fewer steps than tokens the published loop may leave masks behind and then reads stale keys.
            Some(_) if steps_per_block < block_length => {
                return Err(EngineError::Request(
                    "a threshold needs as many steps as tokens: the published loop leaves masks behind otherwise".into(),
                ));
            }
            Some(threshold) => Unmasking::Threshold(threshold),
        };
        let stop = StopRule::FullBlock { eos: eos_id };
        Ok(DecodeRule {
            block_length,
            unmasking,
            order: DecodeOrder::SurestFirst,
            stop,
            commit,
            copy: None,
            speculate: None,
        })
    }

    /// Decodes the case's canvas by `rule`, the case's [own](Self::rule) or one like it; returns the outcome, prompt and result,
    /// and the cache as it was left.
    pub fn decode<M: Forward>(
        &self,
        model: &M,
        rule: DecodeRule,
    ) -> Result<(Outcome, Vec<u32>, M::Cache)> {
        let mask = self.params.mask_id;
        let region = self.canvas_ids.clone().unwrap_or_else(|| vec![mask; self.params.gen_length]);
        let mut canvas = Canvas::with_given(&self.prompt_ids, &region, mask);
        let mut cache = model.new_cache();
        let sampler = Sampler::greedy(ChaCha8Rng::seed_from_u64(0));
        let decoder = Decoder { model, rule, sampler: &sampler };
        let outcome = decoder.run(&mut canvas, &mut cache, &mut Unwatched)?;
        Ok((outcome, canvas.tokens().to_vec(), cache))
    }

    /// Replays the case with separate commits, as it was recorded, and compares.
    pub fn replay<M: Forward>(&self, model: &M) -> Result<Replay> {
        let (outcome, tokens, _) = self.decode(model, self.rule(CommitMode::Separate)?)?;
        let want = &self.events_call_pos_token_conf;
        let mut largest_error = 0f64;
        let mut mismatch = None;
        for (index, (event, want)) in outcome.events.iter().zip(want).enumerate() {
            let got = (event.call, event.position, event.token);
            if got != (want.0, want.1, want.2) {
                mismatch = Some(format!(
                    "commit {index} is (call, position, token) {got:?}, recorded is {:?}",
                    (want.0, want.1, want.2)
                ));
                break;
            }
            largest_error = largest_error.max((event.confidence - want.3).abs());
        }
        let difference = |what: &str, got: usize, want: usize| {
            (got != want).then(|| format!("{got} {what}, recorded are {want}"))
        };
        let mismatch = mismatch
            .or_else(|| difference("commits", outcome.events.len(), want.len()))
            .or_else(|| difference("forward calls", outcome.forwards.calls(), self.forward_calls))
            .or_else(|| (tokens != self.output_ids).then(|| "another result".to_owned()));
        if mismatch.is_some() {
            largest_error = f64::INFINITY;
        }
        Ok(Replay { largest_error, mismatch })
    }
}
