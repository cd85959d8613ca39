//! Rotary positions in Hugging Face's convention: dimension i turns with dimension i + Dh/2.

use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::model::config::ModelConfig;

/// Rotary frequencies of one model.
pub(crate) struct Rope {
    inverse_frequencies: Vec<f32>, // (Dh/2)
}

/// Cosines and sines for the rows of one forward, each (R, Dh/2).
pub(crate) struct Rotation {
    pub(crate) cos: Tensor,
    pub(crate) sin: Tensor,
}

impl Rope {
    pub(crate) fn new(config: &ModelConfig) -> Self {
        let dh = config.head_size;
        let frequency =
            |i: usize| (1.0 / config.rope_theta.powf((2 * i) as f64 / dh as f64)) as f32;
        Self { inverse_frequencies: (0..dh / 2).map(frequency).collect() }
    }

    /// Angles are products of f32 values as in the reference, their sines exact to f32 even at large positions.
    pub(crate) fn at(&self, positions: &[u32]) -> Result<Rotation> {
        let half = self.inverse_frequencies.len();
        let mut cos = Vec::with_capacity(positions.len() * half);
        let mut sin = Vec::with_capacity(positions.len() * half);
        for &position in positions {
            for &frequency in &self.inverse_frequencies {
                let (s, c) = f64::from(position as f32 * frequency).sin_cos();
                cos.push(c as f32);
                sin.push(s as f32);
            }
        }
        let shape = (positions.len(), half);
        Ok(Rotation {
            cos: Tensor::from_vec(cos, shape, &Device::Cpu)?,
            sin: Tensor::from_vec(sin, shape, &Device::Cpu)?,
        })
    }
}
