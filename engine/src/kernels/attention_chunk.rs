//! Attention of one chunk of queries over up to two runs of keys: the arithmetic under every attention kernel.
//!
//! A chunk holds some consecutive query positions of all query heads that share one key/value head, copied together
//! and scaled, so that one matrix product serves the whole group.

use super::exp::{exp, exp_shifted};
use super::matmul::{Beta, MatMut, MatRef, Precision, matmul_serial};
use super::scratch::Scratch;
use super::simd::{dot, maximum, multiversion};

/// Rows (query positions times grouped heads) of a chunk.
pub(super) const CHUNK_ROWS: usize = 128;

/// Query positions of a chunk for a group of `group` query heads.
pub(super) fn chunk_positions(group: usize) -> usize {
    (CHUNK_ROWS / group).max(16)
}

/// What is common to all chunks of one attention.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_size: usize,
    pub(super) precision: Precision,
}

impl Layout {
    pub(super) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    pub(super) fn query_width(&self) -> usize {
        self.heads * self.head_size
    }

    pub(super) fn key_width(&self) -> usize {
        self.kv_heads * self.head_size
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_size as f32).sqrt()
    }
}

/// A run of keys and values, (count, Hkv, Dh) each.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
    pub(super) count: usize,
}

impl Run<'_> {
    pub(super) const EMPTY: Self = Run { keys: &[], values: &[], count: 0 };
}

/// The keys that one query position sees: `first` run `0..first_end`, second run `second_start..second_end`.
#[derive(Clone, Copy)]
pub(super) struct Visible {
    pub(super) first_end: usize,
    pub(super) second_start: usize,
    pub(super) second_end: usize,
}

impl Visible {
    pub(super) fn only_first(end: usize) -> Self {
        Self { first_end: end, second_start: 0, second_end: 0 }
    }
}

/// The query side of a chunk and the keys it may see. `q` starts at the chunk's first position.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'a, F: Fn(usize) -> Visible> {
    pub(super) layout: Layout,
    pub(super) kv_head: usize,
    /// (positions, H, Dh)
    pub(super) q: &'a [f32],
    pub(super) runs: [Run<'a>; 2],
    /// What position `i` of the chunk sees.
    pub(super) visible: F,
}

impl<F: Fn(usize) -> Visible> Chunk<'_, F> {
    fn positions(&self) -> usize {
        self.q.len() / self.layout.query_width()
    }

    fn rows(&self) -> usize {
        self.positions() * self.layout.group()
    }

    /// Keys of both runs, the length of a row of scores.
    fn keys(&self) -> usize {
        self.runs[0].count + self.runs[1].count
    }

    /// The part of a (positions, H, Dh) slice that belongs to row `row` of the chunk.
    fn row_of(&self, row: usize) -> std::ops::Range<usize> {
        let Layout { head_size, .. } = self.layout;
        let group = self.layout.group();
        let start = row / group * self.layout.query_width()
            + (self.kv_head * group + row % group) * head_size;
        start..start + head_size
    }

    fn lse_of(&self, row: usize) -> usize {
        let group = self.layout.group();
        row / group * self.layout.heads + self.kv_head * group + row % group
    }

    /// The chunk's rows of a (positions, H, Dh) slice, times `scale`, side by side.
    fn gather(&self, x: &[f32], scale: f32) -> Scratch<f32> {
        let width = self.layout.head_size;
        let mut rows = Scratch::<f32>::new(self.rows() * width);
        for (row, to) in rows.chunks_exact_mut(width).enumerate() {
            to.iter_mut().zip(&x[self.row_of(row)]).for_each(|(to, x)| *to = x * scale);
        }
        rows
    }

    /// Rows times the keys (or values) of both runs: (rows, keys).
    fn times_keys(&self, rows: &[f32], operand: Operand) -> Scratch<f32> {
        let (count, width, keys) = (self.rows(), self.layout.head_size, self.keys());
        let mut scores = Scratch::<f32>::new(count * keys);
        let mut at = 0;
        for run in self.runs.iter().filter(|run| run.count > 0) {
            let b = operand.of(run, self.layout, self.kv_head);
            let c =
                MatMut { data: &mut scores[at..], rows: count, cols: run.count, row_stride: keys };
            matmul_serial(
                MatRef::new(rows, count, width),
                b.t(),
                c,
                Beta::Overwrite,
                self.layout.precision,
            );
            at += run.count;
        }
        scores
    }

    /// Weights (rows, keys) times the values (or keys) of both runs: (rows, Dh).
    fn times_values(&self, weights: &[f32], operand: Operand) -> Scratch<f32> {
        let (count, width, keys) = (self.rows(), self.layout.head_size, self.keys());
        let mut out = Scratch::<f32>::new(count * width);
        let (mut at, mut beta) = (0, Beta::Overwrite);
        for run in self.runs.iter().filter(|run| run.count > 0) {
            let a = MatRef::strided(&weights[at..], count, run.count, keys);
            let b = operand.of(run, self.layout, self.kv_head);
            matmul_serial(a, b, MatMut::new(&mut out, count, width), beta, self.layout.precision);
            at += run.count;
            beta = Beta::Accumulate;
        }
        out
    }

    /// Attention of the chunk: writes this key/value head's part of `out` and `lse`.
    ///
    /// out: (positions, H, Dh), lse: (positions, H), negative infinity where a position sees nothing.
    pub(super) fn forward(&self, out: &mut [f32], lse: &mut [f32]) {
        if self.keys() == 0 {
            for row in 0..self.rows() {
                out[self.row_of(row)].fill(0.0);
                lse[self.lse_of(row)] = f32::NEG_INFINITY;
            }
            return;
        }
        let q = self.gather(self.q, self.layout.scale());
        let mut scores = self.times_keys(&q, Operand::Keys);
        let mut sums = Scratch::<f32>::new(self.rows());
        let boundary = self.runs[0].count;
        for (row, scores) in scores.chunks_exact_mut(self.keys()).enumerate() {
            let visible = (self.visible)(row / self.layout.group());
            let (first, second) = scores.split_at_mut(boundary);
            let (lse_row, sum) = soften(first, second, visible);
            lse[self.lse_of(row)] = lse_row;
            sums[row] = sum;
        }
        let result = self.times_values(&scores, Operand::Values);
        for (row, result) in result.chunks_exact(self.layout.head_size).enumerate() {
            let scale = if sums[row] > 0.0 { 1.0 / sums[row] } else { 0.0 };
            out[self.row_of(row)].iter_mut().zip(result).for_each(|(out, x)| *out = x * scale);
        }
    }

    /// The gradient of the chunk. `dq` is overwritten in this key/value head's part; `dkv` holds, per run, the
    /// gradients of its keys and values, (count, Dh) each, and is added to.
    pub(super) fn backward(
        &self,
        given: Given<'_>,
        dq: &mut [f32],
        dkv: [(&mut [f32], &mut [f32]); 2],
    ) {
        if self.keys() == 0 {
            (0..self.rows()).for_each(|row| dq[self.row_of(row)].fill(0.0));
            return;
        }
        let (count, width, keys) = (self.rows(), self.layout.head_size, self.keys());
        let (scale, precision) = (self.layout.scale(), self.layout.precision);
        let q = self.gather(self.q, scale);
        let dout = self.gather(given.dout, 1.0);
        let mut weights = self.times_keys(&q, Operand::Keys);
        let mut dscores = self.times_keys(&dout, Operand::Values);
        let boundary = self.runs[0].count;
        for (row, (weights, dscores)) in
            weights.chunks_exact_mut(keys).zip(dscores.chunks_exact_mut(keys)).enumerate()
        {
            let visible = (self.visible)(row / self.layout.group());
            let part = self.row_of(row);
            let delta = dot_product(&given.dout[part.clone()], &given.out[part]);
            let lse = given.lse[self.lse_of(row)];
            let (first, second) = weights.split_at_mut(boundary);
            let (dfirst, dsecond) = dscores.split_at_mut(boundary);
            soften_backward(first, dfirst, 0..visible.first_end, (lse, delta));
            soften_backward(
                second,
                dsecond,
                visible.second_start..visible.second_end,
                (lse, delta),
            );
        }
        let result = self.times_values(&dscores, Operand::Keys);
        for (row, result) in result.chunks_exact(width).enumerate() {
            dq[self.row_of(row)].iter_mut().zip(result).for_each(|(dq, x)| *dq = x * scale);
        }
        let mut at = 0;
        for (run, (dkeys, dvalues)) in self.runs.iter().zip(dkv) {
            if run.count > 0 {
                for (left, right, to) in [(&weights, &dout, dvalues), (&dscores, &q, dkeys)] {
                    let a = MatRef::strided(&left[at..], count, run.count, keys).t();
                    let c = MatMut::new(&mut to[..run.count * width], run.count, width);
                    matmul_serial(
                        a,
                        MatRef::new(right, count, width),
                        c,
                        Beta::Accumulate,
                        precision,
                    );
                }
                at += run.count;
            }
        }
    }
}

/// What the backward pass knows of a chunk: out and dout (positions, H, Dh), lse (positions, H).
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) out: &'a [f32],
    pub(super) dout: &'a [f32],
    pub(super) lse: &'a [f32],
}

#[derive(Clone, Copy)]
enum Operand {
    Keys,
    Values,
}

impl Operand {
    /// One head's keys or values of a run: (count, Dh).
    fn of<'a>(self, run: &Run<'a>, layout: Layout, kv_head: usize) -> MatRef<'a> {
        let data = match self {
            Self::Keys => run.keys,
            Self::Values => run.values,
        };
        MatRef::strided(
            &data[kv_head * layout.head_size..],
            run.count,
            layout.head_size,
            layout.key_width(),
        )
    }
}

multiversion! {
    /// Turns a row of scores into unnormalised weights, zero where hidden; returns the log of their true sum and the
    /// sum to divide by.
    fn soften(first: &mut [f32], second: &mut [f32], visible: Visible) -> (f32, f32) {
        let (seen, hidden) = first.split_at_mut(visible.first_end);
        hidden.fill(0.0);
        second[..visible.second_start].fill(0.0);
        second[visible.second_end..].fill(0.0);
        let own = &mut second[visible.second_start..visible.second_end];
        let largest = maximum(seen).max(maximum(own));
        if largest == f32::NEG_INFINITY {
            return (largest, 0.0);
        }
        let sum = exp_shifted::<FMA>(seen, largest) + exp_shifted::<FMA>(own, largest);
        (largest + sum.ln(), sum)
    }
}

multiversion! {
    /// Turns scores into weights and the gradient of weights into that of scores, both zero where hidden.
    fn soften_backward(weights: &mut [f32], dscores: &mut [f32], seen: std::ops::Range<usize>, row: (f32, f32)) {
        let (lse, delta) = row;
        weights[..seen.start].fill(0.0);
        dscores[..seen.start].fill(0.0);
        weights[seen.end..].fill(0.0);
        dscores[seen.end..].fill(0.0);
        for (weight, dscore) in weights[seen.clone()].iter_mut().zip(&mut dscores[seen]) {
            *weight = exp::<FMA>(*weight - lse);
            *dscore = *weight * (*dscore - delta);
        }
    }
}

multiversion! {
    fn dot_product(a: &[f32], b: &[f32]) -> f32 {
        dot::<FMA>(a, b)
    }
}
