//! `diffcoder/infill`: several ranges, alternatives, frames, versions, bad parameters.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    CONTENT_MODIFIED, Client, INVALID_PARAMS, REQUEST_CANCELLED, URI, code, edit, range,
};
use crate::script::{Act, Script};

const METHOD: &str = "diffcoder/infill";

fn params(ranges: &[Value]) -> Value {
    json!({ "textDocument": { "uri": URI, "version": 1 }, "ranges": ranges })
}

#[tokio::test]
async fn ranges_are_filled_in_one_versioned_edit_in_the_order_sent() {
    let script = Script::always(Act::Fill("x\ny"));
    let mut client = Client::start(&script).await;
    assert_eq!(client.capabilities["experimental"]["diffcoder"]["infill"], true);
    client.open(URI, "a = 1;\r\nb = ;\r\né = ;\r\n").await;
    let ranges = [range((2, 4), (2, 4)), range((0, 4), (0, 5)), range((1, 4), (1, 4))];
    let result = client.call(METHOD, params(&ranges)).await.unwrap();
    let texts = ["x\r\ny2", "x\r\ny0", "x\r\ny1"];
    assert_eq!(result["version"], 1);
    let edits = &result["edit"]["documentChanges"][0]["edits"];
    for (index, text) in texts.iter().enumerate() {
        assert_eq!(result["holes"][index]["range"], ranges[index]);
        assert_eq!(result["holes"][index]["newText"], *text);
        assert_eq!(result["holes"][index]["finish"], "endOfText");
        assert_eq!(edits[index], json!({ "range": ranges[index], "newText": text }));
    }
    let document = json!({ "uri": URI, "version": 1 });
    assert_eq!(result["edit"]["documentChanges"][0]["textDocument"], document);
    assert_eq!(result["alternatives"], json!([]));
    let asked = &script.asked()[0];
    assert_eq!(asked.drafts, ["1", "", ""]);
    assert_eq!((asked.before.as_str(), asked.after.as_str()), ("a = ", ";\n"));
    assert!(client.frames.is_empty(), "nobody asked for frames");
    client.finish().await;
}

#[tokio::test]
async fn kept_text_within_a_range_is_no_part_of_any_edit() {
    let script = Script::always(Act::Fill("x"));
    let mut client = Client::start(&script).await;
    client.open(URI, "é = a + b;\nc = ;\n").await;
    let mut asked = params(&[range((1, 4), (1, 4)), range((0, 4), (0, 9))]);
    asked["keep"] = json!([range((0, 5), (0, 8))]);
    let result = client.call(METHOD, asked.clone()).await.unwrap();
    let expected = [range((1, 4), (1, 4)), range((0, 4), (0, 5)), range((0, 8), (0, 9))];
    for (index, (expected, text)) in expected.iter().zip(["x2", "x0", "x1"]).enumerate() {
        assert_eq!(result["holes"][index]["range"], *expected);
        assert_eq!(result["holes"][index]["newText"], text);
    }
    assert_eq!(script.asked()[0].drafts, ["a", "b", ""]);
    asked["keep"] = json!([range((0, 1), (0, 5))]);
    let refused = client.call(METHOD, asked.clone()).await;
    assert_eq!(code(&refused), INVALID_PARAMS);
    asked["ranges"] = json!([range((0, 4), (0, 9))]);
    asked["keep"] = json!([range((0, 4), (0, 9))]);
    assert_eq!(code(&client.call(METHOD, asked).await), INVALID_PARAMS);
    client.finish().await;
}

#[tokio::test]
async fn only_who_wants_one_has_a_deadline() {
    let script = Script::always(Act::Fill("x"));
    let mut client = Client::start(&script).await;
    client.open(URI, "a = ;\n").await;
    let mut asked = params(&[range((0, 4), (0, 4))]);
    let before = Instant::now();
    for longest in [Value::Null, json!(60_000), json!(u64::MAX)] {
        asked["deadlineMs"] = longest;
        client.call(METHOD, asked.clone()).await.unwrap();
    }
    let deadlines: Vec<_> =
        script.requests().iter().map(|request| request.limits.deadline).collect();
    let minute = Duration::from_secs(60);
    let is_right =
        |deadline: Instant| (before + minute..=Instant::now() + minute).contains(&deadline);
    assert!(deadlines[0].is_none() && deadlines[1].is_some_and(is_right), "{deadlines:?}");
    assert_eq!(deadlines.len(), 3, "one that no clock reaches is no mistake");
    client.finish().await;
}

#[tokio::test]
async fn alternatives_come_behind_the_best() {
    let mut client = Client::start(&Script::always(Act::Fill("x"))).await;
    client.open(URI, "a = ;\n").await;
    let mut params = params(&[range((0, 4), (0, 4))]);
    params["alternatives"] = json!(3);
    let result = client.call(METHOD, params).await.unwrap();
    assert_eq!(result["holes"][0]["newText"], "x");
    let others: Vec<&Value> = result["alternatives"].as_array().unwrap().iter().collect();
    assert_eq!(others.len(), 2);
    assert_eq!(others[1][0]["newText"], "2:x");
    client.finish().await;
}

#[tokio::test]
async fn frames_come_under_the_token_and_end_with_the_last_state_of_every_hole() {
    let mut client = Client::start(&Script::always(Act::Fill("x"))).await;
    client.open(URI, "a = ;\nb = ;\n").await;
    for token in [json!("seven"), json!(7)] {
        let mut params = params(&[range((1, 4), (1, 4)), range((0, 4), (0, 4))]);
        params["frameToken"] = token.clone();
        client.call(METHOD, params).await.unwrap();
        let frames = std::mem::take(&mut client.frames);
        assert!(frames.iter().all(|frame| frame["token"] == token));
        for (hole, line) in [(0, 1), (1, 0)] {
            let last = frames.iter().rfind(|frame| frame["hole"] == hole).unwrap();
            assert_eq!(last["range"], range((line, 4), (line, 4)));
            let cell = |text: &str| json!({ "text": text, "confidence": 0.5 });
            assert_eq!(last["cells"], json!([cell("x"), cell(";")]));
        }
    }
    client.finish().await;
}

/// A slow machine has more time for as many frames: the bound is as tight there or looser.
#[tokio::test]
async fn frames_come_fifteen_times_a_second_at_most_and_the_last_one_comes() {
    const N_FORWARDS: usize = 250;
    const INTERVAL: Duration = Duration::from_millis(66);
    let mut client = Client::start(&Script::always(Act::Denoise("x", N_FORWARDS))).await;
    client.open(URI, "a = ;\n").await;
    let mut params = params(&[range((0, 4), (0, 4))]);
    params["frameToken"] = json!(1);
    let asked = Instant::now();
    client.call(METHOD, params).await.unwrap();
    let n_intervals = asked.elapsed().as_millis() / INTERVAL.as_millis();
    let frames = std::mem::take(&mut client.frames);
    // One at the beginning of the first interval, and the last one whenever it comes.
    assert!(frames.len() as u128 <= n_intervals + 2, "{} in {n_intervals}", frames.len());
    assert_eq!(frames.last().unwrap()["forwards"], N_FORWARDS);
    client.finish().await;
}

#[tokio::test]
async fn a_text_that_has_moved_on_is_content_modified() {
    let script = Script::always(Act::FillWhenOpened("x"));
    let mut client = Client::start(&script).await;
    client.open(URI, "a = ;\n").await;
    let mut late = params(&[range((0, 4), (0, 4))]);
    late["textDocument"]["version"] = json!(5);
    assert_eq!(code(&client.call(METHOD, late).await), CONTENT_MODIFIED);
    let id = client.send(METHOD, params(&[range((0, 4), (0, 4))])).await;
    script.begun(1).await;
    client.change(URI, 2, edit((0, 0), (0, 0), "let ")).await;
    // Once the server answers another request, it has applied the change.
    assert_eq!(client.text(URI).await, "let a = ;\n");
    script.open_gate();
    assert_eq!(code(&client.answer(id).await), CONTENT_MODIFIED);
    client.finish().await;
}

#[tokio::test]
async fn typing_does_not_stop_it_and_a_newer_one_does() {
    let script = Script::always(Act::FillWhenOpened("x"));
    let mut client = Client::start(&script).await;
    client.open(URI, "a = ;\n").await;
    let one = || params(&[range((0, 4), (0, 4))]);
    let first = client.send(METHOD, one()).await;
    script.begun(1).await;
    let completion = client.ask(URI, 0, 4).await;
    let second = client.send(METHOD, one()).await;
    assert_eq!(code(&client.answer(first).await), REQUEST_CANCELLED);
    script.open_gate();
    assert!(client.answer(completion).await.is_ok());
    assert!(client.answer(second).await.is_ok());
    client.finish().await;
}

#[tokio::test]
async fn a_cancel_reaches_the_model() {
    let script = Script::always(Act::FillWhenOpened("x"));
    let mut client = Client::start(&script).await;
    client.open(URI, "a = ;\n").await;
    let mut asked = params(&[range((0, 4), (0, 4))]);
    asked["frameToken"] = json!(1);
    let id = client.send(METHOD, asked).await;
    script.begun(1).await;
    client.cancel(id).await;
    assert_eq!(code(&client.answer(id).await), REQUEST_CANCELLED);
    script.cancelled(1).await;
    client.finish().await;
}

#[tokio::test]
async fn a_fill_is_brought_to_the_file_and_changes_nothing_outside_its_range() {
    let script = Script::always(Act::Fill("1, 2)"));
    let mut client = Client::start(&script).await;
    client.open_as("rust", URI, "fn a() {\n    e()\n}\n").await;
    let mut asked = params(&[range((1, 6), (1, 6))]);
    asked["avoidDraft"] = json!(true);
    let result = client.call(METHOD, asked).await.unwrap();
    assert_eq!(result["holes"][0]["newText"], "1, 2");
    assert!(script.requests()[0].avoid_draft);
    client.finish().await;
}

#[tokio::test]
async fn a_note_is_shown_to_the_model_and_replaced() {
    let script = Script::always(Act::Fill("b();"));
    let mut client = Client::start(&script).await;
    client.open_as("rust", URI, "fn a() {\n    // TODO: call b\n}\n").await;
    let result = client.call(METHOD, params(&[range((1, 4), (1, 19))])).await.unwrap();
    assert_eq!(result["holes"][0]["newText"], "b();");
    let asked = &script.asked()[0];
    assert_eq!(asked.before, "fn a() {\n    // TODO: call b\n    ");
    assert_eq!((asked.drafts[0].as_str(), asked.after.as_str()), ("", "\n}\n"));
    client.finish().await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_its_name() {
    let script = Script::always(Act::Fill("x"));
    let mut client = Client::start(&script).await;
    client.open(URI, "a = 12;\n").await;
    let here = || range((0, 4), (0, 4));
    let with = |name: &str, value: Value| {
        let mut params = params(&[here()]);
        params[name] = value;
        params
    };
    let both = {
        let mut params = with("steps", json!(2));
        params["threshold"] = json!(0.5);
        params
    };
    for (params, expected) in [
        (params(&[]), "ranges"),
        (params(&[here(), here()]), "overlap"),
        (params(&[range((0, 4), (0, 6)), range((0, 5), (0, 6))]), "overlap"),
        (with("alternatives", json!(0)), "alternatives"),
        (with("alternatives", json!(9)), "alternatives"),
        (both, "threshold"),
        (with("mode", json!("fast")), "fast"),
        (with("instruction", json!("shorter")), "follows no instructions"),
        (with("kind", json!("docComment")), "no doc comment"),
        (json!({ "textDocument": { "uri": "file:///other" }, "ranges": [here()] }), "not open"),
    ] {
        let (code, message) = client.call(METHOD, params).await.unwrap_err();
        assert_eq!(code, INVALID_PARAMS, "{message}");
        assert!(message.contains(expected), "{message}");
    }
    assert!(script.asked().is_empty());
    client.finish().await;
}
