//! The server's text stays the client's text.

use serde_json::json;

use crate::harness::{Client, INVALID_PARAMS, REQUEST_FAILED, URI, code, edit};
use crate::script::{Act, Script};

#[tokio::test]
async fn changes_apply_in_order() {
    let mut client = Client::start(&Script::always(Act::Fill(""))).await;
    client.open(URI, "fn a() {}\n").await;
    let end = |column: u32| json!({ "line": 0, "character": column });
    client
        .change(
            URI,
            2,
            json!([
                { "range": { "start": end(8), "end": end(8) }, "text": "\n    b();\n" },
                { "range": { "start": end(3), "end": end(4) }, "rangeLength": 1, "text": "ä" },
                { "range": { "start": end(6), "end": end(6) }, "text": " " },
            ]),
        )
        .await;
    assert_eq!(client.text(URI).await, "fn ä() {\n    b();\n}\n".replacen("() ", "()  ", 1));
    client.finish().await;
}

#[tokio::test]
async fn a_change_without_a_range_replaces_everything() {
    let mut client = Client::start(&Script::always(Act::Fill(""))).await;
    client.open(URI, "old").await;
    client.change(URI, 2, json!([{ "text": "new\r\n" }, { "text": "newer\r\n" }])).await;
    assert_eq!(client.text(URI).await, "newer\r\n");
    client.finish().await;
}

#[tokio::test]
async fn the_version_is_the_clients() {
    let mut client = Client::start(&Script::always(Act::Fill(""))).await;
    client.open(URI, "").await;
    client.change(URI, 41, edit((0, 0), (0, 0), "x")).await;
    let result =
        client.call("diffcoder/documentText", json!({ "textDocument": { "uri": URI } })).await;
    assert_eq!(result, Ok(json!({ "text": "x", "version": 41 })));
    client.finish().await;
}

#[tokio::test]
async fn only_line_ends_of_the_protocol_end_lines() {
    let mut client = Client::start(&Script::always(Act::Fill(""))).await;
    client.open(URI, "a\u{2028}b\u{85}c\u{c}d\re\r\nf\ng").await;
    client.change(URI, 2, edit((3, 0), (3, 1), "G")).await;
    client.change(URI, 3, edit((0, 2), (0, 3), "B")).await;
    assert_eq!(client.text(URI).await, "a\u{2028}B\u{85}c\u{c}d\re\r\nf\nG");
    client.finish().await;
}

#[tokio::test]
async fn reopening_replaces_and_closing_forgets() {
    let mut client = Client::start(&Script::always(Act::Fill(""))).await;
    client.open(URI, "first").await;
    client.open(URI, "second").await;
    assert_eq!(client.text(URI).await, "second");
    client.close(URI).await;
    let closed = client.complete(0, 0).await;
    let message = format!("{URI} is not open: send textDocument/didOpen first");
    assert_eq!(closed, Err((INVALID_PARAMS, message)));
    client.change(URI, 2, edit((0, 0), (0, 0), "x")).await;
    client.close(URI).await;
    client.open(URI, "third").await;
    assert_eq!(client.text(URI).await, "third");
    client.finish().await;
}

#[tokio::test]
async fn documents_do_not_mix() {
    let mut client = Client::start(&Script::always(Act::Fill(""))).await;
    client.open("file:///a.rs", "a").await;
    client.open("file:///b.rs", "b").await;
    client.change("file:///b.rs", 2, edit((0, 1), (0, 1), "!")).await;
    assert_eq!(client.text("file:///a.rs").await, "a");
    assert_eq!(client.text("file:///b.rs").await, "b!");
    client.finish().await;
}

#[tokio::test]
async fn a_change_that_cannot_be_read_is_not_guessed_at() {
    let mut client = Client::start(&Script::always(Act::Fill("x"))).await;
    for unreadable in [
        json!([{ "range": { "start": { "line": -1, "character": 0 }, "end": { "line": 0, "character": 0 } }, "text": "x" }]),
        json!([{ "range": "everything", "text": "x" }]),
        json!([{ "range": null }]),
        json!("x"),
    ] {
        client.open(URI, "all of this text").await;
        client.change(URI, 2, unreadable).await;
        let refused = client.complete(0, 0).await;
        assert_eq!(code(&refused), REQUEST_FAILED);
        assert!(refused.unwrap_err().1.contains(URI));
        client.change(URI, 3, json!([{ "text": "the whole text again" }])).await;
        assert_eq!(client.text(URI).await, "the whole text again");
    }
    client.finish().await;
}
