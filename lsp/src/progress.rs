//! Shows that something is under way, and lets people stop it there: work-done progress of the protocol.

use std::future::Future;
use std::sync::Arc;

use diffcoder_engine::infiller::InfillError;
use tokio::sync::{Notify, oneshot};
use tower_lsp::Client;
use tower_lsp::gen_lsp_types::ProgressToken;

use crate::error::RequestError;
use crate::state::Session;

/// Runs `work`, whose progress the client shows under `title`: under its own `token`, or under one of ours if it takes
/// such. If it sends `window/workDoneProgress/cancel`, `work` is dropped and with it the model's job.
pub(crate) async fn shown<T>(
    session: &Session,
    client: &Client,
    (title, token): (&'static str, Option<ProgressToken>),
    work: impl Future<Output = Result<T, RequestError>>,
) -> Result<T, RequestError> {
    let (token, is_ours) = match token {
        Some(token) => (token, false),
        None if session.features().work_done_progress => (session.new_progress_token(), true),
        None => return work.await,
    };
    let cancelled = session.watch_progress(token.clone());
    let _forget = Forget { session, token: token.clone() };
    let (_done, end) = oneshot::channel::<()>();
    tokio::spawn(announce(client.clone(), (token, is_ours), title, end));
    tokio::select! {
        biased;
        outcome = work => outcome,
        () = cancelled.notified() => Err(RequestError::Infill(InfillError::Cancelled)),
    }
}

/// Sends the beginning, and the end once `end` is dropped. Nothing waits for it: a client may be slow to answer.
async fn announce(
    client: Client,
    (token, is_ours): (ProgressToken, bool),
    title: &'static str,
    mut end: oneshot::Receiver<()>,
) {
    if is_ours && client.create_work_done_progress(token.clone()).await.is_err() {
        return;
    }
    if !is_ours && end.try_recv() == Err(oneshot::error::TryRecvError::Closed) {
        // Done before anything was shown. A token that the client made for us must end, though: Helix, which answers only
        // once it has the result, shows it from then on.
        return;
    }
    let progress = client.progress(token, title).with_cancel_button().begin().await;
    // The sender is dropped, never used: an error is the signal.
    drop(end.await);
    progress.finish().await;
}

/// Ends the watch over a token.
struct Forget<'a> {
    session: &'a Session,
    token: ProgressToken,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.session.forget_progress(&self.token);
    }
}

/// Rings when the client wants the work under a token to stop.
pub(crate) type Bell = Arc<Notify>;
