//! Products of a few rows with a weight matrix, f32: what a denoising step multiplies.
//!
//! A general product first copies the weights into panels, which pays when many rows read them. Here every weight is
//! read once, where it lies, for all rows; [quantized](super::quantized) ones become numbers on the way.
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
/// Numbers of a block of quantized weights.
pub(super) const BLOCK: usize = 32;
/// Multiply-adds of one piece of work: about 20 µs.
const PIECE_WORK: usize = 1 << 20;

/// Up to this many rows reading the weights in place beats copying them first. It has been measured with AVX2 and AVX-512.
const MOST_ROWS: usize = 16;

/// Whether weights in blocks are faster than f32 ones: elsewhere they would become numbers one by one.
pub(super) fn has_fast_blocks() -> bool {
    #[cfg(target_arch = "x86_64")]
    return super::simd::level() != super::simd::Level::Baseline;
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Whether [`few_rows`] takes the product of `a` and `b`: few rows, and both contiguous along the inner dimension.
pub(super) fn suits<A, B>(a: &MatRef<'_, A>, b: &MatRef<'_, B>) -> bool {
    (1..=MOST_ROWS).contains(&a.rows)
        && b.cols > 0
        && a.cols > 0
        && (a.col_stride, b.row_stride) == (1, 1)
}

/// Weights of `n` outputs, each with `k` numbers.
#[derive(Clone, Copy)]
pub(super) enum Weights<'a> {
    /// Output `i` starts at `i * stride`.
    Plain { numbers: &'a [f32], stride: usize },
    /// Blocks of [`BLOCK`] numbers, each `quants * scale`: quants (n, k), scales (n, k / BLOCK).
    Blocks { quants: &'a [i8], scales: &'a [f32] },
}

impl<'a> Weights<'a> {
    /// Those of a transposed view of (n, k) weights.
    pub(super) fn of(b: MatRef<'a>) -> Self {
        Self::Plain { numbers: b.data, stride: b.col_stride }
    }

    /// Those from output `first` on.
    fn from(self, first: usize, inner: usize) -> Self {
        match self {
            Self::Plain { numbers, stride } => {
                Self::Plain { numbers: &numbers[first * stride..], stride }
            }
            Self::Blocks { quants, scales } => Self::Blocks {
                quants: &quants[first * inner..],
                scales: &scales[first * inner / BLOCK..],
            },
        }
    }
}

/// C = A B, or C += A B. a: (m, k), B: (k, n), given by the weights of its `outs` columns, c: (m, n) row-major.
pub(super) fn few_rows(
    a: MatRef<'_>,
    (weights, outs): (Weights<'_>, usize),
    c: &mut [f32],
    beta: Beta,
) {
    let (rows, inner) = (a.rows, a.cols);
    let padded = rows.next_multiple_of(ROW_TILE);
    let mut x = Scratch::<f32>::zeroed(padded * inner);
    for (row, x) in x.chunks_exact_mut(inner).take(rows).enumerate() {
        x.copy_from_slice(&a.data[row * a.row_stride..][..inner]);
    }
    let mut products = Scratch::<f32>::new(outs * padded); // (n, m), padded
    let pieces = (padded * inner * outs / PIECE_WORK).max(1);
    let count = outs.div_ceil(pieces);
    let work = |piece: usize, products: &mut [f32]| {
        let weights = weights.from(piece * count, inner);
        let operands = Operands { x: &x, rows: padded, weights, inner };
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
    x: &'a [f32], // (rows, inner)
    rows: usize,  // a multiple of the tile
    weights: Weights<'a>,
    inner: usize,
}

/// The numbers of one output's blocks.
#[inline(always)]
fn dequantize(quants: &[i8], scales: &[f32], numbers: &mut [f32]) {
    let (quants, _) = quants.as_chunks::<BLOCK>();
    let (numbers, _) = numbers.as_chunks_mut::<BLOCK>();
    for ((quants, &scale), numbers) in quants.iter().zip(scales).zip(numbers) {
        for i in 0..BLOCK {
            numbers[i] = f32::from(quants[i]) * scale;
        }
    }
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
        tiles(
            operands,
            products,
            |x, w| dots_avx2(x, w),
            |quants, scales, numbers| dequantize_avx2(quants, scales, numbers),
        );
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
        let numbers = |quants: &[i8], scales: &[f32], numbers: &mut [f32]| {
            if FMA {
                // SAFETY: on this architecture the versions with multiply-adds are those for AVX2 and more.
                unsafe { dequantize_avx2(quants, scales, numbers) }
            } else {
                dequantize(quants, scales, numbers);
            }
        };
        tiles(operands, products, dots::<FMA, 16>, numbers);
    }
}

multiversion! {
    fn multiply_narrow(operands: Operands<'_>, products: &mut [f32]) {
        tiles(operands, products, dots::<FMA, 8>, dequantize);
    }
}

/// The product from the dot products of a tile, which `dots` makes, of weights that `dequantize` makes where it has to.
#[inline(always)]
fn tiles(
    operands: Operands<'_>,
    products: &mut [f32],
    dots: impl Fn([&[f32]; ROW_TILE], [&[f32]; OUT_TILE]) -> [[f32; ROW_TILE]; OUT_TILE],
    dequantize: impl Fn(&[i8], &[f32], &mut [f32]),
) {
    let Operands { x, rows, weights, inner } = operands;
    let mut numbers = Scratch::<f32>::new(match weights {
        Weights::Plain { .. } => 0,
        Weights::Blocks { .. } => OUT_TILE * inner,
    });
    for (tile, products) in products.chunks_mut(OUT_TILE * rows).enumerate() {
        // The last tile may lack an output: its weights are read again instead.
        let last = products.len() / rows - 1;
        let output = |out: usize| tile * OUT_TILE + out.min(last);
        let w: [&[f32]; OUT_TILE] = match weights {
            Weights::Plain { numbers, stride } => {
                std::array::from_fn(|out| &numbers[output(out) * stride..][..inner])
            }
            Weights::Blocks { quants, scales } => {
                for (out, numbers) in numbers.chunks_exact_mut(inner).enumerate() {
                    let quants = &quants[output(out) * inner..][..inner];
                    let scales = &scales[output(out) * inner / BLOCK..][..inner / BLOCK];
                    dequantize(quants, scales, numbers);
                }
                std::array::from_fn(|out| &numbers[out * inner..][..inner])
            }
        };
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
    let ([x0, x1, x2, x3], [v, u]) = (x, w);
    // Spelled out: an array of sums is written to memory in every step.
    let zero = _mm256_setzero_ps();
    let (mut v0, mut v1, mut v2, mut v3) = (zero, zero, zero, zero);
    let (mut u0, mut u1, mut u2, mut u3) = (zero, zero, zero, zero);
    for at in (0..whole).step_by(LANES) {
        // SAFETY: `at + LANES` is at most the length of every slice.
        let load = |numbers: &[f32]| unsafe { _mm256_loadu_ps(numbers.as_ptr().add(at)) };
        let (v, u) = (load(v), load(u));
        let (y0, y1) = (load(x0), load(x1));
        v0 = _mm256_fmadd_ps(y0, v, v0);
        u0 = _mm256_fmadd_ps(y0, u, u0);
        v1 = _mm256_fmadd_ps(y1, v, v1);
        u1 = _mm256_fmadd_ps(y1, u, u1);
        let (y2, y3) = (load(x2), load(x3));
        v2 = _mm256_fmadd_ps(y2, v, v2);
        u2 = _mm256_fmadd_ps(y2, u, u2);
        v3 = _mm256_fmadd_ps(y3, v, v3);
        u3 = _mm256_fmadd_ps(y3, u, u3);
    }
    // Four sums of eight lanes become one vector of four sums.
    let reduce = |[a, b, c, d]: [__m256; ROW_TILE], w: &[f32]| {
        let pairs = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
        let all = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
        let mut result = [0f32; ROW_TILE];
        // SAFETY: `result` holds four numbers.
        unsafe { _mm_storeu_ps(result.as_mut_ptr(), all) };
        for (x, result) in x.iter().zip(&mut result).filter(|_| whole < inner) {
            *result += x[whole..].iter().zip(&w[whole..]).map(|(x, w)| x * w).sum::<f32>();
        }
        result
    };
    [reduce([v0, v1, v2, v3], v), reduce([u0, u1, u2, u3], u)]
}

/// [`dequantize`] spelled in vectors: the compiler goes number by number.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,fma")]
fn dequantize_avx2(quants: &[i8], scales: &[f32], numbers: &mut [f32]) {
    use std::arch::x86_64::*;
    const LANES: usize = 8;
    let (quants, _) = quants.as_chunks::<BLOCK>();
    let (numbers, _) = numbers.as_chunks_mut::<BLOCK>();
    for ((quants, &scale), numbers) in quants.iter().zip(scales).zip(numbers) {
        let scale = _mm256_set1_ps(scale);
        let (quants, _) = quants.as_chunks::<LANES>();
        let (numbers, _) = numbers.as_chunks_mut::<LANES>();
        for (quants, numbers) in quants.iter().zip(numbers) {
            // SAFETY: eight integers of 8 bits are read, eight numbers are written.
            unsafe {
                let eight = _mm256_cvtepi8_epi32(_mm_loadl_epi64(quants.as_ptr().cast()));
                let values = _mm256_mul_ps(_mm256_cvtepi32_ps(eight), scale);
                _mm256_storeu_ps(numbers.as_mut_ptr(), values);
            }
        }
    }
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

    /// Every width, whatever this machine would choose, and weights in both forms; the last output stands alone in its tile.
    #[test]
    fn sums_of_every_width_are_those_of_plain_loops() {
        let mut widths: Vec<fn(Operands<'_>, &mut [f32])> = vec![multiply_narrow];
        #[cfg(target_arch = "x86_64")]
        {
            widths.push(multiply_wide);
            if super::super::simd::level() != super::super::simd::Level::Baseline {
                widths.push(multiply_avx2);
            }
        }
        let (rows, outs) = (8, 7);
        let number = |i: usize| (i * 37 % 101) as f32 / 50.0 - 1.0;
        let plain: Vec<f32> = (0..outs * 50).map(|i| number(i + 13)).collect();
        let quants: Vec<i8> = (0..outs * 2 * BLOCK).map(|i| (i * 89 % 255) as u8 as i8).collect();
        let scales: Vec<f32> = (0..outs * 2).map(|i| (i as f32 - 4.0) / 300.0).collect();
        let from_blocks = (0..quants.len()).map(|i| f32::from(quants[i]) * scales[i / BLOCK]);
        let forms = [
            (Weights::Plain { numbers: &plain, stride: 50 }, (45, 50), plain.clone()),
            (
                Weights::Blocks { quants: &quants, scales: &scales },
                (2 * BLOCK, 2 * BLOCK),
                from_blocks.collect(),
            ),
        ];
        for (weights, (inner, stride), expected) in forms {
            let weight = |out: usize, k: usize| expected[out * stride + k];
            let x: Vec<f32> = (0..rows * inner).map(number).collect();
            for width in &widths {
                let mut products = vec![f32::NAN; outs * rows];
                width(Operands { x: &x, rows, weights, inner }, &mut products);
                for (at, found) in products.iter().enumerate() {
                    let (out, row) = (at / rows, at % rows);
                    let terms = (0..inner)
                        .map(|k| f64::from(x[row * inner + k]) * f64::from(weight(out, k)));
                    let expected: f64 = terms.sum();
                    assert!((f64::from(*found) - expected).abs() < 1e-4, "{out} {row}");
                }
            }
        }
    }
}
