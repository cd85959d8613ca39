//! Test data, comparisons and the plain f64 attention that the fast ones are held against.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Numbers in -1..1, the same for the same seed.
pub(crate) fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0f32..1.0)).collect()
}

pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Fails where `got` differs from `wanted` by more than `tolerance` times the largest wanted number.
#[track_caller]
pub(crate) fn assert_close(got: &[f32], wanted: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), wanted.len(), "{what}: lengths");
    // Inputs are around one, so results far below a tenth are what cancellation has left.
    let size = wanted.iter().fold(0.1f64, |m, x| m.max(x.abs()));
    for (i, (&got, &wanted)) in got.iter().zip(wanted).enumerate() {
        let error = (f64::from(got) - wanted).abs() / size;
        assert!(
            error <= tolerance,
            "{what}[{i}]: {got} instead of {wanted}, off by {error:e} of {size}"
        );
    }
}

/// Runs `work` in pools of one and of two threads (and three) and fails unless the results are equal to the bit.
#[track_caller]
pub(crate) fn assert_same_on_any_pool<F: Fn() -> Vec<Vec<f32>> + Sync>(work: F) {
    let run = |threads| {
        let pool =
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        pool.install(&work)
    };
    let wanted = run(1);
    for threads in [2, 3] {
        for (i, (got, wanted)) in run(threads).iter().zip(&wanted).enumerate() {
            let same = got.iter().zip(wanted).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "result {i} differs between 1 and {threads} threads");
        }
    }
}

/// The derivative of `loss` by every element of `x`, by central differences.
pub(crate) fn differences(x: &[f64], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let old = x[i];
            x[i] = old + STEP;
            let above = loss(&x);
            x[i] = old - STEP;
            let below = loss(&x);
            x[i] = old;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

pub(crate) fn weighted_sum(x: &[f64], weights: &[f32]) -> f64 {
    x.iter().zip(weights).map(|(x, &w)| x * f64::from(w)).sum()
}

/// Heads of a plain attention: query heads, key/value heads, elements of a head.
#[derive(Clone, Copy)]
pub(crate) struct Heads(pub(crate) usize, pub(crate) usize, pub(crate) usize);

/// Attention of one sequence by the definition; `sees(query, key)`. q: (R, H, Dh), k, v: (S, Hkv, Dh).
pub(crate) fn plain_attention(
    Heads(heads, kv_heads, size): Heads,
    (q, k, v): (&[f64], &[f64], &[f64]),
    sees: impl Fn(usize, usize) -> bool,
) -> (Vec<f64>, Vec<f64>) {
    let (rows, keys) = (q.len() / (heads * size), k.len() / (kv_heads * size));
    let (mut out, mut lse) = (vec![0.0; q.len()], vec![f64::NEG_INFINITY; rows * heads]);
    for row in 0..rows {
        for head in 0..heads {
            let at = (row * heads + head) * size;
            let key_at = |key: usize| (key * kv_heads + head / (heads / kv_heads)) * size;
            let weights: Vec<f64> = (0..keys)
                .map(|key| {
                    if !sees(row, key) {
                        return 0.0;
                    }
                    let dot: f64 = (0..size).map(|i| q[at + i] * k[key_at(key) + i]).sum();
                    (dot / (size as f64).sqrt()).exp()
                })
                .collect();
            let sum: f64 = weights.iter().sum();
            if sum > 0.0 {
                lse[row * heads + head] = sum.ln();
                for (key, weight) in weights.iter().enumerate() {
                    for i in 0..size {
                        out[at + i] += weight / sum * v[key_at(key) + i];
                    }
                }
            }
        }
    }
    (out, lse)
}

/// The gradient of [`plain_attention`] for q, k and v, by the definition.
pub(crate) fn plain_attention_backward(
    Heads(heads, kv_heads, size): Heads,
    (q, k, v): (&[f64], &[f64], &[f64]),
    dout: &[f64],
    sees: impl Fn(usize, usize) -> bool,
) -> [Vec<f64>; 3] {
    let (out, lse) = plain_attention(Heads(heads, kv_heads, size), (q, k, v), &sees);
    let (rows, keys) = (q.len() / (heads * size), k.len() / (kv_heads * size));
    let scale = 1.0 / (size as f64).sqrt();
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
    for row in 0..rows {
        for head in 0..heads {
            let at = (row * heads + head) * size;
            let delta: f64 = (0..size).map(|i| out[at + i] * dout[at + i]).sum();
            for key in (0..keys).filter(|&key| sees(row, key)) {
                let from = (key * kv_heads + head / (heads / kv_heads)) * size;
                let dot: f64 = (0..size).map(|i| q[at + i] * k[from + i]).sum();
                let weight = (dot * scale - lse[row * heads + head]).exp();
                let dweight: f64 = (0..size).map(|i| dout[at + i] * v[from + i]).sum();
                let dscore = weight * (dweight - delta) * scale;
                for i in 0..size {
                    dv[from + i] += weight * dout[at + i];
                    dq[at + i] += dscore * k[from + i];
                    dk[from + i] += dscore * q[at + i];
                }
            }
        }
    }
    [dq, dk, dv]
}
