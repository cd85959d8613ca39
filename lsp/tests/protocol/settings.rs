//! Settings: where they come from, what they change, and what is said of mistakes.

use std::path::Path;
use std::sync::Arc;

use diffcoder_engine::infiller::{DecodeOrder, FillMode, Unmasking};
use diffcoder_lsp::backend::Backend;
use diffcoder_lsp::config::{Config, Machine};
use serde_json::{Value, json};

use crate::harness::{
    Client, INVALID_PARAMS, REQUEST_FAILED, URI, code, completion_params, inserted, range,
};
use crate::script::{Act, Script};

/// A server whose user has a `config.toml` with that text.
fn with_file(script: &Arc<Script>, text: &str) -> (tempfile::TempDir, Backend) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    (folder, with_machine(script, Some(&path)))
}

fn with_machine(script: &Arc<Script>, path: Option<&Path>) -> Backend {
    let (machine, problems) = Machine::read(path.map(Into::into), []);
    Backend { config: Config::new(machine, problems), ..Backend::from(script.infiller()) }
}

async fn initialize(client: &mut Client, options: Value, capabilities: Value) {
    let folders = json!([{ "uri": "file:///src", "name": "src" }]);
    let params = json!({
        "processId": null, "rootUri": null, "capabilities": capabilities,
        "initializationOptions": options, "workspaceFolders": folders,
    });
    client.call("initialize", params).await.unwrap();
    client.notify("initialized", json!({})).await;
}

/// Asks as typing does.
async fn automatic(client: &mut Client, uri: &str) -> Vec<Value> {
    let mut params = completion_params(uri, 0, 8);
    params["context"]["triggerKind"] = json!(2);
    let items = client.call("textDocument/inlineCompletion", params).await.unwrap();
    items.as_array().unwrap().clone()
}

/// Asks as a person does.
async fn invoked(client: &mut Client) -> Vec<Value> {
    let mut params = completion_params(URI, 0, 8);
    params["context"]["triggerKind"] = json!(1);
    let items = client.call("textDocument/inlineCompletion", params).await.unwrap();
    items.as_array().unwrap().clone()
}

/// Asks until there are that many items: an answered question takes effect by and by.
async fn until(client: &mut Client, uri: &str, n_items: usize) {
    while automatic(client, uri).await.len() != n_items {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

async fn last_reason(client: &mut Client) -> Value {
    client.call("diffcoder/status", Value::Null).await.unwrap()["lastReason"].clone()
}

const TEXT: &str = "let a = ;\n";

#[tokio::test]
async fn a_language_that_is_off_costs_nothing() {
    let script = Script::always(Act::Fill("b"));
    let (_folder, backend) = with_file(&script, "[languages.plaintext]\nenable = false\n");
    let mut client = Client::connect_to(backend);
    initialize(&mut client, Value::Null, json!({})).await;
    client.open(URI, TEXT).await;
    assert_eq!(automatic(&mut client, URI).await, [json!(null); 0]);
    assert_eq!(script.asked().len(), 0, "the model was asked");
    assert_eq!(last_reason(&mut client).await, "suggestions are off for plaintext");

    client.open_as("python", "file:///src/b.py", TEXT).await;
    assert_eq!(automatic(&mut client, "file:///src/b.py").await.len(), 1);
    assert_eq!(last_reason(&mut client).await, Value::Null);
    assert_eq!(invoked(&mut client).await, [json!(null); 0], "not even for who asks");
    assert_eq!(script.asked().len(), 1, "the model was asked");
    client.finish().await;
}

#[tokio::test]
async fn suggestions_may_wait_to_be_asked_for() {
    let script = Script::always(Act::Fill("b"));
    let mut client = Client::connect(&script);
    let options = json!({ "settings": { "completion": { "automatic": false } } });
    initialize(&mut client, options, json!({})).await;
    client.open(URI, TEXT).await;
    assert_eq!(automatic(&mut client, URI).await.len(), 0);
    assert_eq!(script.asked().len(), 0, "the model was asked");
    assert_eq!(last_reason(&mut client).await, "suggestions come only when asked for");
    assert!(!invoked(&mut client).await.is_empty());
    client.finish().await;
}

#[tokio::test]
async fn a_suggestion_that_comes_by_itself_has_a_deadline() {
    for (milliseconds, has_one) in [(Value::Null, true), (json!(30_000), true), (json!(0), false)] {
        let script = Script::always(Act::Fill("b"));
        let mut client = Client::connect(&script);
        let mut settings = json!({ "completion": {} });
        if milliseconds != Value::Null {
            settings["completion"]["deadlineMs"] = milliseconds;
        }
        initialize(&mut client, json!({ "settings": settings }), json!({})).await;
        client.open(URI, TEXT).await;
        automatic(&mut client, URI).await;
        invoked(&mut client).await;
        let deadlines: Vec<bool> =
            script.requests().iter().map(|request| request.limits.deadline.is_some()).collect();
        assert_eq!(deadlines, [has_one, false], "{settings}");
        client.finish().await;
    }
}

#[tokio::test]
async fn an_unsure_fill_is_shown_to_who_asked_alone() {
    for (percent, shown) in [(19, 0), (21, 1)] {
        let mut client = Client::start(&Script::always(Act::FillWith("b", percent))).await;
        client.open(URI, TEXT).await;
        assert_eq!(automatic(&mut client, URI).await.len(), shown, "{percent} %");
        assert!(!invoked(&mut client).await.is_empty(), "{percent} %");
        client.finish().await;
    }
    let mut client = Client::connect(&Script::always(Act::FillWith("b", 29)));
    let options = json!({ "settings": { "diffcoder.completion.showThreshold": 0.1 } });
    initialize(&mut client, options, json!({})).await;
    client.open(URI, TEXT).await;
    assert_eq!(automatic(&mut client, URI).await.len(), 1);
    change_settings(
        &mut client,
        json!({ "diffcoder": { "completion": { "showThreshold": 0.5 } } }),
    )
    .await;
    assert_eq!(automatic(&mut client, URI).await.len(), 0);
    assert_eq!(last_reason(&mut client).await, "low confidence: 0.29 of 0.5 wanted");
    client.finish().await;
}

#[tokio::test]
async fn of_an_unsure_block_the_first_line_is_shown_if_that_is_sure() {
    const BLOCK: &str = "b();\n    c();";
    for (whole, first, shown) in [(10, 19, None), (10, 21, Some("b();")), (21, 40, Some(BLOCK))] {
        let mut client = Client::start(&Script::always(Act::FillLines(BLOCK, whole, first))).await;
        client.open_as("rust", URI, "fn a() {\n    \n}\n").await;
        let mut params = completion_params(URI, 1, 4);
        params["context"]["triggerKind"] = json!(2);
        let items = client.call("textDocument/inlineCompletion", params.clone()).await.unwrap();
        assert_eq!(items[0]["insertText"].as_str(), shown, "{whole} % and {first} %");
        params["context"]["triggerKind"] = json!(1);
        let items = client.call("textDocument/inlineCompletion", params).await.unwrap();
        let items = items.as_array().unwrap();
        assert!(items.iter().any(|item| item["insertText"] == BLOCK), "{items:?}");
        client.finish().await;
    }
}

async fn change_settings(client: &mut Client, settings: Value) {
    client.notify("workspace/didChangeConfiguration", json!({ "settings": settings })).await;
}

#[tokio::test]
async fn bounds_reach_the_model() {
    let script = Script::always(Act::Fill("b"));
    let mut client = Client::connect(&script);
    let settings = json!({
        "completion.maxTokens": 5, "infill.maxTokens": 6, "infill.alternatives": 2,
        "infill.mode": "independent", "decode.threshold": 0.5, "decode.order": "leftToRight",
    });
    initialize(&mut client, json!({ "settings": settings }), json!({})).await;
    client.open(URI, TEXT).await;
    invoked(&mut client).await;
    let params = json!({ "textDocument": { "uri": URI }, "ranges": [range((0, 8), (0, 8))] });
    let result = client.call("diffcoder/infill", params.clone()).await.unwrap();
    assert_eq!(result["alternatives"].as_array().unwrap().len(), 1);
    // What a request says counts more, and the model's own order can be asked for.
    let mut own = params.clone();
    own["order"] = json!("model");
    client.call("diffcoder/infill", own).await.unwrap();
    let mut unknown = params;
    unknown["order"] = json!("random");
    assert_eq!(code(&client.call("diffcoder/infill", unknown).await), INVALID_PARAMS);
    let seen = |index: usize| {
        let request = &script.requests()[index];
        assert_eq!(request.sampling.unmasking, Unmasking::Threshold(0.5));
        (request.limits.max_tokens, request.sampling.order, request.mode)
    };
    let order = Some(DecodeOrder::LeftToRight);
    assert_eq!(seen(0), (5, order, FillMode::Joint));
    assert_eq!(seen(1), (6, order, FillMode::Independent));
    assert_eq!(seen(2), (6, None, FillMode::Independent));
    client.finish().await;
}

#[tokio::test]
async fn a_block_can_be_kept_to_a_line() {
    let script = Script::always(Act::Fill("b();\n    c();"));
    let mut client = Client::start(&script).await;
    let uri = "file:///src/block.rs";
    client.open_as("rust", uri, "fn f() {\n    \n}\n").await;
    let mut params = completion_params(uri, 1, 4);
    params["context"]["triggerKind"] = json!(2);
    let answer = client.call("textDocument/inlineCompletion", params.clone()).await;
    assert_eq!(inserted(&answer).lines().count(), 2);
    change_settings(&mut client, json!({ "completion.multiline": "never" })).await;
    let answer = client.call("textDocument/inlineCompletion", params).await;
    assert_eq!(inserted(&answer), "b();");
    client.finish().await;
}

#[tokio::test]
async fn mistakes_are_said_once_and_the_rest_holds() {
    let script = Script::always(Act::Fill("b"));
    let (_folder, backend) =
        with_file(&script, "enabel = false\n[completion]\nautomatic = false\n");
    let mut client = Client::connect_to(backend);
    initialize(&mut client, Value::Null, json!({})).await;
    let message = client.shown().await;
    assert!(
        message.starts_with("diffcoder: enabel in ") && message.ends_with("did you mean enable?"),
        "{message}"
    );
    client.open(URI, TEXT).await;
    assert_eq!(automatic(&mut client, URI).await.len(), 0, "what is right holds");
    let wrong = json!({ "infill": { "maxTokens": 0 }, "server": { "model": "/of/a/workspace" } });
    for _ in 0..2 {
        change_settings(&mut client, wrong.clone()).await;
    }
    let message = client.shown().await;
    assert!(
        message.contains("infill.maxTokens in the editor's settings must be a whole number"),
        "{message}"
    );
    assert!(message.contains("; server.model in the editor's settings is ignored"), "{message}");
    assert_eq!(client.call("diffcoder/status", json!({})).await.unwrap()["state"], "idle");
    client.finish().await;
}

#[tokio::test]
async fn a_client_that_answers_is_asked_for_every_folder() {
    let script = Script::always(Act::Fill("b"));
    let mut client = Client::connect(&script);
    let capabilities = json!({ "workspace": {
        "configuration": true, "didChangeConfiguration": { "dynamicRegistration": true },
    } });
    initialize(&mut client, Value::Null, capabilities).await;
    let registered = client.answer_request("client/registerCapability", Value::Null).await;
    assert_eq!(registered["registrations"][0]["method"], "workspace/didChangeConfiguration");
    let off = json!({ "enable": false });
    let asked = client.answer_request("workspace/configuration", json!([null, off])).await;
    let expected = [
        json!({ "section": "diffcoder" }),
        json!({ "section": "diffcoder", "scopeUri": "file:///src" }),
    ];
    assert_eq!(asked["items"], json!(expected));
    client.open(URI, TEXT).await;
    client.open("file:///elsewhere/a.rs", TEXT).await;
    until(&mut client, URI, 0).await;
    until(&mut client, "file:///elsewhere/a.rs", 1).await;

    change_settings(&mut client, Value::Null).await;
    client.answer_request("workspace/configuration", json!([off, { "enable": true }])).await;
    until(&mut client, "file:///elsewhere/a.rs", 0).await;

    let folders = json!({ "added": [{ "uri": "file:///elsewhere", "name": "e" }], "removed": [{ "uri": "file:///src", "name": "src" }] });
    client.notify("workspace/didChangeWorkspaceFolders", json!({ "event": folders })).await;
    let asked = client.answer_request("workspace/configuration", json!([null, off])).await;
    assert_eq!(asked["items"][1]["scopeUri"], "file:///elsewhere");
    until(&mut client, URI, 1).await;
    until(&mut client, "file:///elsewhere/a.rs", 0).await;
    client.finish().await;
}

#[tokio::test]
async fn an_untrusted_workspace_costs_nothing() {
    let script = Script::always(Act::Fill("b"));
    let mut client = Client::connect(&script);
    initialize(&mut client, json!({ "trusted": false }), json!({})).await;
    client.open(URI, TEXT).await;
    assert_eq!(automatic(&mut client, URI).await.len(), 0);
    assert_eq!(invoked(&mut client).await.len(), 0);
    assert_eq!(last_reason(&mut client).await, "the workspace is not trusted");
    let place = range((0, 8), (0, 8));
    let infill = json!({ "textDocument": { "uri": URI }, "ranges": [place] });
    let score = json!({ "textDocument": { "uri": URI }, "range": range((0, 0), (0, 3)) });
    for (method, params) in [("diffcoder/infill", infill), ("diffcoder/score", score)] {
        let (code, message) = client.call(method, params).await.unwrap_err();
        assert_eq!(code, REQUEST_FAILED, "{method}");
        assert!(message.contains("does not trust this workspace"), "{message}");
    }
    assert_eq!(script.asked().len(), 0, "the model was asked");
    client.finish().await;
}
