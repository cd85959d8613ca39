//! How likely a text is that stands there already, token by token.

use super::{Forward, Interrupt, PREFILL_ROWS, Rows, Watch};
use crate::decode::CommittedKeys as _;
use crate::error::EngineError;
use crate::model::mask::SequenceMask;

/// The logits of one token that stands there.
pub struct Scored {
    /// Its place on the canvas, prompt included.
    pub position: usize,
    /// Logits at its place, (V,).
    pub logits: Vec<f32>,
}

/// Scores text under a model with blocks.
#[derive(Debug)]
pub struct Scorer<'a, M> {
    /// The model.
    pub model: &'a M,
    /// Tokens of a block, `N`.
    pub block_length: usize,
    /// Id of the mask.
    pub mask: u32,
}

impl<M: Forward> Scorer<'_, M> {
    /// Scores `tokens[prompt_len..]` from left to right: the logits of each token given all tokens left of it, the rest of its
    /// block being masks. The log-probabilities then add up to that of decoding the text in this order.
    ///
    /// `cache` holds a prefix of `tokens` and is left holding a longer one. `each` gets the tokens in order. One forward for each
    /// token, over the rows of its block.
    pub fn run(
        &self,
        (tokens, prompt_len): (&[u32], usize),
        cache: &mut M::Cache,
        watch: &mut dyn Watch,
        mut each: impl FnMut(Scored),
    ) -> Result<Result<(), Interrupt>, EngineError> {
        let Self { model, block_length, mask } = *self;
        let attention = SequenceMask::BlockCausal { block: block_length };
        let chunk = (PREFILL_ROWS / block_length * block_length).max(block_length);
        cache.truncate(prompt_len / block_length * block_length);
        for position in prompt_len..tokens.len() {
            let block = position / block_length * block_length;
            while block - cache.committed() > chunk {
                if let Some(interrupt) = watch.interrupt() {
                    return Ok(Err(interrupt));
                }
                let from = cache.committed();
                let rows = &tokens[from..from + chunk];
                model.forward(Rows {
                    cache,
                    tokens: rows,
                    mask: attention,
                    commit: chunk,
                    logits: 0..0,
                    branches: &[],
                })?;
            }
            if let Some(interrupt) = watch.interrupt() {
                return Ok(Err(interrupt));
            }
            let from = cache.committed();
            let mut rows = tokens[from..position].to_vec();
            rows.resize(block + block_length - from, mask);
            let logits = model.forward(Rows {
                cache,
                tokens: &rows,
                mask: attention,
                commit: block - from,
                logits: position - from..position - from + 1,
                branches: &[],
            })?;
            for logits in logits.to_vec2::<f32>()? {
                each(Scored { position, logits });
            }
        }
        Ok(Ok(()))
    }
}
