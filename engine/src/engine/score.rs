//! Likelihood of a text that stands in a document: what a heat map shows.

use super::Engine;
use super::one::Poll;
use crate::cancel::CancelToken;
use crate::decode::score::{Scored, Scorer};
use crate::frame;
use crate::infiller::{InfillError, LikelyToken, Score, ScoreRequest, ScoredToken};
use crate::prompt::layout::Layout;

/// The scored text gets at most this share of the context; longer ones are scored in parts.
const TEXT_SHARE: usize = 2;

impl Engine {
    pub(super) fn score_text(
        &mut self,
        request: &ScoreRequest,
        cancel: &CancelToken,
    ) -> Result<Score, InfillError> {
        let (ids, starts) = self.tokenizer.encode_with_starts(&request.text)?;
        let most = (self.serving.context_tokens / TEXT_SHARE).max(1);
        let mut tokens = Vec::with_capacity(ids.len());
        for (part, ids) in ids.chunks(most).enumerate() {
            let first = part * most;
            let from = starts[first];
            let to = starts.get(first + ids.len()).copied().unwrap_or(request.text.len());
            let left = [&*request.left, &request.text[..from]].concat();
            let right = [&request.text[to..], &*request.right].concat();
            self.score_part(request, (&left, ids, &right), cancel, &mut tokens)?;
        }
        // A character that several tokens make up ends with the last of them.
        let ends = starts.iter().skip(1).copied().chain([request.text.len()]);
        for ((token, &start), end) in tokens.iter_mut().zip(&starts).zip(ends) {
            token.bytes = start..end;
        }
        Ok(Score { tokens })
    }

    /// Scores `ids` between two texts; byte ranges are filled in by the caller.
    fn score_part(
        &mut self,
        request: &ScoreRequest,
        (left, ids, right): (&str, &[u32], &str),
        cancel: &CancelToken,
        tokens: &mut Vec<ScoredToken>,
    ) -> Result<(), InfillError> {
        let layout = Layout {
            tokenizer: &self.tokenizer,
            format: self.serving.format,
            prompt_tokens: self.serving.context_tokens.saturating_sub(ids.len()),
            related: &[],
        };
        let key = format!("{}#score", request.document_key);
        let prompt = layout.prompt(left, right, self.windows.of(&key))?.tokens;
        let sequence = [&prompt[..], ids].concat();
        let mut keys = self.prefixes.take(&prompt).unwrap_or_else(|| self.model.new_cache());
        let mut failure = None;
        let scorer = Scorer {
            model: &self.model,
            block_length: self.serving.block_length,
            mask: self.tokenizer.special().mask,
        };
        let ended =
            scorer.run((&sequence, prompt.len()), &mut keys, &mut Poll(cancel), |scored| {
                let Scored { position, logits } = scored;
                match self.scored(sequence[position], &logits, request.alternatives) {
                    Ok(token) => tokens.push(token),
                    Err(error) => failure = Some(error),
                }
            })?;
        self.prefixes.put(&sequence, keys);
        if ended.is_err() {
            return Err(InfillError::Cancelled);
        }
        failure.map_or(Ok(()), Err)
    }

    fn scored(
        &self,
        token: u32,
        logits: &[f32],
        alternatives: usize,
    ) -> Result<ScoredToken, InfillError> {
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit - top).exp()).sum();
        let log = |id: usize| f64::from(logits[id] - top) - sum.ln();
        let is_text = |id: &usize| {
            *id < self.tokenizer.vocab_size() && *id != self.tokenizer.special().mask as usize
        };
        let mut ranked: Vec<usize> = (0..logits.len()).filter(is_text).collect();
        let kept = alternatives.min(ranked.len());
        if kept < ranked.len() {
            ranked.select_nth_unstable_by(kept, |&a, &b| logits[b].total_cmp(&logits[a]));
        }
        ranked.truncate(kept);
        ranked.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let alternatives = ranked
            .into_iter()
            .map(|id| {
                let text = frame::pieces(&self.tokenizer, &[id as u32])?.concat();
                Ok(LikelyToken { text, probability: log(id).exp() })
            })
            .collect::<Result<_, InfillError>>()?;
        Ok(ScoredToken { bytes: 0..0, log_probability: log(token as usize), alternatives })
    }
}
