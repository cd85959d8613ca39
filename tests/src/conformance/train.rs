//! Training cases: corruption, schedules, the doubled forward, losses, gradients and five optimizer steps.

use std::path::Path;

use anyhow::{Context, ensure};
use candle_core::{DType, Device, Tensor};
use diffcoder_engine::model::Model;
use diffcoder_engine::model::config::ModelConfig;
use diffcoder_engine::model::mask::doubled_dense;
use diffcoder_engine::model::ops::Ops;
use diffcoder_train::data::loader::Batch;
use diffcoder_train::objective::corrupt::{Rows, Uniforms, corrupt_with};
use diffcoder_train::objective::loss::Normaliser;
use diffcoder_train::objective::noise::{
    Clip, NoiseRule, RateUnit, Weight, clipped_rate, warmup_u_max,
};
use diffcoder_train::optim::Optimizer;
use diffcoder_train::optim::adamw::{AdamWSettings, DecayGroup};
use diffcoder_train::optim::clip::{clip_scale, global_norm};
use diffcoder_train::parameters::Parameters;
use diffcoder_train::step::{StepGradients, Task, step_gradients};
use serde_json::Value;

use super::reference::{Tensors, config, largest_difference};
use super::{Case, Outcome, Setup};

// The tolerances that golden/README.md suggests.
const LOGIT_TOLERANCE: f64 = 2e-4; // absolute
const LOSS_TOLERANCE: f64 = 1e-4; // relative
const GRADIENT_TOLERANCE: f64 = 1e-3; // relative to the tensor's norm
const LATE_LOSS_TOLERANCE: f64 = 1e-3; // relative, after optimizer steps
const WEIGHT_TOLERANCE: f32 = 2e-5; // absolute, after steps of size 1e-3
/// AdamW's first steps have the size of the rate wherever the gradient is not tiny, so a sign flip on a gradient near
/// zero shows as twice the rate: this share of the elements may differ that much.
const OUTLIER_SHARE: f64 = 1e-3;

/// The reference run: model, rows and the uniform numbers that decide the noise.
struct Reference<'a> {
    directory: &'a Path,
    config: ModelConfig,
    tensors: Tensors,
    facts: Value,
    batch: Batch,
    uniforms: Uniforms,
    rule: NoiseRule,
    mask: u32,
    block: usize,
}

pub(super) fn run(
    directory: &Path,
    setups: &[Setup],
    add: &mut dyn FnMut(Case),
) -> anyhow::Result<()> {
    let reference = Reference::read(directory)?;
    add(exact("train/corruption", reference.corruption()?));
    add(exact("train/attention_mask", reference.attention_mask()?));
    add(Case::compared("train/schedules".into(), reference.schedules()?, 1e-6));
    for setup in setups {
        let label = |part: &str| format!("train/{part} ({})", setup.ops);
        let (forward, nll) = reference.doubled(setup)?;
        add(Case::compared(label("doubled_forward"), forward, LOGIT_TOLERANCE));
        add(Case::compared(label("token_nll"), nll, LOGIT_TOLERANCE));
        add(Case::compared(label("packed_documents"), reference.packed(setup)?, LOGIT_TOLERANCE));
        add(Case::compared(label("loss_reductions"), reference.losses(setup)?, LOSS_TOLERANCE));
        for micro_rows in [2, 1] {
            let error = reference.gradient_error(setup, micro_rows)?;
            add(Case::compared(
                label(&format!("grads, {micro_rows} rows at a time")),
                error,
                GRADIENT_TOLERANCE,
            ));
        }
        if setup.ops == Ops::Device {
            continue;
        }
        let (losses, outliers) = reference.optimizer_steps(setup)?;
        add(Case::compared(label("adamw losses and norms"), losses, LATE_LOSS_TOLERANCE));
        add(Case::compared(label("adamw weights, share of outliers"), outliers, OUTLIER_SHARE));
    }
    for (name, what) in OTHER_RECIPES {
        let outcome = Outcome::Skipped(format!("no recipe of this build {what}"));
        add(Case { name: (*name).to_owned(), outcome });
    }
    Ok(())
}

/// What the reference also has numbers for and no stage here does.
const OTHER_RECIPES: &[(&str, &str)] = &[
    ("other/train/sft_token_nll", "masks answers alone"),
    ("other/train/token_nll_shifted", "reads a position's prediction from the one before"),
];

fn exact(name: &str, mismatch: Option<String>) -> Case {
    let outcome = mismatch.map_or_else(|| Outcome::Passed("equal".to_owned()), Outcome::Failed);
    Case { name: name.to_owned(), outcome }
}

fn f32s(tensor: &Tensor) -> anyhow::Result<Vec<f32>> {
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

fn u32s(tensor: &Tensor) -> anyhow::Result<Vec<u32>> {
    Ok(tensor.to_dtype(DType::U32)?.flatten_all()?.to_vec1()?)
}

fn relative(found: f64, expected: f64) -> f64 {
    (found - expected).abs() / expected.abs()
}

/// A number at a path of keys in `facts.json`.
fn number(value: &Value, path: &[&str]) -> anyhow::Result<f64> {
    let found = path.iter().try_fold(value, |value, key| value.get(*key));
    found
        .and_then(Value::as_f64)
        .with_context(|| format!("facts.json lacks the number {}", path.join(".")))
}

impl<'a> Reference<'a> {
    fn read(directory: &'a Path) -> anyhow::Result<Self> {
        let facts: Value =
            serde_json::from_str(&std::fs::read_to_string(directory.join("train/facts.json"))?)?;
        let tensors = Tensors::read(&directory.join("train/forward.safetensors"))?;
        let x0 = tensors.ids("x0")?;
        let (rows, len) = x0.dims2()?;
        let batch = Batch {
            tokens: u32s(&x0)?,
            loss_mask: vec![true; rows * len],
            fills: vec![false; rows * len],
            rows,
            len,
        };
        let uniforms = Uniforms {
            rate: f32s(tensors.get("u")?)?,
            mask: f32s(tensors.get("mask_uniforms")?)?,
            fallback: f32s(tensors.get("fallback_uniforms")?)?,
            order: Vec::new(),
        };
        let block = number(&facts, &["block_size"])? as usize;
        let model = facts["model"].as_str().context("facts.json lacks the model")?.to_owned();
        Ok(Self {
            directory,
            config: config(directory, &model, "config.json")?,
            mask: number(&facts, &["mask_id"])? as u32,
            rule: NoiseRule::cpt(block, RateUnit::Block, Clip::On),
            tensors,
            facts,
            batch,
            uniforms,
            block,
        })
    }

    fn parameters(&self, setup: &Setup) -> anyhow::Result<Parameters> {
        let model = self.facts["model"].as_str().unwrap_or_default();
        let path = self.directory.join("models").join(model).join("model.safetensors");
        let tensors = Tensors::read(&path)?.into_map().into_iter();
        let placed = tensors.map(|(name, tensor)| Ok((name, tensor.to_device(&setup.device)?)));
        Ok(Parameters::from_tensors(&placed.collect::<anyhow::Result<_>>()?)?)
    }

    fn gradients(
        &self,
        model: &Model,
        parameters: &Parameters,
        micro_rows: usize,
    ) -> anyhow::Result<StepGradients> {
        let task =
            Task::corrupted(&self.rule, Normaliser::All, &self.batch, (self.mask, &self.uniforms));
        let mut found = step_gradients(model, parameters, &self.batch, &task, micro_rows)?
            .context("nothing was masked")?;
        for gradient in found.gradients.values_mut() {
            *gradient = gradient.to_device(&Device::Cpu)?;
        }
        Ok(found)
    }

    fn corruption(&self) -> anyhow::Result<Option<String>> {
        let rows = Rows {
            tokens: &self.batch.tokens,
            loss_mask: &self.batch.loss_mask,
            len: self.batch.len,
        };
        let found = corrupt_with(&self.rule, rows, self.mask, &self.uniforms);
        let flags = u32s(self.tensors.get("masked")?)?;
        let masked: Vec<u32> =
            (0..flags.len() as u32).filter(|&row| flags[row as usize] == 1).collect();
        let weights = f32s(self.tensors.get("weights")?)?;
        let same_weights = found
            .masked
            .iter()
            .zip(&found.weights)
            .all(|(&row, weight)| (weight - weights[row as usize]).abs() <= 1e-6 * weight);
        Ok(if found.noisy != u32s(self.tensors.get("x_t")?)? {
            Some("x_t differs".into())
        } else if found.masked != masked {
            Some("other tokens are masked".into())
        } else if !same_weights {
            Some("weights differ".into())
        } else if found.n_forced != number(&self.facts, &["forced_tokens"])? as usize {
            Some(format!("{} blocks got a forced mask", found.n_forced))
        } else {
            None
        })
    }

    /// The dense reference mask of the doubled input is ours.
    fn attention_mask(&self) -> anyhow::Result<Option<String>> {
        let reference: Vec<bool> =
            u32s(self.tensors.get("attention_mask")?)?.into_iter().map(|sees| sees == 1).collect();
        let same = reference == doubled_dense(self.batch.len, self.block);
        Ok((!same).then(|| "the doubled mask differs".to_owned()))
    }

    fn schedules(&self) -> anyhow::Result<f64> {
        let schedule = &self.facts["schedule"];
        let mut worst = 0f64;
        for (block, table) in
            schedule["u_blk"].as_object().context("facts.json lacks schedule.u_blk")?
        {
            let block: usize = block.parse()?;
            for row in serde_json::from_value::<Vec<[f64; 2]>>(table.clone())? {
                worst = worst.max((f64::from(clipped_rate(row[0] as f32, block)) - row[1]).abs());
            }
        }
        let steps = number(schedule, &["warmup", "steps"])? as u64;
        for row in serde_json::from_value::<Vec<(u64, f64)>>(schedule["warmup"]["u_max"].clone())? {
            worst = worst.max((f64::from(warmup_u_max(row.0, steps)) - row.1).abs());
        }
        Ok(worst)
    }

    /// Largest errors of both halves' logits, and of the noisy half's cross-entropies.
    fn doubled(&self, setup: &Setup) -> anyhow::Result<(f64, f64)> {
        let model = self.parameters(setup)?.model(&self.config, setup.ops)?;
        let (noisy, clean) = (self.tensors.ids("x_t")?, self.tensors.ids("x0")?);
        let positions: Vec<u32> = (0..self.batch.len as u32).collect();
        let hidden = model.forward_doubled(&noisy, &clean, &positions, self.block)?;
        let mut worst = 0f64;
        for (half, name) in [(0, "logits_noisy_half"), (1, "logits_clean_half")] {
            worst = worst.max(largest_difference(
                &model.logits(&hidden.get(half)?)?,
                self.tensors.get(name)?,
            )?);
        }
        let targets = clean.flatten_all()?.to_vec1::<u32>()?;
        let rows: Vec<u32> = (0..targets.len() as u32).collect();
        let nll = model.head_nll(&hidden, &rows, &targets)?;
        let nll = nll.reshape((self.batch.rows, self.batch.len))?;
        Ok((worst, largest_difference(&nll, self.tensors.get("token_nll")?)?))
    }

    /// Isolated packing: each document of the packed row by itself gives the packed row's logits.
    fn packed(&self, setup: &Setup) -> anyhow::Result<f64> {
        let model = self.parameters(setup)?.model(&self.config, setup.ops)?;
        let lengths: Vec<usize> = serde_json::from_value(self.facts["packed_lengths"].clone())?;
        let (noisy, clean) = (self.tensors.ids("x_t")?, self.tensors.ids("x0")?);
        let reference = self.tensors.get("packed_logits_noisy_half")?;
        let (mut start, mut worst) = (0, 0f64);
        for len in lengths {
            let part = |ids: &Tensor| ids.narrow(0, 0, 1)?.narrow(1, start, len)?.contiguous();
            let positions: Vec<u32> = (0..len as u32).collect();
            let hidden =
                model.forward_doubled(&part(&noisy)?, &part(&clean)?, &positions, self.block)?;
            worst = worst.max(largest_difference(
                &model.logits(&hidden.get(0)?)?,
                &reference.narrow(1, start, len)?,
            )?);
            start += len;
        }
        Ok(worst)
    }

    fn losses(&self, setup: &Setup) -> anyhow::Result<f64> {
        let parameters = self.parameters(setup)?;
        let model = parameters.model(&self.config, setup.ops)?;
        let unweighted = NoiseRule { weight: Weight::One, ..self.rule };
        let mut worst = 0f64;
        for (rule, normaliser, name) in [
            (self.rule, Normaliser::All, "weighted_mean_over_all_tokens"),
            (self.rule, Normaliser::Masked, "weighted_mean_over_masked_tokens"),
            (unweighted, Normaliser::All, "warmup_unweighted_mean_over_all_tokens"),
            (unweighted, Normaliser::Masked, "warmup_unweighted_mean_over_masked_tokens"),
        ] {
            let task = Task::corrupted(&rule, normaliser, &self.batch, (self.mask, &self.uniforms));
            let found = step_gradients(&model, &parameters, &self.batch, &task, 2)?
                .context("nothing was masked")?;
            let n_masked = number(&self.facts, &["masked_tokens"])? as usize;
            ensure!(
                found.n_predicted == n_masked,
                "{} tokens are predicted, not {n_masked}",
                found.n_predicted
            );
            worst = worst.max(relative(found.loss, number(&self.facts, &["losses", name])?));
            // The sums are the same losses times their divisors.
            let (sum, divisor) = match (rule.weight, normaliser) {
                (Weight::One, Normaliser::Masked) => ("warmup_unweighted_sum", n_masked),
                (_, Normaliser::All) if rule.weight != Weight::One => {
                    ("weighted_sum", self.batch.tokens.len())
                }
                _ => continue,
            };
            worst = worst
                .max(relative(found.loss * divisor as f64, number(&self.facts, &["losses", sum])?));
        }
        Ok(worst)
    }

    /// Largest error of a gradient tensor relative to its norm, and of the global norm.
    fn gradient_error(&self, setup: &Setup, micro_rows: usize) -> anyhow::Result<f64> {
        let parameters = self.parameters(setup)?;
        let found = self
            .gradients(&parameters.model(&self.config, setup.ops)?, &parameters, micro_rows)?
            .gradients;
        let reference = Tensors::read(&self.directory.join("train/grads.safetensors"))?;
        ensure!(
            found.keys().map(String::as_str).eq(reference.names()),
            "the gradients are of other tensors"
        );
        let norm = |values: &[f32]| {
            values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
        };
        let mut worst =
            relative(global_norm(&found)?, number(&self.facts, &["grad", "global_norm"])?);
        for (name, gradient) in &found {
            let expected = f32s(reference.get(name)?)?;
            let difference: Vec<f32> =
                f32s(gradient)?.iter().zip(&expected).map(|(a, b)| a - b).collect();
            worst = worst.max(norm(&difference) / norm(&expected));
        }
        Ok(worst)
    }

    /// Five AdamW steps: largest relative error of losses and norms, and largest share of weights that differ.
    fn optimizer_steps(&self, setup: &Setup) -> anyhow::Result<(f64, f64)> {
        let adamw = &self.facts["adamw"];
        let get = |key: &str| number(adamw, &[key]);
        let betas: [f64; 2] = serde_json::from_value(adamw["betas"].clone())?;
        let settings = AdamWSettings {
            betas,
            eps: get("eps")?,
            weight_decay: get("weight_decay")?,
            decay: DecayGroup::All,
        };
        let parameters = self.parameters(setup)?;
        let model = parameters.model(&self.config, setup.ops)?;
        let mut optimizer = Optimizer::new(settings.into());
        let (mut worst, mut outliers, mut n_compared) = (0f64, 0f64, 0);
        for (index, row) in
            adamw["trace"].as_array().context("facts.json lacks adamw.trace")?.iter().enumerate()
        {
            let found = self.gradients(&model, &parameters, 2)?;
            let norm = global_norm(&found.gradients)?;
            worst = worst.max(relative(found.loss, number(row, &["loss_before"])?));
            worst = worst.max(relative(norm, number(row, &["grad_norm_before_clip"])?));
            optimizer.step(
                parameters.variables(),
                &found.gradients,
                get("lr")?,
                clip_scale(norm, get("clip")?),
            )?;
            let path = self.directory.join(format!("train/adamw_step{}.safetensors", index + 1));
            if path.exists() {
                outliers = outliers.max(weight_outliers(&parameters, &Tensors::read(&path)?)?);
                n_compared += 1;
            }
        }
        ensure!(
            n_compared == 2,
            "adamw_step1 and adamw_step5 must both be there, {n_compared} of such files are"
        );
        Ok((worst, outliers))
    }
}

/// Largest share of a tensor's elements that differ by more than the tolerance.
fn weight_outliers(parameters: &Parameters, reference: &Tensors) -> anyhow::Result<f64> {
    let mut worst = 0f64;
    for name in reference.names() {
        let found = parameters
            .variables()
            .get(name)
            .with_context(|| format!("there is no parameter {name}"))?;
        let (found, expected) = (f32s(found.as_tensor())?, f32s(reference.get(name)?)?);
        let outliers = found
            .iter()
            .zip(&expected)
            .filter(|(a, b)| {
                let difference = (*a - *b).abs();
                difference.is_nan() || difference > WEIGHT_TOLERANCE
            })
            .count();
        worst = worst.max(outliers as f64 / found.len() as f64);
    }
    Ok(worst)
}
