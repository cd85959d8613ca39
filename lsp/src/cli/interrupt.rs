//! Ctrl-C and its kin: the work stops before its next forward, and nothing is left half-done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use diffcoder_engine::cancel::CancelToken;
use diffcoder_engine::infiller::InfillError;

use super::INTERRUPTED;

/// Turns SIGINT, SIGTERM and SIGHUP into the cancel token of a command.
pub(crate) struct Interrupt {
    cancel: CancelToken,
    is_polled: Arc<AtomicBool>,
}

impl Interrupt {
    /// Installs the handler, once per process. Until [`Self::into_token`] a signal ends the process at once, as there
    /// is nothing yet that would poll a token, nor anything to tidy up. So does a second one after it: whoever sends it
    /// does not want to wait for a long forward, and as files are written by renaming, none can be left half-written.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let interrupt = Self { cancel: CancelToken::new(), is_polled: Arc::default() };
        let (cancel, is_polled) = (interrupt.cancel.clone(), Arc::clone(&interrupt.is_polled));
        ctrlc::set_handler(move || {
            let is_second = cancel.is_cancelled();
            cancel.cancel();
            if is_second || !is_polled.load(Ordering::Acquire) {
                exit_now();
            }
        })
        .context("cannot listen for Ctrl-C")?;
        Ok(interrupt)
    }

    /// From here on the caller polls the token.
    pub(crate) fn into_token(self) -> CancelToken {
        self.is_polled.store(true, Ordering::Release);
        self.cancel
    }
}

/// Fails if `cancel` was raised: the last look before a result is written.
pub(crate) fn check(cancel: &CancelToken) -> Result<(), InfillError> {
    if cancel.is_cancelled() { Err(InfillError::Cancelled) } else { Ok(()) }
}

#[expect(clippy::disallowed_methods, reason = "a signal handler has no main function to return to")]
fn exit_now() {
    std::process::exit(i32::from(INTERRUPTED));
}
