//! Whole forwards and backwards of the model on the device operations, against the CPU ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use diffcoder_engine::kernels::cuda::runtime::emulate_with;
use diffcoder_engine::kernels::matmul::Precision;
use diffcoder_engine::model::config::ModelConfig;
use diffcoder_engine::model::mask::SequenceMask;
use diffcoder_engine::model::ops::Ops;
use diffcoder_engine::model::weights::Weights;
use diffcoder_engine::model::{Branch, Gradients, Model, RowGroup};

use crate::emulator::{emulator, numbers};

const CPU: Ops = Ops::Fused { precision: Precision::F32 };

/// Head size 64 takes the tensor-core kernels where the weights are bf16; 24 takes the plain ones.
fn config(dialect: &str, head_size: usize) -> ModelConfig {
    let json = format!(
        r#"{{"model_type": "{dialect}", "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": {head_size}, "vocab_size": 96,
            "tie_word_embeddings": true, "rope_theta": 10000.0, "rms_norm_eps": 1e-6, "max_position_embeddings": 128}}"#
    );
    ModelConfig::from_json(&json).unwrap()
}

/// The weights by name, of the values that bf16 can hold too.
fn tensors(config: &ModelConfig) -> BTreeMap<String, Tensor> {
    let mut all = BTreeMap::new();
    for (seed, (name, shape)) in config.parameter_shapes().into_iter().enumerate() {
        let count = shape.iter().product();
        let shift = if name.ends_with("norm.weight") { 1.0 } else { 0.0 };
        let values: Vec<f32> =
            numbers(count, seed as u64 + 1).iter().map(|v| v / 4.0 + shift).collect();
        let values = values.iter().map(|&v| half::bf16::from_f32(v).to_f32()).collect();
        all.insert(name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
    }
    all
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sequence,
    Doubled,
}

struct Built {
    model: Model,
    weights: BTreeMap<String, Tensor>,
}

fn build(config: &ModelConfig, ops: Ops, dtype: DType) -> Built {
    let weights: BTreeMap<String, Tensor> = tensors(config)
        .into_iter()
        .map(|(name, tensor)| (name, tensor.to_dtype(dtype).unwrap()))
        .collect();
    let model = Model::new(config, Weights::from_tensors(weights.clone(), "test"), ops).unwrap();
    Built { model, weights }
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f32], tolerance: f64, what: &str) {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let gap = norm(&mut found.iter().zip(expected).map(|(&f, &e)| f64::from(f) - f64::from(e)));
    let error = gap / norm(&mut expected.iter().map(|&e| f64::from(e))).max(1e-20);
    assert!(error < tolerance, "{what}: relative error {error:e}");
}

/// Two micro-batches, as in a training step.
fn train(built: &Built, kind: Kind) -> (Vec<f32>, BTreeMap<String, Vec<f32>>) {
    let model = built.model.recorded();
    let (len, block) = (20, 4);
    let positions: Vec<u32> = (0..len as u32).collect();
    let mut gradients = Gradients::default();
    let mut values = Vec::new();
    for batch in 0..2u32 {
        let ids = |seed: u32| {
            let ids: Vec<u32> = (0..2 * len as u32).map(|i| (i * 31 + seed) % 96).collect();
            Tensor::from_vec(ids, (2, len), &Device::Cpu).unwrap()
        };
        let clean = ids(batch);
        let hidden = if kind == Kind::Doubled {
            model.forward_doubled(&ids(40 + batch), &clean, &positions, block).unwrap()
        } else {
            model.forward_sequence(&clean, &positions, SequenceMask::Causal).unwrap()
        };
        let rows: Vec<u32> = (0..2 * len as u32).filter(|row| row % 3 != 0).collect();
        let targets: Vec<u32> = rows.iter().map(|row| row * 17 % 96).collect();
        let nll = model.head_nll(&hidden, &rows, &targets).unwrap();
        let seed: Vec<f32> = rows.iter().map(|row| 0.01 * (1 + row % 4) as f32).collect();
        let seed = Tensor::from_vec(seed, nll.shape(), nll.device()).unwrap();
        model.backward(&nll, &seed, &mut gradients).unwrap();
        values.extend(flat(&nll));
    }
    let found = built.weights.iter().map(|(name, weight)| {
        let gradient = gradients.take(weight).unwrap_or_else(|| panic!("{name} has no gradient"));
        assert_eq!(gradient.dtype(), DType::F32);
        (name.clone(), flat(&gradient))
    });
    (values, found.collect())
}

#[test]
fn training_agrees_with_the_cpu() {
    let Some(emulator) = emulator() else { return };
    emulate_with(Arc::new(emulator.clone()));
    for (dialect, head_size, kind) in [("qwen3", 64, Kind::Doubled), ("qwen2", 24, Kind::Sequence)]
    {
        let config = config(dialect, head_size);
        let (expected, expected_gradients) = train(&build(&config, CPU, DType::F32), kind);
        // bf16 rounds every activation; the gradients of the first layers have gone through all of them.
        for (dtype, tolerance, gradient_tolerance) in
            [(DType::F32, 1e-5, 5e-5), (DType::BF16, 1e-2, 5e-2)]
        {
            let (found, gradients) = train(&build(&config, Ops::Device, dtype), kind);
            let label = format!("{dialect}, head size {head_size}, {dtype:?}");
            assert_near(&found, &expected, tolerance, &format!("{label}: cross-entropy"));
            for (name, expected) in &expected_gradients {
                let what = format!("{label}: gradient of {name}");
                assert_near(&gradients[name], expected, gradient_tolerance, &what);
            }
        }
    }
}

#[test]
fn serving_agrees_with_the_cpu() {
    let Some(emulator) = emulator() else { return };
    emulate_with(Arc::new(emulator.clone()));
    let config = config("llama", 64);
    let serve = |built: &Built| -> Vec<f32> {
        let model = &built.model;
        let mask = SequenceMask::BlockCausal { block: 4 };
        let (mut first, mut second) = (model.new_cache(), model.new_cache());
        let prompt: Vec<u32> = (0..70).map(|i| i * 13 % 96).collect();
        let mut logits = Vec::new();
        let group = |cache: &mut _, tokens: &[u32], commit: usize| {
            let (rows, branches) = (0..tokens.len(), &[]);
            let group = RowGroup { cache, tokens, mask, commit, logits: rows, branches };
            flat(&model.forward(&mut [group]).unwrap())
        };
        logits.extend(group(&mut first, &prompt[..64], 64));
        logits.extend(group(&mut first, &prompt[64..], 4));
        let mut fork = first.clone();
        logits.extend(group(&mut first, &[7, 8, 9, 10], 4));
        logits.extend(group(&mut fork, &[3, 2], 0));
        fork.truncate(8);
        logits.extend(group(&mut fork, &[5; 4], 4));
        logits.extend(group(&mut first, &[1, 2, 3], 0));
        let branch = |tokens, logits_from| Branch { tokens, logits_from };
        let branches = &[branch(&[1, 2, 3, 4, 5, 6, 7, 8], 3), branch(&[6; 2], 0)];
        let groups = &mut [
            RowGroup {
                cache: &mut first,
                tokens: &[4, 5, 6, 7, 8],
                mask,
                commit: 4,
                logits: 1..3,
                branches,
            },
            RowGroup {
                cache: &mut second,
                tokens: &[9; 5],
                mask,
                commit: 4,
                logits: 0..1,
                branches: &[],
            },
        ];
        logits.extend(flat(&model.forward(groups).unwrap()));
        logits.extend(group(&mut first, &[3; 4], 0));
        logits
    };
    let expected = serve(&build(&config, CPU, DType::F32));
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::BF16, 1e-2)] {
        let found = serve(&build(&config, Ops::Device, dtype));
        assert_near(&found, &expected, tolerance, &format!("logits, {dtype:?}"));
    }
}
