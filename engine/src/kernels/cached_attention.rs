//! Attention of a few rows over a key/value cache: the hot loop of decoding, and the chunks of a prefill.
#![expect(clippy::too_many_arguments, reason = "one slice per operand of the formula")]

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
/// Keys of one step through the cache.
const KEY_TILE: usize = 2 * LANES;
/// Elements of a value computed together.
const VALUE_BLOCK: usize = 4 * LANES;

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

/// Attention of R rows with scale 1/sqrt(Dh), where row `r` sees keys `0..limits[r]`; a row that sees none gives zeros.
///
/// q, out: (R, H, Dh), keys, values: (S, Hkv, Dh), limits: (R) at most S. Up to 16 rows run on the calling thread.
pub fn cached_attention(
    shape: CachedShape,
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    limits: &[usize],
    out: &mut [f32],
) {
    let CachedShape { heads, kv_heads, head_size, precision } = shape;
    assert!(
        kv_heads > 0 && heads.is_multiple_of(kv_heads),
        "heads must be a multiple of the key/value heads"
    );
    assert_eq!(
        q.len(),
        limits.len() * heads * head_size,
        "q must be (R, H, Dh), with one limit per row"
    );
    assert_eq!(q.len(), out.len(), "out must have the shape of q");
    assert_eq!(keys.len(), values.len(), "keys and values must have one shape");
    let longest = limits.iter().copied().max().unwrap_or(0);
    let key_width = kv_heads * head_size;
    assert!(longest * key_width <= keys.len(), "a limit lies beyond the keys");
    let layout = Layout { heads, kv_heads, head_size, precision };
    if limits.len() <= FEW_ROWS {
        let few = FewRows { layout, q, limits, keys, values, longest };
        return (0..kv_heads).for_each(|kv_head| few.attend(kv_head, out));
    }
    let (positions, width) = (chunk_positions(layout.group()), layout.query_width());
    out.par_chunks_mut(positions * width)
        .zip(q.par_chunks(positions * width).zip(limits.par_chunks(positions)))
        .for_each(|(out, (q, limits))| {
            let mut lse = Scratch::<f32>::new(limits.len() * heads);
            let run = Run { keys, values, count: limits.iter().copied().max().unwrap_or(0) };
            for kv_head in 0..kv_heads {
                let visible = |i: usize| Visible::only_first(limits[i]);
                Chunk { layout, kv_head, q, runs: [run, Run::EMPTY], visible }
                    .forward(out, &mut lse);
            }
        });
}

#[derive(Clone, Copy)]
struct FewRows<'a> {
    layout: Layout,
    q: &'a [f32],
    limits: &'a [usize],
    keys: &'a [f32],
    values: &'a [f32],
    longest: usize,
}

impl FewRows<'_> {
    fn attend(&self, kv_head: usize, out: &mut [f32]) {
        let Layout { head_size, heads, .. } = self.layout;
        let group = self.layout.group();
        let rows = self.limits.len() * group;
        let padded = rows.next_multiple_of(ROW_BLOCK);
        let place = |row: usize| (row / group * heads + kv_head * group + row % group) * head_size;
        let scale = 1.0 / (head_size as f32).sqrt();
        let mut q = Scratch::<f32>::zeroed(padded * head_size);
        for (row, q) in q.chunks_exact_mut(head_size).take(rows).enumerate() {
            q.iter_mut().zip(&self.q[place(row)..]).for_each(|(q, x)| *q = x * scale);
        }
        let stride = self.longest.next_multiple_of(KEY_TILE);
        let mut scores = Scratch::<f32>::new(padded * stride);
        let mut tile = Scratch::<f32>::new(head_size * KEY_TILE);
        let key_width = self.layout.key_width();
        for first in (0..self.longest).step_by(KEY_TILE) {
            let count = KEY_TILE.min(self.longest - first);
            let keys = &self.keys[first * key_width + kv_head * head_size..];
            transpose_tile(keys, (count, head_size), key_width, (&mut tile, KEY_TILE));
            score_tile(&q, &tile, head_size, &mut scores[first..], stride);
        }
        let mut sums = Scratch::<f32>::zeroed(padded);
        for (row, scores) in scores.chunks_exact_mut(stride.max(1)).enumerate() {
            let limit = if row < rows { self.limits[row / group] } else { 0 };
            sums[row] = soften(scores, limit);
        }
        let mut result = Scratch::<f32>::zeroed(padded * head_size);
        let values = Values {
            data: self.values,
            at: kv_head * head_size,
            stride: key_width,
            count: self.longest,
        };
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
    /// Scores of all rows (a multiple of the row block) for one transposed tile of keys, (Dh, KEY_TILE).
    fn score_tile(q: &[f32], tile: &[f32], head_size: usize, scores: &mut [f32], stride: usize) {
        for (block, q) in q.chunks_exact(ROW_BLOCK * head_size).enumerate() {
            let (q0, rest) = q.split_at(head_size);
            let (q1, rest) = rest.split_at(head_size);
            let (q2, q3) = rest.split_at(head_size);
            let mut sums = [[0f32; KEY_TILE]; ROW_BLOCK];
            let (lines, _) = tile.as_chunks::<KEY_TILE>();
            for ((((line, &q0), &q1), &q2), &q3) in lines.iter().zip(q0).zip(q1).zip(q2).zip(q3) {
                for key in 0..KEY_TILE {
                    sums[0][key] = multiply_add::<FMA>(q0, line[key], sums[0][key]);
                    sums[1][key] = multiply_add::<FMA>(q1, line[key], sums[1][key]);
                    sums[2][key] = multiply_add::<FMA>(q2, line[key], sums[2][key]);
                    sums[3][key] = multiply_add::<FMA>(q3, line[key], sums[3][key]);
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                scores[(block * ROW_BLOCK + row) * stride..][..KEY_TILE].copy_from_slice(sums);
            }
        }
    }
}

multiversion! {
    /// Turns a row of scores into unnormalised weights, zero from `limit` on, and returns their sum.
    fn soften(scores: &mut [f32], limit: usize) -> f32 {
        let (seen, hidden) = scores.split_at_mut(limit);
        hidden.fill(0.0);
        let largest = maximum(seen);
        if seen.is_empty() { 0.0 } else { exp_shifted::<FMA>(seen, largest) }
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
    /// Adds the values times each row's weights to `result`, (rows, Dh).
    fn sum_values(weights: &[f32], stride: usize, values: Values<'_>, head_size: usize, result: &mut [f32]) {
        // A tile of values stays in the first cache level while every block of rows passes over it.
        const VALUE_TILE: usize = 64;
        for first in (0..values.count).step_by(VALUE_TILE) {
            let count = VALUE_TILE.min(values.count - first);
            for (block, result) in result.chunks_exact_mut(ROW_BLOCK * head_size).enumerate() {
                let row = |i: usize| &weights[(block * ROW_BLOCK + i) * stride + first..][..count];
                let (w0, w1, w2, w3) = (row(0), row(1), row(2), row(3));
                let mut column = 0;
                while column + VALUE_BLOCK <= head_size {
                    let mut sums = [[0f32; VALUE_BLOCK]; ROW_BLOCK];
                    for i in 0..count {
                        let start = values.at + (first + i) * values.stride + column;
                        let Some(value) = values.data[start..].first_chunk::<VALUE_BLOCK>() else { continue };
                        for j in 0..VALUE_BLOCK {
                            sums[0][j] = multiply_add::<FMA>(w0[i], value[j], sums[0][j]);
                            sums[1][j] = multiply_add::<FMA>(w1[i], value[j], sums[1][j]);
                            sums[2][j] = multiply_add::<FMA>(w2[i], value[j], sums[2][j]);
                            sums[3][j] = multiply_add::<FMA>(w3[i], value[j], sums[3][j]);
                        }
                    }
                    for (row, sums) in sums.iter().enumerate() {
                        let to = &mut result[row * head_size + column..][..VALUE_BLOCK];
                        to.iter_mut().zip(sums).for_each(|(to, x)| *to += x);
                    }
                    column += VALUE_BLOCK;
                }
                if column < head_size {
                    for (weights, result) in [w0, w1, w2, w3].iter().zip(result.chunks_exact_mut(head_size)) {
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
}
