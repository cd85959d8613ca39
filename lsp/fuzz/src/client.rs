//! A client in this process: sends what a target says, and collects what the server says until it ends.

use std::path::Path;
use std::time::Duration;

use diffcoder_engine::infiller::Infiller;
use diffcoder_lsp::backend::Backend;
use diffcoder_lsp::config::Config;
use diffcoder_lsp::server::{SessionEnd, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::scripted::Scripted;

/// A server that has not ended by then hangs.
const END_TIMEOUT: Duration = Duration::from_secs(20);
/// How long answers are waited for before the client goes away; then they must come all the same.
const PATIENCE: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(2);
const PIPE_BYTES: usize = 1 << 20;
/// Not all of the workspace's definitions fit.
const RELATED_TOKENS: usize = 60;

/// How the client treats the server's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// It never answers.
    Silent,
    /// It applies edits and takes the first choice.
    Agrees,
    /// It answers with errors.
    Refuses,
}

/// What the client does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// Sends bytes as they are.
    Bytes(Vec<u8>),
    /// Sends a message in its frame.
    Body(Vec<u8>),
    /// Gives the server some time.
    Pause,
    /// Waits for the next answer, for so long at most.
    Await(Duration),
}

/// A message of a target's making.
pub fn body(message: &Value) -> Say {
    Say::Body(message.to_string().into_bytes())
}

/// A session from its first to its last byte: what the server said, and how it saw the end.
///
/// The client waits a moment for `n_answers` answers after its last word, and then goes away.
///
/// # Panics
/// If the server does not end.
pub fn converse(says: &[Say], n_answers: usize, manners: Manners) -> (Vec<Value>, SessionEnd) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without I/O needs nothing that can be missing");
    runtime.block_on(async {
        let (output, server_input) = tokio::io::duplex(PIPE_BYTES);
        let (server_output, input) = tokio::io::duplex(PIPE_BYTES);
        let server = tokio::spawn(serve(server_input, server_output, backend(says)));
        let (heard, messages) = unbounded_channel();
        tokio::spawn(listen(input, heard));
        let mut client = Client { output, messages, received: Vec::new(), n_answers: 0, manners };
        for say in says {
            client.say(say).await;
        }
        while client.n_answers < n_answers && client.hear(PATIENCE).await {}
        let Client { output, mut messages, mut received, .. } = client;
        drop(output);
        let end = timeout(END_TIMEOUT, server).await;
        let end = end.expect("the server hangs: its client has gone away").expect("no panic");
        while let Some(message) = messages.recv().await {
            received.push(message);
        }
        (received, end)
    })
}

struct Client {
    output: DuplexStream,
    messages: UnboundedReceiver<Value>,
    received: Vec<Value>,
    n_answers: usize,
    manners: Manners,
}

impl Client {
    async fn say(&mut self, say: &Say) {
        match say {
            Say::Bytes(bytes) => self.send(bytes).await,
            Say::Body(body) => self.send_body(body).await,
            Say::Pause => while self.hear(PAUSE).await {},
            Say::Await(patience) => {
                let before = self.n_answers;
                while self.n_answers == before && self.hear(*patience).await {}
            }
        }
    }

    async fn send_body(&mut self, body: &[u8]) {
        let header = format!("Content-Length: {}\r\n\r\n", body.len());
        self.send(&[header.as_bytes(), body].concat()).await;
    }

    async fn send(&mut self, bytes: &[u8]) {
        // After `exit` nobody reads any more.
        _ = self.output.write_all(bytes).await;
    }

    /// Takes one message in; `false` if none comes within `patience`.
    async fn hear(&mut self, patience: Duration) -> bool {
        let Ok(Some(message)) = timeout(patience, self.messages.recv()).await else { return false };
        if message.get("method").is_none() {
            self.n_answers += 1;
        } else if let Some(id) = message.get("id") {
            let reply = match self.manners {
                Manners::Silent => None,
                Manners::Agrees => {
                    Some(json!({ "jsonrpc": "2.0", "id": id, "result": agree(&message) }))
                }
                Manners::Refuses => {
                    let error = json!({ "code": -32603, "message": "no" });
                    Some(json!({ "jsonrpc": "2.0", "id": id, "error": error }))
                }
            };
            if let Some(reply) = reply {
                self.send_body(reply.to_string().as_bytes()).await;
            }
        }
        self.received.push(message);
        true
    }
}

/// What an editor answers to a request.
fn agree(request: &Value) -> Value {
    let params = &request["params"];
    match request["method"].as_str() {
        Some("workspace/applyEdit") => json!({ "applied": true }),
        Some("window/showMessageRequest") => params["actions"][0].clone(),
        Some("workspace/configuration") => {
            params["items"].as_array().into_iter().flatten().map(|_| json!({})).collect()
        }
        _ => Value::Null,
    }
}

fn backend(says: &[Say]) -> Backend {
    // Bytes of a client that nobody has looked at may name any folder of this machine as the workspace.
    let is_raw = says.iter().any(|say| matches!(say, Say::Bytes(_)));
    let related_tokens = if is_raw { 0 } else { RELATED_TOKENS };
    let load = move |dir: Option<&Path>| match dir {
        None => Ok(Box::new(Scripted { related_tokens }) as Box<dyn Infiller>),
        Some(dir) => Err(format!("there is no model at {}", dir.display())),
    };
    Backend {
        loader: Box::new(load),
        config: Config::default(),
        stats: None,
        on_settings: Box::new(|_| ()),
        client_log: None,
    }
}

/// Reads the server's messages; whatever is not one ends the run.
async fn listen(input: DuplexStream, heard: UnboundedSender<Value>) {
    let mut input = BufReader::new(input);
    let mut header = String::new();
    while input.read_line(&mut header).await.expect("a pipe in memory") > 0 {
        if header.ends_with("\r\n\r\n") {
            let length = header.trim_end().strip_prefix("Content-Length: ").expect("one header");
            let mut body = vec![0; length.parse().expect("a length")];
            input.read_exact(&mut body).await.expect("a whole message");
            let message = serde_json::from_slice(&body).expect("a message in JSON");
            if heard.send(message).is_err() {
                return;
            }
            header.clear();
        }
    }
}
