//! The CUDA kernels' own sources and launches, run on an emulator, against the CPU kernels.
//!
//! Needs a C++ compiler and an x86-64 or Arm Linux machine, no GPU. Where there is no compiler the tests say so and pass:
//! nothing else in the repository needs one.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod attention;
mod emulator;
mod model;
mod muon;
mod optimizer;
mod rowwise;
