//! How much of a fill is likely to be right.

use crate::decode::canvas::Cell;

/// The expected share of right characters of a fill, summed up token by token in reading order.
///
/// A character is right if it and all before it are: it counts with the product of the confidences of the tokens up to its
/// own. What the fill only spells because the cursor cut it, and what was given, is neither a chance nor a character.
#[derive(Clone, Debug)]
pub(super) struct Expectation {
    /// Bytes of the lead that are not spelled yet.
    lead: usize,
    /// That all tokens so far are right.
    sure: f64,
    /// Characters so far.
    chars: f64,
    /// Of these, how many are right on average.
    right: f64,
}

impl Expectation {
    /// Of a fill that begins with the text `lead`.
    pub(super) fn new(lead: &str) -> Self {
        Self { lead: lead.len(), sure: 1.0, chars: 0.0, right: 0.0 }
    }

    /// Adds the next token, or the part of its text that is kept.
    pub(super) fn push(&mut self, text: &str, cell: Cell) {
        let in_lead = self.lead > 0 && text.len() <= self.lead;
        let own = &text[text.floor_char_boundary(self.lead)..];
        self.lead = self.lead.saturating_sub(text.len());
        let Cell::Committed { confidence } = cell else { return };
        if in_lead {
            return;
        }
        self.sure *= confidence;
        let chars = own.chars().count() as f64;
        self.chars += chars;
        self.right += self.sure * chars;
    }

    /// The confidence of the fill, 0 to 1: the expected share, or that it is right to be empty.
    pub(super) fn confidence(&self) -> f64 {
        if self.chars > 0.0 { self.right / self.chars } else { self.sure }
    }

    /// Whether a fill that goes on from here may reach a confidence of `least`: every further character counts with at
    /// most `sure`, so no confidence is above both that and what there is.
    pub(super) fn can_reach(&self, least: f64) -> bool {
        self.sure >= least || self.confidence() >= least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(confidence: f64) -> Cell {
        Cell::Committed { confidence }
    }

    fn of(lead: &str, tokens: &[(&str, f64)]) -> Expectation {
        let mut expectation = Expectation::new(lead);
        for &(text, confidence) in tokens {
            expectation.push(text, committed(confidence));
        }
        expectation
    }

    #[test]
    fn a_character_is_right_with_all_before_it() {
        let found = of("", &[("ab", 0.5), ("cdé", 0.5)]).confidence();
        assert!((found - (2.0 * 0.5 + 3.0 * 0.25) / 5.0).abs() < 1e-12);
    }

    #[test]
    fn the_lead_is_no_chance_and_no_character() {
        let found = of("numb", &[("nu", 0.1), ("mbers", 0.8), ("()", 0.5)]).confidence();
        assert!((found - (3.0 * 0.8 + 2.0 * 0.4) / 5.0).abs() < 1e-12);
        assert_eq!(of("to", &[("to", 0.1)]).confidence(), 1.0);
    }

    #[test]
    fn what_was_given_is_no_chance_and_no_character() {
        let mut expectation = of("", &[("a", 0.5)]);
        expectation.push("given", Cell::Given);
        expectation.push("b", committed(0.5));
        assert!((expectation.confidence() - (0.5 + 0.25) / 2.0).abs() < 1e-12);
    }

    #[test]
    fn an_empty_fill_is_as_sure_as_its_end() {
        assert_eq!(of("", &[("", 0.7)]).confidence(), 0.7);
    }

    proptest::proptest! {
        #[test]
        fn what_cannot_reach_a_confidence_never_does(
            tokens in proptest::collection::vec(("[a-z]{0,4}", 0.0..1.0f64), 1..12),
            least in 0.0..1.0f64,
        ) {
            let mut expectation = Expectation::new("");
            let mut given_up = false;
            for (text, confidence) in &tokens {
                expectation.push(text, committed(*confidence));
                given_up |= !expectation.can_reach(least);
                proptest::prop_assert!(!given_up || expectation.confidence() < least + 1e-12);
            }
        }
    }
}
