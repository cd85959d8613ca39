//! Prompt layouts: how the text around a hole becomes the token sequence that the model continues.

pub mod budget;
pub mod chat;
pub mod format;
pub mod heal;
pub mod joint;
pub mod layout;
pub mod related;
