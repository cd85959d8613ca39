//! Attention under every mask, on plain and on tensor-core kernels, and its gradient.

use diffcoder_engine::kernels::attention::{
    AttentionForward, AttentionShape, attention, attention_backward,
};
use diffcoder_engine::kernels::cuda::launch::DeviceAttentionShape;
use diffcoder_engine::kernels::cuda::launch::Element::{self, Bf16, F32};
use diffcoder_engine::kernels::cuda::plan;
use diffcoder_engine::kernels::doubled::{
    DoubledOutGrad, DoubledOutMut, DoubledQkv, DoubledQkvMut, OutGrad, OutMut, Qkv, QkvMut,
    doubled_attention, doubled_attention_backward,
};
use diffcoder_engine::kernels::matmul::Precision;
use diffcoder_engine::model::mask::SequenceMask;

use crate::emulator::{Buffer, assert_close, emulator, numbers};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Doubled,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    element: Element,
    sequences: usize,
    len: usize,
    heads: usize,
    kv_heads: usize,
    size: usize,
}

impl Case {
    fn cpu(self, sequences: usize) -> AttentionShape {
        let Self { len, heads, kv_heads, size, .. } = self;
        AttentionShape {
            batch: sequences,
            len,
            heads,
            kv_heads,
            head_size: size,
            precision: Precision::F32,
        }
    }

    fn device(self, block: usize, kind: Kind) -> DeviceAttentionShape {
        DeviceAttentionShape {
            sequences: self.sequences as i32,
            queries: self.len as i32,
            keys: self.len as i32,
            query_start: 0,
            heads: self.heads as i32,
            kv_heads: self.kv_heads as i32,
            block: block as i32,
            doubled: i32::from(kind == Kind::Doubled),
            scale: 1.0 / (self.size as f32).sqrt(),
        }
    }

    fn queries(self) -> usize {
        self.sequences * self.len * self.heads * self.size
    }

    fn keys(self) -> usize {
        self.sequences * self.len * self.kv_heads * self.size
    }
}

struct Operands {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    dout: Vec<f32>,
}

impl Operands {
    fn of(case: Case) -> Self {
        let scaled = |n, seed| numbers(n, seed).iter().map(|v| v * 2.0).collect();
        Self {
            q: scaled(case.queries(), 1),
            k: scaled(case.keys(), 2),
            v: numbers(case.keys(), 3),
            dout: numbers(case.queries(), 4),
        }
    }
}

/// out, lse, dq, dk, dv.
type Results = [Vec<f32>; 5];

fn empty(case: Case) -> Results {
    [case.queries(), case.queries() / case.size, case.queries(), case.keys(), case.keys()]
        .map(|n| vec![0.0; n])
}

fn on_device(case: Case, block: usize, kind: Kind, given: &Operands) -> Option<Results> {
    let emulator = emulator()?;
    let Case { element, size, .. } = case;
    let shape = case.device(block, kind);
    let operands = [&given.q, &given.k, &given.v, &given.dout].map(|v| Buffer::of(element, v));
    let [q, k, v, dout] = operands.each_ref().map(Buffer::address);
    let counts = empty(case).map(|v| v.len());
    let kinds = [element, F32, element, element, element];
    let results: Vec<Buffer> =
        kinds.iter().zip(counts).map(|(&kind, n)| Buffer::unwritten(kind, n)).collect();
    let at: Vec<u64> = results.iter().map(Buffer::address).collect();
    emulator.run(&plan::attention(element, shape, size, 1, [q, k, v], [at[0], at[1]], [0, 0]));
    let delta = Buffer::unwritten(F32, counts[1]);
    let gradients = [at[2], at[3], at[4]];
    let given = [q, k, v, at[0], dout, at[1]];
    emulator.run(&plan::attention_backward(
        element,
        shape,
        size,
        given,
        delta.address(),
        gradients,
    ));
    Some(std::array::from_fn(|i| results[i].read(kinds[i], counts[i])))
}

fn compare(case: Case, found: &Results, expected: &Results, what: &str) {
    for (name, (found, expected)) in
        ["out", "lse", "dq", "dk", "dv"].iter().zip(found.iter().zip(expected))
    {
        assert_close(case.element, found, expected, &format!("{name} of {what}, {case:?}"));
    }
}

const CASES: [Case; 3] = [
    Case { element: F32, sequences: 2, len: 21, heads: 2, kv_heads: 1, size: 24 },
    Case { element: Bf16, sequences: 2, len: 92, heads: 2, kv_heads: 1, size: 64 },
    Case { element: Bf16, sequences: 2, len: 72, heads: 1, kv_heads: 1, size: 128 },
];

#[test]
fn one_sequence_masks() {
    for case in CASES {
        let given = Operands::of(case);
        for (mask, block) in [
            (SequenceMask::Causal, 1),
            (SequenceMask::BlockCausal { block: 4 }, 4),
            (SequenceMask::BlockCausal { block: 10 }, 10),
            (SequenceMask::Full, case.len),
        ] {
            let Some(found) = on_device(case, block, Kind::Plain, &given) else { return };
            let mut expected = empty(case);
            let shape = case.cpu(case.sequences);
            let [out, lse, dq, dk, dv] = &mut expected;
            let Operands { q, k, v, dout } = &given;
            attention(shape, mask, q, k, v, out, lse);
            let forward = AttentionForward { q, k, v, out, lse };
            attention_backward(shape, mask, forward, dout, dq, dk, dv);
            compare(case, &found, &expected, &format!("{mask:?}"));
        }
    }
}

#[test]
fn doubled_sequences() {
    for case in CASES {
        let given = Operands::of(case);
        for block in [4, 7, 32] {
            let Some(found) = on_device(case, block, Kind::Doubled, &given) else { return };
            let mut expected = empty(case);
            let shape = case.cpu(case.sequences / 2);
            let cut = |x: &[f32]| x.len() / 2;
            let Operands { q, k, v, dout } = &given;
            let half = |first: bool| {
                let part = |x: &'_ [f32]| if first { 0..cut(x) } else { cut(x)..x.len() };
                (part(q), part(k))
            };
            let ((noisy_q, noisy_k), (clean_q, clean_k)) = (half(true), half(false));
            let input = DoubledQkv {
                noisy: Qkv { q: &q[noisy_q.clone()], k: &k[noisy_k.clone()], v: &v[noisy_k] },
                clean: Qkv { q: &q[clean_q.clone()], k: &k[clean_k.clone()], v: &v[clean_k] },
            };
            let [out, lse, dq, dk, dv] = &mut expected;
            let n = lse.len() / 2;
            {
                let (noisy_out, clean_out) = out.split_at_mut(noisy_q.end);
                let (noisy_lse, clean_lse) = lse.split_at_mut(n);
                let results = DoubledOutMut {
                    noisy: OutMut { out: noisy_out, lse: noisy_lse },
                    clean: OutMut { out: clean_out, lse: clean_lse },
                };
                doubled_attention(shape, block, input, results);
            }
            let results = DoubledOutGrad {
                noisy: OutGrad {
                    out: &out[noisy_q.clone()],
                    lse: &lse[..n],
                    dout: &dout[noisy_q.clone()],
                },
                clean: OutGrad { out: &out[clean_q.clone()], lse: &lse[n..], dout: &dout[clean_q] },
            };
            let n = cut(dk);
            let (noisy_dq, clean_dq) = dq.split_at_mut(noisy_q.end);
            let (noisy_dk, clean_dk) = dk.split_at_mut(n);
            let (noisy_dv, clean_dv) = dv.split_at_mut(n);
            let gradients = DoubledQkvMut {
                noisy: QkvMut { dq: noisy_dq, dk: noisy_dk, dv: noisy_dv },
                clean: QkvMut { dq: clean_dq, dk: clean_dk, dv: clean_dv },
            };
            doubled_attention_backward(shape, block, input, results, gradients);
            compare(case, &found, &expected, &format!("doubled blocks of {block}"));
        }
    }
}

/// Serving: a few queries behind cached keys, the keys cut into shares; against the last rows of the whole sequence.
#[test]
fn few_queries_behind_cached_keys() {
    let Some(emulator) = emulator() else { return };
    let case = Case { element: Bf16, sequences: 1, len: 210, heads: 4, kv_heads: 2, size: 128 };
    let given = Operands::of(case);
    let mut expected = empty(case);
    let [out, lse, ..] = &mut expected;
    let mask = SequenceMask::BlockCausal { block: 4 };
    attention(case.cpu(1), mask, &given.q, &given.k, &given.v, out, lse);
    let rows = 6; // 204..210: a whole block and a cut one
    let width = case.heads * case.size;
    let skip = (case.len - rows) * width;
    let shape = DeviceAttentionShape {
        queries: rows as i32,
        query_start: (case.len - rows) as i32,
        ..case.device(4, Kind::Plain)
    };
    let splits = plan::attention_splits(&shape);
    assert_eq!(splits, 4, "as many shares as key tiles");
    for (element, splits) in [(Bf16, 1), (Bf16, 3), (Bf16, splits), (F32, 1)] {
        let operands = [&given.q[skip..], &given.k, &given.v].map(|v| Buffer::of(element, v));
        let [q, k, v] = operands.each_ref().map(Buffer::address);
        let (found, found_lse) =
            (Buffer::unwritten(element, rows * width), Buffer::unwritten(F32, rows * case.heads));
        let parts = Buffer::unwritten(F32, splits as usize * rows * width);
        let part_sums = Buffer::unwritten(F32, splits as usize * rows * case.heads);
        emulator.run(&plan::attention(
            element,
            shape,
            case.size,
            splits,
            [q, k, v],
            [found.address(), found_lse.address()],
            [parts.address(), part_sums.address()],
        ));
        assert_close(
            element,
            &found.read(element, rows * width),
            &out[skip..],
            "out of few queries",
        );
        let sums = &lse[(case.len - rows) * case.heads..];
        assert_close(element, &found_lse.read(F32, sums.len()), sums, "lse of few queries");
    }
}
