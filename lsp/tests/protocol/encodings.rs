//! The three position encodings, from negotiation to the ranges of edits and items.

use serde_json::{Value, json};

use crate::harness::{Client, URI, edit};
use crate::script::{Act, Script};

/// Columns before and after `𝄞é` in `let s = "𝄞é";`, in the encoding's units.
const COLUMNS: [(&str, u32, u32); 3] = [("utf-8", 9, 15), ("utf-16", 9, 12), ("utf-32", 9, 11)];

pub(crate) fn offers(encodings: &[&str]) -> Value {
    json!({ "general": { "positionEncodings": encodings } })
}

#[tokio::test]
async fn the_answer_names_the_encoding_that_was_picked() {
    for (offered, expected) in [
        (&["utf-16", "utf-8", "utf-32"][..], "utf-8"),
        (&["utf-32", "utf-16"], "utf-32"),
        (&["utf-16", "utf-32"], "utf-16"),
        (&["utf-7", "utf-32"], "utf-32"),
        (&["utf-7"], "utf-16"),
        (&[], "utf-16"),
    ] {
        let mut client = Client::connect(&Script::always(Act::Fill("")));
        let result = client.initialize(offers(offered)).await;
        assert_eq!(result["capabilities"]["positionEncoding"], expected, "{offered:?}");
        client.finish().await;
    }
}

#[tokio::test]
async fn edits_mean_the_same_place_in_each() {
    for (encoding, before, after) in COLUMNS {
        let mut client =
            Client::start_with(&Script::always(Act::Fill("")), offers(&[encoding])).await;
        client.open(URI, "x\r\nlet s = \"𝄞é\";\n").await;
        client.change(URI, 2, edit((1, after), (1, after), "漢")).await;
        assert_eq!(client.text(URI).await, "x\r\nlet s = \"𝄞é漢\";\n", "{encoding}");
        client.change(URI, 3, edit((1, before), (1, after), "")).await;
        assert_eq!(client.text(URI).await, "x\r\nlet s = \"漢\";\n", "{encoding}");
        client.finish().await;
    }
}

#[tokio::test]
async fn items_stand_at_the_cursor_in_each() {
    for (encoding, _, column) in COLUMNS {
        let script = Script::always(Act::Fill("x"));
        let mut client = Client::start_with(&script, offers(&[encoding])).await;
        client.open(URI, "let s = \"𝄞é\";\n").await;
        let items = client.complete(0, column).await.unwrap();
        let cursor = json!({ "line": 0, "character": column });
        assert_eq!(
            items,
            json!([{ "insertText": "x", "range": { "start": cursor, "end": cursor } }]),
            "{encoding}"
        );
        let asked = &script.asked()[0];
        assert_eq!(
            (asked.before.as_str(), asked.after.as_str()),
            ("let s = \"𝄞é", "\";\n"),
            "{encoding}"
        );
        client.finish().await;
    }
}
