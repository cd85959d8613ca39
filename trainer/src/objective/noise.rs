//! Mask ratios: how much of each block is masked, and the weight that pays for it.

/// Smallest `u_max` of the warmup (paper, eq. 10: `u_init`).
pub const U_INIT: f32 = 1e-3;

/// What shares one draw of the mask ratio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RateUnit {
    /// Every block draws its own: less variance in a step.
    #[default]
    Block,
    /// All blocks of a sequence share one.
    Sequence,
}

/// Whether the mask ratio is kept above 1/N and an empty block gets one mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Clip {
    /// `u_blk = min(1, max(u, 1/N))`, and a block left without a mask gets one.
    #[default]
    On,
    /// `u_blk = u`; a share 1/(N+1) of the blocks stays without a mask and teaches nothing.
    Off,
}

/// How a stage draws and weighs its masks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoiseRule {
    /// N, tokens of one block.
    pub block: usize,
    /// What shares one mask ratio.
    pub unit: RateUnit,
    /// The lower bound and the forced mask.
    pub clip: Clip,
    /// Upper end of the uniform mask ratio: below 1 only in the warmup.
    pub u_max: f32,
    /// What a masked token counts in the loss.
    pub weight: Weight,
    /// Share of the blocks whose masks are what decoding left to right meets: the last tokens of the block, any number of
    /// them being equally likely. 0 masks as the paper does.
    pub left_to_right: f32,
}

/// What a masked token counts in the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// `w = 1/u_blk`, the weight of the linear schedule.
    Inverse,
    /// 1: the paper drops the weight in the warmup, where 1/u would reach 1000 and beyond.
    One,
}

impl NoiseRule {
    /// The warmup rule: `t ~ U(0, u_max(s))`, no weight, no clip (paper, eq. 10).
    ///
    /// With the clip `u` would jump to 1/N at once and the warmup would be none.
    pub fn warmup(block: usize, unit: RateUnit, u_max: f32) -> Self {
        Self { block, unit, clip: Clip::Off, u_max, weight: Weight::One, left_to_right: 0.0 }
    }

    /// The CPT rule: `u = t ~ U(0, 1)`, clipped to `[1/N, 1]`, weight `1/u_blk`.
    pub fn cpt(block: usize, unit: RateUnit, clip: Clip) -> Self {
        Self { block, unit, clip, u_max: 1.0, weight: Weight::Inverse, left_to_right: 0.0 }
    }

    /// The same rule with a share of blocks masked from the right.
    pub fn with_left_to_right(self, share: f32) -> Self {
        Self { left_to_right: share, ..self }
    }

    /// Share of the maskable tokens that a CPT rule masks on average, with the clip.
    pub fn expected_share(&self) -> f64 {
        let n = self.block as f64;
        // Up to 1/N the ratio stands at 1/N; above it, the integrals of (1-u)^N and u are elementary.
        let low = 1.0 / n;
        let forced = low * (1.0 - low).powf(n) + (1.0 - low).powf(n + 1.0) / (n + 1.0);
        let drawn = low * low + (1.0 - low * low) / 2.0 + forced / n;
        let from_right = (n + 1.0) / (2.0 * n);
        let share = f64::from(self.left_to_right);
        share * from_right + (1.0 - share) * drawn
    }

    /// Mask ratio of a block from a uniform number in [0, 1).
    pub fn rate(&self, uniform: f32) -> f32 {
        let u = uniform * self.u_max;
        match self.clip {
            Clip::On => clipped_rate(u, self.block),
            Clip::Off => u,
        }
    }

    /// Loss weight of the masked tokens of a block with mask ratio `rate`.
    pub fn weight_of(&self, rate: f32) -> f32 {
        match self.weight {
            Weight::Inverse => 1.0 / rate,
            Weight::One => 1.0,
        }
    }
}

/// How many of `n_maskable` tokens a block masks from the right, from a uniform number in [0, 1): 1 to all of them, each
/// number equally likely.
pub fn n_tail(uniform: f32, n_maskable: usize) -> usize {
    ((uniform * n_maskable as f32) as usize + 1).min(n_maskable)
}

/// Loss weight of mask `index` of the `n_tail` rightmost of `n_maskable` tokens.
///
/// The first one is what decoding left to right decides next: it counts half of what the block does, the others share
/// the rest, so that several may be decided at once. A block counts `n_maskable`, as it does on average under `1/u`.
pub fn tail_weight(index: usize, n_tail: usize, n_maskable: usize) -> f32 {
    let all = n_maskable as f32;
    match (index, n_tail) {
        (_, 1) => all,
        (0, _) => all / 2.0,
        _ => all / 2.0 / (n_tail - 1) as f32,
    }
}

/// `u_blk = min(1, max(u, 1/N))`: on average at least one mask per block.
pub fn clipped_rate(u: f32, block: usize) -> f32 {
    u.max(1.0 / block as f32).min(1.0)
}

/// `u_max(s)`: linear from [`U_INIT`] at step 0 of the warmup to 1 at step `s_warmup`, then 1 (paper, eq. 10).
pub fn warmup_u_max(step: u64, s_warmup: u64) -> f32 {
    if step >= s_warmup {
        return 1.0;
    }
    let init = f64::from(U_INIT);
    (init + (1.0 - init) * step as f64 / s_warmup as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipped_rate_keeps_one_mask_per_block_on_average() {
        for (u, n, expected) in
            [(0.0, 4, 0.25), (0.124, 8, 0.125), (0.2, 8, 0.2), (0.999, 2, 0.999), (1.0, 4, 1.0)]
        {
            assert_eq!(clipped_rate(u, n), expected, "u {u} N {n}");
        }
    }

    #[test]
    fn tails_are_equally_long_on_average_and_a_block_counts_its_tokens() {
        for n in 1..=8 {
            let mut counts = vec![0; n + 1];
            (0..n * 100).for_each(|i| counts[n_tail(i as f32 / (n * 100) as f32, n)] += 1);
            assert_eq!(counts[0], 0);
            assert!(counts[1..].iter().all(|&count| count == 100), "{counts:?}");
            assert_eq!(n_tail(0.999_999_94, n), n);
            for tail in 1..=n {
                let sum: f32 = (0..tail).map(|index| tail_weight(index, tail, n)).sum();
                assert!((sum - n as f32).abs() < 1e-5, "{tail} of {n}");
            }
        }
        assert_eq!([0, 1, 2].map(|index| tail_weight(index, 3, 4)), [2.0, 1.0, 1.0]);
    }

    #[test]
    fn warmup_ramp_is_linear_and_ends_at_one() {
        for (step, expected) in [
            (0, 0.001),
            (1, 0.0014995),
            (500, 0.25075),
            (1999, 0.9995005),
            (2000, 1.0),
            (9999, 1.0),
        ] {
            assert!((warmup_u_max(step, 2000) - expected).abs() < 1e-7, "step {step}");
        }
        assert_eq!(warmup_u_max(0, 0), 1.0, "no warmup at all");
    }
}
