//! An editor's side of the connection. It fails the test on any message unread and any request unanswered.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Covers loading a large model on a busy machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
const EXIT_TIMEOUT: Duration = Duration::from_secs(30);
const EXIT_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// `result` of an answer, or code and message of its error.
pub(crate) type Answer = Result<Value, (i64, String)>;

/// One running server. Dropping it kills the process.
pub(crate) struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    messages: Receiver<Value>,
    last_id: i64,
    unanswered: BTreeSet<i64>,
    /// Answers that arrived while the test waited for another one.
    unread: BTreeMap<i64, Answer>,
    /// Errors for messages whose id the server could not read.
    unread_anonymous: Vec<(i64, String)>,
    /// What the server logged for the client: `window/logMessage` and `$/logTrace`.
    log: Vec<Value>,
    /// The server's own questions that the test has not answered.
    questions: Vec<Value>,
    /// What the test's requests have named for frames to come under.
    frame_tokens: Vec<Value>,
    has_ended: bool,
}

/// The binary that this build made.
pub(crate) fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile_dir = test.parent().and_then(Path::parent).unwrap();
    let binary = profile_dir.join(format!("diffcoder-lsp{}", std::env::consts::EXE_SUFFIX));
    assert!(
        binary.exists(),
        "{} is missing: run `cargo test --release --workspace`, or `cargo build --release -p diffcoder-lsp` first",
        binary.display()
    );
    binary
}

impl Client {
    /// Starts the server with the embedded model, or with the one in `model_dir`.
    pub(crate) fn spawn(model_dir: Option<&Path>) -> Self {
        let mut command = Command::new(binary());
        if let Some(dir) = model_dir {
            command.arg("--model").arg(dir);
        }
        // What the user of this machine has set, and counts, is none of a test's business.
        command.env("DIFFCODER_SERVER_STATS", "false").env("XDG_CONFIG_HOME", "/nonexistent");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, messages) = mpsc::channel();
        let stdout = child.stdout.take().unwrap();
        thread::spawn(move || read_messages(stdout, &sender));
        Self {
            stdin: child.stdin.take(),
            child,
            messages,
            last_id: 0,
            unanswered: BTreeSet::new(),
            unread: BTreeMap::new(),
            unread_anonymous: Vec::new(),
            log: Vec::new(),
            questions: Vec::new(),
            frame_tokens: Vec::new(),
            has_ended: false,
        }
    }

    /// Starts the server and agrees with it on `encoding`.
    pub(crate) fn start(model_dir: Option<&Path>, encoding: &str) -> Self {
        let mut client = Self::spawn(model_dir);
        client.initialize(encoding);
        client
    }

    pub(crate) fn initialize(&mut self, encoding: &str) {
        let capabilities = json!({ "general": { "positionEncodings": [encoding] } });
        let params = json!({ "processId": std::process::id(), "rootUri": null, "capabilities": capabilities });
        let result = self.call("initialize", params).unwrap();
        assert_eq!(result["capabilities"]["positionEncoding"], encoding);
        self.notify("initialized", json!({}));
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(bytes).and_then(|()| stdin.flush()).unwrap();
    }

    fn send_message(&mut self, message: &Value) {
        let body = message.to_string();
        self.send_bytes(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    }

    pub(crate) fn notify(&mut self, method: &str, params: Value) {
        self.send_message(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// Waits for the server's next question and answers it; returns it.
    pub(crate) fn answer_question(&mut self, result: &Value) -> Value {
        while self.questions.is_empty() {
            self.receive("a question of the server");
        }
        let question = self.questions.remove(0);
        let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": result });
        self.send_message(&answer);
        question
    }

    /// Sends a message of another session as it is. Ids of later requests do not collide with its.
    pub(crate) fn send_as_recorded(&mut self, message: &Value) {
        if let Some(id) = message["id"].as_i64() {
            self.last_id = self.last_id.max(id + 1_000_000);
            self.unanswered.insert(id);
        }
        self.frame_tokens.extend(message["params"].get("frameToken").cloned());
        self.send_message(message);
    }

    /// Sends a request without waiting for its answer; returns its id.
    pub(crate) fn send(&mut self, method: &str, params: Value) -> i64 {
        self.last_id += 1;
        let id = self.last_id;
        self.unanswered.insert(id);
        self.frame_tokens.extend(params.get("frameToken").cloned());
        self.send_message(
            &json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }),
        );
        id
    }

    pub(crate) fn call(&mut self, method: &str, params: Value) -> Answer {
        let id = self.send(method, params);
        self.answer(id)
    }

    /// Waits for the answer to `id`; others that come first are kept.
    pub(crate) fn answer(&mut self, id: i64) -> Answer {
        loop {
            if let Some(answer) = self.unread.remove(&id) {
                return answer;
            }
            self.receive(&format!("the answer to request {id}"));
        }
    }

    /// Waits for an error about a message whose id could not be read; returns its code.
    pub(crate) fn anonymous_error(&mut self) -> i64 {
        while self.unread_anonymous.is_empty() {
            self.receive("an error without an id");
        }
        self.unread_anonymous.remove(0).0
    }

    /// Waits for log entries until one is as wanted; returns all of them since the last time.
    pub(crate) fn log_up_to(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        while !self.log.iter().any(&is_wanted) {
            self.receive("a certain entry of the log");
        }
        std::mem::take(&mut self.log)
    }

    fn receive(&mut self, what: &str) {
        match self.messages.recv_timeout(ANSWER_TIMEOUT) {
            Ok(message) => self.file(&message),
            Err(RecvTimeoutError::Timeout) => panic!("waited {ANSWER_TIMEOUT:?} for {what}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the server ended before {what}"),
        }
    }

    fn file(&mut self, message: &Value) {
        if message.get("method").is_some() && message.get("id").is_some() {
            return self.questions.push(message.clone());
        }
        let error = message.get("error").map(|error| {
            (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
        });
        match (message["id"].as_i64(), error) {
            (Some(id), error) => {
                assert!(self.unanswered.remove(&id), "an answer that nobody waits for: {message}");
                self.unread.insert(id, error.map_or_else(|| Ok(message["result"].clone()), Err));
            }
            (None, Some(error)) => self.unread_anonymous.push(error),
            (None, None) if message["method"] == "$/diffcoder/status" => {}
            (None, None) if message["method"] == "$/diffcoder/frame" => {
                let token = &message["params"]["token"];
                assert!(self.frame_tokens.contains(token), "nobody asked for {message}");
            }
            (None, None)
                if message["method"] == "window/logMessage"
                    || message["method"] == "$/logTrace" =>
            {
                self.log.push(message.clone());
            }
            (None, None) => panic!("neither an answer nor an error: {message}"),
        }
    }

    pub(crate) fn open(&mut self, uri: &str, language: &str, text: &str) {
        let item = json!({ "uri": uri, "languageId": language, "version": 0, "text": text });
        self.notify("textDocument/didOpen", json!({ "textDocument": item }));
    }

    pub(crate) fn change(&mut self, uri: &str, version: usize, changes: Vec<Value>) {
        let document = json!({ "uri": uri, "version": version });
        self.notify(
            "textDocument/didChange",
            json!({ "textDocument": document, "contentChanges": changes }),
        );
    }

    /// Asks for a completion without waiting for it; `position` is the protocol's.
    pub(crate) fn ask(&mut self, uri: &str, position: &Value) -> i64 {
        let params = json!({
            "textDocument": { "uri": uri },
            "position": position,
            "context": { "triggerKind": 1 },
        });
        self.send("textDocument/inlineCompletion", params)
    }

    pub(crate) fn cancel(&mut self, id: i64) {
        self.notify("$/cancelRequest", json!({ "id": id }));
    }

    /// The text that the server holds.
    pub(crate) fn text(&mut self, uri: &str) -> String {
        let result =
            self.call("diffcoder/documentText", json!({ "textDocument": { "uri": uri } })).unwrap();
        result["text"].as_str().unwrap().to_owned()
    }

    /// Leaves in good order, with the pipes still open.
    pub(crate) fn finish(mut self) {
        assert_eq!(self.call("shutdown", Value::Null), Ok(Value::Null));
        self.exit_after_shutdown();
    }

    /// The rest of leaving.
    pub(crate) fn exit_after_shutdown(mut self) {
        self.notify("exit", Value::Null);
        assert_eq!(self.exit_code(), 0);
    }

    /// Closes the server's stdin, as the end of the editor's process does.
    pub(crate) fn disconnect(&mut self) {
        self.stdin = None;
    }

    /// Waits for the server to end by itself, and reads what it said until then.
    pub(crate) fn exit_code(&mut self) -> i32 {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                start.elapsed() < EXIT_TIMEOUT,
                "the server did not end within {EXIT_TIMEOUT:?}"
            );
            thread::sleep(EXIT_POLL_INTERVAL);
        };
        self.has_ended = true;
        while let Ok(message) = self.messages.recv() {
            self.file(&message);
        }
        status.code().expect("the server ended by itself, not by a signal")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            return;
        }
        assert!(self.has_ended, "the test did not wait for the server's end");
        assert!(self.unanswered.is_empty(), "never answered: {:?}", self.unanswered);
        assert!(self.unread.is_empty(), "answers that the test did not read: {:?}", self.unread);
        assert!(self.questions.is_empty(), "questions without an answer: {:?}", self.questions);
        assert!(
            self.unread_anonymous.is_empty(),
            "errors that the test did not read: {:?}",
            self.unread_anonymous
        );
    }
}

/// Reads until the server closes its stdout; anything there but well-formed messages fails the test.
fn read_messages(stdout: ChildStdout, messages: &mpsc::Sender<Value>) {
    let mut stdout = BufReader::new(stdout);
    let mut header = String::new();
    while stdout.read_line(&mut header).unwrap() > 0 {
        if header.ends_with("\r\n\r\n") {
            let length = header.trim_end().strip_prefix("Content-Length: ").expect("one header");
            let mut body = vec![0; length.parse().unwrap()];
            stdout.read_exact(&mut body).unwrap();
            if messages.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
            header.clear();
        }
    }
    assert!(header.is_empty(), "stdout ended within a header: {header:?}");
}
