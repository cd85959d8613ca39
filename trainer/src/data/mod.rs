//! From source code on the user's disk to batches of tokens in the served layouts.
//!
//! `source` finds packages, `filter` and `scrub` decide what of a file is kept, `contamination` drops what shares text with
//! evaluation sets, `dedup` drops copies, `split` sets packages aside for validation, `collect` runs these in order and writes the corpus; `corpus` reads it back,
//! `middle` and `sample` turn a document into one training sequence, `neighbours` finds text of other files for it, `loader` packs sequences into rows.

pub mod collect;
pub mod command;
pub mod config;
pub mod contamination;
pub mod contamination_command;
mod context;
pub mod corpus;
pub mod dedup;
pub mod evaluation_sets;
pub mod filter;
pub mod hole_groups;
pub mod holes;
pub mod jsonl;
pub mod licence;
pub mod loader;
pub mod middle;
mod multi_hole;
pub mod neighbours;
pub mod node_modules;
pub mod notice;
pub mod repository;
pub mod sample;
pub mod scrub;
pub mod site_packages;
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
    /// `.ts`, `.tsx`, `.mts`, `.cts`; declaration files are not code.
    TypeScript,
    /// `.js`, `.jsx`, `.mjs`, `.cjs`
    JavaScript,
}

impl Language {
    /// Every language, in the order of tables.
    pub const ALL: [Self; 4] = [Self::Rust, Self::Python, Self::TypeScript, Self::JavaScript];

    /// The language of a file by its extension.
    pub fn of_path(path: &std::path::Path) -> Option<Self> {
        let stem = path.file_stem()?.to_str()?;
        match path.extension()?.to_str()? {
            "rs" => Some(Self::Rust),
            "py" => Some(Self::Python),
            "ts" | "tsx" | "mts" | "cts" if !stem.ends_with(".d") => Some(Self::TypeScript),
            "js" | "jsx" | "mjs" | "cjs" => Some(Self::JavaScript),
            _ => None,
        }
    }

    /// Lower-case name, as in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::TypeScript => "typescript",
            Self::JavaScript => "javascript",
        }
    }

    /// A tree-sitter parser for the language; TypeScript is read as TSX.
    pub(crate) fn parser(self) -> tree_sitter::Parser {
        let grammar = match self {
            Self::Rust => tree_sitter_rust::LANGUAGE,
            Self::Python => tree_sitter_python::LANGUAGE,
            Self::TypeScript => tree_sitter_typescript::LANGUAGE_TSX,
            Self::JavaScript => tree_sitter_javascript::LANGUAGE,
        };
        parser(&grammar.into())
    }

    /// A second parser, for texts that the first one cannot read: `<T>x` is a cast in TypeScript and a tag in TSX.
    pub(crate) fn other_parser(self) -> Option<tree_sitter::Parser> {
        match self {
            Self::TypeScript => Some(parser(&tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into())),
            _ => None,
        }
    }
}

fn parser(grammar: &tree_sitter::Language) -> tree_sitter::Parser {
    let mut parser = tree_sitter::Parser::new();
    parser
        .set_language(grammar)
        .expect("the grammar crates are built for this version of tree-sitter");
    parser
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
