//! Which masks of a block become tokens after a forward: confidences in, picks out.

use crate::infiller::Unmasking;

/// Picks among the masks of a block, given the confidence of each; returns indices into `confidences`, best first.
///
/// `Static` takes the best `planned`; `Threshold` takes the best one and everything at or above the threshold;
/// `Sequential` takes the leftmost one and goes on to the right as long as the threshold is reached.
/// Equal confidences go from left to right. `waits` says which mask may not be taken yet, given what is taken already.
pub fn pick(
    rule: Unmasking,
    planned: usize,
    confidences: &[f64],
    waits: impl Fn(usize, &[usize]) -> bool,
) -> Vec<usize> {
    let mut picked = Vec::new();
    if let Unmasking::Sequential(threshold) = rule {
        for (index, &confidence) in confidences.iter().enumerate() {
            if waits(index, &picked) || (index > 0 && confidence < threshold) {
                break;
            }
            picked.push(index);
        }
        return picked;
    }
    loop {
        let open = (0..confidences.len()).filter(|i| !picked.contains(i) && !waits(*i, &picked));
        // `max_by` takes the last of equals, so it walks from right to left.
        let Some(best) = open.rev().max_by(|&a, &b| confidences[a].total_cmp(&confidences[b]))
        else {
            return picked;
        };
        let enough = match rule {
            Unmasking::Static { .. } | Unmasking::Sequential(_) => picked.len() >= planned,
            Unmasking::Threshold(threshold) => !picked.is_empty() && confidences[best] < threshold,
        };
        if enough {
            return picked;
        }
        picked.push(best);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing waits.
    fn pick(rule: Unmasking, planned: usize, confidences: &[f64]) -> Vec<usize> {
        super::pick(rule, planned, confidences, |_, _| false)
    }

    const STATIC: Unmasking = Unmasking::Static { steps_per_block: 4 };

    #[test]
    fn a_plan_takes_the_most_confident() {
        assert_eq!(pick(STATIC, 2, &[0.1, 0.9, 0.5]), [1, 2]);
        assert_eq!(pick(STATIC, 1, &[0.5, 0.5]), [0]);
        assert_eq!(pick(STATIC, 3, &[0.2]), [0]);
    }

    #[test]
    fn a_threshold_takes_all_above_it_and_always_the_best() {
        assert_eq!(pick(Unmasking::Threshold(0.5), 1, &[0.6, 0.4, 0.5]), [0, 2]);
        assert_eq!(pick(Unmasking::Threshold(0.9), 1, &[0.6, 0.4, 0.7]), [2]);
        assert_eq!(pick(Unmasking::Threshold(0.0), 1, &[0.1, 0.2]), [1, 0]);
    }

    #[test]
    fn sequential_goes_from_left_to_right() {
        assert_eq!(pick(Unmasking::Sequential(0.5), 1, &[0.1, 0.9, 0.4, 0.9]), [0, 1]);
        assert_eq!(pick(Unmasking::Sequential(0.5), 1, &[0.9, 0.4, 0.9]), [0]);
        assert_eq!(pick(Unmasking::Sequential(0.0), 1, &[0.2, 0.1]), [0, 1]);
    }

    #[test]
    fn what_waits_is_taken_once_it_may() {
        // The second mask waits for the first.
        let waits = |index: usize, picked: &[usize]| index == 1 && !picked.contains(&0);
        let pick =
            |rule, planned, confidences: &[f64]| super::pick(rule, planned, confidences, waits);
        assert_eq!(pick(STATIC, 1, &[0.1, 0.9, 0.5]), [2]);
        assert_eq!(pick(STATIC, 3, &[0.1, 0.9, 0.5]), [2, 0, 1]);
        assert_eq!(pick(Unmasking::Threshold(0.8), 1, &[0.1, 0.9]), [0, 1]);
        assert_eq!(pick(Unmasking::Threshold(0.8), 1, &[0.1, 0.9, 0.2]), [2]);
    }
}
