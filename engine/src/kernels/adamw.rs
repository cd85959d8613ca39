//! One AdamW update of a parameter, and the sum of squares that gradient clipping needs.

use rayon::prelude::*;

use super::simd::{LANES, multiversion};

/// Elements of one piece of work; fixed, because the sum of squares is summed piece by piece.
const CHUNK: usize = 16 * 1024;

/// The numbers of one update.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AdamwStep {
    /// Learning rate.
    pub lr: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled decay: the parameter is first multiplied by `1 - lr * weight_decay`.
    pub weight_decay: f32,
    /// `1 - beta1^step`, the step counted from 1.
    pub bias_correction1: f32,
    /// `1 - beta2^step`, the step counted from 1.
    pub bias_correction2: f32,
    /// Multiplies the gradient first (clipping, accumulation).
    pub gradient_scale: f32,
}

/// Updates parameter `p` and its moments `m` and `v` by gradient `g` as PyTorch's AdamW does; all have one length.
pub fn adamw_update(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], step: AdamwStep) {
    assert_eq!(p.len(), g.len(), "the gradient must have the parameter's shape");
    assert_eq!(p.len(), m.len(), "the first moment must have the parameter's shape");
    assert_eq!(p.len(), v.len(), "the second moment must have the parameter's shape");
    if p.len() <= CHUNK {
        return update(p, g, m, v, step);
    }
    p.par_chunks_mut(CHUNK)
        .zip(g.par_chunks(CHUNK))
        .zip(m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK)))
        .for_each(|((p, g), (m, v))| update(p, g, m, v, step));
}

/// The sum of the squares, the same on any number of threads.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    let partial: Vec<f64> = x.par_chunks(CHUNK).map(squares).collect();
    partial.iter().sum()
}

multiversion! {
    fn update(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], step: AdamwStep) {
        let n = p.len();
        let (g, m, v) = (&g[..n], &mut m[..n], &mut v[..n]);
        let keep = (1.0 - f64::from(step.lr) * f64::from(step.weight_decay)) as f32;
        let (rest1, rest2) = ((1.0 - f64::from(step.beta1)) as f32, (1.0 - f64::from(step.beta2)) as f32);
        let step_size = (f64::from(step.lr) / f64::from(step.bias_correction1)) as f32;
        let inverse_root = (1.0 / f64::from(step.bias_correction2).sqrt()) as f32;
        for i in 0..n {
            let gradient = g[i] * step.gradient_scale;
            m[i] += (gradient - m[i]) * rest1;
            v[i] = v[i] * step.beta2 + gradient * gradient * rest2;
            let denominator = v[i].sqrt() * inverse_root + step.eps;
            p[i] = p[i] * keep - step_size * (m[i] / denominator);
        }
    }
}

multiversion! {
    fn squares(x: &[f32]) -> f64 {
        let mut lanes = [0f64; LANES];
        let (parts, rest) = x.as_chunks::<LANES>();
        for part in parts {
            for i in 0..LANES {
                let value = f64::from(part[i]);
                lanes[i] += value * value;
            }
        }
        lanes.iter().sum::<f64>() + rest.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>()
    }
}
