//! The one decode loop: blocks from left to right, each denoised until it is full.
//!
//! A model family is a row of the table [`DecodeRule`], never a second loop. The rows that exist decode with
//! block-causal attention on the absolute grid (block of position `i` is `i / N`) and without shift: the logits of a
//! mask decide that mask. The prompt's last tokens share their block with the first generated ones.

pub mod canvas;
pub mod case;
pub mod copy;
pub mod lead;
pub mod policy;
pub mod sample;
pub mod schedule;
pub mod score;
pub mod stats;
pub mod stop;

use std::ops::Range;

use candle_core::Tensor;

use crate::error::EngineError;
use crate::infiller::{DecodeOrder, Unmasking};
use crate::model::kv_cache::KvCache;
use crate::model::mask::SequenceMask;
use crate::model::{Model, RowGroup};
use canvas::Canvas;
use sample::{Choice, Draw, Sampler};
use stats::{CommitEvent, ForwardCounts};
use stop::StopRule;

/// Most rows of a forward that only fills the cache; a cancel is seen after that many.
pub const PREFILL_ROWS: usize = 256;

/// Keys and values of the committed tokens of one sequence.
pub trait CommittedKeys {
    /// Tokens whose keys and values are held.
    fn committed(&self) -> usize;
    /// Drops everything from token `len` on.
    fn truncate(&mut self, len: usize);
    /// Memory held.
    fn bytes(&self) -> usize;
}

/// What decode needs of a model.
pub trait Forward {
    /// Its key/value cache.
    type Cache: CommittedKeys;

    /// A cache that holds nothing.
    fn new_cache(&self) -> Self::Cache;

    /// One forward over consecutive rows of one sequence; returns the logits asked for, (rows.logits, V), f32 on the
    /// CPU.
    fn forward(&self, rows: Rows<'_, Self::Cache>) -> Result<Tensor, EngineError>;
}

/// Rows behind the committed tokens of one sequence.
#[derive(Debug)]
pub struct Rows<'a, C> {
    /// The sequence's cache; the rows' positions start at its length.
    pub cache: &'a mut C,
    /// Tokens of the rows.
    pub tokens: &'a [u32],
    /// Which keys a row sees.
    pub mask: SequenceMask,
    /// The first so many rows stay in the cache.
    pub commit: usize,
    /// Rows whose logits are wanted.
    pub logits: Range<usize>,
}

impl CommittedKeys for KvCache {
    fn committed(&self) -> usize {
        self.len()
    }

    fn truncate(&mut self, len: usize) {
        self.truncate(len);
    }

    fn bytes(&self) -> usize {
        self.bytes()
    }
}

impl Forward for Model {
    type Cache = KvCache;

    fn new_cache(&self) -> KvCache {
        self.new_cache()
    }

    fn forward(&self, rows: Rows<'_, KvCache>) -> Result<Tensor, EngineError> {
        let Rows { cache, tokens, mask, commit, logits } = rows;
        self.forward(&mut [RowGroup { cache, tokens, mask, commit, logits }])
    }
}

/// When a decided block enters the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitMode {
    /// In a forward of its own, as the published implementations do, after the last block too.
    Separate,
    /// In the same forward as the next block's first denoising step; the last block stays out of the cache.
    Fused,
}

/// How one model family decodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeRule {
    /// Tokens of a block, `N`.
    pub block_length: usize,
    /// How many masks become tokens after a forward.
    pub unmasking: Unmasking,
    /// Which of them come first.
    pub order: DecodeOrder,
    /// When the fill is complete.
    pub stop: StopRule,
    /// When decided blocks enter the cache.
    pub commit: CommitMode,
    /// Least confidence of a choice that agrees with a copied draft; `None` copies nothing. See [`copy`].
    pub copy: Option<f64>,
}

/// Why a decode should not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// Nobody wants the result any more.
    Cancelled,
    /// Time is up; what is there is wanted.
    Deadline,
    /// What is there is all that is wanted.
    Enough,
    /// What is there is too unlikely for what comes to be wanted.
    Unsure,
}

/// Whoever follows a decode.
pub trait Watch {
    /// Asked before every forward.
    fn interrupt(&mut self) -> Option<Interrupt>;

    /// Told after every denoising step.
    fn on_step(&mut self, canvas: &Canvas, forwards: ForwardCounts);
}

/// Follows a decode without interest: it runs to its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn interrupt(&mut self) -> Option<Interrupt> {
        None
    }

    fn on_step(&mut self, _: &Canvas, _: ForwardCounts) {}
}

/// How a decode ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The end token stands at this generated index, everything left of it is decided.
    EndToken(usize),
    /// The canvas is full.
    CanvasFull,
    /// Interrupted; the canvas may hold masks.
    Interrupted(Interrupt),
}

/// What a decode left besides its canvas and cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Every commit in order, most confident first within a forward.
    pub events: Vec<CommitEvent>,
    /// What it cost.
    pub forwards: ForwardCounts,
}

/// Runs `rule` on a canvas with a model.
#[derive(Debug)]
pub struct Decoder<'a, M> {
    /// The model.
    pub model: &'a M,
    /// The row of the table.
    pub rule: DecodeRule,
    /// How a token is chosen.
    pub sampler: &'a Sampler,
}

impl<M: Forward> Decoder<'_, M> {
    /// Fills `canvas`. `cache` holds a prefix of it (whole blocks, perhaps none) and is left holding a longer one.
    ///
    /// An interrupted decode leaves canvas and cache as they were after the last forward.
    pub fn run(
        &self,
        canvas: &mut Canvas,
        cache: &mut M::Cache,
        watch: &mut dyn Watch,
    ) -> Result<Outcome, EngineError> {
        let mut run = Run {
            decoder: self,
            canvas,
            cache,
            watch,
            events: Vec::new(),
            forwards: ForwardCounts::default(),
        };
        let end = match run.blocks() {
            Ok(()) => End::CanvasFull,
            Err(Leave::Ended(end)) => end,
            Err(Leave::Failed(error)) => return Err(error),
        };
        Ok(Outcome { end, events: run.events, forwards: run.forwards })
    }
}

/// What a model makes of the first block of an empty canvas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FirstLook {
    /// Mean log-probability of the most likely tokens of the block, through the first end token among them; `None` where
    /// that comes first and so nothing would be filled in.
    pub mean_log_confidence: Option<f64>,
    /// What it cost.
    pub forwards: ForwardCounts,
}

impl<M: Forward> Decoder<'_, M> {
    /// One forward over the first block of `canvas`, which stays as it is; the cache is filled up to that block.
    pub fn first_look(
        &self,
        canvas: &mut Canvas,
        cache: &mut M::Cache,
        watch: &mut dyn Watch,
    ) -> Result<Result<FirstLook, Interrupt>, EngineError> {
        let events = Vec::new();
        let forwards = ForwardCounts::default();
        let mut run = Run { decoder: self, canvas, cache, watch, events, forwards };
        match run.look() {
            Ok(mean_log_confidence) => {
                Ok(Ok(FirstLook { mean_log_confidence, forwards: run.forwards }))
            }
            Err(Leave::Ended(End::Interrupted(interrupt))) => Ok(Err(interrupt)),
            // Nothing is committed, so nothing ends.
            Err(Leave::Ended(_)) => {
                Ok(Ok(FirstLook { mean_log_confidence: None, forwards: run.forwards }))
            }
            Err(Leave::Failed(error)) => Err(error),
        }
    }
}

/// Why the loop is left before the canvas is full.
enum Leave {
    Ended(End),
    Failed(EngineError),
}

impl<E: Into<EngineError>> From<E> for Leave {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// State of one [`Decoder::run`].
struct Run<'a, M: Forward> {
    decoder: &'a Decoder<'a, M>,
    canvas: &'a mut Canvas,
    cache: &'a mut M::Cache,
    watch: &'a mut dyn Watch,
    events: Vec<CommitEvent>,
    forwards: ForwardCounts,
}

impl<M: Forward> Run<'_, M> {
    fn blocks(&mut self) -> Result<(), Leave> {
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
    fn look(&mut self) -> Result<Option<f64>, Leave> {
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

    /// One forward over a block with masks, and the commits that follow from it.
    fn denoising_step(&mut self, block: &Range<usize>, turn: Turn) -> Result<(), Leave> {
        let rule = self.decoder.rule;
        let masked = self.canvas.masked_in(block.clone());
        let (Some(&first), Some(&last)) = (masked.first(), masked.last()) else { return Ok(()) };
        // In fused mode the rows before the block ride along; what is more than one chunk goes ahead.
        self.fill_cache(block.start, Purpose::Commit)?;
        self.poll()?;
        let from = self.cache.committed();
        let logits = self.decoder.model.forward(Rows {
            cache: self.cache,
            tokens: &self.canvas.tokens()[from..block.end],
            mask: SequenceMask::BlockCausal { block: rule.block_length },
            commit: block.start - from,
            logits: first - from..last + 1 - from,
        })?;
        self.commit_best(&masked, &logits.to_vec2::<f32>()?, turn);
        self.forwards.denoise += 1;
        self.watch.on_step(self.canvas, self.forwards);
        self.check_end(block.clone())
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
        let call = self.forwards.calls();
        let mut picked =
            policy::pick((rule.unmasking, rule.order), turn.planned, &confidences, waits);
        if let Some(least) = rule.copy.filter(|_| lead.is_none()) {
            self.agree_with_copy(least, masked, &choices, &mut picked);
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
