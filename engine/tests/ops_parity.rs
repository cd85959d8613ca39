//! The fused operations agree with the plain ones: same values, same gradient of every parameter.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor, Var};
use diffcoder_engine::kernels::matmul::{Precision, bf16_available};
use diffcoder_engine::kernels::quantized::Quantized;
use diffcoder_engine::model::config::ModelConfig;
use diffcoder_engine::model::gguf;
use diffcoder_engine::model::mask::SequenceMask;
use diffcoder_engine::model::ops::Ops;
use diffcoder_engine::model::weights::Weights;
use diffcoder_engine::model::{Gradients, Model, RowGroup};

const VALUE_TOLERANCE: f32 = 1e-5; // f32, relative to the largest value
const GRADIENT_TOLERANCE: f32 = 2e-5; // f32, relative to the largest entry of the tensor's gradient
const BF16_TOLERANCE: f32 = 0.15; // eight bits of mantissa through two or three layers of wide random weights
const LEN: usize = 26; // no multiple of the block length

fn golden(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/models").join(model)
}

/// Values and the gradient of every parameter, of the weighted sum of what one forward gives.
fn run(
    model: &str,
    ops: Ops,
    losses: &dyn Fn(&Model) -> (Tensor, Tensor),
) -> BTreeMap<String, Vec<f32>> {
    let config = ModelConfig::from_json(
        &std::fs::read_to_string(golden(model).join("config.json")).unwrap(),
    )
    .unwrap();
    let mut weights = Weights::from_dir(&golden(model)).unwrap();
    let mut vars = BTreeMap::new();
    for (name, shape) in config.parameter_shapes() {
        vars.insert(name.clone(), Var::from_tensor(&weights.take(&name, &shape).unwrap()).unwrap());
    }
    let tensors = vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    let model = Model::new(&config, Weights::from_tensors(tensors, "variables"), ops).unwrap();
    let model = model.recorded();
    let (nll, weights) = losses(&model);
    let mut gradients = Gradients::default();
    model.backward(&nll, &weights, &mut gradients).unwrap();
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let mut all = BTreeMap::from([("value".to_owned(), flat(&nll))]);
    for (name, var) in &vars {
        let gradient = gradients.take(var).unwrap_or_else(|| panic!("{name} has no gradient"));
        all.insert(name.clone(), flat(&gradient));
    }
    all
}

fn assert_close(
    ours: &BTreeMap<String, Vec<f32>>,
    reference: &BTreeMap<String, Vec<f32>>,
    tolerance: (f32, f32),
    label: &str,
) {
    for (name, expected) in reference {
        let scale = expected.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        let worst =
            ours[name].iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
        let tolerance = if name == "value" { tolerance.0 } else { tolerance.1 };
        assert!(
            scale > 0.0 && worst <= tolerance * scale,
            "{label}: {name} differs by {worst} of {scale}"
        );
    }
}

fn ids(seed: u32, len: usize) -> Tensor {
    let ids: Vec<u32> =
        (0..2 * len as u32).map(|i| (i * 7919 + seed * 104_729) % 500 + 6).collect();
    Tensor::from_vec(ids, (2, len), &Device::Cpu).unwrap()
}

/// Cross-entropies of two rows in three, and weights: every row gets another gradient, and some rows none.
fn loss(model: &Model, hidden: &Tensor) -> (Tensor, Tensor) {
    let n_rows = (hidden.elem_count() / model.config().hidden_size) as u32;
    let rows: Vec<u32> = (0..n_rows).filter(|i| i % 3 != 0).collect();
    let targets: Vec<u32> = rows.iter().map(|i| i * 31 % 500).collect();
    let weights: Vec<f32> = rows.iter().map(|i| (i % 5) as f32 + 0.5).collect();
    let nll = model.head_nll(hidden, &rows, &targets).unwrap();
    (nll, Tensor::from_vec(weights, rows.len(), &Device::Cpu).unwrap())
}

fn compare(fused: Ops, tolerance: (f32, f32)) {
    let positions: Vec<u32> = (0..LEN as u32).map(|i| i * 3).collect();
    for model in ["llama", "qwen2", "qwen3"] {
        for mask in
            [SequenceMask::Causal, SequenceMask::Full, SequenceMask::BlockCausal { block: 4 }]
        {
            let scalar = |model: &Model| {
                loss(model, &model.forward_sequence(&ids(1, LEN), &positions, mask).unwrap())
            };
            let label = format!("{model} {mask:?}");
            assert_close(
                &run(model, fused, &scalar),
                &run(model, Ops::Differentiable, &scalar),
                tolerance,
                &label,
            );
        }
        let scalar = |model: &Model| {
            let hidden = model.forward_doubled(&ids(2, LEN), &ids(3, LEN), &positions, 4).unwrap();
            loss(model, &hidden)
        };
        let label = format!("{model} doubled");
        assert_close(
            &run(model, fused, &scalar),
            &run(model, Ops::Differentiable, &scalar),
            tolerance,
            &label,
        );
        // The noisy half by itself, against both halves of which only the noisy one counts.
        let noisy = |model: &Model| {
            let hidden = model.forward_noisy(&ids(2, LEN), &ids(3, LEN), &positions, 4).unwrap();
            loss(model, &hidden)
        };
        let noisy_of_both = |model: &Model| {
            let hidden = model.forward_doubled(&ids(2, LEN), &ids(3, LEN), &positions, 4).unwrap();
            loss(model, &hidden.narrow(0, 0, 1).unwrap().contiguous().unwrap())
        };
        let wanted = run(model, Ops::Differentiable, &noisy_of_both);
        let label = format!("{model} noisy half");
        assert_close(&run(model, fused, &noisy), &wanted, tolerance, &label);
        assert_close(
            &run(model, Ops::Differentiable, &noisy),
            &wanted,
            (VALUE_TOLERANCE, GRADIENT_TOLERANCE),
            &label,
        );
    }
}

#[test]
fn f32_kernels_agree_with_the_plain_operations() {
    compare(Ops::Fused { precision: Precision::F32 }, (VALUE_TOLERANCE, GRADIENT_TOLERANCE));
}

#[test]
fn bf16_kernels_agree_within_their_rounding() {
    compare(Ops::Fused { precision: Precision::Bf16 }, (BF16_TOLERANCE, BF16_TOLERANCE));
}

#[test]
fn gradients_of_micro_batches_add_up_and_unrecorded_models_have_none() {
    let directory = golden("qwen3");
    let config =
        ModelConfig::from_json(&std::fs::read_to_string(directory.join("config.json")).unwrap())
            .unwrap();
    let positions: Vec<u32> = (0..LEN as u32).collect();
    let weights = Weights::from_dir(&directory).unwrap();
    let model = Model::new(&config, weights, Ops::default()).unwrap();
    let losses = |model: &Model, seed| {
        let hidden = model.forward_sequence(&ids(seed, LEN), &positions, SequenceMask::Causal);
        loss(model, &hidden.unwrap())
    };
    let (nll, weights) = losses(&model, 1);
    let error = model.backward(&nll, &weights, &mut Gradients::default()).unwrap_err();
    assert!(error.to_string().contains("recorded"), "{error}");

    let norm = |seeds: &[u32]| {
        let (recorded, mut sums) = (model.recorded(), Gradients::default());
        for &seed in seeds {
            let (nll, weights) = losses(&recorded, seed);
            recorded.backward(&nll, &weights, &mut sums).unwrap();
        }
        let gradient = sums.take(model.embedding()).unwrap();
        gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let (one, two, both) = (norm(&[1]), norm(&[2]), norm(&[1, 2]));
    let scale = both.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    for ((one, two), both) in one.iter().zip(&two).zip(&both) {
        assert!((one + two - both).abs() < 1e-5 * scale, "{one} + {two} is not {both}");
    }
}

#[test]
fn rounded_prefill_changes_prompts_by_its_rounding_and_decoding_not_at_all() {
    let directory = golden("qwen3");
    let config =
        ModelConfig::from_json(&std::fs::read_to_string(directory.join("config.json")).unwrap())
            .unwrap();
    let exact =
        Model::new(&config, Weights::from_dir(&directory).unwrap(), Ops::default()).unwrap();
    let rounding = exact.clone().with_prefill(Ops::Fused { precision: Precision::Bf16 });
    for (rows, is_prefill) in [(8, false), (200, true)] {
        let tokens: Vec<u32> = (0..rows as u32).map(|i| i * 7919 % 500 + 6).collect();
        let [wanted, found, again] = [&exact, &rounding, &rounding].map(|model| {
            let group = RowGroup {
                cache: &mut model.new_cache(),
                tokens: &tokens,
                mask: SequenceMask::BlockCausal { block: 4 },
                commit: rows,
                logits: 0..rows,
                branches: &[],
            };
            let logits = model.forward(&mut [group]).unwrap();
            logits.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        });
        let scale = wanted.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        let worst = wanted.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(worst <= BF16_TOLERANCE * scale, "{rows} rows: {worst} of {scale}");
        assert_eq!(worst > 0.0, is_prefill && bf16_available(), "{rows} rows: {worst}");
        assert_eq!(again, found, "{rows} rows with weights that were packed before");
    }
}

#[test]
fn steps_on_weights_in_q8_0_are_those_on_their_numbers() {
    for name in ["qwen3", "qwen2"] {
        let directory = golden(name);
        let text = std::fs::read_to_string(directory.join("config.json")).unwrap();
        let config = ModelConfig::from_json(&text).unwrap();
        let mut stored = Weights::from_dir(&directory).unwrap();
        let tensors = config.parameter_shapes().into_iter().map(|(name, shape)| {
            let tensor = stored.take(&name, &shape).unwrap();
            (name, tensor)
        });
        let file = gguf::to_q8_0(&tensors.collect()).unwrap();
        let model = |in_steps: bool| {
            let weights = Weights::from_bytes(&file, "quantized").unwrap();
            let model = Model::new(&config, weights, Ops::default()).unwrap();
            if in_steps { model.with_quantized_steps() } else { model }
        };
        let (plain, quantized) = (model(false), model(true));
        for rows in [1, 4, 16, 20, 48, 90] {
            let tokens: Vec<u32> = (0..rows as u32).map(|i| i * 7919 % 500 + 6).collect();
            let [expected, found] = [&plain, &quantized].map(|model| {
                let group = RowGroup {
                    cache: &mut model.new_cache(),
                    tokens: &tokens,
                    mask: SequenceMask::BlockCausal { block: 4 },
                    commit: 0,
                    logits: 0..rows,
                    branches: &[],
                };
                let logits = model.forward(&mut [group]).unwrap();
                logits.flatten_all().unwrap().to_vec1::<f32>().unwrap()
            });
            let scale = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            let errors = expected.iter().zip(&found).map(|(a, b)| (a - b).abs());
            let worst = errors.fold(0f32, f32::max);
            // Up to 16 rows the sums are the same ones; from 49 on the numbers themselves are read.
            let tolerance = if (17..=48).contains(&rows) { VALUE_TOLERANCE * scale } else { 0.0 };
            assert!(worst <= tolerance, "{name}, {rows} rows: {worst} of {scale}");
            // Other sums show that the numbers were not read there.
            let is_fast = Quantized::new(&[0.0; 32], 1, 32).is_some();
            assert!(tolerance == 0.0 || (worst > 0.0) == is_fast, "{name}, {rows} rows: {worst}");
        }
    }
}
