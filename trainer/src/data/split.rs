//! Sets whole packages aside for validation, by the hash of their name without version.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::Language;
use super::config::DataConfig;

/// Bytes of each package by language, of packages whose split is not forced.
pub type PackageBytes = BTreeMap<String, BTreeMap<Language, usize>>;

/// The packages that go to validation.
///
/// Packages are taken in the order of their hashes until every language has its share of bytes and its minimum. One
/// that is larger than half of what its language needs stays in training, so that no single style fills the validation;
/// so do those that an earlier model has seen.
pub fn validation_packages(packages: &PackageBytes, config: &DataConfig) -> BTreeSet<String> {
    let mut by_hash: Vec<(&String, [u8; 32])> =
        packages.keys().map(|name| (name, Sha256::digest(name.as_bytes()).into())).collect();
    by_hash.sort_by_key(|(_, hash)| *hash);
    let mut chosen = BTreeSet::new();
    for language in Language::ALL {
        let of = |name: &String| packages[name].get(&language).copied().unwrap_or(0);
        let total: usize = packages.keys().map(of).sum();
        let share = (total as f64 * config.validation_share) as usize;
        // Training keeps at least half, however small the corpus is.
        let target = share.max(config.validation_min_bytes).min(total / 2);
        let mut taken: usize = chosen.iter().map(of).sum();
        for (name, _) in &by_hash {
            if taken >= target {
                break;
            }
            let bytes = of(name);
            let is_new = !config.seen_packages.contains(*name);
            if is_new && bytes > 0 && 2 * bytes <= target && chosen.insert((*name).clone()) {
                taken += bytes;
            }
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus() -> PackageBytes {
        let mut packages = PackageBytes::new();
        for i in 0..200usize {
            let language = if i % 4 == 0 { Language::Python } else { Language::Rust };
            packages.insert(format!("package-{i}"), [(language, 20_000 + i * 100)].into());
        }
        packages.insert("giant".into(), [(Language::Rust, 5_000_000)].into());
        packages
    }

    #[test]
    fn every_language_has_its_share_and_giants_stay_in_training() {
        let config = DataConfig { validation_min_bytes: 100_000, ..DataConfig::default() };
        let packages = corpus();
        let chosen = validation_packages(&packages, &config);
        assert!(!chosen.contains("giant"));
        for language in [Language::Rust, Language::Python] {
            let bytes: usize = chosen.iter().filter_map(|name| packages[name].get(&language)).sum();
            assert!((100_000..300_000).contains(&bytes), "{language:?}: {bytes}");
        }
    }

    #[test]
    fn packages_that_an_earlier_model_has_seen_stay_in_training() {
        let config = DataConfig { validation_min_bytes: 100_000, ..DataConfig::default() };
        let packages = corpus();
        let before = validation_packages(&packages, &config);
        let seen = before.iter().take(before.len() / 2).cloned().collect();
        let after =
            validation_packages(&packages, &DataConfig { seen_packages: seen, ..config.clone() });
        assert!(after.iter().any(|name| before.contains(name)));
        assert!(before.iter().take(before.len() / 2).all(|name| !after.contains(name)));
    }

    #[test]
    fn a_small_corpus_keeps_half_for_training() {
        let packages: PackageBytes =
            (0..10).map(|i| (format!("p{i}"), [(Language::Rust, 1000)].into())).collect();
        let chosen = validation_packages(&packages, &DataConfig::default());
        assert_eq!(chosen.len(), 5);
        let one: PackageBytes = [("p".to_owned(), [(Language::Rust, 1000)].into())].into();
        assert!(validation_packages(&one, &DataConfig::default()).is_empty());
    }
}
