//! From source code on the user's disk to batches of tokens in the served layouts.
//!
//! `source` finds packages, `filter` and `scrub` decide what of a file is kept, `dedup` drops copies, `split` sets
//! packages aside for validation, `collect` runs these in order and writes the corpus; `corpus` reads it back,
//! `middle` and `sample` turn a document into one training sequence, `loader` packs sequences into rows.

pub mod collect;
pub mod command;
pub mod config;
pub mod corpus;
pub mod dedup;
pub mod filter;
pub mod holes;

pub mod licence;
pub mod loader;
pub mod middle;
mod multi_hole;
pub mod notice;
pub mod sample;

pub mod scrub;
pub mod source;
pub mod split;

use serde::{Deserialize, Serialize};

/// A programming language that the trainer knows how to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// `.rs`
    Rust,
    /// `.py`
    Python,
}

impl Language {
    /// Every language, in the order of tables.
    pub const ALL: [Self; 2] = [Self::Rust, Self::Python];

    /// The language of a file by its extension.
    pub fn of_path(path: &std::path::Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "rs" => Some(Self::Rust),
            "py" => Some(Self::Python),
            _ => None,
        }
    }

    /// Lower-case name, as in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
        }
    }

    /// A tree-sitter parser for the language.
    pub(crate) fn parser(self) -> tree_sitter::Parser {
        let grammar = match self {
            Self::Rust => tree_sitter_rust::LANGUAGE,
            Self::Python => tree_sitter_python::LANGUAGE,
        };
        let mut parser = tree_sitter::Parser::new();
        parser
            .set_language(&grammar.into())
            .expect("the grammar crates are built for this version of tree-sitter");
        parser
    }
}

/// Which part of the corpus a document belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Seen in training.
    Train,
    /// Never seen in training.
    Validation,
}

impl Split {
    /// Both splits, in the order of tables.
    pub const ALL: [Self; 2] = [Self::Train, Self::Validation];

    /// File of the corpus folder that holds the split.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Train => "train.jsonl",
            Self::Validation => "validation.jsonl",
        }
    }
}

/// One source file of the corpus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Package folder and path within it, with forward slashes.
    pub path: String,
    /// Package name without version.
    pub package: String,
    /// Its language.
    pub language: Language,
    /// Its text: UTF-8, line ends `\n`.
    pub text: String,
}
