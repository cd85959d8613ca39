//! Model directories as users have them: published formats load, damaged ones are refused by name.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::path::Path;

use candle_core::DType;
use diffcoder_engine::cancel::CancelToken;
use diffcoder_engine::engine::Engine;
use diffcoder_engine::error::EngineError;
use diffcoder_engine::infiller::{InfillLimits, InfillRequest, Infiller, Segment};
use diffcoder_engine::model::Model;
use diffcoder_engine::model::config::{Family, ModelConfig};
use diffcoder_engine::model::ops::Ops;
use diffcoder_engine::model::weights::Weights;
use diffcoder_engine::tokenizer::Tokenizer;
use diffcoder_tests::random_model::write_weights;
use diffcoder_tests::stable_replica;

fn load(dir: &Path) -> Result<Model, EngineError> {
    let config =
        ModelConfig::from_json(&std::fs::read_to_string(dir.join("config.json")).unwrap())?;
    Model::new(&config, Weights::from_dir(dir)?, Ops::default())
}

/// The message of a load that must fail.
fn refusal(dir: &Path) -> String {
    load(dir).err().expect("this directory must be refused").to_string()
}

#[test]
fn the_published_stable_diffcoder_format_loads() {
    let dir = tempfile::tempdir().unwrap();
    stable_replica::write(dir.path()).unwrap();
    let model = load(dir.path()).unwrap();
    assert_eq!(
        (&model.config().family, model.config().block_length()),
        (&Family::StableDiffCoder, Some(4))
    );
    let tokenizer = Tokenizer::from_dir(dir.path()).unwrap();
    let special = tokenizer.special();
    let fim = special.fim.unwrap();
    assert_eq!((special.bos, special.eos, special.mask), (Some(0), 2, 5));
    assert_eq!((fim.prefix, fim.suffix, fim.middle), (124, 125, 126));
}

#[test]
fn the_mask_is_found_by_name_in_either_file_and_missed_with_a_mend() {
    let dir = tempfile::tempdir().unwrap();
    stable_replica::write(dir.path()).unwrap();
    let edit = |file: &str, from: &str, to: &str| {
        let path = dir.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace(from, to)).unwrap();
    };
    // Another string for the mask, named by both maps.
    for file in ["tokenizer.json", "special_tokens_map.json", "tokenizer_config.json"] {
        edit(file, "<[MASK_TOKEN]>", "<|hidden|>");
    }
    assert_eq!(Tokenizer::from_dir(dir.path()).unwrap().special().mask, 5);
    edit("special_tokens_map.json", "<|hidden|>", "<[MASK_TOKEN]>");
    edit("tokenizer_config.json", "\"mask_token\"", "\"other_token\"");
    let error = Tokenizer::from_dir(dir.path()).err().unwrap().to_string();
    assert!(
        error.contains("no mask token") && error.contains("special_tokens_map.json"),
        "{error}"
    );
}

#[test]
fn every_file_type_gives_the_same_model_up_to_its_rounding() {
    let config = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/models/qwen3/config.json"),
    )
    .unwrap();
    let ids = candle_core::Tensor::new(&[[7u32, 8, 9, 10, 11]], &candle_core::Device::Cpu).unwrap();
    let logits = |dtype: DType, shards: usize| {
        let dir = tempfile::tempdir().unwrap();
        write_weights(dir.path(), &config, dtype, shards, 3).unwrap();
        let model = load(dir.path()).unwrap();
        let hidden = model
            .forward_sequence(
                &ids,
                &[0, 1, 2, 3, 4],
                diffcoder_engine::model::mask::SequenceMask::Causal,
            )
            .unwrap();
        model.logits(&hidden).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let exact = logits(DType::F32, 1);
    assert_eq!(exact, logits(DType::F32, 3), "shards change nothing");
    for (dtype, tolerance) in [(DType::F16, 0.02), (DType::BF16, 0.15)] {
        let worst =
            exact.iter().zip(logits(dtype, 1)).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
        assert!(worst > 0.0 && worst < tolerance, "{dtype:?}: {worst}");
    }
}

#[test]
fn damaged_directories_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let config = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/models/llama/config.json"),
    )
    .unwrap();
    let fresh = |config: &str, shards: usize| {
        let _ = std::fs::remove_file(path.join("model.safetensors"));
        let _ = std::fs::remove_file(path.join("model.safetensors.index.json"));
        write_weights(path, config, DType::F32, shards, 0).unwrap();
    };

    fresh(&config, 1);
    let weights = path.join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    for cut in [bytes.len() - 4, bytes.len() / 2, 100, 4, 0] {
        std::fs::write(&weights, &bytes[..cut]).unwrap();
        let error = refusal(path);
        assert!(
            error.contains("model.safetensors") && error.contains("truncated"),
            "{cut}: {error}"
        );
    }
    std::fs::remove_file(&weights).unwrap();
    let error = refusal(path);
    assert!(error.contains("model.safetensors is missing"), "{error}");

    fresh(&config, 3);
    std::fs::remove_file(path.join("model-00002-of-00003.safetensors")).unwrap();
    let error = refusal(path);
    assert!(error.contains("model-00002-of-00003.safetensors is missing"), "{error}");

    // The weights stay, the configuration asks for something else.
    let cases = [
        ("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4", "lack the tensor model.layers.3."),
        ("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 2", "surplus tensor model.layers.2."),
        ("\"intermediate_size\": 160", "\"intermediate_size\": 96", "mlp.gate_proj.weight"),
        (
            "\"tie_word_embeddings\": false",
            "\"tie_word_embeddings\": true",
            "surplus tensor lm_head.weight",
        ),
    ];
    for (from, to, expected) in cases {
        fresh(&config, 1);
        let changed = config.replace(from, to);
        assert_ne!(changed, config);
        std::fs::write(path.join("config.json"), changed).unwrap();
        let error = refusal(path);
        assert!(error.contains(expected), "{error}");
    }
}

/// A document with one hole at its end of line, as an editor sends it.
fn request(left: &str, right: &str) -> InfillRequest {
    let segments = vec![
        Segment::Text(left.into()),
        Segment::Hole { draft: "".into() },
        Segment::Text(right.into()),
    ];
    InfillRequest {
        limits: InfillLimits { max_tokens: 12, ..InfillLimits::default() },
        ..InfillRequest::new("file:///a.rs", segments)
    }
}

#[test]
fn the_published_stable_diffcoder_format_is_served_in_its_own_layout() {
    let dir = tempfile::tempdir().unwrap();
    stable_replica::write(dir.path()).unwrap();
    // Saved with the limits of its training, which must not cut prompts.
    let path = dir.path().join("tokenizer.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let limits = r#""truncation": {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}"#;
    std::fs::write(&path, text.replace("\"truncation\": null", limits)).unwrap();
    let mut engine = Engine::from_dir(dir.path()).unwrap();
    let (left, right) = ("fn main() {\n    let a = ", ";\n}\n");
    let mut frames = 0;
    let fill =
        engine.infill(&request(left, right), &CancelToken::new(), &mut |_| frames += 1).unwrap();
    // Byte-level tokens without merges: three markers, and one token for each byte of the document.
    assert_eq!(fill.stats.prompt_tokens, 3 + left.len() + right.len());
    assert_eq!((fill.holes.len(), fill.stats.cached_tokens), (1, 0));
    assert!(frames > 0 && fill.stats.forwards >= frames);
    assert!(
        !fill.holes[0].text.contains("<["),
        "special tokens never show: {:?}",
        fill.holes[0].text
    );
    // The suffix stands first, so a longer prefix keeps it.
    let longer = engine.infill(
        &request("fn main() {\n    let a = x", right),
        &CancelToken::new(),
        &mut |_| (),
    );
    assert!(longer.unwrap().stats.cached_tokens + 8 >= 3 + left.len() + right.len());
}
