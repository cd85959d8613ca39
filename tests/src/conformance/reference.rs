//! Reads the reference models and tensors.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use candle_core::{DType, Device, Tensor};
use diffcoder_engine::model::Model;
use diffcoder_engine::model::config::ModelConfig;
use diffcoder_engine::model::weights::Weights;

use super::Setup;

/// The tensors of one safetensors file.
pub(crate) struct Tensors(BTreeMap<String, Tensor>);

impl Tensors {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let tensors = candle_core::safetensors::load(path, &Device::Cpu)
            .with_context(|| format!("read {}", path.display()))?;
        Ok(Self(tensors.into_iter().collect()))
    }

    pub(crate) fn get(&self, name: &str) -> anyhow::Result<&Tensor> {
        self.0.get(name).with_context(|| format!("the tensor {name} is missing"))
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    pub(crate) fn into_map(self) -> BTreeMap<String, Tensor> {
        self.0
    }

    /// Integers of any width as u32 ids.
    pub(crate) fn ids(&self, name: &str) -> anyhow::Result<Tensor> {
        Ok(self.get(name)?.to_dtype(DType::U32)?)
    }

    pub(crate) fn positions(&self, name: &str) -> anyhow::Result<Vec<u32>> {
        Ok(self.ids(name)?.to_vec1()?)
    }
}

pub(crate) fn config(directory: &Path, model: &str, file: &str) -> anyhow::Result<ModelConfig> {
    let path = directory.join("models").join(model).join(file);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(ModelConfig::from_json(&text)?)
}

pub(crate) fn model(directory: &Path, name: &str, setup: &Setup) -> anyhow::Result<Model> {
    let weights = Weights::from_dir(&directory.join("models").join(name))?;
    let weights = weights.on_device(&setup.device, DType::F32)?;
    Ok(Model::new(&config(directory, name, "config.json")?, weights, setup.ops)?)
}

/// Largest absolute difference; infinite where one of the two is not a number.
pub(crate) fn largest_difference(ours: &Tensor, reference: &Tensor) -> anyhow::Result<f64> {
    ensure!(
        ours.shape() == reference.shape(),
        "shapes differ: ours {:?}, reference {:?}",
        ours.shape(),
        reference.shape()
    );
    let (ours, reference) =
        (ours.flatten_all()?.to_vec1::<f32>()?, reference.flatten_all()?.to_vec1::<f32>()?);
    let difference = |(a, b): (&f32, &f32)| {
        if a.is_finite() && b.is_finite() { f64::from((a - b).abs()) } else { f64::INFINITY }
    };
    Ok(ours.iter().zip(&reference).map(difference).fold(0.0, f64::max))
}
