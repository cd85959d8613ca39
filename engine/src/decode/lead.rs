//! Text that a fill has to begin with: what stands before the cursor and would have made one token with what follows.
//!
//! Token healing: a prompt that ends inside a word leaves the model with the token of half a word, which it has seldom
//! seen. The word is taken out of the prompt instead, and the first tokens of the fill are chosen among those that spell it.

use std::sync::Arc;

/// What the tokens of a vocabulary spell, by id.
#[derive(Debug)]
pub struct TokenBytes {
    bytes: Vec<Option<Box<[u8]>>>,
    /// Whether a token spells this byte alone.
    single: [bool; 256],
}

impl TokenBytes {
    /// `bytes` by id; `None` for those that are no text.
    pub fn new(bytes: Vec<Option<Box<[u8]>>>) -> Self {
        let mut single = [false; 256];
        for token in bytes.iter().flatten() {
            if let [byte] = **token {
                single[usize::from(byte)] = true;
            }
        }
        Self { bytes, single }
    }
}

/// The beginning that a fill must have.
#[derive(Clone, Debug)]
pub struct Lead {
    text: Arc<str>,
    tokens: Arc<TokenBytes>,
}

impl Lead {
    /// `None` where there is nothing to begin with, or the vocabulary may be unable to spell it.
    pub fn new(text: &str, tokens: &Arc<TokenBytes>) -> Option<Self> {
        let can_spell = text.bytes().all(|byte| tokens.single[usize::from(byte)]);
        (!text.is_empty() && can_spell)
            .then(|| Self { text: text.into(), tokens: Arc::clone(tokens) })
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Bytes that `before` spells.
    fn spelled(&self, before: &[u32]) -> usize {
        let bytes = |&token: &u32| self.tokens.bytes.get(token as usize)?.as_ref();
        before.iter().filter_map(bytes).map(|bytes| bytes.len()).sum()
    }

    /// Whether `before` spells the text or a part of it, and nothing more.
    pub(super) fn is_all_of(&self, before: &[u32]) -> bool {
        self.spelled(before) <= self.text.len()
    }

    /// The tokens that may follow `before`, ascending; `None` once `before` spells the whole text.
    pub fn candidates(&self, before: &[u32]) -> Option<Vec<u32>> {
        let rest =
            self.text.as_bytes().get(self.spelled(before)..).filter(|rest| !rest.is_empty())?;
        let fits = |bytes: &[u8]| {
            !bytes.is_empty() && (rest.starts_with(bytes) || bytes.starts_with(rest))
        };
        let ids = (0u32..).zip(&self.tokens.bytes);
        Some(
            ids.filter(|(_, bytes)| bytes.as_deref().is_some_and(fits)).map(|(id, _)| id).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(texts: &[&str]) -> Arc<TokenBytes> {
        let bytes = |text: &&str| (!text.is_empty()).then(|| text.as_bytes().into());
        Arc::new(TokenBytes::new(texts.iter().map(bytes).collect()))
    }

    #[test]
    fn candidates_spell_the_text_or_a_part_of_it() {
        let tokens = tokens(&["", "t", "o", "to", "total", "tax", "tal", "l"]);
        let lead = Lead::new("to", &tokens).unwrap();
        assert_eq!(lead.candidates(&[]).unwrap(), [1, 3, 4]);
        assert_eq!(lead.candidates(&[1]).unwrap(), [2]);
        assert_eq!(lead.candidates(&[3]), None);
        assert_eq!(lead.candidates(&[4]), None, "more than the text is well");
        assert_eq!(lead.text(), "to");
    }

    #[test]
    fn what_cannot_be_spelled_is_not_begun() {
        let tokens = tokens(&["t", "o", "tax"]);
        assert!(Lead::new("", &tokens).is_none());
        assert!(Lead::new("tx", &tokens).is_none(), "no token spells x alone");
        assert!(Lead::new("too", &tokens).is_some());
    }
}
