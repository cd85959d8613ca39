//! Converts the positions that people and editors write to byte offsets and back; no other file does.

use std::fmt;
use std::str::FromStr;

use ropey::{Rope, RopeSlice};
use thiserror::Error;
use tower_lsp::gen_lsp_types::{Position, PositionEncodingKind, Range};

/// What the protocol's `character` counts, agreed upon at `initialize`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PositionEncoding {
    /// Bytes.
    Utf8,
    /// UTF-16 code units: what a client means that says nothing.
    #[default]
    Utf16,
    /// Unicode scalar values.
    Utf32,
}

impl PositionEncoding {
    /// Picks from the client's `general.positionEncodings`.
    ///
    /// UTF-8 wins wherever it stands, since it costs no conversion; otherwise the client's order decides.
    pub fn negotiate(offered: &[PositionEncodingKind]) -> Self {
        let known = || offered.iter().filter_map(Self::from_kind);
        known()
            .find(|encoding| *encoding == Self::Utf8)
            .or_else(|| known().next())
            .unwrap_or_default()
    }

    /// The name that the protocol gives to this encoding.
    pub fn kind(self) -> PositionEncodingKind {
        match self {
            Self::Utf8 => PositionEncodingKind::UTF8,
            Self::Utf16 => PositionEncodingKind::UTF16,
            Self::Utf32 => PositionEncodingKind::UTF32,
        }
    }

    fn from_kind(kind: &PositionEncodingKind) -> Option<Self> {
        match kind {
            PositionEncodingKind::UTF8 => Some(Self::Utf8),
            PositionEncodingKind::UTF16 => Some(Self::Utf16),
            PositionEncodingKind::UTF32 => Some(Self::Utf32),
            PositionEncodingKind::Custom(_) => None,
        }
    }
}

/// Byte offset of `position`, always on a character boundary of `text`.
///
/// Never fails: a column past the line's end means the line's end (as the protocol says), a line past the last one the
/// end of the text, and a column inside a character that character's start.
pub fn position_to_offset(text: &Rope, position: Position, encoding: PositionEncoding) -> usize {
    let line_idx = position.line as usize;
    if line_idx >= text.len_lines() {
        return text.len_bytes();
    }
    let line = line_content(text, line_idx);
    let column = position.character as usize;
    let char_idx = match encoding {
        PositionEncoding::Utf8 => line.byte_to_char(column.min(line.len_bytes())),
        PositionEncoding::Utf16 => line.utf16_cu_to_char(column.min(line.len_utf16_cu())),
        PositionEncoding::Utf32 => column.min(line.len_chars()),
    };
    text.line_to_byte(line_idx) + line.char_to_byte(char_idx)
}

/// Position of the byte `offset`, the reverse of [`position_to_offset`].
///
/// An offset past the end means the end; one inside a character, or inside a line end, is rounded down.
pub fn offset_to_position(text: &Rope, offset: usize, encoding: PositionEncoding) -> Position {
    let offset = offset.min(text.len_bytes());
    let line_idx = text.byte_to_line(offset);
    let line = line_content(text, line_idx);
    let byte_in_line = (offset - text.line_to_byte(line_idx)).min(line.len_bytes());
    let char_idx = line.byte_to_char(byte_in_line);
    let column = match encoding {
        PositionEncoding::Utf8 => line.char_to_byte(char_idx),
        PositionEncoding::Utf16 => line.char_to_utf16_cu(char_idx),
        PositionEncoding::Utf32 => char_idx,
    };
    Position::new(to_u32(line_idx), to_u32(column))
}

/// Byte offsets of a range's two ends, the smaller first even where the client sent them reversed.
pub fn range_to_offsets(
    text: &Rope,
    range: Range,
    encoding: PositionEncoding,
) -> std::ops::Range<usize> {
    let start = position_to_offset(text, range.start, encoding);
    let end = position_to_offset(text, range.end, encoding);
    start.min(end)..start.max(end)
}

/// Line `line_idx` without its line end.
fn line_content(text: &Rope, line_idx: usize) -> RopeSlice<'_> {
    let line = text.line(line_idx);
    let mut n_chars = line.len_chars();
    if n_chars > 0 && line.char(n_chars - 1) == '\n' {
        n_chars -= 1;
    }
    if n_chars > 0 && line.char(n_chars - 1) == '\r' {
        n_chars -= 1;
    }
    line.slice(..n_chars)
}

/// The protocol's numbers have 32 bits; a document with more lines or columns than that cannot be addressed in it.
fn to_u32(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A position as people write it: line and column from 1, the column in characters (Unicode scalar values).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineCol {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1; one past the last character is the line's end.
    pub column: usize,
}

impl fmt::Display for LineCol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl FromStr for LineCol {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        parse_line_col(text)
    }
}

/// Why a written position is no place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PositionError {
    /// Not `LINE:COL`.
    #[error("`{0}` is no position: write LINE:COL, both from 1, such as 12:5")]
    Syntax(String),
    /// Not `LINE:COL-LINE:COL`.
    #[error("`{0}` is no range: write LINE:COL-LINE:COL, such as 12:5-14:1")]
    RangeSyntax(String),
    /// The file ends before that line.
    #[error("line {line} is past the end: {name} has {lines} {}", plural(*.lines, "line"))]
    LineTooLarge {
        /// The line asked for, from 1.
        line: usize,
        /// Lines of the file.
        lines: usize,
        /// What the file is called.
        name: String,
    },
    /// The line ends before that column.
    #[error("column {column} is past the end: line {line} of {name} has {columns} {}", plural(*.columns, "character"))]
    ColumnTooLarge {
        /// The column asked for, from 1.
        column: usize,
        /// Its line, from 1.
        line: usize,
        /// Characters of that line.
        columns: usize,
        /// What the file is called.
        name: String,
    },
    /// The range ends before it starts.
    #[error("the range {start}-{end} ends before it starts: swap its two ends")]
    Reversed {
        /// First end as written.
        start: LineCol,
        /// Second end as written.
        end: LineCol,
    },
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}

/// Reads `LINE:COL`, both from 1.
pub fn parse_line_col(text: &str) -> Result<LineCol, PositionError> {
    let syntax = || PositionError::Syntax(text.to_owned());
    let (line, column) = text.split_once(':').ok_or_else(syntax)?;
    let number = |digits: &str| digits.parse().ok().filter(|number| *number > 0).ok_or_else(syntax);
    Ok(LineCol { line: number(line)?, column: number(column)? })
}

/// Reads `LINE:COL-LINE:COL`; the second end is exclusive and must not stand before the first.
pub fn parse_line_col_range(text: &str) -> Result<(LineCol, LineCol), PositionError> {
    let syntax = || PositionError::RangeSyntax(text.to_owned());
    let (start, end) = text.split_once('-').ok_or_else(syntax)?;
    let start = parse_line_col(start).map_err(|_| syntax())?;
    let end = parse_line_col(end).map_err(|_| syntax())?;
    if end < start { Err(PositionError::Reversed { start, end }) } else { Ok((start, end)) }
}

/// Byte offset of a written position in `text`; `name` is what the error calls the file.
///
/// Strict where [`position_to_offset`] is lenient: a position that does not exist is an error. The column after a
/// line's last character is its end, and the empty line after a final line end is the end of the text.
pub fn line_col_to_offset(text: &Rope, at: LineCol, name: &str) -> Result<usize, PositionError> {
    let n_addressable = text.len_lines();
    if at.line > n_addressable {
        let is_last_empty = text.line(n_addressable - 1).len_bytes() == 0;
        let lines = n_addressable - usize::from(is_last_empty);
        return Err(PositionError::LineTooLarge { line: at.line, lines, name: name.to_owned() });
    }
    let line = line_content(text, at.line - 1);
    if at.column > line.len_chars() + 1 {
        return Err(PositionError::ColumnTooLarge {
            column: at.column,
            line: at.line,
            columns: line.len_chars(),
            name: name.to_owned(),
        });
    }
    Ok(text.line_to_byte(at.line - 1) + line.char_to_byte(at.column - 1))
}

/// The written position of the byte `offset`; one past the end means the end.
pub fn offset_to_line_col(text: &Rope, offset: usize) -> LineCol {
    let position = offset_to_position(text, offset, PositionEncoding::Utf32);
    LineCol { line: position.line as usize + 1, column: position.character as usize + 1 }
}
