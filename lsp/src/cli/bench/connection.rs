//! A server in a process of its own, and the messages to and from it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// Covers loading a large model.
const START_TIMEOUT: Duration = Duration::from_secs(600);
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);
const EXIT_POLL: Duration = Duration::from_millis(10);

/// A message from the server, and when it came.
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    pub(crate) message: Value,
}

/// A running server. Dropping it kills the process.
pub(crate) struct Connection {
    child: Child,
    stdin: ChildStdin,
    arrivals: Receiver<Arrival>,
    last_id: i64,
}

impl Connection {
    /// Starts `binary` as a server and says hello; positions are in bytes.
    /// The folder that this command runs in is the workspace.
    pub(crate) fn start(binary: &Path, arguments: &[OsString]) -> anyhow::Result<Self> {
        let mut command = Command::new(binary);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", binary.display()))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("the server's pipes are missing");
        };
        let (sender, arrivals) = mpsc::channel();
        thread::spawn(move || read_messages(stdout, &sender));
        let mut connection = Self { child, stdin, arrivals, last_id: 0 };
        let capabilities = json!({ "general": { "positionEncodings": ["utf-8"] } });
        let folder = std::env::current_dir().context("cannot tell the folder that this runs in")?;
        let root = format!("file://{}", folder.display());
        let params = json!({ "processId": std::process::id(), "rootUri": root, "capabilities": capabilities });
        let id = connection.request("initialize", params)?;
        let hello = connection.wait_for(id, START_TIMEOUT)?;
        if hello["result"]["capabilities"]["positionEncoding"] != "utf-8" {
            bail!("the server does not speak utf-8 positions: {hello}");
        }
        connection.notify("initialized", json!({}))?;
        Ok(connection)
    }

    pub(crate) fn notify(&mut self, method: &str, params: Value) -> anyhow::Result<()> {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))
    }

    /// Sends a request; returns its id.
    pub(crate) fn request(&mut self, method: &str, params: Value) -> anyhow::Result<i64> {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))?;
        Ok(id)
    }

    fn send(&mut self, message: &Value) -> anyhow::Result<()> {
        let body = message.to_string();
        let head = format!("Content-Length: {}\r\n\r\n", body.len());
        self.stdin
            .write_all(head.as_bytes())
            .and_then(|()| self.stdin.write_all(body.as_bytes()))
            .and_then(|()| self.stdin.flush())
            .context("the server has closed its input")
    }

    /// The next message, if one comes within `timeout`.
    pub(crate) fn receive(&self, timeout: Duration) -> anyhow::Result<Option<Arrival>> {
        match self.arrivals.recv_timeout(timeout) {
            Ok(arrival) => Ok(Some(arrival)),
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("the server has ended"),
        }
    }

    /// The answer to `id`; what comes before it is dropped.
    pub(crate) fn wait_for(&self, id: i64, timeout: Duration) -> anyhow::Result<Value> {
        let deadline = Instant::now() + timeout;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            if let Some(arrival) = self.receive(left)?
                && arrival.message["id"] == id
                && arrival.message.get("method").is_none()
            {
                return Ok(arrival.message);
            }
        }
        bail!("the server did not answer within {} s", timeout.as_secs())
    }

    /// Resident memory of the server in bytes: now, and at most so far. Known on Linux alone.
    pub(crate) fn memory(&self) -> Option<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let of = |name: &str| -> Option<u64> {
            let line = status.lines().find(|line| line.starts_with(name))?;
            Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
        };
        Some((of("VmRSS:")?, of("VmHWM:")?))
    }

    /// Ends the server in good order.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        let id = self.request("shutdown", Value::Null)?;
        self.wait_for(id, EXIT_TIMEOUT)?;
        self.notify("exit", Value::Null)?;
        let deadline = Instant::now() + EXIT_TIMEOUT;
        while self.child.try_wait()?.is_none() && Instant::now() < deadline {
            thread::sleep(EXIT_POLL);
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads until the server closes its stdout.
fn read_messages(stdout: ChildStdout, arrivals: &mpsc::Sender<Arrival>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut length = None;
        loop {
            let mut line = String::new();
            match stdout.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line == "\r\n" => break,
                Ok(_) => {
                    let value = line.strip_prefix("Content-Length: ").map(str::trim);
                    length = length.or_else(|| value?.parse::<usize>().ok());
                }
            }
        }
        let mut body = vec![0; length.unwrap_or_default()];
        if stdout.read_exact(&mut body).is_err() {
            return;
        }
        let at = Instant::now();
        if let Ok(message) = serde_json::from_slice(&body)
            && arrivals.send(Arrival { at, message }).is_err()
        {
            return;
        }
    }
}
