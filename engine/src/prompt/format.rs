//! The token order of each layout. Serving and training both build their sequences here and nowhere else.

use crate::error::{EngineError, Result};
use crate::tokenizer::SpecialTokens;

/// A layout that a model was trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptFormat {
    /// Seed-Coder and Stable-DiffCoder: `<[fim-suffix]> S <[fim-prefix]> P <[fim-middle]>`, S right of the cursor.
    SeedFim,
    /// Our own models, one hole: `bos <[fim-suffix]> S <[fim-prefix]> P [<[fim-rest]> R] <[fim-middle]>`.
    ///
    /// S begins at the line after the hole and R is the rest of the hole's line, so that typing and auto-closed
    /// brackets leave the front of the prompt as it was.
    ///
    /// Several holes: the hole between P and S is the seam and has marker `<[h_0]>`; any other stands in S, P or R as a
    /// marker of its own. `<[fim-middle]>` repeats up to a block edge, then each fill comes on such an edge, in any
    /// order: `<[h_i]> F eos*k`.
    Holes,
}

/// The token ids around one hole.
#[derive(Clone, Copy, Debug, Default)]
pub struct FimParts<'a> {
    /// S: text right of the hole (`SeedFim`: from the hole on; `Holes`: from the next line on).
    pub suffix: &'a [u32],
    /// P: text left of the hole.
    pub prefix: &'a [u32],
    /// R: rest of the hole's last line, line end excluded; must be empty in `SeedFim`.
    pub rest: &'a [u32],
}

impl PromptFormat {
    /// Tokens that [`Self::assemble`] adds to those of the parts, at most.
    pub const MARKER_TOKENS: usize = 5;

    /// Whether the rest of the hole's line stands apart (R) instead of opening S.
    pub fn splits_rest(self) -> bool {
        self == Self::Holes
    }

    /// Splits the text right of a hole into R and the text that S begins with; the line end between belongs to neither.
    ///
    /// Line ends are `\n`, `\r\n` and `\r`. A layout without R leaves everything to S.
    pub fn split_right(self, right: &str) -> (&str, &str) {
        if !self.splits_rest() {
            return ("", right);
        }
        match right.find(['\n', '\r']) {
            None => (right, ""),
            Some(end) => {
                let line_end = if right[end..].starts_with("\r\n") { 2 } else { 1 };
                (&right[..end], &right[end + line_end..])
            }
        }
    }

    /// The prompt that the fill continues.
    pub fn assemble(self, special: &SpecialTokens, parts: FimParts<'_>) -> Result<Vec<u32>> {
        let fim = special.fim.ok_or_else(|| {
            EngineError::Request(
                "the tokenizer has no fill-in-the-middle tokens: this model cannot infill".into(),
            )
        })?;
        let mut tokens = Vec::with_capacity(
            parts.suffix.len() + parts.prefix.len() + parts.rest.len() + Self::MARKER_TOKENS,
        );
        if self == Self::Holes {
            tokens.extend(special.bos);
        }
        tokens.push(fim.suffix);
        tokens.extend_from_slice(parts.suffix);
        tokens.push(fim.prefix);
        tokens.extend_from_slice(parts.prefix);
        if !parts.rest.is_empty() {
            let rest = match self {
                Self::Holes => special.fim_rest,
                Self::SeedFim => None,
            };
            tokens.push(rest.ok_or_else(|| {
                EngineError::Request("this layout has no place for the rest of a line".into())
            })?);
            tokens.extend_from_slice(parts.rest);
        }
        tokens.push(fim.middle);
        Ok(tokens)
    }

    /// Of a prompt for one hole with `rest` tokens of R: tokens up to the end of P.
    pub fn before_hole(self, prompt: &[u32], rest: usize) -> usize {
        let behind = 1 + if rest > 0 { rest + 1 } else { 0 };
        prompt.len().saturating_sub(behind)
    }

    /// After [`Self::assemble`] for several holes: `<[fim-middle]>` up to the next block edge, where the first fill opens.
    pub fn align_fills(self, tokens: &mut Vec<u32>, block_length: usize) {
        if let Some(&middle) = tokens.last() {
            tokens.resize(tokens.len().next_multiple_of(block_length), middle);
        }
    }

    /// Appends the end tokens of a fill or a training sample: eos up to the next block edge, 1 to `block_length` of them.
    pub fn close(self, tokens: &mut Vec<u32>, special: &SpecialTokens, block_length: usize) {
        let count = block_length - tokens.len() % block_length;
        tokens.extend(std::iter::repeat_n(special.eos, count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_the_line_ends_before_its_line_end() {
        let split = |right| PromptFormat::Holes.split_right(right);
        assert_eq!(split(");\nlet"), (");", "let"));
        assert_eq!(split(")\r\n\r\nx"), (")", "\r\nx"));
        assert_eq!(split("\rx"), ("", "x"));
        assert_eq!(split("end"), ("end", ""));
        assert_eq!(PromptFormat::SeedFim.split_right(")\nx"), ("", ")\nx"));
    }

    #[test]
    fn the_text_before_the_hole_ends_before_the_rest_of_its_line() {
        // [suffix] 7 [prefix] 8 9 ([rest] 6) [middle]
        assert_eq!(PromptFormat::Holes.before_hole(&[1, 7, 2, 8, 9, 3], 0), 5);
        assert_eq!(PromptFormat::Holes.before_hole(&[1, 7, 2, 8, 9, 4, 6, 3], 1), 5);
    }
}
