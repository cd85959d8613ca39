//! Loss reductions over a whole step, the next-token targets of the AR stage, and the exact NELBO of a block.

/// What the summed loss of a step is divided by. The count is that of the whole step, whatever its micro-batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Normaliser {
    /// Every token that may stand in the loss, masked or not.
    All,
    /// The masked tokens.
    Masked,
}

impl Normaliser {
    /// The divisor of a step with `n_all` maskable tokens, `n_masked` of them masked.
    pub fn divisor(self, n_all: usize, n_masked: usize) -> f64 {
        match self {
            Self::All => n_all as f64,
            Self::Masked => n_masked as f64,
        }
    }
}

/// Next-token prediction in rows of `len` tokens: (rows that predict, their targets).
///
/// Position i predicts token i + 1 of its row; targets outside the loss mask are left out, and a row's last token
/// predicts nothing.
pub fn next_token_targets(tokens: &[u32], loss_mask: &[bool], len: usize) -> (Vec<u32>, Vec<u32>) {
    (0..tokens.len().saturating_sub(1))
        .filter(|i| (i + 1) % len != 0 && loss_mask[i + 1])
        .map(|i| (i as u32, tokens[i + 1]))
        .unzip()
}

/// A non-empty set of masked positions in a block, and its weight in the exact NELBO.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaskPattern {
    /// Bit i: position i of the block is a mask.
    pub bits: u32,
    /// `(m-1)! (N-m)! / N!` for m masks: the integral of `u^(m-1) (1-u)^(N-m)` over the mask ratio.
    pub weight: f64,
}

/// All `2^N - 1` patterns of a block of `block` tokens (at most 16).
///
/// The exact NELBO of a block is the sum over patterns of weight times the summed cross-entropy of the pattern's masked
/// positions: what `1/u`-weighted masking at `u ~ U(0, 1)` (no clip) gives on average, without the noise. Every position's
/// weights sum to 1, so a model that ignores its context has the plain cross-entropy as its NELBO.
pub fn mask_patterns(block: usize) -> Vec<MaskPattern> {
    (1..1u32 << block.min(16))
        .map(|bits| MaskPattern { bits, weight: pattern_weight(bits.count_ones() as usize, block) })
        .collect()
}

/// `(m-1)! (n-m)! / n!`: NELBO weight of a pattern of `n_masked` masks among `n_maskable` tokens, at least one of each.
fn pattern_weight(n_masked: usize, n_maskable: usize) -> f64 {
    let factorial = |n: usize| (1..=n).map(|k| k as f64).product::<f64>();
    factorial(n_masked - 1) * factorial(n_maskable - n_masked) / factorial(n_maskable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_weights_for_four_tokens() {
        let patterns = mask_patterns(4);
        assert_eq!(patterns.len(), 15);
        for pattern in &patterns {
            let expected =
                [0.25, 1.0 / 12.0, 1.0 / 12.0, 0.25][pattern.bits.count_ones() as usize - 1];
            assert!((pattern.weight - expected).abs() < 1e-15);
        }
        let total: f64 = patterns.iter().map(|p| p.weight * f64::from(p.bits.count_ones())).sum();
        assert!((total - 4.0).abs() < 1e-12);
    }

    #[test]
    fn nelbo_of_a_context_blind_model_is_the_cross_entropy() {
        for block in 1..=8 {
            let nll: Vec<f64> = (0..block).map(|i| 0.3 + i as f64).collect();
            let nelbo: f64 = mask_patterns(block)
                .iter()
                .map(|p| {
                    let sum: f64 =
                        (0..block).filter(|i| p.bits >> i & 1 == 1).map(|i| nll[i]).sum();
                    p.weight * sum
                })
                .sum();
            assert!((nelbo - nll.iter().sum::<f64>()).abs() < 1e-9, "N {block}");
        }
    }

    #[test]
    fn nelbo_weights_are_the_average_of_unclipped_masking() {
        // weight of a pattern = E over u ~ U(0, 1) of (1/u) P(pattern | u), here by the midpoint rule.
        let steps = 100_000;
        for pattern in mask_patterns(4) {
            let m = pattern.bits.count_ones() as i32;
            let mean: f64 = (0..steps)
                .map(|i| (f64::from(i) + 0.5) / f64::from(steps))
                .map(|u| u.powi(m - 1) * (1.0 - u).powi(4 - m))
                .sum::<f64>()
                / f64::from(steps);
            assert!((mean - pattern.weight).abs() < 1e-6);
        }
    }

    #[test]
    fn targets_stay_in_their_row_and_in_the_loss_mask() {
        let tokens = [1, 2, 3, 4, 5, 6, 7, 8];
        let mut loss_mask = [true; 8];
        loss_mask[2] = false;
        let (rows, targets) = next_token_targets(&tokens, &loss_mask, 4);
        assert_eq!(rows, [0, 2, 4, 5, 6]);
        assert_eq!(targets, [2, 4, 6, 7, 8]);
    }
}
