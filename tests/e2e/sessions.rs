//! Sessions that real editors had with the server, sent again message by message.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use serde_json::Value;

use crate::client::Client;
use crate::text::offset;

/// Answers that a request may get besides a result: the client cancelled it, or the text had changed.
const USUAL_ERRORS: [i64; 2] = [-32800, -32801];

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

fn replay(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/sessions").join(name);
    let messages: Vec<Value> = std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut client = Client::spawn(None);
    // The server asks in the order in which it asked then.
    let is_answer = |message: &&Value| message.get("method").is_none();
    client.give_answers(messages.iter().filter(is_answer).cloned().collect::<VecDeque<_>>());
    let mut documents = Documents::default();
    let mut requests = Vec::new();
    let mut shutdown = false;
    for message in messages.iter().filter(|message| !is_answer(message)) {
        let method = message["method"].as_str().unwrap();
        if method == "exit" || shutdown {
            break;
        }
        if method == "shutdown" {
            check_texts(&mut client, &documents);
        }
        client.send_as_recorded(message);
        documents.follow(message);
        let Some(id) = message["id"].as_i64() else { continue };
        if method == "initialize" {
            let result = client.answer(id).unwrap();
            documents.encoding =
                result["capabilities"]["positionEncoding"].as_str().unwrap_or("utf-16").to_owned();
        } else if method == "shutdown" {
            assert_eq!(client.answer(id), Ok(Value::Null));
            shutdown = true;
        } else {
            requests.push((id, method));
        }
    }
    if !shutdown {
        check_texts(&mut client, &documents);
    }
    let mut n_results = 0;
    for (id, method) in &requests {
        match client.answer(*id) {
            Ok(_) => n_results += 1,
            Err((code, reason)) => assert!(USUAL_ERRORS.contains(&code), "{method}: {reason}"),
        }
    }
    // The editor had its answers before it went on; here the text moves on at once, and some come too late.
    assert!(n_results > 0, "{requests:?}");
    if shutdown {
        client.exit_after_shutdown();
    } else {
        client.finish();
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
