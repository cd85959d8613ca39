//! Text of other files of a package, chosen for a hole as serving chooses it.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use diffcoder_engine::related::{
    Definition, Imports, MOST_FILES, Nearness, PLACE_LINES, Related, SourceFile, defined_near,
    definitions, worth_offering,
};
use rand::{Rng, RngExt};

use super::Document;
use super::holes::HeldOutHole;

/// The documents of a corpus, each among the others of its package.
#[derive(Debug)]
pub struct Neighbours {
    documents: Arc<Vec<Document>>,
    /// Looked up when a document is first asked for.
    definitions: Vec<OnceLock<Vec<Definition>>>,
}

impl Neighbours {
    /// `documents`: those of a package stand together, as in a corpus folder.
    pub fn new(documents: Arc<Vec<Document>>) -> Self {
        let definitions = documents.iter().map(|_| OnceLock::new()).collect();
        Self { documents, definitions }
    }

    /// [`related`](Self::related) for a held-out hole of one of the documents; `right` is what follows it.
    pub fn beside_hole(&self, hole: &HeldOutHole, right: &str, tokens: usize) -> Vec<Related> {
        let index = self.documents.iter().position(|document| document.path == hole.path);
        let related = |index| self.related(index, (&hole.prefix, right), None, tokens);
        index.map(related).unwrap_or_default()
    }

    /// Definitions in other files of the package of the names around a hole in document `index`, the nearest last, and before
    /// them the [`place`](Self::place); as much as is worth offering for `tokens` tokens.
    ///
    /// `left` and `right` are the document without what stood in the hole: a prompt must not know that.
    pub fn related(
        &self,
        index: usize,
        (left, right): (&str, &str),
        place: Option<Related>,
        tokens: usize,
    ) -> Vec<Related> {
        if tokens == 0 {
            return Vec::new();
        }
        let own = Path::new(&self.documents[index].path);
        let imports = Imports::of(left, right);
        let near = |other: usize| {
            let path = Path::new(&self.documents[other].path);
            Some((imports.nearness(own, path)?, other))
        };
        let mut sources: Vec<(Nearness, usize)> = self.package(index).filter_map(near).collect();
        sources.sort_by_key(|(nearness, _)| *nearness);
        sources.truncate(MOST_FILES);
        let files: Vec<_> = sources.into_iter().map(|(_, other)| self.file(other)).collect();
        worth_offering(defined_near(left, right, &files).into_iter().chain(place), tokens)
    }

    /// The text around some line of another document of the package, as serving has those that somebody was at.
    pub fn place(&self, index: usize, rng: &mut impl Rng) -> Option<Related> {
        let others = self.package(index);
        if others.len() < 2 {
            return None;
        }
        let other = rng.random_range(others.start..others.end - 1);
        let document = &self.documents[if other < index { other } else { other + 1 }];
        let starts = document.text.match_indices('\n').map(|(at, _)| at + 1);
        let starts: Vec<usize> = std::iter::once(0).chain(starts).collect();
        let line = rng.random_range(0..starts.len());
        let end = starts.get(line + PLACE_LINES).copied().unwrap_or(document.text.len());
        let text = &document.text[starts[line.saturating_sub(PLACE_LINES)]..end];
        let path = root_and_path(document).1.into();
        (!text.trim().is_empty()).then(|| Related { path, text: text.into() })
    }

    /// The documents of the package of document `index`, of its version alone.
    fn package(&self, index: usize) -> Range<usize> {
        let root = root_and_path(&self.documents[index]).0;
        let is_other = |document: &Document| root_and_path(document).0 != root;
        let start = self.documents[..index].iter().rposition(is_other).map_or(0, |at| at + 1);
        let after = self.documents[index..].iter().position(is_other);
        start..after.map_or(self.documents.len(), |after| index + after)
    }

    fn file(&self, index: usize) -> SourceFile<'_> {
        let document = &self.documents[index];
        let Document { text, language, .. } = document;
        let found = self.definitions[index].get_or_init(|| {
            let tree = language.parser().parse(text, None);
            tree.map(|tree| definitions(text, &tree)).unwrap_or_default()
        });
        SourceFile { path: root_and_path(document).1, text, definitions: found }
    }
}

/// The folder of a package, which somebody who works on it has open, and the path within it.
fn root_and_path(document: &Document) -> (&str, &str) {
    let Document { path, package, .. } = document;
    // The folder of a package with an owner is one deeper.
    let depth = package.matches('/').count();
    let end = path.match_indices('/').nth(depth).map(|(at, _)| at);
    end.map_or(("", path), |end| (&path[..end], &path[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Language;
    use crate::rng::keyed;

    fn document(package: &str, path: &str, text: &str) -> Document {
        Document {
            path: format!("{package}-1.0.0/{path}"),
            package: package.into(),
            language: Language::of_path(Path::new(path)).unwrap(),
            text: text.into(),
        }
    }

    #[test]
    fn names_are_looked_up_in_files_of_the_package_that_serving_would_read() {
        let money = "pub struct Money(i64);\n";
        let documents = vec![
            document("a", "src/money.rs", money),
            Document {
                path: "b-0.9.0/src/money.rs".into(),
                ..document("b", "src/money.rs", "pub struct Money(old);\n")
            },
            document("b", "src/far/deep.rs", "pub fn hidden() {}\n"),
            document(
                "b",
                "src/lib.rs",
                "use crate::money::Money;\nfn sum(a: Money) { round(a) }\n",
            ),
            document("b", "src/other.rs", "pub fn round() {}\n"),
            document("b", "src/tool.py", "def sum(): pass\n"),
            document("b", "src/util/money.rs", money),
            document("c", "src/other.rs", "pub struct Money(u8);\n"),
        ];
        let (left, right) = documents[3].text.split_at(documents[3].text.find("(a) }").unwrap());
        let (left, right) = (left.to_owned(), format!("{right} hidden()"));
        let neighbours = Neighbours::new(Arc::new(documents));
        assert_eq!(neighbours.package(3), 2..7);
        assert_eq!([0, 1, 7].map(|index| neighbours.package(index).len()), [1; 3]);
        let related = neighbours.related(3, (&left, &right), None, 100);
        let pairs: Vec<_> = related.iter().map(|piece| (&*piece.path, &*piece.text)).collect();
        // The imported file, not one in a far folder, another version or another package; the nearest name last.
        assert_eq!(
            pairs,
            [
                ("src/util/money.rs", "pub struct Money(i64);"),
                ("src/other.rs", "pub fn round() {}")
            ]
        );
        assert!(neighbours.related(0, ("", money), None, 100).is_empty());
        assert!(neighbours.related(3, (&left, &right), None, 0).is_empty());
    }

    #[test]
    fn a_place_is_a_few_lines_of_another_file_of_the_package() {
        let lines: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let documents = vec![
            document("a", "src/far.rs", "other"),
            document("b", "src/lib.rs", "own"),
            document("b", "src/long.rs", &lines),
            document("b", "src/short.py", "x\n"),
        ];
        let neighbours = Neighbours::new(Arc::new(documents));
        let mut rng = keyed([1, 2, 3, 4]);
        let mut seen = std::collections::BTreeMap::<_, usize>::new();
        for _ in 0..200 {
            let place = neighbours.place(1, &mut rng).unwrap();
            let text = if &*place.path == "src/long.rs" { &lines } else { "x\n" };
            assert!(text.contains(&*place.text) && place.text.lines().count() <= 2 * PLACE_LINES);
            *seen.entry(place.path.to_string()).or_default() += 1;
        }
        assert!(seen.len() == 2 && seen.values().all(|seen| *seen > 50), "{seen:?}");
        assert_eq!(neighbours.place(0, &mut rng), None);
        let place = neighbours.place(1, &mut rng);
        let offered = |tokens| neighbours.related(1, ("", ""), place.clone(), tokens);
        assert_eq!(offered(100), [place.clone().unwrap()]);
        assert!(offered(0).is_empty());
    }

    #[test]
    fn the_folder_of_a_package_may_have_an_owner() {
        let demo = document("demo", "src/lib.rs", "");
        assert_eq!(root_and_path(&demo), ("demo-1.0.0", "src/lib.rs"));
        let owned = document("@own/demo", "src/lib.rs", "");
        assert_eq!(root_and_path(&owned), ("@own/demo-1.0.0", "src/lib.rs"));
    }
}
