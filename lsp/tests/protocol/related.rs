//! Text of other files that the model is shown.

use std::path::Path;

use serde_json::json;

use crate::harness::{Client, edit, range};
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
async fn what_was_copied_comes_along_and_texts_without_a_grammar_too() {
    let script = Script::with_related_tokens(Act::Fill(""), TOKENS);
    let (dir, mut client) = workspace(&script).await;
    std::fs::write(dir.path().join("notes.md"), "").unwrap();
    let [main, notes, env] = ["src/main.rs", "notes.md", ".env"].map(|path| uri(dir.path(), path));
    client.open_as("rust", &main, "fn main() {\n    \n}\n").await;
    let lines: String = (0..100).map(|line| format!("line {line}\n")).collect();
    client.open_as("markdown", &notes, &lines).await;
    client.open_as("plaintext", &env, "KEY=1\n").await;
    for (uri, range) in [
        (&notes, range((50, 0), (51, 3))),
        (&env, range((0, 0), (0, 5))),
        // Nothing that is open: nobody is told.
        (&uri(dir.path(), "src/none.rs"), range((0, 0), (1, 0))),
        (&notes, range((0, 0), (99, 0))),
    ] {
        let params = json!({ "textDocument": { "uri": uri }, "range": range });
        client.notify("diffcoder/seen", params).await;
    }
    let id = client.ask(&main, 1, 4).await;
    client.answer(id).await.unwrap();
    let related = script.asked()[0].related.clone();
    let lines = |from: usize, to: usize| -> String {
        (from..to).map(|line| format!("line {line}\n")).collect()
    };
    // Of a long piece the beginning.
    let expected = [lines(38, 62), lines(0, 24)].map(|text| ("notes.md".to_owned(), text));
    assert_eq!(related, expected);
    client.finish().await;
}

#[tokio::test]
async fn what_a_person_asks_to_be_filled_gets_it_too() {
    let script = Script::with_related_tokens(Act::Fill("x"), TOKENS);
    let (dir, mut client) = workspace(&script).await;
    let main = uri(dir.path(), "src/main.rs");
    let text = "use crate::money;\nfn main() {\n    to_cents();\n    todo!()\n}\n";
    client.open_as("rust", &main, text).await;
    let document = json!({ "uri": main });
    let params = json!({ "textDocument": document, "ranges": [range((2, 13), (2, 13))] });
    client.call("diffcoder/infill", params).await.unwrap();
    let order = json!({ "command": "diffcoder.server.fillAll", "arguments": [{ "uri": main }] });
    client.call("workspace/executeCommand", order).await.unwrap();
    client.said("workspace/applyEdit").await;
    let money = "pub fn to_cents(amount: f64) -> i64 {\n    0\n}".to_owned();
    for asked in script.asked() {
        assert_eq!(asked.related, [("src/money.rs".to_owned(), money.clone())], "{asked:?}");
    }
    assert_eq!(script.asked().len(), 2);
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
