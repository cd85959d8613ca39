//! A polynomial exponential that vectorises, and the softmax pieces built on it.

use super::simd::{LANES, maximum, multiply_add, multiversion, reduce_sum};

/// Below this the result is zero (`e^x` would be subnormal).
const LOWEST: f32 = -87.0;
/// Above this the result stays at `e^88`, so that it is finite.
const HIGHEST: f32 = 88.0;

/// `e^x` to about 2e-7 relative; zero below -87 and `e^88` above 88.
#[inline(always)]
pub(super) fn exp<const FMA: bool>(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x > HIGHEST { HIGHEST } else { x };
    let clamped = if clamped < LOWEST { LOWEST } else { clamped };
    let shifted = multiply_add::<FMA>(clamped, std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let r = multiply_add::<FMA>(whole, -LN2_HIGH, clamped);
    let r = multiply_add::<FMA>(whole, -LN2_LOW, r);
    let mut p = 1.0 / 720.0;
    p = multiply_add::<FMA>(p, r, 1.0 / 120.0);
    p = multiply_add::<FMA>(p, r, 1.0 / 24.0);
    p = multiply_add::<FMA>(p, r, 1.0 / 6.0);
    p = multiply_add::<FMA>(p, r, 0.5);
    p = multiply_add::<FMA>(p, r, 1.0);
    p = multiply_add::<FMA>(p, r, 1.0);
    let exponent = shifted.to_bits().wrapping_shl(23).wrapping_add(127 << 23);
    let scaled = p * f32::from_bits(exponent);
    if x < LOWEST { 0.0 } else { scaled }
}

/// Replaces `x` by `e^(x - shift)` and returns the sum.
#[inline(always)]
pub(super) fn exp_shifted<const FMA: bool>(x: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (parts, rest) = x.as_chunks_mut::<LANES>();
    for part in parts {
        for i in 0..LANES {
            part[i] = exp::<FMA>(part[i] - shift);
            lanes[i] += part[i];
        }
    }
    let mut sum = 0.0;
    for value in rest {
        *value = exp::<FMA>(*value - shift);
        sum += *value;
    }
    reduce_sum(lanes) + sum
}

/// The sum of `e^(x - shift)`.
#[inline(always)]
pub(super) fn sum_exp_shifted<const FMA: bool>(x: &[f32], shift: f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (parts, rest) = x.as_chunks::<LANES>();
    for part in parts {
        for i in 0..LANES {
            lanes[i] += exp::<FMA>(part[i] - shift);
        }
    }
    reduce_sum(lanes) + rest.iter().map(|&value| exp::<FMA>(value - shift)).sum::<f32>()
}

multiversion! {
    /// Replaces every element by its exponential (see [`exp`] for the range).
    pub fn exp_in_place(x: &mut [f32]) {
        for value in x {
            *value = exp::<FMA>(*value);
        }
    }
}

multiversion! {
    /// Replaces `x` by its softmax; an empty slice stays empty.
    pub fn softmax_in_place(x: &mut [f32]) {
        let largest = maximum(x);
        let scale = 1.0 / exp_shifted::<FMA>(x, largest);
        for value in x {
            *value *= scale;
        }
    }
}

multiversion! {
    /// `ln(sum(e^x))`.
    pub fn log_sum_exp(x: &[f32]) -> f32 {
        let largest = maximum(x);
        largest + sum_exp_shifted::<FMA>(x, largest).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXP_TOLERANCE: f64 = 1e-6; // relative, against f64

    #[test]
    fn exp_is_accurate_over_the_whole_range() {
        let mut x: Vec<f32> =
            (0..200_000).map(|i| -87.0 + i as f32 * (175.0 / 200_000.0)).collect();
        x.extend([0.0, -0.0, 1.0, -1.0, 1e-8, 88.0, -87.0]);
        let mut y = x.clone();
        exp_in_place(&mut y);
        for (&x, &y) in x.iter().zip(&y) {
            let reference = f64::from(x).exp();
            let error = (f64::from(y) - reference).abs() / reference;
            assert!(error < EXP_TOLERANCE, "exp({x}) = {y}, off by {error:e}");
            let plain = f64::from(exp::<false>(x));
            assert!(
                (plain - reference).abs() / reference < EXP_TOLERANCE,
                "unfused exp({x}) = {plain}"
            );
        }
    }

    #[test]
    fn exp_outside_the_range_is_zero_or_finite() {
        let mut x = [f32::NEG_INFINITY, -1e9, -87.5, 89.0, f32::INFINITY];
        exp_in_place(&mut x);
        assert_eq!(&x[..3], &[0.0; 3]);
        assert!(x[3..].iter().all(|y| y.is_finite() && *y > 1e38));
    }

    #[test]
    fn softmax_and_log_sum_exp_agree_with_f64() {
        for n in [1usize, 2, 15, 16, 17, 100] {
            let x: Vec<f32> = (0..n).map(|i| ((i * 7919) % 101) as f32 * 0.3 - 12.0).collect();
            let sum: f64 = x.iter().map(|&v| f64::from(v).exp()).sum();
            let mut y = x.clone();
            softmax_in_place(&mut y);
            for (&x, &y) in x.iter().zip(&y) {
                assert!((f64::from(y) - f64::from(x).exp() / sum).abs() < 1e-6);
            }
            assert!((f64::from(log_sum_exp(&x)) - sum.ln()).abs() < 1e-5);
        }
    }
}
