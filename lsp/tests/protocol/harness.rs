//! A client in the test's own hand. It fails the test on any message unread and any request unanswered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use diffcoder_lsp::backend::Backend;
use diffcoder_lsp::server::{SessionEnd, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::script::Script;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const END_TIMEOUT: Duration = Duration::from_secs(20);
const PIPE_BYTES: usize = 1 << 20;

/// Error codes of the protocol that tests name.
pub(crate) const PARSE_ERROR: i64 = -32700;
pub(crate) const INVALID_REQUEST: i64 = -32600;
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
pub(crate) const INVALID_PARAMS: i64 = -32602;
pub(crate) const INTERNAL_ERROR: i64 = -32603;
pub(crate) const NOT_INITIALIZED: i64 = -32002;
pub(crate) const REQUEST_CANCELLED: i64 = -32800;
pub(crate) const CONTENT_MODIFIED: i64 = -32801;
pub(crate) const REQUEST_FAILED: i64 = -32803;

pub(crate) const URI: &str = "file:///src/a.rs";

/// `result` of an answer, or code and message of its error.
pub(crate) type Answer = Result<Value, (i64, String)>;

pub(crate) struct Client {
    output: Option<DuplexStream>,
    input: mpsc::UnboundedReceiver<Value>,
    server: Option<JoinHandle<SessionEnd>>,
    last_id: i64,
    unanswered: BTreeSet<i64>,
    /// Answers that arrived while the test waited for another one.
    unread: BTreeMap<i64, Answer>,
    /// Errors for messages whose id the server could not read.
    unread_anonymous: Vec<(i64, String)>,
    /// What the server said that it can do.
    pub(crate) capabilities: Value,
    /// Parameters of every `$/diffcoder/frame` that the test has not taken.
    pub(crate) frames: Vec<Value>,
    /// What the test's requests have named for frames to come under.
    frame_tokens: Vec<Value>,
    /// Requests of the server, and its notifications of progress, in order, that the test has not read.
    said: Vec<Value>,
    /// Answers to the server's requests, not sent yet.
    replies: Vec<Value>,
    /// Whether edits are applied.
    pub(crate) applies: bool,
    /// The server's requests get no answer.
    pub(crate) leaves_questions: bool,
    /// Which of a message's actions is chosen.
    pub(crate) choice: Option<usize>,
    /// Parameters of every `$/diffcoder/status` so far.
    pub(crate) statuses: Vec<Value>,
    /// Messages for the user that the test has not read.
    shown: Vec<String>,
    /// Requests of the server that the test has not answered.
    requests: Vec<Value>,
    is_finished: bool,
}

impl Client {
    /// A connection on which nothing has been said yet.
    pub(crate) fn connect(script: &Arc<Script>) -> Self {
        Self::connect_to(script.infiller())
    }

    /// A connection to a server with settings or a model of the test's making.
    pub(crate) fn connect_to(backend: impl Into<Backend> + Send + 'static) -> Self {
        let (output, server_input) = tokio::io::duplex(PIPE_BYTES);
        let (server_output, input) = tokio::io::duplex(PIPE_BYTES);
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(read_messages(input, sender));
        Self {
            output: Some(output),
            input: receiver,
            server: Some(tokio::spawn(serve(server_input, server_output, backend))),
            last_id: 0,
            unanswered: BTreeSet::new(),
            unread: BTreeMap::new(),
            unread_anonymous: Vec::new(),
            capabilities: Value::Null,
            frames: Vec::new(),
            frame_tokens: Vec::new(),
            said: Vec::new(),
            replies: Vec::new(),
            applies: true,
            leaves_questions: false,
            choice: None,
            statuses: Vec::new(),
            shown: Vec::new(),
            requests: Vec::new(),
            is_finished: false,
        }
    }

    /// A connection in the protocol's default encoding, ready for documents.
    pub(crate) async fn start(script: &Arc<Script>) -> Self {
        Self::start_with(script, json!({})).await
    }

    pub(crate) async fn start_with(script: &Arc<Script>, capabilities: Value) -> Self {
        let mut client = Self::connect(script);
        let result = client.initialize(capabilities).await;
        client.capabilities = result["capabilities"].clone();
        client
    }

    pub(crate) async fn initialize(&mut self, capabilities: Value) -> Value {
        let params = json!({ "processId": null, "rootUri": null, "capabilities": capabilities });
        let result = self.call("initialize", params).await.unwrap();
        self.notify("initialized", json!({})).await;
        result
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.output.as_mut().unwrap().write_all(bytes).await.unwrap();
    }

    pub(crate) async fn send_body(&mut self, body: &str) {
        self.send_bytes(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
    }

    pub(crate) async fn notify(&mut self, method: &str, params: Value) {
        self.send_body(
            &json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string(),
        )
        .await;
    }

    /// Sends a request without waiting for its answer; returns its id.
    pub(crate) async fn send(&mut self, method: &str, params: Value) -> i64 {
        let id = self.expect_answer_to_next_id();
        self.frame_tokens.extend(params.get("frameToken").cloned());
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send_body(&body.to_string()).await;
        id
    }

    /// An id that the test will use in a message of its own making, and for which it expects an answer.
    pub(crate) fn expect_answer_to_next_id(&mut self) -> i64 {
        self.last_id += 1;
        self.expect_answer_to(self.last_id);
        self.last_id
    }

    pub(crate) fn expect_answer_to(&mut self, id: i64) {
        self.unanswered.insert(id);
    }

    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Answer {
        let id = self.send(method, params).await;
        self.answer(id).await
    }

    /// Waits for the answer to `id`; others that come first are kept.
    pub(crate) async fn answer(&mut self, id: i64) -> Answer {
        loop {
            if let Some(answer) = self.unread.remove(&id) {
                return answer;
            }
            self.receive(&format!("the answer to request {id}")).await;
        }
    }

    /// Waits for an error about a message whose id could not be read.
    pub(crate) async fn anonymous_error(&mut self) -> (i64, String) {
        while self.unread_anonymous.is_empty() {
            self.receive("an error without an id").await;
        }
        self.unread_anonymous.remove(0)
    }

    /// Waits for a message for the user.
    pub(crate) async fn shown(&mut self) -> String {
        while self.shown.is_empty() {
            self.receive("a message for the user").await;
        }
        self.shown.remove(0)
    }

    /// Waits for a request of the server by that method; gives its parameters and answers it.
    pub(crate) async fn answer_request(&mut self, method: &str, result: Value) -> Value {
        let place = loop {
            match self.requests.iter().position(|request| request["method"] == method) {
                Some(place) => break place,
                None => self.receive(&format!("the request {method}")).await,
            }
        };
        let request = self.requests.remove(place);
        let answer = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
        self.send_body(&answer.to_string()).await;
        request["params"].clone()
    }

    /// Waits for a status that is as wanted, be it one that has come.
    pub(crate) async fn status_with(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let mut seen = 0;
        loop {
            if let Some(status) = self.statuses[seen..].iter().find(|status| is_wanted(status)) {
                return status.clone();
            }
            seen = self.statuses.len();
            self.receive("a status as wanted").await;
        }
    }

    async fn receive(&mut self, what: &str) {
        let message = tokio::time::timeout(ANSWER_TIMEOUT, self.input.recv()).await;
        let message = message.unwrap_or_else(|_| panic!("waited {ANSWER_TIMEOUT:?} for {what}"));
        self.file(message.unwrap_or_else(|| panic!("the server ended before {what}")));
        for reply in std::mem::take(&mut self.replies) {
            self.send_body(&reply.to_string()).await;
        }
    }

    /// Waits until the server sends a request, or a notification of progress, with this method; returns its parameters.
    pub(crate) async fn said(&mut self, method: &str) -> Value {
        loop {
            let found = self.said.iter().position(|message| message["method"] == method);
            if let Some(index) = found {
                return self.said.remove(index)["params"].clone();
            }
            self.receive(method).await;
        }
    }

    /// Waits for a request of the server that was left without an answer, and answers it.
    pub(crate) async fn answer_late(&mut self, method: &str) {
        let message = loop {
            let found = self.said.iter().position(|message| message["method"] == method);
            match found {
                Some(index) => break self.said.remove(index),
                None => self.receive(method).await,
            }
        };
        self.replies.extend(self.reply_to(&message));
        for reply in std::mem::take(&mut self.replies) {
            self.send_body(&reply.to_string()).await;
        }
    }

    /// What an editor answers to a request of the server; `None` leaves it to the test.
    fn reply_to(&self, message: &Value) -> Option<Value> {
        let result = match message["method"].as_str().unwrap() {
            "workspace/applyEdit" if self.applies => json!({ "applied": true }),
            "workspace/applyEdit" => json!({ "applied": false, "failureReason": "read-only" }),
            "window/workDoneProgress/create" => Value::Null,
            "window/showMessageRequest" => {
                let actions = &message["params"]["actions"];
                self.choice.map_or(Value::Null, |index| actions[index].clone())
            }
            _ => return None,
        };
        Some(json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }))
    }

    fn file(&mut self, message: Value) {
        if message["method"].is_string() && message.get("id").is_some() {
            match self.reply_to(&message).filter(|_| !self.leaves_questions) {
                None if !self.leaves_questions => return self.requests.push(message),
                reply => self.replies.extend(reply),
            }
            return self.said.push(message);
        }
        if message["method"] == "$/progress" {
            self.said.push(message);
            return;
        }
        let error = message.get("error").map(|error| {
            (
                error["code"].as_i64().expect("a code"),
                error["message"].as_str().expect("a message").to_owned(),
            )
        });
        match (message["id"].as_i64(), error) {
            (Some(id), error) => {
                assert!(self.unanswered.remove(&id), "an answer that nobody waits for: {message}");
                let result = without_acceptance(message["result"].clone());
                self.unread.insert(id, error.map_or(Ok(result), Err));
            }
            (None, Some(error)) => self.unread_anonymous.push(error),
            (None, None) if message["method"] == "$/diffcoder/frame" => {
                let token = &message["params"]["token"];
                assert!(self.frame_tokens.contains(token), "nobody asked for {message}");
                self.frames.push(message["params"].clone());
            }
            (None, None) if message["method"] == "$/diffcoder/status" => {
                let status = message["params"].clone();
                assert_ne!(self.statuses.last(), Some(&status), "the same status again");
                self.statuses.push(status);
            }
            (None, None) if message["method"] == "window/showMessage" => {
                self.shown.push(message["params"]["message"].as_str().unwrap().to_owned());
            }
            (None, None) => panic!("neither an answer nor an error: {message}"),
        }
    }

    /// Opens a document whose fills pass as they are, as long as they repeat nothing.
    pub(crate) async fn open(&mut self, uri: &str, text: &str) {
        self.open_as("plaintext", uri, text).await;
    }

    pub(crate) async fn open_as(&mut self, language_id: &str, uri: &str, text: &str) {
        let item = json!({ "uri": uri, "languageId": language_id, "version": 1, "text": text });
        self.notify("textDocument/didOpen", json!({ "textDocument": item })).await;
    }

    pub(crate) async fn change(&mut self, uri: &str, version: i32, changes: Value) {
        let document = json!({ "uri": uri, "version": version });
        self.notify(
            "textDocument/didChange",
            json!({ "textDocument": document, "contentChanges": changes }),
        )
        .await;
    }

    pub(crate) async fn close(&mut self, uri: &str) {
        self.notify("textDocument/didClose", json!({ "textDocument": { "uri": uri } })).await;
    }

    pub(crate) async fn cancel(&mut self, id: i64) {
        self.notify("$/cancelRequest", json!({ "id": id })).await;
    }

    /// Asks for a completion without waiting for it.
    pub(crate) async fn ask(&mut self, uri: &str, line: u32, character: u32) -> i64 {
        self.send("textDocument/inlineCompletion", completion_params(uri, line, character)).await
    }

    pub(crate) async fn complete(&mut self, line: u32, character: u32) -> Answer {
        self.call("textDocument/inlineCompletion", completion_params(URI, line, character)).await
    }

    /// The text that the server holds.
    pub(crate) async fn text(&mut self, uri: &str) -> String {
        let params = json!({ "textDocument": { "uri": uri } });
        let result = self.call("diffcoder/documentText", params).await.unwrap();
        result["text"].as_str().unwrap().to_owned()
    }

    /// Closes the connection the client's way, and returns how the server saw the end.
    pub(crate) async fn finish(mut self) -> SessionEnd {
        assert_eq!(self.call("shutdown", Value::Null).await, Ok(Value::Null));
        self.notify("exit", Value::Null).await;
        self.wait_for_end().await
    }

    /// Goes away without a word.
    pub(crate) async fn hang_up(mut self) -> SessionEnd {
        self.disconnect();
        self.wait_for_end().await
    }

    /// Closes the server's input; its output stays open.
    pub(crate) fn disconnect(&mut self) {
        self.output = None;
    }

    /// Waits for the server to end by itself, then holds it to having answered everything and said nothing else.
    pub(crate) async fn wait_for_end(&mut self) -> SessionEnd {
        self.is_finished = true;
        let server = self.server.take().unwrap();
        let end = tokio::time::timeout(END_TIMEOUT, server).await;
        let end = end
            .unwrap_or_else(|_| panic!("the server did not end within {END_TIMEOUT:?}"))
            .unwrap();
        while let Some(message) = self.input.recv().await {
            self.file(message);
        }
        end
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        assert!(self.is_finished, "the test did not wait for the server's end");
        assert!(self.unanswered.is_empty(), "never answered: {:?}", self.unanswered);
        assert!(self.unread.is_empty(), "answers that the test did not read: {:?}", self.unread);
        assert!(self.shown.is_empty(), "messages that the test did not read: {:?}", self.shown);
        assert!(self.requests.is_empty(), "requests without an answer: {:?}", self.requests);
        assert!(self.said.is_empty(), "what the server said unread: {:?}", self.said);
        assert!(self.frames.is_empty(), "frames that the test did not read: {:?}", self.frames);
        assert!(
            self.unread_anonymous.is_empty(),
            "errors that the test did not read: {:?}",
            self.unread_anonymous
        );
    }
}

pub(crate) fn completion_params(uri: &str, line: u32, character: u32) -> Value {
    json!({
        "textDocument": { "uri": uri },
        "position": { "line": line, "character": character },
        "context": { "triggerKind": 2 },
    })
}

/// `contentChanges` with one edit.
pub(crate) fn edit(start: (u32, u32), end: (u32, u32), text: &str) -> Value {
    json!([{ "range": range(start, end), "text": text }])
}

pub(crate) fn range(start: (u32, u32), end: (u32, u32)) -> Value {
    let position = |(line, character)| json!({ "line": line, "character": character });
    json!({ "start": position(start), "end": position(end) })
}

/// The text of the only item of an answer.
#[track_caller]
pub(crate) fn inserted(answer: &Answer) -> &str {
    let items = answer.as_ref().unwrap().as_array().unwrap();
    assert_eq!(items.len(), 1, "{items:?}");
    items[0]["insertText"].as_str().unwrap()
}

/// Code of an error.
#[track_caller]
pub(crate) fn code(answer: &Answer) -> i64 {
    answer.as_ref().unwrap_err().0
}

async fn read_messages(input: DuplexStream, messages: mpsc::UnboundedSender<Value>) {
    let mut input = BufReader::new(input);
    let mut header = String::new();
    while input.read_line(&mut header).await.unwrap() > 0 {
        if header.ends_with("\r\n\r\n") {
            let length = header
                .trim_end()
                .strip_prefix("Content-Length: ")
                .expect("one header")
                .parse()
                .unwrap();
            let mut body = vec![0; length];
            input.read_exact(&mut body).await.unwrap();
            if messages.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
            header.clear();
        }
    }
}

/// The items of a completion without the command that each has to carry.
fn without_acceptance(mut result: Value) -> Value {
    for item in result.as_array_mut().into_iter().flatten() {
        if item.get("insertText").is_some() {
            let command = item.as_object_mut().unwrap().remove("command").unwrap();
            assert_eq!(command["command"], "diffcoder.server.accepted");
        }
    }
    result
}
