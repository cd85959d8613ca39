//! Products of a few rows with a weight matrix, f32: what a denoising step multiplies.
//!
//! A general product first copies the weights into panels, which pays when many rows read them. Here every weight is
//! read once, where it lies, for all rows.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "vectors are loaded through pointers")
)]

use rayon::prelude::*;

use super::matmul::{Beta, MatRef};
use super::scratch::Scratch;
use super::simd::{multiply_add, multiversion, reduce_sum};

/// Rows computed together, so that their sums stay in registers.
const ROW_TILE: usize = 4;
/// Outputs computed together.
const OUT_TILE: usize = 2;
/// Multiply-adds of one piece of work: about 20 µs.
const PIECE_WORK: usize = 1 << 20;

/// Up to this many rows reading the weights in place beats copying them first: 16 with AVX-512, 8 with AVX2. It has not been
/// measured elsewhere.
fn most_rows() -> usize {
    #[cfg(target_arch = "x86_64")]
    if super::simd::level() == super::simd::Level::Avx2 {
        return 8;
    }
    16
}

/// Whether [`few_rows`] takes the product of `a` and `b`: few rows, and both contiguous along the inner dimension.
pub(super) fn suits<A, B>(a: &MatRef<'_, A>, b: &MatRef<'_, B>) -> bool {
    (1..=most_rows()).contains(&a.rows)
        && b.cols > 0
        && a.cols > 0
        && (a.col_stride, b.row_stride) == (1, 1)
}

/// C = A B, or C += A B. a: (m, k), b: (k, n) as the transposed view of (n, k) weights, c: (m, n) row-major.
pub(super) fn few_rows(a: MatRef<'_>, b: MatRef<'_>, c: &mut [f32], beta: Beta) {
    let (rows, inner, outs) = (a.rows, a.cols, b.cols);
    let padded = rows.next_multiple_of(ROW_TILE);
    let mut x = Scratch::<f32>::zeroed(padded * inner);
    for (row, x) in x.chunks_exact_mut(inner).take(rows).enumerate() {
        x.copy_from_slice(&a.data[row * a.row_stride..][..inner]);
    }
    let mut products = Scratch::<f32>::new(outs * padded); // (n, m), padded
    let pieces = (padded * inner * outs / PIECE_WORK).max(1);
    let count = outs.div_ceil(pieces);
    let work = |piece: usize, products: &mut [f32]| {
        let weights = &b.data[piece * count * b.col_stride..];
        let operands = Operands { x: &x, rows: padded, weights, stride: b.col_stride, inner };
        multiply(operands, products);
    };
    if pieces == 1 {
        work(0, &mut products);
    } else {
        products
            .par_chunks_mut(count * padded)
            .enumerate()
            .for_each(|(piece, products)| work(piece, products));
    }
    for (row, c) in c.chunks_exact_mut(outs).enumerate() {
        for (c, products) in c.iter_mut().zip(products.chunks_exact(padded)) {
            match beta {
                Beta::Overwrite => *c = products[row],
                Beta::Accumulate => *c += products[row],
            }
        }
    }
}

/// What a piece of work reads.
#[derive(Clone, Copy)]
struct Operands<'a> {
    x: &'a [f32],       // (rows, inner)
    rows: usize,        // a multiple of the tile
    weights: &'a [f32], // (outputs, inner)
    stride: usize,      // from output to output
    inner: usize,
}

/// The products of all outputs that `products` has room for: (outputs, rows).
fn multiply(operands: Operands<'_>, products: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    match super::simd::level() {
        super::simd::Level::Avx512 => return multiply_wide(operands, products),
        super::simd::Level::Avx2 => return multiply_avx2(operands, products),
        super::simd::Level::Baseline => (),
    }
    multiply_narrow(operands, products);
}

#[cfg(target_arch = "x86_64")]
fn multiply_avx2(operands: Operands<'_>, products: &mut [f32]) {
    #[target_feature(enable = "avx2,fma")]
    fn in_vectors(operands: Operands<'_>, products: &mut [f32]) {
        tiles(operands, products, |x, w| dots_avx2(x, w));
    }
    assert!(super::simd::level() != super::simd::Level::Baseline, "AVX2 and FMA must be there");
    // SAFETY: the features were detected on the running CPU.
    unsafe {
        in_vectors(operands, products);
    }
}

#[cfg(target_arch = "x86_64")]
multiversion! {
    fn multiply_wide(operands: Operands<'_>, products: &mut [f32]) {
        tiles(operands, products, dots::<FMA, 16>);
    }
}

multiversion! {
    fn multiply_narrow(operands: Operands<'_>, products: &mut [f32]) {
        tiles(operands, products, dots::<FMA, 8>);
    }
}

/// The product from the dot products of a tile, which `dots` makes.
#[inline(always)]
fn tiles(
    operands: Operands<'_>,
    products: &mut [f32],
    dots: impl Fn([&[f32]; ROW_TILE], [&[f32]; OUT_TILE]) -> [[f32; ROW_TILE]; OUT_TILE],
) {
    let Operands { x, rows, weights, stride, inner } = operands;
    for (tile, products) in products.chunks_mut(OUT_TILE * rows).enumerate() {
        // The last tile may lack an output: its weights are read again instead.
        let last = products.len() / rows - 1;
        let w: [&[f32]; OUT_TILE] = std::array::from_fn(|out| {
            &weights[(tile * OUT_TILE + out.min(last)) * stride..][..inner]
        });
        for first in (0..rows).step_by(ROW_TILE) {
            let x: [&[f32]; ROW_TILE] =
                std::array::from_fn(|row| &x[(first + row) * inner..][..inner]);
            let sums = dots(x, w);
            for (products, sums) in products.chunks_exact_mut(rows).zip(sums) {
                products[first..first + ROW_TILE].copy_from_slice(&sums);
            }
        }
    }
}

/// [`dots`] spelled in vectors: of sums of eight numbers the compiler makes half vectors that it keeps in memory.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,fma")]
fn dots_avx2(x: [&[f32]; ROW_TILE], w: [&[f32]; OUT_TILE]) -> [[f32; ROW_TILE]; OUT_TILE] {
    use std::arch::x86_64::*;
    const LANES: usize = 8;
    let inner = w[0].len();
    assert!(x.iter().chain(&w).all(|numbers| numbers.len() == inner));
    let whole = inner / LANES * LANES;
    let mut sums = [[_mm256_setzero_ps(); ROW_TILE]; OUT_TILE];
    for at in (0..whole).step_by(LANES) {
        // SAFETY: `at + LANES` is at most the length of every slice.
        let load = |numbers: &[f32]| unsafe { _mm256_loadu_ps(numbers.as_ptr().add(at)) };
        let w = w.map(load);
        for (row, x) in x.into_iter().enumerate() {
            let x = load(x);
            sums[0][row] = _mm256_fmadd_ps(x, w[0], sums[0][row]);
            sums[1][row] = _mm256_fmadd_ps(x, w[1], sums[1][row]);
        }
    }
    std::array::from_fn(|out| {
        // Four sums of eight lanes become one vector of four sums.
        let [a, b, c, d] = sums[out];
        let pairs = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
        let all = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
        let mut result = [0f32; ROW_TILE];
        // SAFETY: `result` holds four numbers.
        unsafe { _mm_storeu_ps(result.as_mut_ptr(), all) };
        for (row, result) in result.iter_mut().enumerate() {
            let rest = x[row][whole..].iter().zip(&w[out][whole..]);
            *result += rest.map(|(x, w)| x * w).sum::<f32>();
        }
        result
    })
}

/// All dot products of the rows with the outputs' weights, summed in vectors of `LANES` numbers; all slices have one length.
#[inline(always)]
fn dots<const FMA: bool, const LANES: usize>(
    [x0, x1, x2, x3]: [&[f32]; ROW_TILE],
    [v, w]: [&[f32]; OUT_TILE],
) -> [[f32; ROW_TILE]; OUT_TILE] {
    let (v_parts, v_rest) = v.as_chunks::<LANES>();
    let (w_parts, w_rest) = w.as_chunks::<LANES>();
    let (parts0, rest0) = x0.as_chunks::<LANES>();
    let (parts1, rest1) = x1.as_chunks::<LANES>();
    let (parts2, rest2) = x2.as_chunks::<LANES>();
    let (parts3, rest3) = x3.as_chunks::<LANES>();
    // Spelled out: arrays of sums in a loop stay in memory.
    let (mut v0, mut v1, mut v2, mut v3) =
        ([0f32; LANES], [0f32; LANES], [0f32; LANES], [0f32; LANES]);
    let (mut w0, mut w1, mut w2, mut w3) =
        ([0f32; LANES], [0f32; LANES], [0f32; LANES], [0f32; LANES]);
    for (((((v, w), x0), x1), x2), x3) in
        v_parts.iter().zip(w_parts).zip(parts0).zip(parts1).zip(parts2).zip(parts3)
    {
        for i in 0..LANES {
            v0[i] = multiply_add::<FMA>(x0[i], v[i], v0[i]);
            w0[i] = multiply_add::<FMA>(x0[i], w[i], w0[i]);
            v1[i] = multiply_add::<FMA>(x1[i], v[i], v1[i]);
            w1[i] = multiply_add::<FMA>(x1[i], w[i], w1[i]);
            v2[i] = multiply_add::<FMA>(x2[i], v[i], v2[i]);
            w2[i] = multiply_add::<FMA>(x2[i], w[i], w2[i]);
            v3[i] = multiply_add::<FMA>(x3[i], v[i], v3[i]);
            w3[i] = multiply_add::<FMA>(x3[i], w[i], w3[i]);
        }
    }
    let rest = |x: &[f32], w: &[f32]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f32>();
    let sums = |[s0, s1, s2, s3]: [[f32; LANES]; ROW_TILE], w: &[f32]| {
        [
            reduce_sum(s0) + rest(rest0, w),
            reduce_sum(s1) + rest(rest1, w),
            reduce_sum(s2) + rest(rest2, w),
            reduce_sum(s3) + rest(rest3, w),
        ]
    };
    [sums([v0, v1, v2, v3], v_rest), sums([w0, w1, w2, w3], w_rest)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both widths, whatever this machine would choose; the last output stands alone in its tile.
    #[test]
    fn wide_and_narrow_sums_are_those_of_plain_loops() {
        let (rows, inner, outs, stride) = (8, 45, 7, 50);
        let number = |i: usize| (i * 37 % 101) as f32 / 50.0 - 1.0;
        let x: Vec<f32> = (0..rows * inner).map(number).collect();
        let weights: Vec<f32> = (0..outs * stride).map(|i| number(i + 13)).collect();
        let operands = Operands { x: &x, rows, weights: &weights, stride, inner };
        let mut widths: Vec<fn(Operands<'_>, &mut [f32])> = vec![multiply_narrow];
        #[cfg(target_arch = "x86_64")]
        {
            widths.push(multiply_wide);
            if super::super::simd::level() != super::super::simd::Level::Baseline {
                widths.push(multiply_avx2);
            }
        }
        for width in widths {
            let mut products = vec![f32::NAN; outs * rows];
            width(operands, &mut products);
            for (at, found) in products.iter().enumerate() {
                let (out, row) = (at / rows, at % rows);
                let terms = (0..inner)
                    .map(|k| f64::from(x[row * inner + k]) * f64::from(weights[out * stride + k]));
                let expected: f64 = terms.sum();
                assert!((f64::from(*found) - expected).abs() < 1e-4, "{out} {row}");
            }
        }
    }
}
