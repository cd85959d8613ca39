//! Fused head and cross-entropy, AdamW and the sum of squares.

use diffcoder_engine::kernels::adamw::{AdamwStep, adamw_update, sum_of_squares};
use diffcoder_engine::kernels::cross_entropy::{head_nll, head_nll_backward};
use diffcoder_engine::kernels::matmul::Precision;

use crate::reference::{
    assert_close, assert_same_on_any_pool, differences, numbers, weighted_sum, wide,
};

struct Case {
    width: usize,
    vocabulary: usize,
    hidden: Vec<f32>,
    weight: Vec<f32>,
    targets: Vec<u32>,
    dnll: Vec<f32>,
}

fn case(rows: usize, width: usize, vocabulary: usize) -> Case {
    let targets = (0..rows).map(|i| ((i * 104_729) % vocabulary) as u32).collect();
    let dnll = numbers(3, rows)
        .iter()
        .enumerate()
        .map(|(i, &x)| if i % 3 == 1 { 0.0 } else { x })
        .collect();
    let (hidden, weight) = (numbers(1, rows * width), numbers(2, vocabulary * width));
    Case { width, vocabulary, hidden, weight, targets, dnll }
}

/// nll, dhidden and dweight by the definition.
fn plain(case: &Case) -> [Vec<f64>; 3] {
    plain_at(case, &wide(&case.hidden), &wide(&case.weight))
}

/// The same at other values of hidden and weight.
fn plain_at(case: &Case, hidden: &[f64], weight: &[f64]) -> [Vec<f64>; 3] {
    let Case { width, vocabulary, .. } = *case;
    let (mut nll, mut dhidden) = (vec![], vec![0.0; hidden.len()]);
    let mut dweight = vec![0.0; weight.len()];
    for (row, &target) in case.targets.iter().enumerate() {
        let x = &hidden[row * width..][..width];
        let logits: Vec<f64> = (0..vocabulary)
            .map(|v| x.iter().zip(&weight[v * width..]).map(|(x, w)| x * w).sum())
            .collect();
        let sum: f64 = logits.iter().map(|x| x.exp()).sum();
        nll.push(sum.ln() - logits[target as usize]);
        for v in 0..vocabulary {
            let onehot = if v == target as usize { 1.0 } else { 0.0 };
            let dlogit = (logits[v].exp() / sum - onehot) * f64::from(case.dnll[row]);
            for i in 0..width {
                dhidden[row * width + i] += dlogit * weight[v * width + i];
                dweight[v * width + i] += dlogit * x[i];
            }
        }
    }
    [nll, dhidden, dweight]
}

fn fused(case: &Case, precision: Precision) -> [Vec<f32>; 3] {
    let Case { hidden, weight, targets, dnll, .. } = case;
    let mut nll = vec![0.0; targets.len()];
    let (mut dhidden, mut dweight) = (vec![f32::NAN; hidden.len()], vec![0.0; weight.len()]);
    head_nll(hidden, weight, targets, precision, &mut nll);
    head_nll_backward(hidden, weight, targets, dnll, precision, &mut dhidden, &mut dweight);
    [nll, dhidden, dweight]
}

#[test]
fn the_plain_gradient_of_the_head_agrees_with_differences() {
    let case = case(4, 3, 7);
    let (hidden, weight) = (wide(&case.hidden), wide(&case.weight));
    let loss = |hidden: &[f64], weight: &[f64]| {
        weighted_sum(&plain_at(&case, hidden, weight)[0], &case.dnll)
    };
    let [_, dhidden, dweight] = plain(&case);
    for (analytic, numeric) in [
        (dhidden, differences(&hidden, |hidden| loss(hidden, &weight))),
        (dweight, differences(&weight, |weight| loss(&hidden, weight))),
    ] {
        assert!(analytic.iter().zip(&numeric).all(|(a, b)| (a - b).abs() < 1e-8));
    }
}

#[test]
fn fused_head_matches_the_definition() {
    for (rows, width, vocabulary) in [(1, 1, 1), (3, 5, 17), (70, 33, 101), (400, 32, 200)] {
        let case = case(rows, width, vocabulary);
        let wanted = plain(&case);
        for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::Bf16, 1e-2)] {
            let got = fused(&case, precision);
            for ((got, wanted), what) in got.iter().zip(&wanted).zip(["nll", "dhidden", "dweight"])
            {
                assert_close(
                    got,
                    wanted,
                    tolerance,
                    &format!("{what} {rows}x{width}x{vocabulary} {precision:?}"),
                );
            }
        }
    }
}

#[test]
fn weight_gradient_is_added_and_rows_without_weight_get_zero() {
    let case = case(9, 8, 20);
    let [_, dhidden, dweight] = fused(&case, Precision::F32);
    for row in (1..9).step_by(3) {
        assert!(dhidden[row * 8..][..8].iter().all(|&x| x == 0.0));
    }
    let (mut dhidden, mut twice) = (vec![0.0; dhidden.len()], dweight.clone());
    let Case { hidden, weight, targets, dnll, .. } = &case;
    head_nll_backward(hidden, weight, targets, dnll, Precision::F32, &mut dhidden, &mut twice);
    let wanted: Vec<f64> = dweight.iter().map(|&x| 2.0 * f64::from(x)).collect();
    assert_close(&twice, &wanted, 1e-6, "dweight");
}

#[test]
fn threads_do_not_change_the_loss() {
    let case = case(700, 48, 3000);
    assert_same_on_any_pool(|| {
        [Precision::F32, Precision::Bf16].iter().flat_map(|&p| fused(&case, p)).collect()
    });
}

#[test]
fn adamw_follows_the_published_formula() {
    let count = 40_001;
    let (mut p, mut m, mut v) = (numbers(1, count), vec![0.0; count], vec![0.0; count]);
    let (mut p64, mut m64, mut v64) = (wide(&p), vec![0.0f64; count], vec![0.0f64; count]);
    let (lr, beta1, beta2, eps, decay, scale) = (1e-2f64, 0.9f64, 0.95f64, 1e-8f64, 0.1f64, 0.5f64);
    for t in 1..=4 {
        let g = numbers(100 + t, count);
        let step = AdamwStep {
            lr: lr as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            eps: eps as f32,
            weight_decay: decay as f32,
            bias_correction1: (1.0 - beta1.powi(t as i32)) as f32,
            bias_correction2: (1.0 - beta2.powi(t as i32)) as f32,
            gradient_scale: scale as f32,
        };
        adamw_update(&mut p, &g, &mut m, &mut v, step);
        for i in 0..count {
            let g = f64::from(g[i]) * scale;
            p64[i] *= 1.0 - lr * decay;
            m64[i] = beta1 * m64[i] + (1.0 - beta1) * g;
            v64[i] = beta2 * v64[i] + (1.0 - beta2) * g * g;
            let denominator = v64[i].sqrt() / (1.0 - beta2.powi(t as i32)).sqrt() + eps;
            p64[i] -= lr / (1.0 - beta1.powi(t as i32)) * m64[i] / denominator;
        }
    }
    assert_close(&p, &p64, 1e-6, "p");
    assert_close(&m, &m64, 1e-6, "m");
    assert_close(&v, &v64, 1e-6, "v");
}

#[test]
fn sum_of_squares_is_exact_enough_and_steady() {
    for count in [0, 1, 17, 100_000] {
        let x = numbers(5, count);
        let wanted: f64 = wide(&x).iter().map(|x| x * x).sum();
        assert!((sum_of_squares(&x) - wanted).abs() <= 1e-9 * wanted);
    }
    let x = numbers(6, 200_000);
    assert_same_on_any_pool(|| {
        let bits = sum_of_squares(&x).to_bits();
        vec![vec![f32::from_bits(bits as u32), f32::from_bits((bits >> 32) as u32)]]
    });
}
