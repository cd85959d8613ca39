//! The built binary and its settings: file, environment and command line; doctor, stats, log.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A user with a home of their own.
struct User {
    home: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl User {
    fn new(config: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".config/diffcoder");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.toml"), config).unwrap();
        Self { home, variables: Vec::new() }
    }

    fn set(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_diffcoder-lsp"));
        for name in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "DIFFCODER_LOG"] {
            command.env_remove(name);
        }
        let variables = self.variables.iter().map(|(name, value)| (*name, &**value));
        command.args(arguments).env("HOME", self.home.path()).envs(variables);
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the server on these messages, and waits for its end.
    fn serve(&self, messages: &[Value]) -> Output {
        let mut command = self.command(&[]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        for message in messages {
            let mut message = message.clone();
            message["jsonrpc"] = json!("2.0");
            let body = message.to_string();
            write!(stdin, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        }
        child.wait_with_output().unwrap()
    }

    /// Tokens of a fill that goes on as long as it may.
    fn tokens(&self, file: &Path, options: &[&str]) -> u64 {
        let mut arguments = vec!["infill", file.to_str().unwrap(), "--at", "2:5", "--json"];
        arguments.extend(options);
        let output = self.run(&arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        // The blank left of the cursor is spelled again by a token of its own.
        report["stats"]["tokens"].as_u64().unwrap() - 1
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn source(user: &User) -> std::path::PathBuf {
    let file = user.home.path().join("a.py");
    fs::write(&file, "A = [1, 2, 3, 4, 5, 6, 7, 8, 9]\nB = ").unwrap();
    file
}

#[test]
fn each_place_goes_over_the_one_before_it() {
    let user = User::new("[infill]\nmaxTokens = 1\n");
    let file = source(&user);
    assert_eq!(user.tokens(&file, &[]), 1);
    let user = user.set("DIFFCODER_INFILL_MAX_TOKENS", "2");
    assert_eq!(user.tokens(&file, &[]), 2);
    assert_eq!(user.tokens(&file, &["--set", "infill.maxTokens=3"]), 3);
    assert_eq!(user.tokens(&file, &["--set", "infill.maxTokens=3", "--max-tokens", "4"]), 4);
    let user = User::new("[infill]\nmaxTokens = 1\n[languages.python]\ninfill.maxTokens = 3\n");
    assert_eq!(user.tokens(&source(&user), &[]), 3, "the language of the file counts");
}

#[test]
fn mistakes_are_said_and_the_rest_holds() {
    let user = User::new("[infill]\nmaxTokens = 1\nmaxToken = 2\n");
    let file = source(&user);
    let output = user.run(&["infill", file.to_str().unwrap(), "--at", "2:5"]);
    assert!(output.status.success());
    let said = text(&output.stderr);
    assert!(
        said.contains("infill.maxToken in ") && said.contains("did you mean infill.maxTokens?"),
        "{said}"
    );
    let output =
        user.run(&["infill", file.to_str().unwrap(), "--at", "2:5", "--set", "enable=maybe"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert_eq!(
        said,
        "diffcoder-lsp: enable in the command line must be true or false, not \"maybe\"\n"
    );
}

fn checks(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The verdict and the words of the first check of that name that is not good, or else of the first.
fn verdict<'a>(report: &'a Value, name: &str) -> (&'a str, String) {
    let all = report["checks"].as_array().unwrap();
    let mut named = all.iter().filter(|check| check["name"] == name).collect::<Vec<_>>();
    named.sort_by_key(|check| check["verdict"] == "good");
    let check = named[0];
    assert!(check["verdict"] == "good" || check["mend"].is_string(), "{check}");
    (check["verdict"].as_str().unwrap(), check["found"].as_str().unwrap().to_owned())
}

#[test]
fn the_doctor_finds_a_healthy_machine_healthy() {
    let user = User::new("");
    let output = user.run(&["doctor", "--json"]);
    let report = checks(&output);
    assert_eq!((output.status.code(), &report["ok"]), (Some(0), &json!(true)), "{report}");
    let (good, model) = verdict(&report, "model");
    assert!(good == "good" && model.contains("capabilities infill"), "{model}");
    for name in ["settings", "log", "stats"] {
        assert_eq!(verdict(&report, name).0, "good", "{report}");
    }
    for name in ["binary", "device", "memory", "infill", "sockets"] {
        assert_ne!(verdict(&report, name).0, "problem", "{report}");
    }
    let words = user.run(&["doctor"]);
    assert!(text(&words.stdout).contains("infill: "), "{}", text(&words.stdout));
}

#[test]
fn the_doctor_names_what_is_wrong() {
    let user = User::new(
        "enabel = true\nserver.model = \"/nowhere\"\nserver.logFile = \"/dev/null/x.log\"\n",
    )
    .set("DIFFCODER_COMPLETION_MAX_TOKENS", "many");
    let output = user.run(&["doctor", "--json"]);
    let report = checks(&output);
    assert_eq!((output.status.code(), &report["ok"]), (Some(1), &json!(false)));
    let (problem, found) = verdict(&report, "settings");
    assert!(problem == "problem" && found.contains("did you mean enable?"), "{found}");
    let all = report["checks"].as_array().unwrap();
    assert_eq!(all.iter().filter(|check| check["name"] == "settings").count(), 3, "{report}");
    let (problem, found) = verdict(&report, "model");
    assert!(problem == "problem" && found.contains("no model directory /nowhere"), "{found}");
    assert_eq!(verdict(&report, "log").0, "problem");
}

const URI: &str = "file:///a.py";

/// The start of a session with a document.
fn opening() -> Vec<Value> {
    let document =
        json!({ "uri": URI, "languageId": "python", "version": 1, "text": "zebra_quagga = \n" });
    vec![
        json!({ "id": 1, "method": "initialize", "params": { "capabilities": {} } }),
        json!({ "method": "initialized", "params": {} }),
        json!({ "method": "textDocument/didOpen", "params": { "textDocument": document } }),
    ]
}

/// A session that fills a hole and does not end by itself.
fn filling() -> Vec<Value> {
    let at = json!({ "line": 0, "character": 15 });
    let params = json!({ "textDocument": { "uri": URI }, "ranges": [{ "start": at, "end": at }], "maxTokens": 4 });
    let mut messages = opening();
    messages.push(json!({ "id": 2, "method": "diffcoder/infill", "params": params }));
    messages
}

/// A session that asks for a suggestion, tells of an accepted one, and ends.
fn suggesting() -> Vec<Value> {
    let at = json!({ "line": 0, "character": 15 });
    let params =
        json!({ "textDocument": { "uri": URI }, "position": at, "context": { "triggerKind": 2 } });
    let accepted = json!({ "command": "diffcoder.server.accepted" });
    let mut messages = opening();
    messages.extend([
        json!({ "id": 2, "method": "textDocument/inlineCompletion", "params": params }),
        json!({ "id": 3, "method": "workspace/executeCommand", "params": accepted }),
        json!({ "id": 4, "method": "shutdown" }),
        json!({ "method": "exit" }),
    ]);
    messages
}

#[test]
fn sessions_are_counted_unless_the_user_does_not_want_it() {
    let user = User::new("enable = false\n");
    for _ in 0..2 {
        let output = user.serve(&suggesting());
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let counted = |user: &User| -> Value {
        let output = user.run(&["stats", "--json"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let report = counted(&user);
    assert_eq!(
        (&report["accepted"], &report["nothing"]),
        (&json!(2), &json!({ "disabled": 2 })),
        "{report}"
    );
    let file = report["file"].as_str().unwrap();
    assert!(file.starts_with(user.home.path().to_str().unwrap()), "{file}");
    assert!(text(&user.run(&["stats"]).stdout).contains("nothing shown: disabled"));

    let user = User::new("enable = false\nserver.stats = false\n");
    user.serve(&suggesting());
    assert_eq!(counted(&user)["accepted"], 0);
}

#[test]
fn the_log_goes_to_a_file_and_holds_no_source_code_unless_asked() {
    for (log_text, variable) in [(false, ""), (false, "trace"), (true, "")] {
        let user = User::new("").set("DIFFCODER_LOG", variable);
        let folder = user.home.path().join("logs");
        let config = format!(
            "[server]\nlogFile = {:?}\nlogLevel = \"trace\"\nlogText = {log_text}\n",
            folder.join("d.log")
        );
        fs::write(user.home.path().join(".config/diffcoder/config.toml"), config).unwrap();
        // The model needs a while: the session ends when the answer is there.
        let mut child = user
            .command(&[])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        for mut message in filling() {
            message["jsonrpc"] = json!("2.0");
            let body = message.to_string();
            write!(stdin, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        }
        let mut seen = String::new();
        let mut stdout = child.stdout.take().unwrap();
        while !seen.contains("\"newText\"") {
            let mut buffer = [0; 4096];
            let n_bytes = std::io::Read::read(&mut stdout, &mut buffer).unwrap();
            assert!(n_bytes > 0, "the server ended early: {seen}");
            seen.push_str(text(&buffer[..n_bytes]));
        }
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert_eq!(text(&output.stderr), "", "everything goes to the file");
        let files: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        let log = fs::read_to_string(&files[0]).unwrap();
        assert!(log.contains("diffcoder_lsp"), "{log}");
        assert!(log_text || !log.contains("zebra_quagga"), "{log}");
        assert_eq!(log.contains("fill document="), log_text, "{log}");
    }
}
