//! `$/cancelRequest`: answered at once, and it stops the model.

use serde_json::json;

use crate::harness::{Client, REQUEST_CANCELLED, URI, code, inserted};
use crate::script::{Act, Asked, Script};

/// The model is busy with the first request of the session until it is cancelled; every later one is served.
fn busy_with(document: &'static str) -> impl Fn(&Asked) -> Act + Send + Sync {
    move |asked| {
        if asked.document == document { Act::FillWhenOpened("late") } else { Act::Fill("served") }
    }
}

#[tokio::test]
async fn a_running_infill_stops() {
    let script = Script::by(busy_with(URI));
    let mut client = Client::start(&script).await;
    client.open(URI, "").await;
    let id = client.ask(URI, 0, 0).await;
    script.begun(1).await;
    client.cancel(id).await;
    assert_eq!(code(&client.answer(id).await), REQUEST_CANCELLED);
    script.cancelled(1).await;

    client.open("file:///b.rs", "").await;
    let next = client.ask("file:///b.rs", 0, 0).await;
    assert_eq!(inserted(&client.answer(next).await), "served");
    client.finish().await;
}

#[tokio::test]
async fn a_waiting_infill_never_starts() {
    let script = Script::by(busy_with(URI));
    let mut client = Client::start(&script).await;
    for uri in [URI, "file:///b.rs", "file:///c.rs"] {
        client.open(uri, "").await;
    }
    let running = client.ask(URI, 0, 0).await;
    script.begun(1).await;
    let waiting = client.ask("file:///b.rs", 0, 0).await;
    let last = client.ask("file:///c.rs", 0, 0).await;
    client.cancel(waiting).await;
    assert_eq!(code(&client.answer(waiting).await), REQUEST_CANCELLED);
    script.open_gate();
    assert_eq!(inserted(&client.answer(running).await), "late");
    assert_eq!(inserted(&client.answer(last).await), "served");
    let documents: Vec<_> = script.asked().into_iter().map(|asked| asked.document).collect();
    assert_eq!(documents, [URI, "file:///c.rs"]);
    client.finish().await;
}

#[tokio::test]
async fn a_cancel_that_comes_too_late_or_names_nothing_is_ignored() {
    let mut client = Client::start(&Script::always(Act::Fill("done"))).await;
    client.open(URI, "").await;
    let id = client.ask(URI, 0, 0).await;
    assert_eq!(inserted(&client.answer(id).await), "done");
    client.cancel(id).await;
    client.cancel(id + 100).await;
    client.notify("$/cancelRequest", json!({ "id": "a string" })).await;
    client.notify("$/cancelRequest", json!({ "id": 1.5 })).await;
    client.notify("$/cancelRequest", json!({})).await;
    assert_eq!(inserted(&client.complete(0, 0).await), "done");
    client.finish().await;
}
