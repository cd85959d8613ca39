//! The model's operations on a CUDA device, as the tape wants them; the arithmetic is `kernels::cuda::operations`.
//!
//! Activations and their gradients have the type of the weights (bf16), gradients of weights are f32.

use candle_core::{Result, Tensor, bail};

use crate::kernels::cuda::launch::DeviceAttentionShape;
use crate::kernels::cuda::operations::{self as device, Angles, Onto};
use crate::model::fused::Plus;
use crate::model::mask::SequenceMask;
use crate::model::ops::SequenceShape;
use crate::model::tape::{Gradients, Operation};

/// table: (V, D), ids: (R) -> (R, D).
pub(super) struct Embed {
    pub(super) table: Tensor,
    pub(super) ids: Tensor,
}

impl Operation for Embed {
    fn forward(&mut self) -> Result<Tensor> {
        device::gather_rows(&self.table, &self.ids)
    }

    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        device::scatter_add_rows(&gradient, &self.ids, &gradients.device_sum(&self.table)?)
    }
}

/// x: (R, D) -> its rows `rows`, each at most once.
pub(super) struct SelectRows {
    pub(super) x: Tensor,
    pub(super) rows: Tensor,
}

impl Operation for SelectRows {
    fn forward(&mut self) -> Result<Tensor> {
        device::gather_rows(&self.x, &self.rows)
    }

    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let (all, _) = self.x.dims2()?;
        let dx = device::spread_rows(&gradient, &self.rows, all)?;
        gradients.add_on_device(&self.x, dx)
    }
}

/// x: (R, In), weight: (Out, In) -> x W^T, plus what `plus` says: (R, Out).
pub(super) struct Linear {
    pub(super) x: Tensor,
    pub(super) weight: Tensor,
    pub(super) plus: Plus,
}

impl Operation for Linear {
    fn forward(&mut self) -> Result<Tensor> {
        let onto = match &self.plus {
            Plus::Nothing => Onto::Nothing,
            Plus::Bias(bias) => Onto::Bias(bias),
            Plus::Residual(residual) => Onto::Rows(residual),
        };
        device::linear(&self.x, &self.weight, onto)
    }

    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let Self { x, weight, plus } = *self;
        device::linear_dw(&gradient, &x, &gradients.device_sum(&weight)?)?;
        let earlier = gradients.take(&x);
        let dx = device::linear_dx(&gradient, &weight, earlier)?;
        gradients.add_on_device(&x, dx)?;
        match plus {
            Plus::Nothing => Ok(()),
            Plus::Bias(bias) => device::linear_dbias(&gradient, &gradients.device_sum(&bias)?),
            // Nothing else holds it any more.
            Plus::Residual(residual) => gradients.add_on_device(&residual, gradient),
        }
    }
}

/// x: (.., D), weight: (D) -> (.., D).
pub(super) struct RmsNorm {
    pub(super) x: Tensor,
    pub(super) weight: Tensor,
    pub(super) eps: f32,
}

impl Operation for RmsNorm {
    fn forward(&mut self) -> Result<Tensor> {
        device::rms_norm(&self.x, &self.weight, self.eps)
    }

    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let Self { x, weight, eps } = *self;
        let dweight = gradients.device_sum(&weight)?;
        // What came over the residual stream is added on the way.
        let earlier = gradients.take(&x);
        let dx =
            device::rms_norm_backward(&x, (&weight, eps), &gradient, earlier.as_ref(), &dweight)?;
        gradients.add_on_device(&x, dx)
    }
}

/// x: (R, heads * Dh), each head normed if there is a norm (Dh), then turned by its row's position.
pub(super) struct Rotate {
    pub(super) x: Tensor,
    pub(super) norm: Option<(Tensor, f32)>,
    pub(super) angles: Angles,
}

impl Operation for Rotate {
    fn forward(&mut self) -> Result<Tensor> {
        let norm = self.norm.as_ref().map(|(weight, eps)| (weight, *eps));
        device::head_rope(&self.x, norm, &self.angles)
    }

    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let Self { x, norm, angles } = *self;
        let dweight = match &norm {
            Some((weight, _)) => Some(gradients.device_sum(weight)?),
            None => None,
        };
        let norm = norm.as_ref().zip(dweight.as_ref());
        let norm = norm.map(|((weight, eps), dweight)| (weight, *eps, dweight));
        let dx = device::head_rope_backward(&x, norm, &angles, &gradient)?;
        gradients.add_on_device(&x, dx)
    }
}

/// gate, up: the same shape -> silu(gate) * up.
pub(super) struct Swiglu {
    pub(super) gate: Tensor,
    pub(super) up: Tensor,
}

impl Operation for Swiglu {
    fn forward(&mut self) -> Result<Tensor> {
        device::swiglu(&self.gate, &self.up)
    }

    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let [dgate, dup] = device::swiglu_backward(&self.gate, &self.up, &gradient)?;
        gradients.add_on_device(&self.gate, dgate)?;
        gradients.add_on_device(&self.up, dup)
    }
}

/// The kernels' block length for a mask over `keys` keys.
pub(super) fn block_of(mask: SequenceMask, keys: usize) -> usize {
    match mask {
        SequenceMask::Causal => 1,
        SequenceMask::Full => keys,
        SequenceMask::BlockCausal { block } => block,
    }
}

/// The kernels' sizes for a batch of whole sequences.
pub(super) fn sequences(shape: SequenceShape, block: usize) -> DeviceAttentionShape {
    DeviceAttentionShape {
        sequences: shape.batch as i32,
        queries: shape.len as i32,
        keys: shape.len as i32,
        query_start: 0,
        heads: shape.n_heads as i32,
        kv_heads: shape.n_kv_heads as i32,
        block: block as i32,
        doubled: 0,
        scale: 1.0 / (shape.head_size as f32).sqrt(),
    }
}

/// The kernels' sizes for a batch of noisy sequences and their clean copies; `shape` is that of one half.
pub(super) fn doubled_sequences(shape: SequenceShape, block: usize) -> DeviceAttentionShape {
    let one = sequences(shape, block);
    DeviceAttentionShape { sequences: 2 * one.sequences, doubled: 1, ..one }
}

/// Attention over whole sequences, plain or doubled. q: (rows, H * Dh), k, v: (rows, Hkv * Dh) -> (rows, H * Dh).
pub(super) struct Attention {
    pub(super) qkv: [Tensor; 3],
    pub(super) shape: DeviceAttentionShape,
    pub(super) head_size: usize,
    /// Output and log-sum-exp of the forward.
    pub(super) kept: Option<[Tensor; 2]>,
}

impl Operation for Attention {
    fn forward(&mut self) -> Result<Tensor> {
        let [out, lse] = device::attention(self.shape, self.head_size, self.qkv.each_ref())?;
        self.kept = Some([out.clone(), lse]);
        Ok(out)
    }

    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let Self { qkv, shape, head_size, kept } = *self;
        let Some(kept) = kept else { bail!("attention runs backward before forward") };
        let results = device::attention_backward(
            shape,
            head_size,
            qkv.each_ref(),
            kept.each_ref(),
            &gradient,
        )?;
        for (of, gradient) in qkv.iter().zip(results) {
            gradients.add_on_device(of, gradient)?;
        }
        Ok(())
    }
}

/// hidden: (R, D), weight: (V, D) -> cross-entropy of each row: (R) f32.
pub(super) struct HeadNll {
    pub(super) hidden: Tensor,
    pub(super) weight: Tensor,
    pub(super) targets: Tensor,
}

impl Operation for HeadNll {
    fn forward(&mut self) -> Result<Tensor> {
        device::head_nll(&self.hidden, &self.weight, &self.targets)
    }

    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let Self { hidden, weight, targets } = *self;
        let dweight = gradients.device_sum(&weight)?;
        let dhidden = device::head_nll_backward(&hidden, &weight, &targets, &gradient, &dweight)?;
        gradients.add_on_device(&hidden, dhidden)
    }
}
