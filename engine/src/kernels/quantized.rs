//! Weights of a denoising step in a quarter of the memory, number by number the same.
//!
//! A step of a few rows reads every weight once, and memory is what it waits for. Weights that were stored in Q8_0 (32
//! integers of 8 bits and one scale) are kept as such beside their f32 numbers, which longer products read.

use half::f16;

use super::element::Element;
use super::few_rows::{BLOCK, Weights, few_rows, has_fast_blocks};
use super::matmul::{Beta, MatRef};

/// A matrix whose numbers are those of Q8_0 blocks.
#[derive(Debug)]
pub struct Quantized {
    quants: Vec<i8>,  // (outputs, inner)
    scales: Vec<f32>, // (outputs, inner / BLOCK)
    outs: usize,
    inner: usize,
}

impl Quantized {
    /// Products of more rows read f32 weights.
    pub const MOST_ROWS: usize = 48;

    /// The weights of a product `x W^T`. numbers: (outputs, inner). `None` where they are not exactly those of Q8_0 blocks,
    /// and on processors that would be slower with them: all but x86-64 with AVX2.
    pub fn new(numbers: &[f32], outs: usize, inner: usize) -> Option<Self> {
        assert_eq!(numbers.len(), outs * inner, "the weights must be (outputs, inner)");
        let (blocks, rest) = numbers.as_chunks::<BLOCK>();
        if !has_fast_blocks() || !inner.is_multiple_of(BLOCK) || !rest.is_empty() {
            return None;
        }
        let mut quants = Vec::with_capacity(numbers.len());
        let mut scales = Vec::with_capacity(blocks.len());
        for block in blocks {
            let scale = scale_of(block)?;
            quants.extend(block.iter().map(|number| (number / scale).round() as i8));
            scales.push(scale);
        }
        Some(Self { quants, scales, outs, inner })
    }

    /// C = x W^T, or C += x W^T. x: (m, inner), c: (m, outputs) row-major, `m` at most [`Self::MOST_ROWS`].
    pub fn multiply<A: Element>(&self, x: MatRef<'_, A>, c: &mut [f32], beta: Beta) {
        let Self { quants, scales, outs, inner } = self;
        assert!(x.rows <= Self::MOST_ROWS, "{} rows are no few", x.rows);
        assert_eq!(x.cols, *inner, "the inner dimensions must agree");
        assert_eq!(x.col_stride, 1, "rows must lie in one piece");
        assert_eq!(c.len(), x.rows * outs, "the result must hold m x n numbers");
        x.check();
        if !c.is_empty() {
            let weights = Weights::Blocks { quants, scales };
            x.with_f32(|x| few_rows(x, (weights, *outs), c, beta));
        }
    }
}

/// The scale under which all numbers of a block are integers of 8 bits: the largest has 127 steps of it, as it was
/// quantized. The reciprocal of a block of zeros is nothing, so its scale is 1.
fn scale_of(block: &[f32; BLOCK]) -> Option<f32> {
    let largest = block.iter().fold(0f32, |largest, number| largest.max(number.abs()));
    let scale = if largest == 0.0 { 1.0 } else { f16::from_f32(largest / 127.0).to_f32() };
    let is_step = |number: f32| {
        let steps = (number / scale).round();
        steps.abs() <= 127.0 && steps * scale == number
    };
    block.iter().all(|&number| is_step(number)).then_some(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of Q8_0 blocks, one of them zeros.
    fn numbers(count: usize) -> Vec<f32> {
        let scale = |block: usize| {
            if block == 1 { 0.0 } else { f16::from_f32(0.001 + block as f32 / 700.0).to_f32() }
        };
        // 127 is among them in every block, as in what was quantized.
        let quant = |i: usize| if i % BLOCK == 5 { 127 } else { (i * 89 % 255) as i32 - 127 };
        (0..count).map(|i| quant(i) as f32 * scale(i / BLOCK)).collect()
    }

    #[test]
    fn products_are_those_of_the_same_numbers_in_f32() {
        if !has_fast_blocks() {
            return;
        }
        for (rows, outs, inner) in
            [(1, 1, 32), (4, 7, 96), (5, 300, 256), (20, 33, 64), (48, 8, 768)]
        {
            let weights = numbers(outs * inner);
            let x: Vec<f32> =
                (0..rows * inner).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
            let quantized = Quantized::new(&weights, outs, inner).unwrap();
            for beta in [Beta::Overwrite, Beta::Accumulate] {
                let mut c = vec![0.5; rows * outs];
                quantized.multiply(MatRef::new(&x, rows, inner), &mut c, beta);
                for (at, found) in c.iter().enumerate() {
                    let (row, out) = (at / outs, at % outs);
                    let terms = (0..inner).map(|k| {
                        f64::from(x[row * inner + k]) * f64::from(weights[out * inner + k])
                    });
                    let base = if beta == Beta::Accumulate { 0.5 } else { 0.0 };
                    let expected = base + terms.sum::<f64>();
                    assert!(
                        (f64::from(*found) - expected).abs() < 1e-3,
                        "{row} {out}: {found} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn other_numbers_are_left_alone() {
        if !has_fast_blocks() {
            return;
        }
        let mut weights = numbers(4 * 64);
        assert!(Quantized::new(&weights, 4, 64).is_some());
        assert!(Quantized::new(&weights, 8, 32).is_some());
        // Blocks must not reach over a row's end.
        assert!(Quantized::new(&weights[..4 * 48], 4, 48).is_none());
        weights[70] *= 1.0001;
        assert!(Quantized::new(&weights, 4, 64).is_none());
        weights[70] = f32::NAN;
        assert!(Quantized::new(&weights, 4, 64).is_none());
        weights[70] = 1e30;
        assert!(Quantized::new(&weights, 4, 64).is_none());
    }
}
