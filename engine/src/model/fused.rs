//! Our CPU kernels as candle operations, each with its own backward.
//!
//! What a backward needs beyond its arguments and result (log-sum-exp of attention) is kept in the operation itself.

use std::ops::{Deref, Range};
use std::sync::{Arc, OnceLock};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, StorageRef,
    Tensor, bail,
};

use crate::kernels::attention::{self, AttentionForward, AttentionShape};
use crate::kernels::cross_entropy::{head_nll, head_nll_backward};
use crate::kernels::doubled::{
    self, DoubledOutGrad, DoubledOutMut, DoubledQkv, DoubledQkvMut, OutGrad, OutMut, Qkv, QkvMut,
};
use crate::kernels::embedding::{gather_rows, scatter_add_rows};
use crate::kernels::matmul::{Beta, MatRef, Precision, matmul};
use crate::kernels::norm::{rms_norm, rms_norm_backward};
use crate::kernels::rope::{RopeTable, rope, rope_backward};
use crate::kernels::swiglu::{swiglu, swiglu_backward};
use crate::model::mask::SequenceMask;

/// The f32 values of an operation's argument, which must be contiguous.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("a fused operation needs contiguous arguments"),
    }
}

/// The f32 values of a contiguous CPU tensor, locked for reading.
struct Values<'a> {
    storage: StorageRef<'a>,
    range: Range<usize>,
}

impl<'a> Values<'a> {
    fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        match layout.contiguous_offsets() {
            Some((start, end)) => Ok(Self { storage, range: start..end }),
            None => bail!("a fused operation needs contiguous arguments"),
        }
    }
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            // Unreachable from the model: weights and activations are f32 on the CPU there. Empty makes kernels panic on sizes.
            _ => &[],
        }
    }
}

fn tensor_like(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), like.device())
}

fn output(values: Vec<f32>, shape: impl Into<Shape>) -> Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(values), shape.into()))
}

/// table: (V, D) -> rows of `ids`: (R, D).
pub(super) struct Embed {
    pub(super) ids: Vec<u32>,
}

impl CustomOp1 for Embed {
    fn name(&self) -> &'static str {
        "embed"
    }

    fn cpu_fwd(&self, table: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_vocabulary, d) = layout.shape().dims2()?;
        let mut out = vec![0.0; self.ids.len() * d];
        gather_rows(values(table, layout)?, &self.ids, &mut out);
        output(out, (self.ids.len(), d))
    }

    fn bwd(&self, table: &Tensor, _out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let mut dtable = vec![0.0; table.elem_count()];
        scatter_add_rows(&Values::of(&grad.contiguous()?)?, &self.ids, &mut dtable);
        Ok(Some(tensor_like(dtable, table)?))
    }
}

/// x: (R, In), weight: (Out, In) -> x W^T: (R, Out).
pub(super) struct Linear {
    pub(super) precision: Precision,
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((rows, inner), (outer, _inner)) =
            (x_layout.shape().dims2()?, w_layout.shape().dims2()?);
        let mut out = vec![0.0; rows * outer];
        let (x, w) = (
            MatRef::new(values(x, x_layout)?, rows, inner),
            MatRef::new(values(w, w_layout)?, outer, inner),
        );
        matmul(x, w.t(), &mut out, Beta::Overwrite, self.precision);
        output(out, (rows, outer))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ((rows, inner), (outer, _inner)) = (x.dims2()?, w.dims2()?);
        let grad = grad.contiguous()?;
        let (x_values, w_values, grad_values) =
            (Values::of(x)?, Values::of(w)?, Values::of(&grad)?);
        let grad = MatRef::new(&grad_values, rows, outer);
        let (mut dx, mut dw) = (vec![0.0; rows * inner], vec![0.0; outer * inner]);
        matmul(
            grad,
            MatRef::new(&w_values, outer, inner),
            &mut dx,
            Beta::Overwrite,
            self.precision,
        );
        matmul(
            grad.t(),
            MatRef::new(&x_values, rows, inner),
            &mut dw,
            Beta::Overwrite,
            self.precision,
        );
        Ok((Some(tensor_like(dx, x)?), Some(tensor_like(dw, w)?)))
    }
}

/// x: (..., D), weight: (D) -> (..., D).
pub(super) struct RmsNorm {
    pub(super) eps: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = values(x, x_layout)?;
        let mut out = vec![0.0; x.len()];
        rms_norm(x, values(w, w_layout)?, self.eps, &mut out);
        output(out, x_layout.shape().clone())
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (mut dx, mut dw) = (vec![0.0; x.elem_count()], vec![0.0; w.elem_count()]);
        rms_norm_backward(
            &Values::of(x)?,
            &Values::of(w)?,
            self.eps,
            &Values::of(&grad)?,
            &mut dx,
            &mut dw,
        );
        Ok((Some(tensor_like(dx, x)?), Some(tensor_like(dw, w)?)))
    }
}

/// x: (R, heads, Dh) -> (R, heads, Dh), each row turned by its position.
pub(super) struct Rope {
    pub(super) table: Arc<RopeTable>,
    pub(super) positions: Arc<Vec<u32>>,
}

impl CustomOp1 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_rows, heads, _dh) = layout.shape().dims3()?;
        let x = values(x, layout)?;
        let mut out = vec![0.0; x.len()];
        rope(x, heads, &self.table, &self.positions, &mut out);
        output(out, layout.shape().clone())
    }

    fn bwd(&self, x: &Tensor, _out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_rows, heads, _dh) = x.dims3()?;
        let mut dx = vec![0.0; x.elem_count()];
        rope_backward(
            &Values::of(&grad.contiguous()?)?,
            heads,
            &self.table,
            &self.positions,
            &mut dx,
        );
        Ok(Some(tensor_like(dx, x)?))
    }
}

/// gate, up: the same shape -> silu(gate) * up.
pub(super) struct Swiglu;

impl CustomOp2 for Swiglu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        g_layout: &Layout,
        up: &CpuStorage,
        u_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let gate = values(gate, g_layout)?;
        let mut out = vec![0.0; gate.len()];
        swiglu(gate, values(up, u_layout)?, &mut out);
        output(out, g_layout.shape().clone())
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (mut dgate, mut dup) = (vec![0.0; gate.elem_count()], vec![0.0; up.elem_count()]);
        swiglu_backward(
            &Values::of(gate)?,
            &Values::of(up)?,
            &Values::of(&grad)?,
            &mut dgate,
            &mut dup,
        );
        Ok((Some(tensor_like(dgate, gate)?), Some(tensor_like(dup, up)?)))
    }
}

/// Attention inside each sequence. q: (B*T, H, Dh), k, v: (B*T, Hkv, Dh) -> (B*T, H, Dh).
pub(super) struct Attention {
    pub(super) shape: AttentionShape,
    pub(super) mask: SequenceMask,
    pub(super) log_sums: OnceLock<Vec<f32>>, // (B*T, H), from the forward
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k, v) = (values(q, q_layout)?, values(k, k_layout)?, values(v, v_layout)?);
        let (mut out, mut log_sums) =
            (vec![0.0; q.len()], vec![0.0; q.len() / self.shape.head_size]);
        attention::attention(self.shape, self.mask, q, k, v, &mut out, &mut log_sums);
        // An operation object runs forward once; a second run would only repeat the same values.
        let _ = self.log_sums.set(log_sums);
        output(out, q_layout.shape().clone())
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(lse) = self.log_sums.get() else {
            bail!("attention runs backward before forward")
        };
        let grad = grad.contiguous()?;
        let (q_values, k_values, v_values, out_values) =
            (Values::of(q)?, Values::of(k)?, Values::of(v)?, Values::of(out)?);
        let (mut dq, mut dk, mut dv) =
            (vec![0.0; q.elem_count()], vec![0.0; k.elem_count()], vec![0.0; v.elem_count()]);
        let forward =
            AttentionForward { q: &q_values, k: &k_values, v: &v_values, out: &out_values, lse };
        attention::attention_backward(
            self.shape,
            self.mask,
            forward,
            &Values::of(&grad)?,
            &mut dq,
            &mut dk,
            &mut dv,
        );
        Ok((Some(tensor_like(dq, q)?), Some(tensor_like(dk, k)?), Some(tensor_like(dv, v)?)))
    }
}

/// Attention over `[x_t ; x_0]`. q: (2*B*T, H, Dh), k, v: (2*B*T, Hkv, Dh), noisy half first -> (2*B*T, H, Dh).
pub(super) struct DoubledAttention {
    pub(super) shape: AttentionShape,
    pub(super) block: usize,
    pub(super) log_sums: OnceLock<Vec<f32>>, // (2*B*T, H), from the forward
}

impl CustomOp3 for DoubledAttention {
    fn name(&self) -> &'static str {
        "doubled_attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k, v) = (values(q, q_layout)?, values(k, k_layout)?, values(v, v_layout)?);
        let (mut out, mut log_sums) =
            (vec![0.0; q.len()], vec![0.0; q.len() / self.shape.head_size]);
        let (noisy_out, clean_out) = halves_mut(&mut out);
        let (noisy_lse, clean_lse) = halves_mut(&mut log_sums);
        let output_halves = DoubledOutMut {
            noisy: OutMut { out: noisy_out, lse: noisy_lse },
            clean: OutMut { out: clean_out, lse: clean_lse },
        };
        doubled::doubled_attention(self.shape, self.block, qkv_halves(q, k, v), output_halves);
        let _ = self.log_sums.set(log_sums); // as in `Attention`
        output(out, q_layout.shape().clone())
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(log_sums) = self.log_sums.get() else {
            bail!("attention runs backward before forward")
        };
        let grad = grad.contiguous()?;
        let (q_values, k_values, v_values) = (Values::of(q)?, Values::of(k)?, Values::of(v)?);
        let (out_values, grad_values) = (Values::of(out)?, Values::of(&grad)?);
        let (mut dq, mut dk, mut dv) =
            (vec![0.0; q.elem_count()], vec![0.0; k.elem_count()], vec![0.0; v.elem_count()]);
        let ((noisy_out, clean_out), (noisy_lse, clean_lse)) =
            (halves(&out_values), halves(log_sums));
        let (noisy_dout, clean_dout) = halves(&grad_values);
        let given = DoubledOutGrad {
            noisy: OutGrad { out: noisy_out, lse: noisy_lse, dout: noisy_dout },
            clean: OutGrad { out: clean_out, lse: clean_lse, dout: clean_dout },
        };
        let ((noisy_dq, clean_dq), (noisy_dk, clean_dk)) =
            (halves_mut(&mut dq), halves_mut(&mut dk));
        let (noisy_dv, clean_dv) = halves_mut(&mut dv);
        let gradients = DoubledQkvMut {
            noisy: QkvMut { dq: noisy_dq, dk: noisy_dk, dv: noisy_dv },
            clean: QkvMut { dq: clean_dq, dk: clean_dk, dv: clean_dv },
        };
        let input = qkv_halves(&q_values, &k_values, &v_values);
        doubled::doubled_attention_backward(self.shape, self.block, input, given, gradients);
        Ok((Some(tensor_like(dq, q)?), Some(tensor_like(dk, k)?), Some(tensor_like(dv, v)?)))
    }
}

fn halves<T>(both: &[T]) -> (&[T], &[T]) {
    both.split_at(both.len() / 2)
}

fn halves_mut<T>(both: &mut [T]) -> (&mut [T], &mut [T]) {
    both.split_at_mut(both.len() / 2)
}

fn qkv_halves<'a>(q: &'a [f32], k: &'a [f32], v: &'a [f32]) -> DoubledQkv<'a> {
    let ((noisy_q, clean_q), (noisy_k, clean_k), (noisy_v, clean_v)) =
        (halves(q), halves(k), halves(v));
    DoubledQkv {
        noisy: Qkv { q: noisy_q, k: noisy_k, v: noisy_v },
        clean: Qkv { q: clean_q, k: clean_k, v: clean_v },
    }
}

/// hidden: (R, D), weight: (V, D) -> cross-entropy of each row: (R).
pub(super) struct HeadNll {
    pub(super) targets: Vec<u32>,
    pub(super) precision: Precision,
}

impl CustomOp2 for HeadNll {
    fn name(&self) -> &'static str {
        "head_nll"
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        h_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut nll = vec![0.0; self.targets.len()];
        head_nll(
            values(hidden, h_layout)?,
            values(w, w_layout)?,
            &self.targets,
            self.precision,
            &mut nll,
        );
        output(nll, self.targets.len())
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        w: &Tensor,
        _nll: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (mut dhidden, mut dw) = (vec![0.0; hidden.elem_count()], vec![0.0; w.elem_count()]);
        let (hidden_values, w_values, grad_values) =
            (Values::of(hidden)?, Values::of(w)?, Values::of(&grad)?);
        head_nll_backward(
            &hidden_values,
            &w_values,
            &self.targets,
            &grad_values,
            self.precision,
            &mut dhidden,
            &mut dw,
        );
        Ok((Some(tensor_like(dhidden, hidden)?), Some(tensor_like(dw, w)?)))
    }
}
