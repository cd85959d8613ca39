//! From source code to a served model with the built programs: data, tokenizer, train, export, infill.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use candle_core::{Device, Tensor};
use diffcoder_engine::engine::Engine;
use diffcoder_engine::model::Model;
use diffcoder_engine::model::config::ModelConfig;
use diffcoder_engine::model::mask::SequenceMask;
use diffcoder_engine::model::ops::Ops;
use diffcoder_engine::model::weights::Weights;
use serde_json::{Value, json};

/// A program built next to this test.
fn program(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join(name);
    assert!(
        path.exists(),
        "{} is not built: run `cargo test --release --workspace`",
        path.display()
    );
    Command::new(path)
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn projects() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/projects")
}

const RECIPE: &str = r#"
[run]
name = "tiny"
seed = 1
matmul = "f32"

[model]
dialect = "qwen3"
layers = 2
width = 64
mlp = 128
heads = 2
kv_heads = 1
head_size = 32
vocab = 512
tied = true

[[stage]]
kind = "ar"
steps = 3
seq_len = 64
batch_rows = 4
micro_rows = 2
infill_rate = 0.65

[[stage]]
kind = "warmup"
steps = 2
seq_len = 64
batch_rows = 4
micro_rows = 2
infill_rate = 0.65

[[stage]]
kind = "cpt"
steps = 3
seq_len = 128
batch_rows = 2
micro_rows = 2
infill_rate = 0.65

[optimizer]
lr = 2e-3
betas = [0.9, 0.95]
weight_decay = 0.1
clip_norm = 1.0

[schedule]
warmup_steps = 1
decay_steps = 3
floor = 0.02

[checkpoint]
every_steps = 2
every_minutes = 5.0
keep = 2
"#;

/// Two "packages" of our own source, so that both splits have text, in a folder of their own.
fn data_configuration(dir: &Path) -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = dir.join("data.toml");
    let text = format!(
        "validation_min_bytes = 1000\n\n\
         [[source]]\nkind = \"directory\"\npath = {:?}\nname = \"engine\"\nlicence = \"MIT\"\nlanguages = [\"rust\"]\nsplit = \"train\"\n\n\
         [[source]]\nkind = \"directory\"\npath = {:?}\nname = \"fixtures\"\nlicence = \"MIT\"\nlanguages = [\"rust\", \"python\"]\nsplit = \"validation\"\n",
        repository.join("engine/src"),
        projects(),
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// The model of a checkpoint, from the checkpoint's own files.
fn saved_model(checkpoint: &Path) -> Model {
    let config = std::fs::read_to_string(checkpoint.join("config.json")).unwrap();
    let config = ModelConfig::from_json(&config).unwrap();
    Model::new(&config, Weights::from_dir(checkpoint).unwrap(), Ops::default()).unwrap()
}

/// Logits of a fixed sequence under the served mask.
fn logits(model: &Model) -> Vec<f32> {
    let ids: Vec<u32> = (0..40).map(|i| i * 37 % 500 + 8).collect();
    let positions: Vec<u32> = (0..40).collect();
    let ids = Tensor::from_vec(ids, (1, 40), &Device::Cpu).unwrap();
    let mask = SequenceMask::BlockCausal { block: 4 };
    let hidden = model.forward_sequence(&ids, &positions, mask).unwrap();
    model.logits(&hidden).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn a_trained_model_serves_with_the_logits_of_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("tiny.toml"), RECIPE).unwrap();
    let train = || program("diffcoder-train");

    succeed(
        train()
            .args(["data", "--config"])
            .arg(data_configuration(dir.path()))
            .arg("--out")
            .arg(at("data")),
    );
    succeed(
        train()
            .args(["tokenizer", "--vocab", "512", "--data"])
            .arg(at("data"))
            .arg("--out")
            .arg(at("tokenizer")),
    );
    let mut run = train();
    run.arg("train").arg(at("tiny.toml")).arg("--data").arg(at("data"));
    run.arg("--tokenizer").arg(at("tokenizer")).arg("--out").arg(at("run"));
    succeed(&mut run);

    let metrics = std::fs::read_to_string(at("run/metrics.jsonl")).unwrap();
    let steps: Vec<Value> =
        metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(steps.len(), 8, "one line for every step");
    assert!(steps.iter().all(|step| step["tokens_per_s"].as_f64().unwrap() > 0.0));

    let checkpoint = at("run/checkpoints/step-00000008");
    let mut export = train();
    export
        .arg("export")
        .arg(&checkpoint)
        .arg("--tokenizer")
        .arg(at("tokenizer"))
        .arg("--out")
        .arg(at("model"));
    succeed(&mut export);
    let served = Engine::from_dir(&at("model")).unwrap();
    assert_eq!(
        logits(served.model()),
        logits(&saved_model(&checkpoint)),
        "the served model is the checkpoint's"
    );

    let file = projects().join("rust-ledger/src/money.rs");
    let mut infill = program("diffcoder-lsp");
    infill.arg("infill").arg(&file).args(["--at", "10:1", "--json", "--model"]).arg(at("model"));
    let filled: Value = serde_json::from_slice(&succeed(&mut infill).stdout).unwrap();
    assert_eq!(filled["holes"].as_array().unwrap().len(), 1);
    assert!(filled["stats"]["forwards"].as_u64().unwrap() >= 1);
    assert!(filled["stats"]["prompt_tokens"].as_u64().unwrap() > 20);

    // The server fills the same place with the same text. Not as a suggestion: what a model of a few steps writes is
    // seldom fit to be one.
    let served = fill(&at("model"), &std::fs::read_to_string(&file).unwrap(), (9, 0));
    assert_eq!(served["holes"][0]["newText"], filled["holes"][0]["text"]);
}

/// Starts the server on a model directory, opens `text` and has the hole at (line, character) filled.
fn fill(model: &Path, text: &str, (line, character): (u32, u32)) -> Value {
    let mut command = program("diffcoder-lsp");
    command.arg("--model").arg(model).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let (mut stdin, mut stdout) =
        (server.stdin.take().unwrap(), BufReader::new(server.stdout.take().unwrap()));
    let document =
        json!({ "uri": "file:///money.rs", "languageId": "rust", "version": 1, "text": text });
    let mut send = |message: Value| {
        let body = message.to_string();
        write!(stdin, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        stdin.flush().unwrap();
    };
    let mut answer = |id: u64| loop {
        let mut header = String::new();
        stdout.read_line(&mut header).unwrap();
        let len = header
            .trim()
            .strip_prefix("Content-Length: ")
            .unwrap_or_else(|| panic!("no header: {header:?}"));
        stdout.read_line(&mut String::new()).unwrap();
        let mut body = vec![0; len.parse().unwrap()];
        stdout.read_exact(&mut body).unwrap();
        let message: Value = serde_json::from_slice(&body).unwrap();
        if message["id"] == id {
            return message;
        }
    };
    let request = |id: u64, method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    send(request(
        1,
        "initialize",
        json!({ "processId": null, "rootUri": null, "capabilities": {} }),
    ));
    answer(1);
    send(json!({ "jsonrpc": "2.0", "method": "initialized", "params": {} }));
    send(
        json!({ "jsonrpc": "2.0", "method": "textDocument/didOpen", "params": { "textDocument": document } }),
    );
    let cursor = json!({ "line": line, "character": character });
    let place = json!({
        "textDocument": { "uri": "file:///money.rs" },
        "ranges": [{ "start": cursor, "end": cursor }],
    });
    send(request(2, "diffcoder/infill", place));
    let result = answer(2)["result"].clone();
    send(json!({ "jsonrpc": "2.0", "id": 3, "method": "shutdown" }));
    answer(3);
    send(json!({ "jsonrpc": "2.0", "method": "exit" }));
    assert!(server.wait().unwrap().success());
    result
}

/// Lines of a run's metrics so far.
fn steps_done(run: &Path) -> usize {
    std::fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

#[test]
fn a_run_that_was_killed_and_resumed_ends_in_the_bytes_of_one_that_was_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let train = || program("diffcoder-train");
    // Long enough to be killed in the middle of its last stage.
    let recipe = RECIPE.replace("steps = 3\nseq_len = 128", "steps = 120\nseq_len = 128");
    assert_ne!(recipe, RECIPE);
    std::fs::write(at("tiny.toml"), recipe).unwrap();
    let configuration = data_configuration(dir.path());
    succeed(train().args(["data", "--config"]).arg(configuration).arg("--out").arg(at("data")));
    let mut tokenizer = train();
    tokenizer.args(["tokenizer", "--vocab", "512", "--data"]).arg(at("data"));
    succeed(tokenizer.arg("--out").arg(at("tokenizer")));
    let run = |out: &str| {
        let mut run = train();
        run.arg("train").arg(at("tiny.toml")).arg("--data").arg(at("data"));
        run.arg("--tokenizer").arg(at("tokenizer")).arg("--out").arg(at(out));
        run
    };
    succeed(&mut run("whole"));

    let mut killed = run("killed").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while steps_done(&at("killed")) < 15 {
        assert!(killed.try_wait().unwrap().is_none(), "the run ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    killed.kill().unwrap();
    assert!(!killed.wait().unwrap().success(), "the run must have been killed, not finished");
    assert!(steps_done(&at("killed")) < 125, "some steps must be left to resume");
    succeed(run("killed").arg("--resume"));

    for file in ["model.safetensors", "moments.safetensors"] {
        let bytes = |out: &str| {
            std::fs::read(at(out).join("checkpoints/step-00000125").join(file)).unwrap()
        };
        assert!(bytes("whole") == bytes("killed"), "{file} differs after kill and resume");
    }
}

/// Folders in `dir` that are being filled, or were.
#[cfg(unix)]
fn unfinished(dir: &Path) -> Vec<std::ffi::OsString> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with(".new-")).collect()
}

#[cfg(unix)]
#[test]
fn ctrl_c_removes_the_folder_that_was_being_filled_and_those_of_killed_programs() {
    let dir = tempfile::tempdir().unwrap();
    let registry = dir.path().join("registry");
    let package = registry.join("index/demo-1.0.0");
    std::fs::create_dir_all(&package).unwrap();
    // Who opens a pipe waits for its writer: the command stays where it is for as long as the test likes.
    succeed(Command::new("mkfifo").arg(package.join("Cargo.toml")));
    let config = dir.path().join("data.toml");
    let source = format!("[[source]]\nkind = \"cargo-registry\"\npath = {registry:?}\n");
    std::fs::write(&config, source).unwrap();
    let start = |left_over: &[std::ffi::OsString]| {
        let mut data = program("diffcoder-train");
        data.args(["data", "--config"]).arg(&config).arg("--out").arg(dir.path().join("corpus"));
        let mut running = data.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        loop {
            assert!(running.try_wait().unwrap().is_none(), "it ended before it wrote anything");
            let now = unfinished(dir.path());
            if !now.is_empty() && now != left_over {
                return (running, now);
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    };
    let (mut killed, left_over) = start(&[]);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(unfinished(dir.path()), left_over, "nobody can clean up after a kill");

    let (mut interrupted, _) = start(&left_over);
    succeed(Command::new("kill").args(["-INT", &interrupted.id().to_string()]));
    assert_eq!(interrupted.wait().unwrap().code(), Some(130));
    assert!(unfinished(dir.path()).is_empty(), "neither its own folder nor the killed one's");
}
