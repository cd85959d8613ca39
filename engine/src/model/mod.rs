//! The one model definition, for serving and training alike: embedding, layers, final norm, head.

pub mod config;
pub mod gguf;
pub mod kv_cache;
pub mod mask;
pub mod ops;
pub mod weights;

mod attention;
mod fused;
mod kept;
mod layer;
mod mlp;
mod on_device;
mod rope;
mod rows;
mod tape;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::error::{EngineError, Result};
use crate::kernels::matmul::{Packed, Precision};
use crate::kernels::quantized::Quantized;
use crate::model::attention::{Halves, Plan};
use crate::model::config::ModelConfig;
use crate::model::kept::KeptWeights;
use crate::model::kv_cache::KvCache;
use crate::model::layer::Layer;
use crate::model::mask::SequenceMask;
use crate::model::ops::{OpSet, Ops};
use crate::model::rope::Rope;
use crate::model::rows::Section;
pub use crate::model::rows::{Branch, RowGroup};
pub use crate::model::tape::Gradients;
use crate::model::tape::Tape;
use crate::model::weights::Weights;

/// From this many rows on a serving forward is a prefill: decoding has a block or two, a few dozen rows at most.
const PREFILL_ROWS: usize = 128;

/// A decoder-only transformer with its weights. A clone shares them.
#[derive(Clone)]
pub struct Model {
    config: ModelConfig,
    ops: Ops,
    prefill: Prefill, // serving forwards over many rows
    quantized: Option<Arc<KeptWeights<Quantized>>>, // for serving forwards over few rows
    tape: Option<Arc<Tape>>, // where forwards are recorded
    embedding: Tensor, // (V, D)
    layers: Vec<Layer>,
    norm: Tensor, // (D)
    head: Tensor, // (V, D)
    rope: Arc<Rope>,
}

/// How serving forwards over many rows compute.
#[derive(Clone)]
struct Prefill {
    ops: Ops,
    packed: Option<Arc<KeptWeights<Packed>>>, // where weights are kept packed
}

impl Model {
    /// Builds a model; every tensor that `config` calls for must be in `weights`, and no other.
    ///
    /// The tensors may be variables: gradients then reach every one of them.
    pub fn new(config: &ModelConfig, mut weights: Weights, ops: Ops) -> Result<Self> {
        let (d, v) = (config.hidden_size, config.vocab_size);
        let embedding = weights.take("model.embed_tokens.weight", &[v, d])?;
        let layers = (0..config.n_layers)
            .map(|layer| Layer::new(config, layer, &mut weights))
            .collect::<Result<_>>()?;
        let norm = weights.take("model.norm.weight", &[d])?;
        let head = if config.tie_word_embeddings {
            embedding.clone()
        } else {
            weights.take("lm_head.weight", &[v, d])?
        };
        weights.finish()?;
        Ok(Self {
            config: config.clone(),
            ops,
            prefill: Prefill { ops, packed: None },
            quantized: None,
            tape: None,
            embedding,
            layers,
            norm,
            head,
            rope: Arc::new(Rope::new(config)),
        })
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The same model, whose serving forwards over many rows (prompts, not decoding) compute with `ops`.
    ///
    /// In bf16 the weights of its products are packed once and kept, if the model is small enough: they must not change.
    pub fn with_prefill(self, ops: Ops) -> Self {
        let is_bf16 = ops == Ops::Fused { precision: Precision::Bf16 };
        let packed = (is_bf16 && self.is_small()).then(Arc::default);
        Self { prefill: Prefill { ops, packed }, ..self }
    }

    /// The same model, whose serving forwards over few rows read weights that were stored in Q8_0 as such: the numbers are
    /// the same, the memory that is waited for is a quarter. They are kept besides, if the model is small enough, and must not change.
    pub fn with_quantized_steps(self) -> Self {
        let quantized = self.is_small().then(Arc::default);
        Self { quantized, ..self }
    }

    /// Whether weights can be kept in a second form.
    fn is_small(&self) -> bool {
        self.config.n_parameters() <= kept::MOST_PARAMETERS
    }

    /// The same model, whose forwards over whole sequences are recorded for [`Self::backward`].
    ///
    /// What a forward computes is kept until then.
    pub fn recorded(&self) -> Self {
        Self { tape: Some(Arc::default()), ..self.clone() }
    }

    /// Adds the gradients of `sum(output * seed)` by every parameter to `gradients`.
    ///
    /// `output` comes from forwards of this [recorded](Self::recorded) model since the last call, `seed` has its shape.
    pub fn backward(
        &self,
        output: &Tensor,
        seed: &Tensor,
        gradients: &mut Gradients,
    ) -> Result<()> {
        match (self.ops, &self.tape) {
            (Ops::Fused { .. } | Ops::Device, Some(tape)) => {
                tape.backward(output, seed, gradients)?
            }
            (Ops::Fused { .. } | Ops::Device, None) => {
                return Err(EngineError::Request(
                    "gradients need a recorded model: call Model::recorded first".into(),
                ));
            }
            (Ops::Differentiable, _) => {
                gradients.add_all(&(output * seed)?.sum_all()?.backward()?)?;
            }
        }
        Ok(())
    }

    /// The embedding table: (V, D).
    pub fn embedding(&self) -> &Tensor {
        &self.embedding
    }

    fn op_set(&self) -> OpSet<'_> {
        OpSet { ops: self.ops, tape: self.tape.as_deref(), packed: None, quantized: None }
    }

    /// An empty cache of this model's shape.
    pub fn new_cache(&self) -> KvCache {
        match self.ops {
            Ops::Device => KvCache::on_device(&self.config, self.embedding.device()),
            Ops::Fused { .. } | Ops::Differentiable => KvCache::new(&self.config),
        }
    }

    /// Serving: one forward over any mix of row groups.
    ///
    /// Returns the logits of the wanted rows, group by group and there branch by branch: (rows wanted, V). The rows of a group
    /// are written behind its committed keys in every layer before anyone attends, so a block that is being committed is
    /// seen by the next one and by the branches.
    pub fn forward(&self, groups: &mut [RowGroup<'_>]) -> Result<Tensor> {
        Ok(self.forward_in_place(groups)?.to_device(&Device::Cpu)?)
    }

    /// As [`Self::forward`]; the logits stay where the weights are, and a device may still be at work when this returns.
    pub fn forward_in_place(&self, groups: &mut [RowGroup<'_>]) -> Result<Tensor> {
        let mut ids: Vec<u32> = Vec::new();
        let mut positions = Vec::new();
        let mut wanted = Vec::new();
        for group in groups.iter() {
            let branches_fit =
                group.branches.iter().all(|branch| branch.logits_from <= branch.tokens.len());
            if group.commit.max(group.logits.end) > group.tokens.len() || !branches_fit {
                return Err(EngineError::Request(format!(
                    "a row group of {} rows cannot commit or report more",
                    group.tokens.len()
                )));
            }
            wanted.extend(group.logits.clone().map(|row| (ids.len() + row) as u32));
            ids.extend(group.tokens);
            for &Branch { tokens, logits_from } in group.branches {
                wanted.extend((logits_from..tokens.len()).map(|row| (ids.len() + row) as u32));
                ids.extend(tokens);
            }
            for Section { at, rows } in group.sections() {
                positions.extend((at..at + rows).map(|position| position as u32));
            }
        }
        self.check_ids(&ids)?;
        let op_set = match &self.prefill {
            Prefill { ops, packed } if ids.len() >= PREFILL_ROWS => {
                OpSet { ops: *ops, packed: packed.as_deref(), ..self.op_set() }
            }
            _ => OpSet { quantized: self.quantized.as_deref(), ..self.op_set() },
        };
        let hidden = self.run(op_set, (ids, positions), Plan::Cached(groups), &mut |_| ())?;
        for group in groups.iter_mut() {
            group.cache.commit(group.commit);
        }
        if wanted.is_empty() {
            return Ok(Tensor::zeros((0, self.config.vocab_size), DType::F32, &Device::Cpu)?);
        }
        let few = OpSet { quantized: self.quantized.as_deref(), ..self.op_set() };
        few.logits(&few.select_rows(&hidden, wanted)?, &self.head)
    }

    /// Whole sequences without a cache. ids: (B, T) u32, positions: T, shared by the batch -> hidden (B, T, D) after the final norm.
    pub fn forward_sequence(
        &self,
        ids: &Tensor,
        positions: &[u32],
        mask: SequenceMask,
    ) -> Result<Tensor> {
        let (batch, len) = ids.dims2()?;
        let rows = self.run(
            self.op_set(),
            (ids.flatten_all()?.to_vec1()?, positions.repeat(batch)),
            Plan::Sequence { batch, len, mask },
            &mut |_| (),
        )?;
        self.op_set().reshape(&rows, (batch, len, self.config.hidden_size))
    }

    /// As [`Self::forward_sequence`], and every state on the way: the embedding, then each layer's output, the last one
    /// after the final norm; each (B, T, D).
    pub fn hidden_states(
        &self,
        ids: &Tensor,
        positions: &[u32],
        mask: SequenceMask,
    ) -> Result<Vec<Tensor>> {
        let (batch, len) = ids.dims2()?;
        let mut states = Vec::new();
        let plan = Plan::Sequence { batch, len, mask };
        let ids = ids.flatten_all()?.to_vec1()?;
        let last = self.run(self.op_set(), (ids, positions.repeat(batch)), plan, &mut |state| {
            states.push(state.clone())
        })?;
        states.pop();
        states.push(last);
        states
            .into_iter()
            .map(|state| Ok(state.reshape((batch, len, self.config.hidden_size))?))
            .collect()
    }

    /// Training over `[x_t ; x_0]`. noisy, clean: (B, T) u32, positions: T, the same for both halves.
    ///
    /// Returns the hidden states of both halves after the final norm, (2, B, T, D): the noisy half first.
    pub fn forward_doubled(
        &self,
        noisy: &Tensor,
        clean: &Tensor,
        positions: &[u32],
        block: usize,
    ) -> Result<Tensor> {
        let (batch, len) = noisy.dims2()?;
        let rows = self.run_doubled(noisy, clean, positions, (block, Halves::Both))?;
        self.op_set().reshape(&rows, (2, batch, len, self.config.hidden_size))
    }

    /// As [`Self::forward_doubled`], but of the noisy half alone, (B, T, D): what of the last layer only the clean half
    /// would need is not computed.
    pub fn forward_noisy(
        &self,
        noisy: &Tensor,
        clean: &Tensor,
        positions: &[u32],
        block: usize,
    ) -> Result<Tensor> {
        let (batch, len) = noisy.dims2()?;
        let rows = self.run_doubled(noisy, clean, positions, (block, Halves::Noisy))?;
        // A device computes both halves: its launches are made for whole sequences.
        let rows = self.op_set().first_rows(&rows, batch * len)?;
        self.op_set().reshape(&rows, (batch, len, self.config.hidden_size))
    }

    fn run_doubled(
        &self,
        noisy: &Tensor,
        clean: &Tensor,
        positions: &[u32],
        (block, wanted): (usize, Halves),
    ) -> Result<Tensor> {
        let (batch, len) = noisy.dims2()?;
        let ids = Tensor::stack(&[noisy, clean], 0)?.flatten_all()?.to_vec1()?;
        let plan = Plan::Doubled { batch, len, block, wanted };
        self.run(self.op_set(), (ids, positions.repeat(2 * batch)), plan, &mut |_| ())
    }

    /// hidden: (..., D) -> logits (..., V) f32; those of [`Ops::Device`] come back to the CPU.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        let ops = self.op_set();
        let mut shape = hidden.shape().dims().to_vec();
        let (width, rows) =
            (self.config.hidden_size, hidden.elem_count() / self.config.hidden_size);
        let logits = ops.logits(&ops.reshape(hidden, (rows, width))?, &self.head)?;
        if let Some(last) = shape.last_mut() {
            *last = self.config.vocab_size;
        }
        let logits = ops.reshape(&logits, shape)?;
        Ok(if ops.is_on_device() { logits.to_device(&Device::Cpu)? } else { logits })
    }

    /// Cross-entropy in nats of some rows; no logits are kept.
    ///
    /// hidden: (..., D); `rows`, each at most once, count over all its leading dimensions; one target for each -> (rows).
    pub fn head_nll(&self, hidden: &Tensor, rows: &[u32], targets: &[u32]) -> Result<Tensor> {
        let ops = self.op_set();
        let width = self.config.hidden_size;
        let n_rows = hidden.elem_count() / width;
        if rows.len() != targets.len() || rows.iter().any(|&row| row as usize >= n_rows) {
            return Err(EngineError::Request(format!(
                "{} targets for {} rows of a forward of {n_rows}",
                targets.len(),
                rows.len()
            )));
        }
        self.check_ids(targets)?;
        let hidden = ops.select_rows(&ops.reshape(hidden, (n_rows, width))?, rows.to_vec())?;
        ops.head_nll(&hidden, &self.head, targets.to_vec())
    }

    /// ids, positions: R -> hidden states (R, D) after the final norm. `observe` sees the embedding and each layer's output.
    fn run(
        &self,
        ops: OpSet<'_>,
        (ids, positions): (Vec<u32>, Vec<u32>),
        mut plan: Plan<'_, '_>,
        observe: &mut dyn FnMut(&Tensor),
    ) -> Result<Tensor> {
        let rotation = self.rope.at(positions);
        let mut hidden = ops.embed(ids, &self.embedding)?;
        observe(&hidden);
        let rows = hidden.dim(0)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let is_last = index + 1 == self.layers.len();
            let wanted = if is_last && !ops.is_on_device() { plan.wanted_rows(rows) } else { rows };
            hidden = layer.forward((&hidden, wanted), ops, &rotation, &mut plan)?;
            observe(&hidden);
        }
        ops.rms_norm(&hidden, &self.norm, self.config.rms_norm_eps)
    }

    fn check_ids(&self, ids: &[u32]) -> Result<()> {
        match ids.iter().find(|&&id| id as usize >= self.config.vocab_size) {
            None => Ok(()),
            Some(id) => Err(EngineError::Request(format!(
                "token {id} is past the model's vocabulary of {}",
                self.config.vocab_size
            ))),
        }
    }
}
