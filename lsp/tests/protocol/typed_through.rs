//! What is typed of a suggestion, or taken back, needs no model.

use serde_json::json;

use crate::harness::{Client, URI, edit, inserted, range};
use crate::script::{Act, Script};

#[tokio::test]
async fn typing_a_suggestion_asks_the_model_once() {
    let script = Script::always(Act::Fill("push(é, [b]);"));
    let mut client = Client::start(&script).await;
    client.open_as("rust", URI, "fn a() {\n    c.\n}\n").await;
    assert_eq!(inserted(&client.complete(1, 6).await), "push(é, [b]);");
    // The editor closes brackets by itself; each key is (typed and set, cursor moves by, what is left).
    let keys = [
        ("p", 1, "ush(é, [b]);", 0),
        ("u", 1, "sh(é, [b]);", 0),
        ("sh", 2, "(é, [b]);", 0),
        ("()", 1, "é, [b]);", 1),
        ("é, ", 3, "[b]);", 1),
        ("[]", 1, "b]);", 2),
    ];
    let mut at = 6;
    for (version, (typed, moves, left, reach)) in (2..).zip(keys) {
        client.change(URI, version, edit((1, at), (1, at), typed)).await;
        at += moves;
        let items = client.complete(1, at).await.unwrap();
        let expected = json!([{ "insertText": left, "range": range((1, at), (1, at + reach)) }]);
        assert_eq!(items, expected, "after {typed}");
    }
    // Deleting brings the earlier text back.
    client.change(URI, 9, edit((1, 8), (1, at + 2), "")).await;
    assert_eq!(inserted(&client.complete(1, 8).await), "sh(é, [b]);");
    assert_eq!(script.asked().len(), 1);

    let stats = client.call("diffcoder/completionStats", json!(null)).await.unwrap();
    assert_eq!((&stats["asked"], &stats["remembered"]), (&json!(1), &json!(7)));
    assert!(stats["lastEditMs"].as_f64().unwrap() > 0.0, "{stats}");
    client.finish().await;
}

#[tokio::test]
async fn what_is_no_part_of_it_asks_the_model() {
    let script = Script::always(Act::Fill("push(b);"));
    let mut client = Client::start(&script).await;
    client.open_as("rust", URI, "fn a() {\n    c.\n}\n").await;
    assert_eq!(inserted(&client.complete(1, 6).await), "push(b);");
    client.change(URI, 2, edit((1, 6), (1, 6), "x")).await;
    assert_eq!(inserted(&client.complete(1, 7).await), "push(b);");
    assert_eq!(script.asked().len(), 2);
    // The same text typed elsewhere, or with a change elsewhere, is another place.
    client.change(URI, 3, edit((1, 6), (1, 7), "p")).await;
    client.change(URI, 4, edit((0, 3), (0, 4), "d")).await;
    client.complete(1, 7).await.unwrap();
    assert_eq!(script.asked().len(), 3);
    // Typed to its end, nothing of it is left.
    client.change(URI, 5, edit((0, 3), (0, 4), "a")).await;
    client.change(URI, 6, edit((1, 6), (1, 7), "push(b);")).await;
    client.complete(1, 14).await.unwrap();
    assert_eq!(script.asked().len(), 4);
    client.finish().await;
}

#[tokio::test]
async fn a_closed_document_is_forgotten() {
    let script = Script::always(Act::Fill("b"));
    let mut client = Client::start(&script).await;
    for n_asked in 1..=2 {
        client.open(URI, "a = ").await;
        for _ in 0..2 {
            assert_eq!(inserted(&client.complete(0, 4).await), "b");
        }
        assert_eq!(script.asked().len(), n_asked);
        client.close(URI).await;
    }
    client.finish().await;
}

#[tokio::test]
async fn an_answer_from_memory_stops_the_request_before_it() {
    let script = Script::by(|asked| match asked.before.as_str() {
        "a = " => Act::Fill("bcd"),
        _ => Act::FillWhenOpened("late"),
    });
    let mut client = Client::start(&script).await;
    client.open(URI, "a = ").await;
    assert_eq!(inserted(&client.complete(0, 4).await), "bcd");
    client.change(URI, 2, edit((0, 4), (0, 4), "x")).await;
    let under_way = client.ask(URI, 0, 5).await;
    script.begun(2).await;
    client.change(URI, 3, edit((0, 4), (0, 5), "b")).await;
    assert_eq!(inserted(&client.complete(0, 5).await), "cd");
    assert!(client.answer(under_way).await.is_err());
    script.cancelled(1).await;
    client.finish().await;
}

#[tokio::test]
async fn eight_documents_that_are_typed_in_are_all_served() {
    let script = Script::always(Act::Fill("served"));
    let mut client = Client::start(&script).await;
    let uris: Vec<String> = (0..8).map(|document| format!("file:///{document}.rs")).collect();
    for uri in &uris {
        client.open(uri, "").await;
    }
    let mut last = Vec::new();
    for key in 0..6 {
        last.clear();
        for uri in &uris {
            client.change(uri, key + 2, edit((0, 0), (0, 0), "x")).await;
            last.push(client.ask(uri, 0, 1).await);
        }
        // Before the next round each may have been served or superseded; nobody waits for ever.
        if key < 5 {
            for id in &last {
                let answer = client.answer(*id).await;
                assert!(answer.is_ok(), "{answer:?}");
            }
        }
    }
    for id in last {
        assert_eq!(inserted(&client.answer(id).await), "served");
    }
    client.finish().await;
}
