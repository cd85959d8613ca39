//! Choice of the device that a model runs on.

use candle_core::Device;

use crate::error::{EngineError, Result};
use crate::kernels::cuda::runtime;

/// Whether this build knows CUDA.
pub const HAS_CUDA: bool = cfg!(feature = "cuda");

/// The CUDA device number `ordinal`, ready for our kernels.
pub fn cuda(ordinal: usize) -> Result<Device> {
    if !HAS_CUDA {
        return Err(EngineError::Request(
            "this build knows no CUDA: build with --features cuda (docs/gpu.md)".into(),
        ));
    }
    let device = Device::new_cuda_with_stream(ordinal)?;
    runtime::prepare(&device)?;
    Ok(device)
}
