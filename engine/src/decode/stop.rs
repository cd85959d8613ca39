//! When a fill is complete.

use std::ops::Range;

use super::canvas::Canvas;

/// Where the end token is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopRule {
    /// Published Stable-DiffCoder: in a full block's generated part. The canvas is cut at the block's end and
    /// everything from the first end token on becomes end tokens.
    FullBlock {
        /// The end token; `None` always fills the whole canvas.
        eos: Option<u32>,
    },
    /// As soon as an end token is committed. It is committed only once everything left of it in its block is decided
    /// (several ends close a fill, so the last places of a block are the first to look sure of one), and never as
    /// the first token, or the first behind a lead: no fill in training is empty. The block may still hold masks right of it.
    Decided {
        /// The end token.
        eos: u32,
    },
}

impl StopRule {
    /// The token that waits until no mask is left of it, where there is one.
    pub(super) fn waiting(self) -> Option<u32> {
        match self {
            Self::FullBlock { .. } => None,
            Self::Decided { eos } => Some(eos),
        }
    }

    /// Looks at the block `block` after a denoising step of it, or on its completion; returns the generated length
    /// up to the end token where the fill is complete.
    pub(super) fn check(self, canvas: &mut Canvas, block: Range<usize>) -> Option<usize> {
        let first = block.start.max(canvas.prompt_len());
        let eos = match self {
            Self::FullBlock { eos } => eos?,
            Self::Decided { eos } => eos,
        };
        let at = first + canvas.generated_part(block.clone()).iter().position(|&id| id == eos)?;
        match self {
            Self::FullBlock { .. } if canvas.masked_in(block.clone()).is_empty() => {
                canvas.close(at, block.end, eos);
            }
            Self::Decided { .. } if canvas.masked_in(block.start..at).is_empty() => {}
            _ => return None,
        }
        Some(at - canvas.prompt_len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: u32 = 5;
    const EOS: u32 = 2;

    fn canvas(generated: &[u32]) -> Canvas {
        // The prompt ends in an end token, as chat turns do: it must not count.
        Canvas::with_given(&[9, EOS], generated, MASK)
    }

    #[test]
    fn a_decided_end_needs_no_full_block() {
        let rule = StopRule::Decided { eos: EOS };
        assert_eq!(rule.check(&mut canvas(&[8, MASK]), 0..4), None);
        assert_eq!(rule.check(&mut canvas(&[MASK, EOS]), 0..4), None);
        assert_eq!(rule.check(&mut canvas(&[EOS, MASK]), 0..4), Some(0));
        assert_eq!(rule.check(&mut canvas(&[7, 8, 6, EOS, MASK, MASK]), 4..8), Some(3));
    }

    #[test]
    fn a_full_block_is_cut_and_filled_with_the_end() {
        let rule = StopRule::FullBlock { eos: Some(EOS) };
        assert_eq!(rule.check(&mut canvas(&[EOS, MASK]), 0..4), None);
        let mut full = canvas(&[7, 8, 6, EOS, 1, 1, MASK, MASK]);
        assert_eq!(rule.check(&mut full, 4..8), Some(3));
        assert_eq!(full.generated(), [7, 8, 6, EOS, EOS, EOS]);
        assert_eq!(StopRule::FullBlock { eos: None }.check(&mut canvas(&[EOS, 1]), 0..4), None);
    }
}
