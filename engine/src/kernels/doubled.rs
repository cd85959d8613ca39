//! Training attention over a noisy and a clean copy of the same sequences, without a mask of the doubled length.
//!
//! Noisy block `b` sees itself and the clean blocks before `b`; clean block `b` sees the clean blocks up to `b`.

use super::attention::{AttentionShape, ChunkPlace, HeadSlices, for_each_chunk, for_each_head};
use super::attention_chunk::{Chunk, Given, Run, Visible, chunk_positions};
use super::scratch::Scratch;

/// Queries (B, T, H, Dh), keys and values (B, T, Hkv, Dh) of one half.
#[derive(Clone, Copy, Debug)]
pub struct Qkv<'a> {
    /// Queries.
    pub q: &'a [f32],
    /// Keys.
    pub k: &'a [f32],
    /// Values.
    pub v: &'a [f32],
}

/// The operands of both halves.
#[derive(Clone, Copy, Debug)]
pub struct DoubledQkv<'a> {
    /// The half that holds masks.
    pub noisy: Qkv<'a>,
    /// The half that holds the true tokens.
    pub clean: Qkv<'a>,
}

/// A result of one half to be written: out (B, T, H, Dh), lse (B, T, H).
#[derive(Debug)]
pub struct OutMut<'a> {
    /// The attention's output.
    pub out: &'a mut [f32],
    /// Log of the summed exponentials, for the backward pass.
    pub lse: &'a mut [f32],
}

/// The results of both halves to be written.
#[derive(Debug)]
pub struct DoubledOutMut<'a> {
    /// The half that holds masks.
    pub noisy: OutMut<'a>,
    /// The half that holds the true tokens.
    pub clean: OutMut<'a>,
}

/// A result of one half as the forward pass left it, and the gradient of its output.
#[derive(Clone, Copy, Debug)]
pub struct OutGrad<'a> {
    /// The attention's output, (B, T, H, Dh).
    pub out: &'a [f32],
    /// From the forward pass, (B, T, H).
    pub lse: &'a [f32],
    /// The gradient of `out`.
    pub dout: &'a [f32],
}

/// The results of both halves and their gradients.
#[derive(Clone, Copy, Debug)]
pub struct DoubledOutGrad<'a> {
    /// The half that holds masks.
    pub noisy: OutGrad<'a>,
    /// The half that holds the true tokens.
    pub clean: OutGrad<'a>,
}

/// Gradients of one half to be written, shaped like [`Qkv`].
#[derive(Debug)]
pub struct QkvMut<'a> {
    /// Of the queries.
    pub dq: &'a mut [f32],
    /// Of the keys.
    pub dk: &'a mut [f32],
    /// Of the values.
    pub dv: &'a mut [f32],
}

/// Gradients of both halves to be written.
#[derive(Debug)]
pub struct DoubledQkvMut<'a> {
    /// The half that holds masks.
    pub noisy: QkvMut<'a>,
    /// The half that holds the true tokens.
    pub clean: QkvMut<'a>,
}

/// Attention of both halves; `shape` is that of one half. Blocks start at multiples of `block`, the last may be short.
///
/// Where the clean half has no queries (an empty slice), neither has it results, and it only lends its keys and values.
pub fn doubled_attention(
    shape: AttentionShape,
    block: usize,
    input: DoubledQkv<'_>,
    output: DoubledOutMut<'_>,
) {
    assert!(block > 0, "a block holds at least one position");
    check_input(shape, input);
    let clean_shape = shape_of_clean(shape, input);
    for (shape, half) in [(shape, &output.noisy), (clean_shape, &output.clean)] {
        shape.check_queries(half.out, "out");
        shape.check_lse(half.lse);
    }
    let blocks = Blocks { shape, block };
    let kv_heads = shape.layout().kv_heads;
    for_each_chunk(clean_shape, output.clean.out, output.clean.lse, |at, out, lse| {
        for kv_head in 0..kv_heads {
            blocks.clean_chunk(at, kv_head, input.clean).forward(out, lse);
        }
    });
    for_each_chunk(shape, output.noisy.out, output.noisy.lse, |at, out, lse| {
        for kv_head in 0..kv_heads {
            blocks.noisy_chunk(at, kv_head, input).forward(out, lse);
        }
    });
}

/// The gradient of [`doubled_attention`] for all six operands; the results are overwritten.
pub fn doubled_attention_backward(
    shape: AttentionShape,
    block: usize,
    input: DoubledQkv<'_>,
    given: DoubledOutGrad<'_>,
    gradients: DoubledQkvMut<'_>,
) {
    assert!(block > 0, "a block holds at least one position");
    check_input(shape, input);
    let clean_shape = shape_of_clean(shape, input);
    let clean_asks = !input.clean.q.is_empty();
    for (shape, half) in [(shape, given.noisy), (clean_shape, given.clean)] {
        shape.check_queries(half.out, "out");
        shape.check_queries(half.dout, "dout");
        shape.check_lse(half.lse);
    }
    clean_shape.check_queries(gradients.clean.dq, "dq");
    shape.check_queries(gradients.noisy.dq, "dq");
    for half in [&gradients.noisy, &gradients.clean] {
        shape.check_keys(half.dk, "dk");
        shape.check_keys(half.dv, "dv");
    }
    let blocks = Blocks { shape, block };
    let width = shape.head_size;
    let group = shape.layout().group();
    let [noisy_dq, noisy_dk, noisy_dv] = slices(shape, gradients.noisy);
    let [clean_dq, clean_dk, clean_dv] = slices(shape, gradients.clean);
    for_each_head(shape, |batch, kv_head| {
        let zeroed = || Scratch::<f32>::zeroed(shape.len * width);
        let (mut clean_k, mut clean_v, mut noisy_k, mut noisy_v) =
            (zeroed(), zeroed(), zeroed(), zeroed());
        for chunk in 0..shape.len.div_ceil(chunk_positions(group)) {
            let at = ChunkPlace::new(shape, batch, chunk);
            let mut dq_rows = Scratch::<f32>::new(at.query_part(input.noisy.q).len());
            let own = blocks.own_start(at) * width;
            blocks.noisy_chunk(at, kv_head, input).backward(
                given.noisy.at(at),
                &mut dq_rows,
                [(&mut clean_k, &mut clean_v), (&mut noisy_k[own..], &mut noisy_v[own..])],
            );
            noisy_dq.store_queries(at, kv_head, &dq_rows);
            if !clean_asks {
                continue;
            }
            blocks.clean_chunk(at, kv_head, input.clean).backward(
                given.clean.at(at),
                &mut dq_rows,
                [(&mut clean_k, &mut clean_v), (&mut [], &mut [])],
            );
            clean_dq.store_queries(at, kv_head, &dq_rows);
        }
        for (to, from) in [
            (&clean_dk, &clean_k),
            (&clean_dv, &clean_v),
            (&noisy_dk, &noisy_k),
            (&noisy_dv, &noisy_v),
        ] {
            to.store_keys(batch, kv_head, from);
        }
    });
}

fn check_input(shape: AttentionShape, input: DoubledQkv<'_>) {
    shape.check_queries(input.noisy.q, "q");
    shape_of_clean(shape, input).check_queries(input.clean.q, "q");
    for half in [input.noisy, input.clean] {
        shape.check_keys(half.k, "k");
        shape.check_keys(half.v, "v");
    }
}

/// The shape of the clean half's queries: none, or as many as the noisy half has.
fn shape_of_clean(shape: AttentionShape, input: DoubledQkv<'_>) -> AttentionShape {
    AttentionShape { batch: if input.clean.q.is_empty() { 0 } else { shape.batch }, ..shape }
}

fn slices(shape: AttentionShape, half: QkvMut<'_>) -> [HeadSlices<'_>; 3] {
    [half.dq, half.dk, half.dv].map(|x| HeadSlices::new(shape, x))
}

impl<'a> OutGrad<'a> {
    fn at(&self, at: ChunkPlace) -> Given<'a> {
        Given {
            out: at.query_part(self.out),
            dout: at.query_part(self.dout),
            lse: at.lse_part(self.lse),
        }
    }
}

#[derive(Clone, Copy)]
struct Blocks {
    shape: AttentionShape,
    block: usize,
}

impl Blocks {
    fn start(&self, position: usize) -> usize {
        position / self.block * self.block
    }

    fn end(&self, position: usize) -> usize {
        (self.start(position) + self.block).min(self.shape.len)
    }

    /// Where the noisy keys begin that a chunk needs: at the edge of its first block.
    fn own_start(&self, at: ChunkPlace) -> usize {
        self.start(at.start)
    }

    fn clean_chunk<'a>(
        self,
        at: ChunkPlace,
        kv_head: usize,
        half: Qkv<'a>,
    ) -> Chunk<'a, impl Fn(usize) -> Visible> {
        let run = Run {
            keys: at.key_part(half.k),
            values: at.key_part(half.v),
            count: self.end(at.end - 1),
        };
        let visible = move |i: usize| Visible::only_first(self.end(at.start + i));
        Chunk {
            layout: self.shape.layout(),
            kv_head,
            q: at.query_part(half.q),
            runs: [run, Run::EMPTY],
            visible,
        }
    }

    fn noisy_chunk<'a>(
        self,
        at: ChunkPlace,
        kv_head: usize,
        input: DoubledQkv<'a>,
    ) -> Chunk<'a, impl Fn(usize) -> Visible> {
        let DoubledQkv { noisy, clean } = input;
        let first = Run {
            keys: at.key_part(clean.k),
            values: at.key_part(clean.v),
            count: self.start(at.end - 1),
        };
        let own = self.own_start(at);
        let skip = own * self.shape.kv_heads * self.shape.head_size;
        let second = Run {
            keys: &at.key_part(noisy.k)[skip..],
            values: &at.key_part(noisy.v)[skip..],
            count: self.end(at.end - 1) - own,
        };
        let visible = move |i: usize| {
            let position = at.start + i;
            Visible {
                first_end: self.start(position),
                second_start: self.start(position) - own,
                second_end: self.end(position) - own,
            }
        };
        Chunk {
            layout: self.shape.layout(),
            kv_head,
            q: at.query_part(noisy.q),
            runs: [first, second],
            visible,
        }
    }
}
