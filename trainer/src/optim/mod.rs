//! The optimizer: AdamW with moments by name, clipping by the global norm, one learning-rate curve.

pub mod adamw;
pub mod clip;
pub mod lr;
