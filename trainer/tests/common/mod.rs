//! Tiny models, rows and runs that the trainer's tests share.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses a part of this; a test fails by panicking"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use diffcoder_engine::kernels::matmul::Precision;
use diffcoder_engine::model::config::ModelConfig;
use diffcoder_engine::model::ops::Ops;
use diffcoder_train::config::{Matmul, Recipe};
use diffcoder_train::data::loader::Batch;
use diffcoder_train::inputs::Inputs;
use diffcoder_train::train::{Outcome, Run, Start, train};

/// Id of the mask token in these tests, as in our tokenizers.
pub const MASK: u32 = 5;

/// A tiny configuration of one of the three dialects; Llama's head is its own, the others' is the embedding.
pub fn tiny(dialect: &str) -> ModelConfig {
    let tied = dialect != "llama";
    let json = format!(
        r#"{{"model_type":"{dialect}","hidden_size":16,"intermediate_size":24,"num_hidden_layers":2,
            "num_attention_heads":2,"num_key_value_heads":1,"head_dim":8,"vocab_size":64,
            "tie_word_embeddings":{tied},"max_position_embeddings":64,"rms_norm_eps":1e-6,"rope_theta":10000.0}}"#
    );
    ModelConfig::from_json(&json).unwrap()
}

/// Rows with some structure to learn: arithmetic sequences modulo 50, shifted by 10.
pub fn rows(step: u64, rows: usize, len: usize) -> Batch {
    let tokens: Vec<u32> = (0..rows * len)
        .map(|i| {
            let (row, at) = (i / len, i % len);
            let pace = 1 + (step as usize + row) % 3;
            (10 + (step as usize * 7 + row * 11 + at * pace) % 50) as u32
        })
        .collect();
    // The first token of each row is a marker.
    let loss_mask = (0..rows * len).map(|i| i % len != 0).collect();
    Batch { fills: vec![false; tokens.len()], tokens, loss_mask, rows, len }
}

/// A recipe of ten steps over all three stages.
pub const TINY_RECIPE: &str = r#"
[run]
name = "tiny"
seed = 3
[model]
layers = 2
width = 16
mlp = 24
heads = 2
kv_heads = 1
head_size = 8
vocab = 64
[[stage]]
kind = "ar"
steps = 3
seq_len = 32
batch_rows = 4
micro_rows = 2
infill_rate = 0.5
[[stage]]
kind = "warmup"
steps = 3
seq_len = 32
batch_rows = 4
micro_rows = 4
infill_rate = 0.5
[[stage]]
kind = "cpt"
steps = 4
seq_len = 32
batch_rows = 4
micro_rows = 2
infill_rate = 0.5
[optimizer]
lr = 1e-2
weight_decay = 0.1
[schedule]
warmup_steps = 2
decay_steps = 3
[checkpoint]
every_steps = 2
keep = 1
"#;

/// Trains `recipe` in `out`; a signal arrives during step `stop_at`.
pub fn run(
    recipe: &str,
    out: &Path,
    start: Start,
    stop_at: Option<u64>,
) -> anyhow::Result<Outcome> {
    run_on(Inputs::default(), recipe, out, start, stop_at)
}

/// As [`run`], made from `inputs`.
pub fn run_on(
    inputs: Inputs,
    recipe: &str,
    out: &Path,
    start: Start,
    stop_at: Option<u64>,
) -> anyhow::Result<Outcome> {
    run_at((None, inputs), recipe, out, start, stop_at)
}

/// As [`run_on`], on a device.
pub fn run_at(
    (device, inputs): (Option<Device>, Inputs),
    recipe: &str,
    out: &Path,
    start: Start,
    stop_at: Option<u64>,
) -> anyhow::Result<Outcome> {
    let parsed = Recipe::parse(recipe, Path::new("tiny.toml"))?;
    let stop = Arc::new(AtomicBool::new(false));
    let ops = match parsed.run.matmul {
        Matmul::F32 => Ops::default(),
        Matmul::Bf16 => Ops::Fused { precision: Precision::Bf16 },
    };
    let run = Run {
        recipe: &parsed,
        recipe_text: recipe,
        inputs,
        out,
        mask_token: MASK,
        ops,
        device,
        start,
        max_time: None,
        stop: &stop,
    };
    train(&run, &|stage, first_step| {
        let (n_rows, len) = (stage.section.batch_rows, stage.section.seq_len);
        let stop = Arc::clone(&stop);
        Ok(Box::new((first_step..).map(move |step| {
            if stop_at == Some(step) {
                stop.store(true, Ordering::Relaxed);
            }
            Ok(rows(step, n_rows, len))
        })))
    })
}
