//! Positions against a naive model that walks the text character by character.

use diffcoder_lsp::position::{
    LineCol, PositionEncoding, PositionError, line_col_to_offset, offset_to_line_col,
    offset_to_position, parse_line_col, parse_line_col_range, position_to_offset, range_to_offsets,
};
use proptest::prelude::*;
use ropey::Rope;
use tower_lsp::gen_lsp_types::{Position, PositionEncodingKind, Range};

const ENCODINGS: [PositionEncoding; 3] =
    [PositionEncoding::Utf8, PositionEncoding::Utf16, PositionEncoding::Utf32];

/// Line ends, and characters of every length in every encoding; U+2028, U+0085 and form feed end no line.
const PIECES: [&str; 14] = [
    "a",
    "\n",
    "\r\n",
    "\r",
    "é",
    "e\u{301}",
    "漢",
    "𝄞",
    "👩\u{200d}💻",
    "\u{2028}",
    "\u{85}",
    "\u{c}",
    "\t",
    "אב",
];

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24)
        .prop_map(|pieces| pieces.concat())
}

/// Units of `character` that one character takes.
fn width(character: char, encoding: PositionEncoding) -> usize {
    match encoding {
        PositionEncoding::Utf8 => character.len_utf8(),
        PositionEncoding::Utf16 => character.len_utf16(),
        PositionEncoding::Utf32 => 1,
    }
}

/// Byte spans of the lines' contents, line ends excluded.
fn lines(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut lines = Vec::new();
    let mut start = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let is_pair = character == '\r' && characters.peek().is_some_and(|(_, next)| *next == '\n');
        if is_pair {
            characters.next();
        }
        if is_pair || character == '\n' || character == '\r' {
            lines.push(start..at);
            start = at + if is_pair { 2 } else { 1 };
        }
    }
    lines.push(start..text.len());
    lines
}

fn naive_offset(text: &str, line: usize, column: usize, encoding: PositionEncoding) -> usize {
    let Some(span) = lines(text).get(line).cloned() else { return text.len() };
    let mut units = 0;
    for (at, character) in text[span.clone()].char_indices() {
        units += width(character, encoding);
        if units > column {
            return span.start + at;
        }
    }
    span.end
}

proptest! {
    #[test]
    fn offsets_agree_with_the_model(text in text(), line in 0..16_u32, column in 0..40_u32) {
        let rope = Rope::from_str(&text);
        for encoding in ENCODINGS {
            let offset = position_to_offset(&rope, Position::new(line, column), encoding);
            prop_assert_eq!(offset, naive_offset(&text, line as usize, column as usize, encoding), "{:?}", encoding);
            prop_assert!(text.is_char_boundary(offset));
        }
    }

    #[test]
    fn every_place_in_a_line_survives_the_round_trip(text in text()) {
        let rope = Rope::from_str(&text);
        for span in lines(&text) {
            let ends = text[span.clone()].char_indices().map(|(at, _)| span.start + at).chain([span.end]);
            for offset in ends {
                for encoding in ENCODINGS {
                    let position = offset_to_position(&rope, offset, encoding);
                    prop_assert_eq!(position_to_offset(&rope, position, encoding), offset, "{:?}", encoding);
                }
                let written = offset_to_line_col(&rope, offset);
                prop_assert_eq!(line_col_to_offset(&rope, written, "f"), Ok(offset));
                prop_assert_eq!(parse_line_col(&written.to_string()), Ok(written));
            }
        }
    }

    #[test]
    fn an_offset_between_places_is_rounded_down(text in text(), offset in 0..80_usize) {
        let rope = Rope::from_str(&text);
        for encoding in ENCODINGS {
            let position = offset_to_position(&rope, offset, encoding);
            let rounded = position_to_offset(&rope, position, encoding);
            let places = lines(&text).into_iter().flat_map(|span| {
                let inner: Vec<_> = text[span.clone()].char_indices().map(|(at, _)| span.start + at).collect();
                inner.into_iter().chain([span.end])
            });
            prop_assert_eq!(Some(rounded), places.filter(|place| *place <= offset).max());
        }
    }
}

#[test]
fn half_a_character_means_its_start() {
    let rope = Rope::from_str("a𝄞b");
    for (encoding, column, expected) in [
        (PositionEncoding::Utf16, 2, 1),
        (PositionEncoding::Utf16, 3, 5),
        (PositionEncoding::Utf8, 2, 1),
        (PositionEncoding::Utf8, 4, 1),
        (PositionEncoding::Utf8, 5, 5),
        (PositionEncoding::Utf32, 2, 5),
    ] {
        assert_eq!(
            position_to_offset(&rope, Position::new(0, column), encoding),
            expected,
            "{encoding:?} {column}"
        );
    }
}

#[test]
fn far_and_reversed_positions_are_clamped() {
    let rope = Rope::from_str("ab\r\ncd");
    let encoding = PositionEncoding::Utf16;
    assert_eq!(position_to_offset(&rope, Position::new(0, u32::MAX), encoding), 2);
    assert_eq!(position_to_offset(&rope, Position::new(u32::MAX, 0), encoding), 6);
    let range = Range::new(Position::new(1, 1), Position::new(0, 1));
    assert_eq!(range_to_offsets(&rope, range, encoding), 1..5);
    assert_eq!(offset_to_position(&rope, usize::MAX, encoding), Position::new(1, 2));
}

#[test]
fn utf8_is_preferred_and_utf16_is_the_default() {
    use PositionEncodingKind as Kind;
    for (offered, expected) in [
        (vec![], PositionEncoding::Utf16),
        (vec![Kind::Custom("utf-7".into())], PositionEncoding::Utf16),
        (vec![Kind::UTF16, Kind::UTF8], PositionEncoding::Utf8),
        (vec![Kind::UTF32, Kind::UTF16], PositionEncoding::Utf32),
        (vec![Kind::Custom("utf-7".into()), Kind::UTF16, Kind::UTF32], PositionEncoding::Utf16),
    ] {
        assert_eq!(PositionEncoding::negotiate(&offered), expected, "{offered:?}");
    }
}

#[test]
fn a_written_position_that_does_not_exist_is_named() {
    let text = "one\ntwo é\n".to_owned();
    let rope = Rope::from_str(&text);
    let place = |line, column| line_col_to_offset(&rope, LineCol { line, column }, "a.rs");
    assert_eq!(place(1, 4), Ok(3));
    assert_eq!(place(2, 6), Ok(text.len() - 1), "columns count characters");
    assert_eq!(place(3, 1), Ok(text.len()), "the place after the last line end");
    let message = |error: Result<usize, PositionError>| error.unwrap_err().to_string();
    assert_eq!(message(place(90, 1)), "line 90 is past the end: a.rs has 2 lines");
    assert_eq!(message(place(1, 9)), "column 9 is past the end: line 1 of a.rs has 3 characters");
    assert_eq!(message(place(3, 2)), "column 2 is past the end: line 3 of a.rs has 0 characters");
    let one = line_col_to_offset(&Rope::from_str("x"), LineCol { line: 2, column: 1 }, "a.rs");
    assert_eq!(message(one), "line 2 is past the end: a.rs has 1 line");
}

#[test]
fn what_is_no_position_is_named() {
    for text in
        ["", "12", "12:", ":5", "0:1", "1:0", "1:2:3", "a:b", "-1:2", "1:99999999999999999999999"]
    {
        let expected =
            format!("`{text}` is no position: write LINE:COL, both from 1, such as 12:5");
        assert_eq!(parse_line_col(text).unwrap_err().to_string(), expected);
    }
    assert_eq!("12:5".parse(), Ok(LineCol { line: 12, column: 5 }));
}

#[test]
fn ranges_are_read_and_checked() {
    let at = |line, column| LineCol { line, column };
    assert_eq!(parse_line_col_range("1:2-3:4"), Ok((at(1, 2), at(3, 4))));
    assert_eq!(parse_line_col_range("1:2-1:2"), Ok((at(1, 2), at(1, 2))));
    assert_eq!(
        parse_line_col_range("3:4-1:2").unwrap_err().to_string(),
        "the range 3:4-1:2 ends before it starts: swap its two ends"
    );
    assert_eq!(
        parse_line_col_range("1:2").unwrap_err().to_string(),
        "`1:2` is no range: write LINE:COL-LINE:COL, such as 12:5-14:1"
    );
}
