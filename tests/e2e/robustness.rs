//! Ends of the process, and bytes that are no messages.

use serde_json::{Value, json};

use crate::client::{Client, binary};

const URI: &str = "file:///a.rs";
const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
const NOT_INITIALIZED: i64 = -32002;

#[test]
fn the_binary_is_small_enough_to_ship_with_an_editor_extension() {
    let bytes = std::fs::metadata(binary()).unwrap().len();
    assert!(bytes <= 45_000_000, "{bytes} bytes");
}

#[test]
fn shutdown_and_exit_end_it_with_0_while_its_stdin_is_open() {
    Client::start(None, "utf-16").finish();
}

#[test]
fn exit_without_shutdown_ends_it_with_1() {
    let mut client = Client::start(None, "utf-16");
    client.notify("exit", Value::Null);
    assert_eq!(client.exit_code(), 1);
}

#[test]
fn a_client_that_dies_ends_it_with_1() {
    let mut never_spoke = Client::spawn(None);
    never_spoke.disconnect();
    assert_eq!(never_spoke.exit_code(), 1);

    let mut in_the_middle = Client::start(None, "utf-16");
    in_the_middle.send_bytes(b"Content-Length: 100\r\n\r\n{\"jsonrpc\":");
    in_the_middle.disconnect();
    assert_eq!(in_the_middle.exit_code(), 1);
}

#[test]
fn a_client_that_dies_after_shutdown_ends_it_with_0() {
    let mut client = Client::start(None, "utf-16");
    client.call("shutdown", Value::Null).unwrap();
    client.disconnect();
    assert_eq!(client.exit_code(), 0);
}

#[test]
fn garbage_is_answered_or_skipped_and_survived() {
    let mut client = Client::spawn(None);
    client.send_bytes(b"\xff\xfe\0 hello\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    client.send_bytes(b"Content-Length: lots\r\n\r\n");
    assert_eq!(client.anonymous_error(), PARSE_ERROR);
    client.send_bytes(b"Content-Length: 999999999999999\r\n\r\n");
    assert_eq!(client.anonymous_error(), PARSE_ERROR);
    client.send_bytes(b"Content-Length: 9\r\n\r\n{\"json\": ");
    assert_eq!(client.anonymous_error(), PARSE_ERROR);
    client.send_bytes(b"Content-Length: 2\r\n\r\n[]");
    assert_eq!(client.anonymous_error(), INVALID_REQUEST);

    let early = client.call("diffcoder/documentText", json!({ "textDocument": { "uri": URI } }));
    assert_eq!(early.unwrap_err().0, NOT_INITIALIZED);
    client.initialize("utf-16");
    client.open(URI, "rust", "fn a() {}\n");
    assert_eq!(client.call("no/such/method", json!({})).unwrap_err().0, METHOD_NOT_FOUND);
    assert_eq!(
        client.call("textDocument/inlineCompletion", json!([])).unwrap_err().0,
        INVALID_PARAMS
    );
    assert_eq!(client.text(URI), "fn a() {}\n");
    client.finish();
}
