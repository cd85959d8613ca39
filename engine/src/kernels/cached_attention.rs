//! Attention of a few rows over a key/value cache: the hot loop of decoding, and the chunks of a prefill.
#![expect(clippy::too_many_arguments, reason = "one slice per operand of the formula")]

use std::ops::Range;

use rayon::prelude::*;

use super::attention_chunk::{Chunk, Layout, Run, Visible, chunk_positions};
use super::exp::exp_shifted;
use super::matmul::Precision;
use super::scratch::Scratch;
use super::simd::{LANES, maximum, multiply_add, multiversion};
use super::transpose::transpose_tile;

/// Up to this many rows one pass over the cache on the calling thread beats matrix products.
const FEW_ROWS: usize = 16;
/// Rows (positions times grouped heads) computed together, so that their sums stay in registers.
const ROW_BLOCK: usize = 4;
/// Keys of one step through the cache, and elements of a value computed together: what the sums of a row block leave
/// room for in 32 registers of 16 numbers, and in 16 of 8.
const WIDE: (usize, usize) = (2 * LANES, 4 * LANES);
const NARROW: (usize, usize) = (LANES, LANES);

/// Whether the registers are wide.
fn is_wide() -> bool {
    #[cfg(target_arch = "x86_64")]
    return super::simd::level() == super::simd::Level::Avx512;
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Sizes of an attention over a cache. Query head `h` reads key/value head `h / (heads / kv_heads)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CachedShape {
    /// Query heads, H; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key/value heads, Hkv.
    pub kv_heads: usize,
    /// Elements of a head, Dh.
    pub head_size: usize,
    /// Rounding of the products' operands when there are many rows; few rows are always computed in f32.
    pub precision: Precision,
}

/// The keys that a row sees: the first ones, and some more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Keys `0..first`.
    pub first: usize,
    /// Not before `first`; empty where these are all.
    pub more: Range<usize>,
}

impl Seen {
    /// Keys `0..first` and no others.
    pub fn first(first: usize) -> Self {
        Self { first, more: first..first }
    }

    fn end(&self) -> usize {
        if self.more.is_empty() { self.first } else { self.more.end }
    }
}

/// Attention of R rows with scale 1/sqrt(Dh), where row `r` sees the keys `seen[r]`; a row that sees none gives zeros.
///
/// q, out: (R, H, Dh), keys, values: (S, Hkv, Dh), seen: (R) within S. Up to 16 rows run on the calling thread, and any number
/// of which some see more than first keys.
pub fn cached_attention(
    shape: CachedShape,
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    seen: &[Seen],
    out: &mut [f32],
) {
    let CachedShape { heads, kv_heads, head_size, precision } = shape;
    assert!(
        kv_heads > 0 && heads.is_multiple_of(kv_heads),
        "heads must be a multiple of the key/value heads"
    );
    assert_eq!(
        q.len(),
        seen.len() * heads * head_size,
        "q must be (R, H, Dh), with the keys of each row"
    );
    assert_eq!(q.len(), out.len(), "out must have the shape of q");
    assert_eq!(keys.len(), values.len(), "keys and values must have one shape");
    let longest = seen.iter().map(Seen::end).max().unwrap_or(0);
    let key_width = kv_heads * head_size;
    assert!(longest * key_width <= keys.len(), "a row sees beyond the keys");
    assert!(seen.iter().all(|seen| seen.first <= seen.end()), "the keys of a row overlap");
    let layout = Layout { heads, kv_heads, head_size, precision };
    let sees_more = seen.iter().any(|seen| !seen.more.is_empty());
    if seen.len() <= FEW_ROWS || sees_more {
        let few = FewRows { layout, q, seen, keys, values, longest };
        return (0..kv_heads).for_each(|kv_head| few.attend(kv_head, out));
    }
    let (positions, width) = (chunk_positions(layout.group()), layout.query_width());
    out.par_chunks_mut(positions * width)
        .zip(q.par_chunks(positions * width).zip(seen.par_chunks(positions)))
        .for_each(|(out, (q, seen))| {
            let mut lse = Scratch::<f32>::new(seen.len() * heads);
            let run = Run { keys, values, count: seen.iter().map(Seen::end).max().unwrap_or(0) };
            for kv_head in 0..kv_heads {
                let visible = |i: usize| Visible::only_first(seen[i].first);
                Chunk { layout, kv_head, q, runs: [run, Run::EMPTY], visible }
                    .forward(out, &mut lse);
            }
        });
}

#[derive(Clone, Copy)]
struct FewRows<'a> {
    layout: Layout,
    q: &'a [f32],
    seen: &'a [Seen],
    keys: &'a [f32],
    values: &'a [f32],
    longest: usize,
}

impl FewRows<'_> {
    fn attend(&self, kv_head: usize, out: &mut [f32]) {
        let Layout { head_size, heads, .. } = self.layout;
        let group = self.layout.group();
        let rows = self.seen.len() * group;
        let (key_tile, _) = if is_wide() { WIDE } else { NARROW };
        let padded = rows.next_multiple_of(ROW_BLOCK);
        let place = |row: usize| (row / group * heads + kv_head * group + row % group) * head_size;
        let scale = 1.0 / (head_size as f32).sqrt();
        let mut q = Scratch::<f32>::zeroed(padded * head_size);
        for (row, q) in q.chunks_exact_mut(head_size).take(rows).enumerate() {
            q.iter_mut().zip(&self.q[place(row)..]).for_each(|(q, x)| *q = x * scale);
        }
        let stride = self.longest.next_multiple_of(key_tile);
        let mut scores = Scratch::<f32>::new(padded * stride);
        let mut tile = Scratch::<f32>::new(head_size * key_tile);
        let key_width = self.layout.key_width();
        for first in (0..self.longest).step_by(key_tile) {
            let count = key_tile.min(self.longest - first);
            let keys = &self.keys[first * key_width + kv_head * head_size..];
            transpose_tile(keys, (count, head_size), key_width, (&mut tile, key_tile));
            let score = if is_wide() { score_wide } else { score_narrow };
            score(&q, &tile, head_size, &mut scores[first..], stride);
        }
        let mut sums = Scratch::<f32>::zeroed(padded);
        for (row, scores) in scores.chunks_exact_mut(stride.max(1)).enumerate() {
            match self.seen.get(row / group) {
                Some(seen) => sums[row] = soften(scores, seen),
                None => scores.fill(0.0),
            }
        }
        let mut result = Scratch::<f32>::zeroed(padded * head_size);
        let values = Values {
            data: self.values,
            at: kv_head * head_size,
            stride: key_width,
            count: self.longest,
        };
        let sum_values = if is_wide() { sum_wide } else { sum_narrow };
        sum_values(&scores, stride, values, head_size, &mut result);
        for (row, result) in result.chunks_exact(head_size).take(rows).enumerate() {
            let scale = if sums[row] > 0.0 { 1.0 / sums[row] } else { 0.0 };
            out[place(row)..][..head_size]
                .iter_mut()
                .zip(result)
                .for_each(|(out, x)| *out = x * scale);
        }
    }
}

multiversion! {
    fn score_wide(q: &[f32], tile: &[f32], head_size: usize, scores: &mut [f32], stride: usize) {
        score_tile::<FMA, { WIDE.0 }>(q, tile, head_size, (scores, stride));
    }
}

multiversion! {
    fn score_narrow(q: &[f32], tile: &[f32], head_size: usize, scores: &mut [f32], stride: usize) {
        score_tile::<FMA, { NARROW.0 }>(q, tile, head_size, (scores, stride));
    }
}

/// Scores of all rows (a multiple of the row block) for one transposed tile of keys, (Dh, KEYS).
#[inline(always)]
fn score_tile<const FMA: bool, const KEYS: usize>(
    q: &[f32],
    tile: &[f32],
    head_size: usize,
    (scores, stride): (&mut [f32], usize),
) {
    for (block, q) in q.chunks_exact(ROW_BLOCK * head_size).enumerate() {
        let (q0, rest) = q.split_at(head_size);
        let (q1, rest) = rest.split_at(head_size);
        let (q2, q3) = rest.split_at(head_size);
        let (lines, _) = tile.as_chunks::<KEYS>();
        let zeros = [0f32; KEYS];
        let (mut sums0, mut sums1, mut sums2, mut sums3) = (zeros, zeros, zeros, zeros);
        for ((((line, &q0), &q1), &q2), &q3) in lines.iter().zip(q0).zip(q1).zip(q2).zip(q3) {
            for key in 0..KEYS {
                sums0[key] = multiply_add::<FMA>(q0, line[key], sums0[key]);
                sums1[key] = multiply_add::<FMA>(q1, line[key], sums1[key]);
                sums2[key] = multiply_add::<FMA>(q2, line[key], sums2[key]);
                sums3[key] = multiply_add::<FMA>(q3, line[key], sums3[key]);
            }
        }
        for (row, sums) in [sums0, sums1, sums2, sums3].iter().enumerate() {
            scores[(block * ROW_BLOCK + row) * stride..][..KEYS].copy_from_slice(sums);
        }
    }
}

multiversion! {
    /// Turns a row of scores into unnormalised weights, zero where it does not see, and returns their sum.
    fn soften(scores: &mut [f32], seen: &Seen) -> f32 {
        let (scores, behind) = scores.split_at_mut(seen.end());
        behind.fill(0.0);
        let (first, rest) = scores.split_at_mut(seen.first);
        let (between, more) = rest.split_at_mut(rest.len() - seen.more.len());
        between.fill(0.0);
        if first.is_empty() && more.is_empty() {
            return 0.0;
        }
        let largest = maximum(first).max(maximum(more));
        exp_shifted::<FMA>(first, largest) + exp_shifted::<FMA>(more, largest)
    }
}

/// One head's values: value `i` starts at `at + i * stride`.
#[derive(Clone, Copy)]
struct Values<'a> {
    data: &'a [f32],
    at: usize,
    stride: usize,
    count: usize,
}

multiversion! {
    fn sum_wide(weights: &[f32], stride: usize, values: Values<'_>, head_size: usize, result: &mut [f32]) {
        sum_values::<FMA, { WIDE.1 }>((weights, stride), values, head_size, result);
    }
}

multiversion! {
    fn sum_narrow(weights: &[f32], stride: usize, values: Values<'_>, head_size: usize, result: &mut [f32]) {
        sum_values::<FMA, { NARROW.1 }>((weights, stride), values, head_size, result);
    }
}

/// Adds the values times each row's weights to `result`, (rows, Dh), `WIDTH` elements together.
#[inline(always)]
fn sum_values<const FMA: bool, const WIDTH: usize>(
    (weights, stride): (&[f32], usize),
    values: Values<'_>,
    head_size: usize,
    result: &mut [f32],
) {
    // A tile of values stays in the first cache level while every block of rows passes over it.
    const VALUE_TILE: usize = 64;
    for first in (0..values.count).step_by(VALUE_TILE) {
        let count = VALUE_TILE.min(values.count - first);
        for (block, result) in result.chunks_exact_mut(ROW_BLOCK * head_size).enumerate() {
            let row = |i: usize| &weights[(block * ROW_BLOCK + i) * stride + first..][..count];
            let (w0, w1, w2, w3) = (row(0), row(1), row(2), row(3));
            let mut column = 0;
            while column + WIDTH <= head_size {
                let zeros = [0f32; WIDTH];
                let (mut sums0, mut sums1, mut sums2, mut sums3) = (zeros, zeros, zeros, zeros);
                for i in 0..count {
                    let start = values.at + (first + i) * values.stride + column;
                    let Some(value) = values.data[start..].first_chunk::<WIDTH>() else { continue };
                    for j in 0..WIDTH {
                        sums0[j] = multiply_add::<FMA>(w0[i], value[j], sums0[j]);
                        sums1[j] = multiply_add::<FMA>(w1[i], value[j], sums1[j]);
                        sums2[j] = multiply_add::<FMA>(w2[i], value[j], sums2[j]);
                        sums3[j] = multiply_add::<FMA>(w3[i], value[j], sums3[j]);
                    }
                }
                for (row, sums) in [sums0, sums1, sums2, sums3].iter().enumerate() {
                    let to = &mut result[row * head_size + column..][..WIDTH];
                    to.iter_mut().zip(sums).for_each(|(to, x)| *to += x);
                }
                column += WIDTH;
            }
            if column < head_size {
                for (weights, result) in
                    [w0, w1, w2, w3].iter().zip(result.chunks_exact_mut(head_size))
                {
                    for (i, &weight) in weights.iter().enumerate() {
                        let start = values.at + (first + i) * values.stride;
                        let value = &values.data[start + column..start + head_size];
                        for (to, &x) in result[column..].iter_mut().zip(value) {
                            *to = multiply_add::<FMA>(weight, x, *to);
                        }
                    }
                }
            }
        }
    }
}
