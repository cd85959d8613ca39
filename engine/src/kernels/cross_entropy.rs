//! Output head and cross-entropy in one, in chunks of rows: the logits of all rows never exist at once.
#![expect(clippy::too_many_arguments, reason = "one slice per operand of the formula")]

use rayon::prelude::*;

use super::exp::{exp_shifted, log_sum_exp};
use super::matmul::{Beta, MatMut, MatRef, Precision, Rhs, matmul};
use super::scratch::Scratch;
use super::simd::{maximum, multiversion};

/// Logits held at once per thread in the forward pass, and in all in the backward pass.
const FORWARD_LOGITS: usize = 512 * 1024;
const BACKWARD_LOGITS: usize = 4 * 1024 * 1024;
/// Rows of one piece of work inside a backward chunk.
const PIECE_ROWS: usize = 128;

/// Negative log-likelihood of each row's target under the softmax of `hidden . weight^T`.
///
/// hidden: (R, D), weight: (V, D), targets: (R) below V, nll: (R).
pub fn head_nll(
    hidden: &[f32],
    weight: &[f32],
    targets: &[u32],
    precision: Precision,
    nll: &mut [f32],
) {
    assert_eq!(nll.len(), targets.len(), "there must be one target per row");
    let Some((width, vocabulary)) = sizes(hidden, weight, targets) else { return };
    let head = Rhs::new(MatRef::new(weight, vocabulary, width).t(), precision);
    let rows = (FORWARD_LOGITS / vocabulary / 32 * 32).clamp(32, 256);
    nll.par_chunks_mut(rows)
        .zip(hidden.par_chunks(rows * width))
        .zip(targets.par_chunks(rows))
        .for_each(|((nll, hidden), targets)| {
            let mut logits = Scratch::<f32>::new(nll.len() * vocabulary);
            let c = MatMut::new(&mut logits, nll.len(), vocabulary);
            head.multiply(MatRef::new(hidden, nll.len(), width), c, Beta::Overwrite);
            for ((nll, logits), &target) in
                nll.iter_mut().zip(logits.chunks_exact(vocabulary)).zip(targets)
            {
                *nll = log_sum_exp(logits) - logits[target as usize];
            }
        });
}

/// The gradient of [`head_nll`]: `dhidden` is overwritten, `dweight` is added to. Rows whose `dnll` is zero cost
/// nothing but the zeroing of their `dhidden`.
///
/// hidden, dhidden: (R, D), weight, dweight: (V, D), targets, dnll: (R).
pub fn head_nll_backward(
    hidden: &[f32],
    weight: &[f32],
    targets: &[u32],
    dnll: &[f32],
    precision: Precision,
    dhidden: &mut [f32],
    dweight: &mut [f32],
) {
    assert_eq!(dnll.len(), targets.len(), "there must be one target per row");
    assert_eq!(hidden.len(), dhidden.len(), "dhidden must have the shape of hidden");
    assert_eq!(weight.len(), dweight.len(), "dweight must have the shape of the weight");
    let Some((width, vocabulary)) = sizes(hidden, weight, targets) else { return };
    let active: Vec<usize> = (0..dnll.len()).filter(|&row| dnll[row] != 0.0).collect();
    if active.len() < dnll.len() {
        dhidden.fill(0.0);
    }
    let head = MatRef::new(weight, vocabulary, width);
    let (scores, back) = (Rhs::new(head.t(), precision), Rhs::new(head, precision));
    let rows = (BACKWARD_LOGITS / vocabulary / PIECE_ROWS * PIECE_ROWS).clamp(PIECE_ROWS, 2048);
    for active in active.chunks(rows) {
        let mut x = Scratch::<f32>::new(active.len() * width);
        for (x, &row) in x.chunks_exact_mut(width).zip(active) {
            x.copy_from_slice(&hidden[row * width..][..width]);
        }
        let mut logits = Scratch::<f32>::new(active.len() * vocabulary);
        let mut dx = Scratch::<f32>::new(active.len() * width);
        logits
            .par_chunks_mut(PIECE_ROWS * vocabulary)
            .zip(dx.par_chunks_mut(PIECE_ROWS * width))
            .zip(x.par_chunks(PIECE_ROWS * width).zip(active.par_chunks(PIECE_ROWS)))
            .for_each(|((logits, dx), (x, active))| {
                let count = active.len();
                let c = MatMut::new(logits, count, vocabulary);
                scores.multiply(MatRef::new(x, count, width), c, Beta::Overwrite);
                for (logits, &row) in logits.chunks_exact_mut(vocabulary).zip(active) {
                    softmax_gradient(logits, targets[row] as usize, dnll[row]);
                }
                let c = MatMut::new(dx, count, width);
                back.multiply(MatRef::new(logits, count, vocabulary), c, Beta::Overwrite);
            });
        for (dx, &row) in dx.chunks_exact(width).zip(active) {
            dhidden[row * width..][..width].copy_from_slice(dx);
        }
        let dlogits = MatRef::new(&logits, active.len(), vocabulary).t();
        matmul(dlogits, MatRef::new(&x, active.len(), width), dweight, Beta::Accumulate, precision);
    }
}

/// D and V; none if there are no rows.
fn sizes(hidden: &[f32], weight: &[f32], targets: &[u32]) -> Option<(usize, usize)> {
    if targets.is_empty() {
        assert!(hidden.is_empty(), "there must be one target per row");
        return None;
    }
    assert!(hidden.len().is_multiple_of(targets.len()), "hidden must hold one row per target");
    let width = hidden.len() / targets.len();
    assert!(
        width > 0 && weight.len().is_multiple_of(width),
        "the weight must hold rows of hidden's length"
    );
    let vocabulary = weight.len() / width;
    assert!(
        targets.iter().all(|&t| (t as usize) < vocabulary),
        "a target lies outside the vocabulary"
    );
    Some((width, vocabulary))
}

multiversion! {
    /// Replaces logits by `scale * (softmax - onehot(target))`.
    fn softmax_gradient(logits: &mut [f32], target: usize, scale: f32) {
        let largest = maximum(logits);
        let factor = scale / exp_shifted::<FMA>(logits, largest);
        for value in logits.iter_mut() {
            *value *= factor;
        }
        logits[target] -= scale;
    }
}
