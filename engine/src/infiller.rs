//! The border between the model and everything that asks it to fill holes: plain data, no tensors.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cancel::CancelToken;
pub use crate::decode::policy::DecodeOrder;
use crate::related::Related;

/// One piece of a document, in reading order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Text that is there and stays byte for byte as it is.
    Text(Arc<str>),
    /// A hole to be filled. `draft` is what stands there now (empty at a cursor); it is replaced.
    Hole {
        /// The text that the fill replaces.
        draft: Arc<str>,
    },
}

/// What to fill, and within which bounds.
#[derive(Clone, Debug)]
pub struct InfillRequest {
    /// Opaque name of the document (a URI, a path). Requests with the same key share prompt windows and cached keys.
    pub document_key: String,
    /// The document as text and holes in reading order.
    pub segments: Vec<Segment>,
    /// Pieces of other files, the nearest last; of those that do not fit, the first are left out. Keep them as they are
    /// while somebody types: a change makes the model read most of the prompt again.
    pub related: Vec<Related>,
    /// Where to stop.
    pub limits: InfillLimits,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// How several holes go together.
    pub mode: FillMode,
    /// How many different results are wanted, the best first; at least 1.
    pub alternatives: usize,
    /// What a person wants done with the holes, in words. Refused as [`Infiller::refusal`] says.
    pub instruction: Option<Arc<str>>,
    /// A fill that says what its hole holds already is not wanted: the token of it that the model is least sure of is
    /// banned, and what follows is filled anew.
    pub avoid_draft: bool,
}

impl InfillRequest {
    /// A request with the default limits and sampling, for one result.
    pub fn new(document_key: impl Into<String>, segments: Vec<Segment>) -> Self {
        Self {
            document_key: document_key.into(),
            segments,
            related: Vec::new(),
            limits: InfillLimits::default(),
            sampling: Sampling::default(),
            mode: FillMode::default(),
            alternatives: 1,
            instruction: None,
            avoid_draft: false,
        }
    }
}

/// How several holes of one request are filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FillMode {
    /// Fills see each other: the hole that the model is surest of is filled first and becomes context for the others.
    #[default]
    Joint,
    /// As [`Self::Joint`], but always one prompt for each hole, in which earlier fills are text: how a model fills that
    /// knows one hole only.
    InTurn,
    /// No fill sees another one: each hole gets what it would get alone, the other holes staying as they are.
    Independent,
}

/// Bounds of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct InfillLimits {
    /// Most tokens of one fill; a rewrite by instruction may have those of its draft in addition.
    pub max_tokens: usize,
    /// Most lines of one fill: it is cut before the line end that would begin one more.
    pub max_lines: Option<usize>,
    /// When to hand back the best draft so far; `None` waits for the end.
    pub deadline: Option<Instant>,
    /// A fill whose confidence cannot reach this any more is given up; 0 decodes every fill to its end.
    pub least_confidence: f64,
}

impl Default for InfillLimits {
    fn default() -> Self {
        Self { max_tokens: 64, max_lines: None, deadline: None, least_confidence: 0.0 }
    }
}

/// How masks become tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// How many masks of a block become tokens after a forward.
    pub unmasking: Unmasking,
    /// Which of them come first; `None` takes the order that the model is served with.
    pub order: Option<DecodeOrder>,
    /// 0 takes the most likely token; above it, Gumbel noise of that strength is added.
    pub temperature: f64,
    /// Nucleus: only the most likely tokens whose probabilities reach this sum may be drawn; 1 switches it off.
    pub top_p: f64,
    /// Seed of all randomness of the request.
    pub seed: u64,
    /// Copy-draft: least confidence of a choice that goes on with what stood behind the same text before, 0 to 1, where 1 switches
    /// it off; `None` takes what the model is served with.
    pub copy_draft: Option<f64>,
    /// Self-speculative decoding: least probability with which a canvas has to come up for its logits to be computed ahead, 0
    /// to 1, where 1 switches it off; `None` takes what the model is served with. It changes no fill.
    pub speculate: Option<f64>,
}

/// The unmasking rule of a block: after a forward the first mask of the [`DecodeOrder`] always becomes a token, and others
/// may with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unmasking {
    /// Those that follow in the order, up to the first one below this confidence.
    Threshold(f64),
    /// The masks of a block are split evenly over this many denoising steps.
    Static {
        /// Denoising steps for one block, at least 1.
        steps_per_block: usize,
    },
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            unmasking: Unmasking::Threshold(0.95),
            order: None,
            temperature: 0.0,
            top_p: 1.0,
            seed: 0,
            copy_draft: None,
            speculate: None,
        }
    }
}

/// The canvas of one hole after one denoising step.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Index of the hole among the holes of the request.
    pub hole: usize,
    /// Forwards of this request so far, this one included.
    pub forwards: usize,
    /// The canvas from left to right.
    pub cells: Vec<FrameCell>,
}

/// One position of the canvas.
#[derive(Clone, Debug, PartialEq)]
pub enum FrameCell {
    /// Still a mask.
    Masked,
    /// A token that will not change any more.
    Committed {
        /// The text of the token. A character that spans several tokens stands in the last of them.
        text: String,
        /// Probability that the model gave this token when it was committed, 0 to 1.
        confidence: f32,
    },
}

/// Why a fill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model closed the hole itself.
    EndOfText,
    /// `max_tokens` was reached.
    TokenLimit,
    /// `max_lines` was reached.
    LineLimit,
    /// The deadline passed; the text is what had been committed without a gap.
    Deadline,
    /// It could no longer reach [`InfillLimits::least_confidence`]; the text is what had been committed without a gap.
    Unsure,
}

/// The text for one hole.
#[derive(Clone, Debug, PartialEq)]
pub struct HoleFill {
    /// Replaces the hole.
    pub text: String,
    /// The share of the text's characters that the model expects to be right, 0 to 1: each counts with the product of the
    /// confidences of the tokens up to its own. That of the closing token where the text is empty.
    pub confidence: f32,
    /// Why the fill ended.
    pub finish: Finish,
    /// Its beginning, where there is more of it.
    pub first_line: Option<FirstLine>,
}

/// A fill up to the end of its first line that is not blank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FirstLine {
    /// Bytes of the fill's text, without the line end.
    pub len: usize,
    /// The confidence of this part alone, as [`HoleFill::confidence`].
    pub confidence: f32,
}

impl HoleFill {
    /// The first line alone; `None` if that is all of it.
    pub fn cut_to_first_line(&self) -> Option<Self> {
        let FirstLine { len, confidence } = self.first_line?;
        let text = self.text.get(..len)?.to_owned();
        Some(Self { text, confidence, finish: Finish::LineLimit, first_line: None })
    }
}

/// Result of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Infill {
    /// One fill per hole, in reading order.
    pub holes: Vec<HoleFill>,
    /// Further results, each with one fill per hole, the most confident first; none is like another one. There may be
    /// fewer than were asked for.
    pub alternatives: Vec<Vec<HoleFill>>,
    /// What it cost.
    pub stats: InfillStats,
}

/// What one request cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct InfillStats {
    /// Tokens of the prompt; of all prompts, where several holes or alternatives needed several.
    pub prompt_tokens: usize,
    /// Prompt tokens whose keys and values were still there from an earlier request.
    pub cached_tokens: usize,
    /// Forwards through the model, prefill included.
    pub forwards: usize,
    /// Of these, the ones that did nothing but read the prompt; a long prompt takes several.
    pub prefill_forwards: usize,
    /// Canvases whose logits were computed ahead in the others (self-speculative decoding).
    pub canvases_ahead: usize,
    /// Tokens of the fills, the closing one included; what was decoded past a fill's end is not counted.
    pub tokens: usize,
    /// Time from request to result.
    pub wall: Duration,
}

impl InfillStats {
    /// Tokens of the fills for each forward; 0 if there was none.
    pub fn tokens_per_forward(&self) -> f64 {
        if self.forwards == 0 { 0.0 } else { self.tokens as f64 / self.forwards as f64 }
    }
}

/// A text whose likelihood is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoreRequest {
    /// As in [`InfillRequest`].
    pub document_key: String,
    /// The document left of the text.
    pub left: Arc<str>,
    /// The text.
    pub text: Arc<str>,
    /// The document right of the text.
    pub right: Arc<str>,
    /// How many of the likeliest tokens are wanted at each place.
    pub alternatives: usize,
}

/// How likely a text is, token by token from left to right.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Its tokens in reading order; their bytes cover the text.
    pub tokens: Vec<ScoredToken>,
}

/// One token of a scored text.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredToken {
    /// Bytes of the text; empty for a token that ends inside a character.
    pub bytes: Range<usize>,
    /// Natural logarithm of its probability, given everything left of it and the text right of the range.
    pub log_probability: f64,
    /// The likeliest tokens at its place, best first; the token itself may be among them.
    pub alternatives: Vec<LikelyToken>,
}

/// A token that might stand at a place.
#[derive(Clone, Debug, PartialEq)]
pub struct LikelyToken {
    /// Its text; empty for a control token such as the end.
    pub text: String,
    /// 0 to 1.
    pub probability: f64,
}

/// Why a request has no result.
#[derive(Debug)]
pub enum InfillError {
    /// The token was cancelled.
    Cancelled,
    /// The request cannot be served as it is; the text says what to change.
    BadRequest(String),
    /// The model failed.
    Model(Box<dyn std::error::Error + Send + Sync>),
}

impl std::fmt::Display for InfillError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cancelled => f.write_str("the request was cancelled"),
            Self::BadRequest(reason) => f.write_str(reason),
            Self::Model(error) => write!(f, "the model failed: {error}"),
        }
    }
}

impl std::error::Error for InfillError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Model(error) => Some(&**error),
            Self::Cancelled | Self::BadRequest(_) => None,
        }
    }
}

/// What only some models can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// To tell how likely a text is.
    Score,
    /// To follow an instruction.
    Rewrite,
}

/// Something that fills holes: a model in this process, in another one, or a script in a test.
///
/// Blocking and object-safe; one thread owns it and everyone else sends that thread jobs.
pub trait Infiller: Send {
    /// Fills every hole of `request`.
    ///
    /// Polls `cancel` before every forward and then returns [`InfillError::Cancelled`]; work already cached is kept.
    /// Calls `on_frame` after every denoising step.
    fn infill(
        &mut self,
        request: &InfillRequest,
        cancel: &CancelToken,
        on_frame: &mut dyn FnMut(&Frame),
    ) -> Result<Infill, InfillError>;

    /// Tells how likely a text is. Polls `cancel` before every forward.
    ///
    /// # Errors
    /// Something that cannot score says so.
    fn score(
        &mut self,
        _request: &ScoreRequest,
        _cancel: &CancelToken,
    ) -> Result<Score, InfillError> {
        let reason = self.refusal(Task::Score).unwrap_or_default();
        Err(InfillError::BadRequest(reason))
    }

    /// Why it cannot do `task`, in a sentence; `None` if it can.
    fn refusal(&self, task: Task) -> Option<String> {
        Some(match task {
            Task::Score => format!("{} cannot score text", self.model_name()),
            Task::Rewrite => format!("{} does not follow instructions", self.model_name()),
        })
    }

    /// Most tokens of related text that a prompt takes; 0 where there is no use for any.
    fn related_tokens(&self) -> usize {
        0
    }

    /// Short name of the loaded model, for people.
    fn model_name(&self) -> &str;

    /// Where the model runs and what it takes there.
    fn resources(&self) -> Resources {
        Resources::default()
    }
}

/// Where a model runs and what it takes there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// The device, for people.
    pub device: String,
    /// Memory of weights and cached keys.
    pub memory_bytes: usize,
}

impl Default for Resources {
    fn default() -> Self {
        Self { device: "cpu".to_owned(), memory_bytes: 0 }
    }
}
