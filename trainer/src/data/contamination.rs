//! Tells whether a text shares a 13-gram with an evaluation set, by a list of hashes.
//!
//! A 13-gram is a run of 13 lexical tokens: words, numbers and single marks, as `dedup` cuts them. Whitespace does not
//! count; comments and strings do and are cut like code, for the statement of a task often stands there. A 13-gram
//! counts only if it holds three different words of at least two characters: rows of numbers, of one-letter strings
//! and of rulers stand in evaluation sets and everywhere else.
//!
//! A list file begins with a line of JSON (what it was made from); then follow the sorted hashes, each as the
//! difference from the one before, seven bits a byte, low bits first, the high bit set where another byte follows.

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::config::DataConfig;
use super::dedup::{hash_bytes, lexical_tokens, mix};

/// Lexical tokens of a gram.
pub const GRAM_TOKENS: usize = 13;
/// Different words that a gram must hold to count.
const FEWEST_WORDS: usize = 3;
/// Bits of a hash. A text of 25 million tokens meets one of 150,000 hashes by accident with probability 0.013.
const HASH_BITS: u32 = 48;
const FORMAT: &str = "diffcoder-13-grams";
/// The list that every build carries.
const BUILT_IN: &[u8] = include_bytes!("../../recipes/evaluation-13-grams.bin");

/// A set that a list was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetRecord {
    /// File name.
    pub name: String,
    /// Hexadecimal SHA-256 of the file.
    pub sha256: String,
    /// Rows whose text was taken.
    pub rows: usize,
}

/// First line of a list file.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    sets: Vec<SetRecord>,
    hashes: usize,
}

/// The 13-grams of evaluation sets, as hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashList {
    sets: Vec<SetRecord>,
    /// Sorted, each once.
    hashes: Vec<u64>,
}

impl HashList {
    /// The list of the texts of some sets.
    pub fn of_texts<'a>(sets: Vec<SetRecord>, texts: impl Iterator<Item = &'a str>) -> Self {
        let mut hashes = Vec::new();
        for text in texts {
            let grams = Grams::of(text);
            hashes.extend(grams.hashes().filter(|(at, _)| grams.is_telling(*at)).map(|(_, h)| h));
        }
        hashes.sort_unstable();
        hashes.dedup();
        Self { sets, hashes }
    }

    /// The built-in list with those that a configuration names.
    pub fn of_config(config: &DataConfig) -> anyhow::Result<Self> {
        let mut list = Self::from_bytes(BUILT_IN).context("the built-in hash list")?;
        for path in &config.contamination_lists {
            let bytes = std::fs::read(path)
                .with_context(|| format!("cannot read the hash list {}", path.display()))?;
            let other = Self::from_bytes(&bytes)
                .with_context(|| format!("the hash list {}", path.display()))?;
            list.sets.extend(other.sets);
            list.hashes.extend(other.hashes);
        }
        list.hashes.sort_unstable();
        list.hashes.dedup();
        Ok(list)
    }

    /// What the list was made from.
    pub fn sets(&self) -> &[SetRecord] {
        &self.sets
    }

    /// Number of hashes.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether it holds no hash.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The first 13-gram of `text` that is on the list, its tokens separated by blanks.
    pub fn first_shared(&self, text: &str) -> Option<String> {
        let grams = Grams::of(text);
        let on_list = |(at, hash): &(usize, u64)| {
            self.hashes.binary_search(hash).is_ok() && grams.is_telling(*at)
        };
        let (at, _) = grams.hashes().find(on_list)?;
        Some(grams.tokens[at..at + GRAM_TOKENS].join(" "))
    }

    /// Reads a list file.
    pub fn from_bytes(bytes: &[u8]) -> anyhow::Result<Self> {
        let damaged = "is damaged: make it again with `diffcoder-train contamination-list`";
        let end = bytes.iter().position(|byte| *byte == b'\n').context(damaged)?;
        let header: Header = serde_json::from_slice(&bytes[..end]).context(damaged)?;
        ensure!(
            header.format == FORMAT && header.version == 1,
            "is in another format ({} {}): make it again with `diffcoder-train contamination-list`",
            header.format,
            header.version
        );
        let mut hashes = Vec::new();
        let (mut last, mut difference, mut shift) = (0u64, 0u64, 0u32);
        for byte in &bytes[end + 1..] {
            ensure!(shift < HASH_BITS, damaged);
            difference |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                last = last.checked_add(difference).context(damaged)?;
                hashes.push(last);
                (difference, shift) = (0, 0);
            }
        }
        ensure!(shift == 0 && hashes.len() == header.hashes, damaged);
        Ok(Self { sets: header.sets, hashes })
    }

    /// The bytes of a list file.
    pub fn to_bytes(&self) -> anyhow::Result<Vec<u8>> {
        let header = Header {
            format: FORMAT.to_owned(),
            version: 1,
            sets: self.sets.clone(),
            hashes: self.hashes.len(),
        };
        let mut bytes = serde_json::to_vec(&header)?;
        bytes.push(b'\n');
        let mut last = 0;
        for hash in &self.hashes {
            let mut difference = hash - last;
            last = *hash;
            while difference >= 0x80 {
                bytes.push(difference as u8 | 0x80);
                difference >>= 7;
            }
            bytes.push(difference as u8);
        }
        Ok(bytes)
    }
}

/// The runs of 13 tokens of a text.
struct Grams<'a> {
    tokens: Vec<&'a str>,
    token_hashes: Vec<u64>,
}

impl<'a> Grams<'a> {
    fn of(text: &'a str) -> Self {
        let tokens: Vec<&str> = lexical_tokens(text).collect();
        let token_hashes = tokens.iter().map(|token| hash_bytes(token)).collect();
        Self { tokens, token_hashes }
    }

    /// Place of the first token and hash of every run.
    fn hashes(&self) -> impl Iterator<Item = (usize, u64)> {
        self.token_hashes.windows(GRAM_TOKENS).enumerate().map(|(at, window)| {
            let hash = window.iter().fold(0, |hash, token| mix(hash ^ token));
            (at, hash >> (u64::BITS - HASH_BITS))
        })
    }

    /// Whether the run at `at` holds enough different words to tell one text from others.
    fn is_telling(&self, at: usize) -> bool {
        let mut words: [&str; FEWEST_WORDS] = [""; FEWEST_WORDS];
        let mut found = 0;
        for token in &self.tokens[at..at + GRAM_TOKENS] {
            let is_word = token.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
                && token.chars().nth(1).is_some();
            if is_word && !words[..found].contains(token) {
                words[found] = token;
                found += 1;
                if found == FEWEST_WORDS {
                    return true;
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: &str = "def rotate_word(word, steps):\n    \"\"\"Rotate the letters of a word to the right.\"\"\"\n    \
                        steps = steps % max(len(word), 1)\n    return word[-steps:] + word[:-steps]\n";

    fn list_of(text: &str) -> HashList {
        let set = SetRecord { name: "tasks".into(), sha256: String::new(), rows: 1 };
        HashList::of_texts(vec![set], [text].into_iter())
    }

    #[test]
    fn a_planted_copy_is_found_whatever_its_layout() {
        let list = list_of(TASK);
        let around = include_str!("split.rs");
        assert_eq!(list.first_shared(around), None);
        let planted = format!("{around}\n{}\n", TASK.replace("    ", "\t\t").replace('\n', "\n\n"));
        let gram = list.first_shared(&planted).unwrap();
        assert!(gram.starts_with("def rotate_word ( word , steps )"), "{gram}");
    }

    #[test]
    fn thirteen_tokens_are_enough_and_twelve_are_not() {
        let list = list_of(TASK);
        let tokens: Vec<&str> = lexical_tokens(TASK).collect();
        assert!(list.first_shared(&tokens[20..33].join(" ")).is_some());
        assert_eq!(list.first_shared(&tokens[20..32].join(" ")), None);
    }

    #[test]
    fn rows_of_numbers_letters_and_rulers_do_not_count() {
        let text = "x = [1, 2, 3, 4, 5, 6, 7, 8, 9]\ny = ['a', 'b', 'c', 'd', 'e', 'f']\n################\n";
        assert!(list_of(text).is_empty());
        assert!(!list_of(TASK).is_empty());
    }

    #[test]
    fn a_list_file_reads_back_and_a_damaged_one_is_refused() {
        let list = list_of(include_str!("filter.rs"));
        let bytes = list.to_bytes().unwrap();
        assert_eq!(HashList::from_bytes(&bytes).unwrap(), list);
        for damaged in [&bytes[..bytes.len() - 1], b"{}\n", b"no list"] {
            let error = HashList::from_bytes(damaged).unwrap_err().to_string();
            assert!(error.contains("make it again"), "{error}");
        }
    }

    #[test]
    fn the_built_in_list_is_of_the_public_sets_and_our_own_sources_are_not_on_it() {
        let list = HashList::of_config(&DataConfig::default()).unwrap();
        for set in ["HumanEval", "cruxeval", "safim"] {
            assert!(list.sets().iter().any(|record| record.name.starts_with(set)), "{set}");
        }
        assert!(list.len() > 100_000, "{}", list.len());
        for text in [include_str!("filter.rs"), include_str!("contamination.rs")] {
            assert_eq!(list.first_shared(text), None);
        }
    }
}
