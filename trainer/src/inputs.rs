//! Which tokenizer and corpus a run was made from, so that nothing else is taken for them later.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::atomic::sha256;
use crate::data::collect::MANIFEST;

/// The file that decides what the token ids mean.
const TOKENIZER: &str = "tokenizer.json";

/// Hexadecimal SHA-256 of the inputs of a run. What is unknown matches everything: older checkpoints do not tell.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct Inputs {
    /// Of `tokenizer.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// Of the `manifest.json` of the corpus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corpus: Option<String>,
}

impl Inputs {
    /// The hashes of a tokenizer folder and a corpus folder.
    pub fn of(tokenizer: &Path, corpus: &Path) -> Result<Self> {
        Ok(Self {
            tokenizer: Some(hash(&tokenizer.join(TOKENIZER))?),
            corpus: Some(hash(&corpus.join(MANIFEST))?),
        })
    }

    /// Refuses inputs other than these.
    pub fn check(&self, other: &Self) -> Result<()> {
        for (what, own, other) in [
            ("tokenizer", &self.tokenizer, &other.tokenizer),
            ("corpus", &self.corpus, &other.corpus),
        ] {
            let differs = own.is_some() && other.is_some() && own != other;
            ensure!(
                !differs,
                "the {what} is not the one that the run was started with (its SHA-256 differs): name that one, or start \
                 a new run"
            );
        }
        Ok(())
    }

    /// Refuses a tokenizer folder other than this one.
    pub fn check_tokenizer(&self, folder: &Path) -> Result<()> {
        check_file(self.tokenizer.as_deref(), &folder.join(TOKENIZER))
    }

    /// Refuses a corpus folder other than this one.
    pub fn check_corpus(&self, folder: &Path) -> Result<()> {
        check_file(self.corpus.as_deref(), &folder.join(MANIFEST))
    }
}

fn check_file(expected: Option<&str>, path: &Path) -> Result<()> {
    let Some(expected) = expected else { return Ok(()) };
    ensure!(
        hash(path)? == expected,
        "{} is not the file that the model was trained with (its SHA-256 differs): name the folder it was trained with",
        path.display()
    );
    Ok(())
}

fn hash(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(sha256(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_inputs_are_compared() {
        let inputs = |tokenizer: Option<&str>, corpus: Option<&str>| Inputs {
            tokenizer: tokenizer.map(str::to_owned),
            corpus: corpus.map(str::to_owned),
        };
        let known = inputs(Some("a"), Some("b"));
        known.check(&known).unwrap();
        known.check(&Inputs::default()).unwrap();
        Inputs::default().check(&known).unwrap();
        for (other, what) in
            [(inputs(Some("x"), None), "tokenizer"), (inputs(Some("a"), Some("x")), "corpus")]
        {
            let error = known.check(&other).unwrap_err().to_string();
            assert!(error.contains(&format!("the {what} is not")), "{error}");
        }
    }
}
