//! What people ask for by hand, from the built server with the embedded model: nothing outside the holes changes.

use serde_json::{Value, json};

use crate::client::Client;
use crate::text::position;

const URI: &str = "file:///src/maß.rs";
const ENCODING: &str = "utf-16";
const STUBS: [&str; 3] = ["todo!();", "// TODO: say 𝄞", "unimplemented!()"];
const TEXT: &str = "\
//! Größen in μm: 漢字, 𝄞.\r
\r
pub fn umfang(breite: f64, höhe: f64) -> f64 {\r
    todo!();\r
}\r
\r
pub fn sagen() {\r
    // TODO: say 𝄞\r
    println!(\"{}\", umfang(1.0, 2.0));\r
}\r
\r
/* 𝄞 */ pub fn seite(fläche: f64) -> f64 { unimplemented!() }\r
";

/// `TEXT` with the edits of a result in it, each in the place of one of `ranges`.
fn applied(result: &Value, ranges: &[Value]) -> String {
    let offset = |place: &Value| {
        let found = TEXT.char_indices().map(|(at, _)| at).chain([TEXT.len()]);
        found.into_iter().find(|at| position(TEXT, *at, ENCODING) == *place).expect("a place")
    };
    let mut text = TEXT.to_owned();
    for (hole, range) in result["holes"].as_array().unwrap().iter().zip(ranges).rev() {
        assert_eq!(hole["range"], *range);
        let span = offset(&range["start"])..offset(&range["end"]);
        text.replace_range(span, hole["newText"].as_str().unwrap());
    }
    text
}

fn planned(client: &mut Client, kind: &str, range: &Value) -> Vec<Value> {
    let document = json!({ "uri": URI });
    let params = json!({ "textDocument": document, "kind": kind, "range": range });
    let result = client.call("diffcoder/holes", params).unwrap();
    let holes = result["holes"].as_array().unwrap();
    holes.iter().map(|hole| hole["range"].clone()).collect()
}

fn fill(client: &mut Client, ranges: &[Value], options: Value) -> Value {
    let mut params = options;
    params["textDocument"] = json!({ "uri": URI });
    params["ranges"] = json!(ranges);
    client.call("diffcoder/infill", params).unwrap()
}

#[test]
fn stubs_repairs_and_doc_comments_change_their_places_alone() {
    let mut client = Client::start(None, ENCODING);
    client.open(URI, "rust", TEXT);
    let place = |at: usize| position(TEXT, at, ENCODING);
    let whole = json!({ "start": place(0), "end": place(TEXT.len()) });

    let stubs = planned(&mut client, "fillAll", &whole);
    assert_eq!(stubs.len(), STUBS.len());
    let result = fill(&mut client, &stubs, json!({ "maxTokens": 16 }));
    let text = applied(&result, &stubs);
    let mut kept = vec![TEXT];
    for stub in STUBS {
        kept = kept.iter().flat_map(|piece| piece.split(stub)).collect();
    }
    let mut rest = text.as_str();
    for piece in kept {
        let at = rest.find(piece).unwrap_or_else(|| panic!("{piece:?} is gone from {text:?}"));
        rest = &rest[at + piece.len()..];
    }
    assert!(!text.replace("\r\n", "").contains('\n'), "the file's line ends: {text:?}");

    let line = TEXT.find("    println").unwrap();
    let range = json!({ "start": place(line), "end": place(line + 30) });
    let doubtful = planned(&mut client, "repair", &range);
    assert!(!doubtful.is_empty(), "the model would have written something else");
    let options = json!({ "maxTokens": 8, "avoidDraft": true });
    let result = fill(&mut client, &doubtful, options);
    assert_ne!(applied(&result, &doubtful), TEXT);

    let at = place(TEXT.find("say").unwrap());
    let comment = planned(&mut client, "docComment", &json!({ "start": at, "end": at }));
    assert_eq!(comment.len(), 1);
    let options = json!({ "kind": "docComment", "maxTokens": 16 });
    let result = fill(&mut client, &comment, options);
    let inserted = result["holes"][0]["newText"].as_str().unwrap();
    assert!(inserted.is_empty() || inserted.starts_with("/// ") && inserted.ends_with("\r\n"));
    client.finish();
}
