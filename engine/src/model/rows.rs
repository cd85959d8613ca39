//! The rows of a serving forward: which tokens, behind which keys, and who does not see whom.

use std::ops::Range;

use crate::model::kv_cache::KvCache;
use crate::model::mask::SequenceMask;

/// Rows of one sequence in a serving forward. They stand right behind the committed tokens of `cache`.
pub struct RowGroup<'a> {
    /// Keys and values of the tokens left of the rows.
    pub cache: &'a mut KvCache,
    /// Token of each row.
    pub tokens: &'a [u32],
    /// Which keys a row sees: those left of the rows, and among the rows what the mask allows on the absolute grid.
    pub mask: SequenceMask,
    /// How many of the first rows stay in the cache after the forward.
    pub commit: usize,
    /// Rows that want logits.
    pub logits: Range<usize>,
    /// Other ways to go on behind the committed rows: none of them sees another, or the rows that are not committed.
    pub branches: &'a [Branch<'a>],
}

/// Rows that stand where those of a [`RowGroup`] stand that are not committed, as if these were not there.
#[derive(Clone, Copy, Debug)]
pub struct Branch<'a> {
    /// Token of each row.
    pub tokens: &'a [u32],
    /// From this row on logits are wanted.
    pub logits_from: usize,
}

/// Consecutive rows of a forward that see each other.
pub(crate) struct Section {
    /// Position of the first one: so many keys are left of it.
    pub(crate) at: usize,
    /// How many.
    pub(crate) rows: usize,
}

impl RowGroup<'_> {
    /// Its rows in the order in which a forward has them: its own, then those of each branch.
    pub(crate) fn sections(&self) -> Vec<Section> {
        let at = self.cache.len();
        let branches = self.branches.iter().map(|branch| branch.tokens.len());
        let own = Section { at, rows: self.tokens.len() };
        let others = branches.map(|rows| Section { at: at + self.commit, rows });
        [own].into_iter().chain(others).filter(|section| section.rows > 0).collect()
    }
}
