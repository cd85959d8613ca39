//! How long a completion waits for the next key before the model is asked.
//!
//! Where the model answers about as fast as somebody types, waiting only costs time. Where it is far slower, each request
//! would be stopped half-way by the next key, and the machine would run hot for nothing; then a request waits a little
//! longer than the keys usually lie apart, and typing has ended when its turn comes.

use std::time::{Duration, Instant};

/// A longer gap between two keys is a pause, not typing.
const PAUSE: Duration = Duration::from_secs(1);
/// Share of a new measurement in the mean, as a divisor.
const MEMORY: u32 = 4;

/// A mean that follows what it measures.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mean(Option<Duration>);

impl Mean {
    pub(crate) fn add(&mut self, measured: Duration) {
        self.0 = Some(match self.0 {
            None => measured,
            Some(mean) => (mean * (MEMORY - 1) + measured) / MEMORY,
        });
    }

    /// Forgets a little: what is not measured any more must not hold for ever.
    pub(crate) fn fade(&mut self) {
        self.0 = self.0.map(|mean| mean * 7 / 8);
    }

    pub(crate) fn get(self) -> Option<Duration> {
        self.0
    }
}

/// How fast somebody types in a document.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    last_key: Option<Instant>,
    gap: Mean,
}

impl Pace {
    /// Notes a key.
    pub(crate) fn key(&mut self, now: Instant) {
        if let Some(last) = self.last_key.replace(now) {
            let gap = now.saturating_duration_since(last);
            if gap < PAUSE {
                self.gap.add(gap);
            }
        }
    }

    /// How long a request waits where one costs `cost` on average; never longer than `most`.
    pub(crate) fn delay(self, cost: Mean, most: Duration) -> Duration {
        match (self.gap.get(), cost.get()) {
            (Some(gap), Some(cost)) if cost > 2 * gap => (gap + gap / 4).min(most),
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_millis(150);

    /// The delay after six keys, `gap` apart, where a completion costs `cost`.
    fn delay(gap: u64, cost: u64) -> u64 {
        let (start, mut pace, mut mean) = (Instant::now(), Pace::default(), Mean::default());
        for key in 0..6 {
            pace.key(start + Duration::from_millis(key * gap));
            mean.add(Duration::from_millis(cost));
        }
        u64::try_from(pace.delay(mean, MOST).as_millis()).unwrap()
    }

    #[test]
    fn a_model_that_keeps_up_is_asked_at_once() {
        assert_eq!(delay(120, 30), 0);
        assert_eq!(delay(120, 240), 0);
        assert_eq!(Pace::default().delay(Mean::default(), MOST), Duration::ZERO);
    }

    #[test]
    fn a_slower_one_is_asked_when_a_key_is_late() {
        assert_eq!(delay(80, 400), 100);
        assert_eq!(delay(400, 3_000), 150, "never longer than the most");
    }

    #[test]
    fn a_wait_that_always_ends_with_a_key_is_given_up() {
        let (start, mut pace, mut mean) = (Instant::now(), Pace::default(), Mean::default());
        mean.add(Duration::from_secs(1));
        for key in 0..16 {
            pace.key(start + Duration::from_millis(key * 100));
            mean.fade();
        }
        assert_eq!(pace.delay(mean, MOST), Duration::ZERO);
    }

    #[test]
    fn a_pause_is_not_typing() {
        assert_eq!(delay(5_000, 9_000), 0);
    }
}
