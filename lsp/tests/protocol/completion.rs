//! `textDocument/completion`: the entry for editors without inline completion.

use serde_json::{Value, json};

use crate::harness::{Client, URI, range};
use crate::script::{Act, Script};

async fn entries(client: &mut Client, line: u32, character: u32) -> Vec<Value> {
    let params = json!({
        "textDocument": { "uri": URI }, "position": { "line": line, "character": character },
    });
    let list = client.call("textDocument/completion", params).await.unwrap();
    assert_eq!(list["isIncomplete"], true);
    list["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn it_is_for_clients_without_inline_completion() {
    let client = Client::start(&Script::always(Act::Fill("x"))).await;
    assert_eq!(client.capabilities["completionProvider"], json!({}));
    client.finish().await;
    let capabilities = json!({ "textDocument": { "inlineCompletion": {} } });
    let client = Client::start_with(&Script::always(Act::Fill("x")), capabilities).await;
    assert_eq!(client.capabilities["completionProvider"], Value::Null);
    client.finish().await;
}

#[tokio::test]
async fn the_entry_begins_with_the_word_at_the_cursor_and_reaches_as_far_as_the_fill() {
    let mut client = Client::start(&Script::always(Act::Fill("tal(1)"))).await;
    client.open_as("rust", URI, "fn a() {\n    b(to)\n}\n").await;
    let found = entries(&mut client, 1, 8).await;
    assert_eq!(found.len(), 1);
    let entry = &found[0];
    assert_eq!(entry["textEdit"]["newText"], "total(1)");
    assert_eq!(entry["textEdit"]["range"], range((1, 6), (1, 8)));
    assert_eq!((&entry["filterText"], &entry["label"]), (&json!("to"), &json!("total(1)")));
    assert_eq!((&entry["preselect"], &entry["insertTextMode"]), (&json!(false), &json!(1)));
    assert_eq!(entry["documentation"]["value"], "```rust\ntotal(1)\n```");
    assert_eq!(entry["command"]["command"], "diffcoder.server.accepted");
    client.finish().await;
}

#[tokio::test]
async fn nothing_to_show_is_an_empty_list_and_a_block_has_its_first_line_as_label() {
    let script = Script::by(|asked| {
        Act::Fill(if asked.before.is_empty() { "" } else { "\n    b();\n    c();" })
    });
    let mut client = Client::start(&script).await;
    client.open_as("rust", URI, "fn a() {\n}\n").await;
    assert!(entries(&mut client, 0, 0).await.is_empty());
    let found = entries(&mut client, 0, 8).await;
    assert_eq!(found[0]["label"], "b();…");
    assert_eq!(found[0]["textEdit"]["newText"], "\n    b();\n    c();");
    assert_eq!(found[0]["filterText"], Value::Null);
    client.finish().await;
}
