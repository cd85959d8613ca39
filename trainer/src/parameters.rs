//! The trained parameters: variables by name, their initial values, and the model over them.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use diffcoder_engine::error::Result;
use diffcoder_engine::model::Model;
use diffcoder_engine::model::config::ModelConfig;
use diffcoder_engine::model::ops::Ops;
use diffcoder_engine::model::weights::Weights;

/// Standard deviation of initial matrices and embeddings.
const INIT_STD: f64 = 0.02;

/// All parameters of a model as f32 variables, in the order of their names.
pub struct Parameters(BTreeMap<String, Var>);

impl Parameters {
    /// Draws initial values, parameter by parameter in the order of names.
    ///
    /// Matrices and embeddings are normal with deviation 0.02, the two projections that write into the residual stream
    /// smaller by `1/sqrt(2L)` so that its variance does not grow with depth; norms are 1, biases 0.
    pub fn init(config: &ModelConfig, rng: &mut ChaCha8Rng) -> Result<Self> {
        let mut shapes = config.parameter_shapes();
        shapes.sort();
        let residual = INIT_STD / (2.0 * config.n_layers as f64).sqrt();
        let mut variables = BTreeMap::new();
        for (name, shape) in shapes {
            let n = shape.iter().product();
            let writes_residual =
                name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
            let values = if name.ends_with("norm.weight") {
                vec![1.0; n]
            } else if name.ends_with(".bias") {
                vec![0.0; n]
            } else {
                normal(rng, n, if writes_residual { residual } else { INIT_STD })
            };
            variables.insert(name, Var::from_vec(values, shape, &Device::Cpu)?);
        }
        Ok(Self(variables))
    }

    /// Takes existing tensors as starting values.
    pub fn from_tensors(tensors: &BTreeMap<String, Tensor>) -> Result<Self> {
        let variables = tensors
            .iter()
            .map(|(name, tensor)| Ok((name.clone(), Var::from_tensor(tensor)?)))
            .collect::<Result<_>>()?;
        Ok(Self(variables))
    }

    /// Takes existing variables.
    pub(crate) fn from_variables(variables: BTreeMap<String, Var>) -> Self {
        Self(variables)
    }

    /// The variables by name.
    pub fn variables(&self) -> &BTreeMap<String, Var> {
        &self.0
    }

    /// A model over these variables: it sees every later update, and gradients reach every one of them.
    pub fn model(&self, config: &ModelConfig, ops: Ops) -> Result<Model> {
        let tensors =
            self.0.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
        Model::new(config, Weights::from_tensors(tensors, "the trained parameters"), ops)
    }
}

/// Normal numbers by Box and Muller's transform, in f64.
fn normal(rng: &mut ChaCha8Rng, n: usize, std: f64) -> Vec<f32> {
    let mut values = Vec::with_capacity(n + 1);
    while values.len() < n {
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt() * std;
        let (sin, cos) = (std::f64::consts::TAU * rng.random::<f64>()).sin_cos();
        values.extend([(radius * cos) as f32, (radius * sin) as f32]);
    }
    values.truncate(n);
    values
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn normal_numbers_have_their_deviation() {
        let values = normal(&mut ChaCha8Rng::seed_from_u64(1), 100_001, 0.02);
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        assert_eq!(values.len(), 100_001);
        assert!(mean.abs() < 3e-4 && (variance.sqrt() - 0.02).abs() < 3e-4);
    }
}
