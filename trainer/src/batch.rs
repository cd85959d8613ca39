//! Token rows of one step, and where they come from.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, ensure};

/// Steps drawn ahead of their use.
const PREFETCHED_STEPS: usize = 4;

/// Rows of equal length with the positions that may be trained on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// rows times len token ids, row after row.
    pub tokens: Vec<u32>,
    /// Which of them may be masked and stand in the loss.
    pub loss_mask: Vec<bool>,
    /// B.
    pub rows: usize,
    /// T.
    pub len: usize,
}

/// Gives the rows of each step; a pure function of the step, so that a resumed run sees the same rows.
pub trait Batches {
    /// The rows of global step `step`.
    fn batch(&self, step: u64) -> anyhow::Result<Batch>;
}

/// Draws the batches of consecutive steps on a thread of its own, ahead of their use.
pub struct Prefetched {
    receiver: Mutex<Receiver<(u64, anyhow::Result<Batch>)>>,
}

impl Prefetched {
    /// Starts to draw from `first_step` on; the thread ends with this value.
    pub fn new(batches: impl Batches + Send + 'static, first_step: u64) -> Self {
        let (sender, receiver) = sync_channel(PREFETCHED_STEPS);
        std::thread::spawn(move || {
            for step in first_step.. {
                let batch = batches.batch(step);
                let failed = batch.is_err();
                if sender.send((step, batch)).is_err() || failed {
                    break;
                }
            }
        });
        Self { receiver: Mutex::new(receiver) }
    }
}

impl Batches for Prefetched {
    /// Steps must be asked for in order, starting with the first.
    fn batch(&self, step: u64) -> anyhow::Result<Batch> {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        let (drawn, batch) = receiver.recv().context("the thread that draws batches has ended")?;
        ensure!(drawn == step, "batches are drawn in order: step {drawn} is next, not {step}");
        batch
    }
}
