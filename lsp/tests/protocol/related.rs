//! Text of other files that the model is shown.

use std::path::Path;

use serde_json::json;

use crate::harness::{Client, edit};
use crate::script::{Act, Script};

const TOKENS: usize = 500;

fn uri(root: &Path, path: &str) -> String {
    format!("file://{}", root.join(path).display())
}

/// A workspace with a file that is typed in and files that it uses, and a client that has it open.
async fn workspace(script: &std::sync::Arc<Script>) -> (tempfile::TempDir, Client) {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in [
        (".diffcoderignore", "hidden.rs\n"),
        ("src/main.rs", "use crate::money;\nfn main() {\n    to_cents();\n}\n"),
        ("src/money.rs", "pub fn to_cents(amount: f64) -> i64 {\n    0\n}\n"),
        ("src/hidden.rs", "pub fn hidden_things() {}\n"),
        (".env", "TO_CENTS=secret\n"),
    ] {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let mut client = Client::connect(script);
    let params = json!({ "processId": null, "rootUri": uri(dir.path(), ""), "capabilities": {} });
    client.call("initialize", params).await.unwrap();
    client.notify("initialized", json!({})).await;
    (dir, client)
}

#[tokio::test]
async fn definitions_of_names_near_the_cursor_come_along_and_stay() {
    let script = Script::with_related_tokens(Act::Fill(""), TOKENS);
    let (dir, mut client) = workspace(&script).await;
    let main = uri(dir.path(), "src/main.rs");
    client
        .open_as(
            "rust",
            &main,
            "use crate::money;\nfn main() {\n    to_cents();\n    hidden_things();\n}\n",
        )
        .await;
    let mut at = 13;
    for (version, key) in (2..).zip("1.0, x".chars()) {
        client.change(&main, version, edit((2, at), (2, at), &key.to_string())).await;
        at += 1;
        let id = client.ask(&main, 2, at).await;
        client.answer(id).await.unwrap();
    }
    let asked = script.asked();
    let money = "pub fn to_cents(amount: f64) -> i64 {\n    0\n}";
    assert_eq!(asked[0].related, [("src/money.rs".to_owned(), money.to_owned())]);
    assert!(asked.iter().all(|asked| asked.related == asked_first(&script)), "{asked:?}");
    client.finish().await;
}

fn asked_first(script: &Script) -> Vec<(String, String)> {
    script.asked()[0].related.clone()
}

#[tokio::test]
async fn places_that_were_saved_or_left_come_along_but_no_secrets() {
    let script = Script::with_related_tokens(Act::Fill(""), TOKENS);
    let (dir, mut client) = workspace(&script).await;
    let [main, money, hidden, env] =
        ["src/main.rs", "src/money.rs", "src/hidden.rs", ".env"].map(|path| uri(dir.path(), path));
    client.open_as("rust", &main, "fn main() {\n    \n}\n").await;
    for (uri, text) in
        [(&money, "fn left() {}\n"), (&hidden, "fn hidden() {}\n"), (&env, "KEY=1\n")]
    {
        client.open_as("rust", uri, text).await;
        let id = client.ask(uri, 0, 0).await;
        client.answer(id).await.unwrap();
    }
    let id = client.ask(&main, 1, 4).await;
    client.answer(id).await.unwrap();
    let last = |script: &Script| script.asked().last().unwrap().related.clone();
    assert_eq!(last(&script), [("src/money.rs".to_owned(), "fn left() {}\n".to_owned())]);

    client.change(&money, 2, edit((0, 3), (0, 7), "saved")).await;
    client.notify("textDocument/didSave", json!({ "textDocument": { "uri": money } })).await;
    let id = client.ask(&main, 1, 3).await;
    client.answer(id).await.unwrap();
    let saved = ("src/money.rs".to_owned(), "fn saved() {}\n".to_owned());
    assert_eq!(last(&script).last(), Some(&saved), "the newest is the nearest");
    client.finish().await;
}

#[tokio::test]
async fn a_model_without_use_for_it_gets_none() {
    let script = Script::always(Act::Fill(""));
    let (dir, mut client) = workspace(&script).await;
    let main = uri(dir.path(), "src/main.rs");
    client.open_as("rust", &main, "fn main() {\n    to_cents();\n}\n").await;
    let id = client.ask(&main, 1, 13).await;
    client.answer(id).await.unwrap();
    assert!(script.asked()[0].related.is_empty());
    client.finish().await;
}
