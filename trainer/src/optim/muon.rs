//! Muon: momentum whose matrices are made orthogonal before they are added to the weights (Jordan et al., 2024,
//! "Muon: An optimizer for hidden layers in neural networks"), with the step size of Liu et al., 2025 (arXiv 2502.16982):
//! an update's numbers are as large as those of AdamW, so that one learning rate and one decay serve both.

use candle_core::{Result, Tensor, Var, bail};
use rayon::prelude::*;

use diffcoder_engine::kernels::matmul::{Beta, MatMut, MatRef, Precision, matmul_serial};

use super::adamw::with_f32;

/// Coefficients of the odd quintic that drives singular values towards 1 (Jordan et al.).
pub(crate) const QUINTIC: [f32; 3] = [3.4445, -4.7750, 2.0315];
/// How often it is applied: singular values from about 0.01 on end between 0.7 and 1.2.
pub(crate) const ITERATIONS: usize = 5;
/// Root mean square of an AdamW update's numbers, in learning rates (Liu et al., section 2.2).
pub(crate) const ADAMW_RMS: f64 = 0.2;
/// Keeps the norm of a gradient of zeros from dividing by 0.
const LEAST_NORM: f64 = 1e-7;

/// Settings that stay the same over a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonSettings {
    /// Decay of the momentum; the step looks ahead along it (Nesterov).
    pub momentum: f64,
    /// Precision of the products that orthogonalise.
    pub precision: Precision,
}

/// One parameter with what its update needs.
pub(super) struct Matrix<'a> {
    pub(super) variable: &'a Var,
    pub(super) gradient: &'a Tensor,
    /// Empty before the first update.
    pub(super) momentum: &'a mut Vec<f32>,
}

/// Whether Muon updates a parameter: the matrices of the layers, not embedding and head, whose rows stand for tokens.
pub(crate) fn covers(name: &str, n_dims: usize) -> bool {
    n_dims == 2 && name.contains(".layers.")
}

/// Updates every matrix: `W <- (1 - lr decay) W - lr 0.2 sqrt(max(rows, cols)) O`, with O the orthogonalised
/// `g + momentum m` and m the new momentum. Gradients count `gradient_scale` times.
pub(super) fn update(
    settings: &MuonSettings,
    matrices: Vec<Matrix<'_>>,
    (lr, weight_decay, gradient_scale): (f64, f64, f64),
) -> Result<()> {
    // Matrices are many and small: one thread each.
    matrices.into_par_iter().try_for_each(|Matrix { variable, gradient, momentum }| {
        let (rows, cols) = variable.dims2()?;
        if momentum.is_empty() {
            *momentum = vec![0.0; rows * cols];
        }
        if momentum.len() != rows * cols || gradient.dims() != variable.dims() {
            bail!("a gradient or a momentum is not of its parameter's size")
        }
        let (mu, scale) = (settings.momentum as f32, gradient_scale as f32);
        let mut ahead = with_f32(gradient, |gradient| {
            let pairs = gradient.iter().zip(momentum.iter_mut());
            pairs.map(|(&g, m)| ahead_of(g * scale, m, mu)).collect::<Vec<_>>()
        })?;
        orthogonalise(&mut ahead, (rows, cols), settings.precision);
        let size = (lr * ADAMW_RMS * (rows.max(cols) as f64).sqrt()) as f32;
        let keep = (1.0 - lr * weight_decay) as f32;
        let mut weights = with_f32(variable.as_tensor(), <[f32]>::to_vec)?;
        for (weight, o) in weights.iter_mut().zip(&ahead) {
            *weight = *weight * keep - size * o;
        }
        variable.set(&Tensor::from_vec(weights, (rows, cols), variable.device())?)
    })
}

/// Adds `g` to the momentum `m` and looks one step ahead along it.
fn ahead_of(g: f32, m: &mut f32, mu: f32) -> f32 {
    *m = mu * *m + (1.0 - mu) * g;
    mu * *m + (1.0 - mu) * g
}

/// Brings the singular values of row-major `x` near 1 and keeps its singular vectors: the quintic of Newton and Schulz.
fn orthogonalise(x: &mut [f32], (rows, cols): (usize, usize), precision: Precision) {
    let norm = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let scale = (1.0 / (norm + LEAST_NORM)) as f32;
    x.iter_mut().for_each(|x| *x *= scale);
    // The polynomial acts on the shorter side's Gram matrix: X X' for a wide matrix, X' X for a tall one.
    let wide = rows <= cols;
    let side = rows.min(cols);
    let [a, b, c] = QUINTIC;
    let (mut gram, mut poly) = (vec![0f32; side * side], vec![0f32; side * side]);
    let mut product = vec![0f32; rows * cols];
    for _ in 0..ITERATIONS {
        let m = MatRef::new(x, rows, cols);
        let (left, right) = if wide { (m, m.t()) } else { (m.t(), m) };
        let into = MatMut::new(&mut gram, side, side);
        matmul_serial(left, right, into, Beta::Overwrite, precision);
        let g = MatRef::new(&gram, side, side);
        matmul_serial(g, g, MatMut::new(&mut poly, side, side), Beta::Overwrite, precision);
        poly.iter_mut().zip(&gram).for_each(|(p, &g)| *p = b * g + c * *p);
        let p = MatRef::new(&poly, side, side);
        let (left, right) = if wide { (p, m) } else { (m, p) };
        let into = MatMut::new(&mut product, rows, cols);
        matmul_serial(left, right, into, Beta::Overwrite, precision);
        x.iter_mut().zip(&product).for_each(|(x, &p)| *x = a * *x + p);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::Device;

    use super::super::adamw::{AdamWSettings, DecayGroup};
    use super::super::{Optimizer, OptimizerSettings};
    use super::*;

    /// Columns of an orthogonal matrix: a Householder reflection along `v`.
    fn reflection(v: &[f64]) -> Vec<Vec<f64>> {
        let norm: f64 = v.iter().map(|x| x * x).sum();
        let entry = |i: usize, j: usize| f64::from(i == j) - 2.0 * v[i] * v[j] / norm;
        (0..v.len()).map(|i| (0..v.len()).map(|j| entry(i, j)).collect()).collect()
    }

    /// The matrix with singular vectors of two reflections and values `singular(k)`, wide.
    fn with_singular_values(
        (rows, cols): (usize, usize),
        singular: impl Fn(usize) -> f64,
    ) -> Vec<f32> {
        let u = reflection(&(0..rows).map(|i| 1.0 + i as f64).collect::<Vec<_>>());
        let v = reflection(&(0..cols).map(|i| (i as f64).cos()).collect::<Vec<_>>());
        let entry = |i: usize, j: usize| {
            (0..rows.min(cols)).map(|k| u[i][k] * singular(k) * v[j][k]).sum::<f64>() as f32
        };
        (0..rows * cols).map(|at| entry(at / cols, at % cols)).collect()
    }

    #[test]
    fn singular_values_follow_the_quintic_and_vectors_stay() {
        for (shape, precision, tolerance) in [
            ((5, 9), Precision::F32, 1e-5),
            ((9, 5), Precision::F32, 1e-5),
            ((7, 7), Precision::F32, 1e-5),
            ((48, 33), Precision::Bf16, 6e-2),
        ] {
            let n = shape.0.min(shape.1);
            let singular = |k: usize| 3.0 / (1.0 + k as f64);
            let norm = (0..n).map(|k| singular(k).powi(2)).sum::<f64>().sqrt();
            let [a, b, c] = QUINTIC.map(f64::from);
            let after = |k: usize| {
                (0..ITERATIONS)
                    .fold(singular(k) / norm, |s, _| a * s + b * s.powi(3) + c * s.powi(5))
            };
            let mut found = with_singular_values(shape, singular);
            orthogonalise(&mut found, shape, precision);
            let expected = with_singular_values(shape, after);
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < tolerance, "{shape:?}: {found} {expected}");
            }
            assert!((0..n).all(|k| (0.6..1.25).contains(&after(k))));
        }
    }

    /// Two updates of each shape by `torch.optim.Muon` 2.15 (`adjust_lr_fn="match_rms_adamw"`), whose products are bf16.
    #[test]
    fn two_updates_are_those_of_pytorch() {
        let start = [0.5f32, -1.0, 0.25, 2.0, 0.75, -0.5];
        let gradients = [[0.5f32, 0.1, -0.3, 0.2, -0.4, 0.6], [0.1, -0.2, 0.3, -0.5, 0.4, 0.1]];
        for (shape, expected) in [
            ((2, 3), [0.446_566, -0.976_223, 0.235_944, 1.963_67, 0.747_766, -0.542_114]),
            ((3, 2), [0.444_041, -0.985_014, 0.245_257, 1.983_285, 0.730_271, -0.539_328]),
        ] {
            let adamw = AdamWSettings {
                betas: [0.9, 0.95],
                eps: 1e-8,
                weight_decay: 0.1,
                decay: DecayGroup::Matrices,
            };
            let muon = MuonSettings { momentum: 0.95, precision: Precision::F32 };
            let mut optimizer = Optimizer::new(OptimizerSettings { adamw, muon: Some(muon) });
            let name = "model.layers.0.mlp.up_proj.weight".to_owned();
            let tensor = |v: &[f32]| Tensor::from_slice(v, shape, &Device::Cpu).unwrap();
            let variable = Var::from_tensor(&tensor(&start)).unwrap();
            let variables = BTreeMap::from([(name.clone(), variable)]);
            for gradient in gradients {
                let gradients = BTreeMap::from([(name.clone(), tensor(&gradient))]);
                optimizer.step(&variables, &gradients, 0.1, 1.0).unwrap();
            }
            assert!(optimizer.moments()[&name].second.is_empty());
            let found = variables[&name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 2e-3, "{shape:?}: {found} {expected}");
            }
        }
    }

    #[test]
    fn embedding_head_and_norms_are_not_covered() {
        assert!(covers("model.layers.3.self_attn.q_proj.weight", 2));
        assert!(!covers("model.layers.3.input_layernorm.weight", 1));
        assert!(!covers("model.embed_tokens.weight", 2));
        assert!(!covers("lm_head.weight", 2));
    }

    #[test]
    fn zero_gradients_move_nothing() {
        let mut zeros = vec![0f32; 6];
        orthogonalise(&mut zeros, (2, 3), Precision::F32);
        assert_eq!(zeros, [0.0; 6]);
    }
}
