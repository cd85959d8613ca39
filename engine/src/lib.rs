//! The engine under diffcoder: one transformer definition, its masks and caches, the decode loop and the prompt layouts.
//!
//! Words: a *block* is a diffusion block (never a transformer layer), a *layer* is a transformer layer, a *denoising
//! step* is one forward over a canvas, the *canvas* is the token buffer being denoised, to *commit* makes a mask a token
//! for good (or moves a full block into the key/value cache), a *hole* is a span of a document to be filled.
//!
//! Letters: `B` batch, `T` query positions, `S` key positions, `R` rows (all query positions of a forward), `N` block
//! length, `L` layers, `H` query heads, `Hkv` key/value heads, `Dh` head size, `D` width, `V` vocabulary.

pub mod cancel;
pub mod decode;
pub mod device;
mod embedded;
pub mod engine;
pub mod error;
mod frame;
pub mod infiller;
pub mod kernels;
pub mod model;
pub mod prefix_cache;
pub mod prompt;
pub mod related;
pub mod tokenizer;
