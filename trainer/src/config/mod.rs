//! Recipes: a run as written in a TOML file, read strictly.

mod optimizer;

use std::path::{Path, PathBuf};

use serde::Deserialize;

use diffcoder_engine::model::config::ModelConfig;

use crate::memory::physical_bytes;
use crate::objective::loss::Normaliser;
use crate::objective::noise::{Clip, RateUnit};
use crate::overrides;
use crate::stage::{MIB, step_bytes};

pub use optimizer::{OptimizerKind, OptimizerSection};

/// Shortest row: below it an infilling sample has no context worth the name beside its markers.
const LEAST_SEQ_LEN: usize = 32;
/// More parameters than any machine of today trains; keeps sizes far from overflow.
const MOST_PARAMETERS: f64 = 1e12;
/// More tokens than any run of today sees; keeps counts far from overflow.
const MOST_TOKENS: f64 = 1e18;

/// Why a recipe cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The file could not be read.
    #[error("cannot read the recipe {}", path.display())]
    Read {
        /// The recipe.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key is unknown or missing, or a value is of the wrong kind.
    #[error("{}, line {line}: {reason}", path.display())]
    Syntax {
        /// The recipe.
        path: PathBuf,
        /// Line in the file, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The values do not fit together.
    #[error("{}: {reason}", path.display())]
    Impossible {
        /// The recipe.
        path: PathBuf,
        /// What does not fit, and the mend.
        reason: String,
    },
}

/// A recipe as written.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name, seed, inputs.
    pub run: RunSection,
    /// The transformer.
    pub model: ModelSection,
    /// What the paper leaves open.
    #[serde(default)]
    pub objective: ObjectiveSection,
    /// Stages in order.
    #[serde(rename = "stage")]
    pub stages: Vec<StageSection>,
    /// AdamW and clipping.
    pub optimizer: OptimizerSection,
    /// The learning-rate curve over all stages.
    pub schedule: ScheduleSection,
    /// When to save.
    #[serde(default)]
    pub checkpoint: CheckpointSection,
}

/// `[run]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RunSection {
    /// Name of the model, for people.
    pub name: String,
    /// Seed of initial weights, data order and noise.
    pub seed: u64,
    /// Folder that `diffcoder-train data` wrote; `--data` wins over it.
    pub data: Option<PathBuf>,
    /// Folder that `diffcoder-train tokenizer` wrote; `--tokenizer` wins over it.
    pub tokenizer: Option<PathBuf>,
    /// Precision of the matrix products; weights, moments and everything else stay f32.
    #[serde(default)]
    pub matmul: Matmul,
}

/// Precision of the matrix products of forward and backward.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Matmul {
    /// f32 throughout.
    #[default]
    F32,
    /// Inputs rounded to bf16, sums in f32; falls back to f32 where the processor has no fast bf16.
    Bf16,
}

/// `[model]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// `llama`, `qwen2` or `qwen3`.
    #[serde(default = "default_dialect")]
    pub dialect: String,
    /// L.
    pub layers: usize,
    /// D.
    pub width: usize,
    /// Width of the gated MLP.
    pub mlp: usize,
    /// H.
    pub heads: usize,
    /// Hkv.
    pub kv_heads: usize,
    /// Dh.
    pub head_size: usize,
    /// V: at least the tokenizer's size.
    pub vocab: usize,
    /// Whether the head is the embedding.
    #[serde(default = "default_tied")]
    pub tied: bool,
    /// Base of the rotary frequencies.
    #[serde(default = "default_rope_theta")]
    pub rope_theta: f64,
}

/// `[objective]`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectiveSection {
    /// N, tokens of one block.
    pub block: usize,
    /// What shares one mask ratio: `block` or `sequence`.
    pub rate: RateUnit,
    /// Whether CPT clips the mask ratio to `[1/N, 1]` and forces a mask into an empty block: `on` or `off`.
    pub clip: Clip,
    /// What the CPT loss is divided by: `all` tokens or `masked` ones.
    pub normaliser: Normaliser,
    /// What the warmup loss is divided by.
    pub warmup_normaliser: Normaliser,
}

impl Default for ObjectiveSection {
    fn default() -> Self {
        Self {
            block: 4,
            rate: RateUnit::Block,
            clip: Clip::On,
            normaliser: Normaliser::All,
            warmup_normaliser: Normaliser::Masked,
        }
    }
}

/// What a stage trains.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum StageKind {
    /// Next-token prediction under the causal mask.
    Ar,
    /// Corruption warmup (paper, eq. 10).
    Warmup,
    /// Block diffusion with the clipped schedule.
    Cpt,
}

impl StageKind {
    /// Its name in recipes, metrics and model directories.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ar => "ar",
            Self::Warmup => "warmup",
            Self::Cpt => "cpt",
        }
    }
}

/// `[[stage]]`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct StageSection {
    /// What it trains.
    pub kind: StageKind,
    /// Optimizer steps.
    pub steps: u64,
    /// T, tokens of a row.
    pub seq_len: usize,
    /// Rows of a step.
    pub batch_rows: usize,
    /// Rows of one forward; their gradients are added up to those of the step.
    pub micro_rows: usize,
    /// Share of documents laid out as infill samples, 0 to 1.
    pub infill_rate: f64,
    /// Share of the infill samples that have two to eight holes, 0 to 1: more fills for the same context.
    #[serde(default = "default_multi_hole_rate")]
    pub multi_hole_rate: f64,
    /// Share of the infill samples with one hole that are shown definitions from other files of their package, 0 to 1.
    #[serde(default)]
    pub related_rate: f64,
    /// Share of the infill samples whose middle is one whole line of code, 0 to 1; the others have middles of all kinds.
    #[serde(default)]
    pub whole_line_rate: f64,
    /// Tokens of the blocks that are trained, a divisor of `[objective] block`, which it is without it: block diffusion
    /// with blocks of one token learns from every token, and larger ones follow (growing blocks: arXiv 2512.15745).
    pub block: Option<usize>,
    /// Share of the blocks of a `cpt` stage that are masked as decoding left to right meets them, 0 to 1.
    #[serde(default)]
    pub left_to_right_rate: f32,
    /// What a token of a fill counts in the loss where one of the text around it counts 1.
    #[serde(default = "default_fill_weight")]
    pub fill_weight: f32,
}

fn default_fill_weight() -> f32 {
    1.0
}

fn default_multi_hole_rate() -> f64 {
    0.6
}

/// `[schedule]`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSection {
    /// Steps over which the rate rises, at the start of the run.
    pub warmup_steps: u64,
    /// Steps over which it falls, at the end of the run.
    pub decay_steps: u64,
    /// Rate at the last step, as a share of the peak.
    #[serde(default)]
    pub floor: f64,
}

/// `[checkpoint]`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSection {
    /// Save after this many steps …
    pub every_steps: u64,
    /// … or this many minutes, whatever comes first.
    pub every_minutes: f64,
    /// How many of the newest to keep; the one at each stage's end stays too.
    pub keep: usize,
}

impl Default for CheckpointSection {
    fn default() -> Self {
        Self { every_steps: 1000, every_minutes: 10.0, keep: 2 }
    }
}

fn default_dialect() -> String {
    "qwen3".to_owned()
}

fn default_tied() -> bool {
    true
}

fn default_rope_theta() -> f64 {
    10_000.0
}

impl Recipe {
    /// Reads and checks a recipe file, also against the memory of this machine.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        Ok(Self::read_with(path, &[])?.0)
    }

    /// The same with values changed as `--set` says (see [`overrides::apply`]), and the text of the result.
    pub fn read_with(path: &Path, sets: &[String]) -> Result<(Self, String), RecipeError> {
        let impossible = |reason| RecipeError::Impossible { path: path.to_owned(), reason };
        let mut text = std::fs::read_to_string(path)
            .map_err(|source| RecipeError::Read { path: path.to_owned(), source })?;
        if !sets.is_empty() {
            // Mistakes of the file itself are told with its own lines.
            Self::parse(&text, path)?;
            text = overrides::apply(&text, sets).map_err(impossible)?;
        }
        let recipe = Self::parse(&text, path)?;
        recipe.check_memory(physical_bytes()).map_err(impossible)?;
        Ok((recipe, text))
    }

    /// Parses and checks the text of a recipe; `path` names it in errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, RecipeError> {
        let recipe: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            RecipeError::Syntax {
                path: path.to_owned(),
                line: text[..at].matches('\n').count() + 1,
                reason: error.message().replace('\n', " "),
            }
        })?;
        match recipe.check() {
            Ok(()) => Ok(recipe),
            Err(reason) => Err(RecipeError::Impossible { path: path.to_owned(), reason }),
        }
    }

    /// The transformer that the recipe describes, not yet trained.
    pub fn model_config(&self) -> Result<ModelConfig, String> {
        let model = &self.model;
        let json = serde_json::json!({
            "model_type": model.dialect,
            "hidden_size": model.width,
            "intermediate_size": model.mlp,
            "num_hidden_layers": model.layers,
            "num_attention_heads": model.heads,
            "num_key_value_heads": model.kv_heads,
            "head_dim": model.head_size,
            "vocab_size": model.vocab,
            "tie_word_embeddings": model.tied,
            "rope_theta": model.rope_theta,
            "rms_norm_eps": 1e-6,
            "max_position_embeddings": self.context_tokens(),
        });
        ModelConfig::from_json(&json.to_string()).map_err(|error| format!("[model]: {error}"))
    }

    /// The longest row of any stage: what the model may be asked for later.
    pub fn context_tokens(&self) -> usize {
        self.stages.iter().map(|stage| stage.seq_len).max().unwrap_or(0)
    }

    /// Not part of [`Self::check`]: a recipe in a checkpoint may have been too large for this machine.
    fn check_memory(&self, physical_bytes: Option<u64>) -> Result<(), String> {
        let Some(available) = physical_bytes else { return Ok(()) };
        let model = self.model_config()?;
        for (index, stage) in self.stages.iter().enumerate() {
            let needed = step_bytes(&model, stage);
            if needed > available as f64 {
                return Err(format!(
                    "stage {} ({}): a step needs about {:.0} MiB of memory and this machine has {:.0} MiB: lower \
                     micro_rows or batch_rows",
                    index + 1,
                    stage.kind.name(),
                    needed / MIB,
                    available as f64 / MIB,
                ));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        self.model.check()?;
        self.model_config()?;
        let block = self.objective.block;
        if !(1..=16).contains(&block) {
            return Err(format!("[objective] block is {block}: choose 1 to 16 tokens"));
        }
        if self.stages.is_empty() {
            return Err("there is no [[stage]]: add at least one".to_owned());
        }
        for (index, stage) in self.stages.iter().enumerate() {
            stage.check(block).map_err(|reason| {
                format!("stage {} ({}): {reason}", index + 1, stage.kind.name())
            })?;
        }
        self.optimizer.check()?;
        let total: u64 = self.stages.iter().map(|stage| stage.steps).sum();
        let ScheduleSection { warmup_steps, decay_steps, floor } = self.schedule;
        if warmup_steps.saturating_add(decay_steps) > total {
            return Err(format!(
                "[schedule] warmup_steps {warmup_steps} and decay_steps {decay_steps} do not fit into the {total} steps of \
                 all stages: make them shorter"
            ));
        }
        if !(0.0..=1.0).contains(&floor) {
            return Err(format!("[schedule] floor is {floor}: it is a share of lr, 0 to 1"));
        }
        let checkpoint = &self.checkpoint;
        if checkpoint.every_steps == 0 || checkpoint.keep == 0 || checkpoint.every_minutes <= 0.0 {
            return Err(
                "[checkpoint] every_steps, every_minutes and keep must be above 0".to_owned()
            );
        }
        Ok(())
    }
}

impl ModelSection {
    fn check(&self) -> Result<(), String> {
        let [layers, width, mlp, heads, kv_heads, head_size, vocab] = [
            self.layers,
            self.width,
            self.mlp,
            self.heads,
            self.kv_heads,
            self.head_size,
            self.vocab,
        ]
        .map(|size| size as f64);
        let layer = width * (2.0 * head_size * (heads + kv_heads) + 3.0 * mlp);
        let parameters = layers * layer + 2.0 * width * vocab;
        if parameters > MOST_PARAMETERS {
            return Err(format!("[model] has about {parameters:.1e} parameters: make it smaller"));
        }
        Ok(())
    }
}

impl StageSection {
    /// N of this stage.
    pub fn block(&self, recipe: &Recipe) -> usize {
        self.block.unwrap_or(recipe.objective.block)
    }

    fn check(&self, block: usize) -> Result<(), String> {
        let Self { steps, seq_len, batch_rows, micro_rows, infill_rate, .. } = *self;
        if steps == 0 || seq_len == 0 || batch_rows == 0 || micro_rows == 0 {
            return Err("steps, seq_len, batch_rows and micro_rows must be above 0".to_owned());
        }
        if !batch_rows.is_multiple_of(micro_rows) {
            return Err(format!(
                "batch_rows {batch_rows} is no multiple of micro_rows {micro_rows}: choose a micro_rows that divides it"
            ));
        }
        if !seq_len.is_multiple_of(block) || seq_len < 2 * block {
            return Err(format!(
                "seq_len {seq_len} is no multiple of the block of {block} tokens, or shorter than two: choose one that is"
            ));
        }
        let own = self.block.unwrap_or(block);
        if own == 0 || !block.is_multiple_of(own) {
            return Err(format!(
                "block {own} does not divide the {block} tokens of [objective] block: choose one that does"
            ));
        }
        if self.kind != StageKind::Cpt && self.left_to_right_rate > 0.0 {
            return Err("left_to_right_rate is for cpt stages: remove it".to_owned());
        }
        if self.kind == StageKind::Ar && self.block.is_some() {
            return Err("next tokens have no blocks: remove block".to_owned());
        }
        if seq_len < LEAST_SEQ_LEN {
            return Err(format!(
                "seq_len {seq_len} leaves an infilling sample no context: choose at least {LEAST_SEQ_LEN}"
            ));
        }
        let tokens = steps as f64 * batch_rows as f64 * seq_len as f64;
        if tokens > MOST_TOKENS {
            return Err(format!(
                "its {tokens:.1e} tokens are more than can be counted: lower steps, batch_rows or seq_len"
            ));
        }
        if !(self.fill_weight.is_finite() && self.fill_weight > 0.0) {
            return Err(format!(
                "fill_weight {} is no weight: choose a number above 0",
                self.fill_weight
            ));
        }
        let rates = [
            ("infill_rate", infill_rate),
            ("multi_hole_rate", self.multi_hole_rate),
            ("related_rate", self.related_rate),
            ("whole_line_rate", self.whole_line_rate),
            ("left_to_right_rate", f64::from(self.left_to_right_rate)),
        ];
        for (name, rate) in rates {
            if !(0.0..=1.0).contains(&rate) {
                return Err(format!("{name} {rate} is no share: choose 0 to 1"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NANO: &str = include_str!("../../recipes/nano.toml");

    fn error_of(from: &str, to: &str) -> String {
        assert!(NANO.contains(from), "the recipe has no {from}");
        Recipe::parse(&NANO.replacen(from, to, 1), Path::new("r.toml")).unwrap_err().to_string()
    }

    #[test]
    fn the_shipped_recipe_is_sound() {
        let recipe = Recipe::parse(NANO, Path::new("nano.toml")).unwrap();
        let config = recipe.model_config().unwrap();
        assert_eq!((config.n_layers, config.hidden_size, config.vocab_size), (4, 256, 4096));
        assert!(config.n_parameters() < 5_000_000);
    }

    #[test]
    fn the_recipe_for_a_gpu_is_sound() {
        let text = include_str!("../../recipes/base.toml");
        let recipe = Recipe::parse(text, Path::new("base.toml")).unwrap();
        let config = recipe.model_config().unwrap();
        assert_eq!((config.n_layers, config.hidden_size, config.vocab_size), (8, 512, 8192));
        assert!((29_000_000..30_000_000).contains(&config.n_parameters()));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = error_of("[optimizer]\n", "[optimizer]\nlearning_rate = 1\n");
        let line = NANO[..NANO.find("[optimizer]").unwrap()].matches('\n').count() + 2;
        assert!(error.contains("learning_rate"), "{error}");
        assert!(error.starts_with(&format!("r.toml, line {line}: ")), "{error}");
        assert!(!error.contains('\n'));
    }

    #[test]
    fn impossible_values_get_one_sentence_each() {
        let micro = NANO.lines().find(|line| line.starts_with("micro_rows")).unwrap();
        let length = NANO.lines().find(|line| line.starts_with("seq_len")).unwrap();
        for (from, to, expected) in [
            (micro, "micro_rows = 7", "no multiple of micro_rows 7"),
            (length, "seq_len = 510", "no multiple of the block of 4"),
            ("kv_heads = 2", "kv_heads = 3", "3 key/value heads"),
            ("seed = ", "seed = -", "line "),
            (length, "seq_len = 16", "choose at least 32"),
            ("steps = 5300", "steps = 9000000000000000", "more than can be counted"),
            ("width = 256", "width = 1000000000000", "make it smaller"),
            ("weight_decay = 0.1", "weight_decay = -0.1", "weight_decay is -0.1"),
            ("weight_decay = 0.1", "weight_decay = nan", "weight_decay is NaN"),
            ("weight_decay = 0.1", "eps = 0.0", "eps is 0"),
            ("weight_decay = 0.1", "eps = inf", "eps is inf"),
            ("warmup_steps = ", "warmup_steps = 99999999", "do not fit"),
            ("kind = \"ar\"", "kind = \"ar\"\nblock = 1", "have no blocks: remove block"),
            ("kind = \"cpt\"", "kind = \"cpt\"\nblock = 3", "block 3 does not divide the 4"),
            ("kind = \"cpt\"", "kind = \"cpt\"\nblock = 0", "block 0 does not divide the 4"),
            ("kind = \"ar\"", "kind = \"ar\"\nleft_to_right_rate = 0.5", "is for cpt stages"),
            ("kind = \"cpt\"", "kind = \"cpt\"\nleft_to_right_rate = 1.5", "1.5 is no share"),
            ("kind = \"cpt\"", "kind = \"cpt\"\nfill_weight = 0", "fill_weight 0 is no weight"),
            ("kind = \"cpt\"", "kind = \"cpt\"\nfill_weight = nan", "fill_weight NaN is no"),
            ("warmup_steps = 100", "warmup_steps = 9223372036854775807", "do not fit"),
        ] {
            let error = error_of(from, to);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_recipe_that_needs_more_memory_than_there_is_says_what_to_lower() {
        let rows = NANO.lines().find(|line| line.starts_with("batch_rows")).unwrap();
        let micro = NANO.lines().find(|line| line.starts_with("micro_rows")).unwrap();
        let parse = |text: &str| Recipe::parse(text, Path::new("r.toml")).unwrap();
        let machine = Some(4 << 30);
        parse(NANO).check_memory(machine).unwrap();
        let many_rows = NANO.replacen(rows, "batch_rows = 100000000000", 1);
        let at_once = many_rows.replacen(micro, "micro_rows = 100000000000", 1);
        for text in [&many_rows, &at_once] {
            parse(text).check_memory(None).unwrap();
            let error = parse(text).check_memory(machine).unwrap_err();
            assert!(error.starts_with("stage 1 (ar): a step needs about "), "{error}");
            assert!(error.ends_with("has 4096 MiB: lower micro_rows or batch_rows"), "{error}");
        }
    }
}
