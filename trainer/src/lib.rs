//! Trains block-diffusion code models: next-token prediction, corruption warmup, clipped-schedule block diffusion.
//!
//! Words and letters are those of `diffcoder_engine`; a *step* is an optimizer step, a *row* one token sequence of a batch.

pub mod atomic;
mod chart;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod curves;
pub mod data;
pub mod eval;
pub mod export;
mod growth;
pub mod inputs;
pub mod memory;
pub mod metrics;
pub mod objective;
pub mod on_device;
pub mod optim;
pub mod output;
mod overrides;
pub mod parameters;
pub mod progress;
pub mod retention;
pub mod rng;
pub mod stage;
pub mod step;
pub mod tokenizer_training;
pub mod train;
pub mod verbatim;
