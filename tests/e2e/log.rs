//! The log as the client hears it.

use serde_json::{Value, json};

use crate::client::Client;

const URI: &str = "file:///src/secret.rs";
const TEXT: &str = "fn very_secret_name() -> u32 {\n    \n}\n";

/// Types another character into the empty line of [`TEXT`] and asks for a suggestion before it, which is a new one.
fn ask(client: &mut Client, version: usize) {
    let at = json!({ "line": 1, "character": 4 });
    let typed = ["9", "q", "%"][version % 3];
    let change = json!({ "range": { "start": at, "end": at }, "text": typed });
    client.change(URI, version, vec![change]);
    let id = client.ask(URI, &json!({ "line": 1, "character": 4 }));
    client.answer(id).unwrap();
}

fn is(entry: &Value, method: &str) -> bool {
    entry["method"] == method
}

#[test]
fn traces_come_as_the_client_asks_and_hold_no_source() {
    let mut client = Client::start(None, "utf-16");
    client.open(URI, "rust", TEXT);
    ask(&mut client, 1);
    for (version, value) in [(2, "messages"), (3, "verbose")] {
        client.notify("$/setTrace", json!({ "value": value }));
        ask(&mut client, version);
        let entries = client.log_up_to(|entry| is(entry, "$/logTrace"));
        for entry in &entries {
            assert!(is(entry, "$/logTrace"), "{entry}");
            assert!(entry["params"]["message"].as_str().is_some_and(|text| !text.is_empty()));
            let details = entry["params"].get("verbose");
            assert!(value == "verbose" || details.is_none(), "{entry}");
            assert!(!entry.to_string().contains("very_secret_name"), "{entry}");
        }
    }
    client.notify("$/setTrace", json!({ "value": "off" }));
    client.finish();
}

#[test]
fn warnings_reach_the_client_unasked() {
    let mut client = Client::start(None, "utf-16");
    client.open(URI, "rust", TEXT);
    let nowhere = json!({ "range": { "start": { "line": 9, "character": 0 }, "end": { "line": 1 } }, "text": "x" });
    client.change(URI, 1, vec![nowhere]);
    let entries = client.log_up_to(|entry| is(entry, "window/logMessage"));
    assert!(entries.iter().all(|entry| entry["params"]["type"] == 2), "{entries:?}");
    assert!(entries[0]["params"]["message"].as_str().unwrap().contains("ignored a change"));
    client.finish();
}
