//! `[optimizer]`.

use serde::Deserialize;

use diffcoder_engine::kernels::matmul::Precision;

use super::Matmul;
use crate::optim::OptimizerSettings;
use crate::optim::adamw::{AdamWSettings, DecayGroup};
use crate::optim::muon::MuonSettings;

/// What updates the matrices of the layers.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// AdamW, as every other parameter.
    #[default]
    AdamW,
    /// Muon; embedding, head, norms and biases stay with AdamW.
    Muon,
}

/// `[optimizer]`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct OptimizerSection {
    /// What updates the matrices of the layers: `adamw` or `muon`.
    #[serde(default)]
    pub kind: OptimizerKind,
    /// Decay of Muon's momentum.
    #[serde(default = "default_momentum")]
    pub momentum: f64,
    /// Learning rate of the stable stretch.
    pub lr: f64,
    /// Decay of the two moments.
    #[serde(default = "default_betas")]
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    #[serde(default = "default_eps")]
    pub eps: f64,
    /// Decoupled weight decay.
    #[serde(default)]
    pub weight_decay: f64,
    /// What decays: `matrices`, `all` or `none`.
    #[serde(default)]
    pub decay: DecayGroup,
    /// Largest global gradient norm of an update.
    #[serde(default = "default_clip_norm")]
    pub clip_norm: f64,
}

impl OptimizerSection {
    /// The settings of AdamW.
    pub fn adamw(&self) -> AdamWSettings {
        AdamWSettings {
            betas: self.betas,
            eps: self.eps,
            weight_decay: self.weight_decay,
            decay: self.decay,
        }
    }

    /// The settings of the optimizer itself; Muon's products are as precise as those of the model.
    pub fn settings(&self, matmul: Matmul) -> OptimizerSettings {
        let precision = match matmul {
            Matmul::F32 => Precision::F32,
            Matmul::Bf16 => Precision::Bf16,
        };
        let muon = MuonSettings { momentum: self.momentum, precision };
        let muon = (self.kind == OptimizerKind::Muon).then_some(muon);
        OptimizerSettings { adamw: self.adamw(), muon }
    }

    /// Whether the values make sense; what does not, otherwise.
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, value) in [("lr", self.lr), ("clip_norm", self.clip_norm)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(format!("[optimizer] {name} is {value}: it must be above 0"));
            }
        }
        if !(self.eps.is_finite() && self.eps > 0.0) {
            return Err(format!("[optimizer] eps is {}: it must be above 0", self.eps));
        }
        let decay = self.weight_decay;
        if !(decay.is_finite() && decay >= 0.0) {
            return Err(format!("[optimizer] weight_decay is {decay}: it must be 0 or more"));
        }
        if !self.betas.iter().all(|beta| (0.0..1.0).contains(beta)) {
            return Err("[optimizer] betas must lie in [0, 1)".to_owned());
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return Err("[optimizer] momentum must lie in [0, 1)".to_owned());
        }
        Ok(())
    }
}

fn default_betas() -> [f64; 2] {
    [0.9, 0.95]
}

fn default_momentum() -> f64 {
    0.95
}

fn default_eps() -> f64 {
    1e-8
}

fn default_clip_norm() -> f64 {
    1.0
}
