//! The fixed holes of held-out documents that infilling is measured on.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rand::{Rng, RngExt};
use serde::Serialize;
use tree_sitter::Tree;

use super::middle::{line_start, line_stop};
use super::{Document, Language};
use crate::rng::keyed;

/// What is missing in a held-out document.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoleKind {
    /// From a cursor to the end of its line.
    SingleLine,
    /// One to four lines, from after the indentation of the first to the end of the last.
    Lines,
    /// One node of the syntax tree.
    Node,
}

impl HoleKind {
    /// Every kind, in the order of tables.
    pub const ALL: [Self; 3] = [Self::SingleLine, Self::Lines, Self::Node];

    /// Name on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::SingleLine => "single-line",
            Self::Lines => "lines",
            Self::Node => "node",
        }
    }

    /// Most characters of what is missing.
    pub fn longest_chars(self) -> usize {
        match self {
            Self::SingleLine => 100,
            Self::Lines => 240,
            Self::Node => 200,
        }
    }

    /// The word of the random key; [`HoleKind::SingleLine`] keeps the holes that it has always had.
    fn key(self) -> u64 {
        match self {
            Self::SingleLine => 0,
            Self::Lines => 1,
            Self::Node => 2,
        }
    }
}

/// A hole in a document, with everything around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldOutHole {
    /// Language of the document.
    pub language: Language,
    /// Path of the document.
    pub path: String,
    /// The document up to the hole.
    pub prefix: String,
    /// What stands right of the hole in its last line.
    pub rest: String,
    /// The document from the next line on.
    pub suffix: String,
    /// What stood in the hole.
    pub middle: String,
}

const SHORTEST_MIDDLE_CHARS: usize = 3;
/// Most lines of [`HoleKind::Lines`].
const MOST_LINES: usize = 4;
/// Places that are looked at for each hole wanted, before a language is given up.
const TRIES_PER_HOLE: usize = 200;

/// Documents of one language by package.
type Packages<'a> = BTreeMap<&'a str, Vec<&'a Document>>;

/// About `count` holes of a kind, as many of each language, the packages of a language taking turns.
///
/// The choice is a function of the documents, `kind` and `seed`. What one language lacks is taken from the others; there
/// are fewer where no document has more places.
pub fn held_out_holes(
    documents: &[Document],
    kind: HoleKind,
    count: usize,
    seed: u64,
) -> Vec<HeldOutHole> {
    let mut by_language: BTreeMap<Language, Packages<'_>> = BTreeMap::new();
    for document in documents {
        let packages = by_language.entry(document.language).or_default();
        packages.entry(&document.package).or_default().push(document);
    }
    let n_languages = by_language.len().max(1);
    // The first languages get what does not divide evenly.
    let share = |place: usize| count / n_languages + usize::from(place < count % n_languages);
    let mut found: BTreeMap<Language, Vec<HeldOutHole>> = by_language
        .iter()
        .enumerate()
        .map(|(place, (&language, packages))| {
            (language, of_language((language, kind), packages, share(place), seed))
        })
        .collect();
    let mut lacking = count.saturating_sub(found.values().map(Vec::len).sum());
    for (place, (&language, holes)) in found.iter_mut().enumerate() {
        let wanted = share(place);
        if lacking > 0 && holes.len() == wanted {
            // The first ones are those that were found before.
            let more = wanted + lacking;
            *holes = of_language((language, kind), &by_language[&language], more, seed);
            lacking -= holes.len() - wanted;
        }
    }
    found.into_values().flatten().collect()
}

/// At most `wanted` holes of one language; fewer wanted ones are the first of more.
fn of_language(
    (language, kind): (Language, HoleKind),
    packages: &Packages<'_>,
    wanted: usize,
    seed: u64,
) -> Vec<HeldOutHole> {
    let mut holes = Vec::with_capacity(wanted);
    let mut rng = keyed([seed, kind.key(), 0, language as u64]);
    let packages: Vec<&Vec<&Document>> = packages.values().collect();
    let mut seen = BTreeSet::new();
    let mut trees = Trees::default();
    for turn in 0..wanted.saturating_mul(TRIES_PER_HOLE) {
        if seen.len() == wanted {
            break;
        }
        let package = packages[turn % packages.len()];
        let document = package[rng.random_range(0..package.len())];
        let text = document.text.as_str();
        let span = match kind {
            HoleKind::SingleLine => {
                cursor(text, &mut rng).map(|cursor| cursor..line_stop(text, cursor))
            }
            HoleKind::Lines => lines(text, &mut rng),
            HoleKind::Node => trees.of(document).and_then(|tree| node(text, tree, &mut rng)),
        };
        let Some(span) = span.filter(|span| says_something(&text[span.clone()], kind)) else {
            continue;
        };
        let is_prose = |tree: &Tree| {
            // A line may end in a comment; several lines may run into one.
            let ends_in_prose = kind != HoleKind::SingleLine && in_prose(tree, span.end - 1);
            in_prose(tree, span.start) || ends_in_prose
        };
        if trees.of(document).is_some_and(is_prose) {
            continue;
        }
        // One hole for each line or node.
        let place = match kind {
            HoleKind::SingleLine | HoleKind::Lines => line_start(text, span.start),
            HoleKind::Node => span.start,
        };
        if seen.insert((&document.path, place)) {
            holes.push(hole(document, span));
        }
    }
    holes
}

/// Syntax trees of the documents that were looked at.
#[derive(Default)]
pub(super) struct Trees<'a>(BTreeMap<&'a str, Option<Tree>>);

impl<'a> Trees<'a> {
    pub(super) fn of(&mut self, document: &'a Document) -> Option<&Tree> {
        let tree = match self.0.entry(&document.path) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                free.insert(document.language.parser().parse(&document.text, None))
            }
        };
        tree.as_ref()
    }
}

fn hole(document: &Document, span: Range<usize>) -> HeldOutHole {
    let text = &document.text;
    let stop = line_stop(text, span.end);
    HeldOutHole {
        language: document.language,
        path: document.path.clone(),
        prefix: text[..span.start].to_owned(),
        rest: text[span.end..stop].to_owned(),
        suffix: text.get(stop + 1..).unwrap_or("").to_owned(),
        middle: text[span].to_owned(),
    }
}

/// Whether a middle is worth asking for: it has a letter, and its length is within the kind's bounds.
pub(super) fn says_something(middle: &str, kind: HoleKind) -> bool {
    middle.chars().any(char::is_alphabetic)
        && (SHORTEST_MIDDLE_CHARS..=kind.longest_chars()).contains(&middle.chars().count())
}

/// A random place in the code of a line that is no comment and has no blanks at its end.
pub(super) fn cursor(text: &str, rng: &mut impl Rng) -> Option<usize> {
    let (cursor, code) = place(text, rng)?;
    (cursor >= code.start).then_some(cursor)
}

/// One to four lines from a random one on.
fn lines(text: &str, rng: &mut impl Rng) -> Option<Range<usize>> {
    let (_, first) = place(text, rng)?;
    let mut end = first.end;
    for _ in 1..rng.random_range(1..=MOST_LINES) {
        if end == text.len() {
            break;
        }
        end = line_stop(text, end + 1);
    }
    let last = &text[line_start(text, end)..end];
    let is_whole = !first.is_empty() && !last.is_empty() && !last.ends_with([' ', '\t']);
    is_whole.then_some(first.start..end)
}

/// A random node around a random place, among those that are short enough.
fn node(text: &str, tree: &Tree, rng: &mut impl Rng) -> Option<Range<usize>> {
    let (at, _) = place(text, rng)?;
    let mut spans: Vec<Range<usize>> = Vec::new();
    let mut next = tree.root_node().named_descendant_for_byte_range(at, at);
    // The root is the document.
    while let Some((node, parent)) = next.and_then(|node| Some((node, node.parent()?))) {
        let span = node.byte_range();
        let fits = says_something(&text[span.clone()], HoleKind::Node);
        if fits && !node.has_error() && spans.last() != Some(&span) {
            spans.push(span);
        }
        next = Some(parent);
    }
    if spans.is_empty() { None } else { Some(spans.swap_remove(rng.random_range(0..spans.len()))) }
}

/// A random byte, and the code of its line without the indentation; `None` for comments and for blanks at the end.
fn place(text: &str, rng: &mut impl Rng) -> Option<(usize, Range<usize>)> {
    if text.is_empty() {
        return None;
    }
    let at = text.floor_char_boundary(rng.random_range(0..text.len()));
    let (start, stop) = (line_start(text, at), line_stop(text, at));
    let line = &text[start..stop];
    let code = line.trim_start();
    let is_comment = ["//", "#", "*", "/*", "\"\"\""].iter().any(|mark| code.starts_with(mark));
    let blank_end = line.ends_with([' ', '\t']);
    (!is_comment && !blank_end).then_some((at, stop - code.len()..stop))
}

/// Whether a place lies in a comment or in a string of several lines: documentation, not code.
pub(super) fn in_prose(tree: &tree_sitter::Tree, at: usize) -> bool {
    let mut next = tree.root_node().descendant_for_byte_range(at, at);
    while let Some(node) = next {
        let lines = node.end_position().row > node.start_position().row;
        if node.kind().contains("comment") || node.kind().contains("string") && lines {
            return true;
        }
        next = node.parent();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents() -> Vec<Document> {
        let python =
            "def area(width, height):\n    \"\"\"Gives\n    prose prose prose\n    \"\"\"\n    return width * height\n"
                .repeat(40);
        let document = |path: &str, language, text: &str| Document {
            path: path.into(),
            package: path.split('/').next().unwrap_or_default().into(),
            language,
            text: text.into(),
        };
        vec![
            document("a/lib.rs", Language::Rust, include_str!("holes.rs")),
            document("b/lib.rs", Language::Rust, include_str!("split.rs")),
            document("c/area.py", Language::Python, &python),
        ]
    }

    #[test]
    fn holes_are_fixed_balanced_and_put_the_document_together() {
        let documents = documents();
        let holes = held_out_holes(&documents, HoleKind::SingleLine, 80, 1);
        assert_eq!(holes, held_out_holes(&documents, HoleKind::SingleLine, 80, 1));
        assert_ne!(holes, held_out_holes(&documents, HoleKind::SingleLine, 80, 2));
        assert_eq!(holes.len(), 80);
        let rust = holes.iter().filter(|hole| hole.language == Language::Rust).count();
        assert_eq!(rust, 40);
        for hole in &holes {
            let document = documents.iter().find(|document| document.path == hole.path).unwrap();
            let HeldOutHole { prefix, middle, rest, suffix, .. } = hole;
            assert_eq!(format!("{prefix}{middle}{rest}\n{suffix}"), document.text);
            assert!(!middle.contains('\n') && !middle.is_empty());
            let is_prose = hole.language == Language::Python && middle.contains("prose");
            assert!(!is_prose, "documentation is no code: {middle}");
        }
    }

    #[test]
    fn lines_and_nodes_are_what_they_say() {
        let documents = documents();
        for kind in [HoleKind::Lines, HoleKind::Node] {
            let holes = held_out_holes(&documents, kind, 60, 1);
            assert_eq!(holes, held_out_holes(&documents, kind, 60, 1));
            assert!(holes.len() >= 40, "{kind:?}: {}", holes.len());
            for hole in &holes {
                let document =
                    documents.iter().find(|document| document.path == hole.path).unwrap();
                let HeldOutHole { prefix, middle, rest, suffix, .. } = hole;
                assert_eq!(format!("{prefix}{middle}{rest}\n{suffix}"), document.text);
                assert!(says_something(middle, kind), "{middle}");
                // Lines that begin in code may reach into the documentation below them.
                let begins_in_prose =
                    ["prose", "Gives", "\"\"\""].iter().any(|word| middle.starts_with(word));
                assert!(!begins_in_prose, "documentation is no code: {middle}");
                if kind == HoleKind::Lines {
                    assert!(rest.is_empty() && middle.lines().count() <= MOST_LINES, "{middle}");
                    assert!(!middle.starts_with(char::is_whitespace));
                    let indentation = prefix.rsplit('\n').next().unwrap();
                    assert!(indentation.trim().is_empty(), "{indentation}");
                    assert!(!middle.ends_with(char::is_whitespace));
                } else {
                    let tree = hole.language.parser().parse(&document.text, None).unwrap();
                    let span = prefix.len()..prefix.len() + middle.len();
                    let node = tree.root_node().descendant_for_byte_range(span.start, span.end);
                    assert_eq!(node.unwrap().byte_range(), span);
                }
            }
            let n_lines = |hole: &HeldOutHole| hole.middle.lines().count();
            assert!(holes.iter().any(|hole| n_lines(hole) > 1), "{kind:?}");
            assert!(holes.iter().any(|hole| n_lines(hole) == 1), "{kind:?}");
        }
    }

    /// The set that earlier models were measured on.
    #[test]
    fn single_line_holes_stay_the_same() {
        let text: String = (0..30)
            .map(|n| format!("def scale_{n}(value):\n    return value * {n} + offset_{n}\n\n\n"))
            .collect();
        let document = Document {
            path: "a/scale.py".into(),
            package: "a".into(),
            language: Language::Python,
            text,
        };
        let holes = held_out_holes(&[document], HoleKind::SingleLine, 6, 1);
        let middles: Vec<&str> = holes.iter().map(|hole| hole.middle.as_str()).collect();
        assert_eq!(
            middles,
            [
                " 1 + offset_1",
                "0(value):",
                " value * 25 + offset_25",
                "ef scale_4(value):",
                "e * 17 + offset_17",
                "fset_22"
            ]
        );
    }

    #[test]
    fn what_one_language_lacks_comes_from_the_other() {
        let mut documents = documents();
        documents.retain(|document| document.language == Language::Rust);
        let few = Document {
            path: "c/small.py".into(),
            package: "c".into(),
            language: Language::Python,
            text: "value = compute(1)\n".into(),
        };
        let balanced = held_out_holes(&documents, HoleKind::SingleLine, 20, 1);
        documents.push(few);
        let holes = held_out_holes(&documents, HoleKind::SingleLine, 40, 1);
        assert_eq!(holes.len(), 40);
        assert_eq!(holes.iter().filter(|hole| hole.language == Language::Python).count(), 1);
        assert_eq!(holes[..20], balanced, "the choice grows and does not change");
    }

    #[test]
    fn too_small_a_document_gives_fewer_holes() {
        let document = Document {
            path: "a/b.py".into(),
            package: "a".into(),
            language: Language::Python,
            text: "value = compute(1)\n".into(),
        };
        assert_eq!(held_out_holes(&[document], HoleKind::SingleLine, 10, 0).len(), 1);
    }
}
