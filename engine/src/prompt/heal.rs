//! Where a prompt ends so that the fill begins between words (token healing).

use crate::error::Result;
use crate::tokenizer::Tokenizer;

/// Longest text that is taken back, bytes.
const MOST_BYTES: usize = 32;
/// Bytes before the hole that are looked at.
const LOOK_BACK_BYTES: usize = 256;

/// The byte of `left` from where on its text would make one word with what follows, for the tokenizer: a word that the
/// cursor cuts, a mark or a blank that a word takes as its first character. Its length where there is nothing such.
pub fn fill_start(tokenizer: &Tokenizer, left: &str) -> Result<usize> {
    let from = left.floor_char_boundary(left.len().saturating_sub(LOOK_BACK_BYTES));
    let from = left[from..].rfind('\n').map_or(from, |at| from + at);
    let start = from + tokenizer.last_word_start(&left[from..])?;
    let word = &left[start..];
    let is_blank = word.trim().is_empty() && word != " ";
    Ok(if is_blank || word.len() > MOST_BYTES { left.len() } else { start })
}
