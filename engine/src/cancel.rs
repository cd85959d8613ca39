//! Cooperative cancellation: a flag that the decode loop polls and anyone may raise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared "stop" flag of one request. Clones see the same flag; it never goes back down.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that nobody has cancelled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the work under this token to stop before its next forward.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether someone asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// A guard that cancels this token when dropped, for futures that may be dropped by their executor.
    pub fn cancel_on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }
}

/// Cancels its token when it goes out of scope; cancelling a finished request has no effect.
#[derive(Debug)]
pub struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
