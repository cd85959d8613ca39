//! What a running training shows on stderr: a bar on a terminal, a line now and then in a log file.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::metrics::StepMetrics;

/// How often a log file gets a line.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Share of the newest step in the smoothed numbers.
const SMOOTHING: f64 = 0.05;

/// The display of one run.
pub struct Display {
    bar: ProgressBar,
    total: u64,
    logged_at: Option<Instant>,
    loss: Option<f64>,
    tokens_per_s: f64,
    seconds_per_step: f64,
}

impl Display {
    /// A display of `total` steps, `done` of which are done.
    pub fn new(total: u64, done: u64) -> Self {
        let bar = ProgressBar::new(total).with_position(done);
        // The template is a constant, so the fallback is never seen.
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} eta {eta}  {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.reset_eta();
        Self { bar, total, logged_at: None, loss: None, tokens_per_s: 0.0, seconds_per_step: 0.0 }
    }

    /// Shows a line of its own.
    pub fn note(&self, text: &str) {
        self.bar.suspend(|| log(text));
    }

    /// Shows a step.
    pub fn step(&mut self, metrics: &StepMetrics) {
        if let Some(loss) = metrics.ce_per_masked {
            let before = self.loss.unwrap_or(loss);
            self.loss = Some(before + SMOOTHING * (loss - before));
        }
        // A step that predicted nothing took no time worth counting.
        if metrics.masked > 0 {
            let seconds = metrics.tokens as f64 / metrics.tokens_per_s;
            let first = self.tokens_per_s == 0.0;
            let smooth =
                |old: f64, new: f64| if first { new } else { old + SMOOTHING * (new - old) };
            self.tokens_per_s = smooth(self.tokens_per_s, metrics.tokens_per_s);
            self.seconds_per_step = smooth(self.seconds_per_step, seconds);
        }
        let message = format!(
            "{} loss {:.3} (smooth {:.3})  norm {:.2}  lr {:.1e}  {:.0} tok/s  {:.0} % of matmul",
            metrics.kind,
            metrics.loss.unwrap_or(f64::NAN),
            self.loss.unwrap_or(f64::NAN),
            metrics.grad_norm.unwrap_or(f64::NAN),
            metrics.lr,
            self.tokens_per_s,
            metrics.matmul_share * 100.0,
        );
        self.bar.set_position(metrics.step + 1);
        self.bar.set_message(message.clone());
        let due = self.logged_at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL);
        if due && !std::io::stderr().is_terminal() {
            self.logged_at = Some(Instant::now());
            let left = (self.total - metrics.step - 1) as f64 * self.seconds_per_step;
            log(&format!(
                "step {}/{}  {message}  eta {:.0} min",
                metrics.step + 1,
                self.total,
                left / 60.0
            ));
        }
    }

    /// Leaves the bar as it is.
    pub fn finish(&self) {
        self.bar.abandon();
    }
}

/// A line on stderr; a closed stderr is no reason to lose a run.
fn log(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A bar for `total` things of one kind, with their rate and the time left, on stderr.
pub(crate) fn counter(
    total: usize,
    what: &'static str,
) -> Result<ProgressBar, indicatif::style::TemplateError> {
    let style =
        ProgressStyle::with_template("{msg} [{bar:32}] {pos}/{len}, {per_sec}, {eta} left")?;
    Ok(ProgressBar::new(total as u64).with_style(style).with_message(what))
}
