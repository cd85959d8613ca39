//! Model directories with random weights, written where a test asks for them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use candle_core::{DType, Device, Tensor};
use diffcoder_engine::model::config::ModelConfig;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

/// Random weights for every tensor that `config` calls for: norms near 1, matrices of a healthy spread.
pub fn random_tensors(config: &ModelConfig, seed: u64) -> anyhow::Result<BTreeMap<String, Tensor>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut tensors = BTreeMap::new();
    for (name, shape) in config.parameter_shapes() {
        let norm = name.ends_with("norm.weight");
        // Uniform in +-a has the standard deviation a / sqrt(3); 1 / sqrt(fan-in) keeps activations of order one.
        let spread = if norm {
            0.3
        } else {
            (3.0 / *shape.last().context("a tensor without a shape")? as f32).sqrt()
        };
        let centre = if norm { 1.0 } else { 0.0 };
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| centre + rng.random_range(-spread..spread))
            .collect();
        tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
    }
    Ok(tensors)
}

/// Writes `config.json` and the weights in `dtype`: one file, or `shards` files with an index.
pub fn write_weights(
    dir: &Path,
    config_json: &str,
    dtype: DType,
    shards: usize,
    seed: u64,
) -> anyhow::Result<()> {
    let config = ModelConfig::from_json(config_json)?;
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join("config.json"), config_json)?;
    let tensors = random_tensors(&config, seed)?;
    let mut files: Vec<BTreeMap<String, Tensor>> = vec![BTreeMap::new(); shards];
    for (index, (name, tensor)) in tensors.into_iter().enumerate() {
        files[index % shards].insert(name, tensor.to_dtype(dtype)?);
    }
    if shards == 1 {
        safetensors::serialize_to_file(&files[0], None, &dir.join("model.safetensors"))?;
        return Ok(());
    }
    let mut weight_map = BTreeMap::new();
    for (index, tensors) in files.iter().enumerate() {
        let file = format!("model-{:05}-of-{shards:05}.safetensors", index + 1);
        safetensors::serialize_to_file(tensors, None, &dir.join(&file))?;
        weight_map.extend(tensors.keys().map(|name| (name.clone(), file.clone())));
    }
    let index = json!({ "metadata": {}, "weight_map": weight_map });
    std::fs::write(dir.join("model.safetensors.index.json"), index.to_string())?;
    Ok(())
}
