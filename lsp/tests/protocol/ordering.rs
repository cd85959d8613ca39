//! Slow infills hold nothing up: edits, cancels and requests take effect in the order in which they arrive.

use crate::harness::{Client, REQUEST_CANCELLED, code, edit, inserted};
use crate::script::{Act, Asked, Script};

/// Twice the number of messages that tower-lsp would serve at once by default.
const N_SLOW: usize = 8;

fn uri(document: usize) -> String {
    format!("file:///{document}.rs")
}

#[tokio::test]
async fn each_infill_sees_the_text_of_its_moment() {
    let script = Script::always(Act::FillWhenOpened("fill"));
    let mut client = Client::start(&script).await;
    let mut requests = Vec::new();
    for document in 0..N_SLOW {
        client.open(&uri(document), "").await;
        client
            .change(&uri(document), 2, edit((0, 0), (0, 0), &format!("{document} before|after")))
            .await;
        requests.push(client.ask(&uri(document), 0, 9).await);
        client.change(&uri(document), 3, edit((0, 0), (0, 99), "typed on")).await;
    }
    script.begun(1).await;

    // All are in flight: edits still apply, text is still served, and a cancel is answered, before any infill ends.
    for document in 0..N_SLOW {
        client.change(&uri(document), 4, edit((0, 8), (0, 8), "!")).await;
        assert_eq!(client.text(&uri(document)).await, "typed on!");
    }
    let (cancelled, kept): (Vec<_>, Vec<_>) =
        requests.iter().enumerate().partition(|(document, _)| document % 3 == 0);
    for (_, id) in &cancelled {
        client.cancel(**id).await;
        assert_eq!(code(&client.answer(**id).await), REQUEST_CANCELLED);
    }
    script.cancelled(1).await;

    script.open_gate();
    for (_, id) in &kept {
        assert_eq!(inserted(&client.answer(**id).await), "fill");
    }
    let seen = |document: usize| Asked {
        document: uri(document),
        before: format!("{document} before|"),
        after: "after".to_owned(),
        drafts: vec![String::new()],
        related: Vec::new(),
    };
    let running_and_kept = [0].into_iter().chain(kept.iter().map(|(document, _)| *document));
    assert_eq!(script.asked(), running_and_kept.map(seen).collect::<Vec<_>>());
    client.finish().await;
}

#[tokio::test]
async fn typing_with_a_request_per_key_stays_in_step() {
    let script = Script::always(Act::Fill("fill"));
    let mut client = Client::start(&script).await;
    client.open(&uri(0), "").await;
    let typed = "let größe = 漢(𝄞);";
    let mut column = 0;
    let mut requests = Vec::new();
    for (version, character) in typed.chars().enumerate() {
        client
            .change(&uri(0), version as i32, edit((0, column), (0, column), &character.to_string()))
            .await;
        column += character.len_utf16() as u32;
        requests.push(client.ask(&uri(0), 0, column).await);
    }
    let last = requests.pop().unwrap();
    for id in requests {
        if let Err((code, message)) = client.answer(id).await {
            assert_eq!(code, REQUEST_CANCELLED, "{message}");
        }
    }
    assert_eq!(inserted(&client.answer(last).await), "fill");
    for asked in script.asked() {
        assert!(typed.starts_with(&asked.before) && asked.after.is_empty(), "{asked:?}");
    }
    assert_eq!(script.asked().last().unwrap().before, typed);
    client.finish().await;
}

#[tokio::test]
async fn more_requests_than_the_transport_admits_do_not_hold_up_edits() {
    const N_REQUESTS: usize = 300;
    let script = Script::always(Act::FillWhenOpened("fill"));
    let mut client = Client::start(&script).await;
    let mut requests = Vec::new();
    for document in 0..N_REQUESTS {
        client.open(&uri(document), "text").await;
        requests.push(client.ask(&uri(document), 0, 0).await);
    }
    client.change(&uri(0), 2, edit((0, 4), (0, 4), "!")).await;
    assert_eq!(client.text(&uri(0)).await, "text!");
    script.open_gate();
    for id in requests {
        if let Err((code, message)) = client.answer(id).await {
            assert_eq!(code, REQUEST_CANCELLED, "{message}");
        }
    }
    client.finish().await;
}
