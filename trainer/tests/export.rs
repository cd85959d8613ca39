//! A checkpoint becomes a model directory whose logits are the checkpoint's; what cannot be exported leaves nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor, Var};
use common::{TINY_RECIPE, run};
use diffcoder_engine::model::config::{Family, ModelConfig};
use diffcoder_engine::model::weights::Weights;
use diffcoder_train::checkpoint::{Checkpoint, Snapshot, folder};
use diffcoder_train::export::{ExportType, export};
use diffcoder_train::tokenizer_training;
use diffcoder_train::train::{Start, checkpoint_root};

/// A recipe whose vocabulary holds a tokenizer, trained in `root`; returns its last checkpoint and the tokenizer folder.
fn trained(root: &Path) -> (PathBuf, PathBuf) {
    let recipe = TINY_RECIPE.replace("vocab = 64", "vocab = 304");
    run(&recipe, &root.join("run"), Start::Fresh, None).unwrap();
    let tokenizer = root.join("tokenizer");
    std::fs::create_dir(&tokenizer).unwrap();
    let text = "fn main() { let total = 1 + 2; return total; }\n".repeat(20);
    let files = tokenizer_training::train(&[&text], 288).unwrap();
    files.write(&tokenizer).unwrap();
    (folder(&checkpoint_root(&root.join("run")), 10), tokenizer)
}

#[test]
fn exported_models_load_with_the_checkpoints_weights() {
    let root = tempfile::tempdir().unwrap();
    let (checkpoint, tokenizer) = trained(root.path());
    let saved = Checkpoint::load(&checkpoint).unwrap();
    for (dtype, tolerance) in
        [(ExportType::F32, 0.0), (ExportType::F16, 1e-3), (ExportType::Bf16, 8e-3)]
    {
        let out = root.path().join(format!("{dtype:?}"));
        let difference = export(&checkpoint, &tokenizer, &out, dtype, None).unwrap();
        assert!(dtype != ExportType::F32 || difference == 0.0);
        let text = std::fs::read_to_string(out.join("config.json")).unwrap();
        let config = ModelConfig::from_json(&text).unwrap();
        let Family::Diffcoder(own) = &config.family else { panic!("no diffcoder object") };
        assert_eq!((own.block_length, own.context_tokens), (4, 16));
        assert_eq!(
            (own.stage.as_str(), own.capabilities.as_slice()),
            ("cpt", &["infill".into()][..])
        );
        let mut weights = Weights::from_dir(&out).unwrap();
        for (name, shape) in config.parameter_shapes() {
            let found = weights.take(&name, &shape).unwrap();
            let difference = (found - &saved.weights[&name]).unwrap().abs().unwrap();
            let largest = difference.max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(largest <= tolerance, "{dtype:?} {name} {largest}");
        }
        weights.finish().unwrap();
    }
}

/// The checkpoint with `value` in place of its first weight of the final norm, as if it had been trained so.
fn with_weight(checkpoint: &Path, value: f32) -> PathBuf {
    let saved = Checkpoint::load(checkpoint).unwrap();
    let mut variables = BTreeMap::new();
    for (name, tensor) in &saved.weights {
        let mut values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        if name == "model.norm.weight" {
            values[0] = value;
        }
        let tensor = Tensor::from_vec(values, tensor.dims(), &Device::Cpu).unwrap();
        variables.insert(name.clone(), Var::from_tensor(&tensor).unwrap());
    }
    let snapshot = Snapshot {
        progress: &saved.progress,
        config: &saved.config,
        recipe: &saved.recipe,
        variables: &variables,
        moments: &saved.moments,
    };
    snapshot.save(&checkpoint.with_file_name("changed")).unwrap()
}

#[test]
fn weights_that_are_no_numbers_or_overflow_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let (checkpoint, tokenizer) = trained(root.path());
    let out = root.path().join("out");
    for (value, dtype, expected) in [
        (f32::NAN, ExportType::F32, "the checkpoint's logits are not all finite"),
        (f32::NAN, ExportType::F16, "the checkpoint's logits are not all finite"),
        (1e6, ExportType::F16, "overflow this number type"),
    ] {
        let changed = with_weight(&checkpoint, value);
        let error = export(&changed, &tokenizer, &out, dtype, None).unwrap_err();
        assert!(format!("{error:#}").contains(expected), "{error:#}");
        assert!(!out.exists());
    }
    let left = std::fs::read_dir(root.path()).unwrap().count();
    assert_eq!(left, 2, "the run and the tokenizer, and nothing half written");
}

#[test]
fn what_cannot_be_exported_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (checkpoint, tokenizer) = trained(root.path());
    let out = root.path().join("out");
    let error = export(&checkpoint, root.path(), &out, ExportType::F32, None).unwrap_err();
    assert!(format!("{error:#}").contains("tokenizer.json"), "{error:#}");
    let error = export(&tokenizer, &tokenizer, &out, ExportType::F32, None).unwrap_err();
    assert!(format!("{error:#}").contains("no checkpoint folder"), "{error:#}");
    let occupied = root.path().join("run");
    let error = export(&checkpoint, &tokenizer, &occupied, ExportType::F32, None).unwrap_err();
    assert!(format!("{error:#}").contains("choose another folder"), "{error:#}");
    assert!(!out.exists());
}
