//! Typing into a document with multi-byte text brings completions from the embedded model.

use serde_json::{Value, json};

use crate::client::Client;
use crate::text::{position, replace};

const URI: &str = "file:///src/fläche.rs";
const REQUEST_CANCELLED: i64 = -32800;

const BEFORE: &str = "\
//! Größen in μm: 漢字, 𝄞 und 👩‍💻.

/// Fläche eines Rechtecks.
pub fn fläche(breite: f64, höhe: f64) -> f64 {
    breite * höhe
}

/// Umfang eines Rechtecks, 𝄞.
pub fn umfang(breite: f64, höhe: f64) -> f64 {
";
const AFTER: &str = "\n}\n\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n";

/// Each is typed into the body of `umfang`, character by character.
const TYPED: [&str; 4] = [
    "    2.0 * (breite + ",
    "    let 𝄞größe = breite",
    "    let s = \"漢字\";\n    let seite = ",
    "    return ",
];

/// Types `typed` with a completion request after each key, as an editor does, and returns the answer to the last.
fn type_and_complete(client: &mut Client, typed: &str, encoding: &str) -> (String, Vec<Value>) {
    let mut text = format!("{BEFORE}{AFTER}");
    client.open(URI, "rust", &text);
    let mut cursor = BEFORE.len();
    let mut requests = Vec::new();
    for (version, character) in typed.chars().enumerate() {
        let change = replace(&mut text, cursor..cursor, &character.to_string(), encoding);
        client.change(URI, version + 1, vec![change]);
        cursor += character.len_utf8();
        requests.push(client.ask(URI, &position(&text, cursor, encoding)));
    }
    let last = requests.pop().unwrap();
    for id in requests {
        if let Err((code, message)) = client.answer(id) {
            assert_eq!(code, REQUEST_CANCELLED, "{message}");
        }
    }
    assert_eq!(client.text(URI), text);
    let items = client.answer(last).unwrap().as_array().unwrap().clone();
    let at = position(&text, cursor, encoding);
    for item in &items {
        assert_eq!(item["range"]["start"], at, "an item stands at the cursor");
        assert_eq!(item["range"]["end"]["line"], at["line"], "and ends in its line");
        let inserted = item["insertText"].as_str().unwrap();
        assert!(
            !inserted.is_empty() && !inserted.contains("<["),
            "no markers of the model: {inserted:?}"
        );
    }

    let again = client.ask(URI, &at);
    assert_eq!(client.answer(again).unwrap(), json!(items), "the same place gives the same items");
    client.notify("textDocument/didClose", json!({ "textDocument": { "uri": URI } }));
    (text, items)
}

#[test]
fn typing_brings_completions() {
    for encoding in ["utf-8", "utf-16"] {
        let mut client = Client::start(None, encoding);
        let n_items: usize =
            TYPED.iter().map(|typed| type_and_complete(&mut client, typed, encoding).1.len()).sum();
        assert!(n_items > 0, "the embedded model fills none of {} places", TYPED.len());
        client.finish();
    }
}

#[test]
fn an_accepted_completion_is_an_edit_like_any_other() {
    let mut client = Client::start(None, "utf-16");
    let (text, items) = TYPED
        .iter()
        .map(|typed| type_and_complete(&mut client, typed, "utf-16"))
        .find(|(_, items)| !items.is_empty())
        .expect("an item in one of the places");
    client.open(URI, "rust", &text);
    let item = &items[0];
    client.change(URI, 1, vec![json!({ "range": item["range"], "text": item["insertText"] })]);
    let expected_growth = item["insertText"].as_str().unwrap();
    let accepted = client.text(URI);
    assert!(accepted.len() <= text.len() + expected_growth.len());
    assert!(accepted.contains(expected_growth));
    client.finish();
}
