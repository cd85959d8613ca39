//! The training loop, top to bottom: stages in order, one step after the other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use candle_core::Device;
use diffcoder_engine::model::Model;
use diffcoder_engine::model::config::ModelConfig;
use diffcoder_engine::model::ops::Ops;
use diffcoder_engine::model::weights::Weights;
use sha2::{Digest as _, Sha256};

use crate::checkpoint::{Checkpoint, Progress, Snapshot};
use crate::config::Recipe;
use crate::data::loader::Batch;
use crate::growth::deepened;
use crate::inputs::Inputs;
use crate::metrics::{MetricsFile, StepMetrics, matmul_rate};
use crate::on_device::{DeviceTrainer, HostState};
use crate::optim::Optimizer;
use crate::optim::clip::{clip_scale, global_norm};
use crate::optim::lr::LrCurve;
use crate::parameters::Parameters;
use crate::progress::Display;
use crate::retention;
use crate::rng::{Stream, stream};
use crate::stage::{Stage, lr_curve, served_config, stages, step_flop};
use crate::step::{Task, step_gradients};

/// Steps in a row without a finite loss and gradient after which a run gives up.
const MAX_BAD_STEPS: u32 = 5;

/// What is said of a step whose loss or gradient cannot be used.
pub(crate) const NOT_FINITE: &str = "loss or gradient is not finite";

/// Everything that a run needs beside its data.
pub struct Run<'a> {
    /// The checked recipe.
    pub recipe: &'a Recipe,
    /// Its text, kept in every checkpoint.
    pub recipe_text: &'a str,
    /// What it is made from; a resumed run must be made from the same.
    pub inputs: Inputs,
    /// Run folder.
    pub out: &'a Path,
    /// The token that hides what is to be predicted.
    pub mask_token: u32,
    /// Implementation of the model's operations on the CPU.
    pub ops: Ops,
    /// A CUDA device to train on instead.
    pub device: Option<Device>,
    /// Whether to go on from the newest checkpoint.
    pub start: Start<'a>,
    /// When to stop early.
    pub max_time: Option<Duration>,
    /// Set from outside to end the run after the step in progress.
    pub stop: &'a AtomicBool,
}

/// Where a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// At the first step with random weights, in a folder without checkpoints.
    Fresh,
    /// At the first step with the weights of this model directory and new moments, in a folder without checkpoints.
    From(&'a Path),
    /// At the newest checkpoint of the folder.
    Resume,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All stages are done.
    Finished(PathBuf),
    /// The time was up; a checkpoint was written.
    TimeUp(PathBuf),
    /// It was interrupted; a checkpoint was written.
    Interrupted(PathBuf),
}

/// The batches of consecutive steps. Each must be a function of its step, so that a resumed run sees the same ones.
pub type Batches = Box<dyn Iterator<Item = Result<Batch>>>;

/// Opens the batches of a stage from a global step on.
pub type OpenStage<'a> = dyn Fn(&Stage, u64) -> Result<Batches> + 'a;

/// Path of the checkpoints in a run folder.
pub fn checkpoint_root(run: &Path) -> PathBuf {
    run.join("checkpoints")
}

/// What changes from step to step.
struct State {
    place: Place,
    progress: Progress,
    bad_in_a_row: u32,
}

/// Where parameters and moments live.
enum Place {
    Cpu(Box<OnCpu>),
    Device(Box<DeviceTrainer>),
}

struct OnCpu {
    parameters: Parameters,
    model: Model,
    optimizer: Optimizer,
}

/// Trains all stages of a recipe, or what is left of them.
pub fn train(run: &Run<'_>, open_stage: &OpenStage<'_>) -> Result<Outcome> {
    let config = run.recipe.model_config().map_err(anyhow::Error::msg)?;
    let mut state = State::start(run, &config)?;
    let curve = lr_curve(run.recipe);
    let machine_rate = matmul_rate()?;
    let mut metrics_file = MetricsFile::open(run.out, state.progress.step)?;
    let mut display = Display::new(curve.total_steps, state.progress.step);
    display.note(&format!("f32 matrix product: {:.0} GFLOP/s", machine_rate / 1e9));
    let (started, mut saved_at) = (Instant::now(), Instant::now());

    for stage in stages(run.recipe) {
        if state.progress.step >= stage.end_step() {
            continue;
        }
        let served = served_config(run.recipe, &config, &stage);
        let mut batches = open_stage(&stage, state.progress.step)?;
        state.progress.stage = stage.index;
        let mut told_at = Instant::now();
        while state.progress.step < stage.end_step() {
            let batch = batches.next().context("the data ended before the stage did")??;
            let mut told = state.step(run, &stage, &batch, &curve)?;

            let done = state.progress.step;
            state.progress.stage_end = done == stage.end_step();
            let interrupted = run.stop.load(Ordering::Relaxed);
            let time_up = run.max_time.is_some_and(|limit| started.elapsed() >= limit);
            let schedule = &run.recipe.checkpoint;
            let due = done.is_multiple_of(schedule.every_steps)
                || saved_at.elapsed().as_secs_f64() >= schedule.every_minutes * 60.0;
            let saves = state.progress.stage_end || interrupted || time_up || due;
            if saves {
                told.extend(state.read_steps()?);
            }
            // Steps on a device are timed and told together, when they are read back.
            let seconds = told_at.elapsed().as_secs_f64() / told.len().max(1) as f64;
            for mut metrics in told {
                metrics.tokens_per_s = metrics.tokens as f64 / seconds;
                let flop = step_flop(&config, &stage, metrics.masked);
                metrics.matmul_share = flop / (seconds * machine_rate);
                metrics_file.append(&metrics)?;
                display.step(&metrics);
                told_at = Instant::now();
            }
            if saves {
                let folder = state.save(run, &served)?;
                saved_at = Instant::now();
                told_at = saved_at;
                if done == curve.total_steps {
                    display.finish();
                    return Ok(Outcome::Finished(folder));
                }
                if interrupted {
                    return Ok(Outcome::Interrupted(folder));
                }
                if time_up {
                    return Ok(Outcome::TimeUp(folder));
                }
            }
        }
    }
    match retention::newest(&checkpoint_root(run.out))? {
        Some(folder) => Ok(Outcome::Finished(folder)),
        None => bail!("the run has no step to do and no checkpoint"),
    }
}

impl State {
    fn start(run: &Run<'_>, config: &ModelConfig) -> Result<Self> {
        let root = checkpoint_root(run.out);
        std::fs::create_dir_all(&root)
            .with_context(|| format!("cannot make the run folder {}", run.out.display()))?;
        let newest = retention::newest(&root)?;
        let (host, progress) = match (run.start, newest) {
            (Start::Fresh | Start::From(_), Some(folder)) => bail!(
                "{} already holds a run ({}): add --resume to go on with it, or choose another --out",
                run.out.display(),
                folder.display()
            ),
            (Start::Fresh, None) => {
                let mut rng = stream(run.recipe.run.seed, 0, Stream::Init);
                let parameters = Parameters::init(config, &mut rng)?;
                let host = HostState { parameters, moments: BTreeMap::new(), updates: 0 };
                (host, Progress::default())
            }
            (Start::From(dir), None) => {
                let (parameters, from) = initial_weights(dir, config, &run.inputs)?;
                let host = HostState { parameters, moments: BTreeMap::new(), updates: 0 };
                (host, Progress { from: Some(from), ..Progress::default() })
            }
            (Start::Resume, None) => bail!(
                "there is no checkpoint in {} to resume from: start without --resume",
                root.display()
            ),
            (Start::Resume, Some(folder)) => {
                let saved = Checkpoint::load(&folder)?;
                check_same_run(run.recipe, &saved.recipe, &folder)?;
                saved.inputs.check(&run.inputs)?;
                let parameters = Parameters::from_tensors(&saved.weights)?;
                let (moments, updates) = (saved.moments, saved.progress.updates);
                (HostState { parameters, moments, updates }, saved.progress)
            }
        };
        // Not before the folder is known to be this run's own: another one may be writing there.
        retention::sweep(&root)?;
        let place = match &run.device {
            None => {
                let HostState { parameters, moments, updates } = host;
                let model = parameters.model(config, run.ops)?;
                let settings = run.recipe.optimizer.settings(run.recipe.run.matmul);
                let optimizer = Optimizer::resume(settings, moments, updates);
                Place::Cpu(Box::new(OnCpu { parameters, model, optimizer }))
            }
            Some(device) => {
                let optimizer = &run.recipe.optimizer;
                let settings = optimizer.settings(run.recipe.run.matmul);
                let clip_norm = optimizer.clip_norm;
                let trainer = DeviceTrainer::new(device, config, settings, clip_norm, &host)?;
                Place::Device(Box::new(trainer))
            }
        };
        Ok(Self { place, progress, bad_in_a_row: 0 })
    }

    /// One optimizer step. Returns the steps that are known to be done; speed is filled in by the caller.
    fn step(
        &mut self,
        run: &Run<'_>,
        stage: &Stage,
        batch: &Batch,
        curve: &LrCurve,
    ) -> Result<Vec<StepMetrics>> {
        let step = self.progress.step;
        let mut noise = stream(run.recipe.run.seed, step, Stream::Noise);
        let objective = stage.objective(run.recipe, step);
        let mut task = Task::new(&objective, batch, run.mask_token, &mut noise);
        task.weigh_fills(batch, stage.section.fill_weight);
        let micro_rows = stage.section.micro_rows;
        let counts = (task.n_predicted(), batch.tokens.len());
        let kind = (stage.index, stage.section.kind.name());
        let mut metrics = StepMetrics::before(step, kind, counts, curve.at(step));
        self.progress.step += 1;
        match &mut self.place {
            Place::Cpu(cpu) => {
                cpu.step((batch, &task), micro_rows, run.recipe.optimizer.clip_norm, &mut metrics)?;
                self.progress.updates = cpu.optimizer.updates();
                self.judge(&metrics)?;
                Ok(vec![metrics])
            }
            Place::Device(trainer) => {
                trainer.step(batch, &task, micro_rows, metrics)?;
                if trainer.is_full() { self.read_steps() } else { Ok(Vec::new()) }
            }
        }
    }

    /// Waits for the steps of a device that have not been read back.
    fn read_steps(&mut self) -> Result<Vec<StepMetrics>> {
        let Place::Device(trainer) = &mut self.place else { return Ok(Vec::new()) };
        let (done, updates) = trainer.read()?;
        self.progress.updates = updates;
        done.iter().try_for_each(|metrics| self.judge(metrics))?;
        Ok(done)
    }

    /// Counts steps that were not finite, and gives up after too many in a row.
    fn judge(&mut self, metrics: &StepMetrics) -> Result<()> {
        match metrics.skipped.as_deref() {
            Some(NOT_FINITE) => {
                self.progress.skipped += 1;
                self.bad_in_a_row += 1;
            }
            Some(_) => {} // nothing was predicted: says nothing about the run
            None => self.bad_in_a_row = 0,
        }
        ensure!(
            self.bad_in_a_row < MAX_BAD_STEPS,
            "loss or gradient was not finite in {MAX_BAD_STEPS} steps in a row, the last one step {}: lower [optimizer] lr or \
             clip_norm and resume from the last checkpoint",
            metrics.step
        );
        Ok(())
    }

    fn save(&self, run: &Run<'_>, config: &ModelConfig) -> Result<PathBuf> {
        let root = checkpoint_root(run.out);
        let downloaded;
        let (variables, moments) = match &self.place {
            Place::Cpu(cpu) => (cpu.parameters.variables(), cpu.optimizer.moments()),
            Place::Device(trainer) => {
                downloaded = trainer.download()?;
                (downloaded.parameters.variables(), &downloaded.moments)
            }
        };
        let snapshot = Snapshot {
            progress: &self.progress,
            inputs: &run.inputs,
            config,
            recipe: run.recipe_text,
            variables,
            moments,
        };
        let folder = snapshot.save(&root)?;
        retention::prune(&root, run.recipe.checkpoint.keep)?;
        Ok(folder)
    }
}

impl OnCpu {
    fn step(
        &mut self,
        (batch, task): (&Batch, &Task),
        micro_rows: usize,
        clip_norm: f64,
        metrics: &mut StepMetrics,
    ) -> Result<()> {
        let gradients = step_gradients(&self.model, &self.parameters, batch, task, micro_rows)?;
        let Some(gradients) = gradients else {
            metrics.skipped = Some("no masked token".to_owned());
            return Ok(());
        };
        let norm = global_norm(&gradients.gradients)?;
        let finite = |value: f64| value.is_finite().then_some(value);
        metrics.loss = finite(gradients.loss);
        metrics.ce_per_masked = finite(gradients.cross_entropy);
        metrics.grad_norm = finite(norm);
        if metrics.loss.is_none() || metrics.grad_norm.is_none() {
            metrics.skipped = Some(NOT_FINITE.to_owned());
            return Ok(());
        }
        let scale = clip_scale(norm, clip_norm);
        self.optimizer.step(
            self.parameters.variables(),
            &gradients.gradients,
            metrics.lr,
            scale,
        )?;
        Ok(())
    }
}

/// The weights of a model directory as starting values, and their SHA-256. A model with fewer layers is deepened.
fn initial_weights(
    dir: &Path,
    config: &ModelConfig,
    inputs: &Inputs,
) -> Result<(Parameters, String)> {
    let path = dir.join("config.json");
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!("cannot read {}: --from takes a model directory", path.display())
    })?;
    let found = ModelConfig::from_json(&text).with_context(|| path.display().to_string())?;
    // The recipe's model, but as deep as the one found.
    let shallow = ModelConfig { n_layers: found.n_layers, ..config.clone() };
    let shape = |config: &ModelConfig| {
        let mut shapes = config.parameter_shapes();
        shapes.sort();
        (config.dialect, config.n_heads, config.n_kv_heads, config.rope_theta.to_bits(), shapes)
    };
    ensure!(
        shape(&found) == shape(&shallow),
        "the model in {} has not the shape that [model] of the recipe describes: make them equal, but for the layers",
        dir.display()
    );
    ensure!(
        (found.n_layers..=2 * found.n_layers).contains(&config.n_layers),
        "the model in {} has {found} layers, and the recipe {}: a run can start with as many, and with up to {found} more",
        dir.display(),
        config.n_layers,
        found = found.n_layers
    );
    inputs.check_tokenizer(dir).context("--from needs the tokenizer of its model")?;
    let mut weights = Weights::from_dir(dir)?;
    let tensors = shallow
        .parameter_shapes()
        .into_iter()
        .map(|(name, shape)| Ok((name.clone(), weights.take(&name, &shape)?)))
        .collect::<Result<BTreeMap<_, _>>>()?;
    weights.finish()?;
    let mut hash = Sha256::new();
    for tensor in tensors.values() {
        for value in tensor.flatten_all()?.to_vec1::<f32>()? {
            hash.update(value.to_le_bytes());
        }
    }
    let digest = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let tensors = deepened(&tensors, found.n_layers, config.n_layers)?;
    Ok((Parameters::from_tensors(&tensors)?, digest))
}

/// A resumed run may change its steps, rates and rows, but not what the weights mean.
fn check_same_run(recipe: &Recipe, saved: &str, folder: &Path) -> Result<()> {
    let saved = Recipe::parse(saved, &folder.join("recipe.toml"))?;
    let different = [
        ("[model]", recipe.model != saved.model),
        ("[run] seed", recipe.run.seed != saved.run.seed),
        ("[objective] block", recipe.objective.block != saved.objective.block),
        ("[optimizer] kind", recipe.optimizer.kind != saved.optimizer.kind),
    ];
    for (section, is_different) in different {
        ensure!(
            !is_different,
            "{section} of the recipe is not that of the run in {}: put it back, or choose another --out",
            folder.display()
        );
    }
    Ok(())
}
