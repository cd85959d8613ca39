//! Clipping by the global gradient norm.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use diffcoder_engine::kernels::adamw::sum_of_squares;

use crate::optim::adamw::with_f32;

/// Root of the summed squares of all gradients, in f64.
pub fn global_norm(grads: &BTreeMap<String, Tensor>) -> Result<f64> {
    let mut sum = 0.0;
    for grad in grads.values() {
        sum += with_f32(grad, sum_of_squares)?;
    }
    Ok(sum.sqrt())
}

/// What gradients of norm `norm` are multiplied with so that their norm is at most `max_norm`.
pub fn clip_scale(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn norm_spans_all_tensors_and_scale_only_shrinks() {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let grads = BTreeMap::from([
            ("a".to_owned(), tensor(&[3.0, 0.0])),
            ("b".to_owned(), tensor(&[0.0, 4.0])),
        ]);
        assert!((global_norm(&grads).unwrap() - 5.0).abs() < 1e-12);
        assert!((clip_scale(5.0, 1.0) - 0.2).abs() < 1e-6);
        assert_eq!(clip_scale(0.5, 1.0), 1.0);
    }
}
