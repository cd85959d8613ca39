//! Recorded traces of the published Stable-DiffCoder loop: what a replay notices, and that a fused commit changes nothing.
//!
//! The replays themselves are cases of the conformance runner.

use diffcoder_engine::decode::case::{STABLE_ALGORITHM, StableCase};
use diffcoder_engine::decode::{CommitMode, DecodeRule, Outcome};
use diffcoder_engine::model::Model;
use diffcoder_engine::model::kv_cache::KvCache;

use crate::support::{golden_dir, golden_model};

/// f32 forwards against PyTorch's; the recorded decisions keep a distance of 0.002 from going the other way.
const CONFIDENCE_TOLERANCE: f64 = 1e-4;
/// The rows of a fused forward differ from separate ones in the order of sums alone.
const KEY_TOLERANCE: f32 = 1e-5;

fn stable_cases() -> Vec<(String, StableCase)> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(golden_dir().join("decode")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("stable_") {
            let case = StableCase::from_json(&std::fs::read_to_string(path).unwrap()).unwrap();
            assert_eq!(case.algorithm, STABLE_ALGORITHM);
            cases.push((name, case));
        }
    }
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(cases.len(), 13);
    cases
}

#[test]
fn a_replay_notices_another_token_and_another_confidence() {
    let (_, mut case) = stable_cases().remove(0);
    let model = golden_model(&case.model);
    case.events_call_pos_token_conf[3].3 += 0.25;
    assert!((case.replay(&model).unwrap().largest_error - 0.25).abs() < CONFIDENCE_TOLERANCE);
    case.events_call_pos_token_conf[3].2 ^= 1;
    assert!(case.replay(&model).unwrap().mismatch.unwrap().contains("commit 3"));
}

/// What was committed where, in order.
fn placed(outcome: &Outcome) -> Vec<(usize, u32)> {
    outcome.events.iter().map(|event| (event.position, event.token)).collect()
}

/// Keys and values of the tokens that both caches hold, in every layer.
#[track_caller]
fn assert_same_keys((name, model): (&str, &Model), expected: &KvCache, found: &KvCache) {
    assert!(!expected.is_empty() && !found.is_empty(), "{name}");
    for layer in 0..model.config().n_layers {
        let (a, b) = (expected.layer(layer), found.layer(layer));
        for (a, b) in [(a.0, b.0), (a.1, b.1)] {
            assert_eq!(a.len() / expected.len(), b.len() / found.len(), "{name}: width of a row");
            let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < KEY_TOLERANCE, "{name}: layer {layer} differs by {worst}");
        }
    }
}

#[test]
fn a_fused_commit_gives_the_tokens_and_keys_of_a_separate_one() {
    for (name, case) in stable_cases() {
        let model = golden_model(&case.model);
        let decode = |commit| case.decode(&model, case.rule(commit).unwrap()).unwrap();
        let (separate, tokens, cache) = decode(CommitMode::Separate);
        let (fused, fused_tokens, fused_cache) = decode(CommitMode::Fused);
        assert_eq!(fused_tokens, tokens, "{name}");
        assert_eq!(placed(&fused), placed(&separate), "{name}");
        assert_eq!(fused.forwards.denoise, separate.forwards.denoise, "{name}");
        assert_eq!(fused.forwards.commit + fused.forwards.prefill, 0, "{name}");
        assert!(separate.forwards.commit >= 2, "{name}");
        assert!(fused_cache.len() + case.params.block_length >= cache.len(), "{name}");
        assert_same_keys((&name, &model), &cache, &fused_cache);
    }
}

#[test]
fn canvases_computed_ahead_change_no_commit() {
    for commit in [CommitMode::Separate, CommitMode::Fused] {
        let (mut stepwise, mut saved) = (0, 0);
        for (name, case) in stable_cases() {
            let model = golden_model(&case.model);
            let rule = case.rule(commit).unwrap();
            let (plain, tokens, cache) = case.decode(&model, rule).unwrap();
            let ahead = DecodeRule { speculate: Some(0.0), ..rule };
            let (ahead, tokens_ahead, cache_ahead) = case.decode(&model, ahead).unwrap();
            assert_eq!(tokens_ahead, tokens, "{name}");
            assert_eq!(placed(&ahead), placed(&plain), "{name}");
            assert_eq!(cache_ahead.len(), cache.len(), "{name}");
            assert_eq!(plain.forwards.ahead, 0);
            for (found, expected) in ahead.events.iter().zip(&plain.events) {
                let error = (found.confidence - expected.confidence).abs();
                assert!(error < CONFIDENCE_TOLERANCE, "{name}: {error}");
            }
            assert_same_keys((&name, &model), &cache, &cache_ahead);
            stepwise += plain.forwards.denoise;
            saved += plain.forwards.denoise - ahead.forwards.denoise;
        }
        assert!(saved > stepwise / 8, "{saved} of {stepwise} forwards saved");
    }
}
