//! Our CPU kernels as operations on tensors, each with its own backward.

mod attention;
mod head;
mod linear;
mod rows;

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Result, Shape, Storage, StorageRef, Tensor, bail};

pub(super) use attention::{Attention, DoubledAttention};
pub(super) use head::HeadNll;
pub(super) use linear::{Linear, Plus};
pub(super) use rows::{Embed, Reshape, RmsNorm, Rotate, SelectRows, Swiglu};

/// The f32 values of a contiguous CPU tensor, locked for reading.
pub(super) struct Values<'a> {
    storage: StorageRef<'a>,
    range: Range<usize>,
}

impl<'a> Values<'a> {
    pub(super) fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let is_f32 = matches!(&*storage, Storage::Cpu(CpuStorage::F32(_)));
        match layout.contiguous_offsets() {
            Some((start, end)) if is_f32 => Ok(Self { storage, range: start..end }),
            _ => bail!("a fused operation needs contiguous f32 arguments on the CPU"),
        }
    }
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            _ => &[], // excluded by `of`
        }
    }
}

fn tensor(values: Vec<f32>, shape: impl Into<Shape>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), like.device())
}
