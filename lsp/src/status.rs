//! What the server can say of itself: the model's state, the last latency, and why the last request showed nothing.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::after_fill::Drop;
use crate::model_state::{Life, ModelState};
use crate::state::Session;
use crate::stats::Stats;

/// `StatusResult` of `docs/lsp-extensions.md`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusResult {
    state: State,
    model: String,
    device: String,
    memory_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_latency_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum State {
    Idle,
    Busy,
    Loading,
    Unloaded,
    Failed,
}

/// Why a request for a suggestion showed nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Nothing {
    /// The editor does not trust the workspace.
    Untrusted,
    /// `enable` is false for this language.
    Disabled(String),
    /// `completion.automatic` is false.
    OnRequestOnly,
    /// The model is less sure than `completion.showThreshold`.
    Unsure { confidence: f32, threshold: f64 },
    /// Nothing was left of the fill.
    Dropped(Drop),
}

impl Nothing {
    /// What it is counted as.
    fn key(&self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::Disabled(_) => "disabled",
            Self::OnRequestOnly => "onRequestOnly",
            Self::Unsure { .. } => "lowConfidence",
            Self::Dropped(Drop::Empty) => "empty",
            Self::Dropped(Drop::Repetition) => "repetition",
            Self::Dropped(Drop::Error) => "syntax",
        }
    }
}

impl fmt::Display for Nothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted => f.write_str("the workspace is not trusted"),
            Self::Disabled(language) => write!(f, "suggestions are off for {language}"),
            Self::OnRequestOnly => f.write_str("suggestions come only when asked for"),
            Self::Unsure { confidence, threshold } => {
                write!(f, "low confidence: {confidence:.2} of {threshold} wanted")
            }
            Self::Dropped(Drop::Empty) => f.write_str("the model left the place empty"),
            Self::Dropped(Drop::Repetition) => f.write_str("the suggestion stands there already"),
            Self::Dropped(Drop::Error) => f.write_str("the suggestion would break the syntax"),
        }
    }
}

/// What became of the last request for a suggestion.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Last {
    latency: Option<Duration>,
    nothing: Option<Nothing>,
}

/// Remembers what became of the last request, and counts.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    last: watch::Sender<Last>,
    counts: Mutex<Stats>,
}

impl Notes {
    /// A suggestion was shown.
    pub(crate) fn shown(&self, latency: Duration) {
        let mut counts = self.counts.lock();
        counts.shown += 1;
        counts.add_latency(latency);
        drop(counts);
        self.last.send_replace(Last { latency: Some(latency), nothing: None });
    }

    /// A suggestion goes on from the one that was shown: neither a new one nor the model's time.
    pub(crate) fn still_shown(&self) {
        self.last.send_modify(|last| last.nothing = None);
    }

    /// Nothing was shown. What was refused at once says nothing of the model's speed.
    pub(crate) fn nothing(&self, reason: Nothing, latency: Option<Duration>) {
        tracing::debug!("nothing to show: {reason}");
        let mut counts = self.counts.lock();
        *counts.nothing.entry(reason.key().to_owned()).or_default() += 1;
        if let Some(latency) = latency {
            counts.add_latency(latency);
        }
        drop(counts);
        self.last.send_modify(|last| {
            *last = Last { latency: latency.or(last.latency), nothing: Some(reason) };
        });
    }

    /// The user has taken a suggestion.
    pub(crate) fn accepted(&self) {
        self.counts.lock().accepted += 1;
    }

    /// The counts since the last call; `None` if there are none.
    pub(crate) fn take_counts(&self) -> Option<Stats> {
        let counts = std::mem::take(&mut *self.counts.lock());
        (counts != Stats::default()).then_some(counts)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Last> {
        self.last.subscribe()
    }
}

/// The status now.
pub(crate) fn of(session: &Session) -> StatusResult {
    let ModelState { life, name, resources, is_busy, .. } = session.worker.state().borrow().clone();
    let last = session.notes.last.borrow().clone();
    let state = match &life {
        Life::Loading => State::Loading,
        Life::Loaded if is_busy => State::Busy,
        Life::Loaded => State::Idle,
        Life::Unloaded => State::Unloaded,
        Life::Failed(_) => State::Failed,
    };
    StatusResult {
        state,
        model: name,
        device: resources.device,
        memory_bytes: resources.memory_bytes,
        last_latency_ms: last.latency.map(|latency| latency.as_millis() as u64),
        last_reason: last.nothing.map(|reason| reason.to_string()),
        message: match life {
            Life::Failed(reason) => Some(reason),
            _ => None,
        },
    }
}
