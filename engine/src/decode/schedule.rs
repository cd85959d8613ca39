//! How many masks of a block become tokens after each of its denoising steps.

use crate::infiller::Unmasking;

/// Splits `masks` evenly over `steps` denoising steps, the remainder going to the first ones.
///
/// Entries may be zero where there are fewer masks than steps; such a step needs no forward.
pub fn split_even(masks: usize, steps: usize) -> impl Iterator<Item = usize> {
    (0..steps).map(move |step| masks / steps + usize::from(step < masks % steps))
}

/// The denoising steps that a block with `masks` masks may take, as the least number of tokens each one commits.
pub fn plan(rule: Unmasking, masks: usize) -> Vec<usize> {
    match rule {
        Unmasking::Threshold(_) => vec![1; masks],
        Unmasking::Static { steps_per_block } => {
            split_even(masks, steps_per_block.max(1)).filter(|&count| count > 0).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remainder_goes_first_and_idle_steps_fall_away() {
        assert_eq!(split_even(4, 3).collect::<Vec<_>>(), [2, 1, 1]);
        assert_eq!(split_even(2, 4).collect::<Vec<_>>(), [1, 1, 0, 0]);
        assert_eq!(plan(Unmasking::Static { steps_per_block: 4 }, 2), [1, 1]);
        assert_eq!(plan(Unmasking::Static { steps_per_block: 2 }, 3), [2, 1]);
        assert_eq!(plan(Unmasking::Static { steps_per_block: 1 }, 0), [0; 0]);
        assert_eq!(plan(Unmasking::Threshold(0.9), 3), [1, 1, 1]);
    }
}
