//! `diffcoder/holes`: what is planned, versions, bad parameters.

use serde_json::{Value, json};

use crate::harness::{CONTENT_MODIFIED, Client, INVALID_PARAMS, URI, code, range};
use crate::script::{Act, Script};

const METHOD: &str = "diffcoder/holes";

fn params(kind: &str) -> Value {
    json!({ "textDocument": { "uri": URI, "version": 1 }, "kind": kind })
}

fn at(kind: &str, range: Value) -> Value {
    let mut params = params(kind);
    params["range"] = range;
    params
}

#[tokio::test]
async fn stubs_have_their_places_and_reasons() {
    let script = Script::always(Act::Fill("x"));
    let mut client = Client::start(&script).await;
    client
        .open_as("rust", URI, "fn 日() {\r\n    /*é*/ todo!()\r\n}\r\nfn b() { todo!() }\r\n")
        .await;
    let result = client.call(METHOD, params("fillAll")).await.unwrap();
    let expected = json!([
        { "range": range((1, 10), (1, 17)), "reason": "todo!()" },
        { "range": range((3, 9), (3, 16)), "reason": "todo!()" },
    ]);
    assert_eq!(result, json!({ "version": 1, "holes": expected }));
    let result = client.call(METHOD, at("fillAll", range((3, 0), (4, 0)))).await.unwrap();
    assert_eq!(result["holes"].as_array().unwrap().len(), 1);
    let result = client.call(METHOD, at("fillAll", range((0, 0), (0, 4)))).await.unwrap();
    assert_eq!(result["holes"], json!([]));
    assert!(script.asked().is_empty(), "the model has no part in it");
    client.finish().await;
}

#[tokio::test]
async fn a_doc_comment_goes_in_front_of_its_item_and_is_filled_there() {
    let script = Script::always(Act::Fill("Does it.\n/// Twice.\nfn a() {}"));
    let mut client = Client::start(&script).await;
    client.open_as("rust", URI, "mod m {\r\n    fn a() {\r\n    }\r\n}\r\n").await;
    let result = client.call(METHOD, at("docComment", range((2, 0), (2, 0)))).await.unwrap();
    let place = range((1, 4), (1, 4));
    assert_eq!(result["holes"], json!([{ "range": place, "reason": "doc comment of a" }]));
    let asked = json!({
        "textDocument": { "uri": URI, "version": 1 }, "ranges": [place], "kind": "docComment",
    });
    let result = client.call("diffcoder/infill", asked).await.unwrap();
    let text = "/// Does it.\r\n    /// Twice.\r\n    ";
    assert_eq!(result["holes"][0]["newText"], text);
    assert_eq!(result["holes"][0]["range"], place);
    let asked = &script.asked()[0];
    assert_eq!(asked.before, "mod m {\n    /// ");
    assert_eq!(asked.after, "\n    fn a() {\n    }\n}\n");
    assert_eq!(script.requests()[0].limits.max_lines, Some(6));
    client.finish().await;
}

/// The scripted model gives each character a smaller probability than the one before it, and 0.5 to another one.
#[tokio::test]
async fn a_repair_is_planned_from_likelihood_and_diagnostics() {
    let script = Script::always(Act::Fill("x"));
    let mut client = Client::start(&script).await;
    client.open(URI, "one\nlet a = b;\n").await;
    let result = client.call(METHOD, at("repair", range((1, 4), (1, 9)))).await.unwrap();
    assert_eq!(result["holes"][0]["range"], range((1, 8), (1, 9)));
    assert_eq!(script.asked()[0].drafts, ["a = b"]);
    let mut about = params("repair");
    about["diagnostics"] = json!([{ "range": range((0, 1), (0, 2)), "message": "wrong" }]);
    let result = client.call(METHOD, about).await.unwrap();
    let expected = json!({ "range": range((0, 0), (0, 3)), "reason": "under a diagnostic" });
    assert_eq!(result["holes"], json!([expected]));
    assert_eq!(script.asked()[1].drafts, ["one"], "the lines of the diagnostics are judged");
    client.finish().await;
}

#[tokio::test]
async fn wrong_versions_and_parameters_are_answered() {
    let mut client = Client::start(&Script::always(Act::Fill("x"))).await;
    client.open(URI, &"long line\n".repeat(500)).await;
    let mut late = params("fillAll");
    late["textDocument"]["version"] = json!(2);
    assert_eq!(code(&client.call(METHOD, late).await), CONTENT_MODIFIED);
    for (params, expected) in [
        (params("all"), "all"),
        (params("repair"), "nothing to repair"),
        (at("repair", range((1, 1), (1, 1))), "nothing to repair"),
        (at("repair", range((0, 0), (500, 0))), "at most 4096"),
        (params("docComment"), "range is missing"),
    ] {
        let (code, message) = client.call(METHOD, params).await.unwrap_err();
        assert_eq!(code, INVALID_PARAMS, "{message}");
        assert!(message.contains(expected), "{message}");
    }
    let none = client.call(METHOD, at("docComment", range((1, 1), (1, 1)))).await.unwrap();
    assert_eq!(none["holes"], json!([]));
    client.finish().await;
}

#[tokio::test]
async fn lines_may_end_with_a_lone_return() {
    let mut client = Client::start(&Script::always(Act::Fill("x();\ny();"))).await;
    client.open_as("rust", URI, "// TODO: sort\rfn a() { b(); }\rfn c() { todo!() }\r").await;
    let asked = |kind: &str, line: u32| json!({ "textDocument": { "uri": URI }, "kind": kind, "range": range((line, 0), (line, 9)) });
    let places = async |client: &mut Client, params| -> Vec<Value> {
        let found = client.call("diffcoder/holes", params).await.unwrap()["holes"].clone();
        found.as_array().unwrap().iter().map(|hole| hole["range"].clone()).collect()
    };
    let mut all = asked("fillAll", 0);
    all["range"] = Value::Null;
    let todos = places(&mut client, all).await;
    assert_eq!(todos, [range((0, 0), (0, 13)), range((2, 9), (2, 16))]);
    assert_eq!(places(&mut client, asked("docComment", 2)).await, [range((2, 0), (2, 0))]);
    let params = json!({ "textDocument": { "uri": URI }, "ranges": [range((1, 9), (1, 13))] });
    let filled = client.call("diffcoder/infill", params).await.unwrap();
    assert_eq!(filled["holes"][0]["newText"], "x();\ry();", "the line end is the document's");
    client.finish().await;
}
