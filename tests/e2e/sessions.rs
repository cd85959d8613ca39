//! Sessions that real editors had with the server, sent again message by message.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::client::Client;
use crate::text::offset;

/// Answers that a request may get besides a result: the client cancelled it, or the text had changed.
const USUAL_ERRORS: [i64; 2] = [-32800, -32801];

/// A setting of the recorded editors. Other weights may be less sure than those of then, and no session is about that.
const SHOW_THRESHOLD: &str = r#""showThreshold":0.3"#;
const ANYTHING_GOES: &str = r#""showThreshold":0.0"#;

/// What the editor had open: its own idea of every document.
#[derive(Default)]
struct Documents {
    texts: BTreeMap<String, String>,
    encoding: String,
}

impl Documents {
    fn follow(&mut self, message: &Value) {
        let params = &message["params"];
        let uri = params["textDocument"]["uri"].as_str().unwrap_or_default().to_owned();
        match message["method"].as_str() {
            Some("textDocument/didOpen") => {
                let text = params["textDocument"]["text"].as_str().unwrap().to_owned();
                self.texts.insert(uri, text);
            }
            Some("textDocument/didClose") => drop(self.texts.remove(&uri)),
            Some("textDocument/didChange") => {
                let text = self.texts.get_mut(&uri).unwrap();
                for change in params["contentChanges"].as_array().unwrap() {
                    let new = change["text"].as_str().unwrap();
                    match change.get("range").filter(|range| !range.is_null()) {
                        None => *text = new.to_owned(),
                        Some(range) => {
                            let [start, end] = ["start", "end"]
                                .map(|side| offset(text, &range[side], &self.encoding));
                            text.replace_range(start..end, new);
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

/// When the next message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// When the answer to the last one is there, as it was for the editor, unless the editor cancelled it.
    Answers,
    /// At once: the text moves on under the requests, and some answers come too late.
    AtOnce,
}

fn replay(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/sessions").join(name);
    let messages: Vec<Value> = std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(&line.replace(SHOW_THRESHOLD, ANYTHING_GOES)).unwrap())
        .collect();
    replay_at(Pace::Answers, &messages);
    replay_at(Pace::AtOnce, &messages);
}

fn replay_at(pace: Pace, messages: &[Value]) {
    let cancels = messages.iter().filter(|message| message["method"] == "$/cancelRequest");
    let cancelled: BTreeSet<i64> =
        cancels.map(|cancel| cancel["params"]["id"].as_i64().unwrap()).collect();
    let mut client = Client::spawn(None);
    let mut documents = Documents::default();
    let mut late = Vec::new();
    let mut gains = Gains::default();
    let mut shutdown = false;
    for message in messages {
        let Some(method) = message["method"].as_str() else {
            client.answer_question(&message["result"]);
            continue;
        };
        if method == "exit" || shutdown {
            break;
        }
        if method == "shutdown" || method == "textDocument/didClose" {
            check_texts(&mut client, &documents);
        }
        client.send_as_recorded(message);
        documents.follow(message);
        let Some(id) = message["id"].as_i64() else { continue };
        match method {
            "initialize" => {
                let result = client.answer(id).unwrap();
                let encoding = &result["capabilities"]["positionEncoding"];
                documents.encoding = encoding.as_str().unwrap_or("utf-16").to_owned();
            }
            "shutdown" => {
                assert_eq!(client.answer(id), Ok(Value::Null));
                shutdown = true;
            }
            "diffcoder/documentText" => {
                let uri = message["params"]["textDocument"]["uri"].as_str().unwrap();
                assert_eq!(client.answer(id).unwrap()["text"], documents.texts[uri]);
            }
            _ if pace == Pace::AtOnce || cancelled.contains(&id) => late.push((id, method)),
            _ => {
                let answer = client.answer(id);
                let result = answer.unwrap_or_else(|error| panic!("{method} {id}: {error:?}"));
                gains.add(method, &result);
            }
        }
    }
    if !shutdown {
        check_texts(&mut client, &documents);
    }
    for (id, method) in late {
        if let Err((code, reason)) = client.answer(id) {
            assert!(USUAL_ERRORS.contains(&code), "{method} {id}: {reason}");
        }
    }
    gains.check();
    if shutdown {
        client.exit_after_shutdown();
    } else {
        client.finish();
    }
}

/// For the requests of a session by which somebody gains text: how many there were, and how many brought some.
#[derive(Default)]
struct Gains(BTreeMap<String, (usize, usize)>);

impl Gains {
    fn add(&mut self, method: &str, result: &Value) {
        let (texts, member) = match method {
            "textDocument/inlineCompletion" => (result, "insertText"),
            "diffcoder/infill" => (&result["holes"], "newText"),
            _ => return,
        };
        let texts = texts.as_array().unwrap_or_else(|| panic!("{method}: {result}"));
        let has_text = |text: &Value| !text[member].as_str().unwrap().trim().is_empty();
        let (n_asked, n_with_text) = self.0.entry(method.to_owned()).or_default();
        *n_asked += 1;
        *n_with_text += usize::from(texts.iter().any(has_text));
    }

    fn check(&self) {
        for (method, (n_asked, n_with_text)) in &self.0 {
            assert!(*n_with_text > 0, "no text by any of {n_asked} {method}");
        }
    }
}

/// The server's documents are the editor's.
fn check_texts(client: &mut Client, documents: &Documents) {
    for (uri, text) in &documents.texts {
        if uri.starts_with("file:") {
            assert_eq!(client.text(uri), *text, "{uri}");
        }
    }
}

#[test]
fn code_server_1_139_typing() {
    replay("vscode-typing.jsonl");
}

#[test]
fn code_server_1_139_infill() {
    replay("vscode-infill.jsonl");
}

#[test]
fn neovim_0_11_typing() {
    replay("nvim-0.11-typing.jsonl");
}

#[test]
fn neovim_0_12_typing() {
    replay("nvim-0.12-typing.jsonl");
}

#[test]
fn neovim_0_12_infill() {
    replay("nvim-0.12-infill.jsonl");
}
