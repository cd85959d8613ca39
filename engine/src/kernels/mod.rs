//! CPU kernels: pure functions over row-major `f32` slices (`bf16` where only products read them), free of tensor types.
//!
//! Every kernel splits its work into pieces that depend on the shapes alone, never on the number of threads, and sums
//! partial results in a fixed order: the same input gives the same bits on any thread pool. Buffers that a call needs
//! for itself come from per-thread scratch memory that is kept between calls, because fresh pages cost more than the
//! arithmetic in these sizes.
//!
//! A slice of the wrong length is a bug of the caller and panics.

pub mod adamw;
pub mod attention;
mod attention_chunk;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod bf16;
pub mod buffer;
pub mod cached_attention;
pub mod cross_entropy;
pub mod cuda;
pub mod doubled;
pub mod element;
pub mod embedding;
pub mod exp;
mod few_rows;
pub mod matmul;
pub mod norm;
pub mod quantized;
pub mod rope;
mod scratch;
mod simd;
pub mod swiglu;
mod transpose;
