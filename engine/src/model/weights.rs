//! Weights of a model directory as named f32 tensors, with strict names and shapes.
//!
//! Files are read whole, copied and closed: a file that is truncated under a live mapping would kill the process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use crate::error::{EngineError, Result};
use crate::model::gguf;

/// Named tensors that a model takes one by one; what is left over afterwards is an error.
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
    location: String,
}

impl Weights {
    /// Wraps tensors that exist already, such as a trainer's variables. `location` names them in errors.
    pub fn from_tensors(tensors: BTreeMap<String, Tensor>, location: impl Into<String>) -> Self {
        Self { tensors, location: location.into() }
    }

    /// Reads `model.safetensors`, or the shards that `model.safetensors.index.json` names, or else `model.gguf`.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let (single, index) =
            (dir.join("model.safetensors"), dir.join("model.safetensors.index.json"));
        let quantized = dir.join("model.gguf");
        let files: BTreeSet<_> = if index.exists() {
            shard_names(&index)?.into_iter().map(|name| dir.join(name)).collect()
        } else if !single.exists() && quantized.exists() {
            BTreeSet::from([quantized])
        } else {
            BTreeSet::from([single])
        };
        let mut tensors = BTreeMap::new();
        for path in files {
            let bytes = std::fs::read(&path).map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => EngineError::MissingFile {
                    path: path.clone(),
                    mend: "copy every weight file of the model into its directory",
                },
                _ => EngineError::Read { path: path.clone(), source },
            })?;
            read_file(&bytes, &path.display().to_string(), &mut tensors)?;
        }
        Ok(Self { tensors, location: dir.display().to_string() })
    }

    /// Memory of the tensors that are left.
    pub fn bytes(&self) -> usize {
        self.tensors
            .values()
            .map(|tensor| tensor.elem_count() * tensor.dtype().size_in_bytes())
            .sum()
    }

    /// Reads the bytes of one safetensors or GGUF file.
    pub fn from_bytes(bytes: &[u8], location: impl Into<String>) -> Result<Self> {
        let location = location.into();
        let mut tensors = BTreeMap::new();
        read_file(bytes, &location, &mut tensors)?;
        Ok(Self { tensors, location })
    }

    /// The same tensors on a device in another type.
    pub fn on_device(self, device: &Device, dtype: DType) -> Result<Self> {
        let Self { tensors, location } = self;
        let tensors = tensors
            .into_iter()
            .map(|(name, tensor)| Ok((name, tensor.to_dtype(dtype)?.to_device(device)?)))
            .collect::<Result<_>>()?;
        Ok(Self { tensors, location })
    }

    /// Takes the tensor `name`, which must be there in exactly this shape.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.tensors.remove(name).ok_or_else(|| EngineError::MissingTensor {
            name: name.to_owned(),
            location: self.location.clone(),
        })?;
        if tensor.shape().dims() != shape {
            return Err(EngineError::TensorShape {
                name: name.to_owned(),
                location: self.location.clone(),
                found: tensor.shape().dims().to_vec(),
                expected: shape.to_vec(),
            });
        }
        Ok(tensor)
    }

    /// Fails if a tensor was left over.
    pub fn finish(self) -> Result<()> {
        match self.tensors.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(EngineError::SurplusTensor { name, location: self.location }),
        }
    }
}

/// File names in the index. They must be plain names: an index must not reach outside its directory.
fn shard_names(index: &Path) -> Result<BTreeSet<String>> {
    let damaged =
        |reason: String| EngineError::Weights { location: index.display().to_string(), reason };
    let text = std::fs::read_to_string(index)
        .map_err(|source| EngineError::Read { path: index.to_owned(), source })?;
    let root: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| damaged(format!("not JSON: {error}")))?;
    let map = root
        .get("weight_map")
        .and_then(|map| map.as_object())
        .ok_or_else(|| damaged("weight_map is missing".into()))?;
    map.iter()
        .map(|(tensor, file)| match file.as_str() {
            Some(name) if Path::new(name).file_name().is_some_and(|plain| plain == name) => {
                Ok(name.to_owned())
            }
            _ => Err(damaged(format!("the file of tensor {tensor} is no plain file name"))),
        })
        .collect()
}

fn read_file(bytes: &[u8], location: &str, tensors: &mut BTreeMap<String, Tensor>) -> Result<()> {
    if bytes.starts_with(gguf::MAGIC) {
        return gguf::read(bytes, location, tensors);
    }
    let damaged = |reason: String| EngineError::Weights { location: location.to_owned(), reason };
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| damaged(format!("damaged or truncated ({error}); copy the file again")))?;
    for (name, view) in file.tensors() {
        let data = view.data();
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => {
                data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
            }
            Dtype::F16 => {
                data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
            }
            Dtype::BF16 => {
                data.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
            }
            other => {
                return Err(damaged(format!(
                    "tensor {name} has type {other:?}; supported are F32, F16 and BF16"
                )));
            }
        };
        let tensor = Tensor::from_vec(values, view.shape(), &Device::Cpu)?;
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(damaged(format!("tensor {name} stands in two shards")));
        }
    }
    Ok(())
}
