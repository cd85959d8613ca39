//! The log as the client wants it: warnings as `window/logMessage`, and what `$/setTrace` asks for as `$/logTrace`.
//!
//! `messages` traces one line for each thing that happened, `verbose` its details as well. Neither holds source code: what
//! our crates log at the level `trace` stays out.

use std::fmt::{Debug, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::mpsc;
use tower_lsp::Client;
use tower_lsp::gen_lsp_types::{LogTraceNotification, LogTraceParams, MessageType, TraceValue};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt as _, dynamic_filter_fn};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Entries that wait for a client that is slow to read; those beyond are dropped.
const MOST_WAITING: usize = 1024;

/// What `$/setTrace` said last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace(Arc<AtomicU8>);

const MESSAGES: u8 = 1;
const VERBOSE: u8 = 2;

impl Trace {
    pub(crate) fn set(&self, value: &TraceValue) {
        let value = match value {
            TraceValue::Messages => MESSAGES,
            TraceValue::Verbose => VERBOSE,
            TraceValue::Off | TraceValue::Custom(_) => 0,
        };
        self.0.store(value, Ordering::Relaxed);
    }

    fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    fn is_verbose(&self) -> bool {
        self.0.load(Ordering::Relaxed) == VERBOSE
    }
}

/// Log entries on their way to the client of this process's one session.
#[derive(Debug)]
pub struct ClientLog {
    pub(crate) trace: Trace,
    entries: mpsc::Receiver<Entry>,
}

#[derive(Debug)]
struct Entry {
    level: Level,
    message: String,
    details: String,
}

/// A layer for the process's log, and the end at which its entries come out.
pub fn client_log<S>() -> (impl Layer<S> + Send + Sync, ClientLog)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let (sender, entries) = mpsc::channel(MOST_WAITING);
    let trace = Trace::default();
    let wanted = {
        let trace = trace.clone();
        dynamic_filter_fn(move |metadata: &Metadata<'_>, _: &Context<'_, S>| {
            is_ours(metadata) && (*metadata.level() <= Level::WARN || trace.is_on())
        })
    };
    let layer = Collect(sender).with_filter(wanted.and(LevelFilter::DEBUG));
    (layer, ClientLog { trace, entries })
}

/// Other crates' events are about themselves; the transport's would be sent by the transport, without end.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("diffcoder")
}

struct Collect(mpsc::Sender<Entry>);

impl<S: Subscriber> Layer<S> for Collect {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry {
            level: *event.metadata().level(),
            message: String::new(),
            details: String::new(),
        };
        event.record(&mut entry);
        // A client that does not read loses entries, and the server does not wait for it.
        _ = self.0.try_send(entry);
    }
}

impl Visit for Entry {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string does not fail.
        _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => {
                let separator = if self.details.is_empty() { "" } else { " " };
                write!(self.details, "{separator}{name}={value:?}")
            }
        };
    }
}

/// Sends entries until there can be no more.
pub(crate) async fn run(mut log: ClientLog, client: Client) {
    while let Some(Entry { level, message, details }) = log.entries.recv().await {
        if level <= Level::WARN {
            let kind =
                if level == Level::ERROR { MessageType::Error } else { MessageType::Warning };
            let separator = if details.is_empty() { "" } else { " " };
            client.log_message(kind, format!("{message}{separator}{details}")).await;
        } else {
            let verbose = (log.trace.is_verbose() && !details.is_empty()).then_some(details);
            client
                .send_notification::<LogTraceNotification>(LogTraceParams { message, verbose })
                .await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn said(log: &mut ClientLog) -> Vec<(Level, String, String)> {
        let entries = std::iter::from_fn(|| log.entries.try_recv().ok());
        entries.map(|entry| (entry.level, entry.message, entry.details)).collect()
    }

    #[test]
    fn warnings_always_come_and_the_rest_as_the_client_asks() {
        let (layer, mut log) = client_log();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let speak = || {
                tracing::warn!(code = 7, "wrong");
                tracing::debug!("usual");
                tracing::trace!(text = "fn secret()", "fill");
                tracing::warn!(target: "tower_lsp_server", "not ours");
            };
            let warning = (Level::WARN, "wrong".to_owned(), "code=7".to_owned());
            let usual = (Level::DEBUG, "usual".to_owned(), String::new());
            speak();
            assert_eq!(said(&mut log), std::slice::from_ref(&warning));
            for value in [TraceValue::Messages, TraceValue::Verbose] {
                log.trace.set(&value);
                speak();
                assert_eq!(said(&mut log), [warning.clone(), usual.clone()]);
            }
            log.trace.set(&TraceValue::Off);
            speak();
            assert_eq!(said(&mut log), [warning]);
        });
    }

    #[test]
    fn a_client_that_does_not_read_holds_nobody_up() {
        let (layer, mut log) = client_log();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            (0..2 * MOST_WAITING).for_each(|i| tracing::warn!("entry {i}"));
        });
        let said = said(&mut log);
        assert_eq!((said.len(), said[0].1.as_str()), (MOST_WAITING, "entry 0"));
    }
}
