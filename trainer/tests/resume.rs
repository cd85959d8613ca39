//! A run that was interrupted or killed and resumed ends in the same bytes as one that was not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use common::{TINY_RECIPE, run, run_on};
use diffcoder_train::checkpoint::{Checkpoint, folder};
use diffcoder_train::inputs::Inputs;
use diffcoder_train::metrics;
use diffcoder_train::retention::checkpoints;
use diffcoder_train::train::{Outcome, Start, checkpoint_root};

/// Weights and moments of the checkpoint after `step` steps.
fn bytes(out: &Path, step: u64) -> [Vec<u8>; 2] {
    let folder = folder(&checkpoint_root(out), step);
    ["model.safetensors", "moments.safetensors"]
        .map(|name| std::fs::read(folder.join(name)).unwrap())
}

fn losses(out: &Path) -> Vec<(u64, Option<f64>, Option<f64>)> {
    let lines = metrics::read(out).unwrap();
    lines.iter().map(|line| (line.step, line.loss, line.grad_norm)).collect()
}

#[test]
fn ten_steps_equal_five_a_kill_and_five() {
    let root = tempfile::tempdir().unwrap();
    let (whole, cut, killed) =
        (root.path().join("whole"), root.path().join("cut"), root.path().join("killed"));
    let outcome = run(TINY_RECIPE, &whole, Start::Fresh, None).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));

    let outcome = run(TINY_RECIPE, &cut, Start::Fresh, Some(4)).unwrap();
    assert_eq!(outcome, Outcome::Interrupted(folder(&checkpoint_root(&cut), 5)));
    let outcome = run(TINY_RECIPE, &cut, Start::Resume, None).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    assert_eq!(bytes(&whole, 10), bytes(&cut, 10));
    assert_eq!(losses(&whole), losses(&cut));

    // A kill -9 during step 5: the newest checkpoint is that of step 4, a half-written one and a half line are left over.
    run(TINY_RECIPE, &killed, Start::Fresh, Some(4)).unwrap();
    std::fs::remove_dir_all(folder(&checkpoint_root(&killed), 5)).unwrap();
    run(TINY_RECIPE, &killed, Start::Resume, Some(3)).unwrap_or_else(|error| panic!("{error:#}"));
    let torn = checkpoint_root(&killed).join(".new-torn");
    std::fs::create_dir(&torn).unwrap();
    std::fs::write(torn.join("model.safetensors"), b"half").unwrap();
    let mut metrics = OpenOptions::new().append(true).open(metrics::path(&killed)).unwrap();
    metrics.write_all(b"{\"step\":4,\"stage\":1,\"ki").unwrap();
    run(TINY_RECIPE, &killed, Start::Resume, None).unwrap();
    assert_eq!(bytes(&whole, 10), bytes(&killed, 10));
    assert_eq!(losses(&whole), losses(&killed));
}

#[test]
fn a_resumed_run_in_bf16_ends_in_the_same_bytes_too() {
    let root = tempfile::tempdir().unwrap();
    let (whole, cut) = (root.path().join("whole"), root.path().join("cut"));
    let recipe = TINY_RECIPE.replace("seed = 3", "seed = 3\nmatmul = \"bf16\"");
    run(&recipe, &whole, Start::Fresh, None).unwrap();
    run(&recipe, &cut, Start::Fresh, Some(4)).unwrap();
    run(&recipe, &cut, Start::Resume, None).unwrap();
    assert_eq!(bytes(&whole, 10), bytes(&cut, 10));
    assert_eq!(losses(&whole), losses(&cut));
}

#[test]
fn a_resumed_run_with_muon_ends_in_the_same_bytes_too() {
    let root = tempfile::tempdir().unwrap();
    let (adamw, whole, cut) =
        (root.path().join("adamw"), root.path().join("whole"), root.path().join("cut"));
    run(TINY_RECIPE, &adamw, Start::Fresh, None).unwrap();
    let recipe = TINY_RECIPE.replace("[optimizer]", "[optimizer]\nkind = \"muon\"");
    run(&recipe, &whole, Start::Fresh, None).unwrap();
    run(&recipe, &cut, Start::Fresh, Some(4)).unwrap();
    run(&recipe, &cut, Start::Resume, None).unwrap();
    assert_eq!(bytes(&whole, 10), bytes(&cut, 10));
    assert_eq!(losses(&whole), losses(&cut));
    assert_ne!(losses(&whole), losses(&adamw));
    // The moments of the one mean nothing to the other.
    let error = run(TINY_RECIPE, &cut, Start::Resume, None).unwrap_err();
    assert!(format!("{error:#}").contains("[optimizer] kind"), "{error:#}");
}

#[test]
fn a_kill_while_an_old_checkpoint_is_removed_leaves_a_run_that_goes_on() {
    let root = tempfile::tempdir().unwrap();
    run(TINY_RECIPE, root.path(), Start::Fresh, Some(4)).unwrap();
    let checkpoints = checkpoint_root(root.path());
    std::fs::create_dir(folder(&checkpoints, 2)).unwrap();
    for name in [".old-step-00000001", ".new-torn"] {
        let left_over = checkpoints.join(name);
        std::fs::create_dir(&left_over).unwrap();
        std::fs::write(left_over.join("model.safetensors"), b"half").unwrap();
    }
    let outcome = run(TINY_RECIPE, root.path(), Start::Resume, None).unwrap();
    assert_eq!(outcome, Outcome::Finished(folder(&checkpoints, 10)));
    for entry in std::fs::read_dir(&checkpoints).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(name.to_string_lossy().starts_with("step-"), "{name:?} is left over");
    }
}

#[test]
fn only_the_newest_checkpoints_and_the_stage_ends_stay() {
    let root = tempfile::tempdir().unwrap();
    run(TINY_RECIPE, root.path(), Start::Fresh, None).unwrap();
    let kept = checkpoints(&checkpoint_root(root.path())).unwrap();
    let steps: Vec<(u64, bool)> = kept.iter().map(|(_, p)| (p.step, p.stage_end)).collect();
    assert_eq!(steps, [(3, true), (6, true), (10, true)]);
    let saved = Checkpoint::load(&kept[0].0).unwrap();
    assert_eq!(saved.recipe, TINY_RECIPE);
    assert_eq!(saved.moments.len(), saved.weights.len());
}

#[test]
fn what_cannot_be_resumed_is_refused_in_a_sentence() {
    let root = tempfile::tempdir().unwrap();
    let error = |recipe: &str, start| -> String {
        format!("{:#}", run(recipe, root.path(), start, None).unwrap_err())
    };
    assert!(error(TINY_RECIPE, Start::Resume).contains("start without --resume"));
    run(TINY_RECIPE, root.path(), Start::Fresh, None).unwrap();
    assert!(error(TINY_RECIPE, Start::Fresh).contains("add --resume"));
    let wider = TINY_RECIPE.replace("mlp = 24", "mlp = 32");
    assert!(error(&wider, Start::Resume).contains("[model] of the recipe"));
    let weights = folder(&checkpoint_root(root.path()), 10).join("model.safetensors");
    let mut damaged = std::fs::read(&weights).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, damaged).unwrap();
    let longer = TINY_RECIPE.replace("steps = 4", "steps = 5");
    assert!(error(&longer, Start::Resume).contains("SHA-256"));
}

#[test]
fn a_run_from_a_model_begins_with_its_weights_and_says_which() {
    let root = tempfile::tempdir().unwrap();
    let (first, next) = (root.path().join("first"), root.path().join("next"));
    run(TINY_RECIPE, &first, Start::Fresh, None).unwrap();
    // A checkpoint is a model directory, too.
    let model = folder(&checkpoint_root(&first), 10);
    let still = TINY_RECIPE.replace("lr = 1e-2", "lr = 1e-30");
    run(&still, &next, Start::From(&model), Some(0)).unwrap();
    assert_eq!(bytes(&next, 1)[0], bytes(&first, 10)[0]);
    let saved = |out: &Path, step| Checkpoint::load(&folder(&checkpoint_root(out), step)).unwrap();
    let from = saved(&next, 1).progress.from;
    assert!(from.as_ref().is_some_and(|hash| hash.len() == 64), "{from:?}");
    run(&still, &next, Start::Resume, None).unwrap();
    assert_eq!(saved(&next, 10).progress.from, from);
    assert_eq!(saved(&first, 10).progress.from, None);

    let error = |recipe: &str, dir: &Path| -> String {
        format!("{:#}", run(recipe, &root.path().join("no"), Start::From(dir), None).unwrap_err())
    };
    let wider = TINY_RECIPE.replace("mlp = 24", "mlp = 32");
    assert!(error(&wider, &model).contains("[model] of the recipe"));
    let deeper = TINY_RECIPE.replace("layers = 2", "layers = 5");
    assert!(error(&deeper, &model).contains("up to 2 more"), "{}", error(&deeper, &model));
    assert!(error(TINY_RECIPE, root.path()).contains("--from takes a model directory"));
    assert!(!root.path().join("no").join("checkpoints").join("step-00000001").exists());
    let used = run(TINY_RECIPE, &first, Start::From(&model), None).unwrap_err().to_string();
    assert!(used.contains("choose another --out"), "{used}");
}

#[test]
fn a_deeper_model_begins_where_the_one_it_starts_from_ended() {
    let root = tempfile::tempdir().unwrap();
    let (first, next) = (root.path().join("first"), root.path().join("next"));
    run(TINY_RECIPE, &first, Start::Fresh, None).unwrap();
    let model = folder(&checkpoint_root(&first), 10);
    let same = root.path().join("same");
    let still = TINY_RECIPE.replace("lr = 1e-2", "lr = 1e-30");
    run(&still, &same, Start::From(&model), None).unwrap();
    let deeper = still.replace("layers = 2", "layers = 3");
    run(&deeper, &next, Start::From(&model), None).unwrap();
    for ((step, one, _), (_, other, _)) in losses(&same).into_iter().zip(losses(&next)) {
        // A warmup step without a mask has no loss.
        assert_eq!(one.is_some(), other.is_some(), "step {step}");
        let difference = one.unwrap_or_default() - other.unwrap_or_default();
        assert!(difference.abs() < 1e-6, "step {step}: {one:?} {other:?}");
    }
    // Not a dead copy: with a learning rate it takes part.
    let learning = root.path().join("learning");
    run(&TINY_RECIPE.replace("layers = 2", "layers = 3"), &learning, Start::From(&model), None)
        .unwrap();
    let saved = Checkpoint::load(&folder(&checkpoint_root(&learning), 10)).unwrap();
    let copy = &saved.weights["model.layers.2.mlp.down_proj.weight"];
    let norm = copy.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(norm > 0.0);
}

#[test]
fn a_run_goes_on_with_its_own_tokenizer_and_corpus_alone() {
    let root = tempfile::tempdir().unwrap();
    let inputs = |tokenizer: &str, corpus: &str| Inputs {
        tokenizer: Some(tokenizer.to_owned()),
        corpus: Some(corpus.to_owned()),
    };
    let go_on = |inputs, stop_at| run_on(inputs, TINY_RECIPE, root.path(), Start::Resume, stop_at);
    // Its first checkpoints are as older versions wrote them: they do not tell what they were made from.
    run(TINY_RECIPE, root.path(), Start::Fresh, Some(1)).unwrap();
    go_on(inputs("a", "b"), Some(4)).unwrap();
    for (other, what) in [(inputs("x", "b"), "the tokenizer"), (inputs("a", "x"), "the corpus")] {
        let error = format!("{:#}", go_on(other, None).unwrap_err());
        assert!(error.starts_with(what) && error.contains("name that one"), "{error}");
    }
    go_on(inputs("a", "b"), None).unwrap();
}

#[test]
fn a_run_that_diverges_stops_with_a_reason() {
    let root = tempfile::tempdir().unwrap();
    let wild = TINY_RECIPE
        .replace("lr = 1e-2", "lr = 1e30\nclip_norm = 1e30")
        .replace("steps = 3", "steps = 30");
    let error = format!("{:#}", run(&wild, root.path(), Start::Fresh, None).unwrap_err());
    assert!(error.contains("5 steps in a row"), "{error}");
    let skipped =
        metrics::read(root.path()).unwrap().iter().filter(|line| line.skipped.is_some()).count();
    assert_eq!(skipped, 4, "the fifth ends the run");
}
