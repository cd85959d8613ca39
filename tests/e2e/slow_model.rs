//! A model that takes seconds: cancels stop it, and nothing waits for it.

use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::DType;
use diffcoder_tests::random_model::write_weights;
use diffcoder_tests::stable_replica;
use serde_json::json;

use crate::client::{Client, binary};
use crate::text::{position, replace};

const REQUEST_CANCELLED: i64 = -32800;
const N_CANCELLED: u32 = 4;
/// The trace's heading and two forwards of the 64.
#[cfg(unix)]
const N_TRACE_LINES: usize = 3;

/// Some 40 million random weights. Nothing it predicts is certain, so each forward commits one token of the 64.
fn write_large_random_model(dir: &Path) {
    // Its tokenizer serves any vocabulary that is large enough.
    stable_replica::write(dir).unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("model")) {
            std::fs::remove_file(path).unwrap();
        }
    }
    let config = json!({
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_act": "silu",
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 3,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 500000.0,
        "tie_word_embeddings": true,
        "vocab_size": 416,
        "diffcoder": {
            "block_length": 4,
            "context_tokens": 512,
            "layout": "seed-fim",
            "capabilities": ["infill"],
            "stage": "cpt",
        },
    });
    write_weights(dir, &config.to_string(), DType::F16, 1, 0).unwrap();
}

fn uri(document: u32) -> String {
    format!("file:///{document}.rs")
}

#[test]
fn a_slow_infill_is_cancelled_and_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    write_large_random_model(dir.path());
    let mut client = Client::start(Some(dir.path()), "utf-16");
    let mut text = "fn größe() {\n    \n}\n".to_owned();
    let cursor = text.find("    ").unwrap() + 4;
    let at = position(&text, cursor, "utf-16");
    for document in 0..=N_CANCELLED {
        client.open(&uri(document), "rust", &text);
    }

    let start = Instant::now();
    let id = client.ask(&uri(0), &at);
    client.answer(id).unwrap();
    let uncancelled = start.elapsed();

    // Four begin and are cancelled, a fifth runs to its end. Had the cancels not reached the model, the fifth would have
    // waited for the four: five times the uncancelled time in all.
    let start = Instant::now();
    for document in 1..=N_CANCELLED {
        let id = client.ask(&uri(document), &at);
        std::thread::sleep(uncancelled / 16);
        let cancelled_at = Instant::now();
        client.cancel(id);
        assert_eq!(client.answer(id).unwrap_err().0, REQUEST_CANCELLED);
        let answered_after = cancelled_at.elapsed();
        assert!(
            answered_after < uncancelled / 4,
            "the cancel was answered after {answered_after:?}; an infill takes {uncancelled:?}"
        );
    }
    let id = client.ask(&uri(0), &at);
    // Edits and reads do not wait for the model either.
    let edited_at = Instant::now();
    let change = replace(&mut text, cursor..cursor, "漢", "utf-16");
    client.change(&uri(1), 1, vec![change]);
    assert_eq!(client.text(&uri(1)), text);
    assert!(edited_at.elapsed() < uncancelled / 4, "an edit took {:?}", edited_at.elapsed());
    client.answer(id).unwrap();
    let with_cancels = start.elapsed();
    assert!(
        with_cancels < uncancelled * 5 / 2,
        "four cancelled infills and a whole one took {with_cancels:?}; one alone takes {uncancelled:?}"
    );

    // An editor that dies takes the running infill with it.
    let id = client.ask(&uri(2), &at);
    std::thread::sleep(Duration::from_millis(50).min(uncancelled / 16));
    client.disconnect();
    assert_eq!(client.exit_code(), 1);
    assert_eq!(client.answer(id).unwrap_err().0, REQUEST_CANCELLED);
}

#[cfg(unix)]
#[test]
fn an_interrupted_infill_leaves_the_file_alone() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};

    let model = tempfile::tempdir().unwrap();
    write_large_random_model(model.path());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.rs");
    let text = "fn size() {\n    \n}\n";
    std::fs::write(&file, text).unwrap();

    // With --json the trace goes to stderr, unbuffered: it tells when the model is at work.
    let mut child = Command::new(binary())
        .args(["infill", "--at", "2:5", "--write", "--trace", "--json", "--model"])
        .args([model.path(), &file])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut trace = String::new();
    while trace.lines().count() < N_TRACE_LINES {
        assert!(stderr.read_line(&mut trace).unwrap() > 0, "infill ended early: {trace}");
    }
    let signal = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &signal]).status().unwrap().success());

    stderr.read_to_string(&mut trace).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{trace}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only the file is there");
}
