//! Muon on flat arrays, against plain loops in f64.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use diffcoder_engine::kernels::cuda::launch::Element::{self, Bf16, F32};
use diffcoder_engine::kernels::cuda::muon::{Matrices, MuonUpdate, Place, muon};
use diffcoder_engine::kernels::cuda::operations::FlatParameters;
use diffcoder_engine::kernels::cuda::runtime::emulate_with;

use crate::emulator::{emulator, numbers};

const LR: f64 = 0.05;
const SCALE: f64 = 0.5; // of the gradient
const PLACES: [Place; 3] = [
    Place { offset: 0, rows: 5, cols: 9 },
    Place { offset: 64, rows: 9, cols: 6 },
    Place { offset: 128, rows: 8, cols: 8 },
];
const COUNT: usize = 192;

fn update(factors: Element) -> MuonUpdate {
    let polynomial = [3.4445, -4.7750, 2.0315];
    let (momentum, weight_decay, rms) = (0.95, 0.1, 0.2);
    MuonUpdate { momentum, weight_decay, rms, polynomial, iterations: 5, factors }
}

/// `a b` of a row-major matrix and one that is given entry by entry.
fn product(
    a: &[f64],
    b: impl Fn(usize, usize) -> f64,
    (m, n, k): (usize, usize, usize),
) -> Vec<f64> {
    let entry = |at: usize| (0..k).map(|l| a[at / n * k + l] * b(l, at % n)).sum();
    (0..m * n).map(entry).collect()
}

/// One update of a matrix in plain loops.
fn plain(w: &mut [f64], momentum: &mut [f64], gradient: &[f32], (rows, cols): (usize, usize)) {
    let MuonUpdate { momentum: mu, weight_decay, rms, polynomial, iterations, .. } = update(F32);
    let [a, b, c] = polynomial.map(f64::from);
    let mut x = Vec::new();
    for (m, &g) in momentum.iter_mut().zip(gradient) {
        let g = f64::from(g) * SCALE;
        *m = mu * *m + (1.0 - mu) * g;
        x.push(mu * *m + (1.0 - mu) * g);
    }
    let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt() + 1e-7;
    x.iter_mut().for_each(|x| *x /= norm);
    for _ in 0..iterations {
        // Always from the left: the same polynomial, whichever side is shorter.
        let gram = product(&x, |l, j| x[j * cols + l], (rows, rows, cols));
        let square = product(&gram, |l, j| gram[l * rows + j], (rows, rows, rows));
        let p: Vec<f64> = gram.iter().zip(&square).map(|(g, s)| b * g + c * s).collect();
        let moved = product(&p, |l, j| x[l * cols + j], (rows, cols, rows));
        x.iter_mut().zip(&moved).for_each(|(x, moved)| *x = a * *x + moved);
    }
    let size = LR * rms * (rows.max(cols) as f64).sqrt();
    w.iter_mut().zip(&x).for_each(|(w, x)| *w = *w * (1.0 - LR * weight_decay) - size * x);
}

#[test]
fn two_updates_are_those_of_plain_loops_and_a_skipped_one_changes_nothing() {
    let Some(emulator) = emulator() else { return };
    emulate_with(Arc::new(emulator.clone()));
    for (factors, tolerance) in [(F32, 2e-5), (Bf16, 0.1)] {
        let device = &Device::Cpu;
        let floats = |values: Vec<f32>| Tensor::from_vec(values, COUNT, device).unwrap();
        let zeros = |dtype| Tensor::zeros(COUNT, dtype, device).unwrap();
        let start = numbers(COUNT, 1);
        let parameters = |gradient: &[f32], apply: f64, before: &FlatParameters| FlatParameters {
            gradients: floats(gradient.to_vec()),
            state: Tensor::new(&[1.0, SCALE, 0.0, 0.0, apply], device).unwrap(),
            ..before.clone()
        };
        let flat = FlatParameters {
            masters: floats(start.clone()),
            copies: zeros(DType::BF16),
            gradients: zeros(DType::F32),
            first: zeros(DType::F32),
            second: zeros(DType::F32),
            parts: zeros(DType::F64),
            state: zeros(DType::F64),
        };
        let matrices = Matrices::new(PLACES.to_vec(), factors, device).unwrap();
        let mut expected: Vec<f64> = start.iter().copied().map(f64::from).collect();
        let mut momentum = vec![0.0; COUNT];
        for step in [1, 2] {
            let gradient = numbers(COUNT, 10 + step);
            muon(&update(factors), LR, &parameters(&gradient, 1.0, &flat), &matrices).unwrap();
            for Place { offset, rows, cols } in PLACES {
                let range = offset..offset + rows * cols;
                let (w, m) = (&mut expected[range.clone()], &mut momentum[range.clone()]);
                plain(w, m, &gradient[range], (rows, cols));
            }
        }
        let values = |tensor: &Tensor| tensor.to_dtype(DType::F32).unwrap().to_vec1().unwrap();
        let (found, copies): (Vec<f32>, Vec<f32>) = (values(&flat.masters), values(&flat.copies));
        for Place { offset, rows, cols } in PLACES {
            for at in offset..offset + rows * cols {
                // The size of an update's numbers is that of the learning rate.
                let error = (f64::from(found[at]) - expected[at]).abs();
                assert!(error < tolerance * LR, "{factors:?} {rows} x {cols}, {at}: {error:e}");
                assert!((copies[at] - found[at]).abs() <= found[at].abs() / 128.0, "{at}");
            }
            // What lies between the matrices is left alone.
            let behind = offset + rows * cols..(offset + rows * cols).next_multiple_of(64);
            assert_eq!(found[behind.clone()], start[behind]);
        }
        let momentum_before = values(&flat.first);
        let wrong = vec![f32::NAN; COUNT];
        muon(&update(factors), LR, &parameters(&wrong, 0.0, &flat), &matrices).unwrap();
        assert_eq!((values(&flat.masters), values(&flat.first)), (found, momentum_before));
    }
}
