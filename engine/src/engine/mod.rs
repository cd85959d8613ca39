//! The engine in this process: a model directory in memory that fills holes.

mod alternatives;
mod confidence;
mod one;
mod score;
mod serving;
mod several;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::cancel::CancelToken;
use crate::decode::lead::TokenBytes;
use crate::decode::sample::{Candidates, Sampler};
use crate::error::EngineError;
use crate::infiller::{
    DecodeOrder, Frame, Infill, InfillError, InfillRequest, InfillStats, Infiller, Resources,
    Sampling, Score, ScoreRequest, Task,
};
use crate::kernels::matmul::Precision;
use crate::model::Model;
use crate::model::config::ModelConfig;
use crate::model::kv_cache::KvCache;
use crate::model::ops::Ops;
use crate::model::weights::Weights;
use crate::prefix_cache::{CacheLimits, PrefixCache};
use crate::prompt::budget::WindowState;
use crate::prompt::chat::ChatTemplate;
use crate::prompt::format::PromptFormat;
use crate::tokenizer::Tokenizer;
use one::Session;
use serving::{Serving, check_request};
use several::Pieces;

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
    /// `model.safetensors` or `model.gguf`.
    pub weights: &'a [u8],
}

/// A loaded model with everything that filling holes needs.
pub struct Engine {
    name: String,
    model: Model,
    weight_bytes: usize,
    tokenizer: Tokenizer,
    serving: Serving,
    prefixes: PrefixCache<KvCache>,
    windows: DocumentWindows,
    /// What the tokens spell, where cut words are taken back into the fill.
    token_bytes: Option<Arc<TokenBytes>>,
    /// How to tell the model an instruction, or why it follows none.
    instruct: Result<ChatTemplate, String>,
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
        let weight_bytes = weights.bytes();
        let rounding = Ops::Fused { precision: Precision::Bf16 };
        let model = Model::new(config, weights, Ops::default())?
            .with_prefill(rounding)
            .with_quantized_steps();
        let prefixes = PrefixCache::new(serving.block_length, CacheLimits::default());
        // Only our own models were measured with it.
        let heals = serving.format == PromptFormat::Holes;
        let token_bytes = heals.then(|| Arc::new(tokenizer.token_bytes()));
        let windows = DocumentWindows::default();
        let instruct = serving::instruct(&name, config, &tokenizer);
        Ok(Self {
            name,
            model,
            weight_bytes,
            tokenizer,
            serving,
            prefixes,
            windows,
            token_bytes,
            instruct,
        })
    }

    /// The same engine, whose prefills are f32 throughout.
    ///
    /// By default they round the operands of matrix products to bf16 where the CPU multiplies those faster: long prompts
    /// are read about twice as fast, and the logits after them move by the rounding. Decoding is always f32.
    pub fn with_f32_prefill(mut self) -> Self {
        self.model = self.model.with_prefill(Ops::default());
        self
    }

    /// The same engine, which leaves words that the cursor cuts in the prompt instead of taking them into the fill.
    pub fn without_healing(mut self) -> Self {
        self.token_bytes = None;
        self
    }

    /// The same engine, whose prompts take up to `tokens` tokens of other files, whatever the model is known to be good for.
    pub fn with_related_tokens(mut self, tokens: usize) -> Self {
        self.serving.related_tokens = tokens;
        self
    }

    /// The same engine with another [`DiffcoderKeys::end_bias`](crate::model::config::DiffcoderKeys::end_bias).
    pub fn with_end_bias(mut self, bias: f32) -> Self {
        self.serving.end_bias = bias;
        self
    }

    /// Which masks become tokens first, unless a request says so.
    pub fn order(&self) -> DecodeOrder {
        self.serving.order
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
            bias: Some((self.tokenizer.special().eos, self.serving.end_bias))
                .filter(|(_, bias)| *bias != 0.0),
        }
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
        check_request(request)?;
        if let (Some(_), Some(reason)) = (&request.instruction, self.refusal(Task::Rewrite)) {
            return Err(InfillError::BadRequest(reason));
        }
        let pieces = Pieces::of(&request.segments)?;
        let mut session = Session {
            cancel,
            limits: &request.limits,
            avoid: if request.avoid_draft { pieces.drafts() } else { &[] },
            on_frame,
            shown: true,
            stats: InfillStats::default(),
        };
        let holes = self.fill_all(request, &pieces, &request.sampling, &mut session)?;
        session.shown = false;
        let alternatives = self.alternatives(request, &pieces, &holes, &mut session)?;
        let stats = InfillStats { wall: started.elapsed(), ..session.stats };
        Ok(Infill { holes, alternatives, stats })
    }

    fn score(
        &mut self,
        request: &ScoreRequest,
        cancel: &CancelToken,
    ) -> Result<Score, InfillError> {
        self.score_text(request, cancel)
    }

    fn refusal(&self, task: Task) -> Option<String> {
        match task {
            Task::Score => None,
            Task::Rewrite => self.instruct.as_ref().err().cloned(),
        }
    }

    fn related_tokens(&self) -> usize {
        self.serving.related_tokens
    }

    fn model_name(&self) -> &str {
        &self.name
    }

    fn resources(&self) -> Resources {
        Resources {
            memory_bytes: self.weight_bytes + self.prefixes.bytes(),
            ..Resources::default()
        }
    }
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
