//! `config.json` of a model directory: what is written there, checked, as one plain struct.

use serde_json::{Map, Value, json};

use crate::decode::policy::DecodeOrder;
use crate::error::{EngineError, Result};
use crate::prompt::format::PromptFormat;
use crate::prompt::related::RELATED_SHARE;

/// Transformer variants that share this one definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// No bias, no query/key norm (Stable-DiffCoder, Seed-Coder, Llama 3).
    Llama,
    /// Bias on query, key and value (Dream, DiffuCoder, Qwen2.5-Coder).
    Qwen2,
    /// Norm on the heads of query and key, free head size (SDAR, and our own models).
    Qwen3,
}

/// What a model does beyond its transformer: how it decodes and which prompt it knows.
#[derive(Clone, Debug, PartialEq)]
pub enum Family {
    /// `ByteDance-Seed/Stable-DiffCoder-*`: block length 4 (paper section 4.1), Seed-Coder's prompt.
    StableDiffCoder,
    /// Made by `diffcoder-train`.
    Diffcoder(DiffcoderKeys),
    /// Only the transformer is known: it can be run, not served.
    Transformer,
}

/// The `diffcoder` object in our own models' `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct DiffcoderKeys {
    /// N, tokens of one diffusion block.
    pub block_length: usize,
    /// Most tokens of prompt and fill together: the longest length the model was trained on.
    pub context_tokens: usize,
    /// The layout of its prompts.
    pub layout: PromptFormat,
    /// What it was trained for: `infill`, later `multi-hole`, `instruct`, …
    pub capabilities: Vec<String>,
    /// Which training stage it left last: `ar`, `warmup`, `cpt`.
    pub stage: String,
    /// Added to the logit of the end token of a fill: a model that was trained on few fills closes them too seldom. 0 for
    /// the model as it is.
    pub end_bias: f32,
    /// Which masks of a block become tokens first, unless somebody says otherwise: the order it was trained for, or fills
    /// best in.
    pub order: DecodeOrder,
    /// Copy-draft, unless somebody says otherwise: from this confidence on a token is committed that goes on with what stood
    /// behind the same text before. `None` where it is off.
    pub copy_draft: Option<f64>,
    /// Self-speculative decoding, unless somebody says otherwise: canvases at least this probable are computed ahead. `None`
    /// where it is off.
    pub speculate: Option<f64>,
}

impl DiffcoderKeys {
    /// Whether the model was trained for something.
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|can| can == capability)
    }

    /// Most tokens of other files in a prompt: none where the model was not trained for them.
    pub fn related_tokens(&self) -> usize {
        if self.can("related") { self.context_tokens / RELATED_SHARE } else { 0 }
    }
}

/// A checked model configuration. Sizes use the letters of the crate documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Transformer variant.
    pub dialect: Dialect,
    /// V.
    pub vocab_size: usize,
    /// D.
    pub hidden_size: usize,
    /// Width of the gated MLP.
    pub intermediate_size: usize,
    /// L.
    pub n_layers: usize,
    /// H.
    pub n_heads: usize,
    /// Hkv.
    pub n_kv_heads: usize,
    /// Dh.
    pub head_size: usize,
    /// Added to the mean square in every norm.
    pub rms_norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Longest sequence the configuration promises.
    pub max_position_embeddings: usize,
    /// The head is the embedding.
    pub tie_word_embeddings: bool,
    /// How it decodes.
    pub family: Family,
}

impl ModelConfig {
    /// Parses and checks `config.json`; unknown and null keys are tolerated, unsupported values are not.
    pub fn from_json(text: &str) -> Result<Self> {
        let root: Value = serde_json::from_str(text)
            .map_err(|error| EngineError::Config(format!("not JSON: {error}")))?;
        let keys = Keys(
            root.as_object()
                .ok_or_else(|| EngineError::Config("the top level must be an object".into()))?,
        );
        let architectures = keys.strings("architectures");
        let dialect = dialect(keys.text("model_type").unwrap_or_default(), &architectures)?;
        let hidden_size = keys.size("hidden_size")?;
        let n_heads = keys.size("num_attention_heads")?;
        let head_size = match keys.get("head_dim") {
            Some(_) => keys.size("head_dim")?,
            None if hidden_size.is_multiple_of(n_heads) => hidden_size / n_heads,
            None => {
                return Err(EngineError::Config(format!(
                    "head_dim is missing and hidden_size {hidden_size} is no multiple of {n_heads} heads"
                )));
            }
        };
        let config = Self {
            dialect,
            vocab_size: keys.size("vocab_size")?,
            hidden_size,
            intermediate_size: keys.size("intermediate_size")?,
            n_layers: keys.size("num_hidden_layers")?,
            n_heads,
            n_kv_heads: if keys.get("num_key_value_heads").is_some() {
                keys.size("num_key_value_heads")?
            } else {
                n_heads
            },
            head_size,
            rms_norm_eps: keys.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
            rope_theta: rope_theta(&keys)?,
            max_position_embeddings: keys.size("max_position_embeddings")?,
            tie_word_embeddings: keys.flag("tie_word_embeddings"),
            family: family(&keys, &architectures)?,
        };
        config.check(&keys)?;
        Ok(config)
    }

    /// Refuses what this definition would compute wrongly.
    fn check(&self, keys: &Keys<'_>) -> Result<()> {
        let refuse = |reason: String| Err(EngineError::Config(reason));
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            return refuse(format!(
                "{} query heads cannot share {} key/value heads evenly",
                self.n_heads, self.n_kv_heads
            ));
        }
        if !self.head_size.is_multiple_of(2) {
            return refuse(format!(
                "head size {} is odd: rotary positions need an even one",
                self.head_size
            ));
        }
        if let Some(act) = keys.text("hidden_act").filter(|act| *act != "silu") {
            return refuse(format!("hidden_act is \"{act}\"; only \"silu\" is supported"));
        }
        for flag in ["mlp_bias", "use_sliding_window"] {
            if keys.flag(flag) {
                return refuse(format!("{flag} is true, which is not supported"));
            }
        }
        if self.dialect != Dialect::Qwen2 && keys.flag("attention_bias") {
            return refuse("attention_bias is true, which only the Qwen2 dialect supports".into());
        }
        if let Family::Diffcoder(own) = &self.family
            && (own.block_length == 0 || own.context_tokens < 2 * own.block_length)
        {
            return refuse(format!(
                "diffcoder.context_tokens {} must hold at least two blocks of {}",
                own.context_tokens, own.block_length
            ));
        }
        Ok(())
    }

    /// Tokens of one diffusion block, where the model has blocks.
    pub fn block_length(&self) -> Option<usize> {
        match &self.family {
            Family::StableDiffCoder => Some(4),
            Family::Diffcoder(own) => Some(own.block_length),
            Family::Transformer => None,
        }
    }

    /// Name and shape of every tensor, in Hugging Face's names, in a fixed order.
    pub fn parameter_shapes(&self) -> Vec<(String, Vec<usize>)> {
        let (d, ff, dh) = (self.hidden_size, self.intermediate_size, self.head_size);
        let (q, kv) = (self.n_heads * dh, self.n_kv_heads * dh);
        let mut shapes = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab_size, d])];
        for layer in 0..self.n_layers {
            let mut add = |name: &str, shape: Vec<usize>| {
                shapes.push((format!("model.layers.{layer}.{name}"), shape))
            };
            add("input_layernorm.weight", vec![d]);
            for (name, rows) in [("q_proj", q), ("k_proj", kv), ("v_proj", kv)] {
                add(&format!("self_attn.{name}.weight"), vec![rows, d]);
                if self.dialect == Dialect::Qwen2 {
                    add(&format!("self_attn.{name}.bias"), vec![rows]);
                }
            }
            if self.dialect == Dialect::Qwen3 {
                add("self_attn.q_norm.weight", vec![dh]);
                add("self_attn.k_norm.weight", vec![dh]);
            }
            add("self_attn.o_proj.weight", vec![d, q]);
            add("post_attention_layernorm.weight", vec![d]);
            add("mlp.gate_proj.weight", vec![ff, d]);
            add("mlp.up_proj.weight", vec![ff, d]);
            add("mlp.down_proj.weight", vec![d, ff]);
        }
        shapes.push(("model.norm.weight".to_owned(), vec![d]));
        if !self.tie_word_embeddings {
            shapes.push(("lm_head.weight".to_owned(), vec![self.vocab_size, d]));
        }
        shapes
    }

    /// Number of parameters.
    pub fn n_parameters(&self) -> usize {
        self.parameter_shapes().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// `config.json` in the Hugging Face style of the dialect, with our `diffcoder` object where there is one.
    pub fn to_json(&self) -> String {
        let (model_type, architecture) = match self.dialect {
            Dialect::Llama => ("llama", "LlamaForCausalLM"),
            Dialect::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
            Dialect::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
        };
        let architecture = if self.family == Family::StableDiffCoder {
            "StableDiffcoderForCausalLM"
        } else {
            architecture
        };
        let mut root = json!({
            "architectures": [architecture],
            "model_type": model_type,
            "attention_bias": self.dialect == Dialect::Qwen2,
            "head_dim": self.head_size,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_position_embeddings,
            "num_attention_heads": self.n_heads,
            "num_hidden_layers": self.n_layers,
            "num_key_value_heads": self.n_kv_heads,
            // Written with the digits of the f32, so that reading it back gives the same value.
            "rms_norm_eps": self.rms_norm_eps.to_string().parse::<f64>().unwrap_or(f64::from(self.rms_norm_eps)),
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tie_word_embeddings,
            "vocab_size": self.vocab_size,
        });
        if let Family::Diffcoder(own) = &self.family {
            root["diffcoder"] = json!({
                "block_length": own.block_length,
                "context_tokens": own.context_tokens,
                "layout": layout_name(own.layout),
                "capabilities": own.capabilities,
                "stage": own.stage,
            });
            if own.end_bias != 0.0 {
                root["diffcoder"]["end_bias"] = json!(f64::from(own.end_bias));
            }
            if own.order != DecodeOrder::default() {
                root["diffcoder"]["order"] = json!(own.order.name());
            }
            if let Some(least) = own.copy_draft {
                root["diffcoder"]["copy_draft"] = json!(least);
            }
            if let Some(least) = own.speculate {
                root["diffcoder"]["speculate"] = json!(least);
            }
        }
        format!("{root:#}\n")
    }
}

fn layout_name(layout: PromptFormat) -> &'static str {
    match layout {
        PromptFormat::SeedFim => "seed-fim",
        PromptFormat::Holes => "holes",
    }
}

fn dialect(model_type: &str, architectures: &[&str]) -> Result<Dialect> {
    match model_type {
        "llama" => Ok(Dialect::Llama),
        "qwen2" => Ok(Dialect::Qwen2),
        "qwen3" => Ok(Dialect::Qwen3),
        other => Err(EngineError::Config(format!(
            "model_type \"{other}\" (architectures {architectures:?}) is not supported; supported are llama, qwen2 and qwen3"
        ))),
    }
}

/// Both styles: `rope_theta` at the top level, or inside `rope_parameters`. Scaled rotary positions are refused.
fn rope_theta(keys: &Keys<'_>) -> Result<f64> {
    let mut theta = keys.number("rope_theta")?;
    for style in ["rope_parameters", "rope_scaling"] {
        let Some(Value::Object(rope)) = keys.get(style) else { continue };
        let rope = Keys(rope);
        let kind = rope.text("rope_type").or_else(|| rope.text("type")).unwrap_or("default");
        if kind != "default" {
            return Err(EngineError::Config(format!(
                "{style} of type \"{kind}\" is not supported; only unscaled rotary positions are"
            )));
        }
        theta = rope.number("rope_theta")?.or(theta);
    }
    Ok(theta.unwrap_or(10_000.0))
}

fn family(keys: &Keys<'_>, architectures: &[&str]) -> Result<Family> {
    if let Some(Value::Object(own)) = keys.get("diffcoder") {
        let own = Keys(own);
        let layout = match own.text("layout").unwrap_or_default() {
            "holes" => PromptFormat::Holes,
            "seed-fim" => PromptFormat::SeedFim,
            other => {
                return Err(EngineError::Config(format!(
                    "diffcoder.layout \"{other}\" is unknown; known are holes and seed-fim"
                )));
            }
        };
        let order = own.text("order").map(|name| {
            let wrong = |error| EngineError::Config(format!("diffcoder.order \"{name}\": {error}"));
            name.parse().map_err(wrong)
        });
        let order = order.transpose()?.unwrap_or_default();
        let probability = |key: &str| match own.number(key)? {
            Some(least) if !(0.0..=1.0).contains(&least) => Err(EngineError::Config(format!(
                "diffcoder.{key} is {least}: choose at most 1, or leave it out"
            ))),
            least => Ok(least),
        };
        let (copy_draft, speculate) = (probability("copy_draft")?, probability("speculate")?);
        return Ok(Family::Diffcoder(DiffcoderKeys {
            block_length: own.size("block_length")?,
            context_tokens: own.size("context_tokens")?,
            layout,
            capabilities: own.strings("capabilities").into_iter().map(str::to_owned).collect(),
            stage: own.text("stage").unwrap_or_default().to_owned(),
            end_bias: own.number("end_bias")?.unwrap_or_default() as f32,
            order,
            copy_draft,
            speculate,
        }));
    }
    // The first release calls its class SeedDiffcoder…, the current one StableDiffcoder…, copies keep only auto_map.
    let auto_map = match keys.get("auto_map") {
        Some(Value::Object(map)) => map.values().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let named = architectures
        .iter()
        .copied()
        .chain(auto_map)
        .any(|name| name.to_ascii_lowercase().contains("diffcoder"));
    Ok(if named { Family::StableDiffCoder } else { Family::Transformer })
}

/// A JSON object read with null meaning absent.
struct Keys<'a>(&'a Map<String, Value>);

impl<'a> Keys<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    fn strings(&self, key: &str) -> Vec<&'a str> {
        match self.get(key) {
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    fn flag(&self, key: &str) -> bool {
        self.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) if number.is_finite() && number > 0.0 => Ok(Some(number)),
                _ => Err(EngineError::Config(format!(
                    "{key} must be a positive number, not {value}"
                ))),
            },
        }
    }

    fn size(&self, key: &str) -> Result<usize> {
        let value =
            self.get(key).ok_or_else(|| EngineError::Config(format!("{key} is missing")))?;
        // Far above any model, far below what would overflow a product of three sizes.
        match value.as_u64() {
            Some(size) if (1..=1 << 20).contains(&size) => Ok(size as usize),
            _ => Err(EngineError::Config(format!(
                "{key} must be a whole number from 1 to 1048576, not {value}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STABLE: &str = r#"{"architectures":["StableDiffcoderForCausalLM"],"model_type":"llama","hidden_size":4096,
        "num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,"intermediate_size":14336,"hidden_act":"silu",
        "rms_norm_eps":1e-6,"rope_theta":500000.0,"max_position_embeddings":8192,"tie_word_embeddings":false,
        "attention_bias":false,"mlp_bias":false,"vocab_size":155136,"layer_norm_eps":null,"attention_dropout":0.1}"#;

    #[test]
    fn stable_diffcoder_is_recognised_by_any_spelling() {
        assert_eq!(ModelConfig::from_json(STABLE).unwrap().family, Family::StableDiffCoder);
        let old = STABLE.replace(
            r#""architectures":["StableDiffcoderForCausalLM"]"#,
            r#""architectures":["LlamaForCausalLM"],"auto_map":{"AutoModelForCausalLM":"modeling_seed_diffcoder.SeedDiffcoderForCausalLM"}"#,
        );
        assert_eq!(ModelConfig::from_json(&old).unwrap().family, Family::StableDiffCoder);
        let llama = STABLE.replace("StableDiffcoderForCausalLM", "LlamaForCausalLM");
        let config = ModelConfig::from_json(&llama).unwrap();
        assert_eq!((config.family, config.head_size), (Family::Transformer, 128));
    }

    #[test]
    fn a_written_configuration_reads_back_equal() {
        let mut config = ModelConfig::from_json(STABLE).unwrap();
        config.dialect = Dialect::Qwen3;
        config.family = Family::Diffcoder(DiffcoderKeys {
            block_length: 4,
            context_tokens: 1024,
            layout: PromptFormat::Holes,
            capabilities: vec!["infill".into()],
            stage: "cpt".into(),
            end_bias: 1.5,
            order: DecodeOrder::LeftToRight,
            copy_draft: Some(0.5),
            speculate: Some(0.3),
        });
        assert_eq!(ModelConfig::from_json(&config.to_json()).unwrap(), config);
    }

    #[test]
    fn what_would_be_computed_wrongly_is_refused_by_name() {
        let cases = [
            (r#""hidden_act":"silu""#, r#""hidden_act":"gelu""#, "hidden_act"),
            (
                r#""rope_theta":500000.0"#,
                r#""rope_scaling":{"rope_type":"yarn","factor":4}"#,
                "yarn",
            ),
            (r#""model_type":"llama""#, r#""model_type":"gpt2""#, "gpt2"),
            (r#""num_key_value_heads":8"#, r#""num_key_value_heads":7"#, "7 key/value heads"),
            (r#""vocab_size":155136"#, r#""vocab_size":-3"#, "vocab_size"),
            (r#""attention_bias":false"#, r#""attention_bias":true"#, "attention_bias"),
            (r#""hidden_size":4096,"#, "", "hidden_size is missing"),
            (
                r#""attention_bias":false"#,
                r#""diffcoder":{"block_length":4,"context_tokens":64,"layout":"holes","order":"random"}"#,
                "known are surest-first and left-to-right",
            ),
            (
                r#""attention_bias":false"#,
                r#""diffcoder":{"block_length":4,"context_tokens":64,"layout":"holes","copy_draft":5}"#,
                "copy_draft is 5: choose at most 1",
            ),
        ];
        for (from, to, expected) in cases {
            let error = ModelConfig::from_json(&STABLE.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
