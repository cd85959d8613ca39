//! What a command says on stderr while it works and when it is done.

use std::io::{self, Write};
use std::time::Duration;

use diffcoder_engine::infiller::{Frame, FrameCell, InfillStats};

/// Whether a line may be drawn over again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Screen {
    /// A terminal: a status line comes and goes.
    Terminal,
    /// A file or a pipe: only what lasts is written.
    Log,
}

/// The status line of a running command.
///
/// It is best effort: a message that cannot be shown must not end the work.
pub(crate) struct Progress<'a> {
    err: &'a mut dyn Write,
    screen: Screen,
}

impl<'a> Progress<'a> {
    /// Nothing is shown yet.
    pub(crate) fn new(err: &'a mut dyn Write, screen: Screen) -> Self {
        Self { err, screen }
    }

    /// Replaces the status line.
    pub(crate) fn status(&mut self, text: &str) {
        if self.screen == Screen::Terminal {
            _ = write!(self.err, "\r\u{1b}[K{text}").and_then(|()| self.err.flush());
        }
    }

    /// Tells how far the canvas has come.
    pub(crate) fn frame(&mut self, frame: &Frame) {
        let is_committed = |cell: &&FrameCell| matches!(cell, FrameCell::Committed { .. });
        let n_committed = frame.cells.iter().filter(is_committed).count();
        self.status(&format!("filling: {n_committed} tokens after {} forwards", frame.forwards));
    }

    /// Takes the status line away and leaves `text` in its place.
    pub(crate) fn say(&mut self, text: &str) {
        self.status("");
        _ = writeln!(self.err, "{text}");
    }

    /// Takes the status line away.
    pub(crate) fn clear(&mut self) {
        self.status("");
    }

    /// The stream under the status line, for a trace that goes to stderr.
    pub(crate) fn stream(&mut self) -> &mut dyn Write {
        self.status("");
        &mut *self.err
    }
}

/// What the fills cost, in one line.
pub(crate) fn summary(model: &str, confidence: f32, stats: &InfillStats) -> String {
    format!(
        "{model}: {} tokens in {} forwards ({:.1} per forward), {} prompt tokens ({} cached), {}, confidence {:.2}",
        stats.tokens,
        stats.forwards,
        stats.tokens_per_forward(),
        stats.prompt_tokens,
        stats.cached_tokens,
        human_time(stats.wall),
        confidence,
    )
}

fn human_time(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// Passes writes on and remembers the first failure instead of handing it to a caller that cannot stop.
pub(crate) struct FirstError(pub(crate) io::Result<()>);

impl FirstError {
    /// Runs `write` unless an earlier one failed.
    pub(crate) fn attempt(&mut self, write: impl FnOnce() -> io::Result<()>) {
        if self.0.is_ok() {
            self.0 = write();
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::cli::test_support::{committed, stats};

    fn shown(screen: Screen) -> String {
        let mut err = Vec::new();
        let mut progress = Progress::new(&mut err, screen);
        progress.status("loading");
        let cells = vec![committed("a", 1.0), FrameCell::Masked];
        progress.frame(&Frame { hole: 0, forwards: 2, cells });
        progress.say("done");
        String::from_utf8(err).unwrap()
    }

    #[test]
    fn a_log_holds_what_lasts_only() {
        assert_eq!(shown(Screen::Log), "done\n");
        let erase = "\r\u{1b}[K";
        let expected =
            format!("{erase}loading{erase}filling: 1 tokens after 2 forwards{erase}done\n");
        assert_eq!(shown(Screen::Terminal), expected);
    }

    #[test]
    fn the_summary_names_all_costs() {
        let wall = Duration::from_millis(1234);
        let stats = stats(wall);
        insta::assert_snapshot!(
            summary("nano", 0.456, &stats),
            @"nano: 6 tokens in 4 forwards (1.5 per forward), 20 prompt tokens (4 cached), 1.2 s, confidence 0.46"
        );
    }
}
