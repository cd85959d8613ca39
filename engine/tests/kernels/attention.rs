//! Sequence, doubled and cached attention against the definition.

use diffcoder_engine::kernels::attention::{
    AttentionForward, AttentionShape, attention, attention_backward,
};
use diffcoder_engine::kernels::cached_attention::{CachedShape, Seen, cached_attention};
use diffcoder_engine::kernels::doubled::{
    DoubledOutGrad, DoubledOutMut, DoubledQkv, DoubledQkvMut, OutGrad, OutMut, Qkv, QkvMut,
    doubled_attention, doubled_attention_backward,
};
use diffcoder_engine::kernels::matmul::Precision;
use diffcoder_engine::model::mask::SequenceMask;

use crate::reference::{
    Heads, assert_close, assert_same_on_any_pool, differences, numbers, plain_attention,
    plain_attention_backward, weighted_sum, wide,
};

const PRECISIONS: [(Precision, f64); 2] = [(Precision::F32, 1e-5), (Precision::Bf16, 3e-2)];

fn shape(batch: usize, len: usize, Heads(heads, kv_heads, head_size): Heads) -> AttentionShape {
    AttentionShape { batch, len, heads, kv_heads, head_size, precision: Precision::F32 }
}

fn sizes(shape: AttentionShape) -> (usize, usize, usize) {
    let rows = shape.batch * shape.len;
    (
        rows * shape.heads * shape.head_size,
        rows * shape.kv_heads * shape.head_size,
        rows * shape.heads,
    )
}

/// out, lse, dq, dk, dv.
fn run(shape: AttentionShape, mask: SequenceMask, [q, k, v, dout]: [&[f32]; 4]) -> [Vec<f32>; 5] {
    let (queries, keys, rows) = sizes(shape);
    let (mut out, mut lse) = (vec![f32::NAN; queries], vec![f32::NAN; rows]);
    attention(shape, mask, q, k, v, &mut out, &mut lse);
    let (mut dq, mut dk, mut dv) =
        (vec![f32::NAN; queries], vec![f32::NAN; keys], vec![f32::NAN; keys]);
    let forward = AttentionForward { q, k, v, out: &out, lse: &lse };
    attention_backward(shape, mask, forward, dout, &mut dq, &mut dk, &mut dv);
    [out, lse, dq, dk, dv]
}

#[test]
fn the_plain_gradient_agrees_with_differences() {
    let heads = Heads(2, 1, 3);
    let (q, k, v, dout) = (numbers(1, 30), numbers(2, 15), numbers(3, 15), numbers(4, 30));
    let (q, k, v) = (wide(&q), wide(&k), wide(&v));
    let sees = |query: usize, key: usize| key <= query;
    let [dq, dk, dv] = plain_attention_backward(heads, (&q, &k, &v), &wide(&dout), sees);
    let loss = |q: &[f64], k: &[f64], v: &[f64]| {
        weighted_sum(&plain_attention(heads, (q, k, v), sees).0, &dout)
    };
    for (analytic, numeric) in [
        (dq, differences(&q, |q| loss(q, &k, &v))),
        (dk, differences(&k, |k| loss(&q, k, &v))),
        (dv, differences(&v, |v| loss(&q, &k, v))),
    ] {
        assert!(analytic.iter().zip(&numeric).all(|(a, b)| (a - b).abs() < 1e-8));
    }
}

#[test]
fn sequences_match_the_definition() {
    for (batch, len, heads) in [
        (1, 1, Heads(1, 1, 1)),
        (2, 26, Heads(4, 2, 16)),
        (1, 75, Heads(3, 3, 20)),
        (2, 131, Heads(4, 2, 64)),
        (1, 50, Heads(6, 1, 32)),
    ] {
        let base = shape(batch, len, heads);
        let (queries, keys, _) = sizes(base);
        let (q, k, v) = (numbers(1, queries), numbers(2, keys), numbers(3, keys));
        let q: Vec<f32> = q.iter().map(|x| x * 4.0).collect();
        let dout = numbers(4, queries);
        let blocks =
            [SequenceMask::BlockCausal { block: 4 }, SequenceMask::BlockCausal { block: 100 }];
        for mask in [SequenceMask::Causal, SequenceMask::Full, blocks[0], blocks[1]] {
            let sees = |query: usize, key: usize| match mask {
                SequenceMask::Causal => key <= query,
                SequenceMask::Full => true,
                SequenceMask::BlockCausal { block } => key / block <= query / block,
            };
            let mut wanted: [Vec<f64>; 5] = Default::default();
            for b in 0..batch {
                let part = |x: &[f32], each: usize| wide(&x[b * each..(b + 1) * each]);
                let (q, dout) = (part(&q, queries / batch), part(&dout, queries / batch));
                let (k, v) = (part(&k, keys / batch), part(&v, keys / batch));
                let (out, lse) = plain_attention(heads, (&q, &k, &v), sees);
                let [dq, dk, dv] = plain_attention_backward(heads, (&q, &k, &v), &dout, sees);
                wanted
                    .iter_mut()
                    .zip([out, lse, dq, dk, dv])
                    .for_each(|(all, one)| all.extend(one));
            }
            for (precision, tolerance) in PRECISIONS {
                let got = run(AttentionShape { precision, ..base }, mask, [&q, &k, &v, &dout]);
                for ((got, wanted), what) in
                    got.iter().zip(&wanted).zip(["out", "lse", "dq", "dk", "dv"])
                {
                    assert_close(
                        got,
                        wanted,
                        tolerance,
                        &format!("{what} len {len} {mask:?} {precision:?}"),
                    );
                }
            }
        }
    }
}

struct Half {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    dout: Vec<f32>,
}

fn half(shape: AttentionShape, seed: u64) -> Half {
    let (queries, keys, _) = sizes(shape);
    let q = numbers(seed, queries).iter().map(|x| x * 4.0).collect();
    Half {
        q,
        k: numbers(seed + 1, keys),
        v: numbers(seed + 2, keys),
        dout: numbers(seed + 3, queries),
    }
}

/// Per half (noisy, clean): out, lse, dq, dk, dv.
fn run_doubled(
    shape: AttentionShape,
    block: usize,
    [noisy, clean]: [&Half; 2],
) -> [[Vec<f32>; 5]; 2] {
    let (_queries, keys, _rows) = sizes(shape);
    let blank = |half: &Half| {
        let (queries, rows) = (half.q.len(), half.q.len() / shape.head_size);
        [queries, rows, queries, keys, keys].map(|count| vec![f32::NAN; count])
    };
    let (mut noisy_results, mut clean_results) = (blank(noisy), blank(clean));
    let qkv = |half| {
        let Half { q, k, v, .. }: &Half = half;
        Qkv { q, k, v }
    };
    let input = DoubledQkv { noisy: qkv(noisy), clean: qkv(clean) };
    let [noisy_out, noisy_lse, noisy_dq, noisy_dk, noisy_dv] = &mut noisy_results;
    let [clean_out, clean_lse, clean_dq, clean_dk, clean_dv] = &mut clean_results;
    let output = DoubledOutMut {
        noisy: OutMut { out: noisy_out, lse: noisy_lse },
        clean: OutMut { out: clean_out, lse: clean_lse },
    };
    doubled_attention(shape, block, input, output);
    let given = DoubledOutGrad {
        noisy: OutGrad { out: noisy_out, lse: noisy_lse, dout: &noisy.dout },
        clean: OutGrad { out: clean_out, lse: clean_lse, dout: &clean.dout },
    };
    let gradients = DoubledQkvMut {
        noisy: QkvMut { dq: noisy_dq, dk: noisy_dk, dv: noisy_dv },
        clean: QkvMut { dq: clean_dq, dk: clean_dk, dv: clean_dv },
    };
    doubled_attention_backward(shape, block, input, given, gradients);
    [noisy_results, clean_results]
}

#[test]
fn a_clean_half_without_queries_only_lends_its_keys() {
    for (batch, len, heads, block) in [(1, 1, Heads(1, 1, 2), 4), (2, 150, Heads(4, 2, 16), 4)] {
        for (precision, _tolerance) in PRECISIONS {
            let shape = AttentionShape { precision, ..shape(batch, len, heads) };
            let (noisy, mut clean) = (half(shape, 10), half(shape, 20));
            clean.dout.fill(0.0);
            let [noisy_wanted, clean_wanted] = run_doubled(shape, block, [&noisy, &clean]);
            clean.q.clear();
            clean.dout.clear();
            let [noisy_found, clean_found] = run_doubled(shape, block, [&noisy, &clean]);
            assert_eq!(noisy_found, noisy_wanted);
            assert_eq!(clean_found[3..], clean_wanted[3..]);
        }
    }
}

#[test]
fn doubled_attention_matches_the_masked_doubled_sequence() {
    for (batch, len, heads, block) in [
        (1, 1, Heads(1, 1, 2), 4),
        (2, 26, Heads(4, 2, 16), 4),
        (1, 150, Heads(4, 2, 64), 4),
        (2, 133, Heads(2, 2, 24), 7),
        (1, 140, Heads(2, 1, 16), 100),
    ] {
        let base = shape(batch, len, heads);
        let (noisy, clean) = (half(base, 10), half(base, 20));
        let sees = |query: usize, key: usize| {
            let (query_block, key_block) = (query % len / block, key % len / block);
            match (query < len, key < len) {
                (true, true) => query_block == key_block,
                (true, false) => key_block < query_block,
                (false, true) => false,
                (false, false) => key_block <= query_block,
            }
        };
        let mut wanted: [[Vec<f64>; 5]; 2] = Default::default();
        for b in 0..batch {
            let join = |noisy: &[f32], clean: &[f32]| {
                let each = noisy.len() / batch;
                [wide(&noisy[b * each..(b + 1) * each]), wide(&clean[b * each..(b + 1) * each])]
                    .concat()
            };
            let q = join(&noisy.q, &clean.q);
            let (k, v) = (join(&noisy.k, &clean.k), join(&noisy.v, &clean.v));
            let (out, lse) = plain_attention(heads, (&q, &k, &v), sees);
            let dout = join(&noisy.dout, &clean.dout);
            let [dq, dk, dv] = plain_attention_backward(heads, (&q, &k, &v), &dout, sees);
            for (i, joined) in [out, lse, dq, dk, dv].iter().enumerate() {
                let (first, second) = joined.split_at(joined.len() / 2);
                wanted[0][i].extend(first);
                wanted[1][i].extend(second);
            }
        }
        for (precision, tolerance) in PRECISIONS {
            let got = run_doubled(AttentionShape { precision, ..base }, block, [&noisy, &clean]);
            for (half, name) in ["noisy", "clean"].iter().enumerate() {
                for (i, what) in ["out", "lse", "dq", "dk", "dv"].iter().enumerate() {
                    let what = format!("{name} {what} len {len} block {block} {precision:?}");
                    assert_close(&got[half][i], &wanted[half][i], tolerance, &what);
                }
            }
        }
    }
}

#[test]
fn threads_do_not_change_attention() {
    let shape = shape(2, 200, Heads(4, 2, 64));
    let (noisy, clean) = (half(shape, 30), half(shape, 40));
    assert_same_on_any_pool(|| {
        let mut results = vec![];
        for (precision, _) in PRECISIONS {
            let shape = AttentionShape { precision, ..shape };
            let Half { q, k, v, dout } = &noisy;
            results.extend(run(shape, SequenceMask::Causal, [q, k, v, dout]));
            results.extend(run_doubled(shape, 4, [&noisy, &clean]).into_iter().flatten());
        }
        results
    });
}

#[test]
fn rows_over_a_cache_match_the_definition() {
    for (rows, keys, heads) in [
        (1, 1, Heads(1, 1, 1)),
        (4, 300, Heads(4, 2, 64)),
        (8, 77, Heads(6, 2, 32)),
        (5, 33, Heads(4, 4, 96)),
        (16, 64, Heads(3, 1, 20)),
        (17, 100, Heads(4, 2, 64)),
        (150, 200, Heads(4, 2, 64)),
    ] {
        let Heads(query_heads, kv_heads, head_size) = heads;
        let q: Vec<f32> =
            numbers(1, rows * query_heads * head_size).iter().map(|x| x * 4.0).collect();
        let (k, v) =
            (numbers(2, keys * kv_heads * head_size), numbers(3, keys * kv_heads * head_size));
        let limits: Vec<usize> = (0..rows).map(|row| (row * 7919 + keys) % (keys + 1)).collect();
        assert!(rows < 2 || limits.iter().any(|&limit| limit < keys));
        let (wanted, _) =
            plain_attention(heads, (&wide(&q), &wide(&k), &wide(&v)), |row, key| key < limits[row]);
        let cached = |precision| {
            let shape = CachedShape { heads: query_heads, kv_heads, head_size, precision };
            let mut out = vec![f32::NAN; q.len()];
            let seen: Vec<Seen> = limits.iter().copied().map(Seen::first).collect();
            cached_attention(shape, &q, &k, &v, &seen, &mut out);
            out
        };
        for (precision, tolerance) in PRECISIONS {
            let what = format!("{rows} rows, {keys} keys, {precision:?}");
            assert_close(&cached(precision), &wanted, tolerance, &what);
        }
        assert_same_on_any_pool(|| vec![cached(Precision::F32), cached(Precision::Bf16)]);
    }
}

#[test]
fn rows_of_branches_see_the_first_keys_and_their_own() {
    for (rows, keys, heads) in
        [(6, 40, Heads(4, 2, 64)), (30, 333, Heads(6, 2, 32)), (40, 90, Heads(2, 1, 20))]
    {
        let Heads(query_heads, kv_heads, head_size) = heads;
        let q = numbers(1, rows * query_heads * head_size);
        let (k, v) =
            (numbers(2, keys * kv_heads * head_size), numbers(3, keys * kv_heads * head_size));
        let seen: Vec<Seen> = (0..rows)
            .map(|row| {
                let first = row * 31 % (keys / 2);
                let from = first + row % 7;
                Seen { first, more: from..from + row % 9 }
            })
            .collect();
        assert!(seen[0] == Seen::first(0), "one sees nothing");
        let sees = |row: usize, key: usize| key < seen[row].first || seen[row].more.contains(&key);
        let (wanted, _) = plain_attention(heads, (&wide(&q), &wide(&k), &wide(&v)), sees);
        let precision = Precision::F32;
        let shape = CachedShape { heads: query_heads, kv_heads, head_size, precision };
        let mut out = vec![f32::NAN; q.len()];
        cached_attention(shape, &q, &k, &v, &seen, &mut out);
        assert_close(&out, &wanted, PRECISIONS[0].1, &format!("{rows} rows, {keys} keys"));
    }
}

#[test]
fn rows_that_see_nothing_give_zeros() {
    for rows in [2, 40] {
        let shape = CachedShape { heads: 2, kv_heads: 1, head_size: 8, precision: Precision::F32 };
        let mut out = vec![f32::NAN; rows * 16];
        cached_attention(
            shape,
            &numbers(1, rows * 16),
            &[],
            &[],
            &vec![Seen::first(0); rows],
            &mut out,
        );
        assert!(out.iter().all(|&x| x == 0.0));
    }
}
