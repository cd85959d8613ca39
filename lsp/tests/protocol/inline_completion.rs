//! What a completion looks like, and when there is none.

use serde_json::{Value, json};

use crate::harness::{Client, INTERNAL_ERROR, REQUEST_FAILED, URI, completion_params, inserted};
use crate::script::{Act, Script};

#[tokio::test]
async fn one_item_for_typing_and_several_for_who_asks() {
    let script = Script::always(Act::Fill("b + c"));
    let mut client = Client::start(&script).await;
    client.open(URI, "let a = ;\n").await;
    let cursor = json!({ "line": 0, "character": 8 });
    let range = json!({ "start": cursor, "end": cursor });
    for (trigger_kind, expected) in
        [(2, &["b + c"][..]), (1, &["b + c", "1:b + c", "2:b + c", "3:b + c"])]
    {
        let mut params = completion_params(URI, 0, 8);
        params["context"]["triggerKind"] = json!(trigger_kind);
        let items = client.call("textDocument/inlineCompletion", params).await.unwrap();
        let expected: Vec<Value> =
            expected.iter().map(|text| json!({ "insertText": text, "range": range })).collect();
        assert_eq!(items, json!(expected));
    }
    let asked = script.asked();
    assert_eq!(asked.len(), 2, "one item is no choice");
    assert_eq!(asked[0].document, URI);
    assert_eq!((asked[0].before.as_str(), asked[0].after.as_str()), ("let a = ", ";\n"));
    client.finish().await;
}

#[tokio::test]
async fn choices_come_by_confidence_and_none_twice() {
    // The second ends like the first once the line below is not repeated, the third is none.
    let fills = &[("b();", 0.4), ("b();\n}", 0.9), ("", 0.8), ("c();\n    d();", 0.6)];
    let mut client = Client::start(&Script::always(Act::Choose(fills))).await;
    client.open_as("rust", URI, "fn a() {\n    \n}\n").await;
    let mut params = completion_params(URI, 1, 4);
    params["context"]["triggerKind"] = json!(1);
    let items = client.call("textDocument/inlineCompletion", params).await.unwrap();
    let texts: Vec<&Value> =
        items.as_array().unwrap().iter().map(|item| &item["insertText"]).collect();
    assert_eq!(texts, ["b();", "c();\n    d();"]);
    client.finish().await;
}

#[tokio::test]
async fn nothing_to_show_is_an_empty_list() {
    for (fill, after) in
        [("", ";\n"), ("b + c;", "b + c;\n"), ("b + c;\n", "b + c;\n}\n"), ("b;\n}", "b;\n}")]
    {
        let mut client = Client::start(&Script::always(Act::Fill(fill))).await;
        client.open(URI, &format!("let a = {after}")).await;
        assert_eq!(client.complete(0, 8).await, Ok(json!([])), "{fill:?} before {after:?}");
        client.finish().await;
    }
}

#[tokio::test]
async fn a_document_keeps_its_line_ends_and_the_model_never_sees_them() {
    for (text, expected) in [
        ("fn a() {\r\n    \r\n}\r\n", "b();\r\n    c();"),
        ("fn a() {\n    \n}\n", "b();\n    c();"),
        ("fn a() {\r\n    \r\n}\n", "b();\r\n    c();"),
        ("fn a() {\n    \n}\r\n", "b();\n    c();"),
    ] {
        let script = Script::always(Act::Fill("b();\n    c();"));
        let mut client = Client::start(&script).await;
        client.open(URI, text).await;
        assert_eq!(inserted(&client.complete(1, 4).await), expected, "{text:?}");
        let asked = &script.asked()[0];
        assert_eq!(
            (asked.before.as_str(), asked.after.as_str()),
            ("fn a() {\n    ", "\n}\n"),
            "{text:?}"
        );
        client.finish().await;
    }
}

#[tokio::test]
async fn a_repetition_is_seen_across_line_ends() {
    let mut client = Client::start(&Script::always(Act::Fill("b();\n}"))).await;
    client.open(URI, "b();\r\n}\r\n").await;
    assert_eq!(client.complete(0, 0).await, Ok(json!([])));
    client.finish().await;
}

#[tokio::test]
async fn an_empty_document_can_be_filled() {
    let mut client = Client::start(&Script::always(Act::Fill("fn main() {}"))).await;
    client.open(URI, "").await;
    assert_eq!(inserted(&client.complete(0, 0).await), "fn main() {}");
    client.finish().await;
}

#[tokio::test]
async fn a_refusal_carries_its_reason() {
    let mut client = Client::start(&Script::always(Act::Refuse("this model cannot infill"))).await;
    client.open(URI, "").await;
    assert_eq!(
        client.complete(0, 0).await,
        Err((REQUEST_FAILED, "this model cannot infill".to_owned()))
    );
    client.finish().await;
}

#[tokio::test]
async fn a_panic_of_the_model_is_answered_and_survived() {
    let script = Script::by(|asked| match asked.before.as_str() {
        "panic" => Act::Panic("scripted panic"),
        _ => Act::Fill("fine"),
    });
    let mut client = Client::start(&script).await;
    client.open(URI, "panic").await;
    for _ in 0..3 {
        let message = "internal error, please report it: scripted panic".to_owned();
        assert_eq!(client.complete(0, 5).await, Err((INTERNAL_ERROR, message)));
    }
    assert_eq!(inserted(&client.complete(0, 0).await), "fine");
    client.finish().await;
}

#[tokio::test]
async fn the_range_reaches_over_what_the_editor_has_closed() {
    let mut client = Client::start(&Script::always(Act::Fill("b, c);"))).await;
    client.open_as("rust", URI, "fn a() {\n    f(\"é\", );\n}\n").await;
    let items = client.complete(1, 11).await.unwrap();
    let range = json!({
        "start": { "line": 1, "character": 11 },
        "end": { "line": 1, "character": 13 },
    });
    assert_eq!(items, json!([{ "insertText": "b, c);", "range": range }]));
    client.finish().await;
}

#[tokio::test]
async fn a_selected_menu_entry_is_gone_on_from() {
    let script = Script::always(Act::Fill("(b)"));
    let mut client = Client::start(&script).await;
    client.open_as("rust", URI, "fn a() {\n    c.pu;\n}\n").await;
    let mut params = completion_params(URI, 1, 8);
    let range = json!({
        "start": { "line": 1, "character": 6 },
        "end": { "line": 1, "character": 8 },
    });
    params["context"]["selectedCompletionInfo"] = json!({ "range": range, "text": "push" });
    let items = client.call("textDocument/inlineCompletion", params.clone()).await.unwrap();
    assert_eq!(items, json!([{ "insertText": "push(b)", "range": range }]));
    let asked = &script.asked()[0];
    assert_eq!((asked.before.as_str(), asked.after.as_str()), ("fn a() {\n    c.push", ";\n}\n"));

    params["context"]["selectedCompletionInfo"]["range"]["end"]["character"] = json!(7);
    let items = client.call("textDocument/inlineCompletion", params).await.unwrap();
    assert_eq!(items[0]["insertText"], "(b)", "an entry that ends before the cursor is none of it");
    client.finish().await;
}

#[tokio::test]
async fn an_automatic_completion_is_a_line_or_a_block() {
    for (line, fill, automatic, invoked) in [
        ("b(c", "d);\n    e();", "d);", "d);\n    e();"),
        ("", "b();\n    c();\n}\n\nfn f() {}", "b();\n    c();", "b();\n    c();\n}\n\nfn f() {"),
    ] {
        let mut client = Client::start(&Script::always(Act::Fill(fill))).await;
        client.open_as("rust", URI, &format!("fn a() {{\n    {line}\n}}\n")).await;
        for (trigger_kind, expected) in [(2, automatic), (1, invoked)] {
            let mut params = completion_params(URI, 1, 4 + line.len() as u32);
            params["context"]["triggerKind"] = json!(trigger_kind);
            let items = client.call("textDocument/inlineCompletion", params).await.unwrap();
            assert_eq!(items[0]["insertText"], expected, "kind {trigger_kind} after {line:?}");
        }
        client.finish().await;
    }
}

#[tokio::test]
async fn the_model_repairs_what_is_broken() {
    let script = Script::by(|asked| match asked.drafts[0].as_str() {
        "" => Act::Fill("b();\n    let c = = ;"),
        _ => Act::Fill("d();"),
    });
    let mut client = Client::start(&script).await;
    client.open_as("rust", URI, "fn a() {\n    \n}\n").await;
    let text = inserted(&client.complete(1, 4).await).to_owned();
    assert!(text.starts_with("b();") && text.ends_with("d();"), "{text:?}");
    assert!((2..=3).contains(&script.asked().len()), "{:?}", script.asked());
    client.finish().await;
}

#[tokio::test]
async fn the_model_is_asked_for_a_repair_twice_at_most() {
    let script = Script::always(Act::Fill("b();\n    let c = = ;"));
    let mut client = Client::start(&script).await;
    client.open_as("rust", URI, "fn a() {\n    \n}\n").await;
    assert_eq!(inserted(&client.complete(1, 4).await), "b();");
    assert!((2..=3).contains(&script.asked().len()), "{}", script.asked().len());
    client.finish().await;
}
