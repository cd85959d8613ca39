//! What the session remembers of completions: earlier suggestions, how fast somebody types, what it all cost.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use diffcoder_engine::infiller::InfillStats;
use parking_lot::Mutex;
use serde::Serialize;
use tower_lsp::gen_lsp_types::Uri;

use crate::after_fill::{Edit, Parsed};
use crate::pace::{Mean, Pace};
use crate::typed_through::{Asked, Place, Suggested};

/// Suggestions that a document keeps: what is deleted again finds its own.
const MOST_SUGGESTIONS: usize = 16;

/// The last tree of a document, to make the next one of.
pub(crate) type LastTree = Arc<Mutex<Option<Parsed>>>;

/// Memory of all documents. Every method is short, none waits.
#[derive(Debug, Default)]
pub(crate) struct Completions(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    documents: HashMap<Uri, OfDocument>,
    /// From the end of the wait to the item.
    cost: Mean,
    stats: Stats,
}

#[derive(Debug, Default)]
struct OfDocument {
    /// The newest first.
    suggestions: VecDeque<Suggested>,
    pace: Pace,
    tree: LastTree,
    /// When the model may begin with the request that has no answer yet.
    under_way: Option<Instant>,
}

/// What a request needs to know.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// The answer, from an earlier one.
    Remembered(Vec<Edit>),
    /// The model is to be asked after this wait.
    Ask(Duration, LastTree),
}

/// Where the time of a completion went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) debounce: Duration,
    /// From the end of the wait to the answer.
    pub(crate) whole: Duration,
    pub(crate) prepare: Duration,
    pub(crate) finish: Duration,
}

/// Sums since the session began, and the last edit.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stats {
    /// Completions that the model was asked for and that were not superseded.
    asked: u64,
    /// Completions that went on from an earlier one.
    remembered: u64,
    prompt_tokens: u64,
    cached_tokens: u64,
    forwards: u64,
    tokens: u64,
    debounce_ms: f64,
    prepare_ms: f64,
    model_ms: f64,
    finish_ms: f64,
    /// From reading the last edit's parameters to the changed text, or to the error.
    last_edit_ms: f64,
}

impl Completions {
    /// Notes how long an edit took.
    pub(crate) fn edited(&self, took: Duration) {
        self.0.lock().stats.last_edit_ms = took.as_secs_f64() * 1e3;
    }

    /// Notes a request, and looks for its answer among the earlier ones.
    pub(crate) fn arrive(
        &self,
        uri: &Uri,
        place: &Place,
        (asked, most_delay): (Asked, Duration),
        now: Instant,
    ) -> Arrival {
        let mut memory = self.0.lock();
        let Memory { documents, cost, stats } = &mut *memory;
        let document = documents.entry(uri.clone()).or_default();
        document.pace.key(now);
        if document.under_way.take().is_some_and(|begins| now < begins) {
            cost.fade();
        }
        let rest =
            document.suggestions.iter().find_map(|suggested| suggested.rest_at(place, asked));
        if let Some(mut rest) = rest {
            stats.remembered += 1;
            if asked == Asked::Automatic {
                rest.truncate(1);
            }
            return Arrival::Remembered(rest);
        }
        let delay = match asked {
            Asked::Automatic => document.pace.delay(*cost, most_delay),
            Asked::Invoked => Duration::ZERO,
        };
        document.under_way = (asked == Asked::Automatic).then_some(now + delay);
        Arrival::Ask(delay, Arc::clone(&document.tree))
    }

    /// Keeps the answer to a request for what is typed next.
    pub(crate) fn keep(&self, uri: &Uri, suggested: Suggested) {
        // A document that was closed meanwhile stays forgotten.
        if let Some(document) = self.0.lock().documents.get_mut(uri) {
            document.under_way = None;
            document.suggestions.truncate(MOST_SUGGESTIONS - 1);
            document.suggestions.push_front(suggested);
        }
    }

    /// Notes what a completion cost.
    pub(crate) fn spent(&self, asked: Asked, spent: Spent, stats: &InfillStats) {
        let mut memory = self.0.lock();
        // Alternatives say nothing of what typing costs, nor does the first look at a place.
        let is_warm = 2 * stats.cached_tokens > stats.prompt_tokens;
        if asked == Asked::Automatic && is_warm {
            memory.cost.add(spent.whole);
        }
        let sums = &mut memory.stats;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        sums.asked += 1;
        sums.prompt_tokens += stats.prompt_tokens as u64;
        sums.cached_tokens += stats.cached_tokens as u64;
        sums.forwards += stats.forwards as u64;
        sums.tokens += stats.tokens as u64;
        sums.debounce_ms += ms(spent.debounce);
        sums.prepare_ms += ms(spent.prepare);
        sums.model_ms += ms(stats.wall);
        sums.finish_ms += ms(spent.finish);
    }

    /// Forgets every suggestion.
    pub(crate) fn forget_all(&self) {
        // Each is treated alike, so their order does not matter.
        self.0.lock().documents.values_mut().for_each(|document| document.suggestions.clear());
    }

    pub(crate) fn stats(&self) -> Stats {
        self.0.lock().stats
    }

    pub(crate) fn forget(&self, uri: &Uri) {
        self.0.lock().documents.remove(uri);
    }
}
