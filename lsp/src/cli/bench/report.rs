//! What a replay measured, as a table and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::replay::KeyKind;

/// What the server has spent on completions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Costs {
    /// Completions that the model was asked for.
    asked: u64,
    /// Completions that went on from an earlier one.
    remembered: u64,
    prompt_tokens: u64,
    cached_tokens: u64,
    forwards: u64,
    /// Milliseconds.
    debounce: f64,
    prepare: f64,
    model: f64,
    finish: f64,
}

impl Costs {
    /// Reads the answer to `diffcoder/completionStats`.
    pub(crate) fn read(answer: &Value) -> anyhow::Result<Self> {
        let count = |name: &str| {
            answer[name].as_u64().with_context(|| format!("{name} is missing in {answer}"))
        };
        let time = |name: &str| {
            answer[name].as_f64().with_context(|| format!("{name} is missing in {answer}"))
        };
        Ok(Self {
            asked: count("asked")?,
            remembered: count("remembered")?,
            prompt_tokens: count("promptTokens")?,
            cached_tokens: count("cachedTokens")?,
            forwards: count("forwards")?,
            debounce: time("debounceMs")?,
            prepare: time("prepareMs")?,
            model: time("modelMs")?,
            finish: time("finishMs")?,
        })
    }

    fn combine(&self, other: &Self, count: fn(u64, u64) -> u64, time: fn(f64, f64) -> f64) -> Self {
        Self {
            asked: count(self.asked, other.asked),
            remembered: count(self.remembered, other.remembered),
            prompt_tokens: count(self.prompt_tokens, other.prompt_tokens),
            cached_tokens: count(self.cached_tokens, other.cached_tokens),
            forwards: count(self.forwards, other.forwards),
            debounce: time(self.debounce, other.debounce),
            prepare: time(self.prepare, other.prepare),
            model: time(self.model, other.model),
            finish: time(self.finish, other.finish),
        }
    }

    /// What was spent after `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        self.combine(earlier, u64::saturating_sub, |a, b| a - b)
    }

    fn cached_share(&self) -> f64 {
        self.cached_tokens as f64 / self.prompt_tokens.max(1) as f64
    }

    fn json(&self) -> Value {
        let each = |time: f64| time / self.asked.max(1) as f64;
        json!({
            "asked": self.asked,
            "remembered": self.remembered,
            "promptTokens": self.prompt_tokens,
            "cachedTokens": self.cached_tokens,
            "cachedShare": self.cached_share(),
            "forwards": self.forwards,
            "meanMs": {
                "debounce": each(self.debounce),
                "prepare": each(self.prepare),
                "model": each(self.model),
                "finish": each(self.finish),
            },
        })
    }
}

/// Suggestions that came on the screen; one that is typed through counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) items: usize,
    pub(crate) characters: usize,
    /// Characters that were then typed just so.
    pub(crate) typed_through: usize,
    /// Suggestions that were typed to their end, and their characters.
    pub(crate) right_items: usize,
    pub(crate) right_characters: usize,
}

/// The keys of one kind.
#[derive(Clone, Debug, Default)]
struct Keys {
    latencies: Vec<Duration>,
    n_with_item: usize,
    costs: Costs,
}

impl Keys {
    fn merge(&mut self, later: Self) {
        self.latencies.extend(later.latencies);
        self.n_with_item += later.n_with_item;
        self.costs = self.costs.combine(&later.costs, |a, b| a + b, |a, b| a + b);
    }
}

/// What a replay measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) seconds: f64,
    pub(crate) keys: usize,
    cold: Keys,
    warm: Keys,
    /// From request to the answer that a newer one has taken its place.
    pub(crate) superseded: Vec<Duration>,
    /// From edit to the answer of a request behind it.
    pub(crate) edits: Vec<Duration>,
    /// What of that the edit itself took, as the server says.
    pub(crate) own_edits: Vec<Duration>,
    pub(crate) shown: Shown,
    pub(crate) total: Costs,
    /// Bytes at the end, and at most.
    pub(crate) memory: Option<(u64, u64)>,
}

impl Report {
    fn of(&mut self, kind: KeyKind) -> &mut Keys {
        match kind {
            KeyKind::Cold => &mut self.cold,
            KeyKind::Warm => &mut self.warm,
        }
    }

    pub(crate) fn answered(&mut self, kind: KeyKind, latency: Duration, item: Option<&str>) {
        let keys = self.of(kind);
        keys.latencies.push(latency);
        keys.n_with_item += usize::from(item.is_some());
    }

    pub(crate) fn add_costs(&mut self, kind: KeyKind, costs: &Costs) {
        let keys = self.of(kind);
        keys.costs = keys.costs.combine(costs, |a, b| a + b, |a, b| a + b);
    }

    /// Takes in what a later part measured.
    pub(crate) fn merge(&mut self, later: Self) {
        self.seconds += later.seconds;
        self.keys += later.keys;
        self.cold.merge(later.cold);
        self.warm.merge(later.warm);
        self.superseded.extend(later.superseded);
        self.edits.extend(later.edits);
        self.own_edits.extend(later.own_edits);
        self.shown.items += later.shown.items;
        self.shown.characters += later.shown.characters;
        self.shown.typed_through += later.shown.typed_through;
        self.shown.right_items += later.shown.right_items;
        self.shown.right_characters += later.shown.right_characters;
        // Both count from the server's start.
        (self.total, self.memory) = (later.total, later.memory);
    }

    /// Everything, for programs.
    pub(crate) fn json(&self) -> Value {
        let keys = |keys: &Keys| {
            json!({
                "latencyMs": spread(&keys.latencies),
                "withItem": keys.n_with_item,
                "costs": keys.costs.json(),
            })
        };
        json!({
            "seconds": self.seconds,
            "keys": self.keys,
            "cold": keys(&self.cold),
            "warm": keys(&self.warm),
            "superseded": spread(&self.superseded),
            "editAppliedMs": spread(&self.own_edits),
            "editAnsweredMs": spread(&self.edits),
            "shown": {
                "items": self.shown.items,
                "characters": self.shown.characters,
                "typedThrough": self.shown.typed_through,
                "rightItems": self.shown.right_items,
                "rightCharacters": self.shown.right_characters,
            },
            "total": self.total.json(),
            "memoryBytes": self.memory.map(|(now, most)| json!({ "end": now, "peak": most })),
        })
    }

    /// Everything, for people.
    pub(crate) fn table(&self) -> String {
        let mut table = format!(
            "{} keys in {:.1} s\n\n{:<22}{:>7}{:>9}{:>9}{:>9}{:>9}\n",
            self.keys, self.seconds, "milliseconds", "n", "p50", "p95", "p99", "most"
        );
        for (name, times) in [
            ("key to item, warm", &self.warm.latencies),
            ("key to item, cold", &self.cold.latencies),
            ("superseded", &self.superseded),
            ("edit applied", &self.own_edits),
            ("edit answered", &self.edits),
        ] {
            let in_words = |ms: f64| if ms < 1.0 { format!("{ms:.2}") } else { format!("{ms:.1}") };
            let at = |share| percentile(times, share).map_or("-".to_owned(), in_words);
            _ = writeln!(
                table,
                "{name:<22}{:>7}{:>9}{:>9}{:>9}{:>9}",
                times.len(),
                at(0.5),
                at(0.95),
                at(0.99),
                at(1.0)
            );
        }
        let shown = self.shown;
        _ = write!(
            table,
            "\n{} suggestions with {} characters shown, {} of them typed through; {} right to the end ({} characters)\n",
            shown.items,
            shown.characters,
            shown.typed_through,
            shown.right_items,
            shown.right_characters
        );
        for (name, costs) in
            [("warm", &self.warm.costs), ("cold", &self.cold.costs), ("total", &self.total)]
        {
            if costs.asked + costs.remembered == 0 {
                continue;
            }
            let each = |time: f64| time / costs.asked.max(1) as f64;
            _ = writeln!(
                table,
                "{name}: {} asked, {} remembered, {:.1} % of {} prompt tokens cached, {} forwards; each debounce {:.1}, prepare {:.1}, model {:.1}, finish {:.1} ms",
                costs.asked,
                costs.remembered,
                100.0 * costs.cached_share(),
                costs.prompt_tokens,
                costs.forwards,
                each(costs.debounce),
                each(costs.prepare),
                each(costs.model),
                each(costs.finish)
            );
        }
        if let Some((now, most)) = self.memory {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            _ = writeln!(table, "server memory {:.0} MiB, at most {:.0} MiB", mib(now), mib(most));
        }
        table
    }
}

fn spread(times: &[Duration]) -> Value {
    json!({
        "n": times.len(),
        "p50": percentile(times, 0.5),
        "p95": percentile(times, 0.95),
        "p99": percentile(times, 0.99),
        "max": percentile(times, 1.0),
    })
}

/// The smallest time, in milliseconds, that a share of `times` does not exceed.
fn percentile(times: &[Duration], share: f64) -> Option<f64> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    Some(sorted.get(rank.max(1) - 1)?.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        let at = |share| percentile(&times, share).map(f64::round);
        assert_eq!([0.5, 0.95, 0.99, 1.0].map(at), [50.0, 95.0, 99.0, 100.0].map(Some));
        assert_eq!(percentile(&times[..1], 0.5).map(f64::round), Some(100.0));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
