//! What a file defines, and which names stand near a cursor.

use std::collections::HashSet;
use std::sync::Arc;

use tree_sitter::Node;

use crate::after_fill::Language;

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
const IMPORT_WORDS: [&str; 8] =
    ["use ", "import ", "from ", "#include", "require", "mod ", "pub mod ", "const "];

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

/// Something that a file defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) name: String,
    /// Its first lines.
    pub(crate) text: Arc<str>,
}

/// What `text` defines for others.
pub(crate) fn definitions(text: &str, language: &Language) -> Vec<Definition> {
    let tree = language.file_parser().and_then(|mut parser| parser.parse(text, None));
    let Some(tree) = tree else { return Vec::new() };
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
    // A declarator stands in the declaration that is taken whole.
    if kind.ends_with("declarator") || !DEFINES.iter().any(|word| kind.contains(word)) {
        return None;
    }
    // C and its kin wrap the name into declarators.
    let mut named = node.child_by_field_name("name");
    let mut declarator = node.child_by_field_name("declarator");
    while let (None, Some(inner)) = (named, declarator) {
        declarator = inner.child_by_field_name("declarator");
        named = inner.child_by_field_name("name").or((declarator.is_none()).then_some(inner));
    }
    let name = text.get(named?.byte_range())?;
    let is_name = name.len() >= SHORTEST_NAME && name.chars().all(is_word);
    let whole = text.get(node.byte_range())?;
    let end = whole.match_indices('\n').nth(MOST_LINES - 1).map_or(whole.len(), |(at, _)| at);
    is_name.then(|| Definition { name: name.to_owned(), text: whole[..end].into() })
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// The names around the byte `cursor`, the nearest first, none twice.
pub(crate) fn names_near(text: &str, cursor: usize) -> Vec<&str> {
    let start = text.ceil_char_boundary(cursor.saturating_sub(NEAR_BYTES.0));
    let end = text.floor_char_boundary((cursor + NEAR_BYTES.1).min(text.len()));
    let mut names: Vec<(usize, &str)> = words(&text[start..end])
        .map(|(at, word)| ((start + at).abs_diff(cursor), word))
        .filter(|(_, word)| {
            word.len() >= SHORTEST_NAME && !word.starts_with(|first: char| first.is_numeric())
        })
        .collect();
    names.sort_by_key(|(distance, _)| *distance);
    let mut seen = HashSet::new();
    names.into_iter().map(|(_, name)| name).filter(|name| seen.insert(*name)).collect()
}

/// The names in the lines of `text` that bring other files in.
pub(crate) fn imported(text: &str) -> HashSet<&str> {
    let lines = text.lines().take(IMPORT_LINES).map(str::trim_start);
    let imports = lines.filter(|line| IMPORT_WORDS.iter().any(|word| line.starts_with(word)));
    imports.flat_map(words).map(|(_, word)| word).collect()
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

    fn names(language: &str, text: &str) -> Vec<String> {
        let language = Language::of(language, "").unwrap();
        definitions(text, language).into_iter().map(|definition| definition.name).collect()
    }

    #[test]
    fn definitions_of_several_languages_are_found() {
        let rust = "struct Money(i64);\nimpl Money {\n    fn cents(&self) -> i64 { 0 }\n}\nconst MOST: u8 = 1;\n";
        assert_eq!(names("rust", rust), ["Money", "cents", "MOST"]);
        let python =
            "class Store:\n    def add(self, item):\n        total = 1\n\ndef load(): pass\n";
        assert_eq!(names("python", python), ["Store", "add", "load"]);
        let typescript = "export interface Item { a: number }\nexport function load(a: Item) {}\n";
        assert_eq!(names("typescript", typescript), ["Item", "load"]);
        assert_eq!(names("c", "static int *sum_of(int a) { return 0; }\n"), ["sum_of"]);
        assert_eq!(names("go", "func Load(a int) error { return nil }\n"), ["Load"]);
    }

    #[test]
    fn a_long_definition_is_cut() {
        let text = format!("fn long() {{\n{}}}\n", "    step();\n".repeat(40));
        let found = definitions(&text, Language::of("rust", "").unwrap());
        assert_eq!(found[0].text.lines().count(), MOST_LINES);
    }

    #[test]
    fn names_come_by_their_distance() {
        let text = "far_name(); ünter.near(x, 12, near); later_on";
        let cursor = text.find("near").unwrap() + 4;
        assert_eq!(names_near(text, cursor), ["near", "ünter", "later_on", "far_name"]);
        assert_eq!(imported("use crate::money::{Money};\nlet x = y;\n").len(), 4);
    }
}
