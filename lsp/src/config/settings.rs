//! The settings: names, types, bounds, defaults, and the text of the manual, which are the doc comments.
//!
//! `order` places a setting in the manual and `scope` says who may set it. Both travel in the schema, from which
//! [`super::catalog`] makes everything else: checks, messages, `docs/configuration.md`, the settings of the VS Code extension.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use diffcoder_engine::infiller::{DecodeOrder, FillMode, InfillRequest, Sampling, Unmasking};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::after_fill::Shape;
use crate::holes::DEFAULT_MARKER;

/// Every setting, as one document sees them.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Settings {
    /// Suggest. With `false` nothing is computed for a suggestion, not even for one that is asked for; filling selections
    /// works either way.
    #[schemars(extend(
        "order" = 1,
        "scope" = "language-overridable",
        "vscode" = "Can be set for a language: `\"[markdown]\": { \"diffcoder.enable\": false }`."
    ))]
    pub enable: bool,

    /// Settings of single languages, by the editor's name of the language:
    /// `{ "markdown": { "enable": false }, "python": { "completion.showThreshold": 0.5 } }`.
    #[schemars(extend("order" = 2, "scope" = "resource"))]
    pub languages: BTreeMap<String, BTreeMap<String, Value>>,

    /// Suggestions at the cursor.
    pub completion: Completion,
    /// What a person asks to be filled.
    pub infill: Infill,
    /// How masks become tokens.
    pub decode: Decode,
    /// What the model is told besides the document.
    pub context: Context,
    /// Where *Fill all holes* finds holes.
    pub holes: Holes,
    /// The server's process.
    pub server: Server,
}

/// Suggestions at the cursor.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
#[serde(default, rename_all = "camelCase")]
pub struct Completion {
    /// Suggest without being asked. With `false` only the editor's command for a suggestion brings one.
    #[schemars(extend("order" = 3, "scope" = "language-overridable"))]
    pub automatic: bool,

    /// Least confidence of a suggestion that comes without being asked; 0 shows everything. Confidence is the
    /// share of a suggestion's characters that the model expects you to write next.
    #[schemars(range(min = 0.0, max = 1.0), extend("order" = 4, "scope" = "language-overridable"))]
    pub show_threshold: f64,

    /// How long a suggestion that comes without being asked may be.
    #[schemars(extend("order" = 5, "scope" = "language-overridable"))]
    pub multiline: Multiline,

    /// Most tokens of a suggestion.
    #[schemars(range(min = 1, max = 1024), extend("order" = 6, "scope" = "language-overridable"))]
    pub max_tokens: usize,

    /// Longest time in milliseconds to wait for the next key before the model is asked; 0 asks at once.
    #[schemars(range(min = 0, max = 2000), extend("order" = 7, "scope" = "language-overridable"))]
    pub debounce_ms: u64,

    /// Longest time in milliseconds from the request to a suggestion that comes without being asked: what the model is
    /// sure of by then is shown. 0 waits to the end.
    #[schemars(range(min = 0, max = 60000), extend("order" = 8, "scope" = "language-overridable"))]
    pub deadline_ms: u64,
}

/// How long a suggestion may be.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[schemars(inline)]
#[serde(rename_all = "camelCase")]
pub enum Multiline {
    /// A line, and a block where a block belongs.
    Auto,
    /// A line.
    Never,
}

/// What a person asks to be filled.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
#[serde(default, rename_all = "camelCase")]
pub struct Infill {
    /// How several holes are filled in one request.
    #[schemars(extend("order" = 10, "scope" = "language-overridable"))]
    pub mode: Mode,

    /// Number of results to ask for at once. Each one takes about as long as the first.
    #[schemars(range(min = 1, max = 8), extend("order" = 11, "scope" = "language-overridable"))]
    pub alternatives: usize,

    /// Most tokens of one hole's fill.
    #[schemars(range(min = 1, max = 1024), extend("order" = 12, "scope" = "language-overridable"))]
    pub max_tokens: usize,
}

/// How several holes are filled.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[schemars(inline)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// The fills see each other; the surest hole comes first.
    Joint,
    /// Each hole is filled by itself.
    Independent,
}

/// How masks become tokens.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
#[serde(default, rename_all = "camelCase")]
pub struct Decode {
    /// Confidence at which a token is committed; the first one of a step always is. Lower is faster and less exact.
    #[schemars(range(min = 0.0, max = 1.0), extend("order" = 15, "scope" = "language-overridable"))]
    pub threshold: f64,

    /// Which masks of a block become tokens first.
    #[schemars(extend("order" = 16, "scope" = "language-overridable"))]
    pub order: Order,
}

/// Which masks of a block become tokens first.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[schemars(inline)]
#[serde(rename_all = "camelCase")]
pub enum Order {
    /// As the model's `config.json` says.
    Model,
    /// From left to right.
    LeftToRight,
    /// The surest ones, wherever they are.
    SurestFirst,
}

impl Order {
    /// `None` for the model's own.
    pub fn chosen(self) -> Option<DecodeOrder> {
        match self {
            Self::Model => None,
            Self::LeftToRight => Some(DecodeOrder::LeftToRight),
            Self::SurestFirst => Some(DecodeOrder::SurestFirst),
        }
    }
}

/// What the model is told besides the document.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
#[serde(default, rename_all = "camelCase")]
pub struct Context {
    /// Show a model that was trained for it text of other files that belongs to the place of the cursor. Files that
    /// `.gitignore` or `.diffcoderignore` names are never read, nor are those that look like secrets.
    #[schemars(extend("order" = 17, "scope" = "language-overridable"))]
    pub related: bool,

    /// Most tokens of text from other files, where the model has use for more.
    #[schemars(range(min = 0, max = 65536), extend("order" = 18, "scope" = "language-overridable"))]
    pub budget: usize,
}

/// Where *Fill all holes* finds holes.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
#[serde(default, rename_all = "camelCase")]
pub struct Holes {
    /// Text that marks a hole for *Fill all holes*, besides the stubs of each language; empty for none.
    #[schemars(extend("order" = 19, "scope" = "language-overridable"))]
    pub marker: String,
}

/// The server's process.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
#[serde(default, rename_all = "camelCase")]
pub struct Server {
    /// Model directory for the server (`--model`). Empty: the model inside the server.
    #[schemars(extend("order" = 21, "scope" = "machine"))]
    pub model: String,

    /// What the server writes to its log.
    #[schemars(extend("order" = 22, "scope" = "machine"))]
    pub log_level: LogLevel,

    /// File for the log; a new one is begun every day, and seven are kept. Empty: the log goes to stderr.
    #[schemars(extend("order" = 24, "scope" = "machine"))]
    pub log_file: String,

    /// Write the text of fills to the log (level `trace`). Otherwise no source code gets there.
    #[schemars(extend("order" = 25, "scope" = "machine"))]
    pub log_text: bool,

    /// Count suggestions shown and accepted, and their latency, in a file of this machine; `diffcoder-lsp stats` shows it.
    #[schemars(extend("order" = 26, "scope" = "machine"))]
    pub stats: bool,

    /// Minutes without a request after which the model leaves the memory; the next request loads it again. 0: never.
    #[schemars(range(min = 0, max = 10080), extend("order" = 27, "scope" = "machine"))]
    pub idle_unload_minutes: u64,
}

/// Least importance of what is logged.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[schemars(inline)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// As `tracing` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enable: true,
            languages: BTreeMap::new(),
            completion: Completion::default(),
            infill: Infill::default(),
            decode: Decode::default(),
            context: Context::default(),
            holes: Holes::default(),
            server: Server::default(),
        }
    }
}

impl Default for Completion {
    fn default() -> Self {
        Self {
            automatic: true,
            show_threshold: SHOW_THRESHOLD,
            multiline: Multiline::Auto,
            max_tokens: 64,
            debounce_ms: 150,
            deadline_ms: 2000,
        }
    }
}

/// Shows two of three of the embedded model's fills, of whose characters more than 40 % are right (its model card has the
/// curve).
const SHOW_THRESHOLD: f64 = 0.2;

impl Default for Infill {
    fn default() -> Self {
        Self { mode: Mode::Joint, alternatives: 1, max_tokens: 64 }
    }
}

impl Default for Decode {
    fn default() -> Self {
        Self { threshold: 0.95, order: Order::Model }
    }
}

impl Default for Context {
    fn default() -> Self {
        Self { related: true, budget: 1024 }
    }
}

impl Default for Holes {
    fn default() -> Self {
        Self { marker: DEFAULT_MARKER.to_owned() }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            model: String::new(),
            log_level: LogLevel::Warn,
            log_file: String::new(),
            log_text: false,
            stats: true,
            idle_unload_minutes: 30,
        }
    }
}

impl Settings {
    /// How masks become tokens.
    pub fn sampling(&self) -> Sampling {
        Sampling {
            unmasking: Unmasking::Threshold(self.decode.threshold),
            order: self.decode.order.chosen(),
            ..Sampling::default()
        }
    }

    /// `sampling` with what the settings say.
    fn sampling_of(&self, sampling: Sampling) -> Sampling {
        let Sampling { unmasking, order, .. } = self.sampling();
        Sampling { unmasking, order, ..sampling }
    }

    /// How several holes go together.
    pub fn fill_mode(&self) -> FillMode {
        match self.infill.mode {
            Mode::Joint => FillMode::Joint,
            Mode::Independent => FillMode::Independent,
        }
    }

    /// How long a suggestion that comes by itself waits at most.
    pub(crate) fn debounce(&self) -> Duration {
        Duration::from_millis(self.completion.debounce_ms)
    }

    /// How long after its request a suggestion that comes by itself is at the latest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let milliseconds = self.completion.deadline_ms;
        (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
    }

    /// `request` within the bounds of a suggestion.
    pub(crate) fn suggestion(&self, mut request: InfillRequest) -> InfillRequest {
        request.limits.max_tokens = self.completion.max_tokens;
        request.sampling = self.sampling_of(request.sampling);
        request
    }

    /// `request` as a person's order.
    pub(crate) fn order(&self, mut request: InfillRequest) -> InfillRequest {
        request.limits.max_tokens = self.infill.max_tokens;
        request.sampling = self.sampling_of(request.sampling);
        request.mode = self.fill_mode();
        request
    }

    /// The shape of a suggestion where the place alone would want `shape`.
    pub(crate) fn shape(&self, shape: Shape) -> Shape {
        match (self.completion.multiline, shape) {
            (Multiline::Never, Shape::Block) => Shape::Line,
            _ => shape,
        }
    }

    /// The model's directory; `None` for the embedded one.
    pub fn model_dir(&self) -> Option<&Path> {
        (!self.server.model.is_empty()).then(|| Path::new(&self.server.model))
    }

    /// Where the log goes; `None` for stderr.
    pub fn log_file(&self) -> Option<PathBuf> {
        (!self.server.log_file.is_empty()).then(|| PathBuf::from(&self.server.log_file))
    }

    /// After which silence the model leaves the memory.
    pub fn idle_unload(&self) -> Option<Duration> {
        let minutes = self.server.idle_unload_minutes;
        (minutes > 0).then(|| Duration::from_secs(60 * minutes))
    }
}
