//! Products of packed panels with the bf16 dot products of AVX-512.
#![expect(unsafe_code, reason = "vector loads and stores take pointers")]

use std::arch::x86_64::*;

use super::super::matmul::Beta;
use super::Block;
use super::pack::{DEPTH, PANEL, SIDE, TILE};

/// Rows of the result that are summed at once: with two vectors each, enough sums to hide the latency of a product, and
/// few enough for the registers.
const ROWS: usize = 8;

/// Adds `depth` pairs of left tiles times `depth` pairs of right tiles to 32 x 32 numbers at `c`.
///
/// # Safety
/// The CPU must have AVX-512 with bf16. `left` and `right` must point to `depth * 2 * TILE` bf16 numbers, `c` to 32 rows of
/// 32 numbers, `stride` numbers apart, that nothing else accesses.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn multiply(depth: usize, left: *const u16, right: *const u16, c: Block) {
    for row in (0..PANEL).step_by(ROWS) {
        // SAFETY: `row` to `row + ROWS` are rows of one left tile and of the result.
        unsafe {
            let left = left.add(row / SIDE * TILE + row % SIDE * DEPTH);
            let start = c.start.add(row * c.stride);
            multiply_rows(depth, left, right, Block { start, ..c });
        }
    }
}

/// The same for [`ROWS`] rows of the result; `left` points to the first of their lines in the first tile.
///
/// # Safety
/// As for [`multiply`], for these rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn multiply_rows(depth: usize, left: *const u16, right: *const u16, c: Block) {
    // SAFETY: vectors of 32 bf16 numbers are vectors of 16 pairs; memory as the caller vouches.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        if c.beta == Beta::Accumulate {
            for (i, sums) in sums.iter_mut().enumerate() {
                let row = c.start.add(i * c.stride);
                *sums = [_mm512_loadu_ps(row), _mm512_loadu_ps(row.add(SIDE))];
            }
        }
        for step in 0..depth {
            let (left, right) = (left.add(step * 2 * TILE), right.add(step * 2 * TILE));
            for pair in 0..SIDE {
                let columns = right.add(pair * DEPTH);
                let low = pairs(_mm512_loadu_epi32(columns.cast()));
                let high = pairs(_mm512_loadu_epi32(columns.add(TILE).cast()));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let number = left.add(i * DEPTH + 2 * pair).cast::<i32>();
                    let number = pairs(_mm512_set1_epi32(number.read_unaligned()));
                    sums[0] = _mm512_dpbf16_ps(sums[0], number, low);
                    sums[1] = _mm512_dpbf16_ps(sums[1], number, high);
                }
            }
        }
        for (i, sums) in sums.into_iter().enumerate() {
            let row = c.start.add(i * c.stride);
            _mm512_storeu_ps(row, sums[0]);
            _mm512_storeu_ps(row.add(SIDE), sums[1]);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn pairs(vector: __m512i) -> __m512bh {
    // SAFETY: both types are 64 bytes of plain numbers.
    unsafe { std::mem::transmute(vector) }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    /// Covers it on machines with AMX, too, where products take another way.
    #[test]
    fn panels_are_multiplied_and_added() {
        if !super::super::available() {
            return;
        }
        let depth = 3;
        let numbers = |from: u32| -> Vec<bf16> {
            (from..)
                .take(depth * 2 * TILE)
                .map(|i| {
                    bf16::from_f32((i.wrapping_mul(2_654_435_761) >> 20) as f32 / 2048.0 - 1.0)
                })
                .collect()
        };
        let (left, right) = (numbers(1), numbers(77));
        // Element (row, k) of the left panel and (k, column) of the right one, as `pack` lays them out.
        let l = |row: usize, k: usize| {
            let tile = k / DEPTH * 2 + row / SIDE;
            left[tile * TILE + row % SIDE * DEPTH + k % DEPTH].to_f64()
        };
        let r = |k: usize, column: usize| {
            let tile = k / DEPTH * 2 + column / SIDE;
            let at = k % DEPTH / 2 * DEPTH + column % SIDE * 2 + k % 2;
            right[tile * TILE + at].to_f64()
        };
        let stride = PANEL + 5;
        for beta in [Beta::Overwrite, Beta::Accumulate] {
            let mut c = vec![7f32; PANEL * stride];
            let block = Block { start: c.as_mut_ptr(), stride, beta };
            // SAFETY: the CPU has what it needs; the buffers are as large as their layouts say.
            unsafe { multiply(depth, left.as_ptr().cast(), right.as_ptr().cast(), block) };
            for row in 0..PANEL {
                for column in 0..PANEL {
                    let sum: f64 = (0..depth * DEPTH).map(|k| l(row, k) * r(k, column)).sum();
                    let wanted = if beta == Beta::Accumulate { sum + 7.0 } else { sum };
                    let found = f64::from(c[row * stride + column]);
                    assert!((found - wanted).abs() < 1e-4, "{row}, {column}: {found} {wanted}");
                }
                assert!(c[row * stride + PANEL..(row + 1) * stride].iter().all(|x| *x == 7.0));
            }
        }
    }
}
