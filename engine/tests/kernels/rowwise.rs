//! Norm, rope, activation and table lookup.

use diffcoder_engine::kernels::embedding::{gather_rows, scatter_add_rows};
use diffcoder_engine::kernels::matmul::Beta;
use diffcoder_engine::kernels::norm::{rms_norm, rms_norm_backward};
use diffcoder_engine::kernels::rope::{RopeTable, rope, rope_backward};
use diffcoder_engine::kernels::swiglu::{swiglu, swiglu_backward};

use half::bf16;

use crate::reference::{
    assert_close, assert_same_on_any_pool, differences, numbers, weighted_sum, wide,
};

const TOLERANCE: f64 = 2e-6;
const EPS: f32 = 1e-5;

fn plain_norm(x: &[f64], weight: &[f64]) -> Vec<f64> {
    x.chunks(weight.len())
        .flat_map(|x| {
            let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
            let scale = 1.0 / (mean + f64::from(EPS)).sqrt();
            x.iter().zip(weight).map(|(x, w)| x * scale * w).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn norm_and_its_gradient_match_plain_loops() {
    for (rows, width) in [(1, 1), (3, 7), (5, 16), (2, 33), (4, 64)] {
        let (x, weight, dy) =
            (numbers(1, rows * width), numbers(2, width), numbers(3, rows * width));
        let mut y = vec![0.0; x.len()];
        rms_norm(&x, &weight, EPS, &mut y);
        assert_close(&y, &plain_norm(&wide(&x), &wide(&weight)), TOLERANCE, "y");

        let (mut dx, mut dweight) = (vec![f32::NAN; x.len()], vec![1.0; width]);
        rms_norm_backward(&x, &weight, EPS, &dy, (&mut dx, Beta::Overwrite), &mut dweight);
        let (mut sum, mut twice) = (numbers(4, x.len()), vec![0.0; width]);
        let wanted: Vec<f64> = sum.iter().zip(&dx).map(|(a, b)| f64::from(a + b)).collect();
        rms_norm_backward(&x, &weight, EPS, &dy, (&mut sum, Beta::Accumulate), &mut twice);
        assert_close(&sum, &wanted, TOLERANCE, "dx added");
        let by_x = differences(&wide(&x), |x| weighted_sum(&plain_norm(x, &wide(&weight)), &dy));
        assert_close(&dx, &by_x, 1e-5, "dx");
        let by_weight =
            differences(&wide(&weight), |w| weighted_sum(&plain_norm(&wide(&x), w), &dy));
        let added: Vec<f32> = dweight.iter().map(|x| x - 1.0).collect();
        assert_close(&added, &by_weight, 1e-5, "dweight");
    }
}

#[test]
fn norm_of_many_rows_equals_the_norm_of_each() {
    let (rows, width) = (1000, 96);
    let (x, weight) = (numbers(4, rows * width), numbers(5, width));
    let mut y = vec![0.0; x.len()];
    rms_norm(&x, &weight, EPS, &mut y);
    for (x, y) in x.chunks(width).zip(y.chunks(width)) {
        let mut alone = vec![0.0; width];
        rms_norm(x, &weight, EPS, &mut alone);
        assert_eq!(alone, y);
    }
    assert_same_on_any_pool(|| {
        let (mut dx, mut dweight) = (vec![0.0; x.len()], numbers(6, width));
        rms_norm_backward(&x, &weight, EPS, &y, (&mut dx, Beta::Overwrite), &mut dweight);
        vec![dx, dweight]
    });
}

#[test]
fn rope_turns_halves_by_exact_angles_and_back() {
    let (theta, size, heads) = (500_000.0, 64, 3);
    let table = RopeTable::new(theta, size, 9000);
    assert_eq!((table.positions(), table.head_size()), (9000, 64));
    let positions: Vec<u32> =
        (0..200).map(|i| if i % 3 == 0 { 8999 - i } else { i * 40 }).collect();
    let x = numbers(7, positions.len() * heads * size);
    let mut y = vec![0.0; x.len()];
    rope(&x, None, &table, &positions, &mut y);
    let mut wanted = vec![0.0f64; x.len()];
    for (row, &position) in positions.iter().enumerate() {
        for head in 0..heads {
            let at = (row * heads + head) * size;
            for i in 0..size / 2 {
                let angle = f64::from(position) / theta.powf(2.0 * i as f64 / size as f64);
                let (low, high) = (f64::from(x[at + i]), f64::from(x[at + i + size / 2]));
                wanted[at + i] = low * angle.cos() - high * angle.sin();
                wanted[at + i + size / 2] = high * angle.cos() + low * angle.sin();
            }
        }
    }
    assert_close(&y, &wanted, 1e-6, "turned");
    let mut back = vec![0.0; x.len()];
    rope_backward(&y, None, &table, &positions, &y, &mut back);
    assert_close(&back, &wide(&x), 1e-6, "turned back");
}

#[test]
#[should_panic(expected = "outside the table of 10")]
fn rope_refuses_a_position_outside_its_table() {
    rope(&[0.0; 4], None, &RopeTable::new(1e4, 4, 10), &[10], &mut [0.0; 4]);
}

#[test]
fn rope_after_a_norm_is_the_norm_then_the_rope() {
    let (size, heads) = (16, 3);
    let table = RopeTable::new(1e4, size, 300);
    for rows in [1, 70, 200] {
        let positions: Vec<u32> = (0..rows as u32).map(|i| i * 7 % 300).collect();
        let (x, weight) = (numbers(21, rows * heads * size), numbers(22, size));
        let dy = numbers(23, x.len());
        let (mut normed, mut wanted, mut y) =
            (vec![0.0; x.len()], vec![0.0; x.len()], vec![0.0; x.len()]);
        rms_norm(&x, &weight, EPS, &mut normed);
        rope(&normed, None, &table, &positions, &mut wanted);
        rope(&x, Some((&weight, EPS)), &table, &positions, &mut y);
        assert_eq!(y, wanted);
        let (mut turned, mut dx, mut dw) =
            (vec![0.0; x.len()], vec![0.0; x.len()], vec![0.0; size]);
        rope_backward(&normed, None, &table, &positions, &dy, &mut turned);
        rms_norm_backward(&x, &weight, EPS, &turned, (&mut dx, Beta::Overwrite), &mut dw);
        let (mut found, mut found_dw) = (vec![0.0; x.len()], vec![0.0; size]);
        let norm = Some((&weight[..], EPS, &mut found_dw[..]));
        rope_backward(&x, norm, &table, &positions, &dy, &mut found);
        assert_close(&found, &wide(&dx), TOLERANCE, "dx");
        assert_close(&found_dw, &wide(&dw), 1e-5, "dweight");
    }
}

#[test]
fn swiglu_and_its_gradient_match_plain_formulas() {
    for count in [1, 15, 16, 1000, 40_000] {
        let gate: Vec<f32> = numbers(8, count).iter().map(|x| x * 30.0).collect();
        let (up, dy) = (numbers(9, count), numbers(10, count));
        let (mut y, mut dgate, mut dup) = (vec![0.0; count], vec![0.0; count], vec![0.0; count]);
        swiglu(&gate, &up, &mut y);
        swiglu_backward(&gate, &up, &dy, &mut dgate, &mut dup);
        let silu = |g: f64| g / (1.0 + (-g).exp());
        let each = |f: &dyn Fn(usize) -> f64| (0..count).map(f).collect::<Vec<f64>>();
        let (gate, up, dy) = (wide(&gate), wide(&up), wide(&dy));
        assert_close(&y, &each(&|i| silu(gate[i]) * up[i]), TOLERANCE, "y");
        assert_close(&dup, &each(&|i| silu(gate[i]) * dy[i]), TOLERANCE, "dup");
        let slope = |g: f64| (silu(g + 1e-5) - silu(g - 1e-5)) / 2e-5;
        assert_close(&dgate, &each(&|i| slope(gate[i]) * up[i] * dy[i]), 1e-5, "dgate");
    }
}

#[test]
fn results_kept_in_bf16_are_the_rounded_ones() {
    let count = 40_000;
    let (gate, up, dy) = (numbers(31, count), numbers(32, count), numbers(33, count));
    let rounded = |x: &[f32]| x.iter().map(|&x| bf16::from_f32(x)).collect::<Vec<_>>();
    let blank = || (vec![0f32; count], vec![bf16::ZERO; count]);
    let ((mut exact, mut kept), (mut dgate, mut kept_dgate), (mut dup, mut kept_dup)) =
        (blank(), blank(), blank());
    swiglu(&gate, &up, &mut exact);
    swiglu(&gate, &up, &mut kept);
    assert_eq!(kept, rounded(&exact));
    swiglu_backward(&gate, &up, &dy, &mut dgate, &mut dup);
    swiglu_backward(&gate, &up, &dy, &mut kept_dgate, &mut kept_dup);
    assert_eq!((kept_dgate, kept_dup), (rounded(&dgate), rounded(&dup)));
    let weight = numbers(34, 80);
    rms_norm(&gate, &weight, EPS, &mut exact);
    rms_norm(&gate, &weight, EPS, &mut kept);
    assert_eq!(kept, rounded(&exact));
}

#[test]
fn swiglu_of_extreme_gates_is_finite() {
    let gate = [-1e30, -200.0, -88.5, 88.5, 200.0, 1e30];
    let mut y = [f32::NAN; 6];
    swiglu(&gate, &[1.0; 6], &mut y);
    assert!(y[..3].iter().all(|y| y.abs() < 1e-5), "{y:?}");
    assert_eq!(&y[3..], &gate[3..]);
    let (mut dgate, mut dup) = ([f32::NAN; 6], [f32::NAN; 6]);
    swiglu_backward(&gate, &[1.0; 6], &[1.0; 6], &mut dgate, &mut dup);
    assert!(dgate.iter().chain(&dup).all(|x| x.is_finite()), "{dgate:?} {dup:?}");
}

#[test]
fn rows_are_gathered_and_their_gradients_return() {
    for (table_rows, width, count) in [(1, 1, 1), (5, 3, 11), (600, 64, 3000)] {
        let table = numbers(11, table_rows * width);
        let ids: Vec<u32> = (0..count).map(|i| ((i * 7919) % table_rows) as u32).collect();
        let mut rows = vec![0.0; count * width];
        gather_rows(&table, &ids, &mut rows);
        let grad = numbers(12, count * width);
        let mut dtable = table.clone();
        let mut wanted = table.clone();
        scatter_add_rows(&grad, &ids, &mut dtable);
        for (row, &id) in ids.iter().enumerate() {
            assert_eq!(rows[row * width..][..width], table[id as usize * width..][..width]);
            for i in 0..width {
                wanted[id as usize * width + i] += grad[row * width + i];
            }
        }
        assert_eq!(dtable, wanted);
    }
    gather_rows(&[1.0], &[], &mut []);
    scatter_add_rows(&[], &[], &mut [1.0]);
}
