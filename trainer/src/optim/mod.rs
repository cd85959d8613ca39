//! The optimizer: AdamW, or Muon for the matrices of the layers; clipping by the global norm, one learning-rate curve.

pub mod adamw;
pub mod clip;
pub mod lr;
pub mod muon;

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var, bail};
use rayon::prelude::*;

use adamw::AdamWSettings;
use muon::MuonSettings;

/// What the optimizer keeps of one parameter, in its order of elements.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Running mean of the gradient; for Muon its momentum.
    pub first: Vec<f32>,
    /// Running mean of its square; empty for Muon.
    pub second: Vec<f32>,
}

/// Settings that stay the same over a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptimizerSettings {
    /// For every parameter that Muon does not update.
    pub adamw: AdamWSettings,
    /// For the matrices of the layers, if they are updated by Muon.
    pub muon: Option<MuonSettings>,
}

impl From<AdamWSettings> for OptimizerSettings {
    fn from(adamw: AdamWSettings) -> Self {
        Self { adamw, muon: None }
    }
}

/// The optimizer: settings, moments by name, number of updates made.
pub struct Optimizer {
    settings: OptimizerSettings,
    moments: BTreeMap<String, Moments>,
    updates: u64,
}

impl Optimizer {
    /// An optimizer that has made no update yet.
    pub fn new(settings: OptimizerSettings) -> Self {
        Self { settings, moments: BTreeMap::new(), updates: 0 }
    }

    /// Goes on from saved moments after `updates` updates.
    pub fn resume(
        settings: OptimizerSettings,
        moments: BTreeMap<String, Moments>,
        updates: u64,
    ) -> Self {
        Self { settings, moments, updates }
    }

    /// Moments by parameter name.
    pub fn moments(&self) -> &BTreeMap<String, Moments> {
        &self.moments
    }

    /// Updates made so far; AdamW's bias correction counts them.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Updates every variable that has a gradient, in place. Gradients count `gradient_scale` times (clipping).
    pub fn step(
        &mut self,
        variables: &BTreeMap<String, Var>,
        gradients: &BTreeMap<String, Tensor>,
        lr: f64,
        gradient_scale: f64,
    ) -> Result<()> {
        self.updates += 1;
        let adamw = &self.settings.adamw;
        let (mut matrices, mut others) = (Vec::new(), Vec::new());
        for (name, moments) in moments_of(&mut self.moments, gradients) {
            let (Some(variable), Some(gradient)) = (variables.get(name), gradients.get(name))
            else {
                bail!("gradient of {name}, which is no parameter")
            };
            if self.settings.muon.is_some() && muon::covers(name, variable.rank()) {
                matrices.push(muon::Matrix { variable, gradient, momentum: &mut moments.first });
                continue;
            }
            for moment in [&mut moments.first, &mut moments.second] {
                if moment.is_empty() {
                    *moment = vec![0.0; variable.elem_count()];
                }
            }
            others.push((variable, gradient, moments));
        }
        // All at once: most tensors are too small to keep every core busy by themselves.
        let numbers = (lr, gradient_scale, self.updates);
        others.into_par_iter().try_for_each(|(variable, gradient, moments)| {
            adamw::update(adamw, variable, gradient, moments, numbers)
        })?;
        if let Some(settings) = &self.settings.muon {
            let decay = if adamw.decay.covers(2) { adamw.weight_decay } else { 0.0 };
            muon::update(settings, matrices, (lr, decay, gradient_scale))?;
        }
        Ok(())
    }
}

/// The moments of every parameter that has a gradient, empty ones where there were none.
fn moments_of<'a>(
    moments: &'a mut BTreeMap<String, Moments>,
    gradients: &BTreeMap<String, Tensor>,
) -> impl Iterator<Item = (&'a String, &'a mut Moments)> {
    for name in gradients.keys() {
        moments.entry(name.clone()).or_default();
    }
    moments.iter_mut().filter(|(name, _)| gradients.contains_key(*name))
}
