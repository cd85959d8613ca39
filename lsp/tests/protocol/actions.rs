//! Code actions: what is offered to whom, and what a chosen one becomes.

use serde_json::{Value, json};

use crate::harness::{
    CONTENT_MODIFIED, Client, INVALID_PARAMS, REQUEST_CANCELLED, REQUEST_FAILED, URI, code, edit,
    range,
};
use crate::script::{Act, Script};

const LIST: &str = "textDocument/codeAction";
const RESOLVE: &str = "codeAction/resolve";

/// What editors such as VS Code and Neovim say of themselves.
fn capable() -> Value {
    let actions = json!({
        "codeActionLiteralSupport": { "codeActionKind": { "valueSet": [] } },
        "disabledSupport": true,
        "dataSupport": true,
        "resolveSupport": { "properties": ["edit"] },
    });
    json!({ "textDocument": { "codeAction": actions }, "window": { "workDoneProgress": true } })
}

fn params(range: Value) -> Value {
    json!({ "textDocument": { "uri": URI }, "range": range, "context": { "diagnostics": [] } })
}

async fn offered(client: &mut Client, params: Value) -> Vec<Value> {
    client.call(LIST, params).await.unwrap().as_array().unwrap().clone()
}

fn titles(actions: &[Value]) -> Vec<&str> {
    actions.iter().map(|action| action["title"].as_str().unwrap()).collect()
}

/// The action whose kind ends with `name`.
fn named<'a>(actions: &'a [Value], name: &str) -> &'a Value {
    let is_it = |action: &&Value| action["kind"].as_str().is_some_and(|kind| kind.ends_with(name));
    actions.iter().find(is_it).unwrap_or_else(|| panic!("no {name} among {actions:?}"))
}

/// Reads progress from its token to its end; returns its title.
async fn progress(client: &mut Client) -> Value {
    let token = client.said("window/workDoneProgress/create").await["token"].clone();
    let [begun, ended] = [client.said("$/progress").await, client.said("$/progress").await];
    assert_eq!((&begun["token"], &ended["token"]), (&token, &token));
    assert_eq!(begun["value"]["kind"], "begin");
    assert_eq!(ended["value"], json!({ "kind": "end" }));
    begun["value"]["title"].clone()
}

#[tokio::test]
async fn what_can_be_done_at_a_place_is_offered_without_asking_the_model() {
    let script = Script::always(Act::Fill("x"));
    let mut client = Client::start_with(&script, capable()).await;
    client.open_as("rust", URI, "fn a() {\n    todo!()\n}\n/// B.\nfn b() {}\n").await;
    let cursor = offered(&mut client, params(range((1, 0), (1, 0)))).await;
    assert_eq!(titles(&cursor), ["Fill all holes here", "Write doc comment"]);
    let selection = offered(&mut client, params(range((4, 0), (4, 9)))).await;
    let expected = [
        "Infill selection",
        "Rewrite with instruction",
        "Choose among alternatives",
        "Repair what is unlikely",
    ];
    assert_eq!(titles(&selection), expected);
    let rewrite = named(&selection, "rewrite");
    assert_eq!(rewrite["disabled"]["reason"], "scripted follows no instructions");
    assert_eq!((&rewrite["data"], &rewrite["command"]), (&Value::Null, &Value::Null));
    assert_eq!(
        named(&selection, "alternatives")["command"]["command"],
        "diffcoder.server.alternatives"
    );
    let mut quick = params(range((1, 4), (1, 4)));
    quick["context"]["diagnostics"] =
        json!([{ "range": range((1, 4), (1, 8)), "message": "wrong" }]);
    quick["context"]["only"] = json!(["quickfix"]);
    let quick = offered(&mut client, quick).await;
    assert_eq!(titles(&quick), ["Repair what is unlikely"]);
    assert_eq!(quick[0]["diagnostics"][0]["message"], "wrong");
    assert!(script.asked().is_empty());
    client.finish().await;
}

#[tokio::test]
async fn editors_that_know_less_get_commands() {
    let mut client = Client::start(&Script::always(Act::Fill("x"))).await;
    client.open(URI, "a = 1;\n").await;
    let actions = offered(&mut client, params(range((0, 4), (0, 5)))).await;
    assert_eq!(titles(&actions)[0], "Infill selection");
    assert_eq!(actions[0]["command"], "diffcoder.server.infill");
    assert!(!titles(&actions).contains(&"Rewrite with instruction"), "it cannot be done");
    assert_eq!(actions[0]["arguments"][0]["range"], range((0, 4), (0, 5)));
    client.finish().await;
    let literals = json!({ "textDocument": { "codeAction": {
        "codeActionLiteralSupport": { "codeActionKind": { "valueSet": [] } },
    } } });
    let mut client = Client::start_with(&Script::always(Act::Fill("x")), literals).await;
    client.open(URI, "a = 1;\n").await;
    let actions = offered(&mut client, params(range((0, 4), (0, 5)))).await;
    assert_eq!(named(&actions, "infill")["command"]["command"], "diffcoder.server.infill");
    assert!(!titles(&actions).contains(&"Rewrite with instruction"));
    client.finish().await;
}

#[tokio::test]
async fn the_editor_asks_what_a_rewrite_shall_do() {
    let script = Script::that_rewrites(Act::Fill("short"));
    let mut capabilities = capable();
    for asks in [false, true] {
        capabilities["experimental"] = json!({ "diffcoder": { "asksInstruction": asks } });
        let mut client = Client::start_with(&script, capabilities.clone()).await;
        client.open(URI, "a = long;\n").await;
        let actions = offered(&mut client, params(range((0, 4), (0, 8)))).await;
        let rewrite = named(&actions, "rewrite");
        assert_eq!(rewrite["data"], Value::Null, "the server cannot carry it out alone");
        if asks {
            assert_eq!(rewrite["disabled"], Value::Null);
            assert_eq!(rewrite["command"]["command"], "diffcoder.askRewrite");
            let order = json!({ "uri": URI, "version": 1, "range": range((0, 4), (0, 8)) });
            assert_eq!(rewrite["command"]["arguments"], json!([order]));
        } else {
            let reason = rewrite["disabled"]["reason"].as_str().unwrap();
            assert!(reason.contains("diffcoder.server.rewrite"), "{reason}");
        }
        client.finish().await;
    }
}

#[tokio::test]
async fn a_chosen_action_becomes_one_versioned_edit() {
    let script = Script::always(Act::Fill("new"));
    let mut client = Client::start_with(&script, capable()).await;
    client.open_as("rust", URI, "fn a() {\n    todo!();\n}\nfn b() { todo!() }\n").await;
    let document = json!({ "uri": URI, "version": 1 });
    for (place, name, edits) in [
        (range((0, 3), (0, 4)), "infill", json!([[range((0, 3), (0, 4)), "new"]])),
        (
            range((0, 0), (0, 0)),
            "fillAll",
            json!([[range((1, 4), (1, 12)), "new0"], [range((3, 9), (3, 16)), "new1"]]),
        ),
        (range((3, 9), (3, 9)), "docComment", json!([[range((3, 0), (3, 0)), "/// new\n"]])),
    ] {
        let actions = offered(&mut client, params(place)).await;
        let resolved = client.call(RESOLVE, named(&actions, name).clone()).await.unwrap();
        assert_eq!(progress(&mut client).await, named(&actions, name)["title"]);
        let change = &resolved["edit"]["documentChanges"][0];
        assert_eq!(change["textDocument"], document);
        let found: Vec<Value> = change["edits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|edit| json!([edit["range"], edit["newText"]]))
            .collect();
        assert_eq!(json!(found), edits, "{name}");
    }
    client.finish().await;
}

#[tokio::test]
async fn a_repair_fills_what_is_under_the_diagnostic_with_something_else() {
    let script = Script::always(Act::Fill("new"));
    let mut client = Client::start_with(&script, capable()).await;
    client.open(URI, "let a = wrong\n").await;
    let mut quick = params(range((0, 10), (0, 10)));
    quick["context"]["diagnostics"] =
        json!([{ "range": range((0, 8), (0, 12)), "message": "wrong" }]);
    let actions = offered(&mut client, quick).await;
    let resolved = client.call(RESOLVE, named(&actions, "repair").clone()).await.unwrap();
    let edits = &resolved["edit"]["documentChanges"][0]["edits"];
    assert!(
        edits.as_array().unwrap().iter().any(|edit| edit["range"] == range((0, 8), (0, 13))),
        "{edits}"
    );
    assert!(script.requests()[0].avoid_draft);
    assert_eq!(progress(&mut client).await, "Repair what is unlikely");
    client.finish().await;
}

#[tokio::test]
async fn an_edit_moves_with_changes_outside_of_it_and_is_refused_for_others() {
    for (change, expected) in [
        (edit((0, 0), (0, 0), "first\n"), Some(range((2, 4), (2, 5)))),
        (edit((2, 0), (2, 1), "z\nz"), Some(range((1, 4), (1, 5)))),
        (edit((1, 0), (1, 0), "x"), Some(range((1, 5), (1, 6)))),
        (edit((1, 5), (1, 5), "2"), None),
        (edit((1, 4), (1, 5), "2"), None),
    ] {
        let script = Script::always(Act::FillWhenOpened("new"));
        let mut client = Client::start_with(&script, capable()).await;
        client.open(URI, "a = 1\nb = 1\nc = 1\n").await;
        let actions = offered(&mut client, params(range((1, 4), (1, 5)))).await;
        let id = client.send(RESOLVE, named(&actions, "infill").clone()).await;
        script.begun(1).await;
        client.change(URI, 2, change.clone()).await;
        client.text(URI).await;
        script.open_gate();
        let answer = client.answer(id).await;
        match expected {
            Some(place) => {
                let change = &answer.unwrap()["edit"]["documentChanges"][0];
                assert_eq!(change["textDocument"]["version"], 2);
                assert_eq!(change["edits"][0]["range"], place, "{change}");
            }
            None => assert_eq!(code(&answer), CONTENT_MODIFIED, "{change}"),
        }
        assert_eq!(progress(&mut client).await, "Infill selection");
        client.finish().await;
    }
}

#[tokio::test]
async fn progress_is_shown_and_its_cancel_stops_the_model() {
    let script = Script::always(Act::FillWhenOpened("new"));
    let mut client = Client::start_with(&script, capable()).await;
    client.open(URI, "a = 1;\n").await;
    let actions = offered(&mut client, params(range((0, 4), (0, 5)))).await;
    let id = client.send(RESOLVE, named(&actions, "infill").clone()).await;
    let token = client.said("window/workDoneProgress/create").await["token"].clone();
    let begun = client.said("$/progress").await;
    assert_eq!(begun["token"], token);
    let expected = json!({ "kind": "begin", "title": "Infill selection", "cancellable": true });
    assert_eq!(begun["value"], expected);
    script.begun(1).await;
    client.notify("window/workDoneProgress/cancel", json!({ "token": token })).await;
    assert_eq!(code(&client.answer(id).await), REQUEST_CANCELLED);
    script.cancelled(1).await;
    let ended = client.said("$/progress").await;
    assert_eq!((&ended["token"], &ended["value"]["kind"]), (&token, &json!("end")));
    // A request's own cancel does the same.
    let id = client.send(RESOLVE, named(&actions, "infill").clone()).await;
    script.begun(2).await;
    client.cancel(id).await;
    assert_eq!(code(&client.answer(id).await), REQUEST_CANCELLED);
    script.cancelled(2).await;
    assert_eq!(progress(&mut client).await, "Infill selection");
    // A cancel for what is over is ignored.
    client.notify("window/workDoneProgress/cancel", json!({ "token": token })).await;
    client.finish().await;
}

#[tokio::test]
async fn progress_that_the_client_makes_too_late_ends_as_well() {
    let script = Script::always(Act::Fill("new"));
    let mut client = Client::start_with(&script, capable()).await;
    client.open(URI, "a = 1;\n").await;
    let actions = offered(&mut client, params(range((0, 4), (0, 5)))).await;
    client.leaves_questions = true;
    client.call(RESOLVE, named(&actions, "infill").clone()).await.unwrap();
    client.answer_late("window/workDoneProgress/create").await;
    for kind in ["begin", "end"] {
        assert_eq!(client.said("$/progress").await["value"]["kind"], kind);
    }
    client.finish().await;
}

#[tokio::test]
async fn what_comes_to_nothing_says_so() {
    let script = Script::always(Act::Fill(""));
    let mut client = Client::start_with(&script, capable()).await;
    client.open_as("rust", URI, "fn a() {\n    todo!()\n}\n").await;
    let actions = offered(&mut client, params(range((1, 0), (1, 0)))).await;
    for name in ["fillAll", "docComment"] {
        let answer = client.call(RESOLVE, named(&actions, name).clone()).await;
        let (code, message) = answer.unwrap_err();
        assert_eq!(code, REQUEST_FAILED);
        assert!(message.contains("nothing else to put there"), "{message}");
        assert_eq!(progress(&mut client).await, named(&actions, name)["title"]);
    }
    let mut strange = named(&actions, "fillAll").clone();
    strange["data"] = json!({ "action": "fly" });
    assert_eq!(code(&client.call(RESOLVE, strange).await), INVALID_PARAMS);
    let mut old = named(&actions, "fillAll").clone();
    old["data"]["order"]["version"] = json!(7);
    assert_eq!(code(&client.call(RESOLVE, old).await), CONTENT_MODIFIED);
    assert_eq!(progress(&mut client).await, "Fill all holes here");
    client.finish().await;
}
