//! `gpu parity|train-speed|serve-shape`: checks and timings that need a CUDA device.
//!
//! `--rehearse` runs the same code at tiny sizes on the emulator of the kernel tests, so that a GPU's time is not lost to
//! a slip; its timings mean nothing.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use candle_core::{DType, Device, Tensor};
use clap::Parser as _;
use diffcoder_engine::device;
use diffcoder_engine::kernels::cuda::{operations, runtime};
use diffcoder_engine::model::config::ModelConfig;
use diffcoder_engine::model::mask::SequenceMask;
use diffcoder_engine::model::ops::Ops;
use diffcoder_engine::model::weights::Weights;
use diffcoder_engine::model::{Model, RowGroup};
use diffcoder_tests::conformance::{self, Setup};
use diffcoder_tests::device_parity::{self, Extent};
use diffcoder_train::config::{Recipe, StageKind};
use diffcoder_train::data::loader::Batch;
use diffcoder_train::metrics::StepMetrics;
use diffcoder_train::on_device::{DeviceTrainer, HostState};
use diffcoder_train::parameters::Parameters;
use diffcoder_train::rng::{Stream, stream};
use diffcoder_train::stage::{stages, step_flop};
use diffcoder_train::step::Task;

#[path = "../../../engine/tests/cuda_kernels/emulator.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "shared with the kernel tests, which use all of it"
)]
mod emulator;

/// Checks and times the CUDA path.
#[derive(clap::Parser)]
struct Args {
    /// Run at tiny sizes on an emulator of the kernels instead of a GPU.
    #[arg(long)]
    rehearse: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Compare forwards, losses and gradients with reference numbers, then training and serving in bf16 with the processor.
    Parity {
        /// Directory in the format of tests/golden.
        directory: PathBuf,
    },
    /// Time training steps of a recipe's model on random tokens.
    TrainSpeed {
        /// The recipe; its stages' shapes are timed.
        recipe: PathBuf,
        /// TFLOP/s that the device's matrix product reaches: the share of it is told.
        #[arg(long, default_value_t = 790.0)]
        peak: f64,
    },
    /// Time forwards of an 8B model of random weights.
    ServeShape,
}

/// How large models and repetitions are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sizes {
    Real,
    Toy,
}

#[expect(clippy::print_stdout, reason = "the report is this program's result")]
fn say(text: &str) {
    println!("{text}");
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let device = if args.rehearse {
        let emulator = emulator::emulator().context("a rehearsal needs a C++ compiler")?;
        runtime::emulate_with(Arc::new(emulator.clone()));
        Device::Cpu
    } else {
        device::cuda(0)?
    };
    let sizes = if args.rehearse { Sizes::Toy } else { Sizes::Real };
    match args.command {
        Command::Parity { directory } => {
            let setups = Setup::on_device(device.clone());
            let cases = conformance::run(&directory, &setups, &mut |case| say(&case.to_string()))?;
            let fatal = cases.iter().filter(|case| case.is_fatal()).count();
            say(&format!("parity: {} cases, {fatal} fatal", cases.len()));
            say("in bf16, next to the processor in f32:");
            let extent = match sizes {
                Sizes::Toy => Extent { len: 20, rows: 2, steps: 4 },
                Sizes::Real => Extent { len: 512, rows: 8, steps: 10 },
            };
            let wrong = device_parity::run(&device, extent, &mut say)?;
            let is_good = fatal + wrong == 0;
            return Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::TrainSpeed { recipe, peak } => {
            train_speed(&device, &Recipe::read(&recipe)?, peak, sizes)?;
        }
        Command::ServeShape => serve_shape(&device, sizes)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Steps that warm up, and steps that are timed.
const STEPS: (usize, usize) = (3, 10);

fn train_speed(device: &Device, recipe: &Recipe, peak: f64, sizes: Sizes) -> Result<()> {
    let config = recipe.model_config().map_err(anyhow::Error::msg)?;
    let (warm, timed) = if sizes == Sizes::Toy { (1, 2) } else { STEPS };
    say("stage   rows x T   rows at once   ms/step   tokens/s   TFLOP/s   share of peak   loss");
    for stage in stages(recipe) {
        let section = stage.section;
        let (rows, len) = (section.batch_rows, section.seq_len);
        let host = HostState {
            parameters: Parameters::init(&config, &mut stream(1, 0, Stream::Init))?,
            moments: Default::default(),
            updates: 0,
        };
        let optimizer = &recipe.optimizer;
        let settings = optimizer.settings(recipe.run.matmul);
        let mut trainer =
            DeviceTrainer::new(device, &config, settings, optimizer.clip_norm, &host)?;
        let tokens: Vec<u32> =
            (0..rows * len).map(|i| (i * 7919 % (config.vocab_size - 8)) as u32 + 8).collect();
        let loss_mask = vec![true; tokens.len()];
        let fills = vec![false; tokens.len()];
        let batch = Batch { tokens, loss_mask, fills, rows, len };
        // The last step of the stage: a warmup masks most there.
        let objective = stage.objective(recipe, stage.end_step() - 1);
        let task = Task::new(&objective, &batch, 5, &mut stream(1, 0, Stream::Noise));
        let mut started = Instant::now();
        let mut last = None;
        for step in 0..warm + timed {
            if step == warm {
                trainer.read()?;
                started = Instant::now();
            }
            let counts = (task.n_predicted(), batch.tokens.len());
            let kind = (stage.index, section.kind.name());
            let metrics = StepMetrics::before(step as u64, kind, counts, 1e-3);
            trainer.step(&batch, &task, section.micro_rows, metrics)?;
        }
        let (done, _updates) = trainer.read()?;
        let seconds = started.elapsed().as_secs_f64() / timed as f64;
        last = done.into_iter().last().or(last);
        let last = last.context("no step was made")?;
        ensure!(last.skipped.is_none(), "the last step made no update: {:?}", last.skipped);
        let rate = step_flop(&config, &stage, task.n_predicted()) / seconds / 1e12;
        say(&format!(
            "{:<7} {:>4} x {:<5} {:>10} {:>13.2} {:>10.0} {:>9.1} {:>11.1} %   {:>8.3}",
            match section.kind {
                StageKind::Ar => "ar",
                StageKind::Warmup => "warmup",
                StageKind::Cpt => "cpt",
            },
            rows,
            len,
            section.micro_rows,
            seconds * 1e3,
            batch.tokens.len() as f64 / seconds,
            rate,
            100.0 * rate / peak,
            last.ce_per_masked.unwrap_or(f64::NAN),
        ));
    }
    Ok(())
}

/// Sizes of Stable-DiffCoder-8B; in a rehearsal, of a toy with the same head size.
fn shape_config(sizes: Sizes) -> Result<ModelConfig> {
    let (width, mlp, layers, heads, kv_heads, vocab) = if sizes == Sizes::Toy {
        (64, 96, 2, 2, 1, 256)
    } else {
        (4096, 14336, 32, 32, 8, 155_136)
    };
    let json = serde_json::json!({
        "model_type": "llama", "hidden_size": width, "intermediate_size": mlp, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": 128, "vocab_size": vocab,
        "tie_word_embeddings": false, "rope_theta": 500_000.0, "rms_norm_eps": 1e-6, "max_position_embeddings": 8192,
    });
    Ok(ModelConfig::from_json(&json.to_string())?)
}

#[expect(clippy::disallowed_methods, reason = "random weights of a timing need no seed")]
fn serve_shape(device: &Device, sizes: Sizes) -> Result<()> {
    let config = shape_config(sizes)?;
    let mut tensors = std::collections::BTreeMap::new();
    for (name, shape) in config.parameter_shapes() {
        let values = if name.ends_with("norm.weight") {
            Tensor::ones(shape, DType::BF16, device)?
        } else {
            Tensor::randn(0f32, 0.02, shape, device)?.to_dtype(DType::BF16)?
        };
        tensors.insert(name, values);
    }
    let model = Model::new(&config, Weights::from_tensors(tensors, "random"), Ops::Device)?;
    say(&format!("{:.2} B parameters in bf16", config.n_parameters() as f64 / 1e9));
    let (prompt_len, repeats) = if sizes == Sizes::Toy { (68, 2) } else { (2048, 20) };
    let mask = SequenceMask::BlockCausal { block: 4 };
    let tokens: Vec<u32> = (0..prompt_len).map(|i| (i * 7919 % config.vocab_size) as u32).collect();

    let prefill = |commit: usize| -> Result<_> {
        let mut cache = model.new_cache();
        let logits = prompt_len - 1..prompt_len;
        let (tokens, branches) = (&tokens, &[]);
        let group = RowGroup { cache: &mut cache, tokens, mask, commit, logits, branches };
        let logits = model.forward_in_place(&mut [group])?;
        ensure!(logits.dims() == [1, config.vocab_size], "logits of one row");
        Ok(cache)
    };
    prefill(0)?;
    operations::wait(device)?;
    let mut best = f64::INFINITY;
    for _ in 0..repeats.min(5) {
        let started = Instant::now();
        prefill(0)?;
        operations::wait(device)?;
        best = best.min(started.elapsed().as_secs_f64());
    }
    say(&format!("prefill of {prompt_len} rows: {:.2} ms (goal 80)", best * 1e3));

    for context in [0, prompt_len] {
        let mut cache = if context == 0 { model.new_cache() } else { prefill(prompt_len)? };
        for rows in [4, 8, 16, 32] {
            let mut forward = || -> Result<Tensor> {
                let (tokens, logits, branches) = (&tokens[..rows], 0..rows, &[]);
                let cache = &mut cache;
                let group = RowGroup { cache, tokens, mask, commit: 0, logits, branches };
                Ok(model.forward_in_place(&mut [group])?)
            };
            let logits = forward()?;
            let sum = logits.abs()?.sum_all()?.to_scalar::<f32>()?;
            ensure!(sum.is_finite() && sum > 0.0, "the logits are {sum} in sum");
            let mut times = Vec::new();
            for _ in 0..repeats {
                let started = Instant::now();
                forward()?;
                operations::wait(device)?;
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
            times.sort_by(f64::total_cmp);
            say(&format!(
                "forward of {rows:>2} rows behind {context:>4} tokens: median {:.3} ms, best {:.3} ms (goal 4.5)",
                times[times.len() / 2],
                times[0]
            ));
        }
    }
    Ok(())
}
