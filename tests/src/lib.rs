//! What the end-to-end tests and the conformance runner share.

pub mod conformance;
pub mod device_parity;
pub mod random_model;
pub mod stable_replica;
