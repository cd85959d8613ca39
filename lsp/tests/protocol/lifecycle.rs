//! From `initialize` to `exit`, in order and out of order.

use diffcoder_lsp::server::SessionEnd;
use serde_json::{Value, json};

use crate::harness::{
    Client, INVALID_REQUEST, NOT_INITIALIZED, REQUEST_CANCELLED, URI, code, completion_params,
    range,
};
use crate::script::{Act, Script};

#[tokio::test]
async fn a_client_that_says_nothing_gets_utf16_and_incremental_sync() {
    let mut client = Client::connect(&Script::always(Act::Fill("")));
    let result = client.initialize(json!({})).await;
    assert_eq!(
        result["capabilities"],
        json!({
            "positionEncoding": "utf-16",
            "textDocumentSync": { "openClose": true, "change": 2, "save": true },
            "inlineCompletionProvider": true,
            "completionProvider": {},
            "codeActionProvider": {
                "codeActionKinds": [
                    "refactor.rewrite.diffcoder.infill",
                    "refactor.rewrite.diffcoder.fillAll",
                    "refactor.rewrite.diffcoder.rewrite",
                    "quickfix.diffcoder.repair",
                    "refactor.rewrite.diffcoder.docComment",
                    "refactor.rewrite.diffcoder.alternatives",
                ],
                "resolveProvider": true,
            },
            "executeCommandProvider": {
                "commands": [
                    "diffcoder.server.accepted",
                    "diffcoder.server.status",
                    "diffcoder.server.unload",
                    "diffcoder.server.reload",
                    "diffcoder.server.infill",
                    "diffcoder.server.fillAll",
                    "diffcoder.server.rewrite",
                    "diffcoder.server.repair",
                    "diffcoder.server.docComment",
                    "diffcoder.server.alternatives",
                    "diffcoder.server.holes",
                    "diffcoder.server.score",
                ],
                "workDoneProgress": true,
            },
            "experimental": { "diffcoder": {
                "infill": true,
                "score": true,
                "holes": true,
                "seen": true,
                "status": true,
                "rewrite": { "disabled": "scripted follows no instructions" },
            } },
            "workspace": { "workspaceFolders": { "supported": true, "changeNotifications": true } },
        })
    );
    assert_eq!(result["serverInfo"]["name"], "diffcoder-lsp");
    assert_eq!(client.finish().await, SessionEnd::Orderly);
}

#[tokio::test]
async fn requests_before_initialize_are_refused() {
    let mut client = Client::connect(&Script::always(Act::Fill("")));
    let early = client.call("textDocument/inlineCompletion", completion_params(URI, 0, 0)).await;
    assert_eq!(code(&early), NOT_INITIALIZED);
    assert_eq!(code(&client.call("shutdown", Value::Null).await), NOT_INITIALIZED);
    client.open(URI, "dropped: nobody may open a document yet").await;
    client.initialize(json!({})).await;
    let text =
        client.call("diffcoder/documentText", json!({ "textDocument": { "uri": URI } })).await;
    assert!(text.unwrap_err().1.contains(URI));
    assert_eq!(client.finish().await, SessionEnd::Orderly);
}

#[tokio::test]
async fn a_second_initialize_is_refused() {
    let mut client = Client::start(&Script::always(Act::Fill(""))).await;
    let params = json!({ "processId": null, "rootUri": null, "capabilities": {} });
    assert_eq!(code(&client.call("initialize", params).await), INVALID_REQUEST);
    assert_eq!(client.finish().await, SessionEnd::Orderly);
}

#[tokio::test]
async fn messages_may_follow_initialize_at_once() {
    let mut client = Client::connect(&Script::always(Act::Fill("")));
    let params = json!({ "processId": null, "rootUri": null, "capabilities": {} });
    let id = client.send("initialize", params).await;
    client.open(URI, "text").await;
    assert_eq!(client.text(URI).await, "text");
    client.answer(id).await.unwrap();
    assert_eq!(client.finish().await, SessionEnd::Orderly);
}

#[tokio::test]
async fn shutdown_answers_what_is_under_way_and_only_exit_may_follow() {
    let script = Script::always(Act::FillWhenOpened("never"));
    let mut client = Client::start(&script).await;
    client.open(URI, "").await;
    client.open("file:///b.rs", "").await;
    let running = client.ask(URI, 0, 0).await;
    script.begun(1).await;
    let waiting = client.ask("file:///b.rs", 0, 0).await;
    client.call("shutdown", Value::Null).await.unwrap();
    assert_eq!(code(&client.answer(running).await), REQUEST_CANCELLED);
    assert_eq!(code(&client.answer(waiting).await), REQUEST_CANCELLED);
    let late = client.call("textDocument/inlineCompletion", completion_params(URI, 0, 0)).await;
    assert_eq!(code(&late), INVALID_REQUEST);
    client.notify("exit", Value::Null).await;
    assert_eq!(client.wait_for_end().await, SessionEnd::Orderly);
    script.cancelled(1).await;
}

#[tokio::test]
async fn exit_alone_is_no_orderly_end() {
    let mut client = Client::start(&Script::always(Act::Fill(""))).await;
    client.notify("exit", Value::Null).await;
    assert_eq!(client.wait_for_end().await, SessionEnd::Abrupt);
}

#[tokio::test]
async fn exit_stops_an_infill() {
    let script = Script::always(Act::FillWhenOpened("never"));
    let mut client = Client::start(&script).await;
    client.open(URI, "").await;
    let id = client.ask(URI, 0, 0).await;
    script.begun(1).await;
    client.notify("exit", Value::Null).await;
    assert_eq!(client.wait_for_end().await, SessionEnd::Abrupt);
    assert_eq!(code(&client.answer(id).await), REQUEST_CANCELLED);
    script.cancelled(1).await;
}

#[tokio::test]
async fn a_client_that_dies_ends_the_server() {
    for is_initialized in [false, true] {
        let mut client = Client::connect(&Script::always(Act::Fill("")));
        if is_initialized {
            client.initialize(json!({})).await;
        }
        assert_eq!(client.hang_up().await, SessionEnd::Abrupt);
    }
}

#[tokio::test]
async fn a_client_that_dies_stops_its_infill() {
    let script = Script::always(Act::FillWhenOpened("never"));
    let mut client = Client::start(&script).await;
    client.open(URI, "").await;
    let id = client.ask(URI, 0, 0).await;
    script.begun(1).await;
    client.disconnect();
    assert_eq!(client.wait_for_end().await, SessionEnd::Abrupt);
    assert_eq!(code(&client.answer(id).await), REQUEST_CANCELLED);
    script.cancelled(1).await;
}

#[tokio::test]
async fn a_client_that_hangs_up_after_shutdown_left_in_good_order() {
    let mut client = Client::start(&Script::always(Act::Fill(""))).await;
    client.call("shutdown", Value::Null).await.unwrap();
    assert_eq!(client.hang_up().await, SessionEnd::Orderly);
}

#[tokio::test]
async fn shutdown_with_surplus_params_is_a_shutdown() {
    let mut client = Client::start(&Script::always(Act::Fill(""))).await;
    assert_eq!(client.call("shutdown", json!({})).await, Ok(Value::Null));
    client.notify("exit", json!({})).await;
    assert_eq!(client.wait_for_end().await, SessionEnd::Orderly);
}

#[tokio::test]
async fn a_client_that_leaves_a_question_unanswered_ends_the_server() {
    let options = json!({ "workspace": {
        "configuration": true, "didChangeConfiguration": { "dynamicRegistration": true },
    } });
    for says_exit in [false, true] {
        let mut client = Client::connect(&Script::always(Act::Fill("")));
        // The server asks for the settings as soon as it may.
        client.leaves_questions = true;
        client.initialize(options.clone()).await;
        client.said("client/registerCapability").await;
        if says_exit {
            client.notify("exit", Value::Null).await;
        } else {
            client.disconnect();
        }
        assert_eq!(client.wait_for_end().await, SessionEnd::Abrupt);

        let mut client = Client::start(&Script::always(Act::Fill("x"))).await;
        client.leaves_questions = true;
        client.open(URI, "a").await;
        let argument = json!({ "uri": URI, "range": range((0, 0), (0, 1)) });
        let params = json!({ "command": "diffcoder.server.infill", "arguments": [argument] });
        let id = client.send("workspace/executeCommand", params).await;
        client.said("workspace/applyEdit").await;
        if says_exit {
            client.notify("exit", Value::Null).await;
        } else {
            client.disconnect();
        }
        assert_eq!(client.wait_for_end().await, SessionEnd::Abrupt);
        assert_eq!(code(&client.answer(id).await), REQUEST_CANCELLED);
    }
}

#[tokio::test]
async fn after_shutdown_every_request_is_refused_and_nothing_changes() {
    let mut client = Client::start(&Script::always(Act::Fill(""))).await;
    client.open(URI, "text").await;
    client.call("shutdown", Value::Null).await.unwrap();
    client.change(URI, 2, json!([{ "text": "changed" }])).await;
    let document = json!({ "textDocument": { "uri": URI } });
    for method in ["initialize", "shutdown", "diffcoder/documentText", "diffcoder/status"] {
        let answer = client.call(method, document.clone()).await;
        assert_eq!(code(&answer), INVALID_REQUEST, "{method}");
    }
    client.notify("exit", Value::Null).await;
    assert_eq!(client.wait_for_end().await, SessionEnd::Orderly);
}

#[tokio::test]
async fn a_client_that_goes_away_with_a_reload_under_way_ends_the_server() {
    for method in ["diffcoder/reload", "diffcoder/unload"] {
        let mut client = Client::start(&Script::always(Act::Fill(""))).await;
        let id = client.send(method, Value::Null).await;
        client.disconnect();
        assert_eq!(client.wait_for_end().await, SessionEnd::Abrupt);
        assert!(client.answer(id).await.unwrap()["state"].is_string());
    }
}
