//! What training and serving compute on a device in bf16, next to the CPU in f32: the tensor-core attention, both
//! optimizers, and row groups with branches. The reference numbers of `tests/golden` are f32 and have heads too small for it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use candle_core::{DType, Device, Tensor};
use diffcoder_engine::kernels::matmul::Precision;
use diffcoder_engine::model::config::ModelConfig;
use diffcoder_engine::model::mask::SequenceMask;
use diffcoder_engine::model::ops::Ops;
use diffcoder_engine::model::weights::Weights;
use diffcoder_engine::model::{Branch, Model, RowGroup};
use diffcoder_train::data::loader::Batch;
use diffcoder_train::metrics::StepMetrics;
use diffcoder_train::objective::loss::Normaliser;
use diffcoder_train::objective::noise::{Clip, NoiseRule, RateUnit};
use diffcoder_train::on_device::{DeviceTrainer, HostState};
use diffcoder_train::optim::adamw::{AdamWSettings, DecayGroup};
use diffcoder_train::optim::clip::{clip_scale, global_norm};
use diffcoder_train::optim::muon::MuonSettings;
use diffcoder_train::optim::{Optimizer, OptimizerSettings};
use diffcoder_train::parameters::Parameters;
use diffcoder_train::rng::{Stream, stream};
use diffcoder_train::step::{Objective, Task, step_gradients};

use crate::random_model::random_tensors;

/// Largest relative difference of a step's cross-entropy: a mean over rows, in which roundings meet.
const LOSS_TOLERANCE: f64 = 0.005;
/// Largest relative difference of logits.
const LOGITS_TOLERANCE: f64 = 0.03;
/// Largest relative difference of what all updates together did to the parameters. AdamW's first updates have the size of
/// the learning rate however small a gradient is, so where bf16 turns a sign, the whole number turns.
const CHANGE_TOLERANCE: f64 = 0.3;
const BLOCK: usize = 4;
const MASK_TOKEN: u32 = 5;
const CLIP_NORM: f64 = 1.0;
const LR: f64 = 1e-3;

/// How much is computed.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Tokens of a row.
    pub len: usize,
    /// Rows of a batch.
    pub rows: usize,
    /// Updates.
    pub steps: usize,
}

/// Compares heads of 64 and 128 elements with both optimizers; tells each result and returns how many are wrong.
pub fn run(device: &Device, extent: Extent, say: &mut dyn FnMut(&str)) -> Result<usize> {
    let mut wrong = 0;
    let mut tell = |what: String, is_right: bool| {
        wrong += usize::from(!is_right);
        say(&format!("{} {what}", if is_right { "ok   " } else { "WRONG" }));
    };
    for head_size in [64, 128] {
        let config = config(head_size)?;
        for muon in [None, Some(MuonSettings { momentum: 0.95, precision: Precision::Bf16 })] {
            let name = if muon.is_some() { "Muon" } else { "AdamW" };
            let (loss, change) = training(device, &config, muon, extent)?;
            let what = format!(
                "{} steps with {name}, heads of {head_size}: cross-entropy within {:.3} %, the change of the parameters within {:.1} %",
                extent.steps,
                loss * 100.0,
                change * 100.0
            );
            tell(what, loss < LOSS_TOLERANCE && change < CHANGE_TOLERANCE);
        }
        let error = serving(device, &config, extent.len)?;
        let what = format!(
            "cached rows and branches, heads of {head_size}: logits within {:.2} %",
            error * 100.0
        );
        tell(what, error < LOGITS_TOLERANCE);
    }
    Ok(wrong)
}

fn config(head_size: usize) -> Result<ModelConfig> {
    let json = serde_json::json!({
        "model_type": "qwen3", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": head_size, "vocab_size": 256,
        "tie_word_embeddings": true, "rope_theta": 10000.0, "rms_norm_eps": 1e-6, "max_position_embeddings": 1024,
    });
    Ok(ModelConfig::from_json(&json.to_string())?)
}

/// The relative differences of a step's cross-entropy, the largest one, and of the change of all parameters.
fn training(
    device: &Device,
    config: &ModelConfig,
    muon: Option<MuonSettings>,
    Extent { len, rows, steps }: Extent,
) -> Result<(f64, f64)> {
    let start = || Parameters::init(config, &mut stream(1, 0, Stream::Init));
    let adamw = AdamWSettings {
        betas: [0.9, 0.95],
        eps: 1e-8,
        weight_decay: 0.1,
        decay: DecayGroup::Matrices,
    };
    let settings = OptimizerSettings { adamw, muon };
    let host = HostState { parameters: start()?, moments: BTreeMap::new(), updates: 0 };
    let mut trainer = DeviceTrainer::new(device, config, settings, CLIP_NORM, &host)?;
    let parameters = start()?;
    let model = parameters.model(config, Ops::default())?;
    let mut optimizer = Optimizer::new(settings);
    let micro_rows = rows.div_ceil(2);
    let mut expected = Vec::new();
    for step in 0..steps {
        let batch = batch(config.vocab_size, (rows, len), step);
        // Next tokens and blocks in turns, so that both kinds of attention are there.
        let rule = NoiseRule::cpt(BLOCK, RateUnit::Block, Clip::On);
        let objective = match step % 2 {
            0 => Objective::Diffusion { rule, normaliser: Normaliser::All },
            _ => Objective::NextToken,
        };
        let mut noise = stream(1, step as u64, Stream::Noise);
        let task = Task::new(&objective, &batch, MASK_TOKEN, &mut noise);
        let counts = (task.n_predicted(), batch.tokens.len());
        let metrics = StepMetrics::before(step as u64, (0, "cpt"), counts, LR);
        trainer.step(&batch, &task, micro_rows, metrics)?;
        let gradients = step_gradients(&model, &parameters, &batch, &task, micro_rows)?
            .context("a step predicts nothing")?;
        let scale = clip_scale(global_norm(&gradients.gradients)?, CLIP_NORM);
        optimizer.step(parameters.variables(), &gradients.gradients, LR, scale)?;
        expected.push(gradients.cross_entropy);
    }
    let (done, _updates) = trainer.read()?;
    let mut worst = 0f64;
    for (found, expected) in done.iter().zip(&expected) {
        let found = found.ce_per_masked.context("a step of the device was not finite")?;
        worst = worst.max((found - expected).abs() / expected);
    }
    let (mut gap, mut change) = (0.0, 0.0);
    let on_device = trainer.download()?.parameters;
    for (name, before) in start()?.variables() {
        let values = |parameters: &Parameters| -> Result<Vec<f32>> {
            let variable = parameters.variables().get(name).context("a parameter is missing")?;
            Ok(variable.flatten_all()?.to_vec1()?)
        };
        let before = before.flatten_all()?.to_vec1::<f32>()?;
        for ((before, found), expected) in
            before.iter().zip(values(&on_device)?).zip(values(&parameters)?)
        {
            let [found, expected] = [found, expected].map(|now| f64::from(now - before));
            gap += (found - expected).powi(2);
            change += expected.powi(2);
        }
    }
    Ok((worst, (gap / change).sqrt()))
}

/// Rows that have something to learn: counting in steps.
fn batch(vocabulary: usize, (rows, len): (usize, usize), step: usize) -> Batch {
    let token = |at: usize| {
        let (row, column) = (at / len, at % len);
        8 + (step * 7 + row * 11 + column * (1 + row % 3)) % (vocabulary - 8)
    };
    let tokens: Vec<u32> = (0..rows * len).map(|at| token(at) as u32).collect();
    let (loss_mask, fills) = (vec![true; tokens.len()], vec![false; tokens.len()]);
    Batch { tokens, loss_mask, fills, rows, len }
}

/// The relative difference of the logits of a block and its branches behind a cached prompt of about `len` tokens.
fn serving(device: &Device, config: &ModelConfig, len: usize) -> Result<f64> {
    let rounded = |tensor: &Tensor| tensor.to_dtype(DType::BF16);
    let tensors: BTreeMap<String, Tensor> = random_tensors(config, 7)?
        .into_iter()
        .map(|(name, tensor)| Ok((name, rounded(&tensor)?)))
        .collect::<Result<_>>()?;
    let cpu_tensors = tensors
        .iter()
        .map(|(name, tensor)| Ok((name.clone(), tensor.to_dtype(DType::F32)?)))
        .collect::<Result<_>>()?;
    let cpu = Model::new(config, Weights::from_tensors(cpu_tensors, "random"), Ops::default())?;
    let weights = Weights::from_tensors(tensors, "random").on_device(device, DType::BF16)?;
    let on_device = Model::new(config, weights, Ops::Device)?;
    let committed = len / BLOCK * BLOCK;
    let token = |at: usize| (at * 7919 % config.vocab_size) as u32;
    let prompt: Vec<u32> = (0..committed).map(token).collect();
    let logits = |model: &Model| -> Result<Vec<f32>> {
        let mask = SequenceMask::BlockCausal { block: BLOCK };
        let mut cache = model.new_cache();
        let group = |tokens, commit, logits, branches| (tokens, commit, logits, branches);
        let branch = |tokens, logits_from| Branch { tokens, logits_from };
        let branches = [branch(&[9, 8, 7, 6, 5, 5, 5, 5][..], 4), branch(&[3, 5, 5, 5][..], 1)];
        let mut found = Vec::new();
        for (tokens, commit, logits, branches) in [
            group(&prompt[..], committed, 0..0, &[][..]),
            group(&[11, 12, 13, 14, 5, 5, 5, 5][..], 4, 4..8, &branches[..]),
            group(&[1, 2, 5, 5][..], 0, 0..4, &[][..]),
        ] {
            let cache = &mut cache;
            let rows = RowGroup { cache, tokens, mask, commit, logits, branches };
            let logits = model.forward(&mut [rows])?;
            found.extend(logits.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(found)
    };
    let (expected, found) = (logits(&cpu)?, logits(&on_device)?);
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let pairs = expected.iter().zip(&found);
    let gap = norm(&mut pairs.map(|(&a, &b)| f64::from(a) - f64::from(b)));
    Ok(gap / norm(&mut expected.iter().map(|&x| f64::from(x))))
}
