//! AdamW: the settings of a run and one update of one parameter.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, Var, bail};

use diffcoder_engine::kernels::adamw::{AdamwStep, adamw_update};

use super::Moments;

/// Which parameters weight decay pulls towards zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DecayGroup {
    /// Tensors of two dimensions and more: matrices and the embedding, not norms and biases.
    #[default]
    Matrices,
    /// Every tensor.
    All,
    /// None.
    None,
}

impl DecayGroup {
    /// Whether a tensor of so many dimensions decays.
    pub(crate) fn covers(self, n_dims: usize) -> bool {
        match self {
            Self::Matrices => n_dims >= 2,
            Self::All => true,
            Self::None => false,
        }
    }
}

/// Settings that stay the same over a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWSettings {
    /// Decay of the first and of the second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay: each step takes away this share of lr times the weight.
    pub weight_decay: f64,
    /// What the decay acts on.
    pub decay: DecayGroup,
}

/// One AdamW update of `variable`, in place; `updates` counts this one. Gradients count `gradient_scale` times (clipping).
pub(super) fn update(
    settings: &AdamWSettings,
    variable: &Var,
    gradient: &Tensor,
    moments: &mut Moments,
    (lr, gradient_scale, updates): (f64, f64, u64),
) -> Result<()> {
    let [beta1, beta2] = settings.betas;
    let power = updates.min(i32::MAX as u64) as i32;
    let decays = settings.decay.covers(variable.rank());
    let step = AdamwStep {
        lr: lr as f32,
        beta1: beta1 as f32,
        beta2: beta2 as f32,
        eps: settings.eps as f32,
        weight_decay: if decays { settings.weight_decay as f32 } else { 0.0 },
        bias_correction1: (1.0 - beta1.powi(power)) as f32,
        bias_correction2: (1.0 - beta2.powi(power)) as f32,
        gradient_scale: gradient_scale as f32,
    };
    let op = UpdateInPlace { step, moments: Mutex::new(moments) };
    variable.as_tensor().inplace_op2(&gradient.contiguous()?, &op)
}

/// Runs an update on a variable's own storage, so that the model sees the new weights without a copy.
struct UpdateInPlace<'a> {
    step: AdamwStep,
    moments: Mutex<&'a mut Moments>,
}

impl InplaceOp2 for UpdateInPlace<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        parameter_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(p), CpuStorage::F32(g)) = (parameter, gradient) else {
            bail!("AdamW updates f32 parameters with f32 gradients")
        };
        let (Some((p_from, p_to)), Some((g_from, g_to))) =
            (parameter_layout.contiguous_offsets(), gradient_layout.contiguous_offsets())
        else {
            bail!("AdamW needs contiguous parameters and gradients")
        };
        let mut moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        let moments: &mut Moments = &mut moments;
        if moments.first.len() != p_to - p_from || g_to - g_from != p_to - p_from {
            bail!("a gradient or a moment is not of its parameter's size")
        }
        let (p, g) = (&mut p[p_from..p_to], &g[g_from..g_to]);
        adamw_update(p, g, &mut moments.first, &mut moments.second, self.step);
        Ok(())
    }
}

/// Hands the values of a contiguous f32 tensor on the CPU to `read`.
pub(crate) fn with_f32<R>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (candle_core::Storage::Cpu(CpuStorage::F32(values)), Some((from, to))) => {
            Ok(read(&values[from..to]))
        }
        _ => bail!("expected a contiguous f32 tensor on the CPU"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::Device;

    use super::super::Optimizer;
    use super::*;

    fn run(decay: DecayGroup, shape: &[usize]) -> Vec<f32> {
        let settings = AdamWSettings { betas: [0.9, 0.95], eps: 1e-8, weight_decay: 0.1, decay };
        let start = Tensor::new(&[1f32, -2.0], &Device::Cpu).unwrap().reshape(shape).unwrap();
        let variables = BTreeMap::from([("w".to_owned(), Var::from_tensor(&start).unwrap())]);
        let seen_by_model = variables["w"].as_tensor().clone();
        let mut optimizer = Optimizer::new(settings.into());
        for gradient in [[0.5f32, 0.1], [0.5, -0.3]] {
            let gradient = Tensor::new(&gradient, &Device::Cpu).unwrap().reshape(shape).unwrap();
            let gradients = BTreeMap::from([("w".to_owned(), gradient)]);
            optimizer.step(&variables, &gradients, 0.1, 1.0).unwrap();
        }
        seen_by_model.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Two steps in f64, written down from the AdamW paper's algorithm 2.
    fn by_hand(mut p: f64, gradients: [f64; 2], decay: f64) -> f64 {
        let (mut m, mut v) = (0.0, 0.0);
        for (t, g) in (1..).zip(gradients) {
            p -= 0.1 * decay * p;
            m = 0.9 * m + 0.1 * g;
            v = 0.95 * v + 0.05 * g * g;
            let m_hat = m / (1.0 - 0.9f64.powi(t));
            let v_hat: f64 = v / (1.0 - 0.95f64.powi(t));
            p -= 0.1 * m_hat / (v_hat.sqrt() + 1e-8);
        }
        p
    }

    #[test]
    fn matches_the_algorithm_and_decays_matrices_only() {
        for (group, shape, decay) in [
            (DecayGroup::Matrices, &[1usize, 2][..], 0.1),
            (DecayGroup::Matrices, &[2], 0.0),
            (DecayGroup::All, &[2], 0.1),
            (DecayGroup::None, &[1, 2], 0.0),
        ] {
            let found = run(group, shape);
            let expected = [by_hand(1.0, [0.5, 0.5], decay), by_hand(-2.0, [0.1, -0.3], decay)];
            for (found, expected) in found.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
    }
}
