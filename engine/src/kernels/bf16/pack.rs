//! Packs matrices of f32 or bf16 into bf16 tiles of 16 lines of 64 bytes.
#![expect(unsafe_code, reason = "vector loads and stores take pointers")]

use std::arch::x86_64::*;

use super::super::element::Element;
use super::super::matmul::MatRef;
use super::super::transpose::x86::transpose_vectors;

/// Rows of a left tile, columns of a right tile, and both of a result tile.
pub(super) const SIDE: usize = 16;
/// Numbers of the inner dimension in one tile.
pub(super) const DEPTH: usize = 32;
/// bf16 numbers of a tile.
pub(super) const TILE: usize = SIDE * DEPTH;
/// Rows and columns that one inner loop computes: two tiles each way.
pub(super) const PANEL: usize = 2 * SIDE;

/// The two orders in which a tile's numbers can be found in a matrix.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// A line is 32 consecutive inner numbers of one row of the result (left tiles).
    Inner,
    /// A line is 16 outer numbers of two consecutive inner positions, interleaved (right tiles).
    Interleaved,
}

/// Packs a matrix into pairs of tiles: for each panel of 32 outer numbers, for each 32 inner ones, two tiles. Padding is
/// zero. The walk follows the memory of the matrix, not that of the result.
pub(super) fn pack<T: Element>(from: Source<'_, T>, lines: Lines, to: &mut [u16]) {
    assert_eq!(to.len(), packed_len(from.outer, from.inner));
    let (panels, steps) = (from.outer.div_ceil(PANEL), from.inner.div_ceil(DEPTH));
    let mut pack_pair = |panel: usize, step: usize| {
        let pair = &mut to[(panel * steps + step) * 2 * TILE..][..2 * TILE];
        for (side, tile) in pair.chunks_exact_mut(TILE).enumerate() {
            let at = (panel * PANEL + side * SIDE, step * DEPTH);
            // SAFETY: only reached if `available`; `tile` holds a tile.
            unsafe { pack_tile(from, at, lines, tile.as_mut_ptr()) };
        }
    };
    if from.inner_stride == 1 {
        (0..panels).for_each(|panel| (0..steps).for_each(|step| pack_pair(panel, step)));
    } else {
        (0..steps).for_each(|step| (0..panels).for_each(|panel| pack_pair(panel, step)));
    }
}

pub(super) fn packed_len(outer: usize, inner: usize) -> usize {
    outer.div_ceil(PANEL) * inner.div_ceil(DEPTH) * 2 * TILE
}

/// A matrix by outer and inner dimension: the inner one is summed over.
#[derive(Clone, Copy)]
pub(super) struct Source<'a, T = f32> {
    data: &'a [T],
    outer: usize,
    inner: usize,
    outer_stride: usize,
    inner_stride: usize,
}

impl<'a, T: Element> Source<'a, T> {
    /// The left-hand side: its rows are outer.
    pub(super) fn left(a: MatRef<'a, T>) -> Self {
        let MatRef { data, rows, cols, row_stride, col_stride } = a;
        Self { data, outer: rows, inner: cols, outer_stride: row_stride, inner_stride: col_stride }
    }

    /// The right-hand side: its columns are outer.
    pub(super) fn right(b: MatRef<'a, T>) -> Self {
        Self::left(b.t())
    }
}

/// Packs one tile from element (outer, inner) on.
///
/// # Safety
/// The CPU must have AVX-512 with bf16; `to` must be writable for a tile.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn pack_tile<T: Element>(
    from: Source<'_, T>,
    (outer, inner): (usize, usize),
    lines: Lines,
    to: *mut u16,
) {
    let outers = SIDE.min(from.outer.saturating_sub(outer));
    let inners = DEPTH.min(from.inner.saturating_sub(inner));
    // Numbers of a tile in one of its two orders: 16 vectors of 32 bf16.
    let (vectors, order) = if outers == 0 || inners == 0 {
        ([_mm512_setzero_si512(); SIDE], lines)
    } else if from.inner_stride == 1 {
        (inner_lines(from, (outer, outers), (inner, inners)), Lines::Inner)
    } else if from.outer_stride == 1 {
        (interleaved_lines(from, (outer, outers), (inner, inners)), Lines::Interleaved)
    } else {
        // No stride is 1: copy the numbers next to each other first. Rare, so not fast.
        let mut copy = [0f32; TILE];
        for o in 0..outers {
            for i in 0..inners {
                copy[o * DEPTH + i] = from.data
                    [(outer + o) * from.outer_stride + (inner + i) * from.inner_stride]
                    .into();
            }
        }
        let copied =
            Source { data: &copy, outer: SIDE, inner: DEPTH, outer_stride: DEPTH, inner_stride: 1 };
        (inner_lines(copied, (0, SIDE), (0, DEPTH)), Lines::Inner)
    };
    // The two orders are each other's transpose, in units of two bf16.
    let vectors = if order == lines { vectors } else { transpose_vectors(vectors) };
    for (i, vector) in vectors.into_iter().enumerate() {
        // SAFETY: 16 lines of 32 numbers fill the tile at `to`.
        unsafe { _mm512_storeu_epi16(to.add(i * DEPTH).cast(), vector) };
    }
}

/// 16 lines of 32 consecutive inner numbers, zero outside the given (start, count) ranges.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn inner_lines<T: Element>(
    from: Source<'_, T>,
    (outer, outers): (usize, usize),
    (inner, inners): (usize, usize),
) -> [__m512i; SIDE] {
    let mut lines = [_mm512_setzero_si512(); SIDE];
    for (o, line) in lines.iter_mut().enumerate().take(outers) {
        let numbers = &from.data[(outer + o) * from.outer_stride + inner..][..inners];
        *line = rounded(numbers, numbers.get(SIDE..).unwrap_or(&[]));
    }
    lines
}

/// 16 lines of 16 outer numbers of two inner positions, interleaved, zero outside the given (start, count) ranges.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn interleaved_lines<T: Element>(
    from: Source<'_, T>,
    (outer, outers): (usize, usize),
    (inner, inners): (usize, usize),
) -> [__m512i; SIDE] {
    let zip = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4,
        19, 3, 18, 2, 17, 1, 16, 0,
    );
    let mut lines = [_mm512_setzero_si512(); SIDE];
    for (pair, line) in lines.iter_mut().enumerate().take(inners.div_ceil(2)) {
        let at = |i: usize| &from.data[(inner + i) * from.inner_stride + outer..][..outers];
        let even = at(2 * pair);
        let odd = if 2 * pair + 1 < inners { at(2 * pair + 1) } else { &[] };
        for i in [2 * pair, 2 * pair + 1] {
            // The walk goes on along these rows; they are too many for the CPU to foresee it.
            let ahead = (inner + i) * from.inner_stride + outer + 2 * PANEL;
            _mm_prefetch::<_MM_HINT_T0>(from.data.as_ptr().wrapping_add(ahead).cast());
        }
        *line = _mm512_permutexvar_epi16(zip, rounded(even, odd));
    }
    lines
}

/// Up to 16 numbers and up to 16 more as bf16, zero where there are none.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn rounded<T: Element>(low: &[T], high: &[T]) -> __m512i {
    let mask = |count: usize| if count >= SIDE { u16::MAX } else { (1 << count) - 1 };
    let (low_mask, high_mask) = (mask(low.len()), mask(high.len()));
    // SAFETY: only the numbers under the masks are read, and the slices have that many; they are bf16 or else f32 as
    // `T` says, and the vector types are plain numbers of the same size.
    unsafe {
        if T::IS_BF16 {
            let low = _mm256_maskz_loadu_epi16(low_mask, low.as_ptr().cast());
            let high = _mm256_maskz_loadu_epi16(high_mask, high.as_ptr().cast());
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
        } else {
            let low = _mm512_maskz_loadu_ps(low_mask, low.as_ptr().cast());
            let high = _mm512_maskz_loadu_ps(high_mask, high.as_ptr().cast());
            // To the nearest, ties to even.
            std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
        }
    }
}
