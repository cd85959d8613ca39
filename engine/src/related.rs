//! Text of other files that may say something about a hole: the definitions of the names around it.
//!
//! Serving and training choose them here, so that a model is shown what it has learned to read.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use tree_sitter::{Node, Tree};

/// A piece of another file that may say something about the hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// Path of the file, as a reader of the project would name it.
    pub path: Arc<str>,
    /// The piece; lines end with `\n`.
    pub text: Arc<str>,
}

/// Files that are worth looking through for one hole.
pub const MOST_FILES: usize = 16;
/// Lines above and below a place where somebody was that belong to it.
pub const PLACE_LINES: usize = 12;
/// Bytes that are worth offering for each token of the budget.
const BYTES_PER_TOKEN: usize = 4;
/// Definitions that are offered for one hole.
const MOST_DEFINITIONS: usize = 8;
/// Lines of a definition that are shown: what it is called and takes.
const MOST_LINES: usize = 10;
/// Definitions deeper in the tree are local.
const MOST_DEPTH: usize = 5;
/// Shorter names say too little.
const SHORTEST_NAME: usize = 3;
/// Bytes left and right of a cursor in which names are looked for.
const NEAR_BYTES: (usize, usize) = (1_500, 300);
/// Lines at a file's top in which imports are looked for.
const IMPORT_LINES: usize = 120;
/// What lines begin with that bring other files in.
const IMPORT_WORDS: [&str; 13] = [
    "use ",
    "pub use ",
    "pub(crate) use ",
    "mod ",
    "pub mod ",
    "pub(crate) mod ",
    "import ",
    "from ",
    "#include",
    "require",
    "using ",
    "source ",
    ". ",
];
/// Those whose brackets may span lines; `mod a {` and `using (a) {` have other text in theirs.
const LONG_IMPORT_WORDS: [&str; 5] = ["use ", "pub use ", "pub(crate) use ", "import ", "from "];
/// What stands in other such lines: `const a = require('b')`, `export * from 'c'`, `} from "d"`.
const IMPORT_PARTS: [&str; 5] = ["require(", " require ", " from '", " from \"", "import("];
/// Endings of files that can bring each other in.
const KINSHIPS: [&[&str]; 3] = [
    &["c", "h", "cc", "cpp", "cxx", "hh", "hpp", "hxx"],
    &["ts", "tsx", "mts", "cts", "js", "jsx", "mjs", "cjs"],
    &["py", "pyi"],
];

/// Words in the kinds of nodes that define something.
const DEFINES: [&str; 12] = [
    "function",
    "method",
    "class",
    "struct",
    "enum",
    "trait",
    "interface",
    "type",
    "const",
    "static",
    "definition",
    "declaration",
];

/// Something that a file defines: bytes of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub name: Range<usize>,
    /// Its first lines, at most ten.
    pub text: Range<usize>,
}

/// A file in which names are looked up.
#[derive(Clone, Copy, Debug)]
pub struct SourceFile<'a> {
    /// Path, as a reader of the project would name it.
    pub path: &'a str,
    /// Its text; lines end with `\n`.
    pub text: &'a str,
    /// What [`definitions`] found in that text.
    pub definitions: &'a [Definition],
}

/// What `text` defines for others; `tree` is its syntax tree.
pub fn definitions(text: &str, tree: &Tree) -> Vec<Definition> {
    let mut found = Vec::new();
    let mut pending = vec![(tree.root_node(), 0)];
    while let Some((node, depth)) = pending.pop() {
        found.extend(definition(&node, text));
        if depth < MOST_DEPTH {
            let children = (0..node.named_child_count() as u32).rev();
            pending
                .extend(children.filter_map(|index| Some((node.named_child(index)?, depth + 1))));
        }
    }
    found
}

fn definition(node: &Node<'_>, text: &str) -> Option<Definition> {
    let kind = node.kind();
    // A declarator stands in the declaration that is taken whole; what brings another crate in defines nothing.
    let is_part = kind.ends_with("declarator") || kind == "extern_crate_declaration";
    if is_part || !DEFINES.iter().any(|word| kind.contains(word)) {
        return None;
    }
    // C and its kin wrap the name into declarators.
    let mut named = node.child_by_field_name("name");
    let mut declarator = node.child_by_field_name("declarator");
    while let (None, Some(inner)) = (named, declarator) {
        declarator = inner.child_by_field_name("declarator");
        named = inner.child_by_field_name("name").or((declarator.is_none()).then_some(inner));
    }
    let named = named?;
    let name = text.get(named.byte_range())?;
    let is_name = name.len() >= SHORTEST_NAME && name.chars().all(is_word);
    let whole = text.get(node.byte_range())?;
    let end = whole.match_indices('\n').nth(MOST_LINES - 1).map_or(whole.len(), |(at, _)| at);
    let text = node.start_byte()..node.start_byte() + end;
    is_name.then(|| Definition { name: named.byte_range(), text })
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// What `files` define of the names around a hole between `left` and `right`, the nearest name first. Of several files
/// that define a name the first counts.
pub fn defined_near(left: &str, right: &str, files: &[SourceFile<'_>]) -> Vec<Related> {
    let mut found = Vec::new();
    for name in names_near(left, right) {
        let defined = files.iter().find_map(|file| {
            let is_it =
                |definition: &&Definition| file.text.get(definition.name.clone()) == Some(name);
            let definition = file.definitions.iter().find(is_it)?;
            let text = file.text.get(definition.text.clone())?;
            Some(Related { path: file.path.into(), text: text.into() })
        });
        found.extend(defined);
        if found.len() == MOST_DEFINITIONS {
            break;
        }
    }
    found
}

/// The names around the end of `left`, which is the beginning of `right`: the nearest first, none twice.
fn names_near<'a>(left: &'a str, right: &'a str) -> Vec<&'a str> {
    let left = &left[left.ceil_char_boundary(left.len().saturating_sub(NEAR_BYTES.0))..];
    let right = &right[..right.floor_char_boundary(NEAR_BYTES.1)];
    let before = words(left).map(|(at, word)| (left.len() - at, word));
    let mut names: Vec<(usize, &str)> = before
        .chain(words(right))
        .filter(|(_, word)| {
            word.len() >= SHORTEST_NAME && !word.starts_with(|first: char| first.is_numeric())
        })
        .collect();
    names.sort_by_key(|(distance, _)| *distance);
    let mut seen = HashSet::new();
    names.into_iter().map(|(_, name)| name).filter(|name| seen.insert(*name)).collect()
}

/// Those of `nearest_first` that are worth offering for `tokens` tokens, none twice, the nearest last.
pub fn worth_offering(
    nearest_first: impl IntoIterator<Item = Related>,
    tokens: usize,
) -> Vec<Related> {
    let mut room = BYTES_PER_TOKEN * tokens;
    let mut offered: Vec<Related> = Vec::new();
    for piece in nearest_first {
        // A long piece does not keep a shorter one away.
        let Some(left) = room.checked_sub(piece.text.len()) else { continue };
        if !offered.contains(&piece) {
            room = left;
            offered.push(piece);
        }
    }
    offered.reverse();
    offered
}

/// Where a file stands that may define what is used in another one; the more telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nearness {
    /// It is imported there.
    Imported,
    /// It is in the same folder, or open.
    Beside,
}

/// The names in the lines around a hole that bring other files in.
#[derive(Debug)]
pub struct Imports<'a>(HashSet<&'a str>);

impl<'a> Imports<'a> {
    /// Those of a file with a hole between `left` and `right`.
    pub fn of(left: &'a str, right: &'a str) -> Self {
        let mut names = HashSet::new();
        // Brackets of an import that goes on over several lines.
        let mut open = 0;
        for line in left.lines().chain(right.lines()).take(IMPORT_LINES).map(str::trim) {
            let begins = |words: &[&str]| words.iter().any(|word| line.starts_with(word));
            if open > 0
                || begins(&IMPORT_WORDS)
                || IMPORT_PARTS.iter().any(|part| line.contains(part))
            {
                names.extend(words(line).map(|(_, word)| word));
            }
            let count = |brackets: [char; 2]| line.matches(brackets).count();
            if open > 0 || begins(&LONG_IMPORT_WORDS) {
                open = (open + count(['{', '('])).saturating_sub(count(['}', ')']));
            }
        }
        Self(names)
    }

    /// How much the file at `path` may say about one at `own`: nothing where it is that one, in another language, or
    /// neither imported nor in the same folder.
    pub fn nearness(&self, own: &Path, path: &Path) -> Option<Nearness> {
        if path == own || !are_kin(own, path) {
            return None;
        }
        match self.name(path) {
            true => Some(Nearness::Imported),
            false => (path.parent() == own.parent()).then_some(Nearness::Beside),
        }
    }

    /// Whether one of them may mean the file at `path`.
    fn name(&self, path: &Path) -> bool {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
        let stands_for_folder = matches!(stem.as_ref(), "mod" | "lib" | "__init__" | "index");
        // Go and C# bring in what a folder has.
        let is_of_folder = path.extension().is_some_and(|end| end == "go" || end == "cs");
        let names = |name: &str| self.0.contains(name);
        !stands_for_folder && names(&stem)
            || (stands_for_folder || is_of_folder) && names(&folder.to_string_lossy())
    }
}

/// Whether files of these two endings can bring each other in.
fn are_kin(own: &Path, other: &Path) -> bool {
    let [own, other] = [own, other].map(|path| path.extension().and_then(|end| end.to_str()));
    let are_named = |names: &&[&str]| {
        [own, other].iter().all(|end| end.is_some_and(|end| names.contains(&end)))
    };
    own == other || KINSHIPS.iter().any(are_named)
}

fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut from = 0;
    text.split(|char| !is_word(char)).filter_map(move |word| {
        let at = from;
        // What splits words may have several bytes.
        from += word.len() + text[at + word.len()..].chars().next().map_or(0, char::len_utf8);
        (!word.is_empty()).then_some((at, word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_by_their_distance() {
        let (left, right) = ("far_name(); ünter.near", "(x, 12, near); later_on");
        assert_eq!(names_near(left, right), ["near", "ünter", "later_on", "far_name"]);
        let far = format!("gone {}", "x ".repeat(NEAR_BYTES.0));
        assert!(names_near(&far, "").is_empty());
    }

    #[test]
    fn imports_name_files_and_folders() {
        let imports = Imports::of("use crate::money::{Mon", "ey};\nlet store = 1;\n");
        let near = |path: &str| imports.nearness(Path::new("src/own.rs"), Path::new(path));
        assert_eq!(near("src/deep/money.rs"), Some(Nearness::Imported));
        assert_eq!(near("src/money/mod.rs"), Some(Nearness::Imported));
        assert_eq!(near("src/store.rs"), Some(Nearness::Beside));
        for other in ["src/deep/store.rs", "src/money.py", "src/own.rs"] {
            assert_eq!(near(other), None, "{other}");
        }
    }

    #[test]
    fn imports_of_every_language_name_their_files() {
        for (text, own, path) in [
            (
                "use crate::{\n    money::Money,\n    Other,\n};\n",
                "src/own.rs",
                "src/deep/money.rs",
            ),
            ("pub use money::Money;\n", "src/own.rs", "src/deep/money.rs"),
            ("from app.money import (\n    Money,\n)\n", "own.py", "app/money.py"),
            ("from app import (\n    money,\n)\n", "own.py", "app/money.py"),
            ("import {\n  Money,\n} from './deep/money';\n", "src/own.ts", "src/deep/money.ts"),
            ("export * from \"./deep/money\";\n", "src/own.tsx", "src/deep/money.ts"),
            ("let { a } = require('./deep/money')\n", "own.js", "deep/money.mjs"),
            ("const money = await import('./deep/money.js')\n", "own.js", "deep/money.js"),
            ("#include \"deep/money.h\"\n", "own.c", "deep/money.h"),
            ("#include <deep/money.hpp>\n", "own.cpp", "deep/money.hpp"),
            ("import (\n\t\"fmt\"\n\t\"own/money\"\n)\n", "own.go", "money/any.go"),
            ("using Own.Money;\n", "Own.cs", "Money/Any.cs"),
            ("import own.deep.Money;\n", "Own.java", "own/deep/Money.java"),
            ("use Own\\Deep\\Money;\n", "own.php", "Deep/Money.php"),
            ("require_relative 'deep/money'\n", "own.rb", "deep/money.rb"),
            ("local money = require(\"deep.money\")\n", "own.lua", "deep/money.lua"),
            ("source ./deep/money.sh\n", "own.sh", "deep/money.sh"),
        ] {
            let nearness = Imports::of(text, "").nearness(Path::new(own), Path::new(path));
            assert_eq!(nearness, Some(Nearness::Imported), "{text}");
            let text = text.to_lowercase().replace("money", "other");
            let nearness = Imports::of(&text, "").nearness(Path::new(own), Path::new(path));
            assert_eq!(nearness, None, "{text}");
        }
        for (body, own, path) in [
            ("mod tests {\n    fn money() {}\n}\nfn other() { money(); }\n", "a.rs", "b/money.rs"),
            ("using (var a = B()) {\n    Money.Add(a);\n}\n", "A.cs", "Money/Any.cs"),
        ] {
            let near = Imports::of(body, "").nearness(Path::new(own), Path::new(path));
            assert_eq!(near, None, "{body} imports nothing in its brackets");
        }
    }

    #[test]
    fn what_fits_is_offered_once_with_the_nearest_last() {
        let piece = |length: usize| Related { path: "a".into(), text: "x".repeat(length).into() };
        let offered = worth_offering([8, 40, 8, 20, 12, 1].map(piece), 10);
        let lengths: Vec<usize> = offered.iter().map(|piece| piece.text.len()).collect();
        assert_eq!(lengths, [12, 20, 8]);
    }

    #[test]
    fn the_first_file_that_defines_a_near_name_counts() {
        let text = "fn load() {}\nfn save() {}\n";
        let definitions = [(3..7, 0..12), (16..20, 13..25)];
        let definitions = definitions.map(|(name, text)| Definition { name, text });
        let file = |path| SourceFile { path, text, definitions: &definitions };
        let found = defined_near("let a = load", "(); save(b)", &[file("a.rs"), file("b.rs")]);
        let pairs: Vec<_> = found.iter().map(|piece| (&*piece.path, &*piece.text)).collect();
        assert_eq!(pairs, [("a.rs", "fn load() {}"), ("a.rs", "fn save() {}")]);
        assert!(defined_near("nothing", " known", &[file("a.rs")]).is_empty());
    }
}
