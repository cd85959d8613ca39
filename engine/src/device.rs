//! Choice of the device that a model runs on.

use candle_core::Device;

use crate::error::{EngineError, Result};

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
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = &device {
        // SAFETY: everything runs on the one stream of this device, in order: there is nothing to track between streams.
        #[expect(unsafe_code, reason = "switches off events that a single stream does not need")]
        unsafe {
            device.disable_event_tracking();
        }
    }
    Ok(device)
}
