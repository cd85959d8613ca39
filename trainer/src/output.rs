//! Results of commands on stdout.

use std::io::{ErrorKind, Write as _};

use anyhow::Result;

/// Writes `text`, which ends with a line end.
///
/// # Errors
/// Whoever reads may have left; [`reader_left`] tells that from a failure.
pub(crate) fn write(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// [`write`] of a text without its line end.
pub(crate) fn line(text: &str) -> Result<()> {
    write(&format!("{text}\n"))
}

/// Whether a command ended because nobody reads its result any more: `head` is no failure.
pub fn reader_left(error: &anyhow::Error) -> bool {
    let is_pipe = |error: &std::io::Error| error.kind() == ErrorKind::BrokenPipe;
    error.downcast_ref().is_some_and(is_pipe)
}
