//! Training on a CUDA device: parameters, moments and gradients live there, a step never waits for it.
//!
//! The model computes with bf16 copies of f32 masters; all parameters lie one behind the other in flat arrays, so that
//! norm, clipping and update of all of them are three kernels. What a step did is read back every [`READ_EVERY`] steps.
//!
//! Noise is drawn on the host by the same code as on a CPU and uploaded with the tokens (about 2 MB for 128 rows of 1024
//! tokens): the host must know the number of masked rows anyway, since it starts the products of the head, and so a step
//! has the same masks on every device, bit for bit.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use candle_core::{DType, Device, Tensor, Var};

use diffcoder_engine::kernels::cuda::launch::Element;
use diffcoder_engine::kernels::cuda::muon::{self as device_muon, Matrices, MuonUpdate};
use diffcoder_engine::kernels::cuda::operations::{self, FlatParameters};
use diffcoder_engine::kernels::cuda::plan::{NORM_BLOCKS, Update};
use diffcoder_engine::model::config::ModelConfig;
use diffcoder_engine::model::ops::Ops;
use diffcoder_engine::model::weights::Weights;
use diffcoder_engine::model::{Gradients, Model};

use crate::data::loader::Batch;
use crate::metrics::StepMetrics;
use crate::optim::muon::{self, MuonSettings};
use crate::optim::{Moments, OptimizerSettings};
use crate::parameters::Parameters;
use crate::step::Task;

/// Steps between two readings of loss and norm.
pub const READ_EVERY: usize = 20;
/// Every parameter begins at a multiple of so many elements, so that kernels can load 16 bytes at once.
const ALIGNMENT: usize = 64;
/// Numbers of one step's record: loss, cross-entropy, norm, skipped (see `adamw.cu`).
const RECORD: usize = 4;
/// Numbers of the optimizer's state; the first counts the updates.
const STATE: usize = 5;

/// Where a parameter lies in the flat arrays.
struct Place {
    name: String,
    shape: Vec<usize>,
    offset: usize,
    /// Muon updates it.
    is_muons: bool,
}

impl Place {
    fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// As Muon takes it.
    fn matrix(&self) -> device_muon::Place {
        let [rows, cols] = self.shape[..] else { return device_muon::Place::default() };
        device_muon::Place { offset: self.offset, rows, cols }
    }

    fn view(&self, flat: &Tensor) -> Result<Tensor> {
        Ok(flat.narrow(0, self.offset, self.count())?.reshape(self.shape.clone())?)
    }
}

/// Model, optimizer and the steps that have not been read back.
pub struct DeviceTrainer {
    device: Device,
    places: Vec<Place>,
    flat: FlatParameters,
    model: Model,
    /// What the model computes with, and where its gradient is added up.
    sums: Vec<(Tensor, Tensor)>,
    update: Update,
    /// What Muon updates and how, if the recipe asks for it.
    muon: Option<(MuonUpdate, Matrices)>,
    records: Tensor, // (READ_EVERY, RECORD) f64
    pending: Vec<StepMetrics>,
}

/// What a trainer starts from or leaves.
pub struct HostState {
    /// f32 values.
    pub parameters: Parameters,
    /// Moments by name; none before the first update.
    pub moments: BTreeMap<String, Moments>,
    /// Updates made.
    pub updates: u64,
}

impl DeviceTrainer {
    /// Uploads everything.
    pub fn new(
        device: &Device,
        config: &ModelConfig,
        settings: OptimizerSettings,
        clip_norm: f64,
        from: &HostState,
    ) -> Result<Self> {
        let Places { all: places, others, decayed, count } = places(&from.parameters, settings);
        let gather = |values: &dyn Fn(&str) -> Result<Option<Vec<f32>>>| -> Result<Tensor> {
            let mut flat = vec![0f32; count];
            for place in &places {
                if let Some(values) = values(&place.name)? {
                    flat[place.offset..][..values.len()].copy_from_slice(&values);
                }
            }
            Ok(Tensor::from_vec(flat, count, device)?)
        };
        let moments = &from.moments;
        let masters = gather(&|name| {
            let variable = from.parameters.variables().get(name);
            let values = variable.map(|variable| variable.flatten_all()?.to_vec1::<f32>());
            Ok(values.transpose()?)
        })?;
        let zeros = |count: usize, dtype| Tensor::zeros(count, dtype, device);
        let mut state = vec![0f64; STATE];
        state[0] = from.updates as f64;
        let flat = FlatParameters {
            copies: zeros(count, DType::BF16)?,
            gradients: zeros(count, DType::F32)?,
            first: gather(&|name| Ok(moments.get(name).map(|moments| moments.first.clone())))?,
            second: gather(&|name| Ok(moments.get(name).map(|moments| moments.second.clone())))?,
            parts: zeros(NORM_BLOCKS as usize, DType::F64)?,
            state: Tensor::from_vec(state, STATE, device)?,
            masters,
        };
        operations::round_to_bf16(&flat.masters, &flat.copies)?;
        let (mut weights, mut sums) = (BTreeMap::new(), Vec::new());
        for place in &places {
            let weight = place.view(&flat.copies)?;
            sums.push((weight.clone(), place.view(&flat.gradients)?));
            weights.insert(place.name.clone(), weight);
        }
        let weights = Weights::from_tensors(weights, "the trained parameters");
        let model = Model::new(config, weights, Ops::Device)?.recorded();
        let adamw = settings.adamw;
        let weight_decay = if adamw.decay.covers(2) { adamw.weight_decay } else { 0.0 };
        let muon = settings.muon.map(|muon| -> Result<_> {
            let update = muon_update(muon, weight_decay);
            let matrices = places.iter().filter(|place| place.is_muons).map(Place::matrix);
            Ok((update, Matrices::new(matrices.collect(), update.factors, device)?))
        });
        let update = Update {
            betas: adamw.betas,
            eps: adamw.eps as f32,
            others,
            weight_decay: adamw.weight_decay as f32,
            decayed,
            clip_norm,
        };
        let records = Tensor::zeros((READ_EVERY, RECORD), DType::F64, device)?;
        let device = device.clone();
        let (muon, pending) = (muon.transpose()?, Vec::new());
        Ok(Self { device, places, flat, model, sums, update, muon, records, pending })
    }

    /// Starts one optimizer step. `metrics` says what the host knows of it; the rest is filled in by [`Self::read`].
    ///
    /// The step's learning rate is that of `metrics`.
    pub fn step(
        &mut self,
        batch: &Batch,
        task: &Task,
        micro_rows: usize,
        mut metrics: StepMetrics,
    ) -> Result<()> {
        if task.n_predicted() == 0 {
            metrics.skipped = Some("no masked token".to_owned());
            self.pending.push(metrics);
            return Ok(());
        }
        let record = self.records.get(self.pending.len())?;
        operations::zero(&self.flat.gradients)?;
        let mut gradients = Gradients::default();
        for (weight, sum) in &self.sums {
            gradients.sum_in(weight, sum.clone());
        }
        for first in (0..batch.rows).step_by(micro_rows) {
            let n = micro_rows.min(batch.rows - first);
            let Some((nll, weights)) = task.micro_batch(&self.model, batch, (first, n))? else {
                continue;
            };
            let weights = Tensor::from_vec(weights, nll.shape(), &self.device)?;
            operations::add_loss(&nll, &weights, &record)?;
            self.model.backward(&nll, &weights, &mut gradients)?;
        }
        operations::adamw(self.update, metrics.lr, &self.flat, &record)?;
        if let Some((update, matrices)) = &self.muon {
            device_muon::muon(update, metrics.lr, &self.flat, matrices)?;
        }
        self.pending.push(metrics);
        Ok(())
    }

    /// Whether steps must be read back before the next one.
    pub fn is_full(&self) -> bool {
        self.pending.len() >= READ_EVERY
    }

    /// Waits for the steps started so far: their metrics, and the updates made since the run began.
    pub fn read(&mut self) -> Result<(Vec<StepMetrics>, u64)> {
        let records = self.records.to_vec2::<f64>()?;
        operations::zero(&self.records)?;
        let updates = self.flat.state.to_vec1::<f64>()?.first().copied().unwrap_or(0.0) as u64;
        let mut done = std::mem::take(&mut self.pending);
        for (metrics, record) in done.iter_mut().zip(records) {
            let [loss, cross_entropy, norm, skipped] = record[..] else {
                anyhow::bail!("a step's record has {} numbers", record.len())
            };
            if metrics.skipped.is_some() {
                continue;
            }
            let finite = |value: f64| value.is_finite().then_some(value);
            metrics.loss = finite(loss);
            metrics.ce_per_masked = finite(cross_entropy / metrics.masked as f64);
            metrics.grad_norm = finite(norm);
            if skipped != 0.0 {
                metrics.skipped = Some(crate::train::NOT_FINITE.to_owned());
            }
        }
        Ok((done, updates))
    }

    /// Downloads parameters and moments, after [`Self::read`].
    pub fn download(&self) -> Result<HostState> {
        let [masters, first, second] =
            [&self.flat.masters, &self.flat.first, &self.flat.second].map(Tensor::to_vec1::<f32>);
        let (masters, first, second) = (masters?, first?, second?);
        let updates = self.flat.state.to_vec1::<f64>()?.first().copied().unwrap_or(0.0) as u64;
        let (mut variables, mut moments) = (BTreeMap::new(), BTreeMap::new());
        for place in &self.places {
            let range = place.offset..place.offset + place.count();
            let values = masters[range.clone()].to_vec();
            let variable = Var::from_vec(values, place.shape.clone(), &Device::Cpu)
                .with_context(|| format!("cannot download {}", place.name))?;
            variables.insert(place.name.clone(), variable);
            if updates > 0 {
                let second =
                    if place.is_muons { Vec::new() } else { second[range.clone()].to_vec() };
                let both = Moments { first: first[range].to_vec(), second };
                moments.insert(place.name.clone(), both);
            }
        }
        Ok(HostState { parameters: Parameters::from_variables(variables), moments, updates })
    }
}

/// Muon as the CPU has it.
fn muon_update(settings: MuonSettings, weight_decay: f64) -> MuonUpdate {
    MuonUpdate {
        momentum: settings.momentum,
        weight_decay,
        rms: muon::ADAMW_RMS,
        polynomial: muon::QUINTIC,
        iterations: muon::ITERATIONS,
        // As precise as the products of the model, which are bf16 here whatever the recipe says.
        factors: Element::Bf16,
    }
}

/// Where all parameters lie: Muon's matrices, then what decays, then the rest.
struct Places {
    all: Vec<Place>,
    /// Elements that Muon updates.
    others: usize,
    /// Elements up to the last one that decays.
    decayed: usize,
    /// All elements.
    count: usize,
}

fn places(parameters: &Parameters, settings: OptimizerSettings) -> Places {
    let is_muons = |name: &str, rank: usize| settings.muon.is_some() && muon::covers(name, rank);
    let mut places = Places { all: Vec::new(), others: 0, decayed: 0, count: 0 };
    for group in 0..3 {
        for (name, variable) in parameters.variables() {
            let rank = variable.rank();
            let own = match (is_muons(name, rank), settings.adamw.decay.covers(rank)) {
                (true, _) => 0,
                (false, true) => 1,
                (false, false) => 2,
            };
            if own == group {
                let (name, shape) = (name.clone(), variable.dims().to_vec());
                let (offset, is_muons) = (places.count, own == 0);
                let place = Place { name, shape, offset, is_muons };
                places.count += place.count().next_multiple_of(ALIGNMENT);
                places.all.push(place);
            }
        }
        match group {
            0 => (places.others, places.decayed) = (places.count, places.count),
            1 => places.decayed = places.count,
            _ => (),
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::adamw::{AdamWSettings, DecayGroup};
    use diffcoder_engine::kernels::matmul::Precision;

    #[test]
    fn parameters_lie_by_their_update_and_every_one_is_aligned() {
        let zeros = |shape: &[usize]| Var::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let variables = BTreeMap::from([
            ("a.norm".to_owned(), zeros(&[70])),
            ("b.weight".to_owned(), zeros(&[3, 5])),
            ("model.layers.0.c.weight".to_owned(), zeros(&[8, 8])),
        ]);
        let parameters = Parameters::from_variables(variables);
        let adamw = AdamWSettings {
            betas: [0.9, 0.95],
            eps: 1e-8,
            weight_decay: 0.1,
            decay: DecayGroup::Matrices,
        };
        let muon = MuonSettings { momentum: 0.95, precision: Precision::F32 };
        let lie = |settings: OptimizerSettings| {
            let found = places(&parameters, settings);
            let places = found.all.iter().map(|place| (place.name.clone(), place.offset));
            (places.collect::<Vec<_>>(), found.others, found.decayed, found.count)
        };
        let named = |places: [(&str, usize); 3]| places.map(|(name, at)| (name.to_owned(), at));
        let (c, b, a) = ("model.layers.0.c.weight", "b.weight", "a.norm");
        let alone = named([(b, 0), (c, 64), (a, 128)]).to_vec();
        assert_eq!(lie(adamw.into()), (alone, 0, 128, 256));
        let both = named([(c, 0), (b, 64), (a, 128)]).to_vec();
        let settings = OptimizerSettings { adamw, muon: Some(muon) };
        assert_eq!(lie(settings), (both.clone(), 64, 128, 256));
        // Without decay of matrices Muon's come first all the same.
        let adamw = AdamWSettings { decay: DecayGroup::None, ..adamw };
        assert_eq!(lie(OptimizerSettings { adamw, muon: Some(muon) }).1, 64);
    }
}
