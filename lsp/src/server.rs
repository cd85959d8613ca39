//! The protocol's side of the program: wires transport, state and worker together and names every method.

use std::process::ExitCode;

use diffcoder_engine::infiller::Infiller;
use tokio::io::{AsyncRead, AsyncWrite};

/// How a session with a client ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The client asked for `shutdown` first.
    Orderly,
    /// The client sent `exit`, or went away, without `shutdown`.
    Abrupt,
}

impl From<SessionEnd> for ExitCode {
    fn from(end: SessionEnd) -> Self {
        match end {
            SessionEnd::Orderly => Self::SUCCESS,
            SessionEnd::Abrupt => Self::FAILURE,
        }
    }
}

/// Serves one client over this process's stdin and stdout until it exits.
pub async fn serve_stdio(infiller: Box<dyn Infiller>) -> SessionEnd {
    serve(tokio::io::stdin(), tokio::io::stdout(), infiller).await
}

/// Serves one client over `read` and `write` until it exits or closes `read`.
pub async fn serve(
    _read: impl AsyncRead + Send + Unpin + 'static,
    _write: impl AsyncWrite,
    _infiller: Box<dyn Infiller>,
) -> SessionEnd {
    SessionEnd::Abrupt
}
