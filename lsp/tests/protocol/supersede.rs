//! The newest request of a document wins, and the older one is answered.

use crate::harness::{Client, REQUEST_CANCELLED, URI, code, edit, inserted};
use crate::script::{Act, Script};

/// A busy model for documents whose text begins with `slow`.
fn script() -> std::sync::Arc<Script> {
    Script::by(|asked| {
        if asked.before.starts_with("slow") {
            Act::FillWhenOpened("late")
        } else {
            Act::Fill("served")
        }
    })
}

#[tokio::test]
async fn a_newer_request_stops_the_one_under_way() {
    let script = script();
    let mut client = Client::start(&script).await;
    client.open(URI, "slow").await;
    let older = client.ask(URI, 0, 4).await;
    script.begun(1).await;
    client.change(URI, 2, edit((0, 0), (0, 4), "quick")).await;
    let newer = client.ask(URI, 0, 5).await;
    let message = format!("superseded by a newer request for {URI}");
    assert_eq!(client.answer(older).await, Err((REQUEST_CANCELLED, message)));
    assert_eq!(inserted(&client.answer(newer).await), "served");
    script.cancelled(1).await;
    client.finish().await;
}

#[tokio::test]
async fn a_burst_leaves_only_its_last_request() {
    let script = script();
    let mut client = Client::start(&script).await;
    client.open("file:///busy.rs", "slow").await;
    client.open(URI, "quick").await;
    let busy = client.ask("file:///busy.rs", 0, 4).await;
    script.begun(1).await;
    let mut burst = Vec::new();
    for _ in 0..5 {
        burst.push(client.ask(URI, 0, 5).await);
    }
    let last = burst.pop().unwrap();
    for older in burst {
        assert_eq!(
            code(&client.answer(older).await),
            REQUEST_CANCELLED,
            "answered while the model is still busy"
        );
    }
    script.open_gate();
    assert_eq!(inserted(&client.answer(busy).await), "late");
    assert_eq!(inserted(&client.answer(last).await), "served");
    assert_eq!(script.asked().len(), 2, "superseded requests never reach the model");
    client.finish().await;
}

#[tokio::test]
async fn an_edit_alone_does_not() {
    let script = script();
    let mut client = Client::start(&script).await;
    client.open(URI, "slow").await;
    let id = client.ask(URI, 0, 4).await;
    script.begun(1).await;
    client.change(URI, 2, edit((0, 4), (0, 4), "l")).await;
    assert_eq!(client.text(URI).await, "slowl");
    script.open_gate();
    assert_eq!(inserted(&client.answer(id).await), "late");
    client.finish().await;
}

#[tokio::test]
async fn closing_the_document_does() {
    let script = script();
    let mut client = Client::start(&script).await;
    client.open(URI, "slow").await;
    client.open("file:///b.rs", "slow").await;
    let running = client.ask(URI, 0, 4).await;
    script.begun(1).await;
    let waiting = client.ask("file:///b.rs", 0, 4).await;
    client.close("file:///b.rs").await;
    assert_eq!(code(&client.answer(waiting).await), REQUEST_CANCELLED);
    client.close(URI).await;
    assert_eq!(code(&client.answer(running).await), REQUEST_CANCELLED);
    script.cancelled(1).await;
    client.finish().await;
}

#[tokio::test]
async fn a_full_queue_drops_its_oldest_request() {
    const MAX_WAITING: usize = 64;
    let script = script();
    let mut client = Client::start(&script).await;
    client.open(URI, "slow").await;
    let running = client.ask(URI, 0, 4).await;
    script.begun(1).await;
    let mut waiting = Vec::new();
    for document in 0..=MAX_WAITING {
        let uri = format!("file:///{document}.rs");
        client.open(&uri, "").await;
        waiting.push(client.ask(&uri, 0, 0).await);
    }
    let oldest = waiting.remove(0);
    assert_eq!(code(&client.answer(oldest).await), REQUEST_CANCELLED);
    script.open_gate();
    assert_eq!(inserted(&client.answer(running).await), "late");
    for id in waiting {
        assert_eq!(inserted(&client.answer(id).await), "served");
    }
    client.finish().await;
}
