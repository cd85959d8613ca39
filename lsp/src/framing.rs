//! Reads messages off the wire and lets only well-formed ones through.
//!
//! tower-lsp-server ends its read loop at the first message that it cannot decode. So nothing of that kind may reach
//! it: this file reads `Content-Length` frames leniently, checks each body, and puts a request for [`MALFORMED`] in
//! the place of a bad one, which `admission.rs` answers with the error that it carries.

use std::io;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
};
use tower_lsp::gen_lsp_types::LspAny;
use tower_lsp::jsonrpc::{Error, ErrorCode, Request, Response};

/// The method that stands for a message that could not be read.
pub(crate) const MALFORMED: &str = "$/diffcoder/malformed";

/// Longest message, and longest stretch of bytes without a line end between messages.
const MAX_MESSAGE_BYTES: u64 = 256 << 20;

/// Copies messages from `read` to `write` until either ends.
pub(crate) async fn forward_messages(
    read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut read = BufReader::new(read);
    while let Some(frame) = next_frame(&mut read).await? {
        let checked = frame.and_then(|mut body| {
            replace_lone_surrogates(&mut body);
            check(&body).map(|()| body)
        });
        let body = checked.unwrap_or_else(|malformed| malformed.into_request());
        write.write_all(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes()).await?;
        write.write_all(&body).await?;
    }
    Ok(())
}

/// The answer to a request for [`MALFORMED`].
pub(crate) fn answer_malformed(request: Request) -> Option<Response> {
    let (_, id, params) = request.into_parts();
    let error = params
        .and_then(|params| Error::deserialize(params).ok())
        .unwrap_or_else(Error::invalid_request);
    id.map(|id| Response::from_error(id, error))
}

/// What is wrong with a message, and the id to answer to: null where the message has none that can be read.
#[derive(Debug, PartialEq)]
struct Malformed {
    id: LspAny,
    error: Error,
}

impl Malformed {
    fn new(code: ErrorCode, reason: String) -> Self {
        tracing::warn!("malformed message: {reason}");
        Self { id: LspAny::Null, error: Error { code, message: reason.into(), data: None } }
    }

    fn into_request(self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Body {
            jsonrpc: &'static str,
            id: LspAny,
            method: &'static str,
            params: Error,
        }
        let body = Body { jsonrpc: "2.0", id: self.id, method: MALFORMED, params: self.error };
        serde_json::to_vec(&body).expect("plain strings and numbers have a JSON form")
    }
}

/// The next body, or what is wrong with its header; `None` at the end of input.
///
/// Bytes that are no header are skipped up to the next `Content-Length`, on the same line or a later one.
async fn next_frame(
    read: &mut (impl AsyncBufRead + Unpin),
) -> io::Result<Option<Result<Vec<u8>, Malformed>>> {
    let mut length = None;
    let mut rejected = None;
    loop {
        let mut line = Vec::new();
        if (&mut *read).take(MAX_MESSAGE_BYTES).read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(line.trim_ascii());
        if let Some(value) = content_length(&line) {
            match value.parse::<u64>() {
                Ok(bytes) if bytes <= MAX_MESSAGE_BYTES => length = Some(bytes),
                _ => rejected = Some(value.to_owned()),
            }
        } else if line.is_empty() {
            match (length, rejected.take()) {
                (Some(bytes), _) => return read_body(read, bytes).await.map(|body| body.map(Ok)),
                (None, Some(value)) => {
                    let reason = format!("no message can have the Content-Length `{value}`");
                    return Ok(Some(Err(Malformed::new(ErrorCode::ParseError, reason))));
                }
                (None, None) => {}
            }
        } else if !line.contains(':') {
            tracing::warn!(bytes = line.len(), "skipped input that belongs to no message");
        }
    }
}

/// The value after the last `Content-Length:` of `line`, in any case.
fn content_length(line: &str) -> Option<&str> {
    const NAME: &str = "content-length:";
    let start = line.to_ascii_lowercase().rfind(NAME)?;
    Some(line[start + NAME.len()..].trim())
}

/// Exactly `bytes` bytes; `None` if the input ends before that.
async fn read_body(
    read: &mut (impl AsyncBufRead + Unpin),
    bytes: u64,
) -> io::Result<Option<Vec<u8>>> {
    // Grows with what arrives: a wrong length alone must not reserve memory.
    let mut body = Vec::new();
    let n_read = read.take(bytes).read_to_end(&mut body).await?;
    Ok((n_read as u64 == bytes).then_some(body))
}

/// Puts `\ufffd` in the place of every escaped surrogate that has no partner.
///
/// JavaScript's `JSON.stringify` writes such escapes for an edit that splits an emoji. In UTF-16 the replacement is as
/// long as the surrogate, so the client's positions stay right.
fn replace_lone_surrogates(body: &mut [u8]) {
    /// The code unit of the escape at the start of `text`.
    fn code_unit(text: &[u8]) -> Option<u16> {
        let digits = text.strip_prefix(b"\\u")?.get(..4)?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }

    // Well-formed JSON has backslashes in strings only.
    let mut at = 0;
    while let Some(distance) = body[at..].iter().position(|byte| *byte == b'\\') {
        at += distance;
        let unit = code_unit(&body[at..]);
        let next = body.get(at + 6..).and_then(code_unit);
        at += match (unit, next) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                body[at + 2..at + 6].copy_from_slice(b"fffd");
                6
            }
            (Some(_), _) => 6,
            (None, _) => 2,
        };
        if at >= body.len() {
            break;
        }
    }
}

/// Checks that `body` is a JSON-RPC 2.0 request, notification or response that tower-lsp can decode.
fn check(body: &[u8]) -> Result<(), Malformed> {
    /// The members that must be right, read first, so that an error in the rest is answered to the message's id.
    #[derive(Deserialize)]
    struct Envelope {
        #[serde(default)]
        jsonrpc: LspAny,
        #[serde(default, deserialize_with = "some")]
        id: Option<LspAny>,
        #[serde(default)]
        method: LspAny,
        #[serde(default, deserialize_with = "is_there")]
        result: bool,
        #[serde(default, deserialize_with = "is_there")]
        error: bool,
    }
    /// A member that is null is there.
    fn some<'de, D: Deserializer<'de>>(value: D) -> Result<Option<LspAny>, D::Error> {
        LspAny::deserialize(value).map(Some)
    }
    fn is_there<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
        IgnoredAny::deserialize(value).map(|_| true)
    }

    let envelope: Envelope = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    // serde takes an array for the members of a struct in their order.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let has_valid_id =
        envelope.id.as_ref().is_none_or(|id| id.is_i64() || id.is_string() || id.is_null());
    let id = envelope.id.clone().filter(|_| has_valid_id && is_object).unwrap_or_default();
    let reason = if !is_object {
        "a message must be an object"
    } else if envelope.jsonrpc != "2.0" {
        "`jsonrpc` must be \"2.0\""
    } else if !has_valid_id {
        "`id` must be an integer or a string"
    } else if !(envelope.method.is_string()
        || envelope.method.is_null() && (envelope.result || envelope.error))
    {
        "`method` must be a string"
    } else {
        return decode(body).map_err(|malformed| Malformed { id, ..malformed });
    };
    let malformed = Malformed::new(ErrorCode::InvalidRequest, reason.to_owned());
    Err(Malformed { id, ..malformed })
}

/// Decodes `body` as tower-lsp does. What the envelope skips can still be wrong: invalid UTF-8, a number out of range,
/// nesting that is too deep, a member that is there twice.
fn decode(body: &[u8]) -> Result<(), Malformed> {
    /// tower-lsp's own type of this name and shape is private.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Message {
        Response(#[expect(dead_code, reason = "only whether it can be read counts")] Response),
        Request(#[expect(dead_code, reason = "only whether it can be read counts")] Request),
    }

    let text = std::str::from_utf8(body)
        .map_err(|error| Malformed::new(ErrorCode::ParseError, error.to_string()))?;
    serde_json::from_str::<Message>(text).map(|_| ()).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> Malformed {
    let code = if error.is_data() { ErrorCode::InvalidRequest } else { ErrorCode::ParseError };
    Malformed::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn frames(mut input: &[u8]) -> Vec<Result<String, String>> {
        let mut frames = Vec::new();
        while let Some(frame) = next_frame(&mut input).await.unwrap() {
            let frame = frame.map(|body| String::from_utf8(body).unwrap());
            frames.push(frame.map_err(|malformed| malformed.error.message.into_owned()));
        }
        frames
    }

    #[tokio::test]
    async fn reads_frames_however_their_headers_are_written() {
        for header in [
            "Content-Length: 2\r\n\r\n",
            "content-length:2\r\n\r\n",
            "Content-Length: 2\r\nContent-Type: application/vscode-jsonrpc; charset=utf-16\r\n\r\n",
            "X-Other: 1\r\nContent-Length: 2\n\n",
            "\r\n\r\nContent-Length: 2\r\n\r\n",
        ] {
            assert_eq!(
                frames(format!("{header}{{}}{header}[]").as_bytes()).await,
                [Ok("{}".to_owned()), Ok("[]".to_owned())]
            );
        }
    }

    #[tokio::test]
    async fn finds_the_next_message_after_garbage() {
        for garbage in [
            &b"garbage"[..],
            b"garbage\r\n\r\n",
            b"\xff\xfe\0\n",
            b"{\"a\": 1}\n{",
            b"GET / HTTP/1.1\r\n\r\n",
        ] {
            let input = [garbage, b"Content-Length: 2\r\n\r\n{}"].concat();
            assert_eq!(
                frames(&input).await,
                [Ok("{}".to_owned())],
                "{}",
                String::from_utf8_lossy(garbage)
            );
        }
    }

    #[tokio::test]
    async fn reports_a_length_that_cannot_be() {
        for length in ["abc", "-1", "", "99999999999999999999999", "999999999999"] {
            let input =
                format!("Content-Length: {length}\r\n\r\n{{}}Content-Length: 2\r\n\r\n{{}}");
            let reason = format!("no message can have the Content-Length `{length}`");
            assert_eq!(frames(input.as_bytes()).await, [Err(reason), Ok("{}".to_owned())]);
        }
    }

    #[tokio::test]
    async fn input_that_ends_early_is_no_message() {
        for input in ["", "Content-Length: 2", "Content-Length: 2\r\n\r\n{", "garbage"] {
            assert_eq!(frames(input.as_bytes()).await, []);
        }
    }

    #[test]
    fn a_malformed_message_is_answered_to_its_own_id_where_it_has_one() {
        for (body, expected) in [
            (r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#, None),
            (r#"{"jsonrpc":"2.0","method":"a","params":[]}"#, None),
            (r#"{"jsonrpc":"2.0","id":"x","result":null}"#, None),
            (r#"{"jsonrpc":"2.0","id":"x","method":"#, Some((-32700, "null"))),
            ("", Some((-32700, "null"))),
            ("[]", Some((-32600, "null"))),
            ("7", Some((-32600, "null"))),
            (r#"{"id":3,"method":"a"}"#, Some((-32600, "3"))),
            (r#"{"jsonrpc":"1.0","id":"x","method":"a"}"#, Some((-32600, "\"x\""))),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"a"}"#, Some((-32600, "null"))),
            (r#"{"jsonrpc":"2.0","id":4}"#, Some((-32600, "4"))),
            (r#"{"jsonrpc":"2.0","id":4,"method":5}"#, Some((-32600, "4"))),
            (r#"["2.0",1,"a"]"#, Some((-32600, "null"))),
            (r#"{"jsonrpc":"2.0","id":5,"method":"a","params":[1e999]}"#, Some((-32700, "5"))),
            (r#"{"jsonrpc":"2.0","id":5,"method":"a","params":["\ud83d"]}"#, Some((-32700, "5"))),
            (r#"{"jsonrpc":"2.0","id":5,"method":"a","params":1,"params":1}"#, Some((-32600, "5"))),
        ] {
            let outcome = check(body.as_bytes()).err();
            let outcome =
                outcome.map(|malformed| (malformed.error.code.code(), malformed.id.to_string()));
            assert_eq!(outcome, expected.map(|(code, id)| (code, id.to_owned())), "{body}");
        }
    }

    #[test]
    fn surrogates_without_a_partner_are_replaced() {
        for (body, expected) in [
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\uDE00x""#, r#""\ufffdx""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\ud83d\n""#, r#""\ufffd\n""#),
            (r#""\\ud83d\u00e9""#, r#""\\ud83d\u00e9""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#""\ud8"#, r#""\ud8"#),
            (r#""\"#, r#""\"#),
        ] {
            let mut replaced = body.as_bytes().to_vec();
            replace_lone_surrogates(&mut replaced);
            assert_eq!(String::from_utf8(replaced).unwrap(), expected, "{body}");
        }
    }
}
