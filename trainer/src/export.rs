//! A checkpoint becomes a model directory that the engine, and Hugging Face's tools, can load.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use safetensors::serialize;
use safetensors::tensor::{Dtype, TensorView};

use diffcoder_engine::model::Model;
use diffcoder_engine::model::config::ModelConfig;
use diffcoder_engine::model::gguf;
use diffcoder_engine::model::mask::SequenceMask;
use diffcoder_engine::model::ops::Ops;
use diffcoder_engine::model::weights::Weights;
use diffcoder_engine::tokenizer::Tokenizer;

use crate::atomic::NewFolder;
use crate::checkpoint::Checkpoint;
use crate::data::notice::notice;
use crate::optim::adamw::with_f32;
use crate::progress::counter;

/// Number type of exported weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportType {
    /// As trained.
    F32,
    /// Half the size; 11 bits of precision.
    F16,
    /// Half the size; 8 bits of precision, the range of f32.
    Bf16,
    /// A quarter of the size, as GGUF: matrices in blocks of 32 numbers of 8 bits with one scale.
    #[value(name = "q8_0")]
    Q8_0,
}

/// The tokenizer files that a model directory carries; the first must be there.
const TOKENIZER_FILES: [&str; 3] =
    ["tokenizer.json", "special_tokens_map.json", "tokenizer_config.json"];

/// Largest difference of a logit after export, for weights of about unit scale.
fn logit_tolerance(dtype: ExportType) -> f32 {
    match dtype {
        ExportType::F32 => 0.0,
        ExportType::F16 => 0.1,
        ExportType::Bf16 | ExportType::Q8_0 => 1.0,
    }
}

/// Writes the model of `checkpoint` with the tokenizer of `tokenizer` to `out`, which appears whole or not at all.
///
/// `corpus` is the folder that it was trained on: its packages are listed in a `NOTICE`.
///
/// Before it appears it is loaded back, and its logits are held against those of the checkpoint. Returns the largest
/// difference.
pub fn export(
    checkpoint: &Path,
    tokenizer: &Path,
    out: &Path,
    dtype: ExportType,
    corpus: Option<&Path>,
) -> Result<f32> {
    let saved = Checkpoint::load(checkpoint)?;
    let vocab = Tokenizer::from_dir(tokenizer)?.vocab_size();
    ensure!(
        vocab <= saved.config.vocab_size,
        "the tokenizer in {} has {vocab} tokens and the model only {}: name the tokenizer that it was trained with",
        tokenizer.display(),
        saved.config.vocab_size
    );
    saved.inputs.check_tokenizer(tokenizer)?;
    let notice = match corpus {
        Some(corpus) => {
            let notice = notice(corpus)?;
            saved.inputs.check_corpus(corpus)?;
            Some(notice)
        }
        None => None,
    };
    let folder = NewFolder::beside(out, "config.json")?;
    for name in TOKENIZER_FILES {
        match std::fs::read(tokenizer.join(name)) {
            Ok(bytes) => drop(folder.write(name, &bytes)?),
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound && name != TOKENIZER_FILES[0] => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
        }
    }
    if let Some(notice) = notice {
        folder.write("NOTICE", notice.as_bytes())?;
    }
    folder.write("config.json", saved.config.to_json().as_bytes())?;
    match dtype {
        ExportType::F32 => write_safetensors(&folder, &saved.weights, Dtype::F32)?,
        ExportType::F16 => write_safetensors(&folder, &saved.weights, Dtype::F16)?,
        ExportType::Bf16 => write_safetensors(&folder, &saved.weights, Dtype::BF16)?,
        ExportType::Q8_0 => drop(folder.write("model.gguf", &gguf::to_q8_0(&saved.weights)?)?),
    }
    let difference = compare(&saved, folder.path())
        .context("the exported model is unusable; nothing was written")?;
    let tolerance = logit_tolerance(dtype);
    ensure!(
        difference <= tolerance,
        "the exported model's logits differ by {difference} from the checkpoint's (allowed: {tolerance}); nothing was \
         written: export as f32"
    );
    folder.publish().with_context(|| format!("cannot write {}", out.display()))?;
    Ok(difference)
}

/// `dtype` is one of the three float types.
fn write_safetensors(
    folder: &NewFolder,
    weights: &BTreeMap<String, Tensor>,
    dtype: Dtype,
) -> Result<()> {
    let mut encoded = BTreeMap::new();
    let bar = counter(weights.len(), "tensors")?;
    for (name, tensor) in bar.wrap_iter(weights.iter()) {
        let bytes: Vec<u8> = with_f32(tensor, |values| match dtype {
            Dtype::F16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
            Dtype::BF16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        })?;
        encoded.insert(name.clone(), (tensor.dims().to_vec(), bytes));
    }
    let views = encoded
        .iter()
        .map(|(name, (shape, bytes))| {
            Ok((name.clone(), TensorView::new(dtype, shape.clone(), bytes)?))
        })
        .collect::<Result<Vec<_>>>()?;
    // Hugging Face's loader asks for this entry.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    folder.write("model.safetensors", &serialize(views, Some(metadata))?)?;
    Ok(())
}

/// Largest difference between logits of the checkpoint and of the directory, over two rows and both masks.
fn compare(saved: &Checkpoint, dir: &Path) -> Result<f32> {
    let text = std::fs::read_to_string(dir.join("config.json"))?;
    let config = ModelConfig::from_json(&text)?;
    ensure!(config == saved.config, "config.json does not read back as it was written");
    Tokenizer::from_dir(dir)?;
    let loaded = Model::new(&config, Weights::from_dir(dir)?, Ops::default())?;
    let trained = Weights::from_tensors(saved.weights.clone(), "the checkpoint");
    let trained = Model::new(&config, trained, Ops::default())?;
    let len = 32.min(config.max_position_embeddings);
    let ids: Vec<u32> =
        (0..2 * len).map(|i| ((i * 7919 + 13) % config.vocab_size) as u32).collect();
    let ids = Tensor::from_vec(ids, (2, len), &Device::Cpu)?;
    let positions: Vec<u32> = (0..len as u32).collect();
    let mut largest = 0f32;
    let block = config.block_length().unwrap_or(4);
    for mask in [SequenceMask::Causal, SequenceMask::BlockCausal { block }] {
        let logits = |model: &Model| -> Result<Vec<f32>> {
            let hidden = model.forward_sequence(&ids, &positions, mask)?;
            Ok(model.logits(&hidden)?.flatten_all()?.to_vec1()?)
        };
        let (loaded, trained) = (logits(&loaded)?, logits(&trained)?);
        // First, because a maximum passes over what is not a number.
        ensure!(
            trained.iter().all(|logit| logit.is_finite()),
            "the checkpoint's logits are not all finite: export an older checkpoint"
        );
        ensure!(
            loaded.iter().all(|logit| logit.is_finite()),
            "the weights overflow this number type, for logits are no longer finite: export as f32"
        );
        largest = loaded.iter().zip(&trained).map(|(a, b)| (a - b).abs()).fold(largest, f32::max);
    }
    Ok(largest)
}
