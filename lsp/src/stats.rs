//! Local counts: how many suggestions were shown and accepted, and how long they took. No text, no place, no network.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Upper ends of the latency classes, in milliseconds; the last class has none.
const CLASSES_MS: [u64; 16] =
    [10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000];

/// Counts of one session, or of all of them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Stats {
    /// Seconds since 1970 at the first count.
    pub since: Option<u64>,
    /// Suggestions that were shown.
    pub shown: u64,
    /// Of these, those that the editor told were taken.
    pub accepted: u64,
    /// Requests without a suggestion, by reason.
    pub nothing: BTreeMap<String, u64>,
    /// Answers by class of latency.
    latency: Vec<u64>,
}

impl Stats {
    /// Counts an answer that took `latency`.
    pub(crate) fn add_latency(&mut self, latency: Duration) {
        let ms = latency.as_millis() as u64;
        let class = CLASSES_MS.partition_point(|end| *end < ms);
        self.latency.resize(CLASSES_MS.len() + 1, 0);
        self.latency[class] += 1;
    }

    /// Upper end of the class in which that share of the answers has come; `None` without answers, or past the last class.
    pub fn latency_ms(&self, share: f64) -> Option<u64> {
        let total: u64 = self.latency.iter().sum();
        let mut so_far = 0;
        let class = self.latency.iter().position(|count| {
            so_far += count;
            total > 0 && so_far as f64 >= share * total as f64
        })?;
        CLASSES_MS.get(class).copied()
    }

    /// Answers whose latency was counted.
    pub fn answers(&self) -> u64 {
        self.latency.iter().sum()
    }

    fn add(&mut self, other: &Self) {
        self.since = self.since.or(other.since);
        self.shown += other.shown;
        self.accepted += other.accepted;
        for (reason, count) in &other.nothing {
            *self.nothing.entry(reason.clone()).or_default() += count;
        }
        self.latency.resize(CLASSES_MS.len() + 1, 0);
        for (sum, count) in self.latency.iter_mut().zip(&other.latency) {
            *sum += count;
        }
    }
}

/// `$XDG_STATE_HOME/diffcoder/stats.json`, or the place that stands for it.
pub fn file() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE"));
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let folder = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).and_then(absolute);
    let folder = folder.or_else(|| Some(Path::new(&home()?).join(".local").join("state")))?;
    Some(folder.join("diffcoder").join("stats.json"))
}

/// The counts in a file; none if it is not there.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub fn read(file: &Path) -> io::Result<Stats> {
    match fs::read(file) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Stats::default()),
        Err(error) => Err(error),
    }
}

/// Adds a session's counts to those in a file. Servers of several windows take turns.
///
/// # Errors
/// The file cannot be written. One that cannot be understood is begun anew.
pub(crate) fn add(file: &Path, counts: &Stats) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let lock = File::create(file.with_extension("lock"))?;
    lock.lock()?;
    let mut sum = read(file).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    sum.since.get_or_insert(now.as_secs());
    sum.add(counts);
    let mut written = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut written, &sum)?;
    written.persist(file)?;
    lock.unlock()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_add_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state").join("stats.json");
        assert_eq!(read(&file).unwrap(), Stats::default());
        let mut session = Stats { shown: 3, accepted: 1, ..Stats::default() };
        session.nothing.insert("empty".to_owned(), 2);
        for ms in [15, 16, 700, 9000] {
            session.add_latency(Duration::from_millis(ms));
        }
        assert_eq!(session.latency_ms(0.5), Some(20));
        assert_eq!(session.latency_ms(0.75), Some(750));
        assert_eq!(session.latency_ms(1.0), None, "past the last class");
        for _ in 0..2 {
            add(&file, &session).unwrap();
        }
        let sum = read(&file).unwrap();
        assert_eq!((sum.shown, sum.accepted, sum.nothing["empty"]), (6, 2, 4));
        assert_eq!((sum.answers(), sum.latency_ms(0.5)), (8, Some(20)));
        assert!(sum.since.is_some());
        fs::write(&file, "not JSON").unwrap();
        assert!(read(&file).is_err());
        add(&file, &session).unwrap();
        assert_eq!(read(&file).unwrap().shown, 3);
    }
}
