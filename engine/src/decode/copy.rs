//! Copy-draft: text that stood behind the same words before is likely to follow again.
//!
//! The continuation of an earlier place is a draft of the next tokens. The model still chooses every token itself; where its
//! choice agrees with the draft, less confidence is enough to commit it. So the draft saves denoising steps and can
//! bring in no token that the model would not have chosen at that place.

/// Fewest tokens that must agree for a place to count as the same.
const LEAST_MATCH: usize = 3;
/// Longer agreement than this makes no place better.
const MOST_MATCH: usize = 16;

/// What stood behind the place of `history` whose text before agrees most with the end of `history`, at most `most`
/// tokens; the later place of equals. Empty where no place agrees well enough.
pub fn continuation(history: &[u32], most: usize) -> &[u32] {
    let mut best: (usize, usize) = (LEAST_MATCH - 1, 0);
    for at in (1..history.len()).rev() {
        let agreeing = history[..at].iter().rev().zip(history.iter().rev());
        let len = agreeing.take(MOST_MATCH).take_while(|(a, b)| a == b).count();
        if len > best.0 {
            best = (len, at);
        }
    }
    if best.1 == 0 { &[] } else { &history[best.1..history.len().min(best.1 + most)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_and_latest_place_is_continued() {
        let history = [1, 2, 3, 4, 5, 9, 2, 3, 4, 6, 7, 9, 2, 3, 4];
        // 9 2 3 4 stood once before, 2 3 4 twice.
        assert_eq!(continuation(&history, 2), [6, 7]);
        let history = [2, 3, 4, 5, 0, 2, 3, 4, 6, 0, 8, 2, 3, 4];
        assert_eq!(continuation(&history, 3), [6, 0, 8]);
    }

    #[test]
    fn a_few_tokens_are_no_place() {
        assert!(continuation(&[3, 4, 5, 1, 3, 4], 4).is_empty());
        assert!(continuation(&[], 4).is_empty());
        assert!(continuation(&[7], 4).is_empty());
    }

    #[test]
    fn a_run_goes_on_by_itself() {
        assert_eq!(continuation(&[5, 5, 5, 5, 5], 4), [5]);
    }
}
