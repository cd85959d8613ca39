//! Attention of whole sequences under a simple mask, with its gradient.
#![expect(clippy::too_many_arguments, reason = "one slice per operand of the formula")]

use rayon::prelude::*;

use super::attention_chunk::{Chunk, Given, Layout, Run, Visible, chunk_positions};
use super::matmul::Precision;
use super::scratch::Scratch;
use crate::model::mask::SequenceMask;

/// Sizes of an attention over sequences of one length. Query head `h` reads key/value head `h / (heads / kv_heads)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttentionShape {
    /// Sequences, B.
    pub batch: usize,
    /// Positions of a sequence, T.
    pub len: usize,
    /// Query heads, H; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key/value heads, Hkv.
    pub kv_heads: usize,
    /// Elements of a head, Dh.
    pub head_size: usize,
    /// Rounding of the products' operands.
    pub precision: Precision,
}

impl AttentionShape {
    pub(super) fn layout(&self) -> Layout {
        let Self { heads, kv_heads, head_size, precision, .. } = *self;
        assert!(
            kv_heads > 0 && heads.is_multiple_of(kv_heads),
            "heads must be a multiple of the key/value heads"
        );
        Layout { heads, kv_heads, head_size, precision }
    }

    /// Numbers of a query-like sequence: T x H x Dh.
    pub(super) fn query_numbers(&self) -> usize {
        self.len * self.heads * self.head_size
    }

    /// Numbers of a key-like sequence: T x Hkv x Dh.
    pub(super) fn key_numbers(&self) -> usize {
        self.len * self.kv_heads * self.head_size
    }

    pub(super) fn check_queries(&self, x: &[f32], name: &str) {
        assert_eq!(x.len(), self.batch * self.query_numbers(), "{name} must be (B, T, H, Dh)");
    }

    pub(super) fn check_keys(&self, x: &[f32], name: &str) {
        assert_eq!(x.len(), self.batch * self.key_numbers(), "{name} must be (B, T, Hkv, Dh)");
    }

    pub(super) fn check_lse(&self, x: &[f32]) {
        assert_eq!(x.len(), self.batch * self.len * self.heads, "lse must be (B, T, H)");
    }
}

/// Attention with scale 1/sqrt(Dh).
///
/// q, out: (B, T, H, Dh), k, v: (B, T, Hkv, Dh), lse (for the backward pass): (B, T, H).
pub fn attention(
    shape: AttentionShape,
    mask: SequenceMask,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &mut [f32],
    lse: &mut [f32],
) {
    shape.check_queries(q, "q");
    shape.check_keys(k, "k");
    shape.check_keys(v, "v");
    shape.check_queries(out, "out");
    shape.check_lse(lse);
    let layout = shape.layout();
    for_each_chunk(shape, out, lse, |at, out, lse| {
        let (q, k, v) = (at.query_part(q), at.key_part(k), at.key_part(v));
        for kv_head in 0..layout.kv_heads {
            sequence_chunk(shape, mask, at, kv_head, (q, k, v)).forward(out, lse);
        }
    });
}

/// Where a chunk lies in a batch of sequences.
#[derive(Clone, Copy)]
pub(super) struct ChunkPlace {
    shape: AttentionShape,
    batch: usize,
    /// The first position.
    pub(super) start: usize,
    /// One past the last position.
    pub(super) end: usize,
}

impl ChunkPlace {
    pub(super) fn new(shape: AttentionShape, batch: usize, chunk: usize) -> Self {
        let positions = chunk_positions(shape.heads / shape.kv_heads);
        let start = chunk * positions;
        Self { shape, batch, start, end: (start + positions).min(shape.len) }
    }

    /// This chunk's rows of a (B, T, H, Dh) slice.
    pub(super) fn query_part<'a>(&self, x: &'a [f32]) -> &'a [f32] {
        let width = self.shape.heads * self.shape.head_size;
        let first = self.batch * self.shape.len;
        &x[(first + self.start) * width..(first + self.end) * width]
    }

    /// This chunk's rows of a (B, T, H) slice.
    pub(super) fn lse_part<'a>(&self, x: &'a [f32]) -> &'a [f32] {
        let (width, first) = (self.shape.heads, self.batch * self.shape.len);
        &x[(first + self.start) * width..(first + self.end) * width]
    }

    /// This chunk's whole sequence of a (B, T, Hkv, Dh) slice.
    pub(super) fn key_part<'a>(&self, x: &'a [f32]) -> &'a [f32] {
        let numbers = self.shape.key_numbers();
        &x[self.batch * numbers..(self.batch + 1) * numbers]
    }
}

/// Runs `work` for every chunk of every sequence with the chunk's rows of `out` and `lse`, in parallel.
pub(super) fn for_each_chunk<F>(shape: AttentionShape, out: &mut [f32], lse: &mut [f32], work: F)
where
    F: Fn(ChunkPlace, &mut [f32], &mut [f32]) + Sync,
{
    if out.is_empty() {
        return;
    }
    let positions = chunk_positions(shape.heads / shape.kv_heads);
    let (sequence, lse_sequence) = (shape.query_numbers(), shape.len * shape.heads);
    let (rows, lse_rows) = (positions * shape.heads * shape.head_size, positions * shape.heads);
    out.par_chunks_mut(sequence).zip(lse.par_chunks_mut(lse_sequence)).enumerate().for_each(
        |(batch, (out, lse))| {
            out.par_chunks_mut(rows).zip(lse.par_chunks_mut(lse_rows)).enumerate().for_each(
                |(chunk, (out, lse))| work(ChunkPlace::new(shape, batch, chunk), out, lse),
            );
        },
    );
}

fn sequence_chunk<'a>(
    shape: AttentionShape,
    mask: SequenceMask,
    at: ChunkPlace,
    kv_head: usize,
    (q, k, v): (&'a [f32], &'a [f32], &'a [f32]),
) -> Chunk<'a, impl Fn(usize) -> Visible> {
    let run = Run { keys: k, values: v, count: mask.key_limit(at.end - 1, shape.len) };
    let visible = move |i: usize| Visible::only_first(mask.key_limit(at.start + i, shape.len));
    Chunk { layout: shape.layout(), kv_head, q, runs: [run, Run::EMPTY], visible }
}

/// The operands and results of [`attention`], for its gradient.
#[derive(Clone, Copy, Debug)]
pub struct AttentionForward<'a> {
    /// (B, T, H, Dh)
    pub q: &'a [f32],
    /// (B, T, Hkv, Dh)
    pub k: &'a [f32],
    /// (B, T, Hkv, Dh)
    pub v: &'a [f32],
    /// (B, T, H, Dh)
    pub out: &'a [f32],
    /// (B, T, H)
    pub lse: &'a [f32],
}

/// The gradient of [`attention`]; all three results are overwritten.
///
/// dout, dq: (B, T, H, Dh), dk, dv: (B, T, Hkv, Dh).
pub fn attention_backward(
    shape: AttentionShape,
    mask: SequenceMask,
    forward: AttentionForward<'_>,
    dout: &[f32],
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    let AttentionForward { q, k, v, out, lse } = forward;
    for (x, name) in [(q, "q"), (out, "out"), (dout, "dout"), (&*dq, "dq")] {
        shape.check_queries(x, name);
    }
    for (x, name) in [(k, "k"), (v, "v"), (&*dk, "dk"), (&*dv, "dv")] {
        shape.check_keys(x, name);
    }
    shape.check_lse(lse);
    let (layout, width) = (shape.layout(), shape.head_size);
    let dq = HeadSlices::new(shape, dq);
    let dk = HeadSlices::new(shape, dk);
    let dv = HeadSlices::new(shape, dv);
    for_each_head(shape, |batch, kv_head| {
        let mut dkeys = Scratch::<f32>::zeroed(shape.len * width);
        let mut dvalues = Scratch::<f32>::zeroed(shape.len * width);
        for chunk in 0..shape.len.div_ceil(chunk_positions(layout.group())) {
            let at = ChunkPlace::new(shape, batch, chunk);
            let operands = (at.query_part(q), at.key_part(k), at.key_part(v));
            let given =
                Given { out: at.query_part(out), dout: at.query_part(dout), lse: at.lse_part(lse) };
            let mut dq_rows = Scratch::<f32>::new(operands.0.len());
            sequence_chunk(shape, mask, at, kv_head, operands).backward(
                given,
                &mut dq_rows,
                [(&mut dkeys, &mut dvalues), (&mut [], &mut [])],
            );
            dq.store_queries(at, kv_head, &dq_rows);
        }
        dk.store_keys(batch, kv_head, &dkeys);
        dv.store_keys(batch, kv_head, &dvalues);
    });
}

/// Runs `work` for every (sequence, key/value head), in parallel.
pub(super) fn for_each_head<F: Fn(usize, usize) + Sync>(shape: AttentionShape, work: F) {
    (0..shape.batch * shape.kv_heads)
        .into_par_iter()
        .for_each(|task| work(task / shape.kv_heads, task % shape.kv_heads));
}

pub(super) use head_slices::HeadSlices;

/// A result that several heads write at the same time, each its own part of every row.
mod head_slices {
    #![expect(
        unsafe_code,
        reason = "heads interleave in memory, so their disjoint parts are no slices"
    )]

    use std::marker::PhantomData;

    use super::{AttentionShape, ChunkPlace};

    pub(in crate::kernels) struct HeadSlices<'a> {
        shape: AttentionShape,
        start: *mut f32,
        len: usize,
        borrow: PhantomData<&'a mut [f32]>,
    }

    // SAFETY: the pointer comes from an exclusive borrow, and every (sequence, head) pair, which belongs to one task
    // of `for_each_head`, writes only to numbers of its own.
    unsafe impl Sync for HeadSlices<'_> {}

    impl<'a> HeadSlices<'a> {
        /// data: (B, T, H, Dh) or (B, T, Hkv, Dh).
        pub(in crate::kernels) fn new(shape: AttentionShape, data: &'a mut [f32]) -> Self {
            Self { shape, start: data.as_mut_ptr(), len: data.len(), borrow: PhantomData }
        }

        fn write(&self, at: usize, numbers: &[f32]) {
            assert!(at + numbers.len() <= self.len, "a head's part lies outside the result");
            // SAFETY: in bounds as asserted; no other task touches this head's numbers (see `Sync`), and no reference
            // to them exists while the exclusive borrow is held here.
            unsafe {
                std::ptr::copy_nonoverlapping(numbers.as_ptr(), self.start.add(at), numbers.len());
            }
        }

        /// Copies one key/value head's query heads of a chunk, `rows`: (positions, H, Dh).
        pub(in crate::kernels) fn store_queries(
            &self,
            at: ChunkPlace,
            kv_head: usize,
            rows: &[f32],
        ) {
            let AttentionShape { heads, kv_heads, head_size, len, .. } = self.shape;
            let (width, part) = (heads * head_size, heads / kv_heads * head_size);
            for (row, numbers) in rows.chunks_exact(width).enumerate() {
                let to = (at.batch * len + at.start + row) * width + kv_head * part;
                self.write(to, &numbers[kv_head * part..][..part]);
            }
        }

        /// Copies one key/value head of a sequence, `rows`: (T, Dh).
        pub(in crate::kernels) fn store_keys(&self, batch: usize, kv_head: usize, rows: &[f32]) {
            let AttentionShape { kv_heads, head_size, len, .. } = self.shape;
            for (row, numbers) in rows.chunks_exact(head_size).enumerate() {
                self.write(((batch * len + row) * kv_heads + kv_head) * head_size, numbers);
            }
        }
    }
}
