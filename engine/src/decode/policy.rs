//! Which masks of a block become tokens after a forward: confidences in, picks out.

use std::str::FromStr;

use crate::infiller::Unmasking;

/// Which masks of a block become tokens first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecodeOrder {
    /// The most confident ones, as the published models decode.
    #[default]
    SurestFirst,
    /// From left to right.
    LeftToRight,
}

impl DecodeOrder {
    /// Every order.
    pub const ALL: [Self; 2] = [Self::SurestFirst, Self::LeftToRight];

    /// Its name in `config.json` and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::SurestFirst => "surest-first",
            Self::LeftToRight => "left-to-right",
        }
    }
}

impl FromStr for DecodeOrder {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(" and ");
        let found = Self::ALL.into_iter().find(|order| order.name() == name);
        found.ok_or_else(|| format!("no such order; known are {}", known()))
    }
}

/// Picks among the masks of a block, given the confidence of each; returns indices into `confidences` in `order`.
///
/// `Static` takes the first `planned`; `Threshold` takes the first one and goes on as long as the threshold is reached.
/// Equal confidences go from left to right. `waits` says which mask may not be taken yet, given what is taken already;
/// left to right nothing is taken behind one that waits.
pub fn pick(
    (rule, order): (Unmasking, DecodeOrder),
    planned: usize,
    confidences: &[f64],
    waits: impl Fn(usize, &[usize]) -> bool,
) -> Vec<usize> {
    let mut picked = Vec::new();
    loop {
        let mut open = (0..confidences.len()).filter(|i| !picked.contains(i));
        let next = match order {
            DecodeOrder::LeftToRight => open.next().filter(|&i| !waits(i, &picked)),
            // `max_by` takes the last of equals, so it walks from right to left.
            DecodeOrder::SurestFirst => open
                .filter(|&i| !waits(i, &picked))
                .rev()
                .max_by(|&a, &b| confidences[a].total_cmp(&confidences[b])),
        };
        let Some(next) = next else { return picked };
        let enough = match rule {
            Unmasking::Static { .. } => picked.len() >= planned,
            Unmasking::Threshold(threshold) => !picked.is_empty() && confidences[next] < threshold,
        };
        if enough {
            return picked;
        }
        picked.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing waits.
    fn pick(rule: Unmasking, planned: usize, confidences: &[f64]) -> Vec<usize> {
        super::pick((rule, DecodeOrder::SurestFirst), planned, confidences, |_, _| false)
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
    fn left_to_right_takes_the_leftmost_whatever_is_surer() {
        let pick = |rule, planned, confidences: &[f64]| {
            super::pick((rule, DecodeOrder::LeftToRight), planned, confidences, |_, _| false)
        };
        assert_eq!(pick(Unmasking::Threshold(0.5), 1, &[0.1, 0.9, 0.4, 0.9]), [0, 1]);
        assert_eq!(pick(Unmasking::Threshold(0.5), 1, &[0.9, 0.4, 0.9]), [0]);
        assert_eq!(pick(Unmasking::Threshold(0.0), 1, &[0.2, 0.1]), [0, 1]);
        assert_eq!(pick(STATIC, 2, &[0.1, 0.9, 0.5]), [0, 1]);
    }

    #[test]
    fn what_waits_is_taken_once_it_may() {
        // The second mask waits for the first.
        let waits = |index: usize, picked: &[usize]| index == 1 && !picked.contains(&0);
        let in_order = |order| {
            move |rule, planned, confidences: &[f64]| {
                super::pick((rule, order), planned, confidences, waits)
            }
        };
        let pick = in_order(DecodeOrder::SurestFirst);
        assert_eq!(pick(STATIC, 1, &[0.1, 0.9, 0.5]), [2]);
        assert_eq!(pick(STATIC, 3, &[0.1, 0.9, 0.5]), [2, 0, 1]);
        assert_eq!(pick(Unmasking::Threshold(0.8), 1, &[0.1, 0.9]), [0, 1]);
        assert_eq!(pick(Unmasking::Threshold(0.8), 1, &[0.1, 0.9, 0.2]), [2]);
        let only_last = |index: usize, _: &[usize]| index < 2;
        let order = DecodeOrder::LeftToRight;
        assert_eq!(super::pick((STATIC, order), 1, &[0.1, 0.9, 0.5], only_last), [0; 0]);
    }
}
