//! Training on a device, here the emulator of the kernel tests, against training on the CPU.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "../../engine/tests/cuda_kernels/emulator.rs"]
#[allow(dead_code, reason = "shared with the kernel tests, which use all of it")]
mod emulator;

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use common::{TINY_RECIPE, run, run_at};
use diffcoder_engine::kernels::cuda::runtime::emulate_with;
use diffcoder_train::checkpoint::{Checkpoint, folder};
use diffcoder_train::inputs::Inputs;
use diffcoder_train::metrics;
use diffcoder_train::train::{Outcome, Start, checkpoint_root};

fn on_device(recipe: &str, out: &Path, start: Start, stop_at: Option<u64>) -> Outcome {
    let place = (Some(Device::Cpu), Inputs::default());
    run_at(place, recipe, out, start, stop_at).unwrap()
}

#[test]
fn a_device_trains_as_the_cpu_does_and_resumes_in_the_same_bytes() {
    trains_alike(TINY_RECIPE);
}

#[test]
fn muon_too() {
    let recipe = TINY_RECIPE.replace("[optimizer]", "[optimizer]\nkind = \"muon\"");
    assert!(recipe != TINY_RECIPE);
    let checkpoint = trains_alike(&recipe);
    let Some(checkpoint) = checkpoint else { return };
    for (name, moments) in &checkpoint.moments {
        let is_muons = name.contains(".layers.") && name.ends_with("proj.weight");
        assert_eq!(moments.second.is_empty(), is_muons, "{name}");
        assert!(moments.first.iter().any(|&number| number != 0.0), "{name}");
    }
}

/// The last checkpoint of a run on the device, after comparing it with one on the CPU; none without an emulator.
fn trains_alike(recipe: &str) -> Option<Checkpoint> {
    let emulator = emulator::emulator()?;
    emulate_with(Arc::new(emulator.clone()));
    let root = tempfile::tempdir().unwrap();
    let [cpu, whole, cut] = ["cpu", "whole", "cut"].map(|name| root.path().join(name));
    run(recipe, &cpu, Start::Fresh, None).unwrap();
    assert!(matches!(on_device(recipe, &whole, Start::Fresh, None), Outcome::Finished(_)));
    let (expected, found) = (metrics::read(&cpu).unwrap(), metrics::read(&whole).unwrap());
    assert_eq!(found.len(), 10);
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!((found.step, found.masked), (expected.step, expected.masked), "the same masks");
        assert_eq!(found.skipped, expected.skipped);
        // bf16 has eight bits of mantissa, and ten steps of size 1e-2 carry what it rounds along.
        for (what, found, expected, tolerance) in [
            ("loss", found.loss, expected.loss, 0.02),
            ("cross-entropy", found.ce_per_masked, expected.ce_per_masked, 0.02),
            ("gradient norm", found.grad_norm, expected.grad_norm, 0.1),
        ] {
            assert_eq!(found.is_some(), expected.is_some());
            let (found, expected) = (found.unwrap_or(0.0), expected.unwrap_or(0.0));
            let close = (found - expected).abs() <= tolerance * expected.abs();
            assert!(close, "{what} {found}, on the CPU {expected}");
        }
    }

    let stopped = on_device(recipe, &cut, Start::Fresh, Some(4));
    assert_eq!(stopped, Outcome::Interrupted(folder(&checkpoint_root(&cut), 5)));
    assert!(matches!(on_device(recipe, &cut, Start::Resume, None), Outcome::Finished(_)));
    let bytes = |out: &Path| {
        ["model.safetensors", "moments.safetensors"]
            .map(|name| std::fs::read(folder(&checkpoint_root(out), 10).join(name)).unwrap())
    };
    assert!(bytes(&whole) == bytes(&cut), "weights or moments differ after a resumption");
    let checkpoint = Checkpoint::load(&folder(&checkpoint_root(&whole), 10)).unwrap();
    assert_eq!(checkpoint.moments.len(), checkpoint.weights.len());
    Some(checkpoint)
}
