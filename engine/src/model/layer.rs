//! One transformer layer: norm, attention, norm, gated MLP, each half added to the residual.

use candle_core::Tensor;

use crate::error::Result;
use crate::model::attention::{Attention, Plan};
use crate::model::config::ModelConfig;
use crate::model::mlp::Mlp;
use crate::model::ops::OpSet;
use crate::model::rope::Rotation;
use crate::model::weights::Weights;

#[derive(Clone)]
pub(crate) struct Layer {
    input_norm: Tensor, // (D)
    attention: Attention,
    post_attention_norm: Tensor, // (D)
    mlp: Mlp,
    eps: f32,
}

impl Layer {
    pub(crate) fn new(config: &ModelConfig, layer: usize, weights: &mut Weights) -> Result<Self> {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let d = [config.hidden_size];
        Ok(Self {
            input_norm: weights.take(&name("input_layernorm.weight"), &d)?,
            attention: Attention::new(config, layer, weights)?,
            post_attention_norm: weights.take(&name("post_attention_layernorm.weight"), &d)?,
            mlp: Mlp::new(config, layer, weights)?,
            eps: config.rms_norm_eps,
        })
    }

    /// hidden: (R, D) -> its first `wanted` rows: (wanted, D). The others only lend their keys and values.
    pub(crate) fn forward(
        &self,
        (hidden, wanted): (&Tensor, usize),
        ops: OpSet<'_>,
        rotation: &Rotation,
        plan: &mut Plan<'_, '_>,
    ) -> Result<Tensor> {
        let normed = ops.rms_norm_operand(hidden, &self.input_norm, self.eps)?;
        let residual = ops.first_rows(hidden, wanted)?;
        let hidden = self.attention.forward((&normed, &residual), ops, rotation, plan)?;
        let normed = ops.rms_norm_operand(&hidden, &self.post_attention_norm, self.eps)?;
        self.mlp.forward(&normed, &hidden, ops)
    }
}
