//! The number types of operands of matrix products: f32, and bf16 for rows that only products read.

use half::bf16;

use super::scratch::Scratch;
use super::simd::multiversion;

/// A number type that operands of products are stored in.
pub trait Element: Copy + Send + Sync + Into<f32> + 'static {
    /// Whether this is bf16.
    const IS_BF16: bool;

    /// The same numbers, if they are f32 already.
    fn as_f32(numbers: &[Self]) -> Option<&[f32]>;

    /// Lets `work` write f32 numbers and stores them rounded to this type.
    fn write(to: &mut [Self], work: impl FnOnce(&mut [f32]));
}

impl Element for f32 {
    const IS_BF16: bool = false;

    fn as_f32(numbers: &[Self]) -> Option<&[f32]> {
        Some(numbers)
    }

    fn write(to: &mut [Self], work: impl FnOnce(&mut [f32])) {
        work(to);
    }
}

impl Element for bf16 {
    const IS_BF16: bool = true;

    fn as_f32(_numbers: &[Self]) -> Option<&[f32]> {
        None
    }

    fn write(to: &mut [Self], work: impl FnOnce(&mut [f32])) {
        let mut numbers = Scratch::<f32>::new(to.len());
        work(&mut numbers);
        round(&numbers, to);
    }
}

multiversion! {
    /// Rounds to nearest even; NaN stays NaN.
    fn round(from: &[f32], to: &mut [bf16]) {
        for (to, &x) in to.iter_mut().zip(from) {
            let bits = x.to_bits();
            let even = (bits >> 16) & 1;
            let rounded = (bits.wrapping_add(0x7fff + even) >> 16) as u16;
            let quiet = ((bits >> 16) as u16) | 0x40;
            *to = bf16::from_bits(if x.is_nan() { quiet } else { rounded });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_half_crate() {
        let mut x: Vec<f32> = (0..5000u32)
            .map(|i| f32::from_bits(i.wrapping_mul(2_654_435_761)))
            .chain([0.0, -0.0, 1.0, f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY])
            .filter(|x| !x.is_nan())
            .collect();
        // Ties: half of the last kept bit.
        x.extend((0..100u32).map(|i| f32::from_bits(0x3f80_8000 + (i << 16))));
        let mut rounded = vec![bf16::ZERO; x.len()];
        bf16::write(&mut rounded, |numbers| numbers.copy_from_slice(&x));
        let wanted: Vec<u16> = x.iter().map(|&x| bf16::from_f32(x).to_bits()).collect();
        assert_eq!(rounded.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), wanted);
        let mut nan = [bf16::ONE];
        bf16::write(&mut nan, |numbers| numbers.fill(f32::NAN));
        assert!(nan[0].is_nan());
    }
}
