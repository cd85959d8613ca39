//! The command line: one subcommand for each step from source code to a model directory.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use diffcoder_engine::device;
use diffcoder_engine::kernels::matmul::Precision;
use diffcoder_engine::model::ops::Ops;
use diffcoder_engine::tokenizer::Tokenizer;

use crate::config::{Matmul, Recipe};
use crate::data::Split;
use crate::data::command::{DataArgs, run_data};
use crate::data::contamination_command::{ContaminationListArgs, run_contamination_list};
use crate::data::corpus::read_split;
use crate::data::loader::{Loader, LoaderOptions};
use crate::data::sample::{SampleOptions, Sampler};
use crate::eval::sandbox::{SandboxedArgs, run_sandboxed};
use crate::eval::{EvalArgs, run_eval};
use crate::export::ExportType;
use crate::inputs::Inputs;
use crate::stage::{Stage, summary};
use crate::tokenizer_training::{TokenizerArgs, run_tokenizer};
use crate::train::{Batches, Outcome, Run, Start, train};
use crate::verbatim::{VerbatimArgs, run_verbatim};
use crate::{atomic, curves, export, output};

/// Builds a code model from source code on your disk.
#[derive(clap::Parser, Debug)]
#[command(name = "diffcoder-train", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Data(DataArgs),
    ContaminationList(ContaminationListArgs),
    Tokenizer(TokenizerArgs),
    Train(TrainArgs),
    Export(ExportArgs),
    Eval(Box<EvalArgs>),
    Verbatim(VerbatimArgs),
    Curves(CurvesArgs),
    /// Run the Python program on stdin in a sandbox; `eval` starts itself so.
    #[command(hide = true)]
    Sandboxed(SandboxedArgs),
}

/// Train a model as a recipe says.
#[derive(clap::Args, Debug)]
struct TrainArgs {
    /// The recipe (see trainer/recipes).
    recipe: PathBuf,
    /// Run folder for checkpoints and metrics.
    #[arg(long)]
    out: PathBuf,
    /// Folder that `data` wrote; the recipe's by default.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Folder that `tokenizer` wrote; the recipe's by default.
    #[arg(long)]
    tokenizer: Option<PathBuf>,
    /// Go on from the newest checkpoint of the run folder.
    #[arg(long)]
    resume: bool,
    /// Begin with the weights of this model directory, made with the same tokenizer; moments and schedule are new.
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    from: Option<PathBuf>,
    /// Change a value of the recipe: optimizer.lr=1e-3, stage.2.steps=100, stage.infill_rate=0.5 (all stages). May repeat.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where to train.
    #[arg(long, value_enum, default_value = "cpu")]
    device: Place,
    /// Stop with a checkpoint after this many minutes.
    #[arg(long, value_name = "MINUTES")]
    max_minutes: Option<f64>,
}

/// Where a model is trained.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Place {
    /// On the processor.
    Cpu,
    /// On the first CUDA device, if this build knows CUDA.
    Cuda,
}

/// Write a checkpoint as a model directory.
#[derive(clap::Args, Debug)]
struct ExportArgs {
    /// Checkpoint folder (RUN/checkpoints/step-…).
    checkpoint: PathBuf,
    /// Folder of the tokenizer that it was trained with.
    #[arg(long)]
    tokenizer: PathBuf,
    /// The model directory to write.
    #[arg(long)]
    out: PathBuf,
    /// Number type of the weights.
    #[arg(long, value_enum, default_value = "f32")]
    dtype: ExportType,
    /// Corpus folder that it was trained on: lists its packages and licences in a NOTICE beside the weights.
    #[arg(long)]
    data: Option<PathBuf>,
}

/// Draw loss and gradient norm of a run as SVG.
#[derive(clap::Args, Debug)]
struct CurvesArgs {
    /// Run folder.
    run: PathBuf,
    /// Folder for the pictures.
    #[arg(long)]
    out: PathBuf,
}

impl Cli {
    /// Runs the chosen subcommand.
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Data(args) => run_data(args)?,
            Command::ContaminationList(args) => run_contamination_list(&args)?,
            Command::Tokenizer(args) => run_tokenizer(args)?,
            Command::Train(args) => return run_train(&args),
            Command::Export(args) => {
                let ExportArgs { checkpoint, tokenizer, out, dtype, data } = args;
                atomic::clean_up_on_interrupt()?;
                let difference =
                    export::export(&checkpoint, &tokenizer, &out, dtype, data.as_deref())?;
                output::line(&format!(
                    "{} loads, and its logits differ by at most {difference} from the checkpoint's",
                    out.display()
                ))?;
            }
            Command::Eval(args) => run_eval(&args)?,
            Command::Verbatim(args) => run_verbatim(&args)?,
            Command::Sandboxed(args) => return run_sandboxed(&args),
            Command::Curves(args) => {
                for path in curves::draw(&args.run, &args.out)? {
                    output::line(&path.display().to_string())?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn run_train(args: &TrainArgs) -> Result<ExitCode> {
    let (recipe, recipe_text) = Recipe::read_with(&args.recipe, &args.set)?;
    let data = folder("data", args.data.as_ref(), recipe.run.data.as_ref())?;
    let tokenizer_dir =
        folder("tokenizer", args.tokenizer.as_ref(), recipe.run.tokenizer.as_ref())?;
    let tokenizer = Tokenizer::from_dir(&tokenizer_dir)?;
    ensure!(
        tokenizer.vocab_size() <= recipe.model.vocab,
        "the tokenizer in {} has {} tokens, more than [model] vocab = {} of the recipe: make them equal",
        tokenizer_dir.display(),
        tokenizer.vocab_size(),
        recipe.model.vocab
    );
    let model = recipe.model_config().map_err(anyhow::Error::msg)?;
    eprint_line(summary(&recipe, &model).trim_end());

    let documents = Arc::new(read_split(&data, Split::Train)?);
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))
        .context("cannot listen for Ctrl-C")?;
    let max_time = args.max_minutes.map(|minutes| {
        Duration::try_from_secs_f64(minutes * 60.0)
            .context("--max-minutes must be a positive number of minutes")
    });
    let run = Run {
        recipe: &recipe,
        recipe_text: &recipe_text,
        inputs: Inputs::of(&tokenizer_dir, &data)?,
        out: &args.out,
        mask_token: tokenizer.special().mask,
        ops: ops(recipe.run.matmul),
        device: match args.device {
            Place::Cpu => None,
            Place::Cuda => Some(device::cuda(0)?),
        },
        start: match &args.from {
            _ if args.resume => Start::Resume,
            Some(dir) => Start::From(dir),
            None => Start::Fresh,
        },
        max_time: max_time.transpose()?,
        stop: &stop,
    };
    let open_stage = |stage: &Stage, first_step| -> Result<Batches> {
        let sampling = SampleOptions {
            infill_rate: stage.section.infill_rate,
            multi_hole_rate: stage.section.multi_hole_rate,
            related_rate: stage.section.related_rate,
            whole_line_rate: stage.section.whole_line_rate,
            block_length: recipe.objective.block,
        };
        let shape = LoaderOptions {
            rows: stage.section.batch_rows,
            len: stage.section.seq_len,
            seed: recipe.run.seed,
        };
        let sampler = Sampler::new(tokenizer.clone(), sampling)?;
        let loader = Loader::new(Arc::clone(&documents), sampler, shape)?;
        Ok(Box::new(Arc::new(loader).prefetch(first_step)))
    };
    let outcome = train(&run, &open_stage)?;
    let (said, checkpoint, code) = match &outcome {
        Outcome::Finished(at) => ("finished", at, ExitCode::SUCCESS),
        Outcome::TimeUp(at) => ("the time is up; --resume goes on", at, ExitCode::SUCCESS),
        Outcome::Interrupted(at) => {
            ("interrupted; --resume goes on", at, ExitCode::from(atomic::INTERRUPTED))
        }
    };
    eprint_line(&format!("{said}: {}", checkpoint.display()));
    Ok(code)
}

fn folder(what: &str, flag: Option<&PathBuf>, recipe: Option<&PathBuf>) -> Result<PathBuf> {
    flag.or(recipe).cloned().with_context(|| {
        format!("no {what} folder: name it with --{what} or as `{what}` in [run] of the recipe")
    })
}

/// The op set for a recipe's precision.
fn ops(matmul: Matmul) -> Ops {
    let precision = match matmul {
        Matmul::F32 => Precision::F32,
        Matmul::Bf16 => Precision::Bf16,
    };
    Ops::Fused { precision }
}

fn eprint_line(text: &str) {
    eprintln!("{text}");
}
