//! Result buffers that are not cleared before a kernel fills them.
#![expect(
    unsafe_code,
    clippy::uninit_vec,
    reason = "clearing what is overwritten next was an eighth of a training step"
)]

use super::element::Element;

/// `len` numbers with unspecified content, for a kernel that writes every one of them before anything reads one.
pub fn unfilled<T: Element>(len: usize) -> Vec<T> {
    let mut numbers = Vec::with_capacity(len);
    // SAFETY: the memory is allocated for `len` numbers, any bits are an f32 or a bf16, and callers only write until all
    // of it is written.
    unsafe { numbers.set_len(len) };
    numbers
}
