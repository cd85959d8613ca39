//! Prompt layouts: how the text around a hole becomes the token sequence that the model continues.

pub mod format;
