//! Why a request has no result, and the protocol's code and sentence for it.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use diffcoder_engine::infiller::InfillError;
use thiserror::Error;
use tower_lsp::gen_lsp_types::Uri;
use tower_lsp::jsonrpc;

/// `RequestFailed` of the protocol: a well-formed request that could not be served.
const REQUEST_FAILED: jsonrpc::ErrorCode = jsonrpc::ErrorCode::ServerError(-32803);

/// Why a request has no result.
#[derive(Debug, Error)]
pub(crate) enum RequestError {
    #[error("{} is not open: send textDocument/didOpen first", .0.0)]
    NotOpen(Uri),
    #[error("the text of {} is out of step with the editor since a change that could not be read: close and reopen it", .0.0)]
    OutOfStep(Uri),
    /// Parameters that can be read but not meant.
    #[error("{0}")]
    BadParams(String),
    #[error("{} has changed since the request was made", .0.0)]
    ContentModified(Uri),
    /// The client asked again for the same document.
    #[error("superseded by a newer request for {0}")]
    Superseded(String),
    /// Too many documents wait for the model; the oldest request goes.
    #[error("too many requests are waiting for the model")]
    Overload,
    #[error("{} was closed", .0)]
    DocumentClosed(String),
    #[error("the server is shutting down")]
    ShuttingDown,
    /// Well asked, but there is nothing to change.
    #[error("{0}")]
    NothingToDo(String),
    /// The client did not do its part.
    #[error("{0}")]
    Client(String),
    /// `initializationOptions.trusted` is false.
    #[error(
        "the editor does not trust this workspace, so nothing is computed: trust it, then restart the server"
    )]
    Untrusted,
    #[error("there is no model: {0}")]
    NoModel(String),
    #[error(transparent)]
    Infill(#[from] InfillError),
    #[error("internal error, please report it: {0}")]
    Panicked(String),
}

impl RequestError {
    /// The error for a caught panic's payload.
    pub(crate) fn from_panic(payload: &(dyn Any + Send)) -> Self {
        let message = payload.downcast_ref::<&str>().copied();
        let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self::Panicked(message.unwrap_or("panic without a message").to_owned())
    }

    fn code(&self) -> jsonrpc::ErrorCode {
        match self {
            Self::NotOpen(_) | Self::BadParams(_) => jsonrpc::ErrorCode::InvalidParams,
            Self::ContentModified(_) => jsonrpc::ErrorCode::ContentModified,
            // Editors drop this code in silence, whoever cancelled; see docs/lsp-extensions.md.
            Self::Superseded(_)
            | Self::Overload
            | Self::DocumentClosed(_)
            | Self::ShuttingDown
            | Self::Infill(InfillError::Cancelled) => jsonrpc::ErrorCode::RequestCancelled,
            Self::OutOfStep(_)
            | Self::NothingToDo(_)
            | Self::Client(_)
            | Self::Untrusted
            | Self::NoModel(_)
            | Self::Infill(InfillError::BadRequest(_) | InfillError::Model(_)) => REQUEST_FAILED,
            Self::Panicked(_) => jsonrpc::ErrorCode::InternalError,
        }
    }
}

impl From<RequestError> for jsonrpc::Error {
    fn from(error: RequestError) -> Self {
        Self { code: error.code(), message: error.to_string().into(), data: None }
    }
}

/// Runs a request's handler; a panic in it becomes its answer instead of the end of the server.
pub(crate) async fn answer<T>(
    handler: impl Future<Output = Result<T, RequestError>>,
) -> jsonrpc::Result<T> {
    let mut handler = pin!(handler);
    let outcome = poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx)))
            .unwrap_or_else(|payload| Poll::Ready(Err(RequestError::from_panic(&*payload))))
    });
    outcome.await.map_err(jsonrpc::Error::from)
}

/// Runs a notification's handler; a panic in it is logged instead of ending the server, and leaves `None`.
pub(crate) fn notice<T>(handler: impl FnOnce() -> T) -> Option<T> {
    let outcome = catch_unwind(AssertUnwindSafe(handler));
    let log = |payload: &Box<dyn Any + Send>| {
        tracing::error!("a notification failed: {}", RequestError::from_panic(&**payload));
    };
    outcome.inspect_err(log).ok()
}
