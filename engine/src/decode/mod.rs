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
mod run;
pub mod sample;
pub mod schedule;
pub mod score;
pub mod speculate;
pub mod stats;
pub mod stop;

use std::ops::Range;

use candle_core::Tensor;

use crate::error::EngineError;
use crate::infiller::{DecodeOrder, Unmasking};
use crate::model::kv_cache::KvCache;
use crate::model::mask::SequenceMask;
use crate::model::{Branch, Model, RowGroup};
use canvas::Canvas;
use run::{Leave, Run};
use sample::Sampler;
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
    /// Other ways to go on behind the committed rows; their logits follow those of the rows.
    pub branches: &'a [Branch<'a>],
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
        let Rows { cache, tokens, mask, commit, logits, branches } = rows;
        self.forward(&mut [RowGroup { cache, tokens, mask, commit, logits, branches }])
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
    /// Least probability with which a canvas has to come up for its logits to be computed ahead; `None` computes nothing
    /// ahead. See [`speculate`].
    pub speculate: Option<f64>,
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
        let mut run = Run::new(self, canvas, cache, watch);
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
        let mut run = Run::new(self, canvas, cache, watch);
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
