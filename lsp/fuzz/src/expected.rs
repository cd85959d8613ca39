//! Which answers a client may expect, by a reading of its messages that is no reading of the server.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Answers by id, as JSON text.
type Counts = BTreeMap<String, usize>;

/// Bounds on the answers to a client's messages.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Requests that must be answered.
    certain: Counts,
    /// Messages that may be answered to an id.
    possible: Counts,
    /// Messages that may be answered to no id.
    n_anonymous: usize,
    /// From `exit` on nothing needs an answer.
    has_exited: bool,
    /// An id may read differently to the server.
    is_vague: bool,
}

/// The members that decide who is answered.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    jsonrpc: Value,
    #[serde(default, deserialize_with = "there")]
    id: Option<Value>,
    #[serde(default, deserialize_with = "there")]
    method: Option<Value>,
    #[serde(default, deserialize_with = "ignored")]
    result: bool,
    #[serde(default, deserialize_with = "ignored")]
    error: bool,
}

/// A member that is null is there.
fn there<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

fn ignored<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

impl Expected {
    /// Counts one message of the client.
    pub fn add(&mut self, body: &[u8]) {
        self.n_anonymous += 1;
        let Ok(message) = serde_json::from_slice::<Message>(body) else {
            // A surrogate without a partner is no JSON, but the server mends it.
            self.is_vague |= body.windows(3).any(|part| part.eq_ignore_ascii_case(b"\\ud"));
            return;
        };
        let is_answer = message.result || message.error;
        // A notification; what asks for it with an id ends the session as well.
        self.has_exited |= message.method.as_ref().is_some_and(|method| method == "exit");
        if let Some(id) = message.id.filter(|id| id.is_i64() || id.is_string()) {
            *self.possible.entry(id.to_string()).or_default() += 1;
            let is_request = message.jsonrpc == "2.0"
                && message.method.as_ref().is_some_and(Value::is_string)
                && !is_answer
                && body.trim_ascii_start().starts_with(b"{");
            if is_request && !self.has_exited {
                *self.certain.entry(id.to_string()).or_default() += 1;
            }
        }
    }

    /// How many answers must come.
    pub fn n_certain(&self) -> usize {
        self.certain.values().sum()
    }

    /// Holds what the server said against the bounds.
    ///
    /// # Panics
    /// If a request has no answer or several, or an answer belongs to no request.
    pub fn check(&self, received: &[Value]) {
        let mut answers = Counts::new();
        for answer in received.iter().filter(|message| message.get("method").is_none()) {
            assert_eq!(answer["jsonrpc"], "2.0", "{answer}");
            assert!(answer.get("result").is_some() != answer.get("error").is_some(), "{answer}");
            *answers.entry(answer["id"].to_string()).or_default() += 1;
        }
        for (id, wanted) in &self.certain {
            let n_answers = answers.get(id).copied().unwrap_or_default();
            assert!(n_answers >= *wanted, "{n_answers} answers to {wanted} requests {id}");
        }
        let n_anonymous = answers.remove("null").unwrap_or_default();
        assert!(n_anonymous <= self.n_anonymous, "more errors than messages");
        for (id, n_answers) in answers.iter().filter(|_| !self.is_vague) {
            let wanted = self.possible.get(id).copied().unwrap_or_default();
            assert!(*n_answers <= wanted, "{n_answers} answers to {wanted} messages {id}");
        }
    }
}
