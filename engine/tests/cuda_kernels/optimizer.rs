//! The update of all parameters: norm, clipping, moments, and what happens to a step that is not finite.

use diffcoder_engine::kernels::adamw::{AdamwStep, adamw_update, sum_of_squares};
use diffcoder_engine::kernels::cuda::launch::Element::{Bf16, F32};
use diffcoder_engine::kernels::cuda::plan::{self, Flat, Update};

use crate::emulator::{Buffer, assert_close, emulator, numbers};

#[test]
fn two_updates_and_a_skipped_one() {
    let Some(emulator) = emulator() else { return };
    let (count, decayed) = (1000, 600);
    let (others, weight_decay) = (0, 0.1);
    let update =
        Update { betas: [0.9, 0.95], eps: 1e-8, others, weight_decay, decayed, clip_norm: 1.0 };
    let mut p = numbers(count, 1);
    let (mut m, mut v) = (vec![0.0; count], vec![0.0; count]);
    let masters = Buffer::of(F32, &p);
    let (first, second) = (Buffer::of(F32, &m), Buffer::of(F32, &v));
    let copies = Buffer::unwritten(Bf16, count);
    let parts = Buffer::zeros(plan::NORM_BLOCKS as usize);
    let state = Buffer::zeros(5);
    for (step, scale) in [(1, 1.0f32), (2, 0.001)] {
        let g: Vec<f32> = numbers(count, 10 + step as u64).iter().map(|g| g * scale).collect();
        let gradients = Buffer::of(F32, &g);
        let record = Buffer::zeros(4);
        let flat = Flat {
            masters: masters.address(),
            gradients: gradients.address(),
            first: first.address(),
            second: second.address(),
            copies: copies.address(),
            count,
        };
        let at = [parts.address(), record.address(), state.address()];
        emulator.run(&plan::adamw(update, 0.01, flat, at));
        let norm = sum_of_squares(&g).sqrt();
        let found = record.view::<f64>();
        assert!((found[2] / norm - 1.0).abs() < 1e-12 && found[3] == 0.0, "{found:?} {norm}");
        assert_eq!(state.view::<f64>()[0], f64::from(step));
        let cpu = AdamwStep {
            lr: 0.01,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.1,
            bias_correction1: (1.0 - 0.9f64.powi(step)) as f32,
            bias_correction2: (1.0 - 0.95f64.powi(step)) as f32,
            gradient_scale: (1.0 / (norm + 1e-6)).min(1.0) as f32,
        };
        let cut = |x: &mut [f32], at: std::ops::Range<usize>| x[at].to_vec();
        for (range, weight_decay) in [(0..decayed, 0.1), (decayed..count, 0.0)] {
            let [mut p_part, mut m_part, mut v_part] =
                [&mut p, &mut m, &mut v].map(|x| cut(x, range.clone()));
            let cpu = AdamwStep { weight_decay, ..cpu };
            adamw_update(&mut p_part, &g[range.clone()], &mut m_part, &mut v_part, cpu);
            p[range.clone()].copy_from_slice(&p_part);
            m[range.clone()].copy_from_slice(&m_part);
            v[range].copy_from_slice(&v_part);
        }
        for (found, expected) in [(&masters, &p), (&first, &m), (&second, &v)] {
            let found = found.read(F32, count);
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() <= 1e-6 * expected.abs().max(1e-3),
                    "{found} {expected}"
                );
            }
        }
        assert_close(Bf16, &copies.read(Bf16, count), &p, "copies");
    }
    let before = masters.read(F32, count);
    let mut g = numbers(count, 20);
    for bad in [f32::NAN, f32::INFINITY] {
        g[777] = bad;
        let gradients = Buffer::of(F32, &g);
        let record = Buffer::zeros(4);
        let flat = Flat {
            masters: masters.address(),
            gradients: gradients.address(),
            first: first.address(),
            second: second.address(),
            copies: copies.address(),
            count,
        };
        emulator.run(&plan::adamw(
            update,
            0.01,
            flat,
            [parts.address(), record.address(), state.address()],
        ));
        assert_eq!(record.view::<f64>()[3], 1.0, "skipped");
        assert_eq!(state.view::<f64>()[0], 2.0, "not counted");
        assert_eq!(masters.read(F32, count), before);
    }
}
