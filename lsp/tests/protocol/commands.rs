//! Commands: edits through the client, choosing among results, bad arguments.

use diffcoder_engine::infiller::FillMode;
use serde_json::{Value, json};

use crate::harness::{
    Answer, Client, INVALID_PARAMS, REQUEST_CANCELLED, REQUEST_FAILED, URI, code, range,
};
use crate::script::{Act, Script};

async fn execute(client: &mut Client, command: &str, argument: Value) -> Answer {
    let params = json!({ "command": command, "arguments": [argument] });
    client.call("workspace/executeCommand", params).await
}

#[tokio::test]
async fn edits_go_through_the_client_and_its_refusal_is_an_error() {
    let mut client = Client::start(&Script::always(Act::Fill("new"))).await;
    client.open_as("rust", URI, "fn a() { todo!() }\nlet b = 1;\n").await;
    for (command, argument, edits) in [
        ("fillAll", json!({ "uri": URI }), json!([[range((0, 9), (0, 16)), "new"]])),
        (
            "infill",
            json!({ "uri": URI, "version": 1, "ranges": [range((1, 8), (1, 9)), range((0, 3), (0, 4))] }),
            json!([[range((0, 3), (0, 4)), "new0"], [range((1, 8), (1, 9)), "new1"]]),
        ),
        (
            "docComment",
            json!({ "uri": URI, "range": range((0, 9), (0, 9)) }),
            json!([[range((0, 0), (0, 0)), "/// new\n"]]),
        ),
    ] {
        let command = format!("diffcoder.server.{command}");
        assert_eq!(execute(&mut client, &command, argument).await, Ok(Value::Null));
        let change = client.said("workspace/applyEdit").await["edit"]["documentChanges"][0].clone();
        assert_eq!(change["textDocument"], json!({ "uri": URI, "version": 1 }));
        let found: Vec<Value> = change["edits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|edit| json!([edit["range"], edit["newText"]]))
            .collect();
        assert_eq!(json!(found), edits, "{command}");
    }
    client.applies = false;
    let refused = execute(&mut client, "diffcoder.server.fillAll", json!({ "uri": URI })).await;
    let (code, message) = refused.unwrap_err();
    assert_eq!(code, REQUEST_FAILED);
    assert!(message.contains("read-only"), "{message}");
    let refused = client.said("workspace/applyEdit").await;
    assert_eq!(refused["label"], "Fill all holes here");
    client.finish().await;
}

#[tokio::test]
async fn a_rewrite_by_command_is_told_what_to_do() {
    let script = Script::that_rewrites(Act::Fill("short"));
    let mut client = Client::start(&script).await;
    client.open(URI, "a = long;\n").await;
    let mut argument = json!({ "uri": URI, "range": range((0, 4), (0, 8)) });
    let command = "diffcoder.server.rewrite";
    let missing = execute(&mut client, command, argument.clone()).await.unwrap_err().1;
    assert!(missing.contains("instruction is missing"), "{missing}");
    argument["instruction"] = json!("shorter");
    assert_eq!(execute(&mut client, command, argument).await, Ok(Value::Null));
    let applied = client.said("workspace/applyEdit").await;
    assert_eq!(applied["edit"]["documentChanges"][0]["edits"][0]["newText"], "short");
    assert_eq!(script.requests()[0].instruction.as_deref(), Some("shorter"));
    client.finish().await;
}

#[tokio::test]
async fn an_order_keeps_text_and_has_the_settings_bounds() {
    let script = Script::always(Act::Fill("x"));
    let mut client = Client::connect(&script);
    let settings = json!({ "infill": { "maxTokens": 9, "mode": "independent" } });
    let params = json!({ "processId": null, "capabilities": {}, "initializationOptions": { "settings": settings } });
    client.call("initialize", params).await.unwrap();
    client.notify("initialized", json!({})).await;
    client.open(URI, "a = b + c;\n").await;
    let mut argument = json!({ "uri": URI, "range": range((0, 4), (0, 9)) });
    argument["keep"] = json!([range((0, 5), (0, 8))]);
    let command = "diffcoder.server.infill";
    assert_eq!(execute(&mut client, command, argument.clone()).await, Ok(Value::Null));
    let applied = client.said("workspace/applyEdit").await;
    let edits = &applied["edit"]["documentChanges"][0]["edits"];
    let expected = [(range((0, 4), (0, 5)), "x0"), (range((0, 8), (0, 9)), "x1")];
    let expected = expected.map(|(range, text)| json!({ "range": range, "newText": text }));
    assert_eq!(*edits, json!(expected));
    (argument["mode"], argument["maxTokens"]) = (json!("inTurn"), json!(5));
    assert_eq!(execute(&mut client, command, argument).await, Ok(Value::Null));
    client.said("workspace/applyEdit").await;
    let bounds = |index: usize| {
        let request = &script.requests()[index];
        (request.mode, request.limits.max_tokens)
    };
    assert_eq!(bounds(0), (FillMode::Independent, 9));
    assert_eq!(bounds(1), (FillMode::InTurn, 5));
    client.finish().await;
}

#[tokio::test]
async fn commands_that_are_requests_answer_as_those_do() {
    let mut client = Client::start(&Script::always(Act::Fill("x"))).await;
    client.open_as("rust", URI, "fn a() { todo!() }\n").await;
    let document = json!({ "uri": URI, "version": 1 });
    for (name, params) in [
        ("holes", json!({ "textDocument": document, "kind": "fillAll" })),
        (
            "score",
            json!({ "textDocument": document, "range": range((0, 3), (0, 4)), "alternatives": 1 }),
        ),
    ] {
        let by_request = client.call(&format!("diffcoder/{name}"), params.clone()).await.unwrap();
        let command = format!("diffcoder.server.{name}");
        assert_eq!(execute(&mut client, &command, params).await, Ok(by_request));
        let refused = execute(&mut client, &command, json!({})).await.unwrap_err();
        assert_eq!(refused.0, INVALID_PARAMS);
        assert!(
            refused.1.contains(&command) && refused.1.contains("textDocument"),
            "{}",
            refused.1
        );
    }
    client.finish().await;
}

#[tokio::test]
async fn a_person_chooses_among_alternatives() {
    let script = Script::always(Act::Fill("new\n  line"));
    let mut client = Client::start(&script).await;
    client.open(URI, "a = 1;\n").await;
    let argument = json!({ "uri": URI, "range": range((0, 4), (0, 5)), "alternatives": 3 });
    client.choice = Some(2);
    let command = "diffcoder.server.alternatives";
    assert_eq!(execute(&mut client, command, argument.clone()).await, Ok(Value::Null));
    let asked = client.said("window/showMessageRequest").await;
    assert_eq!(asked["actions"][0]["title"], "1: new line");
    assert_eq!(asked["actions"].as_array().unwrap().len(), 3);
    let applied = client.said("workspace/applyEdit").await;
    assert_eq!(applied["edit"]["documentChanges"][0]["edits"][0]["newText"], "2:new\n  line");
    client.choice = None;
    assert_eq!(execute(&mut client, command, argument).await, Ok(Value::Null));
    client.said("window/showMessageRequest").await;
    client.finish().await;
}

#[tokio::test]
async fn the_clients_own_progress_token_is_used() {
    let script = Script::always(Act::FillWhenOpened("new"));
    let mut client = Client::start(&script).await;
    client.open(URI, "a = 1;\n").await;
    let params = json!({
        "command": "diffcoder.server.infill",
        "arguments": [{ "uri": URI, "range": range((0, 4), (0, 5)) }],
        "workDoneToken": 11,
    });
    let id = client.send("workspace/executeCommand", params).await;
    assert_eq!(client.said("$/progress").await["token"], 11);
    script.begun(1).await;
    client.notify("window/workDoneProgress/cancel", json!({ "token": 11 })).await;
    assert_eq!(code(&client.answer(id).await), REQUEST_CANCELLED);
    script.cancelled(1).await;
    assert_eq!(client.said("$/progress").await["value"]["kind"], "end");
    client.finish().await;
}

#[tokio::test]
async fn what_is_asked_for_later_stops_a_repair_that_still_plans() {
    let script = Script::by(|asked| {
        if asked.drafts[0].len() > 1 { Act::FillWhenOpened("old") } else { Act::Fill("new") }
    });
    let mut client = Client::start(&script).await;
    client.open(URI, "abc = 1;\n").await;
    let repair = json!({ "uri": URI, "range": range((0, 0), (0, 3)) });
    let params = json!({ "command": "diffcoder.server.repair", "arguments": [repair] });
    let id = client.send("workspace/executeCommand", params).await;
    script.begun(1).await;
    let infill = json!({ "uri": URI, "range": range((0, 6), (0, 7)) });
    assert_eq!(execute(&mut client, "diffcoder.server.infill", infill).await, Ok(Value::Null));
    assert_eq!(code(&client.answer(id).await), REQUEST_CANCELLED);
    script.cancelled(1).await;
    let applied = client.said("workspace/applyEdit").await;
    assert_eq!(applied["edit"]["documentChanges"][0]["edits"][0]["newText"], "new");
    client.finish().await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_its_name() {
    let script = Script::always(Act::Fill("new"));
    let mut client = Client::start(&script).await;
    client.open(URI, "a = 1;\n").await;
    let here = || json!({ "uri": URI, "range": range((0, 4), (0, 5)) });
    let with = |name: &str, value: Value| {
        let mut argument = here();
        argument[name] = value;
        argument
    };
    for (command, argument, expected_code, expected) in [
        ("fly", here(), INVALID_PARAMS, "there is no command diffcoder.server.fly"),
        ("infill", json!({ "uri": URI }), INVALID_PARAMS, "ranges"),
        ("infill", json!({}), INVALID_PARAMS, "uri"),
        ("fillAll", with("keep", json!([range((0, 4), (0, 5))])), INVALID_PARAMS, "keep"),
        ("infill", with("temperature", json!(1)), INVALID_PARAMS, "unknown field `temperature`"),
        ("rewrite", with("instruction", json!("shorter")), REQUEST_FAILED, "no instructions"),
        ("alternatives", with("alternatives", json!(9)), INVALID_PARAMS, "alternatives"),
        ("docComment", json!({ "uri": URI }), INVALID_PARAMS, "range is missing"),
        ("docComment", here(), REQUEST_FAILED, "no item"),
        ("fillAll", json!({ "uri": URI }), REQUEST_FAILED, "nothing here is left open"),
    ] {
        let command = format!("diffcoder.server.{command}");
        let (code, message) = execute(&mut client, &command, argument).await.unwrap_err();
        assert_eq!(code, expected_code, "{message}");
        assert!(message.contains(expected), "{message}");
    }
    let bare = json!({ "command": "diffcoder.server.infill" });
    assert_eq!(code(&client.call("workspace/executeCommand", bare).await), INVALID_PARAMS);
    assert!(script.asked().is_empty());
    client.finish().await;
}
