//! The protocol's side of the program: names every method, and wires transport, session and worker together.
//!
//! Four duties make tower-lsp fit for requests that take seconds; the tests under `tests/protocol/` hold us to them:
//! its window of concurrent messages is wide ([`MAX_CONCURRENT_MESSAGES`]); a handler changes or snapshots the session
//! before its first `.await`, under a mutex; the future that waits for the model cancels its job when dropped; and a
//! message that cannot be read never reaches tower-lsp (`framing.rs`).

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::runtime::Handle;
use tower_lsp::gen_lsp_types::{
    CodeAction, CodeActionParams, CodeActionResponse, CompletionParams, CompletionResponse,
    DidChangeConfigurationParams, DidChangeWorkspaceFoldersParams, DidCloseTextDocumentParams,
    DidOpenTextDocumentParams, DidSaveTextDocumentParams, ExecuteCommandParams, InitializeParams,
    InitializeResult, InitializedParams, InlineCompletionParams, InlineCompletionResponse, LspAny,
    SetTraceParams, WorkDoneProgressCancelParams,
};
use tower_lsp::jsonrpc::Result;
use tower_lsp::{Client, LanguageServer, LspService};

use crate::admission::Admission;
use crate::announcer;
use crate::backend::Backend;
use crate::client_log::{self, ClientLog};
use crate::completions;
use crate::error::{answer, notice};
use crate::framing::forward_messages;
use crate::handlers::document_text::{DocumentText, DocumentTextParams};
use crate::handlers::holes::{HolesParams, HolesResult};
use crate::handlers::infill::{InfillParams, InfillResult};
use crate::handlers::score::{ScoreParams, ScoreResult};
use crate::handlers::seen::SeenParams;
use crate::handlers::{
    code_action, code_action_resolve, completion, completion_stats, configuration, did_change,
    did_close, did_open, did_save, document_text, execute_command, holes, infill, initialize,
    initialized, inline_completion, score, seen, set_trace, shutdown, status,
    work_done_progress_cancel,
};
use crate::state::Session;
use crate::stats;
use crate::status::StatusResult;
use crate::worker::Worker;

/// Far more than the worker's queue ever holds open. tower-lsp's default of 4 would let four slow infills hold up
/// every edit and cancel behind them.
const MAX_CONCURRENT_MESSAGES: usize = 256;

/// How long the end of a session waits for the forward that the model is in.
const MODEL_EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// How often counts are put into their file.
const COUNT_INTERVAL: Duration = Duration::from_secs(60);

const PIPE_BYTES: usize = 64 << 10;

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

/// Serves one client over this process's stdin and stdout until it exits. Nothing else may write to stdout.
pub async fn serve_stdio(backend: Backend) -> SessionEnd {
    serve(read_stdin(), tokio::io::stdout(), backend).await
}

/// Serves one client over `read` and `write` until it sends `exit` or closes `read`.
///
/// Returns with the model dropped, unless a forward takes longer than two seconds to notice that it is cancelled.
pub async fn serve(
    read: impl AsyncRead + Send + Unpin + 'static,
    write: impl AsyncWrite,
    backend: impl Into<Backend>,
) -> SessionEnd {
    let Backend { loader, mut config, stats, on_settings, client_log } = backend.into();
    let model_dir = config.settings("", "").model_dir().map(Into::into);
    let (worker, worker_end) = Worker::start(loader, model_dir);
    // The capabilities tell what the model can do; `initialize` itself must not wait, for messages may follow it at once.
    worker.loaded().await;
    let trace = client_log.as_ref().map(|log| log.trace.clone()).unwrap_or_default();
    let session = Arc::new(Session::new(worker, config, on_settings, trace));
    let (service, socket) = LspService::build_with_lifecycle_methods(|client| Server {
        session: Arc::clone(&session),
        client,
        log: Mutex::new(client_log),
    })
    .custom_method("$/setTrace", Server::set_trace)
    .custom_method("textDocument/didOpen", Server::did_open)
    .custom_method("textDocument/didChange", Server::did_change)
    .custom_method("textDocument/didSave", Server::did_save)
    .custom_method("textDocument/didClose", Server::did_close)
    .custom_method("workspace/didChangeConfiguration", Server::did_change_configuration)
    .custom_method("workspace/didChangeWorkspaceFolders", Server::did_change_workspace_folders)
    .custom_method("textDocument/inlineCompletion", Server::inline_completion)
    .custom_method("textDocument/completion", Server::completion)
    .custom_method("textDocument/codeAction", Server::code_action)
    .custom_method("codeAction/resolve", Server::code_action_resolve)
    .custom_method("workspace/executeCommand", Server::execute_command)
    .custom_method("window/workDoneProgress/cancel", Server::work_done_progress_cancel)
    .custom_method("diffcoder/seen", Server::seen)
    .custom_method("diffcoder/infill", Server::infill)
    .custom_method("diffcoder/holes", Server::holes)
    .custom_method("diffcoder/score", Server::score)
    .custom_method("diffcoder/status", Server::status)
    .custom_method("diffcoder/unload", Server::unload)
    .custom_method("diffcoder/reload", Server::reload)
    .custom_method("diffcoder/documentText", Server::document_text)
    .custom_method("diffcoder/completionStats", Server::completion_stats)
    .finish();

    let (messages, forwarded) = tokio::io::duplex(PIPE_BYTES);
    let input = tokio::spawn({
        let session = Arc::clone(&session);
        async move {
            if let Err(error) = forward_messages(read, forwarded).await {
                tracing::warn!("the client's messages ended with an error: {error}");
            }
            // Nobody is left to answer to; without this the transport would wait for all that is under way.
            session.leave();
        }
    });
    let counting = tokio::spawn(keep_counting(Arc::clone(&session), stats.clone()));
    tower_lsp::Server::new(messages, write, socket)
        .concurrency_level(MAX_CONCURRENT_MESSAGES)
        .serve(Admission { service, session: Arc::clone(&session) })
        .await;
    input.abort();
    counting.abort();
    if let Some(file) = &stats {
        count(&session, file);
    }
    session.announcer.close();
    session.worker.close();
    if tokio::time::timeout(MODEL_EXIT_TIMEOUT, worker_end.wait()).await.is_err() {
        tracing::warn!("the model is still busy after {MODEL_EXIT_TIMEOUT:?}; leaving it behind");
    }
    if session.shutdown_was_requested() { SessionEnd::Orderly } else { SessionEnd::Abrupt }
}

/// Puts the session's counts into their file from time to time: not every session ends in good order.
async fn keep_counting(session: Arc<Session>, file: Option<PathBuf>) {
    let Some(file) = file else { return };
    loop {
        tokio::time::sleep(COUNT_INTERVAL).await;
        let (session, file) = (Arc::clone(&session), file.clone());
        if tokio::task::spawn_blocking(move || count(&session, &file)).await.is_err() {
            return;
        }
    }
}

/// Adds what has been counted to the file.
fn count(session: &Session, file: &Path) {
    let is_wanted = session.settings("", "").server.stats;
    if let Some(counts) = session.notes.take_counts().filter(|_| is_wanted)
        && let Err(error) = stats::add(file, &counts)
    {
        tracing::warn!("cannot count in {}: {error}", file.display());
    }
}

/// This process's stdin, read by a thread of its own.
///
/// tokio's stdin would do the same on a thread that its runtime waits for when it ends: after `exit`, that is until
/// the client closes the pipe.
fn read_stdin() -> DuplexStream {
    let (stdin, mut feed) = tokio::io::duplex(PIPE_BYTES);
    let runtime = Handle::current();
    std::thread::spawn(move || {
        let mut buffer = vec![0; PIPE_BYTES];
        loop {
            match std::io::stdin().lock().read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
                Ok(n_bytes) if runtime.block_on(feed.write_all(&buffer[..n_bytes])).is_err() => {
                    break;
                }
                Ok(_) => {}
            }
        }
    });
    stdin
}

/// Receives the protocol's methods; each is one call to its handler.
#[derive(Debug)]
struct Server {
    session: Arc<Session>,
    client: Client,
    /// Until the client may be written to.
    log: Mutex<Option<ClientLog>>,
}

impl LanguageServer for Server {
    async fn initialize(&self, params: InitializeParams) -> Result<InitializeResult> {
        answer(initialize::handle(&self.session, params)).await
    }

    async fn initialized(&self, _: InitializedParams) {
        tokio::spawn(announcer::run(Arc::clone(&self.session), self.client.clone()));
        if let Some(log) = self.log.lock().take() {
            tokio::spawn(client_log::run(log, self.client.clone()));
        }
        initialized::handle(&self.session, &self.client).await;
    }

    async fn shutdown(&self) -> Result<()> {
        answer(shutdown::handle(&self.session)).await
    }
}

impl Server {
    async fn set_trace(&self, params: SetTraceParams) {
        _ = notice(|| set_trace::handle(&self.session, params));
    }

    async fn did_open(&self, params: DidOpenTextDocumentParams) {
        _ = notice(|| did_open::handle(&self.session, params));
    }

    async fn did_change(&self, params: LspAny) {
        did_change::handle(&self.session, params);
    }

    async fn did_save(&self, params: DidSaveTextDocumentParams) {
        _ = notice(|| did_save::handle(&self.session, params));
    }

    async fn did_close(&self, params: DidCloseTextDocumentParams) {
        _ = notice(|| did_close::handle(&self.session, params));
    }

    async fn seen(&self, params: SeenParams) {
        _ = notice(|| seen::handle(&self.session, params));
    }

    async fn completion(&self, params: CompletionParams) -> Result<Option<CompletionResponse>> {
        answer(completion::handle(&self.session, params)).await
    }

    async fn code_action(
        &self,
        params: CodeActionParams,
    ) -> Result<Option<Vec<CodeActionResponse>>> {
        answer(code_action::handle(&self.session, params)).await
    }

    async fn code_action_resolve(&self, chosen: CodeAction) -> Result<CodeAction> {
        answer(code_action_resolve::handle(&self.session, &self.client, chosen)).await
    }

    async fn execute_command(&self, params: ExecuteCommandParams) -> Result<Option<LspAny>> {
        answer(execute_command::handle(&self.session, &self.client, params)).await
    }

    async fn work_done_progress_cancel(&self, params: WorkDoneProgressCancelParams) {
        _ = notice(|| work_done_progress_cancel::handle(&self.session, params));
    }

    async fn did_change_configuration(&self, params: DidChangeConfigurationParams) {
        configuration::did_change(&self.session, &self.client, params).await;
    }

    async fn did_change_workspace_folders(&self, params: DidChangeWorkspaceFoldersParams) {
        configuration::did_change_folders(&self.session, &self.client, params).await;
    }

    async fn status(&self) -> Result<StatusResult> {
        answer(status::handle(&self.session)).await
    }

    async fn unload(&self) -> Result<StatusResult> {
        answer(status::unload(&self.session)).await
    }

    async fn reload(&self) -> Result<StatusResult> {
        answer(status::reload(&self.session)).await
    }

    async fn inline_completion(
        &self,
        params: InlineCompletionParams,
    ) -> Result<Option<InlineCompletionResponse>> {
        answer(inline_completion::handle(&self.session, params)).await
    }

    async fn infill(&self, params: InfillParams) -> Result<InfillResult> {
        answer(infill::handle(&self.session, &self.client, params)).await
    }

    async fn holes(&self, params: HolesParams) -> Result<HolesResult> {
        answer(holes::handle(&self.session, params)).await
    }

    async fn score(&self, params: ScoreParams) -> Result<ScoreResult> {
        answer(score::handle(&self.session, params)).await
    }

    async fn document_text(&self, params: DocumentTextParams) -> Result<DocumentText> {
        answer(document_text::handle(&self.session, params)).await
    }

    async fn completion_stats(&self) -> Result<completions::Stats> {
        answer(completion_stats::handle(&self.session)).await
    }
}
