//! What the server knows of its client: the open documents and what was agreed upon.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use diffcoder_engine::infiller::Infill;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;
use tower_lsp::gen_lsp_types::{InlineCompletionTriggerKind, ProgressToken, Uri};

use crate::announcer::Announcer;
use crate::capabilities::{ClientFeatures, ConfigurationAbilities};
use crate::client_log::Trace;
use crate::completions::Completions;
use crate::config::{Config, Settings};
use crate::document::{ContentChange, Document};
use crate::error::RequestError;
use crate::position::PositionEncoding;
use crate::progress::Bell;
use crate::related::{RelatedText, Wanted};
use crate::status::{Notes, Nothing};
use crate::worker::Worker;

/// One client's session.
///
/// Every method is synchronous and short. A handler calls them before its first `.await`, and so edits and requests
/// take effect in the order in which they arrived.
pub(crate) struct Session {
    state: Mutex<State>,
    config: Mutex<Config>,
    on_settings: OnSettings,
    /// How much of the log the client wants to hear.
    pub(crate) trace: Trace,
    pub(crate) notes: Notes,
    pub(crate) announcer: Announcer,
    pub(crate) worker: Worker,
    pub(crate) completions: Completions,
    pub(crate) related: Arc<RelatedText>,
    /// The client can answer nothing any more.
    has_left: watch::Sender<bool>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("state", &self.state).finish_non_exhaustive()
    }
}

type OnSettings = Box<dyn Fn(&Settings) + Send + Sync>;

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
    is_distrusted: bool,
    /// Folders of the workspace, and how the client tells their settings.
    folders: Vec<Uri>,
    configuration: ConfigurationAbilities,
    /// Counts the questions for settings: the answer to an older one is out of date.
    last_question: u64,
}

/// A document as it was when a request arrived.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) document: Document,
    pub(crate) encoding: PositionEncoding,
    pub(crate) settings: Arc<Settings>,
}

impl Snapshot {
    /// Puts the fills' text into the log, if the user wants source code there.
    pub(crate) fn log_fills(&self, infill: &Infill) {
        if self.settings.server.log_text {
            for fill in &infill.holes {
                tracing::trace!(document = self.document.uri.0, text = fill.text, "fill");
            }
        }
    }
}

impl Session {
    pub(crate) fn new(
        worker: Worker,
        config: Config,
        on_settings: OnSettings,
        trace: Trace,
    ) -> Self {
        let session = Self {
            trace,
            state: Mutex::default(),
            config: Mutex::new(config),
            on_settings,
            notes: Notes::default(),
            announcer: Announcer::default(),
            worker,
            completions: Completions::default(),
            related: Arc::default(),
            has_left: watch::Sender::new(false),
        };
        session.reconfigure(|_| ());
        session
    }

    /// Changes the settings, or finds that nothing has changed, and acts on what holds from now on.
    pub(crate) fn reconfigure(&self, change: impl FnOnce(&mut Config)) {
        let mut config = self.config.lock();
        change(&mut config);
        let settings = config.settings("", "");
        self.announcer.warn(&config.take_problems());
        drop(config);
        // What was shown under other settings says nothing of these.
        self.completions.forget_all();
        (self.on_settings)(&settings);
        self.worker.configure(settings.model_dir().map(Into::into), settings.idle_unload());
    }

    /// What holds for a document; `("", "")` for none.
    pub(crate) fn settings(&self, uri: &str, language_id: &str) -> Arc<Settings> {
        let mut config = self.config.lock();
        let has_changed = config.refresh();
        let settings = config.settings(uri, language_id);
        drop(config);
        if has_changed {
            self.reconfigure(|_| ());
        }
        settings
    }

    /// The client says nothing more: stops its work, and whoever waits for its answer.
    pub(crate) fn leave(&self) {
        self.worker.close();
        self.has_left.send_replace(true);
    }

    /// What the client answers to a question. One that has left answers nothing, and who waited on would keep the
    /// server from ending.
    pub(crate) async fn answer_to<T, E: From<RequestError>>(
        &self,
        question: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut has_left = self.has_left.subscribe();
        // Nor is anybody there to ask.
        if *has_left.borrow() {
            return Err(RequestError::ShuttingDown.into());
        }
        tokio::select! {
            biased;
            answer = question => answer,
            _ = has_left.wait_for(|has_left| *has_left) => Err(RequestError::ShuttingDown.into()),
        }
    }

    /// Computes nothing from now on: the editor does not trust the workspace.
    pub(crate) fn distrust(&self) {
        self.state.lock().is_distrusted = true;
        self.worker.distrust();
    }

    /// Whether the editor has said that it does not trust the workspace.
    pub(crate) fn is_distrusted(&self) -> bool {
        self.state.lock().is_distrusted
    }

    /// Why the document gets no suggestion, whatever the model would say.
    pub(crate) fn refuses(
        &self,
        snapshot: &Snapshot,
        trigger: &InlineCompletionTriggerKind,
    ) -> Option<Nothing> {
        let settings = &snapshot.settings;
        if self.is_distrusted() {
            Some(Nothing::Untrusted)
        } else if !settings.enable {
            Some(Nothing::Disabled(snapshot.document.language_id.clone()))
        } else {
            let is_automatic = *trigger == InlineCompletionTriggerKind::Automatic;
            (is_automatic && !settings.completion.automatic).then_some(Nothing::OnRequestOnly)
        }
    }

    pub(crate) fn set_configuration_abilities(&self, abilities: ConfigurationAbilities) {
        self.state.lock().configuration = abilities;
    }

    /// Whether the client wants a registration before it tells of changed settings.
    pub(crate) fn wants_configuration_registered(&self) -> bool {
        self.state.lock().configuration.registers
    }

    /// The workspace's folders are others now; returns all of them.
    pub(crate) fn change_folders(&self, added: Vec<Uri>, removed: &[Uri]) -> Vec<Uri> {
        let folders = &mut self.state.lock().folders;
        folders.retain(|folder| !removed.contains(folder) && !added.contains(folder));
        folders.extend(added);
        folders.clone()
    }

    /// A number for a question to the client, and the folders to ask about; `None` if it does not answer.
    pub(crate) fn ask_for_settings(&self) -> Option<(u64, Vec<Uri>)> {
        let mut state = self.state.lock();
        state.last_question += 1;
        state.configuration.answers.then(|| (state.last_question, state.folders.clone()))
    }

    /// Takes the client's answer to a question: the settings of everything, then of each folder.
    pub(crate) fn take_settings(&self, question: u64, folders: &[Uri], answer: &[Value]) {
        if self.state.lock().last_question != question {
            return;
        }
        self.reconfigure(|config| {
            let Some((all, of_folders)) = answer.split_first() else { return };
            config.set_editor(all);
            let uris = folders.iter().map(|folder| folder.0.clone());
            config.set_folders(uris.zip(of_folders));
        });
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
        let document = state.documents.remove(uri);
        state.orders.remove(uri);
        drop(state);
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

    /// Notes that somebody copied bytes of the document.
    pub(crate) fn seen(&self, document: &Document, span: Range<usize>) {
        if self.worker.related_tokens() > 0 {
            self.related.seen(document, span);
        }
    }

    /// What is to be looked up in other files for the cursor that somebody types at; `None` if the model has no use for it.
    pub(crate) fn wanted_beside_cursor(&self, snapshot: &Snapshot, at: usize) -> Option<Wanted> {
        let wanted = self.wanted_beside(snapshot, at)?;
        self.related.visit(&snapshot.document, snapshot.document.text.byte_to_line(at));
        Some(Wanted { is_typed: true, ..wanted })
    }

    /// What is to be looked up in other files for a hole at the byte `at`; `None` if the model has no use for it.
    pub(crate) fn wanted_beside(&self, snapshot: &Snapshot, cursor: usize) -> Option<Wanted> {
        let Snapshot { document, settings, .. } = snapshot;
        let most = if settings.context.related { settings.context.budget } else { 0 };
        let tokens = self.worker.related_tokens().min(most);
        if tokens == 0 {
            return None;
        }
        let state = self.state.lock();
        let others = state
            .documents
            .values()
            .filter(|other| other.uri != document.uri && !other.is_out_of_step);
        let mut others: Vec<Document> = others.cloned().collect();
        others.sort_by(|a, b| a.uri.0.cmp(&b.uri.0));
        Some(Wanted { document: document.clone(), cursor, others, tokens, is_typed: false })
    }

    /// The document as it is now.
    pub(crate) fn snapshot(&self, uri: &Uri) -> Result<Snapshot, RequestError> {
        let state = self.state.lock();
        let document =
            state.documents.get(uri).ok_or_else(|| RequestError::NotOpen(uri.clone()))?;
        if document.is_out_of_step {
            return Err(RequestError::OutOfStep(uri.clone()));
        }
        let (document, encoding) = (document.clone(), state.encoding);
        drop(state);
        let settings = self.settings(&uri.0, &document.language_id);
        Ok(Snapshot { document, encoding, settings })
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
