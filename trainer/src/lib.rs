//! Trains block-diffusion code models from source code on the user's disk.

pub mod data;
mod new_folder;
pub mod rng;
pub mod tokenizer_training;
