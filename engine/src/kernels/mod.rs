//! CPU kernels over plain slices.

pub mod cached_attention;
