//! From the text around a hole to the prompt that the fill continues.

use super::budget::{Budget, REST_TOKENS, WindowState};
use super::format::{FimParts, PromptFormat};
use crate::error::{EngineError, Result};
use crate::tokenizer::Tokenizer;

/// Least tokens of a prompt: fewer hold no context worth the name.
pub const MIN_PROMPT_TOKENS: usize = 32;
/// Bytes of R that are tokenised for each of its tokens at most.
const REST_BYTES_PER_TOKEN: usize = 8;

/// Lays out one-hole prompts for one model.
#[derive(Clone, Copy)]
pub struct Layout<'a> {
    /// The model's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The order that the model knows.
    pub format: PromptFormat,
    /// Most tokens of the prompt, markers included.
    pub prompt_tokens: usize,
    /// Tokens of other files, which stand in front of P.
    pub related: &'a [u32],
}

/// A prompt, and how much of its end a changing line end touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// Tokens of R among them.
    pub rest_tokens: usize,
}

impl Layout<'_> {
    /// The prompt for a hole between `left` and `right`. `windows` belongs to the document.
    pub fn prompt(&self, left: &str, right: &str, windows: &mut WindowState) -> Result<Prompt> {
        if self.prompt_tokens < MIN_PROMPT_TOKENS {
            return Err(EngineError::Request(format!(
                "{} tokens are left for the prompt, {MIN_PROMPT_TOKENS} is the least: ask for fewer tokens of fill",
                self.prompt_tokens
            )));
        }
        let (rest, right) = self.format.split_right(right);
        let rest_limit =
            if self.format.splits_rest() { REST_TOKENS.min(self.prompt_tokens / 8) } else { 0 };
        let near = rest.floor_char_boundary(REST_BYTES_PER_TOKEN * rest_limit);
        let mut rest = self.tokenizer.encode(&rest[..near])?;
        rest.truncate(rest_limit);
        // Room for the longest R is kept whatever R is, so that auto-closed brackets move no border.
        let own = self.prompt_tokens - PromptFormat::MARKER_TOKENS - rest_limit;
        let related = if 2 * self.related.len() <= own { self.related } else { &[] };
        let budget = Budget::new(own - related.len());
        let (prefix, suffix) = budget.fit(self.tokenizer, left, right, windows)?;
        let prefix = [related, &prefix].concat();
        let parts = FimParts { suffix: &suffix, prefix: &prefix, rest: &rest };
        let tokens = self.format.assemble(self.tokenizer.special(), parts)?;
        Ok(Prompt { tokens, rest_tokens: rest.len() })
    }
}
