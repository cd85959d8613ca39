//! One fill behind one prompt: keys from the prefix cache, the decode loop, the text it left.

use std::time::Instant;

use super::Engine;
use super::confidence::Expectation;
use crate::cancel::CancelToken;
use crate::decode::canvas::{Canvas, Cell};
use crate::decode::lead::Lead;
use crate::decode::sample::Sampler;
use crate::decode::stats::ForwardCounts;
use crate::decode::stop::StopRule;
use crate::decode::{CommitMode, DecodeRule, Decoder, End, FirstLook, Interrupt, Outcome, Watch};
use crate::error::EngineError;
use crate::frame;
use crate::infiller::{
    Finish, FirstLine, Frame, FrameCell, HoleFill, InfillError, InfillLimits, InfillStats, Sampling,
};
use crate::prompt::chat::end_of_answer;
use crate::tokenizer::Tokenizer;

/// One request while it runs: who follows it, and what it has cost so far.
pub(super) struct Session<'a> {
    pub(super) cancel: &'a CancelToken,
    pub(super) limits: &'a InfillLimits,
    /// What the fill of each hole must not be, where anything.
    pub(super) avoid: &'a [&'a str],
    pub(super) on_frame: &'a mut dyn FnMut(&Frame),
    /// Frames are of interest: not while an alternative or a first look is computed.
    pub(super) shown: bool,
    pub(super) stats: InfillStats,
}

/// How often a fill that must not come out as it did is decoded anew.
const MOST_REJECTIONS: usize = 4;

/// What a fill goes on from.
pub(super) struct Opening {
    /// The prompt.
    pub(super) tokens: Vec<u32>,
    /// Text that was taken out of the prompt and that the fill has to begin with.
    pub(super) lead: String,
    /// Tokens that the fill may have besides those that the request grants, as long as the context has room for them.
    pub(super) surplus: usize,
    /// Tokens of the prompt up to the end of the text before the hole; 0 where that does not stand as it is.
    pub(super) before_hole: usize,
    /// How an answer ends, where the fill is one.
    pub(super) answer: Option<Answer>,
}

/// A fill that is the content of a code block.
pub(super) struct Answer {
    /// Closes the block, on a line of its own.
    pub(super) fence: String,
    /// Whether the line end in front of it belongs to the fill.
    pub(super) line_end: bool,
}

impl Opening {
    /// Where the text of a fill ends that goes on, and why.
    fn end(&self, text: &str, limits: &InfillLimits) -> Option<(usize, Finish)> {
        let answer = self.answer.as_ref().and_then(|answer| end_of_answer(text, &answer.fence));
        let line = limits.max_lines.and_then(|most| end_of_line(text, most));
        let ends =
            [answer.map(|at| (at, Finish::EndOfText)), line.map(|at| (at, Finish::LineLimit))];
        ends.into_iter().flatten().min_by_key(|(at, _)| *at)
    }
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
    /// Fills hole `hole`.
    ///
    /// A fill that the request wants to avoid is decoded again from its least sure token on, which is banned there.
    pub(super) fn fill_prompt(
        &mut self,
        opening: &Opening,
        hole: usize,
        sampling: &Sampling,
        session: &mut Session<'_>,
    ) -> Result<Filled, InfillError> {
        let mut canvas = self.canvas(opening, self.limit(session.limits, opening));
        let (mut filled, mut n_tokens) =
            self.denoise((&mut canvas, opening), hole, sampling, session)?;
        for _ in 0..MOST_REJECTIONS {
            let unwanted = session.avoid.get(hole).is_some_and(|text| *text == filled.fill.text);
            let rejected = canvas.least_sure(filled.tokens.len());
            let (true, Some(rejected)) = (unwanted, rejected) else { break };
            canvas.reject(rejected, self.tokenizer.special().mask);
            (filled, n_tokens) = self.denoise((&mut canvas, opening), hole, sampling, session)?;
        }
        session.stats.tokens += n_tokens;
        Ok(filled)
    }

    /// Turns the masks of a canvas into the fill of hole `hole`; with it, how many tokens count in its costs.
    fn denoise(
        &mut self,
        (canvas, opening): (&mut Canvas, &Opening),
        hole: usize,
        sampling: &Sampling,
        session: &mut Session<'_>,
    ) -> Result<(Filled, usize), InfillError> {
        let limits = session.limits;
        let prompt = &canvas.tokens()[..canvas.prompt_len()];
        let mut keys = self.prefixes.take(prompt).unwrap_or_else(|| self.model.new_cache());
        session.stats.prompt_tokens += prompt.len();
        session.stats.cached_tokens += keys.len();
        let sampler = self.sampler(sampling);
        let mut follower = Follower::silent(session.cancel, limits, opening, &self.tokenizer);
        follower.hole = hole;
        follower.most_tokens = self.limit(limits, opening);
        follower.forwards_before = session.stats.forwards;
        if session.shown {
            follower.on_frame = Some(&mut *session.on_frame);
        }
        let decoder = self.decoder(&sampler, sampling);
        let outcome = decoder.run(canvas, &mut keys, &mut follower)?;
        let failure = follower.failure;
        self.prefixes.put(canvas.tokens(), keys);
        session.stats.forwards += outcome.forwards.total();
        session.stats.prefill_forwards += outcome.forwards.prefill;
        session.stats.canvases_ahead += outcome.forwards.ahead;
        if let Some(error) = failure {
            return Err(error.into());
        }
        if outcome.end == End::Interrupted(Interrupt::Cancelled) {
            return Err(InfillError::Cancelled);
        }
        Ok(self.filled((canvas, opening), &outcome, limits)?)
    }

    /// How sure the model is of the first block of a fill; lower than any number where it would be empty.
    pub(super) fn first_look(
        &mut self,
        opening: &Opening,
        sampling: &Sampling,
        session: &mut Session<'_>,
    ) -> Result<f64, InfillError> {
        let mut canvas = self.canvas(opening, self.serving.block_length);
        let mut keys =
            self.prefixes.take(&opening.tokens).unwrap_or_else(|| self.model.new_cache());
        let sampler = self.sampler(sampling);
        let mut follower =
            Follower::silent(session.cancel, session.limits, opening, &self.tokenizer);
        let decoder = self.decoder(&sampler, sampling);
        let look = decoder.first_look(&mut canvas, &mut keys, &mut follower)?;
        self.prefixes.put(canvas.tokens(), keys);
        match look {
            Ok(FirstLook { mean_log_confidence, forwards }) => {
                session.stats.forwards += forwards.total();
                session.stats.prefill_forwards += forwards.prefill;
                Ok(mean_log_confidence.unwrap_or(f64::NEG_INFINITY))
            }
            Err(Interrupt::Cancelled) => Err(InfillError::Cancelled),
            // Late: any order will do.
            Err(Interrupt::Deadline | Interrupt::Enough | Interrupt::Unsure) => {
                Ok(f64::NEG_INFINITY)
            }
        }
    }

    /// Masks behind `prompt` up to a block edge: models have only ever seen whole blocks. What lies past the limit is
    /// decoded and cut off.
    fn canvas(&self, opening: &Opening, tokens: usize) -> Canvas {
        let prompt = &opening.tokens;
        let end = (prompt.len() + tokens).next_multiple_of(self.serving.block_length);
        let mask = self.tokenizer.special().mask;
        let lead = self.token_bytes.as_ref().and_then(|tokens| Lead::new(&opening.lead, tokens));
        Canvas::masks(prompt, end - prompt.len(), mask)
            .with_lead(lead)
            .with_text_before(opening.before_hole)
    }

    /// Most tokens of a fill: the surplus takes none of the request's, as long as the context has room for both.
    fn limit(&self, limits: &InfillLimits, opening: &Opening) -> usize {
        let taken = opening.tokens.len() + limits.max_tokens;
        let room = self.serving.context_tokens.saturating_sub(taken);
        limits.max_tokens + opening.surplus.min(room)
    }

    fn decoder<'a>(
        &'a self,
        sampler: &'a Sampler,
        sampling: &Sampling,
    ) -> Decoder<'a, crate::model::Model> {
        // A choice may be as sure as 1: that is not to be anybody's doing where 1 means off.
        let unless_off = |least: Option<f64>| least.filter(|&least| least < 1.0);
        let rule = DecodeRule {
            block_length: self.serving.block_length,
            unmasking: sampling.unmasking,
            order: sampling.order.unwrap_or(self.serving.order),
            stop: StopRule::Decided { eos: self.tokenizer.special().eos },
            commit: CommitMode::Fused,
            copy: unless_off(sampling.copy_draft.or(self.serving.copy_draft)),
            speculate: unless_off(sampling.speculate.or(self.serving.speculate)),
        };
        Decoder { model: &self.model, rule, sampler }
    }

    /// The fill that a decode left on its canvas, and how many tokens count in its costs.
    fn filled(
        &self,
        (canvas, opening): (&Canvas, &Opening),
        outcome: &Outcome,
        limits: &InfillLimits,
    ) -> Result<(Filled, usize), EngineError> {
        let limit = self.limit(limits, opening);
        let (len, finish) = match outcome.end {
            End::EndToken(len) if len <= limit => (len, Finish::EndOfText),
            End::EndToken(_) | End::CanvasFull => (limit, Finish::TokenLimit),
            // The text says below which bound was met; none, where what was enough lies past the limit.
            End::Interrupted(Interrupt::Enough) => {
                (canvas.gapless().min(limit), Finish::TokenLimit)
            }
            End::Interrupted(Interrupt::Unsure) => (canvas.gapless().min(limit), Finish::Unsure),
            End::Interrupted(_) => (canvas.gapless().min(limit), Finish::Deadline),
        };
        let counted = len + usize::from(finish == Finish::EndOfText);
        let is_committed = |cell: &&Cell| matches!(cell, Cell::Committed { .. });
        let n_tokens = canvas.cells().iter().take(counted).filter(is_committed).count();
        let mut tokens = canvas.generated()[..len].to_vec();
        let pieces = frame::pieces(&self.tokenizer, &tokens)?;
        let mut text = pieces.concat();
        let mut finish = finish;
        if let Some((cut, reason)) = opening.end(&text, limits) {
            text.truncate(cut);
            // Holes that are filled later must see what this one gets, no more.
            tokens = self.tokenizer.encode(&text)?;
            finish = reason;
        }
        if let Some(answer) = &opening.answer {
            text.truncate(text.trim_end_matches(['\n', '\r']).len());
            if answer.line_end && !text.is_empty() {
                text.push('\n');
            }
        }
        let confidence_up_to = |len| match n_tokens {
            0 => 0.0,
            _ => confidence_of(canvas, (&pieces, len), counted) as f32,
        };
        let confidence = confidence_up_to(text.len());
        // A decode that ends before it has spelled the lead has nothing to say.
        let text = text.strip_prefix(canvas.lead()).unwrap_or_default().to_owned();
        let first_line = first_line_end(&text)
            .map(|len| FirstLine { len, confidence: confidence_up_to(canvas.lead().len() + len) });
        let fill = HoleFill { text, confidence, finish, first_line };
        Ok((Filled { fill, tokens }, n_tokens))
    }
}

/// The confidence of a fill of `counted` tokens whose first `kept` bytes, in `pieces`, became its text.
fn confidence_of(canvas: &Canvas, (pieces, kept): (&[String], usize), counted: usize) -> f64 {
    let mut expectation = Expectation::new(canvas.lead());
    let (mut left, mut used) = (kept, 0);
    for (piece, &cell) in pieces.iter().zip(canvas.cells()) {
        if left == 0 {
            break;
        }
        expectation.push(&piece[..piece.floor_char_boundary(left)], cell);
        left = left.saturating_sub(piece.len());
        used += 1;
    }
    // A fill without text of its own is as sure as its end, and as tokens that finish no character.
    if kept <= canvas.lead().len() {
        canvas.cells()[used..counted].iter().for_each(|&cell| expectation.push("", cell));
    }
    expectation.confidence()
}

/// The cells without the text that stands before the hole.
fn behind(mut lead: &str, mut cells: Vec<FrameCell>) -> Vec<FrameCell> {
    for cell in &mut cells {
        let FrameCell::Committed { text, .. } = cell else { break };
        let same = text.chars().zip(lead.chars()).take_while(|(a, b)| a == b);
        let shared = same.map(|(character, _)| character.len_utf8()).sum();
        if shared == 0 && !text.is_empty() {
            break;
        }
        *text = text[shared..].to_owned();
        lead = &lead[shared..];
    }
    cells
}

/// Where the first line of a text ends that is not blank, if more than a line end follows.
fn first_line_end(text: &str) -> Option<usize> {
    let begin = text.find(|character: char| !character.is_whitespace())?;
    let end = begin + text[begin..].find(['\n', '\r'])?;
    (!text[end..].trim().is_empty()).then_some(end)
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
    opening: &'a Opening,
    tokenizer: &'a Tokenizer,
    on_frame: Option<&'a mut dyn FnMut(&Frame)>,
    /// What lies past it is cut off the fill.
    most_tokens: usize,
    /// The wanted lines or the answer are complete.
    enough: bool,
    /// However it goes on, the fill stays below the wanted confidence.
    unsure: bool,
    failure: Option<EngineError>,
}

impl<'a> Follower<'a> {
    /// One that shows no frames.
    fn silent(
        cancel: &'a CancelToken,
        limits: &'a InfillLimits,
        opening: &'a Opening,
        tokenizer: &'a Tokenizer,
    ) -> Self {
        Self {
            opening,
            hole: 0,
            forwards_before: 0,
            cancel,
            limits,
            tokenizer,
            on_frame: None,
            most_tokens: usize::MAX,
            enough: false,
            unsure: false,
            failure: None,
        }
    }
}

impl Follower<'_> {
    /// Whether the fill can still reach the wanted confidence.
    fn can_be_sure(&self, canvas: &Canvas) -> Result<bool, EngineError> {
        let decided = &canvas.generated()[..canvas.gapless().min(self.most_tokens)];
        let eos = self.tokenizer.special().eos;
        let text = decided.iter().position(|&token| token == eos).unwrap_or(decided.len());
        let mut expectation = Expectation::new(canvas.lead());
        let pieces = frame::pieces(self.tokenizer, &decided[..text])?;
        for (piece, &cell) in pieces.iter().zip(canvas.cells()) {
            expectation.push(piece, cell);
        }
        Ok(expectation.can_reach(self.limits.least_confidence))
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
        if self.unsure {
            return Some(Interrupt::Unsure);
        }
        let late = self.limits.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        late.then_some(Interrupt::Deadline)
    }

    fn on_step(&mut self, canvas: &Canvas, forwards: ForwardCounts) {
        if self.limits.max_lines.is_some() || self.opening.answer.is_some() {
            match self.tokenizer.decode(&canvas.generated()[..canvas.gapless()]) {
                Ok(text) => self.enough = self.opening.end(&text, self.limits).is_some(),
                Err(error) => self.failure = Some(error),
            }
        }
        if self.limits.least_confidence > 0.0 {
            match self.can_be_sure(canvas) {
                Ok(can) => self.unsure = !can,
                Err(error) => self.failure = Some(error),
            }
        }
        let Some(on_frame) = &mut self.on_frame else { return };
        match frame::cells(self.tokenizer, canvas).map(|cells| behind(canvas.lead(), cells)) {
            Ok(cells) => {
                let forwards = self.forwards_before + forwards.total();
                on_frame(&Frame { hole: self.hole, forwards, cells });
            }
            Err(error) => self.failure = Some(error),
        }
    }
}
