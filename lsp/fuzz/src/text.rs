//! The slow and obvious idea of lines, positions and edits.

use std::ops::Range;

use diffcoder_lsp::position::PositionEncoding;

/// Byte spans of the lines' contents, line ends excluded.
pub fn lines(text: &str) -> Vec<Range<usize>> {
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

/// Units that a character takes.
pub fn width(character: char, encoding: PositionEncoding) -> usize {
    match encoding {
        PositionEncoding::Utf8 => character.len_utf8(),
        PositionEncoding::Utf16 => character.len_utf16(),
        PositionEncoding::Utf32 => 1,
    }
}

/// The byte that a position means: past a line its end, past the text its end, inside a character its start.
pub fn offset(text: &str, (line, column): (u32, u32), encoding: PositionEncoding) -> usize {
    let Some(span) = lines(text).get(line as usize).cloned() else { return text.len() };
    let mut units = 0;
    for (at, character) in text[span.clone()].char_indices() {
        units += width(character, encoding);
        if units > column as usize {
            return span.start + at;
        }
    }
    span.end
}

/// Places where a cursor can stand.
pub fn places(text: &str) -> Vec<usize> {
    let of_line = |span: Range<usize>| {
        let starts = text[span.clone()].char_indices().map(move |(at, _)| span.start + at);
        starts.chain([span.end]).collect::<Vec<_>>()
    };
    lines(text).into_iter().flat_map(of_line).collect()
}

/// Puts `with` between two positions, whichever comes first.
pub fn replace(
    text: &mut String,
    (from, to): ((u32, u32), (u32, u32)),
    with: &str,
    encoding: PositionEncoding,
) {
    let (from, to) = (offset(text, from, encoding), offset(text, to, encoding));
    text.replace_range(from.min(to)..from.max(to), with);
}
