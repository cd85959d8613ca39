//! What the server knows of its client: the open documents and what was agreed upon.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tower_lsp::gen_lsp_types::Uri;

use crate::completions::Completions;
use crate::document::{ContentChange, Document};
use crate::error::RequestError;
use crate::position::PositionEncoding;
use crate::related::{RelatedText, Wanted};
use crate::worker::Worker;

/// One client's session.
///
/// Every method is synchronous and short. A handler calls them before its first `.await`, and so edits and requests
/// take effect in the order in which they arrived.
#[derive(Debug)]
pub(crate) struct Session {
    state: Mutex<State>,
    pub(crate) worker: Worker,
    pub(crate) completions: Completions,
    pub(crate) related: Arc<RelatedText>,
}

#[derive(Debug, Default)]
struct State {
    documents: HashMap<Uri, Document>,
    encoding: PositionEncoding,
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
        Self {
            state: Mutex::default(),
            worker,
            completions: Completions::default(),
            related: Arc::default(),
        }
    }

    pub(crate) fn set_encoding(&self, encoding: PositionEncoding) {
        self.state.lock().encoding = encoding;
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
        let document = self.state.lock().documents.remove(uri);
        if let Some(document) = document.filter(|_| self.worker.related_tokens() > 0) {
            self.related.put_away(&document);
            self.related.forget(uri);
        }
        self.worker.cancel_document(&uri.0);
        self.completions.forget(uri);
    }

    /// Notes that the document was saved.
    pub(crate) fn saved(&self, uri: &Uri) {
        let document = self.state.lock().documents.get(uri).cloned();
        if let Some(document) = document.filter(|_| self.worker.related_tokens() > 0) {
            self.related.put_away(&document);
        }
    }

    /// What is to be looked up for a cursor in other files; `None` if the model has no use for it.
    pub(crate) fn wanted_beside(&self, document: &Document, cursor: usize) -> Option<Wanted> {
        let tokens = self.worker.related_tokens();
        if tokens == 0 {
            return None;
        }
        self.related.visit(document, document.text.byte_to_line(cursor));
        let state = self.state.lock();
        let others = state
            .documents
            .values()
            .filter(|other| other.uri != document.uri && !other.is_out_of_step);
        let mut others: Vec<Document> = others.cloned().collect();
        others.sort_by(|a, b| a.uri.0.cmp(&b.uri.0));
        Some(Wanted { document: document.clone(), cursor, others, tokens })
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
