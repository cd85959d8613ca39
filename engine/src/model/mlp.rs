//! Gated MLP: down(silu(gate(x)) * up(x)).

use candle_core::Tensor;

use crate::error::Result;
use crate::model::config::ModelConfig;
use crate::model::ops::OpSet;
use crate::model::weights::Weights;

#[derive(Clone)]
pub(crate) struct Mlp {
    gate: Tensor, // (F, D)
    up: Tensor,   // (F, D)
    down: Tensor, // (D, F)
}

impl Mlp {
    pub(crate) fn new(config: &ModelConfig, layer: usize, weights: &mut Weights) -> Result<Self> {
        let (d, f) = (config.hidden_size, config.intermediate_size);
        let mut take = |part: &str, shape: [usize; 2]| {
            weights.take(&format!("model.layers.{layer}.mlp.{part}.weight"), &shape)
        };
        Ok(Self {
            gate: take("gate_proj", [f, d])?,
            up: take("up_proj", [f, d])?,
            down: take("down_proj", [d, f])?,
        })
    }

    /// x, residual: (R, D) -> residual + MLP(x): (R, D).
    pub(crate) fn forward(&self, x: &Tensor, residual: &Tensor, ops: OpSet<'_>) -> Result<Tensor> {
        let gated =
            ops.swiglu(&ops.linear(x, &self.gate, None)?, &ops.linear(x, &self.up, None)?)?;
        ops.linear_onto(residual, &gated, &self.down)
    }
}
