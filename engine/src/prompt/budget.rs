//! Which text around a hole fits the prompt budget, so that typing does not move it.
//!
//! The suffix comes first in a prompt: if its length or the prefix's start followed every key, every key would make
//! the model read the whole prompt again. So both are fixed once and move only when the text no longer fits, or when
//! much of the budget lies idle; then they jump by an anchor step.

use crate::error::Result;
use crate::tokenizer::Tokenizer;

/// Most tokens of R, the rest of the hole's line; the part nearest to the hole is kept.
pub const REST_TOKENS: usize = 64;
/// Largest anchor step. Budgets under eight times as much step by an eighth of themselves.
const ANCHOR_TOKENS: usize = 256;
/// The suffix keeps at least this share of the budget where there is text for it.
const SUFFIX_SHARE: usize = 4;
/// Text further from the hole than this many bytes for each token of budget is not even tokenised.
const BYTES_PER_TOKEN: usize = 8;
/// A fresh prefix window takes this much of it, so that there is room to type.
const FRESH_BYTES_PER_TOKEN: usize = 6;
/// A prefix window with this much text is full, however few tokens it has.
const FULL_BYTES_PER_TOKEN: usize = 4;
/// Bytes at the window's start by which it is found again after an edit left of it.
const LANDMARK_BYTES: usize = 48;

/// Tokens of prefix and suffix together, and the step in which their borders move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    tokens: usize,
}

/// Where the windows of one document stand, from one request to the next.
#[derive(Clone, Debug, Default)]
pub struct WindowState {
    anchor: Option<Anchor>,
    suffix: Suffix,
}

/// The fixed borders.
#[derive(Clone, Debug)]
struct Anchor {
    /// First byte of the prefix window, counted from the document's start.
    start: usize,
    /// Bytes from there to the hole when it was last used.
    len: usize,
    /// The text that follows `start`.
    landmark: String,
    /// Most tokens of the suffix; `None` takes all of it.
    suffix_limit: Option<usize>,
}

/// Tokens of the text right of the hole, kept because typing does not change that text.
#[derive(Clone, Debug, Default)]
struct Suffix {
    text: String,
    tokens: Vec<u32>,
}

impl Budget {
    /// A budget of `tokens` for prefix and suffix together.
    pub fn new(tokens: usize) -> Self {
        Self { tokens }
    }

    fn step(self) -> usize {
        (self.tokens / 8).clamp(1, ANCHOR_TOKENS)
    }

    /// Chooses the windows of `left` (text up to the hole) and `right` (text that S begins with).
    ///
    /// `state` belongs to the document and is brought up to date. Returns P and S.
    pub fn fit(
        self,
        tokenizer: &Tokenizer,
        left: &str,
        right: &str,
        state: &mut WindowState,
    ) -> Result<(Vec<u32>, Vec<u32>)> {
        let right = &right[..right.floor_char_boundary(BYTES_PER_TOKEN * self.tokens)];
        if state.suffix.text != right {
            state.suffix = Suffix { text: right.to_owned(), tokens: tokenizer.encode(right)? };
        }
        let suffix = &state.suffix.tokens;
        if let Some(anchor) = &mut state.anchor
            && anchor.find_again(left)
        {
            let window = &left[anchor.start..];
            if window.len() <= BYTES_PER_TOKEN * self.tokens {
                let prefix = tokenizer.encode(window)?;
                if self.still_good(anchor, prefix.len(), suffix.len()) {
                    let kept = anchor.suffix_tokens(suffix.len());
                    return Ok((prefix, suffix[..kept].to_vec()));
                }
            }
        }
        let (anchor, prefix) = self.place(tokenizer, left, suffix.len())?;
        let kept = anchor.suffix_tokens(suffix.len());
        state.anchor = Some(anchor);
        Ok((prefix, suffix[..kept].to_vec()))
    }

    /// Whether the borders can stay: everything fits, and nothing that was cut off would fit by far.
    fn still_good(self, anchor: &Anchor, prefix: usize, suffix: usize) -> bool {
        let kept = anchor.suffix_tokens(suffix);
        let Some(free) = self.tokens.checked_sub(prefix + kept) else { return false };
        let more_left = anchor.start > 0 && anchor.len < FULL_BYTES_PER_TOKEN * self.tokens;
        free <= 3 * self.step() || !(more_left || kept < suffix)
    }

    /// New borders for a prefix that ends with `left`, and its tokens.
    fn place(self, tokenizer: &Tokenizer, left: &str, suffix: usize) -> Result<(Anchor, Vec<u32>)> {
        let step = self.step();
        let reach = FRESH_BYTES_PER_TOKEN * self.tokens;
        let tail = match left.len().checked_sub(reach) {
            None => 0,
            Some(far) => line_start(left, far, step),
        };
        let (tokens, starts) = tokenizer.encode_with_starts(&left[tail..])?;
        if tail == 0 && tokens.len() + suffix <= self.tokens {
            return Ok((Anchor::new(left, 0, None), tokens));
        }
        let floor = suffix.min(self.tokens / SUFFIX_SHARE);
        let room = self.tokens - floor - step;
        if tokens.len() <= room {
            let limit = self.tokens - tokens.len() - step;
            return Ok((Anchor::new(left, tail, Some(limit)), tokens));
        }
        // A grid makes nearby holes choose the same start.
        let earliest = tail + starts[tokens.len() - room];
        let start = line_start(left, earliest.next_multiple_of(step), step);
        let prefix = tokenizer.encode(&left[start..])?;
        // Cut inside a word, a text can have a few more tokens than it had as a whole.
        let surplus = prefix.len().saturating_sub(self.tokens - floor);
        Ok((Anchor::new(left, start, Some(floor)), prefix[surplus..].to_vec()))
    }
}

impl Anchor {
    fn new(left: &str, start: usize, suffix_limit: Option<usize>) -> Self {
        let window = &left[start..];
        let landmark = window[..window.floor_char_boundary(LANDMARK_BYTES)].to_owned();
        Self { start, len: window.len(), landmark, suffix_limit }
    }

    /// Finds the window's start in `left` after edits: where it was, or as far from the hole as it was.
    fn find_again(&mut self, left: &str) -> bool {
        let found = if self.start == 0 {
            Some(0)
        } else {
            let candidates = [Some(self.start), left.len().checked_sub(self.len)];
            candidates.into_iter().flatten().find(|&start| {
                left.get(start..).is_some_and(|window| window.starts_with(&self.landmark))
            })
        };
        if let Some(start) = found {
            (self.start, self.len) = (start, left.len() - start);
        }
        found.is_some()
    }

    fn suffix_tokens(&self, available: usize) -> usize {
        self.suffix_limit.map_or(available, |limit| available.min(limit))
    }
}

/// The first line start at or after byte `from`, or the first character there if no line starts within `reach` bytes.
fn line_start(text: &str, from: usize, reach: usize) -> usize {
    let from = text.ceil_char_boundary(from.min(text.len()));
    let end = text.floor_char_boundary(from + reach);
    let lines = &text.as_bytes()[from.saturating_sub(1)..end.max(from)];
    match lines.iter().position(|&byte| byte == b'\n') {
        Some(at) if from > 0 => from + at,
        _ => from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_start_at_lines_where_one_is_near() {
        let text = "ab\ncdé\nf";
        assert_eq!(line_start(text, 0, 9), 0);
        assert_eq!(line_start(text, 1, 9), 3);
        assert_eq!(line_start(text, 3, 9), 3);
        assert_eq!(line_start(text, 4, 9), 8);
        assert_eq!(line_start(text, 4, 2), 4);
        assert_eq!(line_start(text, 6, 0), 7);
        assert_eq!(line_start(text, 99, 9), text.len());
    }

    #[test]
    fn a_window_is_found_again_after_edits_left_of_it() {
        let mut anchor = Anchor::new("0123456789", 4, None);
        assert!(anchor.find_again("0123456789ab"));
        assert_eq!((anchor.start, anchor.len), (4, 8));
        assert!(anchor.find_again("xx0123456789ab"));
        assert_eq!((anchor.start, anchor.len), (6, 8));
        assert!(!anchor.find_again("something else"));
        let mut whole = Anchor::new("fn f", 0, None);
        assert!(whole.find_again("use a;\nfn f"));
        assert_eq!(whole.start, 0);
    }
}
