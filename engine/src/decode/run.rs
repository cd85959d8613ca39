//! One run of the decode loop: what it holds, and its steps.

use std::ops::Range;

use super::canvas::Canvas;
use super::sample::{Choice, Draw};
use super::speculate::{self, Foreseen, Guess, Outlook, State};
use super::stats::{CommitEvent, ForwardCounts};
use super::{
    CommitMode, CommittedKeys as _, DecodeRule, Decoder, End, Forward, PREFILL_ROWS, Rows, Watch,
    copy, policy, schedule,
};
use crate::error::EngineError;
use crate::model::Branch;
use crate::model::mask::SequenceMask;

/// Why the loop is left before the canvas is full.
pub(super) enum Leave {
    Ended(End),
    Failed(EngineError),
}

impl<E: Into<EngineError>> From<E> for Leave {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// State of one [`Decoder::run`].
pub(super) struct Run<'a, M: Forward> {
    decoder: &'a Decoder<'a, M>,
    canvas: &'a mut Canvas,
    cache: &'a mut M::Cache,
    watch: &'a mut dyn Watch,
    pub(super) events: Vec<CommitEvent>,
    pub(super) forwards: ForwardCounts,
    foreseen: Foreseen,
    /// What the last forward would have made of the masks that are left.
    guesses: Vec<Guess>,
}

impl<'a, M: Forward> Run<'a, M> {
    pub(super) fn new(
        decoder: &'a Decoder<'a, M>,
        canvas: &'a mut Canvas,
        cache: &'a mut M::Cache,
        watch: &'a mut dyn Watch,
    ) -> Self {
        Self {
            decoder,
            canvas,
            cache,
            watch,
            events: Vec::new(),
            forwards: ForwardCounts::default(),
            foreseen: Foreseen::default(),
            guesses: Vec::new(),
        }
    }

    pub(super) fn blocks(&mut self) -> Result<(), Leave> {
        let n = self.decoder.rule.block_length;
        let mut start = self.canvas.prompt_len() / n * n;
        if self.cache.committed() > start {
            self.cache.truncate(start);
        }
        self.fill_cache(start, Purpose::Prefill)?;
        while start < self.canvas.len() {
            let block = start..(start + n).min(self.canvas.len());
            self.denoise(block.clone())?;
            if self.decoder.rule.commit == CommitMode::Separate {
                self.fill_cache(block.end, Purpose::Commit)?;
            }
            start = block.end;
        }
        Ok(())
    }

    /// See [`Decoder::first_look`].
    pub(super) fn look(&mut self) -> Result<Option<f64>, Leave> {
        let rule = self.decoder.rule;
        let n = rule.block_length;
        let start = self.canvas.prompt_len() / n * n;
        let block = start..(start + n).min(self.canvas.len());
        if self.cache.committed() > start {
            self.cache.truncate(start);
        }
        self.fill_cache(start, Purpose::Prefill)?;
        let masked = self.canvas.masked_in(block.clone());
        let (Some(&first), Some(&last)) = (masked.first(), masked.last()) else {
            return Ok(None);
        };
        self.poll()?;
        let from = self.cache.committed();
        let logits = self.decoder.model.forward(Rows {
            cache: self.cache,
            tokens: &self.canvas.tokens()[from..block.end],
            mask: SequenceMask::BlockCausal { block: n },
            commit: block.start - from,
            logits: first - from..last + 1 - from,
            branches: &[],
        })?;
        self.forwards.denoise += 1;
        let end = rule.stop.waiting();
        let lead = self.canvas.lead_at();
        let mut sum = 0.0;
        for (index, row) in logits.to_vec2::<f32>()?.iter().enumerate() {
            let position = first + index;
            let only = lead.as_ref().filter(|(at, _)| *at == position).map(|(_, only)| &only[..]);
            let draw = Draw { position, step: 0, banned: &[], only };
            let choice = self.decoder.sampler.choose(row, draw);
            sum += choice.confidence.ln();
            if Some(choice.token) == end {
                return Ok((index > 0).then(|| sum / (index + 1) as f64));
            }
        }
        Ok(Some(sum / masked.len() as f64))
    }

    /// Denoises one block until it holds no mask.
    fn denoise(&mut self, block: Range<usize>) -> Result<(), Leave> {
        let rule = self.decoder.rule;
        // A block that is given in full takes no denoising step, but its end token counts.
        self.check_end(block.clone())?;
        // What the fill has to begin with comes first and alone: what follows depends on how it is spelled.
        let mut step = 0;
        while self.canvas.lead_at().is_some_and(|(at, _)| block.contains(&at)) {
            self.denoising_step(&block, Turn { step, planned: 1 })?;
            step += 1;
        }
        let masks = self.canvas.masked_in(block.clone()).len();
        for planned in schedule::plan(rule.unmasking, masks) {
            self.denoising_step(&block, Turn { step, planned })?;
            step += 1;
        }
        Ok(())
    }

    /// The commits that follow from the logits of a block with masks.
    fn denoising_step(&mut self, block: &Range<usize>, turn: Turn) -> Result<(), Leave> {
        let masked = self.canvas.masked_in(block.clone());
        let Some(&first) = masked.first() else { return Ok(()) };
        let logits = match self.foreseen.take(self.canvas, first, block.end) {
            Some(logits) => {
                self.poll()?;
                logits
            }
            None => self.forward(block, &masked)?,
        };
        self.commit_best(&masked, &logits, turn);
        self.watch.on_step(self.canvas, self.forwards);
        self.check_end(block.clone())
    }

    /// One forward over a block with masks: its logits from the first mask to the last. It computes ahead what the rule
    /// asks for.
    fn forward(&mut self, block: &Range<usize>, masked: &[usize]) -> Result<Vec<Vec<f32>>, Leave> {
        let rule = self.decoder.rule;
        // In fused mode the rows before the block ride along; what is more than one chunk goes ahead.
        self.fill_cache(block.start, Purpose::Commit)?;
        self.poll()?;
        let from = self.cache.committed();
        let (first, last) = (masked[0] - from, masked[masked.len() - 1] - from);
        let states = match rule.speculate {
            None => Vec::new(),
            Some(least) => {
                let outlook = Outlook {
                    canvas: self.canvas,
                    guesses: &self.guesses,
                    block_length: rule.block_length,
                    order: rule.order,
                    end: rule.stop.waiting(),
                    least,
                    rows: block.end - from,
                };
                outlook.states(block)
            }
        };
        let branches: Vec<Branch<'_>> = states.iter().map(State::branch).collect();
        let logits = self.decoder.model.forward(Rows {
            cache: self.cache,
            tokens: &self.canvas.tokens()[from..block.end],
            mask: SequenceMask::BlockCausal { block: rule.block_length },
            commit: block.start - from,
            logits: first..last + 1,
            branches: &branches,
        })?;
        self.forwards.denoise += 1;
        self.forwards.ahead += states.len();
        let mut logits = logits.to_vec2::<f32>()?;
        let ahead = logits.split_off(last + 1 - first);
        self.foreseen.replace(block.start, states, ahead.into_iter());
        Ok(logits)
    }

    /// Commits what the pick rule takes among `masked`; row 0 of `logits` belongs to the first of them.
    fn commit_best(&mut self, masked: &[usize], logits: &[Vec<f32>], turn: Turn) {
        let Decoder { rule, sampler, .. } = self.decoder;
        let end = rule.stop.waiting();
        let lead = self.canvas.lead_at();
        // No fill in training is empty: one that has said no more than what it was given to say goes on.
        let first_own = self.canvas.first_own();
        let choose = |&position: &usize| {
            let only = lead.as_ref().filter(|(at, _)| *at == position).map(|(_, only)| &only[..]);
            let mut banned = self.canvas.banned_at(position);
            banned.extend(end.filter(|_| first_own == Some(position)));
            let draw = Draw { position, step: turn.step, banned: &banned, only };
            sampler.choose(&logits[position - masked[0]], draw)
        };
        let choices: Vec<Choice> = masked.iter().map(choose).collect();
        let confidences: Vec<f64> = choices.iter().map(|choice| choice.confidence).collect();
        let waits = |index: usize, picked: &[usize]| {
            let behind_lead = lead.as_ref().is_some_and(|(at, _)| *at != masked[index]);
            behind_lead
                || end == Some(choices[index].token)
                    && !(0..index).all(|left| picked.contains(&left))
        };
        // The forward that the logits come from has been counted.
        let call = self.forwards.calls().saturating_sub(1);
        let mut picked =
            policy::pick((rule.unmasking, rule.order), turn.planned, &confidences, waits);
        if let Some(least) = rule.copy.filter(|_| lead.is_none()) {
            self.agree_with_copy(least, masked, &choices, &mut picked);
        }
        self.guesses.clear();
        if rule.speculate.is_some() {
            for (index, &position) in masked.iter().enumerate() {
                if !picked.contains(&index) {
                    let banned = self.canvas.banned_at(position);
                    let draw = Draw { position, step: turn.step, banned: &banned, only: None };
                    let logits = &logits[position - masked[0]];
                    let candidates = sampler.likeliest(logits, draw, speculate::CANDIDATES);
                    self.guesses.push(Guess { position, candidates });
                }
            }
        }
        for index in picked {
            let (position, Choice { token, confidence }) = (masked[index], choices[index]);
            self.canvas.commit(position, token, confidence);
            self.events.push(CommitEvent { call, position, token, confidence });
        }
    }

    /// Adds to `picked` the masks, from the first one on, whose choices go on with what stood behind the same text before.
    fn agree_with_copy(
        &self,
        least: f64,
        masked: &[usize],
        choices: &[Choice],
        picked: &mut Vec<usize>,
    ) {
        let (Some(&first), Some(&last)) = (masked.first(), masked.last()) else { return };
        let tokens = self.canvas.tokens();
        let history =
            [self.canvas.before_hole(), &tokens[self.canvas.prompt_len()..first]].concat();
        for (position, &drafted) in
            (first..=last).zip(copy::continuation(&history, last + 1 - first))
        {
            let Ok(index) = masked.binary_search(&position) else {
                if tokens[position] == drafted {
                    continue;
                }
                return;
            };
            let Choice { token, confidence } = choices[index];
            if token != drafted {
                return;
            }
            if !picked.contains(&index) {
                if confidence < least {
                    return;
                }
                picked.push(index);
            }
        }
    }

    /// Forwards decided tokens into the cache, a chunk at a time, up to `edge`; in fused mode it leaves one chunk that
    /// can ride in a denoising step.
    fn fill_cache(&mut self, edge: usize, purpose: Purpose) -> Result<(), Leave> {
        let DecodeRule { block_length, commit, .. } = self.decoder.rule;
        let chunk = (PREFILL_ROWS / block_length * block_length).max(block_length);
        let leave = match commit {
            CommitMode::Separate => 0,
            CommitMode::Fused => chunk,
        };
        while edge.saturating_sub(self.cache.committed()) > leave {
            self.poll()?;
            let from = self.cache.committed();
            let to = edge.min(from + chunk);
            self.decoder.model.forward(Rows {
                cache: self.cache,
                tokens: &self.canvas.tokens()[from..to],
                mask: SequenceMask::BlockCausal { block: block_length },
                commit: to - from,
                logits: 0..0,
                branches: &[],
            })?;
            match purpose {
                Purpose::Prefill => self.forwards.prefill += 1,
                Purpose::Commit => self.forwards.commit += 1,
            }
        }
        Ok(())
    }

    fn check_end(&mut self, block: Range<usize>) -> Result<(), Leave> {
        match self.decoder.rule.stop.check(self.canvas, block) {
            Some(len) => Err(Leave::Ended(End::EndToken(len))),
            None => Ok(()),
        }
    }

    fn poll(&mut self) -> Result<(), Leave> {
        match self.watch.interrupt() {
            Some(interrupt) => Err(Leave::Ended(End::Interrupted(interrupt))),
            None => Ok(()),
        }
    }
}

/// A denoising step of a block.
#[derive(Clone, Copy)]
struct Turn {
    /// From 0.
    step: usize,
    /// Tokens that a static plan commits now.
    planned: usize,
}

/// What a forward that only fills the cache is for.
#[derive(Clone, Copy)]
enum Purpose {
    Prefill,
    Commit,
}
