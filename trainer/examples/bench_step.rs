//! Times training steps and prefills of a fresh model, one for each line on stdin: our side of `tests/peers/train_step.py`.
//!
//! A line says `step` or `peak`; the answers are seconds of one step and the peak resident memory in MiB.
#![expect(clippy::print_stdout, reason = "the answers")]

use std::io::BufRead as _;
use std::io::Write as _;
use std::time::Instant;

use anyhow::{Context as _, Result};
use candle_core::Tensor;
use clap::{Parser, ValueEnum};
use diffcoder_engine::kernels::matmul::Precision;
use diffcoder_engine::model::config::ModelConfig;
use diffcoder_engine::model::mask::SequenceMask;
use diffcoder_engine::model::ops::Ops;
use diffcoder_engine::model::{Model, RowGroup};
use diffcoder_train::data::loader::Batch;
use diffcoder_train::objective::loss::Normaliser;
use diffcoder_train::objective::noise::{Clip, NoiseRule, RateUnit};
use diffcoder_train::optim::Optimizer;
use diffcoder_train::optim::adamw::{AdamWSettings, DecayGroup};
use diffcoder_train::optim::clip::{clip_scale, global_norm};
use diffcoder_train::parameters::Parameters;
use diffcoder_train::rng::{Stream, stream};
use diffcoder_train::step::{Objective, Task, step_gradients};

/// Tokens of a diffusion block.
const BLOCK: usize = 4;

#[derive(Parser)]
struct Args {
    /// Model shape.
    #[arg(long, value_enum)]
    model: Shape,
    /// What is timed.
    #[arg(long, value_enum)]
    kind: Kind,
    /// Rounding of the operands of matrix products.
    #[arg(long, value_enum)]
    precision: Rounding,
    /// Sequences.
    #[arg(long, default_value_t = 1)]
    rows: usize,
    /// Tokens of a sequence.
    #[arg(long, default_value_t = 1024)]
    len: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shape {
    /// 8 layers x 512, MLP 1536, 8/4 heads x 64, vocabulary 8192.
    Base,
    /// 4 layers x 256, MLP 768, 4/2 heads x 64, vocabulary 4096.
    Nano,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Kind {
    /// A step of next-token prediction.
    Ar,
    /// A step of block diffusion over `[x_t ; x_0]`.
    Cpt,
    /// A prompt into an empty cache, logits of its last row.
    Prefill,
}

#[derive(Clone, Copy, ValueEnum)]
enum Rounding {
    F32,
    Bf16,
}

fn config(shape: Shape, context: usize) -> Result<ModelConfig> {
    let (layers, width, mlp, heads, kv_heads, vocab) = match shape {
        Shape::Base => (8, 512, 1536, 8, 4, 8192),
        Shape::Nano => (4, 256, 768, 4, 2, 4096),
    };
    let json = serde_json::json!({
        "model_type": "qwen3", "hidden_size": width, "intermediate_size": mlp, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": 64, "vocab_size": vocab,
        "tie_word_embeddings": true, "rope_theta": 1e6, "rms_norm_eps": 1e-6, "max_position_embeddings": context,
    });
    ModelConfig::from_json(&json.to_string()).map_err(|error| anyhow::anyhow!("{error}"))
}

/// The parts of a training run that a step needs.
struct Trainer {
    parameters: Parameters,
    model: Model,
    optimizer: Optimizer,
    objective: Objective,
    batch: Batch,
    step: u64,
}

impl Trainer {
    fn step(&mut self) -> Result<()> {
        let mut noise = stream(1, self.step, Stream::Noise);
        let mask = self.model.config().vocab_size as u32 - 1;
        let task = Task::new(&self.objective, &self.batch, mask, &mut noise);
        let rows = self.batch.rows;
        let found = step_gradients(&self.model, &self.parameters, &self.batch, &task, rows)?
            .context("nothing is predicted")?;
        let scale = clip_scale(global_norm(&found.gradients)?, 1.0);
        self.optimizer.step(self.parameters.variables(), &found.gradients, 1e-4, scale)?;
        self.step += 1;
        Ok(())
    }
}

/// A prompt into an empty cache.
fn prefill(model: &Model, tokens: &[u32]) -> Result<Tensor> {
    let mut cache = model.new_cache();
    let len = tokens.len();
    Ok(model.forward(&mut [RowGroup {
        cache: &mut cache,
        tokens,
        mask: SequenceMask::BlockCausal { block: BLOCK },
        commit: len,
        logits: len - 1..len,
        branches: &[],
    }])?)
}

/// Peak resident memory of this process in MiB, where the system tells.
fn peak_mib() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kibibytes.unwrap_or(f64::NAN) / 1024.0
}

fn main() -> Result<()> {
    diffcoder_train::memory::keep_freed_pages();
    let Args { model, kind, precision, rows, len } = Args::parse();
    let config = config(model, len)?;
    let precision = match precision {
        Rounding::F32 => Precision::F32,
        Rounding::Bf16 => Precision::Bf16,
    };
    let parameters = Parameters::init(&config, &mut stream(1, 0, Stream::Init))?;
    let model = parameters.model(&config, Ops::Fused { precision })?;
    let tokens: Vec<u32> =
        (0..rows * len).map(|i| (i * 7919 % (config.vocab_size - 1)) as u32).collect();
    let objective = match kind {
        Kind::Ar | Kind::Prefill => Objective::NextToken,
        Kind::Cpt => Objective::Diffusion {
            rule: NoiseRule::cpt(BLOCK, RateUnit::Block, Clip::On),
            normaliser: Normaliser::All,
        },
    };
    let settings =
        AdamWSettings { betas: [0.9, 0.95], eps: 1e-8, weight_decay: 0.1, decay: DecayGroup::All };
    let batch = Batch {
        loss_mask: vec![true; tokens.len()],
        fills: vec![false; tokens.len()],
        tokens,
        rows,
        len,
    };
    let mut trainer = Trainer {
        parameters,
        model,
        optimizer: Optimizer::new(settings.into()),
        objective,
        batch,
        step: 0,
    };
    for line in std::io::stdin().lock().lines() {
        match line?.trim() {
            "peak" => println!("{:.0}", peak_mib()),
            _ => {
                let start = Instant::now();
                match kind {
                    Kind::Ar | Kind::Cpt => trainer.step()?,
                    Kind::Prefill => drop(prefill(&trainer.model, &trainer.batch.tokens)?),
                }
                println!("{:.6}", start.elapsed().as_secs_f64());
            }
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}
