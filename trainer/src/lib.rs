//! Trains block-diffusion code models from source code on the user's disk.

pub mod data;
pub mod rng;
pub mod tokenizer_training;
