//! Checkpoints: weights, moments and the step, in a folder that appears whole and carries hashes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use candle_core::{Device, Tensor, Var};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};

use diffcoder_engine::model::config::ModelConfig;

use crate::atomic::{NewFolder, sha256};
use crate::inputs::Inputs;
use crate::optim::Moments;
use crate::optim::adamw::with_f32;

/// Version of the folder's layout.
const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
const WEIGHTS: &str = "model.safetensors";
const MOMENTS: &str = "moments.safetensors";
const CONFIG: &str = "config.json";
const RECIPE: &str = "recipe.toml";

/// Where a run stands. Data order and noise follow from the recipe's seed and the step, so nothing else is kept.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct Progress {
    /// Optimizer steps done, over all stages: the next step's number.
    pub step: u64,
    /// Updates made: steps less those that were skipped.
    pub updates: u64,
    /// Stage of the last step, from 0.
    pub stage: usize,
    /// Whether that stage ended here.
    pub stage_end: bool,
    /// Steps skipped because loss or gradient was not finite.
    pub skipped: u64,
    /// SHA-256 of the weights that the run began with, as f32 in the order of their names; `None` if they were random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct Manifest {
    format: u32,
    #[serde(flatten)]
    progress: Progress,
    /// Checkpoints of older versions lack it.
    #[serde(default)]
    inputs: Inputs,
    /// File name to hexadecimal SHA-256.
    files: BTreeMap<String, String>,
}

/// Everything that a checkpoint holds, read back.
pub struct Checkpoint {
    /// Where the run stands.
    pub progress: Progress,
    /// What the run is made from, as far as the checkpoint tells.
    pub inputs: Inputs,
    /// The model's configuration, as served.
    pub config: ModelConfig,
    /// Text of the recipe that the run followed.
    pub recipe: String,
    /// Weights by name, f32.
    pub weights: BTreeMap<String, Tensor>,
    /// Moments by parameter name.
    pub moments: BTreeMap<String, Moments>,
}

/// What goes into a checkpoint.
pub struct Snapshot<'a> {
    /// Where the run stands.
    pub progress: &'a Progress,
    /// What the run is made from.
    pub inputs: &'a Inputs,
    /// The model's configuration, as served.
    pub config: &'a ModelConfig,
    /// Text of the recipe.
    pub recipe: &'a str,
    /// The parameters.
    pub variables: &'a BTreeMap<String, Var>,
    /// The optimizer's moments.
    pub moments: &'a BTreeMap<String, Moments>,
}

/// Folder of the checkpoint after `step` steps in `root`.
pub fn folder(root: &Path, step: u64) -> PathBuf {
    root.join(format!("step-{step:08}"))
}

impl Snapshot<'_> {
    /// Writes the checkpoint into `root`; returns its folder.
    pub fn save(&self, root: &Path) -> Result<PathBuf> {
        let target = folder(root, self.progress.step);
        self.write(&target)
            .with_context(|| format!("cannot write the checkpoint {}", target.display()))?;
        Ok(target)
    }

    fn write(&self, target: &Path) -> Result<()> {
        let new = NewFolder::beside(target, MANIFEST)?;
        let mut files = BTreeMap::new();
        let mut put = |name: &str, bytes: &[u8]| -> Result<()> {
            files.insert(name.to_owned(), new.write(name, bytes)?);
            Ok(())
        };
        put(WEIGHTS, &weights_file(self.variables)?)?;
        put(MOMENTS, &moments_file(self.moments)?)?;
        put(CONFIG, self.config.to_json().as_bytes())?;
        put(RECIPE, self.recipe.as_bytes())?;
        let (progress, inputs) = (self.progress.clone(), self.inputs.clone());
        let manifest = Manifest { format: FORMAT, progress, inputs, files };
        new.write(MANIFEST, format!("{}\n", serde_json::to_string_pretty(&manifest)?).as_bytes())?;
        new.publish()
    }
}

impl Checkpoint {
    /// Reads a checkpoint and checks every hash.
    pub fn load(dir: &Path) -> Result<Self> {
        Self::read(dir).with_context(|| format!("cannot use the checkpoint {}", dir.display()))
    }

    fn read(dir: &Path) -> Result<Self> {
        let manifest = manifest(dir)?;
        let read = |name: &str| -> Result<Vec<u8>> {
            let hash = manifest
                .files
                .get(name)
                .with_context(|| format!("{MANIFEST} does not list {name}"))?;
            let bytes = std::fs::read(dir.join(name)).with_context(|| format!("read {name}"))?;
            ensure!(
                sha256(&bytes) == *hash,
                "{name} is not the file that was saved (its SHA-256 differs): remove that checkpoint folder and resume from the one \
                 before"
            );
            Ok(bytes)
        };
        let mut weights = BTreeMap::new();
        for (name, (shape, values)) in read_f32(&read(WEIGHTS)?)? {
            weights.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
        }
        let mut tensors = read_f32(&read(MOMENTS)?)?;
        let mut moments = BTreeMap::new();
        for name in weights.keys() {
            let mut take = |which: &str| tensors.remove(&format!("{which}.{name}"));
            // A parameter that no update has reached yet has no moments.
            if let (Some((_, first)), Some((_, second))) = (take("first"), take("second")) {
                moments.insert(name.clone(), Moments { first, second });
            }
        }
        ensure!(tensors.is_empty(), "{MOMENTS} holds moments of parameters that do not exist");
        Ok(Self {
            config: ModelConfig::from_json(&String::from_utf8(read(CONFIG)?)?)?,
            recipe: String::from_utf8(read(RECIPE)?)?,
            progress: manifest.progress,
            inputs: manifest.inputs,
            weights,
            moments,
        })
    }
}

/// Whether `dir` has a manifest, which is written last: a folder without one is no whole checkpoint.
pub fn has_manifest(dir: &Path) -> bool {
    dir.join(MANIFEST).is_file()
}

/// Progress of a checkpoint folder, without its tensors.
pub fn progress(dir: &Path) -> Result<Progress> {
    Ok(manifest(dir)?.progress)
}

fn manifest(dir: &Path) -> Result<Manifest> {
    let text = std::fs::read_to_string(dir.join(MANIFEST)).with_context(|| {
        format!("{} has no {MANIFEST}: it is no checkpoint folder", dir.display())
    })?;
    let manifest: Manifest =
        serde_json::from_str(&text).with_context(|| format!("{MANIFEST} is damaged"))?;
    if manifest.format != FORMAT {
        bail!("it has format {}; this program reads format {FORMAT}", manifest.format);
    }
    Ok(manifest)
}

/// The variables as the bytes of an f32 safetensors file.
pub fn weights_file(variables: &BTreeMap<String, Var>) -> Result<Vec<u8>> {
    let mut values = BTreeMap::new();
    for (name, variable) in variables {
        let shape = variable.dims().to_vec();
        values.insert(name.clone(), (shape, with_f32(variable, <[f32]>::to_vec)?));
    }
    let views =
        values.iter().map(|(name, (shape, values))| (name.clone(), shape.clone(), &values[..]));
    write_f32(views)
}

fn moments_file(moments: &BTreeMap<String, Moments>) -> Result<Vec<u8>> {
    let views = moments.iter().flat_map(|(name, moments)| {
        [("first", &moments.first), ("second", &moments.second)]
            .map(|(which, values)| (format!("{which}.{name}"), vec![values.len()], &values[..]))
    });
    write_f32(views)
}

fn write_f32<'a>(
    tensors: impl Iterator<Item = (String, Vec<usize>, &'a [f32])>,
) -> Result<Vec<u8>> {
    let views = tensors
        .map(|(name, shape, values)| {
            Ok((name, TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(values))?))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(serialize(views, None)?)
}

/// Name to shape and values.
type NamedValues = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn read_f32(bytes: &[u8]) -> Result<NamedValues> {
    let file = SafeTensors::deserialize(bytes)?;
    file.iter()
        .map(|(name, view)| {
            ensure!(view.dtype() == Dtype::F32, "{name} is not of type f32");
            let values = view
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect();
            Ok((name.to_owned(), (view.shape().to_vec(), values)))
        })
        .collect()
}
