//! Text of other files that may say something about the place where somebody types.
//!
//! Two kinds: places that somebody was at before ([`chunks`]), and definitions of names near the cursor ([`definitions`])
//! in open files, in imported ones and in those of the same folder. What is chosen for a place stays chosen while somebody
//! types there: a prompt that began with other text at each key would be read anew at each key.

mod chunks;
mod files;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use diffcoder_engine::related::{
    Definition, Imports, MOST_FILES, Nearness, PLACE_LINES, Related, SourceFile, defined_near,
    definitions, worth_offering,
};
use parking_lot::Mutex;
use ropey::Rope;
use tower_lsp::gen_lsp_types::Uri;

use crate::after_fill::Language;
use crate::document::Document;
use crate::line_endings;
use chunks::{Chunk, Ring};
use files::Files;
pub(crate) use files::path_of;

/// A cursor further than this many lines from where text was chosen is at another place.
const SAME_PLACE_LINES: usize = 24;
/// Files whose definitions are kept.
const MOST_INDEXED: usize = 256;

/// What is known of other files. Two locks: what a message changes is never held while files are read.
#[derive(Debug, Default)]
pub(crate) struct RelatedText {
    visits: Mutex<Visits>,
    chooser: Mutex<Chooser>,
}

#[derive(Debug, Default)]
struct Visits {
    ring: Ring,
    /// Where somebody typed last.
    last: Option<(Uri, Rope, usize)>,
}

#[derive(Debug, Default)]
struct Chooser {
    files: Files,
    choices: HashMap<Uri, Choice>,
    /// What the text of a file defines, by the file's key.
    indexed: HashMap<String, (Arc<str>, Arc<[Definition]>)>,
}

/// What was chosen for a place.
#[derive(Clone, Debug)]
struct Choice {
    line: usize,
    newest_beside: u64,
    related: Vec<Related>,
}

/// A file that may define what is used.
struct Source {
    key: String,
    name: String,
    text: Arc<str>,
    language: &'static Language,
}

/// A place for which text is wanted.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) document: Document,
    /// Byte of the document.
    pub(crate) cursor: usize,
    /// The other open documents.
    pub(crate) others: Vec<Document>,
    /// Most tokens of it.
    pub(crate) tokens: usize,
    /// Somebody types there: what is chosen stays. Otherwise it is asked for once.
    pub(crate) is_typed: bool,
}

impl RelatedText {
    /// Text comes from these folders, and from what is open.
    pub(crate) fn set_roots(&self, roots: Vec<PathBuf>) {
        self.chooser.lock().files = Files::new(roots);
    }

    /// Notes that somebody types at a line.
    pub(crate) fn visit(&self, document: &Document, line: usize) {
        let mut visits = self.visits.lock();
        let here = (document.uri.clone(), document.text.clone(), line);
        let Some((uri, text, left)) = visits.last.replace(here) else { return };
        if uri != document.uri || left.abs_diff(line) > SAME_PLACE_LINES {
            visits.ring.push(&uri, &text, left);
        }
    }

    /// Notes that a document was saved or closed: where it was edited last matters.
    pub(crate) fn put_away(&self, document: &Document) {
        let edited = document.last_edit.map(|at| at.min(document.text.len_bytes()));
        if let Some(at) = edited {
            let line = document.text.byte_to_line(at);
            self.visits.lock().ring.push(&document.uri, &document.text, line);
        }
    }

    /// Notes that somebody copied bytes of a document: of a long piece its beginning matters.
    pub(crate) fn seen(&self, document: &Document, span: Range<usize>) {
        let text = &document.text;
        let [first, last] = [span.start, span.end].map(|at| text.byte_to_line(at));
        let line = first + ((last - first) / 2).min(PLACE_LINES);
        self.visits.lock().ring.push(&document.uri, text, line);
    }

    /// The text for a place, the nearest last. Reads files: for the model's thread.
    pub(crate) fn choose(&self, wanted: &Wanted) -> Vec<Related> {
        let uri = &wanted.document.uri;
        let line = wanted.document.text.byte_to_line(wanted.cursor);
        let (chunks, newest_beside) = {
            let visits = self.visits.lock();
            (visits.ring.beside(uri), visits.ring.newest_beside(uri))
        };
        let mut chooser = self.chooser.lock();
        if !wanted.is_typed {
            return chooser.choose(wanted, &chunks);
        }
        if let Some(choice) = chooser.choices.get(uri)
            && choice.line.abs_diff(line) <= SAME_PLACE_LINES
            && choice.newest_beside == newest_beside
        {
            return choice.related.clone();
        }
        let related = chooser.choose(wanted, &chunks);
        let choice = Choice { line, newest_beside, related: related.clone() };
        chooser.choices.insert(uri.clone(), choice);
        related
    }

    /// Forgets a closed document.
    pub(crate) fn forget(&self, uri: &Uri) {
        // Nobody waits here for files: a choice under way keeps its document a little longer.
        if let Some(mut chooser) = self.chooser.try_lock() {
            chooser.choices.remove(uri);
        }
    }
}

impl Chooser {
    fn choose(&mut self, wanted: &Wanted, chunks: &[Chunk]) -> Vec<Related> {
        let now = Instant::now();
        let mut nearest_first = self.definitions(wanted, now);
        for chunk in chunks.iter().rev() {
            let Some(path) = path_of(&chunk.uri.0) else { continue };
            if self.files.may_show(&path, now) {
                let path = self.files.name(&path).into();
                nearest_first.push(Related { path, text: Arc::clone(&chunk.text) });
            }
        }
        worth_offering(nearest_first, wanted.tokens)
    }

    /// What other files define of the names near the cursor, the nearest name first.
    fn definitions(&mut self, wanted: &Wanted, now: Instant) -> Vec<Related> {
        let text = wanted.document.text.to_string();
        let (left, right) = text.split_at(text.floor_char_boundary(wanted.cursor));
        let sources = self.sources(wanted, &Imports::of(left, right), now);
        let indexes: Vec<_> = sources.iter().map(|source| self.index(source)).collect();
        let file = |(source, definitions)| {
            let Source { name, text, .. }: &Source = source;
            SourceFile { path: name, text, definitions }
        };
        let files: Vec<_> =
            sources.iter().zip(indexes.iter().map(|index| &**index)).map(file).collect();
        defined_near(left, right, &files)
    }

    /// Imported files, open ones, those of the same folder.
    fn sources(&mut self, wanted: &Wanted, imports: &Imports<'_>, now: Instant) -> Vec<Source> {
        let Some(own) = path_of(&wanted.document.uri.0) else { return Vec::new() };
        let mut sources = Vec::new();
        for other in &wanted.others {
            let Some(path) = path_of(&other.uri.0) else { continue };
            let language = Language::of(&other.language_id, &other.uri.0);
            if let Some(language) = language.filter(|_| self.files.may_show(&path, now)) {
                sources.push((
                    imports.nearness(&own, &path).unwrap_or(Nearness::Beside),
                    Source {
                        key: other.uri.0.clone(),
                        name: self.files.name(&path),
                        text: line_endings::normalise(&other.text.to_string()).into(),
                        language,
                    },
                ));
            }
        }
        let is_open = |path: &Path| {
            wanted.others.iter().any(|other| path_of(&other.uri.0).as_deref() == Some(path))
        };
        let mut paths: Vec<(Nearness, PathBuf)> = self
            .files
            .list(now)
            .iter()
            .filter(|path| !is_open(path))
            .filter_map(|path| Some((imports.nearness(&own, path)?, path.clone())))
            .collect();
        paths.sort_by_key(|(nearness, _)| *nearness);
        for (nearness, path) in paths.into_iter().take(MOST_FILES) {
            let language = Language::of("", &path.to_string_lossy());
            if let (Some(language), Some(text)) = (language, self.files.read(&path)) {
                let name = self.files.name(&path);
                let key = path.to_string_lossy().into_owned();
                sources.push((nearness, Source { key, name, text, language }));
            }
        }
        sources.sort_by_key(|(nearness, _)| *nearness);
        sources.into_iter().map(|(_, source)| source).take(MOST_FILES).collect()
    }

    /// What a file defines; looked up anew only if it has changed.
    fn index(&mut self, source: &Source) -> Arc<[Definition]> {
        if let Some((text, definitions)) = self.indexed.get(&source.key)
            && *text == source.text
        {
            return Arc::clone(definitions);
        }
        if self.indexed.len() >= MOST_INDEXED {
            self.indexed.clear();
        }
        let parser = source.language.file_parser();
        let tree = parser.and_then(|mut parser| parser.parse(&*source.text, None));
        let found: Arc<[Definition]> =
            tree.map(|tree| definitions(&source.text, &tree)).unwrap_or_default().into();
        let of_text = (Arc::clone(&source.text), Arc::clone(&found));
        self.indexed.insert(source.key.clone(), of_text);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(language: &str, text: &str) -> Vec<(String, usize)> {
        let source = Source {
            key: "a".into(),
            name: "a".into(),
            text: text.into(),
            language: Language::of(language, "").unwrap(),
        };
        let index = Chooser::default().index(&source);
        let lines = |definition: &Definition| text[definition.text.clone()].lines().count();
        let name = |definition: &Definition| text[definition.name.clone()].to_owned();
        index.iter().map(|definition| (name(definition), lines(definition))).collect()
    }

    fn names(language: &str, text: &str) -> Vec<String> {
        found(language, text).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn definitions_of_several_languages_are_found() {
        let rust = "extern crate alloc;\nstruct Money(i64);\nimpl Money {\n    fn cents(&self) -> i64 { 0 }\n}\nconst MOST: u8 = 1;\n";
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
        assert_eq!(found("rust", &text), [("long".to_owned(), 10)]);
    }
}
