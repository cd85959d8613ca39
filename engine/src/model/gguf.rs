//! Quantized weights: GGUF files whose tensors have the Hugging Face names that all our weights have.

use std::collections::BTreeMap;
use std::io::Cursor;

use candle_core::quantized::gguf_file::{self, Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use crate::error::{EngineError, Result};

/// What a GGUF file begins with.
pub(super) const MAGIC: &[u8] = b"GGUF";
/// `general.architecture` of files of ours: a llama.cpp file has other tensor names.
const ARCHITECTURE: &str = "diffcoder";

/// Reads the bytes of a GGUF file, every tensor as f32.
pub(super) fn read(
    bytes: &[u8],
    location: &str,
    tensors: &mut BTreeMap<String, Tensor>,
) -> Result<()> {
    let damaged = |reason: String| EngineError::Weights { location: location.to_owned(), reason };
    let torn = |error: candle_core::Error| {
        // candle appends a backtrace where RUST_BACKTRACE asks for one: the first line says what is wrong.
        let error = error.to_string();
        let reason = error.lines().next().unwrap_or_default();
        damaged(format!("damaged or truncated ({reason}); copy the file again"))
    };
    let mut reader = Cursor::new(bytes);
    let content = Content::read(&mut reader).map_err(torn)?;
    match content.metadata.get("general.architecture") {
        Some(Value::String(name)) if name == ARCHITECTURE => {}
        _ => {
            return Err(damaged(
                "a GGUF file that diffcoder-train did not write: only its own GGUF files are read; take the model's safetensors"
                    .into(),
            ));
        }
    }
    let names: std::collections::BTreeSet<&String> = content.tensor_infos.keys().collect();
    for name in names {
        let tensor = content.tensor(&mut reader, name, &Device::Cpu).map_err(torn)?;
        let tensor = tensor.dequantize(&Device::Cpu)?;
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(damaged(format!("tensor {name} stands in two files")));
        }
    }
    Ok(())
}

/// The bytes of a GGUF file with these f32 tensors: matrices in Q8_0 (blocks of 32 with one f16 scale, 8.5 bits a
/// number), everything else as it is.
///
/// # Errors
/// A tensor that cannot be quantized.
pub fn to_q8_0(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    let mut quantized = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let rows_are_blocks = tensor.dims().last().is_some_and(|last| last.is_multiple_of(32));
        let dtype =
            if tensor.rank() >= 2 && rows_are_blocks { GgmlDType::Q8_0 } else { GgmlDType::F32 };
        quantized.push((name.as_str(), QTensor::quantize(tensor, dtype)?));
    }
    let tensors: Vec<(&str, &QTensor)> =
        quantized.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let architecture = Value::String(ARCHITECTURE.to_owned());
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(&mut file, &[("general.architecture", &architecture)], &tensors)?;
    Ok(file.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> BTreeMap<String, Tensor> {
        let matrix: Vec<f32> = (0..256).map(|i| ((i * 37 % 101) as f32 - 50.0) / 25.0).collect();
        BTreeMap::from([
            ("matrix".to_owned(), Tensor::from_vec(matrix, (4, 64), &Device::Cpu).unwrap()),
            ("narrow".to_owned(), Tensor::new(&[[1f32, 2.0], [3.0, 4.1]], &Device::Cpu).unwrap()),
            ("norm".to_owned(), Tensor::new(&[0.123_f32, 4.5], &Device::Cpu).unwrap()),
        ])
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn matrices_come_back_within_half_a_step_and_the_rest_exactly() {
        let written = tensors();
        let bytes = to_q8_0(&written).unwrap();
        assert!(bytes.starts_with(MAGIC));
        let mut read_back = BTreeMap::new();
        read(&bytes, "test", &mut read_back).unwrap();
        assert!(read_back.keys().eq(written.keys()));
        for (name, tensor) in &written {
            assert_eq!(read_back[name].dims(), tensor.dims());
            // The largest number of a block has 127 steps.
            let step = if name == "matrix" { 2.0 / 127.0 } else { 0.0 };
            for (a, b) in values(&read_back[name]).into_iter().zip(values(tensor)) {
                assert!((a - b).abs() <= 0.51 * step, "{name}: {a} {b}");
            }
        }
    }

    #[test]
    fn torn_and_foreign_files_are_refused_with_a_sentence() {
        let bytes = to_q8_0(&tensors()).unwrap();
        for len in [4, 20, 60, bytes.len() / 2, bytes.len() - 40] {
            let error = read(&bytes[..len], "x.gguf", &mut BTreeMap::new()).unwrap_err();
            let error = error.to_string();
            assert!(error.contains("x.gguf") && error.contains("copy the file again"), "{error}");
        }
        let mut foreign = Cursor::new(Vec::new());
        let llama = Value::String("llama".to_owned());
        gguf_file::write(&mut foreign, &[("general.architecture", &llama)], &[]).unwrap();
        let error = read(&foreign.into_inner(), "y.gguf", &mut BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("did not write"), "{error}");
    }
}
