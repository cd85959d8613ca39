//! `bench replay`: types into open documents and notes when the answers come.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::bail;
use ropey::Rope;
use serde_json::{Value, json};

use super::connection::{Arrival, Connection};
use super::report::{Costs, Report};
use super::typing::Key;

const REQUEST_CANCELLED: i64 = -32800;
const METHOD_NOT_FOUND: i64 = -32601;
/// A request that has had no answer for so long never gets one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// When the next key is pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As soon as the answer to the last one is there.
    Answers,
    /// So long after the last one, answered or not.
    Every(Duration),
}

/// One document and who types in it.
pub(crate) struct Typist {
    uri: String,
    text: Rope,
    keys: std::vec::IntoIter<Key>,
    version: i32,
    /// When the next key is pressed; `None` waits for an answer.
    due: Option<Instant>,
    /// The suggestion on the screen.
    shown: Option<String>,
    is_done: bool,
}

/// A request under way.
enum Waiting {
    /// For an item, of a typist, with the key that asked for it.
    Item(usize, Key, Instant),
    /// For the costs so far: the edit before it has been applied when they come.
    Costs(Option<usize>, Instant, KeyKind),
}

/// Where the cursor came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// From elsewhere.
    Cold,
    /// From the key before.
    Warm,
}

impl Typist {
    /// Opens a document and readies its keys.
    pub(crate) fn open(
        connection: &mut Connection,
        uri: String,
        text: &str,
        keys: Vec<Key>,
    ) -> anyhow::Result<Self> {
        let item = json!({ "uri": uri, "languageId": "", "version": 0, "text": text });
        connection.notify("textDocument/didOpen", json!({ "textDocument": item }))?;
        Ok(Self {
            uri,
            text: Rope::from_str(text),
            keys: keys.into_iter(),
            version: 0,
            due: Some(Instant::now()),
            shown: None,
            is_done: false,
        })
    }

    /// A byte of the text as the protocol says it.
    fn position(&self, at: usize) -> Value {
        let line = self.text.byte_to_line(at);
        json!({ "line": line, "character": at - self.text.line_to_byte(line) })
    }

    /// Sends the edit of a key.
    fn edit(&mut self, connection: &mut Connection, key: &Key) -> anyhow::Result<()> {
        let Some((span, with)) = &key.edit else { return Ok(()) };
        let range = json!({ "start": self.position(span.start), "end": self.position(span.end) });
        let chars = self.text.byte_to_char(span.start)..self.text.byte_to_char(span.end);
        let start = chars.start;
        self.text.remove(chars);
        self.text.insert(start, with);
        self.version += 1;
        let params = json!({
            "textDocument": { "uri": self.uri, "version": self.version },
            "contentChanges": [{ "range": range, "text": with }],
        });
        connection.notify("textDocument/didChange", params)
    }
}

/// Types everything, and tells what it was like.
pub(crate) struct Replay<'a> {
    connection: &'a mut Connection,
    typists: Vec<Typist>,
    pace: Pace,
    waiting: HashMap<i64, Waiting>,
    last_costs: Costs,
    report: Report,
}

impl<'a> Replay<'a> {
    /// `last_costs` is what the server had spent before.
    pub(crate) fn new(
        connection: &'a mut Connection,
        typists: Vec<Typist>,
        pace: Pace,
        last_costs: Costs,
    ) -> Self {
        Self {
            connection,
            typists,
            pace,
            waiting: HashMap::new(),
            last_costs,
            report: Report::default(),
        }
    }

    pub(crate) fn run(mut self) -> anyhow::Result<Report> {
        let started = Instant::now();
        loop {
            let now = Instant::now();
            for index in 0..self.typists.len() {
                if self.typists[index].due.is_some_and(|due| due <= now) {
                    self.press(index)?;
                }
            }
            if self.waiting.is_empty() && self.typists.iter().all(|typist| typist.is_done) {
                break;
            }
            let next = self.typists.iter().filter_map(|typist| typist.due).min();
            let patience =
                next.map_or(ANSWER_TIMEOUT, |due| due.saturating_duration_since(Instant::now()));
            match self.connection.receive(patience)? {
                Some(arrival) => self.take(&arrival)?,
                None if next.is_none() => {
                    let mut ids: Vec<i64> = self.waiting.keys().copied().collect();
                    ids.sort_unstable();
                    bail!("requests {ids:?} were not answered within {ANSWER_TIMEOUT:?}")
                }
                None => {}
            }
        }
        self.report.seconds = started.elapsed().as_secs_f64();
        self.report.memory = self.connection.memory();
        Ok(self.report)
    }

    /// Presses the next key of a typist, or lets it rest.
    fn press(&mut self, index: usize) -> anyhow::Result<()> {
        let typist = &mut self.typists[index];
        let Some(key) = typist.keys.next() else {
            (typist.due, typist.is_done) = (None, true);
            return Ok(());
        };
        let pressed = Instant::now();
        let kind = if key.is_jump { KeyKind::Cold } else { KeyKind::Warm };
        typist.edit(self.connection, &key)?;
        self.report.keys += 1;
        let asks = key.asks;
        if asks {
            let position = typist.position(key.cursor);
            let params = json!({
                "textDocument": { "uri": typist.uri },
                "position": position,
                "context": { "triggerKind": 2 },
            });
            let id = self.connection.request("textDocument/inlineCompletion", params)?;
            self.waiting.insert(id, Waiting::Item(index, key, pressed));
        }
        // Its answer comes when the edit is in, whatever the model does.
        self.ask_costs(None, kind)?;
        self.typists[index].due = match self.pace {
            Pace::Every(interval) => Some(pressed + interval),
            Pace::Answers if asks => None,
            Pace::Answers => Some(pressed),
        };
        Ok(())
    }

    /// Asks for the costs so far; `goes_on` types on when they are there.
    fn ask_costs(&mut self, goes_on: Option<usize>, kind: KeyKind) -> anyhow::Result<()> {
        let asked = Instant::now();
        let id = self.connection.request("diffcoder/completionStats", Value::Null)?;
        self.waiting.insert(id, Waiting::Costs(goes_on, asked, kind));
        Ok(())
    }

    fn take(&mut self, arrival: &Arrival) -> anyhow::Result<()> {
        let message = &arrival.message;
        let Some(waiting) = message["id"].as_i64().and_then(|id| self.waiting.remove(&id)) else {
            return Ok(());
        };
        let code = message["error"]["code"].as_i64();
        match waiting {
            Waiting::Costs(goes_on, asked, kind) => {
                if code.is_none() {
                    let costs = Costs::read(&message["result"])?;
                    if goes_on.is_some() {
                        self.report.add_costs(kind, &costs.since(&self.last_costs));
                        self.last_costs = costs;
                    }
                    self.report.total = costs;
                } else if code != Some(METHOD_NOT_FOUND) {
                    bail!("the server does not tell its costs: {}", message["error"]);
                }
                match goes_on {
                    Some(index) => self.typists[index].due = Some(Instant::now()),
                    None => {
                        self.report.edits.push(arrival.at - asked);
                        // Another build of the server may not say it.
                        if let Some(ms) = message["result"]["lastEditMs"].as_f64() {
                            self.report.own_edits.push(Duration::from_secs_f64(ms / 1e3));
                        }
                    }
                }
            }
            Waiting::Item(index, key, pressed) => {
                let latency = arrival.at - pressed;
                let kind = if key.is_jump { KeyKind::Cold } else { KeyKind::Warm };
                match code {
                    Some(REQUEST_CANCELLED) => self.report.superseded.push(latency),
                    Some(_) => bail!("a request failed: {}", message["error"]),
                    None => self.show(index, &key, (kind, latency), &message["result"]),
                }
                if self.pace == Pace::Answers {
                    self.ask_costs(Some(index), kind)?;
                }
            }
        }
        Ok(())
    }

    /// Notes an answer and what it puts on the screen.
    fn show(
        &mut self,
        index: usize,
        key: &Key,
        (kind, latency): (KeyKind, Duration),
        result: &Value,
    ) {
        let items = if result.is_array() { result } else { &result["items"] };
        let item = items[0]["insertText"].as_str();
        self.report.answered(kind, latency, item);
        let typist = &mut self.typists[index];
        let before = typist.shown.take();
        let Some(item) = item else { return };
        // What is left of the suggestion before it is no new one.
        if !before.is_some_and(|before| before.ends_with(item)) {
            let common = item.chars().zip(key.coming.chars()).take_while(|(a, b)| a == b).count();
            self.report.shown.items += 1;
            self.report.shown.characters += item.chars().count();
            self.report.shown.typed_through += common;
            if common == item.chars().count() {
                self.report.shown.right_items += 1;
                self.report.shown.right_characters += common;
            }
        }
        typist.shown = Some(item.to_owned());
    }
}
