//! What the server says by itself: `window/showMessage` for the user's mistakes, `$/diffcoder/status` for the editor.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tower_lsp::Client;
use tower_lsp::gen_lsp_types::{
    LspNotificationMethod, MessageDirection, MessageType, Notification,
};

use crate::config::Problem;
use crate::model_state::Life;
use crate::state::Session;
use crate::status::{self, StatusResult};

/// Between two notifications of the status: typing changes it several times for each key.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);

/// Collects what is to be said until there is somebody to hear it.
#[derive(Debug, Default)]
pub(crate) struct Announcer {
    messages: Mutex<Messages>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Messages {
    waiting: Vec<String>,
    /// An editor sends its settings again and again; once is enough for each mistake.
    said: BTreeSet<String>,
    is_closed: bool,
}

struct StatusNotification;

impl Notification for StatusNotification {
    type Params = StatusResult;
    const METHOD: LspNotificationMethod<'static> =
        LspNotificationMethod::Custom("$/diffcoder/status");
    const MESSAGE_DIRECTION: MessageDirection = MessageDirection::ServerToClient;
}

impl Announcer {
    /// Tells the user of mistakes, all of them in one message.
    pub(crate) fn warn(&self, problems: &[Problem]) {
        let mut messages = self.messages.lock();
        let mut fresh = Vec::new();
        for Problem { message } in problems {
            if messages.said.insert(message.clone()) {
                tracing::warn!("{message}");
                fresh.push(&**message);
            }
        }
        if !fresh.is_empty() {
            messages.waiting.push(format!("diffcoder: {}", fresh.join("; ")));
            self.changed.notify_one();
        }
    }

    /// Ends [`run`].
    pub(crate) fn close(&self) {
        self.messages.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// What is to be said; `None` once closed.
    fn take(&self) -> Option<Vec<String>> {
        let mut messages = self.messages.lock();
        (!messages.is_closed).then(|| std::mem::take(&mut messages.waiting))
    }
}

/// Says what there is to say until the session ends.
pub(crate) async fn run(session: Arc<Session>, client: Client) {
    let (mut model, mut notes) = (session.worker.state(), session.notes.watch());
    let mut last = None;
    while let Some(messages) = session.announcer.take() {
        for message in messages {
            client.show_message(MessageType::Warning, message).await;
        }
        let failure = match &model.borrow_and_update().life {
            Life::Failed(reason) => Some(format!("diffcoder: there is no model: {reason}")),
            _ => None,
        };
        if let Some(failure) = failure
            && session.announcer.messages.lock().said.insert(failure.clone())
        {
            client.show_message(MessageType::Error, failure).await;
        }
        notes.mark_unchanged();
        let now = status::of(&session);
        if last.as_ref() != Some(&now) {
            client.send_notification::<StatusNotification>(now.clone()).await;
            last = Some(now);
            tokio::time::sleep(STATUS_INTERVAL).await;
        }
        tokio::select! {
            () = session.announcer.changed.notified() => {}
            Ok(()) = model.changed() => {}
            Ok(()) = notes.changed() => {}
            else => return,
        }
    }
}
