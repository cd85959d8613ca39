//! Weights as products in bf16 take them, made once: packing them anew took three tenths of the products of 256 rows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, Tensor, TensorId};

use crate::kernels::matmul::{MatRef, Packed};
use crate::model::fused::Values;

/// Packed weights by tensor, two bytes a number; each is packed when it is needed first.
#[derive(Default)]
pub(super) struct PackedWeights {
    all: Mutex<HashMap<TensorId, Option<Arc<Packed>>>>,
}

impl PackedWeights {
    /// Models of more parameters do without: what is saved is the same share, what is kept would be gigabytes.
    pub(super) const MOST_PARAMETERS: usize = 256 << 20;

    /// weight: (Out, In) as the right-hand side of `x W^T`; `None` where it cannot be packed.
    pub(super) fn of(&self, weight: &Tensor) -> Result<Option<Arc<Packed>>> {
        // A panic while it was locked has left whole entries.
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(packed) = all.get(&weight.id()) {
            return Ok(packed.clone());
        }
        let (outer, inner) = weight.dims2()?;
        let values = Values::of(weight)?;
        let packed = Packed::new(MatRef::new(&values, outer, inner).t()).map(Arc::new);
        all.insert(weight.id(), packed.clone());
        Ok(packed)
    }
}
