//! One optimizer step up to its gradient: corruption, forward, loss and backward over all micro-batches.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

use diffcoder_engine::error::{EngineError, Result};
use diffcoder_engine::model::mask::SequenceMask;
use diffcoder_engine::model::{Gradients, Model};

use crate::data::loader::Batch;
use crate::objective::corrupt::{Rows, Uniforms, corrupt_with};
use crate::objective::loss::{Normaliser, next_token_targets};
use crate::objective::noise::NoiseRule;
use crate::parameters::Parameters;

/// What a step trains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    /// Each token predicts the next one under the causal mask.
    NextToken,
    /// Each masked token predicts itself over `[x_t ; x_0]`.
    Diffusion {
        /// How masks are drawn and weighed.
        rule: NoiseRule,
        /// What the loss is divided by.
        normaliser: Normaliser,
    },
}

/// What a step's rows predict: the part of its work that needs no model.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The noisy rows; none under next-token prediction.
    noisy: Option<Vec<u32>>,
    /// Rows that predict, ascending over the batch.
    rows: Vec<u32>,
    /// Target of each of them.
    targets: Vec<u32>,
    /// Loss weight of each of them.
    weights: Vec<f32>,
    /// What the weighted sum is divided by.
    divisor: f64,
    block: usize,
}

impl Task {
    /// Draws the noise of a step and lists what is predicted.
    pub fn new(
        objective: &Objective,
        batch: &Batch,
        mask_token: u32,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        match objective {
            Objective::NextToken => {
                let (rows, targets) =
                    next_token_targets(&batch.tokens, &batch.loss_mask, batch.len);
                let weights = vec![1.0; rows.len()];
                let divisor = rows.len() as f64;
                Self { noisy: None, rows, targets, weights, divisor, block: 1 }
            }
            Objective::Diffusion { rule, normaliser } => {
                let uniforms = Uniforms::draw(rng, batch.tokens.len(), rule.block);
                Self::corrupted(rule, *normaliser, batch, (mask_token, &uniforms))
            }
        }
    }

    /// A diffusion task whose noise is given.
    pub fn corrupted(
        rule: &NoiseRule,
        normaliser: Normaliser,
        batch: &Batch,
        (mask_token, uniforms): (u32, &Uniforms),
    ) -> Self {
        let rows = Rows { tokens: &batch.tokens, loss_mask: &batch.loss_mask, len: batch.len };
        let corrupted = corrupt_with(rule, rows, mask_token, uniforms);
        let n_all = batch.loss_mask.iter().filter(|&&inside| inside).count();
        Self {
            targets: corrupted.masked.iter().map(|&row| batch.tokens[row as usize]).collect(),
            divisor: normaliser.divisor(n_all, corrupted.masked.len()),
            noisy: Some(corrupted.noisy),
            rows: corrupted.masked,
            weights: corrupted.weights,
            block: rule.block,
        }
    }

    /// Lets the tokens of fills count `weight` times as much as others. What the loss is divided by grows with them, so it
    /// stays on its scale.
    pub fn weigh_fills(&mut self, batch: &Batch, weight: f32) {
        let sum = |weights: &[f32]| weights.iter().map(|&weight| f64::from(weight)).sum::<f64>();
        let before = sum(&self.weights);
        // Under next-token prediction a row predicts the token behind it.
        let ahead = usize::from(self.noisy.is_none());
        for (&row, counts) in self.rows.iter().zip(&mut self.weights) {
            if batch.fills[row as usize + ahead] {
                *counts *= weight;
            }
        }
        if before > 0.0 {
            self.divisor *= sum(&self.weights) / before;
        }
    }

    /// Rows that predict something. A step without one makes no update.
    pub fn n_predicted(&self) -> usize {
        self.rows.len()
    }

    /// What batch rows `first..first + n` predict: cross-entropies (R), and the weight of each in the loss of the step.
    pub(crate) fn micro_batch(
        &self,
        model: &Model,
        batch: &Batch,
        (first, n): (usize, usize),
    ) -> Result<Option<(Tensor, Vec<f32>)>> {
        let tokens = first * batch.len..(first + n) * batch.len;
        let from = self.rows.partition_point(|&row| (row as usize) < tokens.start);
        let to = self.rows.partition_point(|&row| (row as usize) < tokens.end);
        if from == to {
            return Ok(None);
        }
        let ids =
            |all: &[u32]| Tensor::from_slice(&all[tokens.clone()], (n, batch.len), &Device::Cpu);
        let positions: Vec<u32> = (0..batch.len as u32).collect();
        let clean = ids(&batch.tokens)?;
        let hidden = match &self.noisy {
            None => model.forward_sequence(&clean, &positions, SequenceMask::Causal)?,
            Some(noisy) => model.forward_noisy(&ids(noisy)?, &clean, &positions, self.block)?,
        };
        let rows: Vec<u32> =
            self.rows[from..to].iter().map(|&row| row - tokens.start as u32).collect();
        let nll = model.head_nll(&hidden, &rows, &self.targets[from..to])?;
        let share = |weight: &f32| (f64::from(*weight) / self.divisor) as f32;
        Ok(Some((nll, self.weights[from..to].iter().map(share).collect())))
    }
}

/// Loss and gradients of a whole step.
pub struct StepGradients {
    /// The training loss.
    pub loss: f64,
    /// Mean cross-entropy of the predicted tokens in nats, without weights.
    pub cross_entropy: f64,
    /// Tokens that were predicted.
    pub n_predicted: usize,
    /// Gradient of every parameter, by name.
    pub gradients: BTreeMap<String, Tensor>,
}

/// Runs the micro-batches of `micro_rows` rows each and adds up their gradients.
///
/// The loss is divided once, by the count of the whole step: the gradient does not depend on `micro_rows`. `None` where
/// nothing is predicted.
pub fn step_gradients(
    model: &Model,
    parameters: &Parameters,
    batch: &Batch,
    task: &Task,
    micro_rows: usize,
) -> Result<Option<StepGradients>> {
    let model = model.recorded();
    let (mut loss, mut cross_entropy) = (0.0, 0.0);
    let mut sums = Gradients::default();
    for first in (0..batch.rows).step_by(micro_rows) {
        let n = micro_rows.min(batch.rows - first);
        let Some((nll, weights)) = task.micro_batch(&model, batch, (first, n))? else {
            continue;
        };
        for (nll, weight) in nll.to_vec1::<f32>()?.into_iter().zip(&weights) {
            loss += f64::from(nll) * f64::from(*weight);
            cross_entropy += f64::from(nll);
        }
        model.backward(&nll, &Tensor::from_vec(weights, nll.shape(), nll.device())?, &mut sums)?;
    }
    let mut gradients: BTreeMap<String, Tensor> = BTreeMap::new();
    for (name, variable) in parameters.variables() {
        if let Some(gradient) = sums.take(variable) {
            gradients.insert(name.clone(), gradient);
        }
    }
    if gradients.is_empty() {
        return Ok(None);
    }
    if let Some(name) = parameters.variables().keys().find(|name| !gradients.contains_key(*name)) {
        return Err(EngineError::Request(format!("no gradient reaches the parameter {name}")));
    }
    let n_predicted = task.n_predicted();
    let cross_entropy = cross_entropy / n_predicted as f64;
    Ok(Some(StepGradients { loss, cross_entropy, n_predicted, gradients }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::noise::{Clip, RateUnit};
    use crate::rng::{Stream, stream};

    const MASK: u32 = 5;

    fn batch() -> Batch {
        // Two rows of eight; the last three tokens of each are a fill.
        let fills = (0..16).map(|i| i % 8 >= 5).collect();
        Batch {
            tokens: (10..26).collect(),
            loss_mask: (0..16).map(|i| i % 8 != 0).collect(),
            fills,
            rows: 2,
            len: 8,
        }
    }

    fn weighed(objective: &Objective, weight: f32) -> Task {
        let mut task = Task::new(objective, &batch(), MASK, &mut stream(1, 0, Stream::Noise));
        task.weigh_fills(&batch(), weight);
        task
    }

    #[test]
    fn fills_count_more_and_the_loss_stays_on_its_scale() {
        let rule = NoiseRule::cpt(4, RateUnit::Block, Clip::On);
        let diffusion = Objective::Diffusion { rule, normaliser: Normaliser::All };
        for objective in [Objective::NextToken, diffusion] {
            let (plain, heavy) = (weighed(&objective, 1.0), weighed(&objective, 3.0));
            assert_eq!(
                plain,
                Task::new(&objective, &batch(), MASK, &mut stream(1, 0, Stream::Noise))
            );
            assert_eq!((&heavy.rows, &heavy.targets), (&plain.rows, &plain.targets));
            let mut n_fills = 0;
            for (target, (heavy, plain)) in
                heavy.targets.iter().zip(heavy.weights.iter().zip(&plain.weights))
            {
                // Targets tell their place.
                let is_fill = (target - 10) % 8 >= 5;
                n_fills += usize::from(is_fill);
                assert_eq!(*heavy, if is_fill { plain * 3.0 } else { *plain });
            }
            assert!(n_fills > 0 && n_fills < heavy.targets.len());
            let scale = |task: &Task| {
                task.weights.iter().map(|weight| f64::from(*weight)).sum::<f64>() / task.divisor
            };
            assert!((scale(&heavy) - scale(&plain)).abs() < 1e-9);
        }
    }
}
