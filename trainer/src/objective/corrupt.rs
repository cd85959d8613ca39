//! Corruption: which tokens of a clean sequence become masks, and what each masked token counts.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::objective::noise::{Clip, NoiseRule, RateUnit, n_tail, tail_weight};

/// A batch of token rows of equal length, row after row.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// `x_0`: rows times len tokens.
    pub tokens: &'a [u32],
    /// Which tokens may be masked and stand in the loss; markers and openers may not.
    pub loss_mask: &'a [bool],
    /// T, a multiple of N.
    pub len: usize,
}

/// The uniform numbers in [0, 1) that decide a corruption.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Uniforms {
    /// One per block, row after row: the mask ratio. With one ratio per sequence, the row's first one counts.
    pub rate: Vec<f32>,
    /// One per token: it becomes a mask if it lies below the ratio.
    pub mask: Vec<f32>,
    /// One per block: which token an empty block masks.
    pub fallback: Vec<f32>,
    /// One per block: it is masked from the right if it lies below that share. Not needed where the share is 0.
    pub order: Vec<f32>,
}

impl Uniforms {
    /// Draws what `n_tokens` tokens in blocks of `block` need.
    pub fn draw(rng: &mut ChaCha8Rng, n_tokens: usize, block: usize) -> Self {
        let n_blocks = n_tokens / block;
        let mut take = |n: usize| (0..n).map(|_| rng.random::<f32>()).collect::<Vec<_>>();
        Self {
            rate: take(n_blocks),
            mask: take(n_tokens),
            fallback: take(n_blocks),
            order: take(n_blocks),
        }
    }
}

/// The noisy sequence and its masked positions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corrupted {
    /// `x_t`: the tokens, the masked ones replaced by the mask token.
    pub noisy: Vec<u32>,
    /// Indices of the masked tokens in the batch, ascending.
    pub masked: Vec<u32>,
    /// Loss weight of each masked token.
    pub weights: Vec<f32>,
    /// Blocks that had no mask until one was forced.
    pub n_forced: usize,
}

/// Masks `rows` as `rule` says, decided by `uniforms` alone.
///
/// Each maskable token of a block is masked with the block's probability. With the clip on, a block left without a mask
/// gets one: maskable token number `floor(f * n)` of its n maskable ones. A block without a maskable token gets none. A
/// block that is masked from the right takes its number of masks from its own uniform ratio (see [`n_tail`]).
pub fn corrupt_with(
    rule: &NoiseRule,
    rows: Rows<'_>,
    mask_token: u32,
    uniforms: &Uniforms,
) -> Corrupted {
    let block = rule.block;
    let blocks_per_row = rows.len / block;
    let mut out = Corrupted { noisy: rows.tokens.to_vec(), ..Corrupted::default() };
    let mut maskable = Vec::with_capacity(block);
    for index in 0..rows.tokens.len() / block {
        let draw = match rule.unit {
            RateUnit::Block => index,
            RateUnit::Sequence => index / blocks_per_row * blocks_per_row,
        };
        let rate = rule.rate(uniforms.rate[draw]);
        let first = index * block;
        maskable.clear();
        maskable.extend((first..first + block).filter(|&token| rows.loss_mask[token]));
        let before = out.masked.len();
        if uniforms.order.get(index).is_some_and(|&order| order < rule.left_to_right) {
            let n = maskable.len();
            let tail = &maskable[n - n_tail(uniforms.rate[index], n)..];
            for (at, &token) in tail.iter().enumerate() {
                out.masked.push(token as u32);
                out.noisy[token] = mask_token;
                out.weights.push(tail_weight(at, tail.len(), n));
            }
            continue;
        }
        out.masked.extend(
            maskable
                .iter()
                .filter(|&&token| uniforms.mask[token] < rate)
                .map(|&token| token as u32),
        );
        if out.masked.len() == before && rule.clip == Clip::On && !maskable.is_empty() {
            let pick = (uniforms.fallback[index] * maskable.len() as f32) as usize;
            out.masked.push(maskable[pick.min(maskable.len() - 1)] as u32);
            out.n_forced += 1;
        }
        for &token in &out.masked[before..] {
            out.noisy[token as usize] = mask_token;
            out.weights.push(rule.weight_of(rate));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;
    use crate::objective::noise::{NoiseRule, Weight};

    const MASK: u32 = 5;

    fn monte_carlo(rule: &NoiseRule, n_blocks: usize) -> (Corrupted, f64) {
        let n_tokens = n_blocks * rule.block;
        let tokens = vec![9; n_tokens];
        let loss_mask = vec![true; n_tokens];
        let uniforms = Uniforms::draw(&mut ChaCha8Rng::seed_from_u64(7), n_tokens, rule.block);
        let rows = Rows { tokens: &tokens, loss_mask: &loss_mask, len: n_tokens };
        let out = corrupt_with(rule, rows, MASK, &uniforms);
        let mut has_mask = vec![false; n_blocks];
        for &token in &out.masked {
            has_mask[token as usize / rule.block] = true;
        }
        let empty = has_mask.iter().filter(|has| !**has).count() as f64 / n_blocks as f64;
        (out, empty)
    }

    /// Integrates over the mask ratio: (P(fallback), E[masked per token], E[sum of w per token]) with the clip.
    fn closed_form(n: f64) -> (f64, f64, f64) {
        // Up to 1/N the ratio stands at 1/N; above it, the integrals of (1-u)^N, u and 1 are elementary.
        let low = 1.0 / n;
        let empty_at_low = (1.0 - low).powf(n);
        let fallback = low * empty_at_low + (1.0 - low).powf(n + 1.0) / (n + 1.0);
        let masked = low * low + (1.0 - low * low) / 2.0 + fallback / n;
        // A forced mask counts 1/u: int_low^1 (1-u)^N / u du, by Simpson's rule.
        let steps = 20_000;
        let h = (1.0 - low) / f64::from(steps);
        let f = |u: f64| (1.0 - u).powf(n) / u;
        let inner: f64 = (1..steps)
            .map(|i| f(low + f64::from(i) * h) * if i % 2 == 1 { 4.0 } else { 2.0 })
            .sum();
        let tail = h / 3.0 * (f(low) + inner + f(1.0));
        let weight = 1.0 + (low * empty_at_low * n + tail) / n;
        (fallback, masked, weight)
    }

    #[test]
    fn clipped_schedule_has_the_papers_rates() {
        let (fallback, masked, weight) = closed_form(4.0);
        assert!((fallback - 0.1266).abs() < 1e-4, "{fallback}");
        assert!((masked - 0.5629).abs() < 1e-4, "{masked}");
        assert!((weight - 1.1129).abs() < 1e-4, "{weight}");
        let n_blocks = 400_000;
        let rule = NoiseRule::cpt(4, RateUnit::Block, Clip::On);
        let (out, empty) = monte_carlo(&rule, n_blocks);
        let tokens = (4 * n_blocks) as f64;
        assert!((rule.expected_share() - masked).abs() < 1e-9);
        assert_eq!(empty, 0.0);
        assert!((out.n_forced as f64 / n_blocks as f64 - fallback).abs() < 2e-3);
        assert!((out.masked.len() as f64 / tokens - masked).abs() < 2e-3);
        let sum: f64 = out.weights.iter().map(|&w| f64::from(w)).sum();
        assert!((sum / tokens - weight).abs() < 3e-3);
    }

    #[test]
    fn as_many_tokens_are_masked_as_expected() {
        for (block, left_to_right) in [(1, 0.0), (1, 1.0), (2, 0.3), (4, 0.0), (4, 0.7), (8, 1.0)] {
            let rule = NoiseRule::cpt(block, RateUnit::Block, Clip::On);
            let rule = rule.with_left_to_right(left_to_right);
            let (out, _) = monte_carlo(&rule, 100_000);
            let share = out.masked.len() as f64 / (100_000 * block) as f64;
            let expected = rule.expected_share();
            assert!((share - expected).abs() < 3e-3, "{block} {left_to_right}: {share} {expected}");
        }
    }

    #[test]
    fn without_the_clip_a_fifth_of_the_blocks_is_empty() {
        let rule = NoiseRule::cpt(4, RateUnit::Block, Clip::Off);
        let (out, empty) = monte_carlo(&rule, 400_000);
        assert!((empty - 0.2).abs() < 2e-3, "{empty}");
        assert!((out.masked.len() as f64 / 1.6e6 - 0.5).abs() < 2e-3);
        assert_eq!(out.n_forced, 0);
    }

    #[test]
    fn warmup_masks_little_and_weighs_nothing() {
        let rule = NoiseRule::warmup(4, RateUnit::Block, 0.1);
        assert_eq!(rule.weight, Weight::One);
        let (out, _) = monte_carlo(&rule, 100_000);
        assert!((out.masked.len() as f64 / 4e5 - 0.05).abs() < 2e-3);
        assert!(out.weights.iter().all(|&w| w == 1.0));
        assert_eq!(out.n_forced, 0);
    }

    #[test]
    fn markers_are_never_masked_and_the_fallback_picks_among_the_rest() {
        let tokens: Vec<u32> = (10..22).collect();
        let t = true;
        let f = false;
        let loss_mask = [f, t, f, t, f, f, f, f, t, t, t, t];
        let rule = NoiseRule::cpt(4, RateUnit::Block, Clip::On);
        let rows = Rows { tokens: &tokens, loss_mask: &loss_mask, len: 12 };
        let never = |fallback: f32| Uniforms {
            rate: vec![0.0; 3],
            mask: vec![0.99; 12],
            fallback: vec![fallback; 3],
            order: vec![],
        };
        for (fallback, expected) in [(0.0, [1, 8]), (0.49, [1, 9]), (0.5, [3, 10]), (1.0, [3, 11])]
        {
            let out = corrupt_with(&rule, rows, MASK, &never(fallback));
            assert_eq!(out.masked, expected, "f {fallback}");
            assert_eq!(out.n_forced, 2);
            assert_eq!(out.weights, [4.0, 4.0]);
        }
        let always = Uniforms { mask: vec![0.0; 12], ..never(0.0) };
        let out = corrupt_with(&rule, rows, MASK, &always);
        assert_eq!(out.masked, [1, 3, 8, 9, 10, 11]);
        assert_eq!(out.noisy, [10, 5, 12, 5, 14, 15, 16, 17, 5, 5, 5, 5]);
    }

    #[test]
    fn blocks_below_the_share_are_masked_from_the_right() {
        let tokens = [9; 12];
        let mut loss_mask = [true; 12];
        // The second block has two maskable tokens, the third none that its order would reach.
        loss_mask[4..6].fill(false);
        let rows = Rows { tokens: &tokens, loss_mask: &loss_mask, len: 12 };
        let uniforms = Uniforms {
            rate: vec![0.6, 0.3, 0.0],
            mask: vec![0.99; 12],
            fallback: vec![0.0; 3],
            order: vec![0.4, 0.0, 0.5],
        };
        let rule = NoiseRule::cpt(4, RateUnit::Block, Clip::On).with_left_to_right(0.5);
        let out = corrupt_with(&rule, rows, MASK, &uniforms);
        assert_eq!(out.masked, [1, 2, 3, 7, 8], "three of four, one of two, and a forced one");
        assert_eq!(out.weights, [2.0, 1.0, 1.0, 2.0, 4.0]);
        assert_eq!(out.n_forced, 1);
        assert_eq!(out.noisy, [9, 5, 5, 5, 9, 9, 9, 5, 5, 9, 9, 9]);
        let paper = corrupt_with(&rule.with_left_to_right(0.0), rows, MASK, &uniforms);
        assert_eq!(paper.n_forced, 3, "nobody is masked from the right at a share of 0");
    }

    #[test]
    fn a_block_of_prompt_alone_is_never_masked_from_the_right() {
        let rule = NoiseRule::cpt(4, RateUnit::Block, Clip::On).with_left_to_right(1.0);
        let rows = Rows { tokens: &[9; 8], loss_mask: &[false; 8], len: 8 };
        let uniforms = Uniforms::draw(&mut ChaCha8Rng::seed_from_u64(1), 8, 4);
        assert!(corrupt_with(&rule, rows, MASK, &uniforms).masked.is_empty());
    }

    #[test]
    fn one_rate_per_sequence_is_shared_by_its_blocks_alone() {
        let tokens = [9; 16];
        let rows = Rows { tokens: &tokens, loss_mask: &[true; 16], len: 8 };
        let uniforms = Uniforms {
            rate: vec![0.3, 0.9, 0.8, 0.1],
            mask: vec![0.5; 16],
            fallback: vec![0.0; 4],
            order: vec![],
        };
        let rule = NoiseRule::cpt(4, RateUnit::Sequence, Clip::On);
        let out = corrupt_with(&rule, rows, MASK, &uniforms);
        assert_eq!(out.masked, [0, 4, 8, 9, 10, 11, 12, 13, 14, 15], "0.3 masks none, 0.8 all");
    }
}
