//! What the server knows of its client: the open documents and what was agreed upon.

use std::collections::HashMap;

use parking_lot::Mutex;
use tower_lsp::gen_lsp_types::{ProgressToken, Uri};

use crate::capabilities::ClientFeatures;
use crate::document::{ContentChange, Document};
use crate::error::RequestError;
use crate::position::PositionEncoding;
use crate::progress::Bell;
use crate::worker::Worker;

/// One client's session.
///
/// Every method is synchronous and short. A handler calls them before its first `.await`, and so edits and requests
/// take effect in the order in which they arrived.
#[derive(Debug)]
pub(crate) struct Session {
    state: Mutex<State>,
    pub(crate) worker: Worker,
}

#[derive(Debug, Default)]
struct State {
    documents: HashMap<Uri, Document>,
    encoding: PositionEncoding,
    features: ClientFeatures,
    /// Work whose progress the client shows, and how to stop it.
    shown: HashMap<ProgressToken, Bell>,
    n_progress_tokens: usize,
    /// The newest thing asked for by hand in each document.
    orders: HashMap<Uri, usize>,
    n_orders: usize,
    shutdown_was_requested: bool,
}

/// A document as it was when a request arrived.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) document: Document,
    pub(crate) encoding: PositionEncoding,
}

impl Session {
    pub(crate) fn new(worker: Worker) -> Self {
        Self { state: Mutex::default(), worker }
    }

    pub(crate) fn set_client(&self, encoding: PositionEncoding, features: ClientFeatures) {
        let mut state = self.state.lock();
        state.encoding = encoding;
        state.features = features;
    }

    /// Notes that something was asked for by hand in a document; returns its number.
    pub(crate) fn begin_order(&self, uri: &Uri) -> usize {
        let mut state = self.state.lock();
        state.n_orders += 1;
        let number = state.n_orders;
        state.orders.insert(uri.clone(), number);
        number
    }

    /// An error if something newer was asked for in the document: what plans first must not stop it.
    pub(crate) fn check_newest(&self, uri: &Uri, order: usize) -> Result<(), RequestError> {
        let is_newer = self.state.lock().orders.get(uri).is_some_and(|newest| *newest > order);
        if is_newer { Err(RequestError::Superseded(uri.0.clone())) } else { Ok(()) }
    }

    /// What the client can take.
    pub(crate) fn features(&self) -> ClientFeatures {
        self.state.lock().features
    }

    /// A token for progress that the server begins.
    pub(crate) fn new_progress_token(&self) -> ProgressToken {
        let mut state = self.state.lock();
        state.n_progress_tokens += 1;
        ProgressToken::String(format!("diffcoder-{}", state.n_progress_tokens))
    }

    /// Rings once the client wants the work under `token` to stop.
    pub(crate) fn watch_progress(&self, token: ProgressToken) -> Bell {
        let bell = Bell::default();
        self.state.lock().shown.insert(token, Bell::clone(&bell));
        bell
    }

    pub(crate) fn forget_progress(&self, token: &ProgressToken) {
        self.state.lock().shown.remove(token);
    }

    pub(crate) fn cancel_progress(&self, token: &ProgressToken) {
        if let Some(bell) = self.state.lock().shown.get(token) {
            bell.notify_one();
        }
    }

    pub(crate) fn open(&self, document: Document) {
        self.state.lock().documents.insert(document.uri.clone(), document);
    }

    /// Applies changes to an open document.
    pub(crate) fn change(
        &self,
        uri: &Uri,
        version: i32,
        changes: &[ContentChange],
    ) -> Result<(), RequestError> {
        let mut state = self.state.lock();
        let encoding = state.encoding;
        let document =
            state.documents.get_mut(uri).ok_or_else(|| RequestError::NotOpen(uri.clone()))?;
        document.apply_changes(version, changes, encoding);
        Ok(())
    }

    /// Notes that a change to the document was lost.
    pub(crate) fn lose_step(&self, uri: &Uri) {
        if let Some(document) = self.state.lock().documents.get_mut(uri) {
            document.is_out_of_step = true;
        }
    }

    /// Notes that a message was lost that may have been a change to any document.
    pub(crate) fn lose_all_steps(&self) {
        // Each is treated alike, so their order does not matter.
        self.state
            .lock()
            .documents
            .values_mut()
            .for_each(|document| document.is_out_of_step = true);
    }

    pub(crate) fn close(&self, uri: &Uri) {
        let mut state = self.state.lock();
        state.documents.remove(uri);
        state.orders.remove(uri);
        drop(state);
        self.worker.cancel_document(&uri.0);
    }

    /// The document as it is now.
    pub(crate) fn snapshot(&self, uri: &Uri) -> Result<Snapshot, RequestError> {
        let state = self.state.lock();
        let document =
            state.documents.get(uri).ok_or_else(|| RequestError::NotOpen(uri.clone()))?;
        if document.is_out_of_step {
            return Err(RequestError::OutOfStep(uri.clone()));
        }
        Ok(Snapshot { document: document.clone(), encoding: state.encoding })
    }

    /// Notes that the client is about to leave in good order, and stops all work.
    pub(crate) fn shut_down(&self) {
        self.state.lock().shutdown_was_requested = true;
        self.worker.close();
    }

    pub(crate) fn shutdown_was_requested(&self) -> bool {
        self.state.lock().shutdown_was_requested
    }
}
