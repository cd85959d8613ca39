//! CUDA kernels: the same operations as the CPU ones beside them, on bf16 or f32 tensors with f32 arithmetic.
//!
//! `source/*.cu` are the kernels, `ptx/*.ptx` what `cargo xtask cuda-ptx` made of them (PTX for compute capability 8.0,
//! which the driver compiles for the card at hand; a user needs no CUDA compiler). `plan` works out the launches and
//! needs no CUDA; the tests run it on an emulator. Everything else exists with the feature `cuda` alone.

pub mod launch;
pub mod muon;
pub mod operations;
pub mod plan;
pub mod runtime;

#[cfg(feature = "cuda")]
mod driver;
