//! The op sets of the model, all with gradients.
//!
//! `Fused` runs our own CPU kernels, each with its own backward, on a tape of our own. `Differentiable` is the plain candle
//! composition under candle's autodiff, which works on every device and is what the fused one is held against. `Device`
//! runs our CUDA kernels on the same tape. candle's own fused softmax, rms_norm and rope are not used at all: they drop the gradient without a word.

use candle_core::{D, Shape, Tensor};

use crate::error::Result;
use crate::kernels::attention::AttentionShape;
use crate::kernels::cuda::operations;
use crate::kernels::matmul::{Packed, Precision, bf16_available};
use crate::kernels::quantized::Quantized;
use crate::model::fused::{self, Kept, Plus};
use crate::model::kept::KeptWeights;
use crate::model::mask::{SequenceMask, doubled_dense};
use crate::model::on_device;
use crate::model::rope::Rotation;
use crate::model::tape::{Operation, Tape};

/// Which implementation computes the model's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ops {
    /// Our CPU kernels with their own gradients.
    Fused {
        /// Rounding of the operands of matrix products.
        precision: Precision,
    },
    /// Our CUDA kernels with their own gradients, on the device of the weights, which are bf16 or f32 there.
    Device,
    /// Plain candle operations with candle's gradients: any device, slow.
    Differentiable,
}

impl SequenceShape {
    fn for_kernels(self, precision: Precision) -> AttentionShape {
        let Self { batch, len, n_heads, n_kv_heads, head_size } = self;
        AttentionShape { batch, len, heads: n_heads, kv_heads: n_kv_heads, head_size, precision }
    }
}

impl Default for Ops {
    /// What serving uses.
    fn default() -> Self {
        Self::Fused { precision: Precision::F32 }
    }
}

impl std::fmt::Display for Ops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fused { precision: Precision::F32 } => "fused",
            Self::Fused { precision: Precision::Bf16 } => "fused bf16",
            Self::Device => "device",
            Self::Differentiable => "plain",
        })
    }
}

/// Sizes of a batch of sequences in attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SequenceShape {
    pub(crate) batch: usize,      // B
    pub(crate) len: usize,        // T
    pub(crate) n_heads: usize,    // H
    pub(crate) n_kv_heads: usize, // Hkv
    pub(crate) head_size: usize,  // Dh
}

impl Ops {
    /// The op sets that compute in f32 throughout, and so must agree with reference numbers.
    pub fn exact() -> [Self; 2] {
        [Self::Fused { precision: Precision::F32 }, Self::Differentiable]
    }

    /// Rounding of matrix products outside of autodiff, such as attention over cached keys.
    pub(crate) fn precision(self) -> Precision {
        match self {
            Self::Fused { precision } => precision,
            Self::Device | Self::Differentiable => Precision::F32,
        }
    }
}

/// An op set, and the tape that records its fused operations where gradients are wanted.
#[derive(Clone, Copy)]
pub(crate) struct OpSet<'a> {
    pub(super) ops: Ops,
    pub(super) tape: Option<&'a Tape>,
    /// Weights that stay as they are, as products in bf16 take them.
    pub(super) packed: Option<&'a KeptWeights<Packed>>,
    /// The same, as products of a few rows take them.
    pub(super) quantized: Option<&'a KeptWeights<Quantized>>,
}

impl OpSet<'_> {
    /// Rounding of matrix products outside of autodiff, such as attention over cached keys.
    pub(crate) fn precision(self) -> Precision {
        self.ops.precision()
    }

    /// Whether activations lie on a device.
    pub(crate) fn is_on_device(self) -> bool {
        self.ops == Ops::Device
    }

    /// Whether rows that only products read are kept in bf16, as the products would round them.
    fn rounds(self) -> bool {
        self.ops == Ops::Fused { precision: Precision::Bf16 } && bf16_available()
    }

    fn run(self, mut operation: impl Operation) -> Result<Tensor> {
        let result = operation.forward()?;
        if let Some(tape) = self.tape {
            tape.push(&result, Box::new(operation));
        }
        Ok(result)
    }

    /// ids: R, table: (V, D) -> (R, D).
    pub(crate) fn embed(self, ids: Vec<u32>, table: &Tensor) -> Result<Tensor> {
        match self.ops {
            Ops::Fused { .. } => self.run(fused::Embed { table: table.clone(), ids }),
            Ops::Device => {
                let ids = operations::upload(&ids, table.device())?;
                self.run(on_device::Embed { table: table.clone(), ids })
            }
            Ops::Differentiable => {
                let rows = ids.len();
                Ok(table.index_select(&Tensor::from_vec(ids, rows, table.device())?, 0)?)
            }
        }
    }

    /// Rows `rows` of x, each at most once. x: (R, D) -> (rows, D).
    pub(crate) fn select_rows(self, x: &Tensor, rows: Vec<u32>) -> Result<Tensor> {
        match self.ops {
            Ops::Fused { .. } => self.run(fused::SelectRows { x: x.clone(), rows }),
            Ops::Device => {
                let rows = operations::upload(&rows, x.device())?;
                self.run(on_device::SelectRows { x: x.clone(), rows })
            }
            Ops::Differentiable => {
                let n_rows = rows.len();
                Ok(x.index_select(&Tensor::from_vec(rows, n_rows, x.device())?, 0)?)
            }
        }
    }

    /// The first `rows` rows. x: (R, D) -> (rows, D).
    pub(crate) fn first_rows(self, x: &Tensor, rows: usize) -> Result<Tensor> {
        if rows == x.dim(0)? {
            return Ok(x.clone());
        }
        match self.ops {
            Ops::Fused { .. } => self.run(fused::FirstRows { x: x.clone(), rows }),
            Ops::Device => self.select_rows(x, (0..rows as u32).collect()),
            Ops::Differentiable => Ok(x.narrow(0, 0, rows)?.contiguous()?),
        }
    }

    /// The same values in another shape.
    pub(crate) fn reshape(self, x: &Tensor, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        match self.ops {
            Ops::Fused { .. } | Ops::Device => self.run(fused::Reshape { x: x.clone(), shape }),
            Ops::Differentiable => Ok(x.reshape(shape)?),
        }
    }

    /// x: (R, In), weight: (Out, In), bias: (Out) -> (R, Out).
    pub(crate) fn linear(
        self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        self.linear_plus(x, weight, bias.map_or(Plus::Nothing, |bias| Plus::Bias(bias.clone())))
    }

    /// x: (R, In), weight: (Out, In), residual: (R, Out) -> residual + x W^T: (R, Out).
    pub(crate) fn linear_onto(
        self,
        residual: &Tensor,
        x: &Tensor,
        weight: &Tensor,
    ) -> Result<Tensor> {
        self.linear_plus(x, weight, Plus::Residual(residual.clone()))
    }

    /// The form of a weight that a product of `rows` rows takes, where one is kept.
    fn kept(self, weight: &Tensor, rows: usize, precision: Precision) -> Result<Kept> {
        let kept = match precision {
            Precision::Bf16 => {
                let packed = self.packed.map(|all| all.of(weight)).transpose()?.flatten();
                packed.map(Kept::Packed)
            }
            Precision::F32 if rows <= Quantized::MOST_ROWS => {
                let quantized = self.quantized.map(|all| all.of(weight)).transpose()?.flatten();
                quantized.map(Kept::Quantized)
            }
            Precision::F32 => None,
        };
        Ok(kept.unwrap_or(Kept::Nothing))
    }

    fn linear_plus(self, x: &Tensor, weight: &Tensor, plus: Plus) -> Result<Tensor> {
        match self.ops {
            Ops::Fused { precision } => {
                let kept = self.kept(weight, x.dim(0)?, precision)?;
                let (x, weight) = (x.clone(), weight.clone());
                self.run(fused::Linear { x, weight, plus, precision, kept })
            }
            Ops::Device => {
                self.run(on_device::Linear { x: x.clone(), weight: weight.clone(), plus })
            }
            Ops::Differentiable => {
                let product = x.matmul(&weight.t()?)?;
                Ok(match plus {
                    Plus::Nothing => product,
                    Plus::Bias(bias) => product.broadcast_add(&bias)?,
                    Plus::Residual(residual) => (residual + product)?,
                })
            }
        }
    }

    /// x / sqrt(mean(x^2) + eps) * weight over the last dimension. x: (..., D), weight: (D) -> (..., D).
    pub(crate) fn rms_norm(self, x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
        match self.ops {
            Ops::Fused { .. } => {
                let (x, weight) = (x.clone(), weight.clone());
                self.run(fused::RmsNorm { x, weight, eps, rounded: false })
            }
            Ops::Device => {
                self.run(on_device::RmsNorm { x: x.clone(), weight: weight.clone(), eps })
            }
            Ops::Differentiable => {
                let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
                Ok(x.broadcast_div(&(mean_square + f64::from(eps))?.sqrt()?)?
                    .broadcast_mul(weight)?)
            }
        }
    }

    /// The same for projections: nothing but products may read the result.
    pub(crate) fn rms_norm_operand(self, x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
        if !self.rounds() {
            return self.rms_norm(x, weight, eps);
        }
        self.run(fused::RmsNorm { x: x.clone(), weight: weight.clone(), eps, rounded: true })
    }

    /// Norms each head where there is a norm (weight (Dh), epsilon), then turns it by its row's position.
    ///
    /// x: (R, heads * Dh) -> (R, heads * Dh).
    pub(crate) fn rotate(
        self,
        x: &Tensor,
        norm: Option<(&Tensor, f32)>,
        rotation: &Rotation,
    ) -> Result<Tensor> {
        let (table, positions) = rotation.parts();
        match self.ops {
            Ops::Fused { .. } => {
                let norm = norm.map(|(weight, eps)| (weight.clone(), eps));
                self.run(fused::Rotate { x: x.clone(), norm, table, positions })
            }
            Ops::Device => {
                let norm = norm.map(|(weight, eps)| (weight.clone(), eps));
                let angles = rotation.on_device(x.device())?;
                self.run(on_device::Rotate { x: x.clone(), norm, angles })
            }
            Ops::Differentiable => {
                let (rows, width) = x.dims2()?;
                let dh = table.head_size();
                let mut heads = x.reshape((rows, width / dh, dh))?;
                if let Some((weight, eps)) = norm {
                    heads = self.rms_norm(&heads, weight, eps)?;
                }
                let (first, second) =
                    (heads.narrow(2, 0, dh / 2)?, heads.narrow(2, dh / 2, dh / 2)?);
                let [cos, sin] = rotation.tensors()?;
                let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?);
                let turned_first = (first.broadcast_mul(&cos)? - second.broadcast_mul(&sin)?)?;
                let turned_second = (second.broadcast_mul(&cos)? + first.broadcast_mul(&sin)?)?;
                Ok(Tensor::cat(&[turned_first, turned_second], 2)?.reshape((rows, width))?)
            }
        }
    }

    /// silu(gate) * up, element by element; nothing but products may read the result.
    pub(crate) fn swiglu(self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        match self.ops {
            Ops::Fused { .. } => {
                let rounded = self.rounds();
                self.run(fused::Swiglu { gate: gate.clone(), up: up.clone(), rounded })
            }
            Ops::Device => self.run(on_device::Swiglu { gate: gate.clone(), up: up.clone() }),
            Ops::Differentiable => Ok((gate.silu()? * up)?),
        }
    }

    /// Attention inside each sequence. q: (B*T, H * Dh), k, v: (B*T, Hkv * Dh) -> (B*T, H * Dh).
    pub(crate) fn attention(
        self,
        shape: SequenceShape,
        mask: SequenceMask,
        qkv: [Tensor; 3],
    ) -> Result<Tensor> {
        match self.ops {
            Ops::Fused { precision } => {
                let shape = shape.for_kernels(precision);
                self.run(fused::Attention { qkv, shape, mask, kept: None })
            }
            Ops::Device => {
                let block = on_device::block_of(mask, shape.len);
                let head_size = shape.head_size;
                let shape = on_device::sequences(shape, block);
                self.run(on_device::Attention { qkv, shape, head_size, kept: None })
            }
            Ops::Differentiable => {
                masked_attention(shape, shape.len, &mask.dense(shape.len), qkv.each_ref())
            }
        }
    }

    /// Attention over `[x_t ; x_0]`, noisy half first. k, v: (2*B*T, Hkv * Dh), q: (2*B*T, H * Dh), or (B*T, H * Dh)
    /// where only the noisy half asks -> the shape of q.
    pub(crate) fn doubled_attention(
        self,
        shape: SequenceShape,
        block: usize,
        qkv: [Tensor; 3],
    ) -> Result<Tensor> {
        match self.ops {
            Ops::Fused { precision } => {
                let shape = shape.for_kernels(precision);
                self.run(fused::DoubledAttention { qkv, shape, block, kept: None })
            }
            Ops::Device => {
                let head_size = shape.head_size;
                let shape = on_device::doubled_sequences(shape, block);
                self.run(on_device::Attention { qkv, shape, head_size, kept: None })
            }
            Ops::Differentiable => {
                // (2, B, T) -> (B, 2T), so that one mask serves every sequence of the batch.
                let SequenceShape { batch, len, .. } = shape;
                let regroup = |x: &Tensor, outer: usize, inner: usize| -> Result<Tensor> {
                    let (rows, width) = x.dims2()?;
                    Ok(x.reshape((outer, inner, len, width))?
                        .transpose(0, 1)?
                        .reshape((rows, width))?)
                };
                let [q, k, v] = &qkv;
                let rows = q.dim(0)?;
                let clean =
                    Tensor::zeros((2 * batch * len - rows, q.dim(1)?), q.dtype(), q.device())?;
                let all = Tensor::cat(&[q, &clean], 0)?;
                let [q, k, v] = [&all, k, v].map(|x| regroup(x, 2, batch));
                let mask = doubled_dense(len, block);
                let out = masked_attention(shape, 2 * len, &mask, [&q?, &k?, &v?])?;
                Ok(regroup(&out, batch, 2)?.narrow(0, 0, rows)?.contiguous()?)
            }
        }
    }

    /// x: (R, D), head: (V, D) -> (R, V) f32.
    pub(crate) fn logits(self, x: &Tensor, head: &Tensor) -> Result<Tensor> {
        match self.ops {
            Ops::Device => Ok(operations::logits(x, head)?),
            Ops::Fused { .. } | Ops::Differentiable => self.linear(x, head, None),
        }
    }

    /// Cross-entropy in nats of each row. hidden: (R, D), weight: (V, D), targets: R -> (R).
    pub(crate) fn head_nll(
        self,
        hidden: &Tensor,
        weight: &Tensor,
        targets: Vec<u32>,
    ) -> Result<Tensor> {
        match self.ops {
            Ops::Device => self.run(on_device::HeadNll {
                hidden: hidden.clone(),
                weight: weight.clone(),
                targets: operations::upload(&targets, hidden.device())?,
            }),
            Ops::Fused { precision } => self.run(fused::HeadNll {
                hidden: hidden.clone(),
                weight: weight.clone(),
                targets,
                precision,
            }),
            Ops::Differentiable => {
                let rows = targets.len();
                let targets = Tensor::from_vec(targets, (rows, 1), hidden.device())?;
                let logits = hidden.matmul(&weight.t()?)?;
                let log_sum = logits.log_sum_exp(D::Minus1)?;
                let chosen = logits.gather(&targets, 1)?.squeeze(1)?;
                Ok((log_sum - chosen)?)
            }
        }
    }
}

/// Plain attention with a dense (S, S) mask shared by the batch. q: (B*S, H * Dh), k, v: (B*S, Hkv * Dh) -> (B*S, H * Dh).
fn masked_attention(
    shape: SequenceShape,
    len: usize,
    mask: &[bool],
    [q, k, v]: [&Tensor; 3],
) -> Result<Tensor> {
    let SequenceShape { batch, n_heads, n_kv_heads, head_size, .. } = shape;
    let group = n_heads / n_kv_heads;
    // Query heads that share a key/value head become further rows of it: (B, Hkv, group * S, Dh).
    let q = q.reshape((batch, len, n_kv_heads, group, head_size))?.permute((0, 2, 3, 1, 4))?;
    let q = q.reshape((batch, n_kv_heads, group * len, head_size))?;
    let heads =
        |x: &Tensor| x.reshape((batch, len, n_kv_heads, head_size))?.transpose(1, 2)?.contiguous();
    let (k, v) = (heads(k)?, heads(v)?);
    let scores = (q.matmul(&k.t()?)? * (1.0 / (head_size as f64).sqrt()))?;
    let bias: Vec<f32> =
        mask.iter().map(|&sees| if sees { 0.0 } else { f32::NEG_INFINITY }).collect();
    let bias = Tensor::from_vec(bias, (len, len), q.device())?;
    let scores = scores.reshape((batch, n_kv_heads, group, len, len))?.broadcast_add(&bias)?;
    let weights = candle_nn::ops::softmax(&scores, D::Minus1)?.reshape((
        batch,
        n_kv_heads,
        group * len,
        len,
    ))?;
    let out = weights.matmul(&v)?.reshape((batch, n_kv_heads, group, len, head_size))?;
    Ok(out.permute((0, 3, 1, 2, 4))?.reshape((batch * len, n_heads * head_size))?)
}

/// The values of a CPU f32 tensor in row-major order.
pub(crate) fn cpu_vec(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1::<f32>()?)
}
