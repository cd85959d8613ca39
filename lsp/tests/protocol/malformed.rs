//! Input that no client should send: it is answered where it can be, and the server goes on.

use diffcoder_lsp::server::SessionEnd;
use serde_json::{Value, json};

use crate::harness::{
    Client, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR, REQUEST_FAILED, URI,
    code, completion_params, edit, inserted,
};
use crate::script::{Act, Script};

/// The server still serves, and ends in good order.
async fn goes_on(mut client: Client) {
    client.open(URI, "").await;
    assert_eq!(inserted(&client.complete(0, 0).await), "fine");
    assert_eq!(client.finish().await, SessionEnd::Orderly);
}

async fn start() -> Client {
    Client::start(&Script::always(Act::Fill("fine"))).await
}

#[tokio::test]
async fn json_that_is_none() {
    let mut client = start().await;
    for body in [
        "{",
        "not json",
        "",
        "\u{0}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"shutdown\"",
        "[1,2",
    ] {
        client.send_body(body).await;
        assert_eq!(client.anonymous_error().await.0, PARSE_ERROR, "{body:?}");
    }
    client.send_bytes(b"Content-Length: 4\r\n\r\n{\"\xff\"").await;
    assert_eq!(client.anonymous_error().await.0, PARSE_ERROR);
    goes_on(client).await;
}

#[tokio::test]
async fn json_that_is_no_message() {
    let mut client = start().await;
    for body in [
        "null",
        "7",
        "[]",
        "{}",
        r#"[{"jsonrpc":"2.0","id":1,"method":"shutdown"}]"#,
        r#"{"jsonrpc":"2.0"}"#,
    ] {
        client.send_body(body).await;
        assert_eq!(client.anonymous_error().await.0, INVALID_REQUEST, "{body:?}");
    }
    goes_on(client).await;
}

#[tokio::test]
async fn a_bad_request_with_an_id_is_answered_to_that_id() {
    let mut client = start().await;
    for (members, expected) in [
        (json!({ "jsonrpc": "1.0", "method": "shutdown" }), INVALID_REQUEST),
        (json!({ "method": "shutdown" }), INVALID_REQUEST),
        (json!({ "jsonrpc": "2.0" }), INVALID_REQUEST),
        (json!({ "jsonrpc": "2.0", "method": ["shutdown"] }), INVALID_REQUEST),
        (
            json!({ "jsonrpc": "2.0", "method": "textDocument/hover", "params": {} }),
            METHOD_NOT_FOUND,
        ),
        (json!({ "jsonrpc": "2.0", "method": "", "params": {} }), METHOD_NOT_FOUND),
        (
            json!({ "jsonrpc": "2.0", "method": "textDocument/didOpen", "params": {} }),
            INVALID_REQUEST,
        ),
    ] {
        let id = client.expect_answer_to_next_id();
        let mut body = members.clone();
        body["id"] = json!(id);
        client.send_body(&body.to_string()).await;
        assert_eq!(code(&client.answer(id).await), expected, "{members}");
    }
    goes_on(client).await;
}

#[tokio::test]
async fn params_that_cannot_be_decoded_are_answered_to_the_id() {
    let mut client = start().await;
    client.open(URI, "").await;
    let deep = "[".repeat(200) + &"]".repeat(200);
    for (params, expected) in [
        (b"{\"text\":\"\xff\"}".to_vec(), PARSE_ERROR),
        (deep.into_bytes(), PARSE_ERROR),
        (b"[1e999]".to_vec(), PARSE_ERROR),
        (b"{},\"params\":{}".to_vec(), INVALID_REQUEST),
    ] {
        let id = client.expect_answer_to_next_id();
        let start = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"shutdown","params":"#);
        let body = [start.as_bytes(), &params, b"}"].concat();
        client.send_bytes(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes()).await;
        client.send_bytes(&body).await;
        assert_eq!(code(&client.answer(id).await), expected, "{}", String::from_utf8_lossy(&body));
        assert_eq!(inserted(&client.complete(0, 0).await), "fine");
    }
    client.send_body(r#"["2.0",1,"a"]"#).await;
    assert_eq!(client.anonymous_error().await.0, INVALID_REQUEST);
    goes_on(client).await;
}

#[tokio::test]
async fn a_lost_message_that_may_be_a_change_stops_suggestions_until_the_text_is_sent_again() {
    let mut client = start().await;
    client.open(URI, "").await;
    for body in [
        r#"{"jsonrpc":"2.0","method":"textDocument/didChange","params":[1e999]}"#,
        r#"{"jsonrpc":"2.0","method":"textDocument/didChange","params":{"#,
    ] {
        client.send_body(body).await;
        assert_eq!(client.anonymous_error().await.0, PARSE_ERROR);
        let refused = client.complete(0, 0).await;
        assert_eq!(code(&refused), REQUEST_FAILED);
        assert!(refused.unwrap_err().1.contains(URI));
        client.change(URI, 3, json!([{ "text": "" }])).await;
        assert_eq!(inserted(&client.complete(0, 0).await), "fine");
    }
    goes_on(client).await;
}

#[tokio::test]
async fn half_an_emoji_is_replaced() {
    let mut client = start().await;
    client.open(URI, "ab").await;
    // What JSON.stringify makes of an edit that splits a surrogate pair.
    let body = r#"{"jsonrpc":"2.0","method":"textDocument/didChange","params":{
        "textDocument":{"uri":"URI","version":2},"contentChanges":[{"text":"\ud83d",
        "range":{"start":{"line":0,"character":1},"end":{"line":0,"character":1}}}]}}"#;
    client.send_body(&body.replace("URI", URI)).await;
    assert_eq!(client.text(URI).await, "a\u{fffd}b");
    client.change(URI, 3, edit((0, 1), (0, 2), "😀")).await;
    assert_eq!(client.text(URI).await, "a😀b");
    goes_on(client).await;
}

#[tokio::test]
async fn params_of_the_wrong_type() {
    let mut client = start().await;
    client.open(URI, "").await;
    let mut negative = completion_params(URI, 0, 0);
    negative["position"]["line"] = json!(-1);
    let mut fractional = completion_params(URI, 0, 0);
    fractional["position"]["character"] = json!(0.5);
    let mut huge = completion_params(URI, 0, 0);
    huge["position"]["line"] = json!(u64::MAX);
    for params in [json!({}), json!([]), json!("x"), Value::Null, negative, fractional, huge] {
        let answer = client.call("textDocument/inlineCompletion", params.clone()).await;
        assert_eq!(code(&answer), INVALID_PARAMS, "{params}");
    }
    assert_eq!(code(&client.call("diffcoder/documentText", json!({})).await), INVALID_PARAMS);
    goes_on(client).await;
}

#[tokio::test]
async fn notifications_of_the_wrong_shape_are_dropped() {
    let mut client = start().await;
    for method in [
        "textDocument/didOpen",
        "textDocument/didChange",
        "textDocument/didClose",
        "no/such/method",
        "$/x",
    ] {
        for params in [
            json!({}),
            json!([1]),
            json!("x"),
            Value::Null,
            json!({ "textDocument": { "uri": 5 } }),
        ] {
            client.notify(method, params).await;
        }
    }
    // A request without an id is a notification, and gets no answer.
    client.notify("textDocument/inlineCompletion", completion_params(URI, 0, 0)).await;
    goes_on(client).await;
}

#[tokio::test]
async fn unknown_requests_are_refused_whatever_their_name_begins_with() {
    let mut client = start().await;
    for method in ["no/such/method", "$/x"] {
        assert_eq!(code(&client.call(method, json!({})).await), METHOD_NOT_FOUND, "{method}");
    }
    goes_on(client).await;
}

#[tokio::test]
async fn frames_that_are_none() {
    let mut client = start().await;
    client.send_bytes(b"Content-Length: many\r\n\r\n{}").await;
    assert_eq!(client.anonymous_error().await.0, PARSE_ERROR);
    client.send_bytes(b"\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n\xff\xfe\0garbage").await;
    client.send_bytes(b"Content-Length: 99999999999999\r\n\r\n").await;
    assert_eq!(client.anonymous_error().await.0, PARSE_ERROR);
    // One byte short: the message is cut, and its last byte is in the way of the next header.
    client.send_bytes(b"Content-Length: 1\r\n\r\n{}").await;
    assert_eq!(client.anonymous_error().await.0, PARSE_ERROR);
    goes_on(client).await;
}

#[tokio::test]
async fn an_id_used_twice_is_refused_the_second_time() {
    let script = Script::always(Act::FillWhenOpened("fine"));
    let mut client = Client::start(&script).await;
    client.open(URI, "").await;
    let id = client.ask(URI, 0, 0).await;
    script.begun(1).await;
    let body = json!({
        "jsonrpc": "2.0", "id": id, "method": "diffcoder/documentText",
        "params": { "textDocument": { "uri": URI } },
    });
    client.send_body(&body.to_string()).await;
    assert_eq!(code(&client.answer(id).await), INVALID_REQUEST);
    client.expect_answer_to(id);
    script.open_gate();
    assert_eq!(inserted(&client.answer(id).await), "fine");
    client.finish().await;
}

#[tokio::test]
async fn headers_of_any_size_are_skipped() {
    let mut client = start().await;
    client.open(URI, "").await;
    let long = format!("X-Long: {}\r\n", "x".repeat(3 << 20));
    let many = "X-Short: x\r\n".repeat(50_000);
    for headers in [long.clone(), many, long.repeat(2)] {
        let id = client.expect_answer_to_next_id();
        let params = json!({ "textDocument": { "uri": URI } });
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": "diffcoder/documentText", "params": params });
        let body = body.to_string();
        let frame = format!("{headers}Content-Length: {}\r\n\r\n{body}", body.len());
        client.send_bytes(frame.as_bytes()).await;
        assert_eq!(client.answer(id).await.unwrap()["text"], "");
    }
    goes_on(client).await;
}

#[tokio::test]
async fn every_method_refuses_params_of_the_wrong_type() {
    let mut client = start().await;
    client.open(URI, "").await;
    let far = json!({ "line": -1, "character": 0 });
    let wrong = [
        json!([]),
        json!("x"),
        json!(7),
        Value::Null,
        json!({ "textDocument": 5 }),
        json!({ "textDocument": { "uri": [] }, "position": far, "range": far, "ranges": far }),
    ];
    for method in [
        "textDocument/inlineCompletion",
        "textDocument/completion",
        "textDocument/codeAction",
        "codeAction/resolve",
        "workspace/executeCommand",
        "diffcoder/infill",
        "diffcoder/holes",
        "diffcoder/score",
        "diffcoder/documentText",
    ] {
        for params in &wrong {
            let answer = client.call(method, params.clone()).await;
            assert_eq!(code(&answer), INVALID_PARAMS, "{method} {params}");
        }
    }
    goes_on(client).await;
}
