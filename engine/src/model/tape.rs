//! Gradients of the fused operations: a tape of what ran, walked backwards.
//!
//! Our kernels bring their own backward, so all that is left of autodiff is the order and the sums. candle's would
//! allocate a tensor of zeros for each operand of each operation and then add the first gradient to it: measured, a
//! quarter of a training step of a small model. Here the first gradient of a tensor is moved into place, later ones are
//! added by the kernel that makes them, and those of parameters stay from one micro-batch to the next.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, TensorId, bail};

use crate::kernels::buffer::unfilled;
use crate::kernels::cuda::launch::Element;
use crate::kernels::cuda::operations;
use crate::kernels::matmul::Beta;

/// A differentiable operation with its operands.
pub(super) trait Operation: Send + 'static {
    /// Computes the result and keeps what `backward` needs of it.
    fn forward(&mut self) -> Result<Tensor>;

    /// Adds what `gradient`, that of the result, means for each operand.
    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()>;
}

struct Node {
    result: TensorId,
    operation: Box<dyn Operation>,
}

/// The operations of recorded forwards in the order in which they ran.
#[derive(Default)]
pub(super) struct Tape(Mutex<Vec<Node>>);

impl Tape {
    pub(super) fn push(&self, result: &Tensor, operation: Box<dyn Operation>) {
        let node = Node { result: result.id(), operation };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(node);
    }

    /// Adds the gradient of `sum(output * seed)` to `gradients` and empties the tape.
    pub(super) fn backward(
        &self,
        output: &Tensor,
        seed: &Tensor,
        gradients: &mut Gradients,
    ) -> Result<()> {
        let nodes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        gradients.add(output, seed.copy()?)?;
        for Node { result, operation } in nodes.into_iter().rev() {
            // A result that the output does not depend on has none.
            if let Some(gradient) = gradients.0.remove(&result) {
                operation.backward(gradient, gradients)?;
            }
        }
        Ok(())
    }
}

/// Gradients by tensor; parameters keep theirs until they are taken.
#[derive(Default)]
pub struct Gradients(HashMap<TensorId, Tensor>);

impl Gradients {
    /// Takes the gradient of a tensor out, if any reached it.
    pub fn take(&mut self, of: &Tensor) -> Option<Tensor> {
        self.0.remove(&of.id())
    }

    /// Adds a gradient whose storage nothing else holds: later ones are added to it in place.
    pub(super) fn add(&mut self, of: &Tensor, gradient: Tensor) -> Result<()> {
        if let Some(sum) = self.0.get(&of.id()) {
            let gradient = super::fused::Values::of(&gradient)?;
            return write_into(sum, |sum| {
                for (sum, gradient) in sum.iter_mut().zip(gradient.iter()) {
                    *sum += gradient;
                }
            });
        }
        self.0.insert(of.id(), gradient);
        Ok(())
    }

    /// The f32 sum of a weight's gradients on its device; zeros if there is none yet.
    pub(super) fn device_sum(&mut self, of: &Tensor) -> Result<Tensor> {
        if let Some(sum) = self.0.get(&of.id()) {
            return Ok(sum.clone());
        }
        let sum = operations::unfilled(of.shape().clone(), Element::F32, of.device())?;
        operations::zero(&sum)?;
        self.0.insert(of.id(), sum.clone());
        Ok(sum)
    }

    /// Lets the gradients of a weight on a device be added up in `sum`, f32 and of its shape.
    pub fn sum_in(&mut self, of: &Tensor, sum: Tensor) {
        self.0.insert(of.id(), sum);
    }

    /// As [`Self::add`] for tensors on a device.
    pub(super) fn add_on_device(&mut self, of: &Tensor, gradient: Tensor) -> Result<()> {
        match self.0.get(&of.id()) {
            Some(sum) => operations::add_into(sum, &gradient),
            None => {
                self.0.insert(of.id(), gradient);
                Ok(())
            }
        }
    }

    /// Adds candle's gradients of the same parameters.
    pub(super) fn add_all(&mut self, store: &candle_core::backprop::GradStore) -> Result<()> {
        for id in store.get_ids() {
            let Some(gradient) = store.get_id(*id) else { continue };
            let sum = match self.0.remove(id) {
                Some(sum) => (sum + gradient)?,
                None => gradient.clone(),
            };
            self.0.insert(*id, sum);
        }
        Ok(())
    }

    /// Lets `kernel` write the gradient of a tensor, or add to the one that is there, as the [`Beta`] it gets says.
    pub(super) fn write(
        &mut self,
        of: &Tensor,
        kernel: impl FnOnce(&mut [f32], Beta),
    ) -> Result<()> {
        if let Some(sum) = self.0.get(&of.id()) {
            return write_into(sum, |sum| kernel(sum, Beta::Accumulate));
        }
        let mut gradient = unfilled(of.elem_count());
        kernel(&mut gradient, Beta::Overwrite);
        self.0.insert(of.id(), Tensor::from_vec(gradient, of.shape(), of.device())?);
        Ok(())
    }
}

/// Lets `work` change the values of a contiguous f32 tensor on the CPU.
fn write_into(tensor: &Tensor, work: impl FnOnce(&mut [f32])) -> Result<()> {
    tensor.inplace_op1(&InPlace(Mutex::new(Some(work))))
}

struct InPlace<F>(Mutex<Option<F>>);

impl<F: FnOnce(&mut [f32])> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        "add gradient"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets())
        else {
            bail!("a gradient is not a contiguous f32 tensor")
        };
        let work = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(work) = work {
            work(&mut values[start..end]);
        }
        Ok(())
    }
}
