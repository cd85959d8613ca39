//! The training objective, its gradients and five optimizer steps against the reference numbers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use diffcoder_engine::model::Model;
use diffcoder_engine::model::config::ModelConfig;
use diffcoder_engine::model::ops::Ops;
use diffcoder_train::data::loader::Batch;
use diffcoder_train::objective::corrupt::{Rows, Uniforms, corrupt_with};
use diffcoder_train::objective::loss::Normaliser;
use diffcoder_train::objective::noise::{Clip, NoiseRule, RateUnit, clipped_rate, warmup_u_max};
use diffcoder_train::optim::adamw::{AdamW, AdamWSettings, DecayGroup};
use diffcoder_train::optim::clip::{clip_scale, global_norm};
use diffcoder_train::parameters::Parameters;
use diffcoder_train::step::{StepGradients, Task, step_gradients};

const LOGIT_TOLERANCE: f32 = 2e-4; // absolute
const LOSS_TOLERANCE: f64 = 1e-4; // relative
const GRADIENT_TOLERANCE: f64 = 1e-3; // relative to the tensor's norm
const WEIGHT_TOLERANCE: f32 = 2e-5; // absolute, after steps of size 1e-3
const LATE_LOSS_TOLERANCE: f64 = 1e-3; // relative, after optimizer steps

const MASK: u32 = 5;
const BLOCK: usize = 4;

fn golden(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden")).join(path)
}

fn tensors(path: &str) -> BTreeMap<String, Tensor> {
    candle_core::safetensors::load(golden(path), &Device::Cpu).unwrap().into_iter().collect()
}

fn f32s(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn u32s(tensor: &Tensor) -> Vec<u32> {
    tensor.to_dtype(DType::U32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn facts() -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(golden("train/facts.json")).unwrap()).unwrap()
}

fn close(found: f64, expected: f64, tolerance: f64, what: &str) {
    let error = (found - expected).abs() / expected.abs();
    assert!(error <= tolerance, "{what}: {found}, reference {expected}, relative error {error:e}");
}

/// The reference case: model, rows and the uniform numbers that decide the noise.
struct Case {
    config: ModelConfig,
    parameters: Parameters,
    reference: BTreeMap<String, Tensor>,
    batch: Batch,
    uniforms: Uniforms,
    rule: NoiseRule,
}

impl Case {
    fn load() -> Self {
        let text = std::fs::read_to_string(golden("models/llama/config.json")).unwrap();
        let config = ModelConfig::from_json(&text).unwrap();
        let parameters =
            Parameters::from_tensors(&tensors("models/llama/model.safetensors")).unwrap();
        let reference = tensors("train/forward.safetensors");
        let (rows, len) = reference["x0"].dims2().unwrap();
        let batch =
            Batch { tokens: u32s(&reference["x0"]), loss_mask: vec![true; rows * len], rows, len };
        let uniforms = Uniforms {
            rate: f32s(&reference["u"]),
            mask: f32s(&reference["mask_uniforms"]),
            fallback: f32s(&reference["fallback_uniforms"]),
        };
        let rule = NoiseRule::cpt(BLOCK, RateUnit::Block, Clip::On);
        Self { config, parameters, reference, batch, uniforms, rule }
    }

    fn model(&self, ops: Ops) -> Model {
        self.parameters.model(&self.config, ops).unwrap()
    }

    fn gradients(&self, model: &Model, normaliser: Normaliser, micro_rows: usize) -> StepGradients {
        let noise = (MASK, &self.uniforms);
        let task = Task::corrupted(&self.rule, normaliser, &self.batch, noise);
        step_gradients(model, &self.parameters, &self.batch, &task, micro_rows).unwrap().unwrap()
    }
}

#[test]
fn corruption_is_that_of_the_reference() {
    let case = Case::load();
    let rows =
        Rows { tokens: &case.batch.tokens, loss_mask: &case.batch.loss_mask, len: case.batch.len };
    let found = corrupt_with(&case.rule, rows, MASK, &case.uniforms);
    assert_eq!(found.noisy, u32s(&case.reference["x_t"]));
    let masked = u32s(&case.reference["masked"]);
    let expected: Vec<u32> =
        (0..masked.len() as u32).filter(|&i| masked[i as usize] == 1).collect();
    assert_eq!(found.masked, expected);
    let weights = f32s(&case.reference["weights"]);
    for (&row, &weight) in found.masked.iter().zip(&found.weights) {
        assert!((weight - weights[row as usize]).abs() <= 1e-6 * weight);
    }
    assert_eq!(found.n_forced, 2);

    // The view in which only answer tokens may be masked.
    let answer: Vec<bool> =
        u32s(&case.reference["sft_response"]).iter().map(|&inside| inside == 1).collect();
    let found = corrupt_with(&case.rule, Rows { loss_mask: &answer, ..rows }, MASK, &case.uniforms);
    let reference = u32s(&case.reference["sft_masked"]);
    for &row in &found.masked {
        assert!(answer[row as usize]);
    }
    let drawn: Vec<usize> = (0..answer.len())
        .filter(|&i| {
            answer[i] && case.uniforms.mask[i] < case.rule.rate(case.uniforms.rate[i / BLOCK])
        })
        .collect();
    for row in drawn {
        assert_eq!(reference[row], 1);
        assert!(found.masked.contains(&(row as u32)));
    }
}

#[test]
fn schedules_are_those_of_the_reference() {
    let facts = facts();
    for (block, table) in facts["schedule"]["u_blk"].as_object().unwrap() {
        for row in table.as_array().unwrap() {
            let (u, expected) = (row[0].as_f64().unwrap(), row[1].as_f64().unwrap());
            let found = clipped_rate(u as f32, block.parse().unwrap());
            assert!((f64::from(found) - expected).abs() < 1e-6, "N {block} u {u}");
        }
    }
    let warmup = &facts["schedule"]["warmup"];
    for row in warmup["u_max"].as_array().unwrap() {
        let found = warmup_u_max(row[0].as_u64().unwrap(), warmup["steps"].as_u64().unwrap());
        assert!((f64::from(found) - row[1].as_f64().unwrap()).abs() < 1e-7);
    }
}

#[test]
fn doubled_forward_and_token_losses() {
    let case = Case::load();
    let (rows, len) = case.reference["x0"].dims2().unwrap();
    let noisy = Tensor::from_vec(u32s(&case.reference["x_t"]), (rows, len), &Device::Cpu).unwrap();
    let clean = Tensor::from_vec(case.batch.tokens.clone(), (rows, len), &Device::Cpu).unwrap();
    let positions: Vec<u32> = (0..len as u32).collect();
    for ops in Ops::exact() {
        let model = case.model(ops);
        let hidden = model.forward_doubled(&noisy, &clean, &positions, BLOCK).unwrap();
        for (half, name) in [(0, "logits_noisy_half"), (1, "logits_clean_half")] {
            let logits = model.logits(&hidden.get(half).unwrap()).unwrap();
            let expected = f32s(&case.reference[name]);
            for (found, expected) in f32s(&logits).iter().zip(expected) {
                assert!((found - expected).abs() <= LOGIT_TOLERANCE, "{ops} {name}");
            }
        }
        let flat = hidden.get(0).unwrap().flatten(0, 1).unwrap();
        let nll = model.head_nll(&flat, &clean.flatten_all().unwrap()).unwrap();
        let expected = f32s(&case.reference["token_nll"]);
        for (found, expected) in f32s(&nll).iter().zip(expected) {
            assert!((found - expected).abs() <= LOGIT_TOLERANCE, "{ops} token_nll");
        }
    }
}

#[test]
fn loss_reductions() {
    let case = Case::load();
    let facts = facts();
    let unweighted =
        NoiseRule { weight: diffcoder_train::objective::noise::Weight::One, ..case.rule };
    for ops in Ops::exact() {
        let model = case.model(ops);
        for (rule, normaliser, name) in [
            (case.rule, Normaliser::All, "weighted_mean_over_all_tokens"),
            (case.rule, Normaliser::Masked, "weighted_mean_over_masked_tokens"),
            (unweighted, Normaliser::All, "warmup_unweighted_mean_over_all_tokens"),
            (unweighted, Normaliser::Masked, "warmup_unweighted_mean_over_masked_tokens"),
        ] {
            let task = Task::corrupted(&rule, normaliser, &case.batch, (MASK, &case.uniforms));
            let found =
                step_gradients(&model, &case.parameters, &case.batch, &task, 2).unwrap().unwrap();
            let expected = facts["losses"][name].as_f64().unwrap();
            close(found.loss, expected, LOSS_TOLERANCE, name);
            assert_eq!(found.n_predicted, 29);
        }
    }
}

#[test]
fn every_gradient_is_that_of_the_reference_however_the_step_is_cut() {
    let case = Case::load();
    let reference = tensors("train/grads.safetensors");
    for ops in Ops::exact() {
        for micro_rows in [2, 1] {
            let found = case.gradients(&case.model(ops), Normaliser::All, micro_rows);
            assert_eq!(
                found.gradients.keys().collect::<Vec<_>>(),
                reference.keys().collect::<Vec<_>>()
            );
            for (name, expected) in &reference {
                let expected = f32s(expected);
                let gradient = f32s(&found.gradients[name]);
                let square = |values: &mut dyn Iterator<Item = f32>| -> f64 {
                    values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt()
                };
                let norm = square(&mut expected.iter().copied());
                let error = square(&mut gradient.iter().zip(&expected).map(|(a, b)| a - b));
                assert!(error <= GRADIENT_TOLERANCE * norm, "{ops} {name}: {error:e} of {norm}");
            }
            let expected = facts()["grad"]["global_norm"].as_f64().unwrap();
            close(global_norm(&found.gradients).unwrap(), expected, GRADIENT_TOLERANCE, "norm");
        }
    }
}

#[test]
fn five_optimizer_steps() {
    let facts = facts();
    let settings =
        AdamWSettings { betas: [0.9, 0.95], eps: 1e-8, weight_decay: 0.1, decay: DecayGroup::All };
    for ops in Ops::exact() {
        let case = Case::load();
        let model = case.model(ops);
        let mut optimizer = AdamW::new(settings);
        for step in 1..=5 {
            let found = case.gradients(&model, Normaliser::All, 2);
            let norm = global_norm(&found.gradients).unwrap();
            let row = &facts["adamw"]["trace"][step - 1];
            let tolerance = if step == 1 { LOSS_TOLERANCE } else { LATE_LOSS_TOLERANCE };
            close(found.loss, row["loss_before"].as_f64().unwrap(), tolerance, "loss");
            let expected = row["grad_norm_before_clip"].as_f64().unwrap();
            close(norm, expected, GRADIENT_TOLERANCE, "gradient norm");
            let scale = clip_scale(norm, 1.0);
            optimizer.step(case.parameters.variables(), &found.gradients, 1e-3, scale).unwrap();
            if step == 1 || step == 5 {
                compare_weights(&case, &format!("train/adamw_step{step}.safetensors"), ops);
            }
        }
    }
}

/// AdamW's first steps have the size of the rate wherever the gradient is not tiny, so a sign flip on a gradient near
/// zero shows as twice the rate: a small share of elements may differ that much.
fn compare_weights(case: &Case, path: &str, ops: Ops) {
    for (name, expected) in tensors(path) {
        let found = f32s(case.parameters.variables()[&name].as_tensor());
        let expected = f32s(&expected);
        let outliers =
            found.iter().zip(&expected).filter(|(a, b)| (*a - *b).abs() > WEIGHT_TOLERANCE).count();
        assert!(outliers * 1000 <= found.len(), "{ops} {path} {name}: {outliers} outliers");
    }
}
