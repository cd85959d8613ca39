//! A checkpoint becomes a model directory whose logits are the checkpoint's; what cannot be exported leaves nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor, Var};
use common::{TINY_RECIPE, run_on};
use diffcoder_engine::model::config::{Family, ModelConfig};
use diffcoder_engine::model::weights::Weights;
use diffcoder_train::checkpoint::{Checkpoint, Snapshot, folder};
use diffcoder_train::export::{ExportType, export};
use diffcoder_train::inputs::Inputs;
use diffcoder_train::tokenizer_training;
use diffcoder_train::train::{Start, checkpoint_root};

const CORPUS: &str = r#"{"packages":[{"name":"demo","version":"1.0.0","licence":"MIT","split":"train","files":1,"bytes":2}]}"#;

/// A recipe whose vocabulary holds a tokenizer, trained in `root`; returns its last checkpoint and the tokenizer folder.
///
/// Its corpus is `root/corpus`.
fn trained(root: &Path) -> (PathBuf, PathBuf) {
    let recipe = TINY_RECIPE.replace("vocab = 64", "vocab = 304");
    let (tokenizer, corpus) = (root.join("tokenizer"), root.join("corpus"));
    write_tokenizer(&tokenizer, "fn main() { let total = 1 + 2; return total; }\n");
    write_corpus(&corpus, CORPUS);
    let inputs = Inputs::of(&tokenizer, &corpus).unwrap();
    run_on(inputs, &recipe, &root.join("run"), Start::Fresh, None).unwrap();
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
        assert_eq!((own.block_length, own.context_tokens), (4, 32));
        assert_eq!(
            (own.stage.as_str(), own.capabilities.as_slice()),
            ("cpt", &["infill".into(), "multi-hole".into()][..])
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

fn write_tokenizer(folder: &Path, line: &str) {
    std::fs::create_dir(folder).unwrap();
    tokenizer_training::train(&[&line.repeat(20)], 288).unwrap().write(folder).unwrap();
}

fn write_corpus(folder: &Path, manifest: &str) {
    std::fs::create_dir(folder).unwrap();
    std::fs::write(folder.join("manifest.json"), manifest).unwrap();
}

#[test]
fn only_the_tokenizer_and_the_corpus_of_the_run_are_taken() {
    let root = tempfile::tempdir().unwrap();
    let (checkpoint, tokenizer) = trained(root.path());
    let [corpus, other_corpus, other_tokenizer, out] =
        ["corpus", "other-corpus", "other-tokenizer", "out"].map(|name| root.path().join(name));
    write_tokenizer(&other_tokenizer, "def area(width, height): return width * height\n");
    write_corpus(&other_corpus, &CORPUS.replace("demo", "other"));
    for (tokenizer, corpus, expected) in [
        (&other_tokenizer, &corpus, "tokenizer.json is not the file"),
        (&tokenizer, &other_corpus, "manifest.json is not the file"),
    ] {
        let error =
            export(&checkpoint, tokenizer, &out, ExportType::F32, Some(corpus)).unwrap_err();
        assert!(format!("{error:#}").contains(expected), "{error:#}");
        assert!(!out.exists());
    }
    export(&checkpoint, &tokenizer, &out, ExportType::F32, Some(&corpus)).unwrap();
    assert!(std::fs::read_to_string(out.join("NOTICE")).unwrap().contains("demo 1.0.0"));

    // A checkpoint of an older version does not tell what it was made from.
    let path = checkpoint.join("manifest.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    manifest.as_object_mut().unwrap().remove("inputs").unwrap();
    std::fs::write(&path, manifest.to_string()).unwrap();
    export(&checkpoint, &other_tokenizer, &out, ExportType::F32, Some(&other_corpus)).unwrap();
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
        inputs: &saved.inputs,
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
    assert_eq!(left, 3, "the run, the tokenizer and the corpus, and nothing half written");
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
