//! Random edit scripts in all position encodings: the server's text and positions against a naive model.

#![no_main]

use std::time::Duration;

use diffcoder_fuzz::client::{Manners, Say, body, converse};
use diffcoder_fuzz::text::{offset, places, replace};
use diffcoder_lsp::position::{
    PositionEncoding, line_col_to_offset, offset_to_line_col, offset_to_position, parse_line_col,
    position_to_offset,
};
use diffcoder_lsp::server::SessionEnd;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use ropey::Rope;
use serde_json::{Value, json};

const URI: &str = "file:///a.rs";
/// The server may refuse what comes before it has answered `initialize`.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const MOST_EDITS: usize = 24;

/// Every kind of line end and of what looks like one, and characters of every length in every encoding.
const PIECES: [&str; 16] = [
    "a",
    "\n",
    "\r\n",
    "\r",
    "fn f() {}",
    "é",
    "e\u{301}",
    "漢字",
    "𝄞",
    "👩\u{200d}💻",
    "\u{2028}",
    "\u{85}",
    "\u{b}\u{c}",
    "\t",
    "שלום",
    "\u{0}\u{feff}",
];

const ENCODINGS: [(PositionEncoding, &str); 3] = [
    (PositionEncoding::Utf8, "utf-8"),
    (PositionEncoding::Utf16, "utf-16"),
    (PositionEncoding::Utf32, "utf-32"),
];

fuzz_target!(|data: &[u8]| {
    // Input that is used up gives zeros, so that this never fails.
    _ = run(&mut Unstructured::new(data));
});

fn run(input: &mut Unstructured<'_>) -> Result<()> {
    let (encoding, name) = *input.choose(&ENCODINGS)?;
    let mut text = pieces(input)?;
    let item = json!({ "uri": URI, "languageId": "rust", "version": 0, "text": text });
    let capabilities = json!({ "general": { "positionEncodings": [name] } });
    let mut says = vec![
        request(1, "initialize", json!({ "processId": null, "capabilities": capabilities })),
        Say::Await(ANSWER_TIMEOUT),
        notification("initialized", json!({})),
        notification("textDocument/didOpen", json!({ "textDocument": item })),
    ];
    // The server's text is asked for after every change: an error shows next to its cause.
    let mut texts = Vec::new();
    for version in 1..=MOST_EDITS {
        if input.is_empty() {
            break;
        }
        let n_changes = input.int_in_range(1..=3)?;
        let changes = (0..n_changes).map(|_| change(input, &mut text, encoding));
        let changes = changes.collect::<Result<Value>>()?;
        let document = json!({ "uri": URI, "version": version });
        let params = json!({ "textDocument": document, "contentChanges": changes });
        says.push(notification("textDocument/didChange", params));
        let params = json!({ "textDocument": { "uri": URI } });
        texts.push((1 + version, text.clone()));
        says.push(request(1 + version, "diffcoder/documentText", params));
        check_positions(input, &text, encoding)?;
    }
    says.push(request(0, "shutdown", Value::Null));
    says.push(notification("exit", Value::Null));
    let (received, end) = converse(&says, texts.len() + 2, Manners::Agrees);
    assert_eq!(end, SessionEnd::Orderly);
    let text_of = |id| {
        let answer = received.iter().find(|message| message["id"] == id);
        answer.and_then(|answer| answer["result"]["text"].as_str())
    };
    for (id, text) in &texts {
        assert_eq!(text_of(*id), Some(&**text), "{name}, after change {}", id - 1);
    }
    Ok(())
}

/// One entry of `contentChanges`, done to `text` as well.
fn change(
    input: &mut Unstructured<'_>,
    text: &mut String,
    encoding: PositionEncoding,
) -> Result<Value> {
    let with = pieces(input)?;
    if input.ratio(1, 16)? {
        text.clone_from(&with);
        return Ok(json!({ "text": with }));
    }
    let (start, end) = (position(input)?, position(input)?);
    replace(text, (start, end), &with, encoding);
    let written = |(line, column)| json!({ "line": line, "character": column });
    Ok(json!({ "range": { "start": written(start), "end": written(end) }, "text": with }))
}

fn pieces(input: &mut Unstructured<'_>) -> Result<String> {
    let n_pieces = input.int_in_range(0..=7)?;
    (0..n_pieces).map(|_| input.choose(&PIECES).copied()).collect()
}

/// Most often within a small text, now and then far outside.
fn position(input: &mut Unstructured<'_>) -> Result<(u32, u32)> {
    let mut number = |most: u32| {
        let small = input.int_in_range(0..=most)?;
        if small == most { input.arbitrary() } else { Ok(small) }
    };
    Ok((number(12)?, number(24)?))
}

/// The position module against the model, at a place of the text and at a position that may be none.
fn check_positions(
    input: &mut Unstructured<'_>,
    text: &str,
    encoding: PositionEncoding,
) -> Result<()> {
    let rope = Rope::from_str(text);
    let (line, column) = position(input)?;
    let there = serde_json::from_value(json!({ "line": line, "character": column }));
    let there = position_to_offset(&rope, there.expect("a position"), encoding);
    assert_eq!(there, offset(text, (line, column), encoding), "{encoding:?} {line}:{column}");

    let at = input.int_in_range(0..=text.len() + 2)?;
    let place = places(text).into_iter().filter(|place| *place <= at).max();
    let back = position_to_offset(&rope, offset_to_position(&rope, at, encoding), encoding);
    assert_eq!(Some(back), place, "{encoding:?}, byte {at}");
    let written = offset_to_line_col(&rope, at);
    assert_eq!(Some(written), parse_line_col(&written.to_string()).ok());
    assert_eq!(line_col_to_offset(&rope, written, "text").ok(), place, "byte {at}");
    Ok(())
}

fn request(id: usize, method: &str, params: Value) -> Say {
    body(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
}

fn notification(method: &str, params: Value) -> Say {
    body(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))
}
