//! Attention inside sequences and over the doubled training input.

use candle_core::{Result, Tensor, bail};

use super::{Values, tensor};
use crate::kernels::attention::{self, AttentionForward, AttentionShape};
use crate::kernels::buffer::unfilled;
use crate::kernels::doubled::{
    self, DoubledOutGrad, DoubledOutMut, DoubledQkv, DoubledQkvMut, OutGrad, OutMut, Qkv, QkvMut,
};
use crate::model::mask::SequenceMask;
use crate::model::tape::{Gradients, Operation};

/// Attention inside each sequence. q: (B*T, H * Dh), k, v: (B*T, Hkv * Dh) -> (B*T, H * Dh).
pub(in crate::model) struct Attention {
    pub(in crate::model) qkv: [Tensor; 3],
    pub(in crate::model) shape: AttentionShape,
    pub(in crate::model) mask: SequenceMask,
    /// From the forward.
    pub(in crate::model) kept: Option<Kept>,
}

/// What the gradient of attention needs besides its operands.
pub(in crate::model) struct Kept {
    out: Tensor,
    log_sums: Vec<f32>, // (rows, H)
}

impl Operation for Attention {
    fn forward(&mut self) -> Result<Tensor> {
        let [q, k, v] = &self.qkv;
        let (q_values, k_values, v_values) = (Values::of(q)?, Values::of(k)?, Values::of(v)?);
        let mut out = unfilled(q_values.len());
        let mut log_sums = unfilled(q_values.len() / self.shape.head_size);
        attention::attention(
            self.shape,
            self.mask,
            &q_values,
            &k_values,
            &v_values,
            &mut out,
            &mut log_sums,
        );
        let out = tensor(out, q.shape().clone(), q)?;
        self.kept = Some(Kept { out: out.clone(), log_sums });
        Ok(out)
    }

    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let Some(Kept { out, log_sums }) = self.kept else {
            bail!("attention runs backward before forward")
        };
        let [q, k, v] = &self.qkv;
        let (q_values, k_values, v_values) = (Values::of(q)?, Values::of(k)?, Values::of(v)?);
        let out_values = Values::of(&out)?;
        let mut dq = unfilled(q_values.len());
        let (mut dk, mut dv) = (unfilled(k_values.len()), unfilled(v_values.len()));
        let forward = AttentionForward {
            q: &q_values,
            k: &k_values,
            v: &v_values,
            out: &out_values,
            lse: &log_sums,
        };
        let dout = Values::of(&gradient)?;
        attention::attention_backward(
            self.shape, self.mask, forward, &dout, &mut dq, &mut dk, &mut dv,
        );
        gradients.add(q, tensor(dq, q.shape().clone(), q)?)?;
        gradients.add(k, tensor(dk, k.shape().clone(), k)?)?;
        gradients.add(v, tensor(dv, v.shape().clone(), v)?)
    }
}

/// Attention over `[x_t ; x_0]`, noisy half first. k, v: (2*B*T, Hkv * Dh), q: (2*B*T, H * Dh), or (B*T, H * Dh) where only
/// the noisy half asks -> the shape of q.
pub(in crate::model) struct DoubledAttention {
    pub(in crate::model) qkv: [Tensor; 3],
    pub(in crate::model) shape: AttentionShape,
    pub(in crate::model) block: usize,
    /// From the forward.
    pub(in crate::model) kept: Option<Kept>,
}

impl Operation for DoubledAttention {
    fn forward(&mut self) -> Result<Tensor> {
        let [q, k, v] = &self.qkv;
        let (q_values, k_values, v_values) = (Values::of(q)?, Values::of(k)?, Values::of(v)?);
        let mut out = unfilled(q_values.len());
        let mut log_sums = unfilled(q_values.len() / self.shape.head_size);
        let rows = self.shape.batch * self.shape.len;
        let (noisy_out, clean_out) =
            out.split_at_mut(rows * self.shape.heads * self.shape.head_size);
        let (noisy_lse, clean_lse) = log_sums.split_at_mut(rows * self.shape.heads);
        let output = DoubledOutMut {
            noisy: OutMut { out: noisy_out, lse: noisy_lse },
            clean: OutMut { out: clean_out, lse: clean_lse },
        };
        let input = qkv_halves(self.shape, &q_values, &k_values, &v_values);
        doubled::doubled_attention(self.shape, self.block, input, output);
        let out = tensor(out, q.shape().clone(), q)?;
        self.kept = Some(Kept { out: out.clone(), log_sums });
        Ok(out)
    }

    fn backward(self: Box<Self>, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let Some(Kept { out, log_sums }) = self.kept else {
            bail!("attention runs backward before forward")
        };
        let [q, k, v] = &self.qkv;
        let (q_values, k_values, v_values) = (Values::of(q)?, Values::of(k)?, Values::of(v)?);
        let (out_values, dout) = (Values::of(&out)?, Values::of(&gradient)?);
        let mut dq = unfilled(q_values.len());
        let (mut dk, mut dv) = (unfilled(k_values.len()), unfilled(v_values.len()));
        let rows = self.shape.batch * self.shape.len;
        let width = self.shape.heads * self.shape.head_size;
        let (noisy_out, clean_out) = out_values.split_at(rows * width);
        let (noisy_lse, clean_lse) = log_sums.split_at(rows * self.shape.heads);
        let (noisy_dout, clean_dout) = dout.split_at(rows * width);
        let given = DoubledOutGrad {
            noisy: OutGrad { out: noisy_out, lse: noisy_lse, dout: noisy_dout },
            clean: OutGrad { out: clean_out, lse: clean_lse, dout: clean_dout },
        };
        let (noisy_dq, clean_dq) = dq.split_at_mut(rows * width);
        let (noisy_dk, clean_dk) = halves_mut(&mut dk);
        let (noisy_dv, clean_dv) = halves_mut(&mut dv);
        let results = DoubledQkvMut {
            noisy: QkvMut { dq: noisy_dq, dk: noisy_dk, dv: noisy_dv },
            clean: QkvMut { dq: clean_dq, dk: clean_dk, dv: clean_dv },
        };
        let input = qkv_halves(self.shape, &q_values, &k_values, &v_values);
        doubled::doubled_attention_backward(self.shape, self.block, input, given, results);
        gradients.add(q, tensor(dq, q.shape().clone(), q)?)?;
        gradients.add(k, tensor(dk, k.shape().clone(), k)?)?;
        gradients.add(v, tensor(dv, v.shape().clone(), v)?)
    }
}

fn halves<T>(both: &[T]) -> (&[T], &[T]) {
    both.split_at(both.len() / 2)
}

fn halves_mut<T>(both: &mut [T]) -> (&mut [T], &mut [T]) {
    both.split_at_mut(both.len() / 2)
}

fn qkv_halves<'a>(
    shape: AttentionShape,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
) -> DoubledQkv<'a> {
    let (noisy_q, clean_q) = q.split_at(shape.batch * shape.len * shape.heads * shape.head_size);
    let ((noisy_k, clean_k), (noisy_v, clean_v)) = (halves(k), halves(v));
    DoubledQkv {
        noisy: Qkv { q: noisy_q, k: noisy_k, v: noisy_v },
        clean: Qkv { q: clean_q, k: clean_k, v: clean_v },
    }
}
