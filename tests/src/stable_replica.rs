//! A tiny random model in the published format of `ByteDance-Seed/Stable-DiffCoder-8B-*`.
//!
//! Same file names, config keys, special-token strings and ids as the published directory (sources in the comments); only
//! the sizes are small, the weights random and the merges absent.

use std::path::Path;

use candle_core::DType;
use serde_json::{Value, json};

use crate::random_model::write_weights;

const SHARDS: usize = 4; // as published
const N_SPECIAL: usize = 128; // tokenizer_config.json of the Base model lists ids 0 to 127

/// `config.json` with the keys of the Base model; hidden size, layers, heads and vocabulary are small.
fn config() -> Value {
    json!({
        "architectures": ["StableDiffcoderForCausalLM"],
        "attention_bias": false,
        "attention_dropout": 0.1,
        "auto_map": {
            "AutoModel": "modeling_stable_diffcoder.StableDiffcoderForCausalLM",
            "AutoModelForCausalLM": "modeling_stable_diffcoder.StableDiffcoderForCausalLM"
        },
        "bos_token_id": 0,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.009882118,
        "intermediate_size": 160,
        "layer_norm_eps": null,
        "max_position_embeddings": 8192,
        "mlp_bias": false,
        "model_type": "llama",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "resid_pdrop": 0.1,
        "rms_norm_eps": 1e-6,
        "rope_theta": 500000.0,
        "tie_word_embeddings": false,
        "torch_dtype": "bfloat16",
        "transformers_version": "5.3.0",
        "use_cache": true,
        // Rows past the tokenizer's 384 ids exist in the published model too.
        "vocab_size": 416
    })
}

/// Special-token strings by id; the ids between are placeholders, as in the published list.
fn special_token(id: usize) -> String {
    match id {
        0 => "<[begin▁of▁sentence]>".into(),
        1 => "<[PAD▁TOKEN]>".into(),
        2 => "<[end▁of▁sentence]>".into(),
        3 => "<[SEP▁TOKEN]>".into(),
        5 => "<[MASK_TOKEN]>".into(),
        123 => "<filename>".into(),
        124 => "<[fim-prefix]>".into(),
        125 => "<[fim-suffix]>".into(),
        126 => "<[fim-middle]>".into(),
        _ => format!("<[PLHD{id}]>"),
    }
}

/// The printable stand-in of each byte in byte-level BPE (GPT-2's table).
fn byte_symbols() -> Vec<char> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 256u32;
    let mut symbol = |byte: u8| {
        if printable(byte) {
            return char::from(byte);
        }
        next += 1;
        char::from_u32(next - 1).unwrap_or('\u{100}')
    };
    (0..=255).map(&mut symbol).collect()
}

fn tokenizer() -> Value {
    let added: Vec<Value> = (0..N_SPECIAL)
        .map(|id| {
            json!({ "id": id, "content": special_token(id), "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true })
        })
        .collect();
    let mut vocab: serde_json::Map<String, Value> =
        (0..N_SPECIAL).map(|id| (special_token(id), json!(id))).collect();
    vocab.extend(
        byte_symbols()
            .into_iter()
            .enumerate()
            .map(|(byte, symbol)| (symbol.to_string(), json!(N_SPECIAL + byte))),
    );
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                   "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                   "vocab": vocab, "merges": [] }
    })
}

/// Writes the whole directory: configuration, four bf16 shards with their index, and the three tokenizer files.
pub fn write(dir: &Path) -> anyhow::Result<()> {
    write_weights(dir, &format!("{:#}", config()), DType::BF16, SHARDS, 0)?;
    let decoder: serde_json::Map<String, Value> = (0..N_SPECIAL)
        .map(|id| (id.to_string(), json!({ "content": special_token(id), "special": true })))
        .collect();
    let named = json!({
        "bos_token": special_token(0), "eos_token": special_token(2), "pad_token": special_token(1),
        "mask_token": { "content": special_token(5), "lstrip": false, "normalized": false, "rstrip": false, "single_word": false }
    });
    let mut tokenizer_config = named.clone();
    tokenizer_config["added_tokens_decoder"] = Value::Object(decoder);
    tokenizer_config["tokenizer_class"] = json!("PreTrainedTokenizerFast");
    for (file, value) in [
        ("tokenizer.json", tokenizer()),
        ("special_tokens_map.json", named),
        ("tokenizer_config.json", tokenizer_config),
    ] {
        std::fs::write(dir.join(file), format!("{value:#}"))?;
    }
    Ok(())
}
