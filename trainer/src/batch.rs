//! Token rows of one step, and where they come from.

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
