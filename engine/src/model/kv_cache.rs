//! Keys and values of the committed tokens of one sequence, for every layer.

use crate::model::config::ModelConfig;

/// Cached keys and values. Rows of a forward that are not committed are dropped at its end.
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    len: usize,
    row_width: usize,
}

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
        }
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
        self.layers
            .iter()
            .map(|layer| (layer.keys.capacity() + layer.values.capacity()) * size_of::<f32>())
            .sum()
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

    /// Ends a forward: its first `rows` rows are committed, the others dropped.
    pub(crate) fn commit(&mut self, rows: usize) {
        self.len += rows;
        self.truncate(self.len);
    }
}
