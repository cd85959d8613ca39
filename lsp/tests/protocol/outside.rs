//! Positions and ranges outside the text mean the nearest place in it.

use crate::harness::{Client, URI, edit, inserted};
use crate::script::{Act, Script};

#[tokio::test]
async fn a_cursor_outside_the_text() {
    const FAR: u32 = i32::MAX as u32;
    for (text, cursor, clamped, before) in [
        ("ab\ncd\n", (0, 99), (0, 2), "ab"),
        ("ab\r\ncd\r\n", (0, 3), (0, 2), "ab"),
        ("ab\ncd\n", (1, FAR), (1, 2), "ab\ncd"),
        ("ab\ncd\n", (2, 5), (2, 0), "ab\ncd\n"),
        ("ab\ncd\n", (3, 0), (2, 0), "ab\ncd\n"),
        ("ab\ncd", (FAR, FAR), (1, 2), "ab\ncd"),
        ("", (4, 4), (0, 0), ""),
        ("a𝄞b", (0, 2), (0, 1), "a"),
        ("a𝄞b", (0, u32::MAX), (0, 4), "a𝄞b"),
    ] {
        let script = Script::always(Act::Fill("x"));
        let mut client = Client::start(&script).await;
        client.open(URI, text).await;
        let answer = client.complete(cursor.0, cursor.1).await;
        assert_eq!(inserted(&answer), "x");
        let start = &answer.unwrap()[0]["range"]["start"];
        assert_eq!(
            (&start["line"], &start["character"]),
            (&clamped.0.into(), &clamped.1.into()),
            "{text:?} {cursor:?}"
        );
        assert_eq!(script.asked()[0].before, before, "{text:?} {cursor:?}");
        client.finish().await;
    }
}

#[tokio::test]
async fn an_edit_outside_the_text_or_reversed() {
    let mut client = Client::start(&Script::always(Act::Fill(""))).await;
    for (start, end, expected) in [
        ((9, 9), (9, 9), "ab\ncd!"),
        ((0, 9), (0, 9), "ab!\ncd"),
        ((1, 1), (0, 1), "a!d"),
        ((9, 0), (0, 0), "!"),
        ((0, u32::MAX), (u32::MAX, u32::MAX), "ab!"),
    ] {
        client.open(URI, "ab\ncd").await;
        client.change(URI, 2, edit(start, end, "!")).await;
        assert_eq!(client.text(URI).await, expected, "{start:?} {end:?}");
    }
    client.finish().await;
}
