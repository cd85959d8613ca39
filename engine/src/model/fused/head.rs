//! The head with the cross-entropy of its targets; no logits are kept.

use candle_core::{Result, Tensor};

use super::{Values, tensor};
use crate::kernels::buffer::unfilled;
use crate::kernels::cross_entropy::{head_nll, head_nll_backward};
use crate::kernels::matmul::{Beta, Precision};
use crate::model::tape::{Gradients, Operation};

/// hidden: (R, D), weight: (V, D) -> cross-entropy of each row: (R).
pub(in crate::model) struct HeadNll {
    pub(in crate::model) hidden: Tensor,
    pub(in crate::model) weight: Tensor,
    pub(in crate::model) targets: Vec<u32>,
    pub(in crate::model) precision: Precision,
}

impl Operation for HeadNll {
    fn forward(&mut self) -> Result<Tensor> {
        let mut nll = unfilled(self.targets.len());
        let (hidden, weight) = (Values::of(&self.hidden)?, Values::of(&self.weight)?);
        head_nll(&hidden, &weight, &self.targets, self.precision, &mut nll);
        tensor(nll, self.targets.len(), &self.hidden)
    }

    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let Self { hidden, weight, targets, precision } = *self;
        let (hidden_values, weight_values, dnll) =
            (Values::of(&hidden)?, Values::of(&weight)?, Values::of(&gradient)?);
        let mut dhidden = unfilled(hidden_values.len());
        gradients.write(&weight, |dweight, beta| {
            if beta == Beta::Overwrite {
                dweight.fill(0.0);
            }
            head_nll_backward(
                &hidden_values,
                &weight_values,
                &targets,
                &dnll,
                precision,
                &mut dhidden,
                dweight,
            );
        })?;
        gradients.add(&hidden, tensor(dhidden, hidden.shape().clone(), &hidden)?)
    }
}
