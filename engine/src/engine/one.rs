//! One fill behind one prompt: keys from the prefix cache, the decode loop, the text it left.

use std::time::Instant;

use super::Engine;
use crate::cancel::CancelToken;
use crate::decode::canvas::Canvas;
use crate::decode::sample::Sampler;
use crate::decode::stats::ForwardCounts;
use crate::decode::stop::StopRule;
use crate::decode::{CommitMode, DecodeRule, Decoder, End, FirstLook, Interrupt, Outcome, Watch};
use crate::error::EngineError;
use crate::frame;
use crate::infiller::{Finish, Frame, HoleFill, InfillError, InfillLimits, InfillStats, Sampling};
use crate::tokenizer::Tokenizer;

/// One request while it runs: who follows it, and what it has cost so far.
pub(super) struct Session<'a> {
    pub(super) cancel: &'a CancelToken,
    pub(super) limits: &'a InfillLimits,
    pub(super) on_frame: &'a mut dyn FnMut(&Frame),
    /// Frames are of interest: not while an alternative or a first look is computed.
    pub(super) shown: bool,
    pub(super) stats: InfillStats,
}

/// A fill, and the tokens of its text.
pub(super) struct Filled {
    pub(super) fill: HoleFill,
    pub(super) tokens: Vec<u32>,
}

impl Session<'_> {
    /// Whether the deadline has passed.
    pub(super) fn is_late(&self) -> bool {
        self.limits.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

impl Engine {
    /// Fills hole `hole`, whose prompt is `prompt`.
    pub(super) fn fill_prompt(
        &mut self,
        prompt: &[u32],
        hole: usize,
        sampling: &Sampling,
        session: &mut Session<'_>,
    ) -> Result<Filled, InfillError> {
        let limits = session.limits;
        let mut canvas = self.canvas(prompt, limits.max_tokens);
        let mut keys = self.prefixes.take(prompt).unwrap_or_else(|| self.model.new_cache());
        session.stats.prompt_tokens += prompt.len();
        session.stats.cached_tokens += keys.len();
        let sampler = self.sampler(sampling);
        let mut follower = Follower::silent(session.cancel, limits, &self.tokenizer);
        follower.hole = hole;
        follower.forwards_before = session.stats.forwards;
        if session.shown {
            follower.on_frame = Some(&mut *session.on_frame);
        }
        let decoder = self.decoder(&sampler, sampling);
        let outcome = decoder.run(&mut canvas, &mut keys, &mut follower)?;
        let failure = follower.failure;
        self.prefixes.put(canvas.tokens(), keys);
        session.stats.forwards += outcome.forwards.total();
        if let Some(error) = failure {
            return Err(error.into());
        }
        if outcome.end == End::Interrupted(Interrupt::Cancelled) {
            return Err(InfillError::Cancelled);
        }
        let (filled, n_tokens) = self.filled(&canvas, &outcome, limits)?;
        session.stats.tokens += n_tokens;
        Ok(filled)
    }

    /// How sure the model is of the first block of a fill behind `prompt`; lower than any number where it would be empty.
    pub(super) fn first_look(
        &mut self,
        prompt: &[u32],
        sampling: &Sampling,
        session: &mut Session<'_>,
    ) -> Result<f64, InfillError> {
        let mut canvas = self.canvas(prompt, self.serving.block_length);
        let mut keys = self.prefixes.take(prompt).unwrap_or_else(|| self.model.new_cache());
        let sampler = self.sampler(sampling);
        let mut follower = Follower::silent(session.cancel, session.limits, &self.tokenizer);
        let decoder = self.decoder(&sampler, sampling);
        let look = decoder.first_look(&mut canvas, &mut keys, &mut follower)?;
        self.prefixes.put(canvas.tokens(), keys);
        match look {
            Ok(FirstLook { mean_log_confidence, forwards }) => {
                session.stats.forwards += forwards.total();
                Ok(mean_log_confidence.unwrap_or(f64::NEG_INFINITY))
            }
            Err(Interrupt::Cancelled) => Err(InfillError::Cancelled),
            // Late: any order will do.
            Err(Interrupt::Deadline | Interrupt::Enough) => Ok(f64::NEG_INFINITY),
        }
    }

    /// Masks behind `prompt` up to a block edge: models have only ever seen whole blocks. What lies past the limit is
    /// decoded and cut off.
    fn canvas(&self, prompt: &[u32], max_tokens: usize) -> Canvas {
        let end = (prompt.len() + max_tokens).next_multiple_of(self.serving.block_length);
        Canvas::masks(prompt, end - prompt.len(), self.tokenizer.special().mask)
    }

    fn decoder<'a>(
        &'a self,
        sampler: &'a Sampler,
        sampling: &Sampling,
    ) -> Decoder<'a, crate::model::Model> {
        let rule = DecodeRule {
            block_length: self.serving.block_length,
            unmasking: sampling.unmasking,
            stop: StopRule::Decided { eos: self.tokenizer.special().eos },
            commit: CommitMode::Fused,
        };
        Decoder { model: &self.model, rule, sampler }
    }

    /// The fill that a decode left on its canvas, and how many tokens count in its costs.
    fn filled(
        &self,
        canvas: &Canvas,
        outcome: &Outcome,
        limits: &InfillLimits,
    ) -> Result<(Filled, usize), EngineError> {
        let limit = limits.max_tokens;
        let (len, finish) = match outcome.end {
            End::EndToken(len) if len <= limit => (len, Finish::EndOfText),
            End::EndToken(_) | End::CanvasFull => (limit, Finish::TokenLimit),
            End::Interrupted(Interrupt::Enough) => (canvas.gapless().min(limit), Finish::LineLimit),
            End::Interrupted(_) => (canvas.gapless().min(limit), Finish::Deadline),
        };
        let counted = canvas.prompt_len() + len + usize::from(finish == Finish::EndOfText);
        let logs: Vec<f64> = outcome
            .events
            .iter()
            .filter(|event| event.position < counted)
            .map(|event| event.confidence.ln())
            .collect();
        let confidence = if logs.is_empty() {
            0.0
        } else {
            (logs.iter().sum::<f64>() / logs.len() as f64).exp()
        };
        let mut tokens = canvas.generated()[..len].to_vec();
        let mut text = frame::pieces(&self.tokenizer, &tokens)?.concat();
        let mut finish = finish;
        if let Some(cut) = limits.max_lines.and_then(|most| end_of_line(&text, most)) {
            text.truncate(cut);
            // Holes that are filled later must see what this one gets, no more.
            tokens = self.tokenizer.encode(&text)?;
            finish = Finish::LineLimit;
        }
        let fill = HoleFill { text, confidence: confidence as f32, finish };
        Ok((Filled { fill, tokens }, logs.len()))
    }
}

/// Where line number `count` (from 1) of a text ends, if there is one more behind it.
fn end_of_line(text: &str, count: usize) -> Option<usize> {
    text.match_indices('\n')
        .nth(count.checked_sub(1)?)
        .map(|(at, _)| if text[..at].ends_with('\r') { at - 1 } else { at })
}

/// Polls a cancel token, and wants nothing else.
pub(super) struct Poll<'a>(pub(super) &'a CancelToken);

impl Watch for Poll<'_> {
    fn interrupt(&mut self) -> Option<Interrupt> {
        self.0.is_cancelled().then_some(Interrupt::Cancelled)
    }

    fn on_step(&mut self, _: &Canvas, _: ForwardCounts) {}
}

/// Turns denoising steps into frames, and polls for the caller.
struct Follower<'a> {
    hole: usize,
    forwards_before: usize,
    cancel: &'a CancelToken,
    limits: &'a InfillLimits,
    tokenizer: &'a Tokenizer,
    on_frame: Option<&'a mut dyn FnMut(&Frame)>,
    /// The wanted lines are complete.
    enough: bool,
    failure: Option<EngineError>,
}

impl<'a> Follower<'a> {
    /// One that shows no frames.
    fn silent(cancel: &'a CancelToken, limits: &'a InfillLimits, tokenizer: &'a Tokenizer) -> Self {
        Self {
            hole: 0,
            forwards_before: 0,
            cancel,
            limits,
            tokenizer,
            on_frame: None,
            enough: false,
            failure: None,
        }
    }
}

impl Watch for Follower<'_> {
    fn interrupt(&mut self) -> Option<Interrupt> {
        if self.cancel.is_cancelled() || self.failure.is_some() {
            return Some(Interrupt::Cancelled);
        }
        if self.enough {
            return Some(Interrupt::Enough);
        }
        let late = self.limits.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        late.then_some(Interrupt::Deadline)
    }

    fn on_step(&mut self, canvas: &Canvas, forwards: ForwardCounts) {
        if let Some(most) = self.limits.max_lines {
            match self.tokenizer.decode(&canvas.generated()[..canvas.gapless()]) {
                Ok(text) => self.enough = end_of_line(&text, most).is_some(),
                Err(error) => self.failure = Some(error),
            }
        }
        let Some(on_frame) = &mut self.on_frame else { return };
        match frame::cells(self.tokenizer, canvas) {
            Ok(cells) => {
                let forwards = self.forwards_before + forwards.total();
                on_frame(&Frame { hole: self.hole, forwards, cells });
            }
            Err(error) => self.failure = Some(error),
        }
    }
}
