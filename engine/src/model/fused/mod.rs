//! Our CPU kernels as operations on tensors, each with its own backward.

mod attention;
mod head;
mod linear;
mod rows;

use std::marker::PhantomData;
use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Result, Shape, Storage, StorageRef, Tensor, WithDType, bail};
use half::bf16;

use crate::kernels::element::Element;

pub(super) use attention::{Attention, DoubledAttention};
pub(super) use head::HeadNll;
pub(super) use linear::{Kept, Linear, Plus};
pub(super) use rows::{Embed, FirstRows, Reshape, RmsNorm, Rotate, SelectRows, Swiglu};

/// A number type that candle stores on the CPU.
pub(super) trait Stored: Element + WithDType {
    /// The storage's numbers, if they are of this type.
    fn numbers(storage: &CpuStorage) -> Option<&[Self]>;
}

impl Stored for f32 {
    fn numbers(storage: &CpuStorage) -> Option<&[Self]> {
        match storage {
            CpuStorage::F32(numbers) => Some(numbers),
            _ => None,
        }
    }
}

impl Stored for bf16 {
    fn numbers(storage: &CpuStorage) -> Option<&[Self]> {
        match storage {
            CpuStorage::BF16(numbers) => Some(numbers),
            _ => None,
        }
    }
}

/// The values of a contiguous CPU tensor, locked for reading.
pub(super) struct Values<'a, T: Stored = f32> {
    storage: StorageRef<'a>,
    range: Range<usize>,
    number: PhantomData<T>,
}

impl<'a, T: Stored> Values<'a, T> {
    fn find(tensor: &'a Tensor) -> Option<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let (start, end) = layout.contiguous_offsets()?;
        match &*storage {
            Storage::Cpu(cpu) if T::numbers(cpu).is_some() => (),
            _ => return None,
        }
        Some(Self { storage, range: start..end, number: PhantomData })
    }
}

impl<'a> Values<'a> {
    pub(super) fn of(tensor: &'a Tensor) -> Result<Self> {
        match Self::find(tensor) {
            Some(values) => Ok(values),
            None => bail!("a fused operation needs contiguous f32 arguments on the CPU"),
        }
    }
}

impl<T: Stored> Deref for Values<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &*self.storage {
            Storage::Cpu(cpu) => T::numbers(cpu).map_or(&[], |all| &all[self.range.clone()]),
            _ => &[], // excluded by `find`
        }
    }
}

/// The values of an operand of a product, which may be rounded already.
enum Operand<'a> {
    F32(Values<'a>),
    Bf16(Values<'a, bf16>),
}

impl<'a> Operand<'a> {
    fn of(tensor: &'a Tensor) -> Result<Self> {
        match Values::find(tensor) {
            Some(values) => Ok(Self::Bf16(values)),
            None => Ok(Self::F32(Values::of(tensor)?)),
        }
    }
}

/// Runs an expression with the values of an [`Operand`], whatever their type.
macro_rules! with_operand {
    ($operand:expr, |$values:ident| $work:expr) => {
        match $operand {
            $crate::model::fused::Operand::F32($values) => $work,
            $crate::model::fused::Operand::Bf16($values) => $work,
        }
    };
}
use with_operand;

fn tensor<T: Stored>(values: Vec<T>, shape: impl Into<Shape>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), like.device())
}
