//! Keys and values of the committed tokens of one sequence, for every layer.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::kernels::cuda::operations;
use crate::model::config::ModelConfig;

/// Cached keys and values. Rows of a forward that are not committed are dropped at its end.
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    len: usize,
    row_width: usize,
    /// Where the tensors of the layers lie, if they do not lie in `layers`.
    device: Option<OnDevice>,
}

/// Keys and values of every layer on a device, each (capacity, Hkv * Dh); none before the first rows. Clones share them
/// until one of them writes.
#[derive(Clone, Debug)]
struct OnDevice {
    device: Device,
    layers: Vec<Option<Arc<[Tensor; 2]>>>,
}

/// Rows that a cache on a device grows by at least.
const LEAST_GROWTH: usize = 512;

/// Keys and values of one layer, each (S, Hkv, Dh) row-major, keys already rotated.
#[derive(Clone, Debug, Default)]
pub(crate) struct LayerCache {
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
}

impl KvCache {
    /// An empty cache for a model of this shape.
    pub fn new(config: &ModelConfig) -> Self {
        Self {
            layers: vec![LayerCache::default(); config.n_layers],
            len: 0,
            row_width: config.n_kv_heads * config.head_size,
            device: None,
        }
    }

    /// An empty cache whose keys and values lie on a device.
    pub(crate) fn on_device(config: &ModelConfig, device: &Device) -> Self {
        let device = device.clone();
        let layers = vec![None; config.n_layers];
        Self { device: Some(OnDevice { device, layers }), ..Self::new(config) }
    }

    /// Committed tokens.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is committed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Drops everything from token `len` on. The caller cuts at a block edge: keys inside a block depend on all of it.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        let floats = self.len * self.row_width;
        for layer in &mut self.layers {
            layer.keys.truncate(floats);
            layer.values.truncate(floats);
        }
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        let on_device = self.device.iter().flat_map(|device| device.layers.iter().flatten());
        let device_bytes: usize = on_device
            .flat_map(|kept| kept.iter())
            .map(|tensor| tensor.elem_count() * tensor.dtype().size_in_bytes())
            .sum();
        let layer_bytes = |layer: &LayerCache| {
            (layer.keys.capacity() + layer.values.capacity()) * size_of::<f32>()
        };
        device_bytes + self.layers.iter().map(layer_bytes).sum::<usize>()
    }

    /// Keys and values of the committed tokens of one layer, each (S, Hkv, Dh) row-major.
    pub fn layer(&self, layer: usize) -> (&[f32], &[f32]) {
        (&self.layers[layer].keys, &self.layers[layer].values)
    }

    /// Writes the rows of a running forward behind the committed ones.
    pub(crate) fn append(&mut self, layer: usize, keys: &[f32], values: &[f32]) -> &LayerCache {
        let layer = &mut self.layers[layer];
        layer.keys.truncate(self.len * self.row_width);
        layer.values.truncate(self.len * self.row_width);
        layer.keys.extend_from_slice(keys);
        layer.values.extend_from_slice(values);
        layer
    }

    /// As [`Self::append`] on a device, behind the first `at` rows, of which the committed ones are the first: keys and
    /// values of the layer, at least as long as what is filled.
    ///
    /// rows: keys and values, each (n, Hkv * Dh).
    pub(crate) fn append_on_device(
        &mut self,
        (layer, at): (usize, usize),
        rows: [&Tensor; 2],
    ) -> Result<[Tensor; 2]> {
        let (n_rows, _) = rows[0].dims2()?;
        let width = self.row_width;
        let Some(OnDevice { device, layers }) = &mut self.device else {
            return Err(crate::error::EngineError::Request(
                "the cache lies on the CPU, the model on a device: use Model::new_cache".into(),
            ));
        };
        let needed = at + n_rows;
        let kept = match layers[layer].take() {
            Some(kept) if Arc::strong_count(&kept) == 1 && kept[0].dim(0)? >= needed => kept,
            old => {
                let held = if old.is_some() { at } else { 0 };
                let capacity = needed.max(2 * held).max(LEAST_GROWTH);
                let kind = operations::element(rows[0])?;
                let grown = [
                    operations::unfilled((capacity, width), kind, device)?,
                    operations::unfilled((capacity, width), kind, device)?,
                ];
                if let Some(old) = old
                    && at > 0
                {
                    for (old, grown) in old.iter().zip(&grown) {
                        operations::copy_rows(&old.narrow(0, 0, at)?, grown, 0)?;
                    }
                }
                Arc::new(grown)
            }
        };
        for (rows, kept) in rows.iter().zip(kept.iter()) {
            operations::copy_rows(rows, kept, at)?;
        }
        let [keys, values] = &*kept;
        let filled = [keys.clone(), values.clone()];
        layers[layer] = Some(kept);
        Ok(filled)
    }

    /// Ends a forward: its first `rows` rows are committed, the others dropped.
    pub(crate) fn commit(&mut self, rows: usize) {
        self.len += rows;
        self.truncate(self.len);
    }
}
