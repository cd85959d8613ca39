//! The client's own idea of its text: positions counted the slow and obvious way.

use serde_json::{Value, json};

/// Places where a cursor can stand, as byte offsets: before every character and at the end, but not inside `\r\n`.
pub(crate) fn places(text: &str) -> Vec<usize> {
    let is_place = |at: &usize| !(text[..*at].ends_with('\r') && text[*at..].starts_with('\n'));
    text.char_indices().map(|(at, _)| at).chain([text.len()]).filter(is_place).collect()
}

/// The protocol's position of the place `offset`.
pub(crate) fn position(text: &str, offset: usize, encoding: &str) -> Value {
    let before = &text[..offset];
    let unified = before.replace("\r\n", "\n").replace('\r', "\n");
    let line = unified.matches('\n').count();
    let in_line = unified.rsplit('\n').next().unwrap_or_default();
    let character = match encoding {
        "utf-8" => in_line.len(),
        "utf-16" => in_line.encode_utf16().count(),
        "utf-32" => in_line.chars().count(),
        other => panic!("no such encoding: {other}"),
    };
    json!({ "line": line, "character": character })
}

/// The place of the text that `wanted`, a position of the protocol, names.
pub(crate) fn offset(text: &str, wanted: &Value, encoding: &str) -> usize {
    let found = places(text).into_iter().find(|&place| position(text, place, encoding) == *wanted);
    found.unwrap_or_else(|| panic!("{wanted} is no place of the text"))
}

/// Puts `with` in the place of `span`, and returns the entry of `contentChanges` that tells the server so.
pub(crate) fn replace(
    text: &mut String,
    span: std::ops::Range<usize>,
    with: &str,
    encoding: &str,
) -> Value {
    let range = json!({
        "start": position(text, span.start, encoding),
        "end": position(text, span.end, encoding),
    });
    text.replace_range(span, with);
    json!({ "range": range, "text": with })
}
