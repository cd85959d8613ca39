//! Projections: `x W^T`, with a bias or the residual stream added to it.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::{Operand, Values, tensor, with_operand};
use crate::kernels::buffer::unfilled;
use crate::kernels::matmul::{Beta, MatRef, Packed, Precision, matmul};
use crate::kernels::quantized::Quantized;
use crate::model::tape::{Gradients, Operation};

/// x: (R, In), weight: (Out, In) -> x W^T, plus what `plus` says: (R, Out).
pub(in crate::model) struct Linear {
    pub(in crate::model) x: Tensor,
    pub(in crate::model) weight: Tensor,
    pub(in crate::model) plus: Plus,
    pub(in crate::model) precision: Precision,
    pub(in crate::model) kept: Kept,
}

/// In which form the weight is kept besides its numbers.
pub(in crate::model) enum Kept {
    Nothing,
    /// As products in bf16 take it.
    Packed(Arc<Packed>),
    /// As products of a few rows in f32 take it.
    Quantized(Arc<Quantized>),
}

/// What is added to a product.
pub(in crate::model) enum Plus {
    Nothing,
    /// (Out), to every row.
    Bias(Tensor),
    /// (R, Out)
    Residual(Tensor),
}

impl Operation for Linear {
    fn forward(&mut self) -> Result<Tensor> {
        let ((rows, inner), (outer, _inner)) = (self.x.dims2()?, self.weight.dims2()?);
        let (mut out, beta) = match &self.plus {
            Plus::Nothing => (unfilled(rows * outer), Beta::Overwrite),
            Plus::Bias(bias) => (Values::of(bias)?.repeat(rows), Beta::Accumulate),
            Plus::Residual(residual) => (Values::of(residual)?.to_vec(), Beta::Accumulate),
        };
        let (x, weight) = (Operand::of(&self.x)?, Values::of(&self.weight)?);
        let weight = MatRef::new(&weight, outer, inner).t();
        with_operand!(&x, |x| {
            let x = MatRef::new(x, rows, inner);
            match &self.kept {
                Kept::Packed(packed) => packed.matmul(x, &mut out, beta),
                Kept::Quantized(quantized) => quantized.multiply(x, &mut out, beta),
                Kept::Nothing => matmul(x, weight, &mut out, beta, self.precision),
            }
        });
        tensor(out, (rows, outer), &self.x)
    }

    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let Self { x, weight, plus, precision, kept: _ } = *self;
        let ((rows, inner), (outer, _inner)) = (x.dims2()?, weight.dims2()?);
        {
            let (x_values, weight_values, dy_values) =
                (Operand::of(&x)?, Values::of(&weight)?, Operand::of(&gradient)?);
            with_operand!(&dy_values, |dy| {
                let dy = MatRef::new(dy, rows, outer);
                gradients.write(&weight, |dweight, beta| {
                    with_operand!(&x_values, |x| {
                        matmul(dy.t(), MatRef::new(x, rows, inner), dweight, beta, precision);
                    });
                })?;
                gradients.write(&x, |dx, beta| {
                    matmul(dy, MatRef::new(&weight_values, outer, inner), dx, beta, precision);
                })?;
            });
            if let Plus::Bias(bias) = &plus {
                let gradient = Values::of(&gradient)?;
                gradients.write(bias, |dbias, beta| {
                    if beta == Beta::Overwrite {
                        dbias.fill(0.0);
                    }
                    for row in gradient.chunks_exact(outer) {
                        dbias.iter_mut().zip(row).for_each(|(sum, dy)| *sum += dy);
                    }
                })?;
            }
        }
        match plus {
            Plus::Nothing | Plus::Bias(_) => Ok(()),
            // Nothing else holds it any more.
            Plus::Residual(residual) => gradients.add(&residual, gradient),
        }
    }
}
