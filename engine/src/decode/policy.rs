//! Which masks of a block become tokens after a forward: confidences in, picks out.

use crate::infiller::Unmasking;

/// Picks among the masks of a block, given the confidence of each; returns indices into `confidences`, best first.
///
/// `Static` takes the best `planned`; `Threshold` takes the best one and everything at or above the threshold.
/// Equal confidences go from left to right.
pub fn pick(rule: Unmasking, planned: usize, confidences: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..confidences.len()).collect();
    order.sort_by(|&a, &b| confidences[b].total_cmp(&confidences[a]));
    let count = match rule {
        Unmasking::Static { .. } => planned,
        Unmasking::Threshold(threshold) => {
            order.iter().take_while(|&&index| confidences[index] >= threshold).count().max(1)
        }
    };
    order.truncate(count);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
