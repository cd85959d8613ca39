//! Per-thread scratch buffers that keep their memory between calls.
#![expect(
    unsafe_code,
    reason = "the buffers are cache-line aligned, which needs a view of them as plain numbers"
)]

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// Buffers kept per thread; more than this many in use at once are freed on release.
const KEPT_BUFFERS: usize = 16;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

thread_local! {
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Number types of which every bit pattern is a value.
pub(super) trait Number: Copy {}
impl Number for f32 {}
impl Number for u16 {}

/// A cache-line aligned buffer of `len` numbers with unspecified content, handed back to this thread's pool on drop.
///
/// It is taken out of the pool while in use, so work that rayon steals into the middle of a kernel gets another one.
pub(super) struct Scratch<T: Number> {
    lines: Vec<Line>,
    len: usize,
    number: PhantomData<T>,
}

impl<T: Number> Scratch<T> {
    /// Takes the smallest kept buffer that is large enough, or else grows the largest one.
    pub(super) fn new(len: usize) -> Self {
        let wanted = (len * size_of::<T>()).div_ceil(size_of::<Line>());
        let mut lines = FREE.with_borrow_mut(|free| {
            let fit =
                (0..free.len()).filter(|&i| free[i].len() >= wanted).min_by_key(|&i| free[i].len());
            let index = fit.or_else(|| (0..free.len()).max_by_key(|&i| free[i].len()));
            index.map(|i| free.swap_remove(i)).unwrap_or_default()
        });
        if lines.len() < wanted {
            // The old content is of no use: do not let growing copy it.
            lines.clear();
            lines.resize(wanted, Line([0; 64]));
        }
        Self { lines, len, number: PhantomData }
    }

    /// The same, filled with zeros.
    pub(super) fn zeroed(len: usize) -> Self {
        let mut scratch = Self::new(len);
        let used = (len * size_of::<T>()).div_ceil(size_of::<Line>());
        scratch.lines[..used].fill(Line([0; 64]));
        scratch
    }

    /// One of just this size, filled with zeros, that leaves the pool's buffers alone: for what is kept.
    pub(super) fn to_keep(len: usize) -> Self {
        let lines = vec![Line([0; 64]); (len * size_of::<T>()).div_ceil(size_of::<Line>())];
        Self { lines, len, number: PhantomData }
    }
}

impl<T: Number> Deref for Scratch<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `lines` holds at least `len` initialised numbers, aligned to 64 bytes, and any bits are a valid T.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Number> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; the exclusive borrow of `self` covers the exclusive view.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl<T: Number> Drop for Scratch<T> {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        // Fails only while the thread is being torn down: then the buffer is simply freed.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT_BUFFERS {
                free.push(lines);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_reused_and_a_live_one_is_not() {
        let mut first = Scratch::<f32>::new(1000);
        first.fill(3.0);
        let address = first.as_ptr();
        let second = Scratch::<f32>::new(1000);
        assert_ne!(second.as_ptr(), address);
        drop(first);
        let third = Scratch::<u16>::new(2000);
        assert_eq!(third.as_ptr().cast(), address);
        assert_eq!(third.as_ptr() as usize % 64, 0);
        drop(third);
        assert!(Scratch::<f32>::zeroed(1000).iter().all(|&x| x == 0.0));
    }
}
