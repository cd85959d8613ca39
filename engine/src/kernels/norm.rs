//! Root-mean-square normalisation and its gradient.

use rayon::prelude::*;

use super::element::Element;
use super::matmul::Beta;
use super::scratch::Scratch;
use super::simd::{dot, multiply_add, multiversion};

/// Rows of one piece of work; fixed, because the weight's gradient is summed piece by piece.
const CHUNK_ROWS: usize = 128;

/// `y = x / sqrt(mean(x^2) + eps) * weight`, row by row.
///
/// x, y: (R, D), weight: (D).
pub fn rms_norm<T: Element>(x: &[f32], weight: &[f32], eps: f32, y: &mut [T]) {
    let width = weight.len();
    assert!(
        width > 0 && x.len().is_multiple_of(width),
        "x must hold whole rows of the weight's length"
    );
    assert_eq!(x.len(), y.len(), "y must have the shape of x");
    let chunk = width * CHUNK_ROWS;
    if x.len() <= chunk {
        return T::write(y, |y| norm_rows(x, weight, eps, y));
    }
    y.par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk))
        .for_each(|(y, x)| T::write(y, |y| norm_rows(x, weight, eps, y)));
}

/// The gradient of [`rms_norm`]: `dx` is written or added to as its [`Beta`] says, `dweight` is added to.
///
/// x, dy, dx: (R, D), weight, dweight: (D).
#[expect(clippy::too_many_arguments, reason = "one slice per operand of the formula")]
pub fn rms_norm_backward(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    dy: &[f32],
    (dx, beta): (&mut [f32], Beta),
    dweight: &mut [f32],
) {
    let width = weight.len();
    assert!(
        width > 0 && x.len().is_multiple_of(width),
        "x must hold whole rows of the weight's length"
    );
    assert_eq!(x.len(), dy.len(), "dy must have the shape of x");
    assert_eq!(x.len(), dx.len(), "dx must have the shape of x");
    assert_eq!(width, dweight.len(), "dweight must have the shape of the weight");
    let chunk = width * CHUNK_ROWS;
    let mut partial = Scratch::<f32>::zeroed(x.len().div_ceil(chunk) * width);
    partial
        .par_chunks_mut(width)
        .zip(dx.par_chunks_mut(chunk))
        .zip(x.par_chunks(chunk).zip(dy.par_chunks(chunk)))
        .for_each(|((partial, dx), (x, dy))| {
            norm_rows_backward(Rows { x, dy, weight, eps }, dx, beta, partial)
        });
    for partial in partial.chunks_exact(width) {
        for (total, part) in dweight.iter_mut().zip(partial) {
            *total += part;
        }
    }
}

pub(super) struct Rows<'a> {
    pub(super) x: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) weight: &'a [f32],
    pub(super) eps: f32,
}

multiversion! {
    pub(super) fn norm_rows(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
        let width = weight.len();
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let inverse = 1.0 / (dot::<FMA>(x, x) / width as f32 + eps).sqrt();
            for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
                *y = x * inverse * w;
            }
        }
    }
}

multiversion! {
    pub(super) fn norm_rows_backward(rows: Rows<'_>, dx: &mut [f32], beta: Beta, dweight: &mut [f32]) {
        let Rows { x, dy, weight, eps } = rows;
        let width = weight.len();
        let mut weighted = Scratch::<f32>::new(width);
        for ((x, dy), dx) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width)) {
            let inverse = 1.0 / (dot::<FMA>(x, x) / width as f32 + eps).sqrt();
            for ((weighted, dy), w) in weighted.iter_mut().zip(dy).zip(weight) {
                *weighted = dy * w;
            }
            let pull = dot::<FMA>(&weighted, x) / width as f32 * inverse * inverse * inverse;
            for (((weighted, x), dy), dw) in
                weighted.iter_mut().zip(x).zip(dy).zip(dweight.iter_mut())
            {
                *weighted = multiply_add::<FMA>(*weighted, inverse, -(x * pull));
                *dw = multiply_add::<FMA>(dy * inverse, *x, *dw);
            }
            match beta {
                Beta::Overwrite => dx.copy_from_slice(&weighted),
                Beta::Accumulate => dx.iter_mut().zip(weighted.iter()).for_each(|(dx, x)| *dx += x),
            }
        }
    }
}
