//! Grouped-query attention with rotary positions; who sees whom is the plan of the running forward.

use candle_core::Tensor;

use crate::error::Result;
use crate::kernels::cached_attention::{CachedShape, Seen, cached_attention};
use crate::kernels::cuda::launch::DeviceAttentionShape;
use crate::kernels::cuda::operations;
use crate::kernels::matmul::Precision;
use crate::model::config::{Dialect, ModelConfig};
use crate::model::mask::SequenceMask;
use crate::model::on_device;
use crate::model::ops::{OpSet, SequenceShape, cpu_vec};
use crate::model::rope::Rotation;
use crate::model::rows::{RowGroup, Section};
use crate::model::weights::Weights;

/// How the rows of a forward hang together.
pub(crate) enum Plan<'a, 'g> {
    /// Rows are (B, T).
    Sequence { batch: usize, len: usize, mask: SequenceMask },
    /// Rows are (2, B, T): noisy half, then clean half.
    Doubled { batch: usize, len: usize, block: usize, wanted: Halves },
    /// Rows are those of the groups in order.
    Cached(&'a mut [RowGroup<'g>]),
}

/// Which halves of a doubled forward the caller reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halves {
    Both,
    /// The clean rows of the last layer then only lend their keys and values.
    Noisy,
}

impl Plan<'_, '_> {
    /// How many of the first rows are wanted of the last layer, of `rows` in all.
    pub(crate) fn wanted_rows(&self, rows: usize) -> usize {
        match self {
            Self::Doubled { batch, len, wanted: Halves::Noisy, .. } => batch * len,
            _ => rows,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Attention {
    layer: usize,
    query: Projection,
    key: Projection,
    value: Projection,
    output: Tensor,                       // (D, H * Dh)
    head_norms: Option<(Tensor, Tensor)>, // query, key: (Dh)
    n_heads: usize,
    n_kv_heads: usize,
    head_size: usize,
    eps: f32,
}

#[derive(Clone)]
struct Projection {
    weight: Tensor,       // (heads * Dh, D)
    bias: Option<Tensor>, // (heads * Dh)
}

impl Attention {
    pub(crate) fn new(config: &ModelConfig, layer: usize, weights: &mut Weights) -> Result<Self> {
        let (d, dh) = (config.hidden_size, config.head_size);
        let name = |part: &str| format!("model.layers.{layer}.self_attn.{part}");
        let mut projection = |part: &str, heads: usize| -> Result<Projection> {
            let weight = weights.take(&name(&format!("{part}.weight")), &[heads * dh, d])?;
            let bias = match config.dialect {
                Dialect::Qwen2 => {
                    Some(weights.take(&name(&format!("{part}.bias")), &[heads * dh])?)
                }
                Dialect::Llama | Dialect::Qwen3 => None,
            };
            Ok(Projection { weight, bias })
        };
        let query = projection("q_proj", config.n_heads)?;
        let key = projection("k_proj", config.n_kv_heads)?;
        let value = projection("v_proj", config.n_kv_heads)?;
        let output = weights.take(&name("o_proj.weight"), &[d, config.n_heads * dh])?;
        let head_norms = match config.dialect {
            Dialect::Qwen3 => Some((
                weights.take(&name("q_norm.weight"), &[dh])?,
                weights.take(&name("k_norm.weight"), &[dh])?,
            )),
            Dialect::Llama | Dialect::Qwen2 => None,
        };
        Ok(Self {
            layer,
            query,
            key,
            value,
            output,
            head_norms,
            n_heads: config.n_heads,
            n_kv_heads: config.n_kv_heads,
            head_size: dh,
            eps: config.rms_norm_eps,
        })
    }

    /// x: (R, D), residual: (its first rows, D) -> residual + attention(x) of those rows.
    pub(crate) fn forward(
        &self,
        (x, residual): (&Tensor, &Tensor),
        ops: OpSet<'_>,
        rotation: &Rotation,
        plan: &mut Plan<'_, '_>,
    ) -> Result<Tensor> {
        let project = |x: &Tensor, Projection { weight, bias }: &Projection| {
            ops.linear(x, weight, bias.as_ref())
        };
        let (query_norm, key_norm) = match &self.head_norms {
            Some((query, key)) => (Some((query, self.eps)), Some((key, self.eps))),
            None => (None, None),
        };
        let asking = residual.dim(0)?;
        let query = project(&ops.first_rows(x, asking)?, &self.query)?;
        let query = ops.rotate(&query, query_norm, &rotation.first(asking))?;
        let key = ops.rotate(&project(x, &self.key)?, key_norm, rotation)?;
        let qkv = [query, key, project(x, &self.value)?];
        let shape = |batch: usize, len: usize| SequenceShape {
            batch,
            len,
            n_heads: self.n_heads,
            n_kv_heads: self.n_kv_heads,
            head_size: self.head_size,
        };
        let mixed = match plan {
            Plan::Sequence { batch, len, mask } => {
                ops.attention(shape(*batch, *len), *mask, qkv)?
            }
            Plan::Doubled { batch, len, block, .. } => {
                ops.doubled_attention(shape(*batch, *len), *block, qkv)?
            }
            Plan::Cached(groups) if ops.is_on_device() => {
                self.attend_on_device(groups, qkv.each_ref())?
            }
            Plan::Cached(groups) => self.attend_cached(groups, ops.precision(), qkv.each_ref())?,
        };
        ops.linear_onto(residual, &mixed, &self.output)
    }

    /// As [`Self::attend_cached`] on tensors and caches of a device.
    fn attend_on_device(
        &self,
        groups: &mut [RowGroup<'_>],
        [query, key, value]: [&Tensor; 3],
    ) -> Result<Tensor> {
        let mut mixed = Vec::with_capacity(groups.len());
        let mut row = 0;
        for group in groups {
            for Section { at, rows } in group.sections() {
                let part = |x: &Tensor| x.narrow(0, row, rows);
                let total = at + rows;
                // What a branch writes over has been read by then: a device works in the order in which it is asked.
                let [keys, values] =
                    group.cache.append_on_device((self.layer, at), [&part(key)?, &part(value)?])?;
                let shape = DeviceAttentionShape {
                    sequences: 1,
                    queries: rows as i32,
                    keys: total as i32,
                    query_start: at as i32,
                    heads: self.n_heads as i32,
                    kv_heads: self.n_kv_heads as i32,
                    block: on_device::block_of(group.mask, total) as i32,
                    doubled: 0,
                    scale: 1.0 / (self.head_size as f32).sqrt(),
                };
                let [out, _lse] =
                    operations::attention(shape, self.head_size, [&part(query)?, &keys, &values])?;
                mixed.push(out);
                row += rows;
            }
        }
        match mixed.len() {
            1 => Ok(mixed.remove(0)),
            _ => Ok(Tensor::cat(&mixed, 0)?),
        }
    }

    /// query: (R, H * Dh), key, value: (R, Hkv * Dh) -> (R, H * Dh), row group by row group against its cache.
    fn attend_cached(
        &self,
        groups: &mut [RowGroup<'_>],
        precision: Precision,
        [query, key, value]: [&Tensor; 3],
    ) -> Result<Tensor> {
        let (query_data, key_data, value_data) = (cpu_vec(query)?, cpu_vec(key)?, cpu_vec(value)?);
        let (query_width, kv_width) =
            (self.n_heads * self.head_size, self.n_kv_heads * self.head_size);
        let mut out = vec![0.0; query_data.len()];
        let mut row = 0;
        let shape = CachedShape {
            heads: self.n_heads,
            kv_heads: self.n_kv_heads,
            head_size: self.head_size,
            precision,
        };
        for group in groups {
            let (committed, sections) = (group.cache.len(), group.sections());
            let n_rows: usize = sections.iter().map(|section| section.rows).sum();
            let (q_rows, kv_rows) = (
                row * query_width..(row + n_rows) * query_width,
                row * kv_width..(row + n_rows) * kv_width,
            );
            let layer =
                group.cache.append(self.layer, &key_data[kv_rows.clone()], &value_data[kv_rows]);
            // The keys of a branch lie behind those of the rows that it does not see.
            let (mut seen, mut place) = (Vec::with_capacity(n_rows), committed);
            for Section { at, rows } in sections {
                let limits =
                    (at..at + rows).map(|position| group.mask.key_limit(position, at + rows));
                seen.extend(limits.map(|limit| match place == at {
                    true => Seen::first(limit),
                    false => {
                        let first = at.min(limit);
                        Seen { first, more: place..place + (limit - first) }
                    }
                }));
                place += rows;
            }
            cached_attention(
                shape,
                &query_data[q_rows.clone()],
                &layer.keys,
                &layer.values,
                &seen,
                &mut out[q_rows],
            );
            row += n_rows;
        }
        Ok(Tensor::from_vec(out, query.shape(), query.device())?)
    }
}
