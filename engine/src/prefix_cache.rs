//! Keys and values of earlier requests, found again by their tokens.

use crate::decode::CommittedKeys;

/// Copying a shared start out of another sequence's keys pays from this many tokens on.
const WORTH_COPYING: usize = 64;

/// Bounds of a [`PrefixCache`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Most memory of all sequences together. The newest sequence stays whatever its size.
    pub bytes: usize,
    /// Most sequences.
    pub sequences: usize,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { bytes: 256 << 20, sequences: 16 }
    }
}

/// Cached sequences, least recently used first.
#[derive(Debug)]
pub struct PrefixCache<C> {
    limits: CacheLimits,
    block_length: usize,
    entries: Vec<Entry<C>>,
}

#[derive(Debug)]
struct Entry<C> {
    tokens: Vec<u32>,
    keys: C,
}

impl<C: CommittedKeys + Clone> PrefixCache<C> {
    /// An empty cache for a model with blocks of `block_length`.
    pub fn new(block_length: usize, limits: CacheLimits) -> Self {
        Self { limits, block_length, entries: Vec::new() }
    }

    /// The keys of the longest start of `prompt` that is cached, in whole blocks; `None` if there is none.
    ///
    /// A sequence that mostly belongs to the prompt is taken out: put it back, longer, after the request. One that
    /// mostly does not stays for its own document, and the shared start is copied.
    pub fn take(&mut self, prompt: &[u32]) -> Option<C> {
        let shared = |entry: &Entry<C>| {
            let pairs = entry.tokens.iter().zip(prompt);
            let same = pairs.take_while(|(a, b)| a == b).count();
            same / self.block_length * self.block_length
        };
        let best = (0..self.entries.len()).max_by_key(|&index| shared(&self.entries[index]))?;
        let len = shared(&self.entries[best]);
        let mostly_ours = 2 * len >= self.entries[best].tokens.len();
        let mut keys = match (len, mostly_ours) {
            (0, _) => return None,
            (_, true) => self.entries.remove(best).keys,
            (WORTH_COPYING.., false) => self.entries[best].keys.clone(),
            _ => return None,
        };
        keys.truncate(len);
        Some(keys)
    }

    /// Keeps `keys`, the keys of the first tokens of `tokens`; drops the least recently used where that is too much.
    pub fn put(&mut self, tokens: &[u32], mut keys: C) {
        let len = keys.committed().min(tokens.len()) / self.block_length * self.block_length;
        if len == 0 {
            return;
        }
        keys.truncate(len);
        // A sequence that the new one continues has nothing of its own left.
        self.entries.retain(|entry| !tokens[..len].starts_with(&entry.tokens));
        self.entries.push(Entry { tokens: tokens[..len].to_vec(), keys });
        while self.entries.len() > 1
            && (self.entries.len() > self.limits.sequences || self.bytes() > self.limits.bytes)
        {
            self.entries.remove(0);
        }
    }

    /// Memory of all sequences.
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.keys.bytes()).sum()
    }

    /// Sequences held.
    pub fn sequences(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys that remember which tokens they stand for; 10 bytes each.
    #[derive(Clone, Debug, PartialEq)]
    struct Keys(Vec<u32>);

    impl CommittedKeys for Keys {
        fn committed(&self) -> usize {
            self.0.len()
        }

        fn truncate(&mut self, len: usize) {
            self.0.truncate(len);
        }

        fn bytes(&self) -> usize {
            10 * self.0.len()
        }
    }

    fn cache(bytes: usize, sequences: usize) -> PrefixCache<Keys> {
        PrefixCache::new(4, CacheLimits { bytes, sequences })
    }

    fn put(cache: &mut PrefixCache<Keys>, tokens: &[u32]) {
        cache.put(tokens, Keys(tokens.to_vec()));
    }

    fn run(first: u32, len: u32) -> Vec<u32> {
        (first..first + len).collect()
    }

    #[test]
    fn the_shared_start_is_cut_to_a_block_edge() {
        let mut cache = cache(10_000, 4);
        put(&mut cache, &run(0, 18));
        let mut prompt = run(0, 14);
        prompt.push(99);
        assert_eq!(cache.take(&prompt), Some(Keys(run(0, 12))));
        assert_eq!(cache.sequences(), 0);
        put(&mut cache, &run(0, 16));
        assert_eq!(cache.take(&run(50, 16)), None);
        assert_eq!(cache.take(&run(0, 3)), None);
        assert_eq!(cache.sequences(), 1);
    }

    #[test]
    fn documents_that_share_a_start_stay_warm_beside_each_other() {
        let mut cache = cache(100_000, 4);
        let (a, b) = ([run(0, 80), run(1000, 120)].concat(), [run(0, 80), run(2000, 120)].concat());
        put(&mut cache, &a);
        assert_eq!(cache.take(&b), Some(Keys(run(0, 80))));
        put(&mut cache, &b);
        assert_eq!(cache.sequences(), 2);
        for _ in 0..3 {
            for document in [&a, &b] {
                let keys = cache.take(document).unwrap();
                assert_eq!(keys.0, *document);
                cache.put(document, keys);
            }
        }
        // A short shared start is not worth a copy, and not worth a document.
        let c = [run(0, 8), run(3000, 100)].concat();
        assert_eq!(cache.take(&c), None);
        assert_eq!(cache.sequences(), 2);
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = cache(1_000, 3);
        for first in [0, 100, 200] {
            put(&mut cache, &run(first, 20));
        }
        let keys = cache.take(&run(0, 20)).unwrap();
        cache.put(&run(0, 20), keys);
        put(&mut cache, &run(300, 20));
        assert_eq!(cache.sequences(), 3);
        assert_eq!(cache.take(&run(100, 20)), None);
        assert!(cache.take(&run(0, 20)).is_some());
        // By bytes too, but the newest stays.
        put(&mut cache, &run(400, 400));
        assert_eq!((cache.sequences(), cache.bytes()), (1, 4_000));
    }

    #[test]
    fn a_continued_sequence_is_held_once() {
        let mut cache = cache(10_000, 4);
        put(&mut cache, &run(0, 8));
        put(&mut cache, &run(0, 16));
        assert_eq!(cache.sequences(), 1);
        put(&mut cache, &run(0, 3));
        assert_eq!(cache.sequences(), 1);
    }
}
