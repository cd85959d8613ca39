//! Holes filled by the engine as it serves them, and what that costs.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use serde::Serialize;

use diffcoder_engine::cancel::CancelToken;
use diffcoder_engine::engine::Engine;
use diffcoder_engine::infiller::{
    DecodeOrder, FillMode, Finish, Infill, InfillLimits, InfillRequest, InfillStats, Infiller as _,
    Sampling, Segment, Unmasking,
};
use diffcoder_engine::related::Related;

use super::probability;

/// Whether a word that the cursor cuts is taken into the fill.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Healing {
    /// As the engine serves.
    On,
    /// It stays in the prompt.
    Off,
}

/// How the engine serves, where it is not to serve as it does by itself.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct Serving {
    /// Whether a word that the cursor cuts is taken into the fill.
    #[arg(long, value_enum, default_value = "on")]
    healing: Healing,
    /// Added to the logit of the end token; the model's own by default.
    #[arg(long, allow_negative_numbers = true, value_parser = finite)]
    end_bias: Option<f32>,
    /// Copy-draft: least confidence of a token that goes on with what stood behind the same text before, 1 for none; the model's
    /// own by default.
    #[arg(long, value_parser = probability)]
    copy_draft: Option<f64>,
    /// Self-speculative decoding: least probability of what is computed ahead, 1 for nothing; the model's own by default. It changes
    /// no fill.
    #[arg(long, value_parser = probability)]
    pub(super) speculate: Option<f64>,
    /// Most tokens of other files of the package in a prompt of infill or fill-likelihood; what the model was trained for by default.
    #[arg(long)]
    pub(super) related_tokens: Option<usize>,
}

impl Serving {
    /// Whether anything is set that matters to fills alone.
    pub(super) fn decodes(&self) -> bool {
        self.healing == Healing::Off
            || self.end_bias.is_some()
            || self.copy_draft.is_some()
            || self.speculate.is_some()
    }
}

fn finite(text: &str) -> Result<f32, String> {
    let number: f32 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if number.is_finite() { Ok(number) } else { Err("choose a finite number".to_owned()) }
}

/// How the masks of a fill become tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// How many after a forward.
    pub unmasking: Unmasking,
    /// Which come first; `None` as the model is served.
    pub order: Option<DecodeOrder>,
    /// From which probability on canvases are computed ahead, 1 for none; `None` as the model is served.
    pub speculate: Option<f64>,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(order) = self.order {
            write!(f, "{}, ", order.name())?;
        }
        match self.unmasking {
            Unmasking::Threshold(threshold) => write!(f, "threshold {threshold}")?,
            Unmasking::Static { steps_per_block } => write!(f, "{steps_per_block} steps a block")?,
        }
        match self.speculate.filter(|&least| least < 1.0) {
            Some(least) => write!(f, ", speculating from {least}"),
            None => Ok(()),
        }
    }
}

/// An engine that fills one hole after another.
pub(super) struct Filler {
    engine: Engine,
    rule: Rule,
    copy_draft: Option<f64>,
    asked: usize,
}

/// What came back for one hole.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Filled {
    /// The fill.
    pub text: String,
    /// Geometric mean of its tokens' confidences, the closing one's included.
    pub confidence: f32,
    /// Whether the model closed the hole itself.
    pub closed: bool,
    /// What it cost.
    pub stats: InfillStats,
}

impl Filler {
    /// Loads a model directory. Nothing is cached yet, so that no rule profits from the prompts of another.
    pub(super) fn open(dir: &Path, rule: Rule, serving: Serving) -> Result<Self> {
        let engine = Engine::from_dir(dir)?;
        let engine = match serving.healing {
            Healing::On => engine,
            Healing::Off => engine.without_healing(),
        };
        let engine = match serving.end_bias {
            Some(bias) => engine.with_end_bias(bias),
            None => engine,
        };
        let engine = match serving.related_tokens {
            Some(tokens) => engine.with_related_tokens(tokens),
            None => engine,
        };
        let rule = Rule { order: rule.order.or(Some(engine.order())), ..rule };
        Ok(Self { engine, rule, copy_draft: serving.copy_draft, asked: 0 })
    }

    /// How it decodes, in words.
    pub(super) fn rule(&self) -> String {
        self.rule.to_string()
    }

    /// Fills the hole between two texts with at most `max_tokens` tokens; `related` is text of other files.
    pub(super) fn fill(
        &mut self,
        (left, right): (&str, &str),
        related: Vec<Related>,
        max_tokens: usize,
    ) -> Result<Filled> {
        // A name of its own for each hole: no window is carried over from the one before.
        let document_key = format!("hole {}", self.asked);
        self.asked += 1;
        let segments = vec![
            Segment::Text(left.into()),
            Segment::Hole { draft: Arc::from("") },
            Segment::Text(right.into()),
        ];
        let request = InfillRequest {
            related,
            limits: InfillLimits { max_tokens, ..InfillLimits::default() },
            sampling: Sampling {
                unmasking: self.rule.unmasking,
                order: self.rule.order,
                copy_draft: self.copy_draft,
                speculate: self.rule.speculate,
                ..Sampling::default()
            },
            ..InfillRequest::new(document_key, segments)
        };
        let mut infill = self.engine.infill(&request, &CancelToken::new(), &mut |_| ())?;
        let fill = infill.holes.swap_remove(0);
        Ok(Filled {
            text: fill.text,
            confidence: fill.confidence,
            closed: fill.finish == Finish::EndOfText,
            stats: infill.stats,
        })
    }

    /// Fills the holes of a document, byte ranges in reading order, in one request.
    pub(super) fn fill_group(
        &mut self,
        (text, holes): (&str, &[Range<usize>]),
        mode: FillMode,
        max_tokens: usize,
    ) -> Result<Infill> {
        let document_key = format!("group {}", self.asked);
        self.asked += 1;
        let mut segments = Vec::with_capacity(2 * holes.len() + 1);
        let mut from = 0;
        for hole in holes {
            segments.push(Segment::Text(text[from..hole.start].into()));
            segments.push(Segment::Hole { draft: Arc::from("") });
            from = hole.end;
        }
        segments.push(Segment::Text(text[from..].into()));
        let request = InfillRequest {
            limits: InfillLimits { max_tokens, ..InfillLimits::default() },
            sampling: Sampling {
                unmasking: self.rule.unmasking,
                order: self.rule.order,
                copy_draft: self.copy_draft,
                speculate: self.rule.speculate,
                ..Sampling::default()
            },
            mode,
            ..InfillRequest::new(document_key, segments)
        };
        Ok(self.engine.infill(&request, &CancelToken::new(), &mut |_| ())?)
    }

    /// Most tokens of other files in a prompt.
    pub(super) fn related_tokens(&self) -> usize {
        self.engine.related_tokens()
    }

    /// Tokens of a text.
    pub(super) fn tokens(&self, text: &str) -> Result<usize> {
        Ok(self.engine.tokenizer().encode(text)?.len())
    }
}

/// What some fills cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Cost {
    /// Holes filled.
    pub fills: usize,
    /// Tokens of the fills, closing ones included.
    pub tokens: usize,
    /// Forwards, prefill included.
    pub forwards: usize,
    /// Of these, the ones that only read the prompt.
    pub prefill_forwards: usize,
    /// Canvases computed ahead in the others.
    pub canvases_ahead: usize,
    /// Time in the engine.
    pub seconds: f64,
    /// `forwards / tokens`.
    pub forwards_per_token: f64,
    /// `tokens / forwards`.
    pub tokens_per_forward: f64,
    /// `tokens / (forwards - prefill_forwards)`.
    pub tokens_per_denoising_forward: f64,
    /// `tokens / seconds`.
    pub tokens_per_s: f64,
    /// Mean time of a fill.
    pub mean_ms: f64,
}

impl Cost {
    /// Adds the cost of one fill.
    pub(super) fn add(&mut self, stats: &InfillStats) {
        self.fills += 1;
        self.tokens += stats.tokens;
        self.forwards += stats.forwards;
        self.prefill_forwards += stats.prefill_forwards;
        self.canvases_ahead += stats.canvases_ahead;
        self.seconds += stats.wall.as_secs_f64();
        self.forwards_per_token = self.forwards as f64 / self.tokens.max(1) as f64;
        self.tokens_per_forward = self.tokens as f64 / self.forwards.max(1) as f64;
        let denoising = self.forwards - self.prefill_forwards;
        self.tokens_per_denoising_forward = self.tokens as f64 / denoising.max(1) as f64;
        self.tokens_per_s = self.tokens as f64 / self.seconds.max(f64::MIN_POSITIVE);
        self.mean_ms = self.seconds * 1e3 / self.fills as f64;
    }

    /// For people.
    pub(super) fn words(&self) -> String {
        format!(
            "{:.2} forwards per token ({:.2} tokens per forward, {:.2} without those that read the prompt), {:.0} tokens/s, {:.1} ms a fill",
            self.forwards_per_token,
            self.tokens_per_forward,
            self.tokens_per_denoising_forward,
            self.tokens_per_s,
            self.mean_ms
        )
    }
}
