//! Text of other files of a package, chosen for a hole as serving chooses it.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use diffcoder_engine::related::{
    Definition, Imports, MOST_FILES, Related, SourceFile, defined_near, definitions,
};

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
    pub fn beside_hole(&self, hole: &HeldOutHole, right: &str) -> Vec<Related> {
        let index = self.documents.iter().position(|document| document.path == hole.path);
        index.map(|index| self.related(index, &hole.prefix, right)).unwrap_or_default()
    }

    /// Definitions in other files of the package of the names around a hole in document `index`, the nearest last.
    ///
    /// `left` and `right` are the document without what stood in the hole: a prompt must not know that.
    pub fn related(&self, index: usize, left: &str, right: &str) -> Vec<Related> {
        let own = &self.documents[index];
        let imports = Imports::of(left, right);
        let folder = Path::new(&own.path).parent();
        let mut sources: Vec<(bool, usize)> = self
            .package(index)
            .filter(|&other| other != index && self.documents[other].language == own.language)
            .map(|other| (imports.name(Path::new(&self.documents[other].path)), other))
            .filter(|&(is_imported, other)| {
                is_imported || Path::new(&self.documents[other].path).parent() == folder
            })
            .collect();
        sources.sort_by_key(|(is_imported, _)| !is_imported);
        sources.truncate(MOST_FILES);
        let files: Vec<_> = sources.into_iter().map(|(_, other)| self.file(other)).collect();
        let mut related = defined_near(left, right, &files);
        related.reverse();
        related
    }

    /// The documents of the package of document `index`.
    fn package(&self, index: usize) -> Range<usize> {
        let package = &self.documents[index].package;
        let is_other = |document: &Document| document.package != *package;
        let start = self.documents[..index].iter().rposition(is_other).map_or(0, |at| at + 1);
        let after = self.documents[index..].iter().position(is_other);
        start..after.map_or(self.documents.len(), |after| index + after)
    }

    fn file(&self, index: usize) -> SourceFile<'_> {
        let Document { path, text, language, .. } = &self.documents[index];
        let found = self.definitions[index].get_or_init(|| {
            let tree = language.parser().parse(text, None);
            tree.map(|tree| definitions(text, &tree)).unwrap_or_default()
        });
        // The first part of the path is the package's folder; somebody who works on it has that open.
        let path = path.split_once('/').map_or(path.as_str(), |(_, inside)| inside);
        SourceFile { path, text, definitions: found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Language;

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
        let (left, right) = documents[2].text.split_at(documents[2].text.find("(a) }").unwrap());
        let (left, right) = (left.to_owned(), format!("{right} hidden()"));
        let neighbours = Neighbours::new(Arc::new(documents));
        assert_eq!(neighbours.package(2), 1..6);
        assert_eq!((neighbours.package(0), neighbours.package(6)), (0..1, 6..7));
        let related = neighbours.related(2, &left, &right);
        let pairs: Vec<_> = related.iter().map(|piece| (&*piece.path, &*piece.text)).collect();
        // The imported file, not the one in a far folder or another package; the nearest name last.
        assert_eq!(
            pairs,
            [
                ("src/util/money.rs", "pub struct Money(i64);"),
                ("src/other.rs", "pub fn round() {}")
            ]
        );
        assert!(neighbours.related(0, "", money).is_empty());
    }
}
