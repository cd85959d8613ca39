//! Operations on rows one by one: embedding, selection, norm, rotary positions, gated activation.

use std::sync::Arc;

use candle_core::{Result, Shape, Tensor};
use half::bf16;

use super::{Stored, Values, tensor};
use crate::kernels::buffer::unfilled;
use crate::kernels::embedding::{gather_rows, scatter_add_rows};
use crate::kernels::matmul::Beta;
use crate::kernels::norm::{rms_norm, rms_norm_backward};
use crate::kernels::rope::{RopeTable, rope, rope_backward};
use crate::kernels::swiglu::{swiglu, swiglu_backward};
use crate::model::tape::{Gradients, Operation};

/// table: (V, D) -> rows of `ids`: (R, D).
pub(in crate::model) struct Embed {
    pub(in crate::model) table: Tensor,
    pub(in crate::model) ids: Vec<u32>,
}

impl Operation for Embed {
    fn forward(&mut self) -> Result<Tensor> {
        let (_vocabulary, d) = self.table.dims2()?;
        let mut out = unfilled(self.ids.len() * d);
        gather_rows(&Values::of(&self.table)?, &self.ids, &mut out);
        tensor(out, (self.ids.len(), d), &self.table)
    }

    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let gradient = Values::of(&gradient)?;
        gradients.write(&self.table, |dtable, beta| {
            if beta == Beta::Overwrite {
                dtable.fill(0.0);
            }
            scatter_add_rows(&gradient, &self.ids, dtable);
        })
    }
}

/// x: (R, D) -> its rows `rows`, each at most once: (rows, D).
pub(in crate::model) struct SelectRows {
    pub(in crate::model) x: Tensor,
    pub(in crate::model) rows: Vec<u32>,
}

impl Operation for SelectRows {
    fn forward(&mut self) -> Result<Tensor> {
        let (_rows, d) = self.x.dims2()?;
        let mut out = unfilled(self.rows.len() * d);
        gather_rows(&Values::of(&self.x)?, &self.rows, &mut out);
        tensor(out, (self.rows.len(), d), &self.x)
    }

    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let gradient = Values::of(&gradient)?;
        gradients.write(&self.x, |dx, beta| {
            if beta == Beta::Overwrite {
                dx.fill(0.0);
            }
            scatter_add_rows(&gradient, &self.rows, dx);
        })
    }
}

/// The same values in another shape.
pub(in crate::model) struct Reshape {
    pub(in crate::model) x: Tensor,
    pub(in crate::model) shape: Shape,
}

impl Operation for Reshape {
    fn forward(&mut self) -> Result<Tensor> {
        // A tensor of its own even where the shape stays: the tape tells tensors apart by their identity.
        self.x.reshape((1, self.x.elem_count()))?.reshape(self.shape.clone())
    }

    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let gradient = gradient.reshape(self.x.shape())?;
        gradients.add(&self.x, gradient)
    }
}

/// x: (R, D) -> its first `rows` rows, without a copy.
pub(in crate::model) struct FirstRows {
    pub(in crate::model) x: Tensor,
    pub(in crate::model) rows: usize,
}

impl Operation for FirstRows {
    fn forward(&mut self) -> Result<Tensor> {
        self.x.narrow(0, 0, self.rows)
    }

    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let gradient = Values::of(&gradient)?;
        gradients.write(&self.x, |dx, beta| {
            let (first, rest) = dx.split_at_mut(gradient.len());
            match beta {
                Beta::Overwrite => {
                    first.copy_from_slice(&gradient);
                    rest.fill(0.0);
                }
                Beta::Accumulate => {
                    first.iter_mut().zip(gradient.iter()).for_each(|(x, g)| *x += g)
                }
            }
        })
    }
}

/// x: (R, D), weight: (D) -> (R, D).
pub(in crate::model) struct RmsNorm {
    pub(in crate::model) x: Tensor,
    pub(in crate::model) weight: Tensor,
    pub(in crate::model) eps: f32,
    /// Whether only products read the result, in bf16.
    pub(in crate::model) rounded: bool,
}

impl Operation for RmsNorm {
    fn forward(&mut self) -> Result<Tensor> {
        let (x, weight) = (Values::of(&self.x)?, Values::of(&self.weight)?);
        if self.rounded {
            let mut out = unfilled::<bf16>(x.len());
            rms_norm(&x, &weight, self.eps, &mut out);
            return tensor(out, self.x.shape().clone(), &self.x);
        }
        let mut out = unfilled::<f32>(x.len());
        rms_norm(&x, &weight, self.eps, &mut out);
        tensor(out, self.x.shape().clone(), &self.x)
    }

    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let Self { x, weight, eps, .. } = *self;
        let (x_values, weight_values, dy) =
            (Values::of(&x)?, Values::of(&weight)?, Values::of(&gradient)?);
        let mut dweight = vec![0.0; weight_values.len()];
        gradients.write(&x, |dx, beta| {
            rms_norm_backward(&x_values, &weight_values, eps, &dy, (dx, beta), &mut dweight);
        })?;
        gradients.add(&weight, tensor(dweight, weight.shape().clone(), &weight)?)
    }
}

/// x: (R, heads * Dh), each head normed if there is a norm (Dh), then turned by its row's position: (R, heads * Dh).
pub(in crate::model) struct Rotate {
    pub(in crate::model) x: Tensor,
    pub(in crate::model) norm: Option<(Tensor, f32)>,
    pub(in crate::model) table: Arc<RopeTable>,
    pub(in crate::model) positions: Arc<Vec<u32>>,
}

impl Operation for Rotate {
    fn forward(&mut self) -> Result<Tensor> {
        let x = Values::of(&self.x)?;
        let mut out = unfilled(x.len());
        let norm = match &self.norm {
            Some((weight, eps)) => Some((Values::of(weight)?, *eps)),
            None => None,
        };
        let norm = norm.as_ref().map(|(weight, eps)| (&**weight, *eps));
        rope(&x, norm, &self.table, &self.positions, &mut out);
        tensor(out, self.x.shape().clone(), &self.x)
    }

    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let Self { x, norm, table, positions } = *self;
        let (x_values, dy) = (Values::of(&x)?, Values::of(&gradient)?);
        let mut dx = unfilled(x_values.len());
        match &norm {
            None => rope_backward(&x_values, None, &table, &positions, &dy, &mut dx),
            Some((weight, eps)) => {
                let weight_values = Values::of(weight)?;
                let mut dweight = vec![0.0; weight_values.len()];
                let given = Some((&*weight_values, *eps, &mut dweight[..]));
                rope_backward(&x_values, given, &table, &positions, &dy, &mut dx);
                gradients.add(weight, tensor(dweight, weight.shape().clone(), weight)?)?;
            }
        }
        gradients.add(&x, tensor(dx, x.shape().clone(), &x)?)
    }
}

/// gate, up: the same shape -> silu(gate) * up.
pub(in crate::model) struct Swiglu {
    pub(in crate::model) gate: Tensor,
    pub(in crate::model) up: Tensor,
    /// Whether only products read the result and the gradients, in bf16.
    pub(in crate::model) rounded: bool,
}

impl Swiglu {
    fn activated<T: Stored>(&self) -> Result<Tensor> {
        let gate = Values::of(&self.gate)?;
        let mut out = unfilled::<T>(gate.len());
        swiglu(&gate, &Values::of(&self.up)?, &mut out);
        tensor(out, self.gate.shape().clone(), &self.gate)
    }

    fn gradients<T: Stored>(&self, gradient: &Tensor) -> Result<[Tensor; 2]> {
        let (gate, up) = (Values::of(&self.gate)?, Values::of(&self.up)?);
        let (mut dgate, mut dup) = (unfilled::<T>(gate.len()), unfilled::<T>(gate.len()));
        swiglu_backward(&gate, &up, &Values::of(gradient)?, &mut dgate, &mut dup);
        let shape = self.gate.shape();
        Ok([tensor(dgate, shape.clone(), &self.gate)?, tensor(dup, shape.clone(), &self.gate)?])
    }
}

impl Operation for Swiglu {
    fn forward(&mut self) -> Result<Tensor> {
        if self.rounded { self.activated::<bf16>() } else { self.activated::<f32>() }
    }

    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let [dgate, dup] = if self.rounded {
            self.gradients::<bf16>(&gradient)?
        } else {
            self.gradients::<f32>(&gradient)?
        };
        gradients.add(&self.gate, dgate)?;
        gradients.add(&self.up, dup)
    }
}
