//! The languages whose syntax is known: which grammar, and how a line opens and closes a block.

use tree_sitter_language::LanguageFn;

/// How much of a file a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    File,
    /// A part that begins in the middle.
    Part,
}

/// A language with a grammar.
pub struct Language {
    /// Name, for people.
    pub name: &'static str,
    /// The protocol's `languageId`s of it.
    ids: &'static [&'static str],
    /// Extensions of its files.
    extensions: &'static [&'static str],
    grammar: LanguageFn,
    /// The grammar of a part that begins in the middle of a file, where that is another one.
    part_grammar: Option<LanguageFn>,
    /// Last tokens of a line after which a block follows.
    pub(super) block_ends: &'static [&'static str],
    /// First words of a line after which a block follows.
    pub(super) block_starts: &'static [&'static str],
    /// Words that end a block, alone on their line.
    pub(super) closing_words: &'static [&'static str],
    /// Whether statements end with a semicolon.
    pub(super) has_semicolons: bool,
}

const BRACES: &[&str] = &["{", "(", "["];
const DATA: &[&str] = &["{", "["];
const NONE: &[&str] = &[];

/// A language whose blocks stand in braces and whose statements end with semicolons.
const fn semicolons(
    name: &'static str,
    ids: &'static [&'static str],
    extensions: &'static [&'static str],
    grammar: LanguageFn,
) -> Language {
    Language { has_semicolons: true, ..braces(name, ids, extensions, grammar) }
}

const fn braces(
    name: &'static str,
    ids: &'static [&'static str],
    extensions: &'static [&'static str],
    grammar: LanguageFn,
) -> Language {
    Language {
        name,
        ids,
        extensions,
        grammar,
        part_grammar: None,
        block_ends: BRACES,
        block_starts: NONE,
        closing_words: NONE,
        has_semicolons: false,
    }
}

static LANGUAGES: [Language; 17] = [
    semicolons("Rust", &["rust"], &["rs"], tree_sitter_rust::LANGUAGE),
    Language {
        block_ends: &[":", "{", "(", "["],
        ..braces("Python", &["python"], &["py", "pyi"], tree_sitter_python::LANGUAGE)
    },
    semicolons(
        "TypeScript",
        &["typescript"],
        &["ts", "mts", "cts"],
        tree_sitter_typescript::LANGUAGE_TYPESCRIPT,
    ),
    semicolons("TSX", &["typescriptreact"], &["tsx"], tree_sitter_typescript::LANGUAGE_TSX),
    semicolons(
        "JavaScript",
        &["javascript", "javascriptreact"],
        &["js", "jsx", "mjs", "cjs"],
        tree_sitter_javascript::LANGUAGE,
    ),
    braces("Go", &["go"], &["go"], tree_sitter_go::LANGUAGE),
    semicolons("C", &["c"], &["c", "h"], tree_sitter_c::LANGUAGE),
    semicolons(
        "C++",
        &["cpp", "cuda-cpp"],
        &["cpp", "cc", "cxx", "hpp", "hh", "hxx", "cu", "cuh"],
        tree_sitter_cpp::LANGUAGE,
    ),
    semicolons("Java", &["java"], &["java"], tree_sitter_java::LANGUAGE),
    semicolons("C#", &["csharp"], &["cs"], tree_sitter_c_sharp::LANGUAGE),
    Language {
        block_ends: &["{", "(", "[", "do", "then", "begin", "else", "ensure"],
        block_starts: &[
            "def", "class", "module", "if", "unless", "while", "until", "case", "when", "for",
            "begin", "rescue", "elsif",
        ],
        closing_words: &["end"],
        ..braces("Ruby", &["ruby"], &["rb", "rake", "gemspec"], tree_sitter_ruby::LANGUAGE)
    },
    Language {
        part_grammar: Some(tree_sitter_php::LANGUAGE_PHP_ONLY),
        ..semicolons("PHP", &["php"], &["php"], tree_sitter_php::LANGUAGE_PHP)
    },
    Language {
        block_ends: &["{", "(", "do", "then", "else", "in"],
        closing_words: &["fi", "done", "esac"],
        ..braces(
            "Bash",
            &["shellscript", "bash", "sh"],
            &["sh", "bash"],
            tree_sitter_bash::LANGUAGE,
        )
    },
    Language {
        block_ends: DATA,
        ..braces("JSON", &["json", "jsonc"], &["json", "jsonc"], tree_sitter_json::LANGUAGE)
    },
    Language {
        block_ends: DATA,
        ..braces("TOML", &["toml"], &["toml"], tree_sitter_toml_ng::LANGUAGE)
    },
    Language {
        block_ends: &[":", "{", "["],
        ..braces(
            "YAML",
            &["yaml", "dockercompose", "github-actions-workflow"],
            &["yaml", "yml"],
            tree_sitter_yaml::LANGUAGE,
        )
    },
    Language {
        block_ends: &["{", "(", "do", "then", "else", "repeat"],
        block_starts: &["function", "local function"],
        closing_words: &["end"],
        ..braces("Lua", &["lua"], &["lua"], tree_sitter_lua::LANGUAGE)
    },
];

impl std::fmt::Debug for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Language {
    /// The protocol's name of it.
    pub fn id(&self) -> &'static str {
        self.ids.first().copied().unwrap_or(self.name)
    }

    /// The language of a document: by the client's `languageId`, else by the extension of `path` (or of a URI). None for
    /// what the client calls plain text, whatever its extension.
    pub fn of(language_id: &str, path: &str) -> Option<&'static Self> {
        if language_id == "plaintext" {
            return None;
        }
        let extension = path.rsplit('/').next()?.rsplit_once('.').map(|(_, extension)| extension);
        let by_id = LANGUAGES.iter().find(|language| language.ids.contains(&language_id));
        by_id.or_else(|| {
            let extension = extension?.to_ascii_lowercase();
            LANGUAGES.iter().find(|language| language.extensions.contains(&extension.as_str()))
        })
    }

    /// Every language with a grammar.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        LANGUAGES.iter()
    }

    /// A parser for whole files.
    pub(crate) fn file_parser(&self) -> Option<tree_sitter::Parser> {
        self.parser(Extent::File)
    }

    /// A parser for texts of that extent.
    pub(crate) fn parser(&self, extent: Extent) -> Option<tree_sitter::Parser> {
        let part = self.part_grammar.filter(|_| extent == Extent::Part);
        let mut parser = tree_sitter::Parser::new();
        parser.set_language(&part.unwrap_or(self.grammar).into()).ok()?;
        Some(parser)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grammar_loads_and_parses() {
        for language in Language::all() {
            for extent in [Extent::File, Extent::Part] {
                let mut parser = language.parser(extent).expect(language.name);
                assert!(parser.parse("", None).is_some(), "{}", language.name);
            }
        }
    }

    #[test]
    fn the_client_says_more_than_the_extension() {
        let name = |id, path| Language::of(id, path).map(|language| language.name);
        assert_eq!(name("rust", "file:///a.txt"), Some("Rust"));
        assert_eq!(name("?", "file:///a.d/b.YML"), Some("YAML"));
        assert_eq!(name("plaintext", "a.rs"), None);
        assert_eq!(name("typescriptreact", "a.ts"), Some("TSX"));
        assert_eq!(name("cpp", "a.h"), Some("C++"));
        assert_eq!(name("markdown", "file:///a.rs/README"), None);
        assert_eq!(name("", "Makefile"), None);
    }
}
