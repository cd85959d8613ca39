//! Finds copies: exact ones by hash, near ones by MinHash over 5-grams of lexical tokens.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::filter::Reason;

/// Number of hash permutations of a signature.
const PERMUTATIONS: usize = 128;
/// Rows of a band. 16 bands of 8 rows make two texts of Jaccard similarity 0.7 candidates with probability 0.61, of
/// 0.8 with 0.95, of 0.5 with 0.06.
const BAND_ROWS: usize = 8;
/// Lexical tokens of one shingle.
const SHINGLE_TOKENS: usize = 5;

/// What dedup needs to know of a text.
#[derive(Clone, Debug)]
pub struct Fingerprint {
    exact: [u8; 32],
    signature: [u32; PERMUTATIONS],
}

impl Fingerprint {
    /// Fingerprint of a text; whitespace does not count.
    pub fn of(text: &str) -> Self {
        let mut hasher = Sha256::new();
        for word in text.split_whitespace() {
            hasher.update(word.as_bytes());
        }
        Self { exact: hasher.finalize().into(), signature: signature(text) }
    }

    /// Estimated Jaccard similarity of the 5-gram sets, 0 to 1, standard error at most 0.045.
    pub fn similarity(&self, other: &Self) -> f64 {
        let equal = self.signature.iter().zip(&other.signature).filter(|(a, b)| a == b).count();
        equal as f64 / PERMUTATIONS as f64
    }
}

/// Texts seen so far.
#[derive(Debug)]
pub struct Index {
    similarity: f64,
    exact: HashSet<[u8; 32]>,
    bands: HashMap<(usize, u64), Vec<usize>>,
    kept: Vec<Fingerprint>,
}

impl Index {
    /// An empty index; texts at or above `similarity` count as copies.
    pub fn new(similarity: f64) -> Self {
        Self { similarity, exact: HashSet::new(), bands: HashMap::new(), kept: Vec::new() }
    }

    /// Adds a text, unless it is a copy of one that was added before.
    pub fn insert(&mut self, fingerprint: Fingerprint) -> Result<(), Reason> {
        if !self.exact.insert(fingerprint.exact) {
            return Err(Reason::Duplicate);
        }
        let keys: Vec<(usize, u64)> = fingerprint
            .signature
            .chunks_exact(BAND_ROWS)
            .map(|rows| {
                rows.iter().fold(0xcbf2_9ce4_8422_2325, |hash, row| mix(hash ^ u64::from(*row)))
            })
            .enumerate()
            .collect();
        let similar = |kept: &usize| self.kept[*kept].similarity(&fingerprint) >= self.similarity;
        if keys.iter().filter_map(|key| self.bands.get(key)).flatten().any(similar) {
            return Err(Reason::NearDuplicate);
        }
        for key in keys {
            self.bands.entry(key).or_default().push(self.kept.len());
        }
        self.kept.push(fingerprint);
        Ok(())
    }
}

/// MinHash signature of the set of shingles; of a text that is shorter than one shingle, of its one run of tokens.
fn signature(text: &str) -> [u32; PERMUTATIONS] {
    let tokens: Vec<u64> = lexical_tokens(text).map(hash_bytes).collect();
    let mut shingles: Vec<u32> = tokens
        .windows(SHINGLE_TOKENS.min(tokens.len().max(1)))
        .map(|window| (window.iter().fold(0, |hash, token| mix(hash ^ token)) >> 32) as u32)
        .collect();
    shingles.sort_unstable();
    shingles.dedup();
    let keys: [(u32, u32); PERMUTATIONS] = std::array::from_fn(|i| {
        let key = mix(i as u64 + 1);
        // An odd factor makes the map a permutation of the 32-bit numbers.
        (key as u32 | 1, (key >> 32) as u32)
    });
    let mut least = [u32::MAX; PERMUTATIONS];
    for shingle in shingles {
        for (least, (factor, offset)) in least.iter_mut().zip(keys) {
            *least = (*least).min((shingle ^ offset).wrapping_mul(factor));
        }
    }
    least
}

/// Words and single punctuation characters.
pub fn lexical_tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        Some(token)
    })
}

/// Hash of a token (FNV-1a); hash lists depend on it.
pub(super) fn hash_bytes(token: &str) -> u64 {
    token.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Spreads every bit of `x` over the whole word (a bijection); hash lists depend on it.
pub(super) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(texts: &[&str]) -> Vec<Result<(), Reason>> {
        let mut index = Index::new(0.7);
        texts.iter().map(|text| index.insert(Fingerprint::of(text))).collect()
    }

    #[test]
    fn copies_are_caught() {
        let code = include_str!("source.rs");
        let reformatted = code.replace("    ", "\t");
        assert_eq!(verdicts(&[code, &reformatted]), [Ok(()), Err(Reason::Duplicate)]);
    }

    #[test]
    fn near_copies_are_caught() {
        let code = include_str!("source.rs");
        let edited = code.replacen("registry", "store", 3).replace("version_key", "order_of");
        assert_eq!(verdicts(&[code, &edited]), [Ok(()), Err(Reason::NearDuplicate)]);
    }

    #[test]
    fn distinct_files_are_kept() {
        let files = [
            include_str!("source.rs"),
            include_str!("filter.rs"),
            include_str!("config.rs"),
            include_str!("licence.rs"),
            include_str!("../rng.rs"),
            "",
            "x",
            "fn main() {}",
        ];
        assert!(verdicts(&files).iter().all(Result::is_ok));
    }

    #[test]
    fn similarity_estimates_the_jaccard_index() {
        // 600 and 600 words of which 400 are shared: 5-grams share about 396 of 796.
        let word = |i: usize| format!("w{i} ");
        let a: String = (0..600).map(word).collect();
        let b: String = (200..800).map(word).collect();
        let estimate = Fingerprint::of(&a).similarity(&Fingerprint::of(&b));
        assert!((estimate - 396.0 / 796.0).abs() < 0.15, "{estimate}");
    }

    #[test]
    fn tokens_are_words_and_single_marks() {
        let tokens: Vec<_> = lexical_tokens("fn f_1(é: u8) -> i32 {}").collect();
        assert_eq!(tokens, ["fn", "f_1", "(", "é", ":", "u8", ")", "-", ">", "i32", "{", "}"]);
    }
}
