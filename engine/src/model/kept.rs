//! Weights as some products take them, made once and kept beside the f32 ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, Tensor, TensorId};

use crate::kernels::matmul::{MatRef, Packed};
use crate::kernels::quantized::Quantized;
use crate::model::fused::Values;

/// A form in which weights can be kept.
pub(super) trait Kept: Sized {
    /// numbers: (outputs, inner), the right-hand side of `x W^T`; `None` where they cannot be kept so.
    fn new(numbers: &[f32], outs: usize, inner: usize) -> Option<Self>;
}

/// For products in bf16: packing them anew took three tenths of the products of 256 rows.
impl Kept for Packed {
    fn new(numbers: &[f32], outs: usize, inner: usize) -> Option<Self> {
        Self::new(MatRef::new(numbers, outs, inner).t())
    }
}

/// For products of a few rows: a quarter of the memory is read.
impl Kept for Quantized {
    fn new(numbers: &[f32], outs: usize, inner: usize) -> Option<Self> {
        Self::new(numbers, outs, inner)
    }
}

/// Kept weights by tensor; each is made when it is needed first.
pub(super) struct KeptWeights<K> {
    all: Mutex<HashMap<TensorId, Option<Arc<K>>>>,
}

impl<K> Default for KeptWeights<K> {
    fn default() -> Self {
        Self { all: Mutex::default() }
    }
}

/// Models of more parameters do without: what is saved is the same share, what is kept would be gigabytes.
pub(super) const MOST_PARAMETERS: usize = 256 << 20;

impl<K: Kept> KeptWeights<K> {
    /// weight: (Out, In) as the right-hand side of `x W^T`; `None` where it cannot be kept so.
    pub(super) fn of(&self, weight: &Tensor) -> Result<Option<Arc<K>>> {
        // A panic while it was locked has left whole entries.
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = all.get(&weight.id()) {
            return Ok(kept.clone());
        }
        let (outs, inner) = weight.dims2()?;
        let kept = K::new(&Values::of(weight)?, outs, inner).map(Arc::new);
        all.insert(weight.id(), kept.clone());
        Ok(kept)
    }
}
