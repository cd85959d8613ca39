//! Who may attend to whom: pure functions of positions. Serving uses the key limits, tests and references the dense masks.

/// Attention pattern of one sequence of T tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceMask {
    /// Each token sees itself and what is left of it.
    Causal,
    /// Each token sees everything.
    Full,
    /// Each token sees its own block (on the absolute grid) and the blocks left of it: `i/N >= j/N`.
    BlockCausal {
        /// N.
        block: usize,
    },
}

impl SequenceMask {
    /// Number of keys that the query at `index` sees, of `len` in all: it sees exactly the first so many.
    pub fn key_limit(self, index: usize, len: usize) -> usize {
        match self {
            Self::Causal => index + 1,
            Self::Full => len,
            Self::BlockCausal { block } => ((index / block + 1) * block).min(len),
        }
    }

    /// The mask as a dense (T, T) matrix in row-major order, true where the query (row) sees the key (column).
    pub fn dense(self, len: usize) -> Vec<bool> {
        (0..len)
            .flat_map(|query| (0..len).map(move |key| key < self.key_limit(query, len)))
            .collect()
    }
}

/// The training mask over `[x_t ; x_0]` as a dense (2T, 2T) matrix in row-major order.
///
/// Noisy block b sees itself and clean blocks < b; clean block b sees clean blocks <= b; nobody sees another noisy block
/// (arXiv 2601.15892 section 3; BD3-LM, arXiv 2503.09573, section 3.2).
pub fn doubled_dense(len: usize, block: usize) -> Vec<bool> {
    let sees = |query: usize, key: usize| {
        let (query_block, key_block) = (query % len / block, key % len / block);
        match (query < len, key < len) {
            (true, true) => query_block == key_block,
            (true, false) => key_block < query_block,
            (false, true) => false,
            (false, false) => key_block <= query_block,
        }
    };
    (0..2 * len).flat_map(|query| (0..2 * len).map(move |key| sees(query, key))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(mask: &[bool], width: usize) -> String {
        let rows: Vec<String> = mask
            .chunks(width)
            .map(|row| row.iter().map(|&sees| if sees { '#' } else { '.' }).collect())
            .collect();
        rows.join("\n")
    }

    #[test]
    fn block_causal_follows_the_absolute_grid() {
        assert_eq!(
            draw(&SequenceMask::BlockCausal { block: 2 }.dense(5), 5),
            "##...\n##...\n####.\n####.\n#####"
        );
    }

    #[test]
    fn causal_and_full() {
        assert_eq!(draw(&SequenceMask::Causal.dense(3), 3), "#..\n##.\n###");
        assert_eq!(draw(&SequenceMask::Full.dense(2), 2), "##\n##");
    }

    #[test]
    fn doubled_mask_of_two_blocks_of_two() {
        let expected =
            "##......\n##......\n..####..\n..####..\n....##..\n....##..\n....####\n....####";
        assert_eq!(draw(&doubled_dense(4, 2), 8), expected);
    }
}
