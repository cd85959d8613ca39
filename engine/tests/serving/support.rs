//! What the serving tests share: reference models and a model whose logits a test writes by hand.

use std::cell::RefCell;
use std::path::PathBuf;

use std::sync::LazyLock;

use candle_core::{Device, Tensor};
use diffcoder_engine::decode::{CommittedKeys, Forward, Rows};
use diffcoder_engine::engine::{Engine, ModelParts};
use diffcoder_engine::error::EngineError;
use diffcoder_engine::model::Model;
use diffcoder_engine::model::config::ModelConfig;
use diffcoder_engine::model::ops::Ops;
use diffcoder_engine::model::weights::Weights;
use diffcoder_engine::tokenizer::{SPECIAL_TOKENS, Tokenizer};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, TokenizerBuilder};

/// Directory of the reference numbers.
pub(crate) fn golden_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// A reference model by its directory name.
pub(crate) fn golden_model(name: &str) -> Model {
    let dir = golden_dir().join("models").join(name);
    let text = std::fs::read_to_string(dir.join("config.json")).unwrap();
    let config = ModelConfig::from_json(&text).unwrap();
    Model::new(&config, Weights::from_dir(&dir).unwrap(), Ops::default()).unwrap()
}

/// A model whose logits are a function of position and of how many forwards asked for logits before.
pub(crate) struct Scripted<F> {
    /// Gives the row of logits.
    pub(crate) logits: F,
    /// (rows, rows committed, rows with logits, rows of branches) of every forward.
    pub(crate) calls: RefCell<Vec<(usize, usize, usize, usize)>>,
}

impl<F: Fn(usize, usize) -> Vec<f32>> Scripted<F> {
    pub(crate) fn new(logits: F) -> Self {
        Self { logits, calls: RefCell::default() }
    }

    pub(crate) fn forwards(&self) -> usize {
        self.calls.borrow().len()
    }
}

/// Tokens whose keys a real model would hold.
#[derive(Debug, Default)]
pub(crate) struct TokenLog(pub(crate) Vec<u32>);

impl CommittedKeys for TokenLog {
    fn committed(&self) -> usize {
        self.0.len()
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }
}

impl<F: Fn(usize, usize) -> Vec<f32>> Forward for Scripted<F> {
    type Cache = TokenLog;

    fn new_cache(&self) -> TokenLog {
        TokenLog::default()
    }

    fn forward(&self, rows: Rows<'_, TokenLog>) -> Result<Tensor, EngineError> {
        let asked = self.calls.borrow().iter().filter(|call| call.2 > 0).count();
        let first = rows.cache.committed();
        rows.cache.0.extend(&rows.tokens[..rows.commit]);
        let branches = rows.branches.iter().flat_map(|branch| {
            (branch.logits_from..branch.tokens.len()).map(|row| rows.commit + row)
        });
        let values: Vec<Vec<f32>> =
            rows.logits.chain(branches).map(|row| (self.logits)(first + row, asked)).collect();
        let ahead: usize = rows.branches.iter().map(|branch| branch.tokens.len()).sum();
        let call = (rows.tokens.len(), rows.commit, values.len(), ahead);
        self.calls.borrow_mut().push(call);
        if values.is_empty() {
            return Ok(Tensor::zeros((0, 1), candle_core::DType::F32, &Device::Cpu)?);
        }
        Ok(Tensor::new(values, &Device::Cpu)?)
    }
}

/// Logits over 16 ids under which `token` has the probability `p` and the others share the rest.
pub(crate) fn sure(token: u32, p: f32) -> Vec<f32> {
    let mut logits = vec![((1.0 - p) / 15.0).ln(); 16];
    logits[token as usize] = p.ln();
    logits
}

/// Rust text to train a tokenizer on and to cut documents from.
pub(crate) const SOURCE: &str =
    concat!(include_str!("../../src/engine/mod.rs"), include_str!("../../src/decode/mod.rs"));

/// `tokenizer.json` of a small byte-level BPE with our special tokens.
pub(crate) static TOKENIZER_JSON: LazyLock<String> = LazyLock::new(|| {
    let special = SPECIAL_TOKENS.iter().map(|text| AddedToken::from(*text, true)).collect();
    let mut trainer = BpeTrainer::builder()
        .vocab_size(900)
        .show_progress(false)
        .special_tokens(special)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let bytes = ByteLevel::new(false, true, true);
    let mut tokenizer = TokenizerBuilder::default()
        .with_model(BPE::default())
        .with_normalizer(None::<tokenizers::NormalizerWrapper>)
        .with_pre_tokenizer(Some(bytes))
        .with_post_processor(Some(bytes))
        .with_decoder(Some(bytes))
        .build()
        .unwrap();
    tokenizer.train(&mut trainer, [SOURCE].into_iter()).unwrap();
    tokenizer.to_string(false).unwrap()
});

pub(crate) fn tokenizer() -> Tokenizer {
    Tokenizer::from_json(&TOKENIZER_JSON, None, None).unwrap()
}

/// `config.json` of a tiny model of ours.
pub(crate) fn config_json(layout: &str, context_tokens: usize) -> Value {
    json!({
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu",
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 912, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
        "max_position_embeddings": context_tokens, "tie_word_embeddings": true,
        "diffcoder": { "block_length": 4, "context_tokens": context_tokens, "layout": layout,
                       "capabilities": ["infill"], "stage": "cpt" },
    })
}

/// `model.safetensors` with random weights for this `config.json`.
pub(crate) fn random_weights(config: &Value) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(17);
    let tensors: Vec<(String, Tensor)> = ModelConfig::from_json(&config.to_string())
        .unwrap()
        .parameter_shapes()
        .into_iter()
        .map(|(name, shape)| {
            let count = shape.iter().product::<usize>();
            let values: Vec<f32> = (0..count).map(|_| rng.random_range(-0.5..0.5)).collect();
            (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
        })
        .collect();
    safetensors::serialize(tensors, None).unwrap()
}

/// `model.safetensors` of a model that says these tokens at every masked place, those with larger numbers rather.
pub(crate) fn parrot_weights(config: &Value, mask: u32, says: &[(u32, f32)]) -> Vec<u8> {
    let tensors: Vec<(String, Tensor)> = ModelConfig::from_json(&config.to_string())
        .unwrap()
        .parameter_shapes()
        .into_iter()
        .map(|(name, shape)| {
            let mut values = vec![
                if name.ends_with("norm.weight") { 1f32 } else { 0.0 };
                shape.iter().product()
            ];
            if name.contains("embed_tokens") {
                values[mask as usize * shape[1]] = 1.0;
                for (token, preference) in says {
                    values[*token as usize * shape[1]] = *preference;
                }
            }
            (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
        })
        .collect();
    safetensors::serialize(tensors, None).unwrap()
}

/// An engine with random weights and our layout, for one hole in a prompt.
pub(crate) fn random_engine(context_tokens: usize) -> Engine {
    random_engine_that(&["infill"], context_tokens)
}

/// An engine with random weights, our layout and these capabilities.
pub(crate) fn random_engine_that(capabilities: &[&str], context_tokens: usize) -> Engine {
    let mut config = config_json("holes", context_tokens);
    config["diffcoder"]["capabilities"] = json!(capabilities);
    random_engine_of(&config)
}

/// An engine with random weights for this `config.json`.
pub(crate) fn random_engine_of(config: &Value) -> Engine {
    engine_of(config, &random_weights(config))
}

/// An engine with these weights for this `config.json`.
pub(crate) fn engine_of(config: &Value, weights: &[u8]) -> Engine {
    Engine::from_parts(ModelParts {
        name: "random",
        config: &config.to_string(),
        tokenizer: &TOKENIZER_JSON,
        special_tokens_map: None,
        tokenizer_config: None,
        weights,
    })
    .unwrap()
}
