//! The engine in this process: a model directory in memory that fills holes.

use std::borrow::Cow;
use std::path::Path;
use std::time::Instant;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::cancel::CancelToken;
use crate::decode::canvas::Canvas;
use crate::decode::sample::{Candidates, Sampler};
use crate::decode::stats::ForwardCounts;
use crate::decode::stop::StopRule;
use crate::decode::{CommitMode, DecodeRule, Decoder, End, Interrupt, Outcome, Watch};
use crate::error::EngineError;
use crate::frame;
use crate::infiller::{
    Finish, Frame, HoleFill, Infill, InfillError, InfillRequest, InfillStats, Infiller, Sampling,
    Segment, Unmasking,
};
use crate::kernels::matmul::Precision;
use crate::model::Model;
use crate::model::config::{Family, ModelConfig};
use crate::model::kv_cache::KvCache;
use crate::model::ops::Ops;
use crate::model::weights::Weights;
use crate::prefix_cache::{CacheLimits, PrefixCache};
use crate::prompt::budget::WindowState;
use crate::prompt::format::PromptFormat;
use crate::prompt::layout::Layout;
use crate::tokenizer::Tokenizer;

/// Documents whose windows are remembered.
const DOCUMENTS: usize = 64;

/// The files of a model directory, read or embedded.
#[derive(Clone, Copy, Debug)]
pub struct ModelParts<'a> {
    /// Name of the model, for people.
    pub name: &'a str,
    /// `config.json`.
    pub config: &'a str,
    /// `tokenizer.json`.
    pub tokenizer: &'a str,
    /// `special_tokens_map.json`, where there is one.
    pub special_tokens_map: Option<&'a str>,
    /// `tokenizer_config.json`, where there is one.
    pub tokenizer_config: Option<&'a str>,
    /// `model.safetensors`.
    pub weights: &'a [u8],
}

/// A loaded model with everything that filling holes needs.
pub struct Engine {
    name: String,
    model: Model,
    tokenizer: Tokenizer,
    serving: Serving,
    prefixes: PrefixCache<KvCache>,
    windows: DocumentWindows,
}

/// Windows by document key, least recently used first.
#[derive(Debug, Default)]
struct DocumentWindows(Vec<(String, WindowState)>);

impl DocumentWindows {
    /// The windows of a document, as its last request left them.
    fn of(&mut self, document_key: &str) -> &mut WindowState {
        let state = match self.0.iter().position(|(key, _)| key == document_key) {
            Some(index) => self.0.remove(index),
            None => (document_key.to_owned(), WindowState::default()),
        };
        if self.0.len() == DOCUMENTS {
            self.0.remove(0);
        }
        &mut self.0.push_mut(state).1
    }
}

/// How the model's family is served.
#[derive(Clone, Copy, Debug)]
struct Serving {
    format: PromptFormat,
    block_length: usize,
    /// Prompt and fill together.
    context_tokens: usize,
}

impl Engine {
    /// Loads a model directory: `config.json`, tokenizer files, weights in one file or in shards.
    pub fn from_dir(dir: &Path) -> Result<Self, EngineError> {
        let path = dir.join("config.json");
        let config = std::fs::read_to_string(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => EngineError::MissingFile {
                path: path.clone(),
                mend: "a model directory holds config.json, tokenizer.json and its weights",
            },
            _ => EngineError::Read { path: path.clone(), source },
        })?;
        let config = ModelConfig::from_json(&config)?;
        let tokenizer = Tokenizer::from_dir(dir)?;
        let name = dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy().into_owned();
        Self::new(name, &config, tokenizer, Weights::from_dir(dir)?)
    }

    /// Builds an engine from the contents of a model directory's files.
    pub fn from_parts(parts: ModelParts<'_>) -> Result<Self, EngineError> {
        let config = ModelConfig::from_json(parts.config)?;
        let tokenizer = Tokenizer::from_json(
            parts.tokenizer,
            parts.special_tokens_map,
            parts.tokenizer_config,
        )?;
        let weights = Weights::from_bytes(parts.weights, parts.name)?;
        Self::new(parts.name.to_owned(), &config, tokenizer, weights)
    }

    fn new(
        name: String,
        config: &ModelConfig,
        tokenizer: Tokenizer,
        weights: Weights,
    ) -> Result<Self, EngineError> {
        let serving = Serving::of(config)?;
        serving.check(config, &tokenizer)?;
        let model = Model::new(config, weights, Ops::default())?;
        let prefixes = PrefixCache::new(serving.block_length, CacheLimits::default());
        Ok(Self { name, model, tokenizer, serving, prefixes, windows: DocumentWindows::default() })
    }

    /// The same engine, whose prefills round the operands of matrix products to bf16 where the CPU multiplies those
    /// faster; decoding stays in f32.
    ///
    /// Prompts of many tokens are read several times faster, and the logits after them move by the rounding.
    pub fn with_bf16_prefill(mut self) -> Self {
        self.model = self.model.with_prefill(Ops::Fused { precision: Precision::Bf16 });
        self
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    fn sampler(&self, sampling: &Sampling) -> Sampler {
        Sampler {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            rng: ChaCha8Rng::seed_from_u64(sampling.seed),
            candidates: Candidates::Text {
                mask: self.tokenizer.special().mask,
                vocab_size: self.tokenizer.vocab_size(),
            },
        }
    }

    /// The fill of at most `limit` tokens that a decode left on its canvas.
    fn fill(
        &self,
        canvas: &Canvas,
        outcome: &Outcome,
        limit: usize,
    ) -> Result<(HoleFill, usize), EngineError> {
        let (len, finish) = match outcome.end {
            End::EndToken(len) if len <= limit => (len, Finish::EndOfText),
            End::EndToken(_) | End::CanvasFull => (limit, Finish::TokenLimit),
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
        let text = frame::pieces(&self.tokenizer, &canvas.generated()[..len])?.concat();
        Ok((HoleFill { text, confidence: confidence as f32, finish }, logs.len()))
    }
}

impl Serving {
    fn of(config: &ModelConfig) -> Result<Self, EngineError> {
        let (format, context_tokens) = match &config.family {
            Family::StableDiffCoder => (PromptFormat::SeedFim, config.max_position_embeddings),
            Family::Diffcoder(own) if own.capabilities.iter().any(|can| can == "infill") => {
                (own.layout, own.context_tokens)
            }
            Family::Diffcoder(own) => {
                return Err(EngineError::Config(format!(
                    "this model was not trained to infill (it left the stage \"{}\", and diffcoder.capabilities lacks \"infill\"): train it through the cpt stage and export that checkpoint",
                    own.stage
                )));
            }
            Family::Transformer => return Err(unknown_family()),
        };
        let block_length = config.block_length().ok_or_else(unknown_family)?;
        Ok(Self { format, block_length, context_tokens })
    }

    /// Tokenizer and model must belong together, and the layout's markers must exist.
    fn check(self, config: &ModelConfig, tokenizer: &Tokenizer) -> Result<(), EngineError> {
        let special = tokenizer.special();
        if tokenizer.vocab_size() > config.vocab_size {
            return Err(EngineError::Tokenizer(format!(
                "tokenizer.json has {} ids but vocab_size in config.json is {}: the files do not belong together",
                tokenizer.vocab_size(),
                config.vocab_size
            )));
        }
        if special.fim.is_none() || (self.format.splits_rest() && special.fim_rest.is_none()) {
            return Err(EngineError::Tokenizer(
                "the tokenizer lacks the fill-in-the-middle tokens of the model's layout: take the tokenizer.json that belongs to its weights".into(),
            ));
        }
        Ok(())
    }
}

impl Infiller for Engine {
    fn infill(
        &mut self,
        request: &InfillRequest,
        cancel: &CancelToken,
        on_frame: &mut dyn FnMut(&Frame),
    ) -> Result<Infill, InfillError> {
        let started = Instant::now();
        let (left, right) = around_the_hole(&request.segments)?;
        check_sampling(&request.sampling)?;
        if request.limits.max_tokens == 0 {
            return Err(bad("max_tokens is 0: ask for at least one token"));
        }
        let Serving { format, block_length, context_tokens } = self.serving;
        let prompt_tokens = context_tokens.saturating_sub(request.limits.max_tokens);
        let layout = Layout { tokenizer: &self.tokenizer, format, prompt_tokens };
        let windows = self.windows.of(&request.document_key);
        let prompt = layout.prompt(&left, &right, windows)?.tokens;

        let mut keys = self.prefixes.take(&prompt).unwrap_or_else(|| self.model.new_cache());
        let cached_tokens = keys.len();
        let special = self.tokenizer.special();
        // Models have only ever seen whole blocks; what lies past the limit is decoded and cut off.
        let end = (prompt.len() + request.limits.max_tokens).next_multiple_of(block_length);
        let mut canvas = Canvas::masks(&prompt, end - prompt.len(), special.mask);
        let rule = DecodeRule {
            block_length,
            unmasking: request.sampling.unmasking,
            stop: StopRule::Decided { eos: special.eos },
            commit: CommitMode::Fused,
        };
        let mut follower = Follower {
            cancel,
            deadline: request.limits.deadline,
            tokenizer: &self.tokenizer,
            on_frame,
            failure: None,
        };
        let sampler = self.sampler(&request.sampling);
        let outcome = Decoder { model: &self.model, rule, sampler: &sampler }.run(
            &mut canvas,
            &mut keys,
            &mut follower,
        )?;
        let failure = follower.failure;
        self.prefixes.put(canvas.tokens(), keys);
        if let Some(error) = failure {
            return Err(error.into());
        }
        if outcome.end == End::Interrupted(Interrupt::Cancelled) {
            return Err(InfillError::Cancelled);
        }
        let (fill, tokens) = self.fill(&canvas, &outcome, request.limits.max_tokens)?;
        let stats = InfillStats {
            prompt_tokens: prompt.len(),
            cached_tokens,
            forwards: outcome.forwards.total(),
            tokens,
            wall: started.elapsed(),
        };
        Ok(Infill { holes: vec![fill], stats })
    }

    fn model_name(&self) -> &str {
        &self.name
    }
}

/// Turns denoising steps into frames, and polls for the caller.
struct Follower<'a> {
    cancel: &'a CancelToken,
    deadline: Option<Instant>,
    tokenizer: &'a Tokenizer,
    on_frame: &'a mut dyn FnMut(&Frame),
    failure: Option<EngineError>,
}

impl Watch for Follower<'_> {
    fn interrupt(&mut self) -> Option<Interrupt> {
        if self.cancel.is_cancelled() || self.failure.is_some() {
            return Some(Interrupt::Cancelled);
        }
        let late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        late.then_some(Interrupt::Deadline)
    }

    fn on_step(&mut self, canvas: &Canvas, forwards: ForwardCounts) {
        match frame::cells(self.tokenizer, canvas) {
            Ok(cells) => (self.on_frame)(&Frame { hole: 0, forwards: forwards.total(), cells }),
            Err(error) => self.failure = Some(error),
        }
    }
}

/// The text left and right of the only hole.
fn around_the_hole(segments: &[Segment]) -> Result<(Cow<'_, str>, Cow<'_, str>), InfillError> {
    let is_hole = |segment: &Segment| matches!(segment, Segment::Hole { .. });
    let at = segments.iter().position(is_hole).ok_or_else(|| bad("the request has no hole"))?;
    if segments[at + 1..].iter().any(is_hole) {
        return Err(bad("several holes at once are not supported yet: ask for one hole at a time"));
    }
    Ok((text_of(&segments[..at]), text_of(&segments[at + 1..])))
}

/// The text of the segments; a document of one segment is not copied.
fn text_of(segments: &[Segment]) -> Cow<'_, str> {
    let texts = segments.iter().filter_map(|segment| match segment {
        Segment::Text(text) => Some(Cow::Borrowed(&**text)),
        Segment::Hole { .. } => None,
    });
    texts.reduce(|all, text| all + text).unwrap_or_default()
}

fn check_sampling(sampling: &Sampling) -> Result<(), InfillError> {
    let Sampling { unmasking, temperature, top_p, .. } = *sampling;
    if !(temperature.is_finite() && temperature >= 0.0) {
        return Err(bad(&format!("temperature is {temperature}: choose 0 or more")));
    }
    if !(top_p > 0.0 && top_p <= 1.0) {
        return Err(bad(&format!("top_p is {top_p}: choose more than 0 and at most 1")));
    }
    match unmasking {
        Unmasking::Threshold(threshold) if !(0.0..=1.0).contains(&threshold) => {
            Err(bad(&format!("the threshold is {threshold}: choose 0 to 1")))
        }
        Unmasking::Static { steps_per_block: 0 } => {
            Err(bad("0 denoising steps for a block: choose at least 1"))
        }
        _ => Ok(()),
    }
}

fn unknown_family() -> EngineError {
    EngineError::Config(
        "neither a Stable-DiffCoder nor a model of diffcoder-train: how it fills holes is unknown; choose another \
         model directory"
            .into(),
    )
}

fn bad(reason: &str) -> InfillError {
    InfillError::BadRequest(reason.to_owned())
}

impl From<EngineError> for InfillError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Cancelled => Self::Cancelled,
            EngineError::Request(reason) => Self::BadRequest(reason),
            other => Self::Model(Box::new(other)),
        }
    }
}
