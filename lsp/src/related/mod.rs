//! Text of other files that may say something about the place where somebody types.
//!
//! Two kinds: places that somebody was at before ([`chunks`]), and definitions of names near the cursor ([`definitions`])
//! in open files, in imported ones and in those of the same folder. What is chosen for a place stays chosen while somebody
//! types there: a prompt that began with other text at each key would be read anew at each key.

mod chunks;
mod definitions;
mod files;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use diffcoder_engine::infiller::Related;
use parking_lot::Mutex;
use ropey::Rope;
use tower_lsp::gen_lsp_types::Uri;

use crate::after_fill::Language;
use crate::document::Document;
use crate::line_endings;
use chunks::{Chunk, Ring};
use definitions::{Definition, definitions, imported, names_near};
use files::Files;
pub(crate) use files::path_of;

/// A cursor further than this many lines from where text was chosen is at another place.
const SAME_PLACE_LINES: usize = 24;
/// Files that are looked through for definitions.
const MOST_SOURCES: usize = 16;
const MOST_DEFINITIONS: usize = 8;
/// Bytes that are worth offering for each token of the budget.
const BYTES_PER_TOKEN: usize = 4;
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
    indexed: HashMap<String, (Stamp, Arc<[Definition]>)>,
}

/// What was chosen for a place.
#[derive(Clone, Debug)]
struct Choice {
    line: usize,
    newest_beside: u64,
    related: Vec<Related>,
}

/// Which text of a file was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamp {
    Open(i32),
    Written(SystemTime),
}

/// A file that may define what is used.
struct Source {
    key: String,
    name: String,
    stamp: Stamp,
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

    /// The text for a place, the nearest last. Reads files: for the model's thread.
    pub(crate) fn choose(&self, wanted: &Wanted) -> Vec<Related> {
        let uri = &wanted.document.uri;
        let line = wanted.document.text.byte_to_line(wanted.cursor);
        let (chunks, newest_beside) = {
            let visits = self.visits.lock();
            (visits.ring.beside(uri), visits.ring.newest_beside(uri))
        };
        let mut chooser = self.chooser.lock();
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
        let mut room = BYTES_PER_TOKEN * wanted.tokens;
        let mut nearest_first: Vec<Related> = Vec::new();
        let mut take = |path: String, text: &Arc<str>| {
            let piece = Related { path: path.into(), text: Arc::clone(text) };
            let Some(left) = room.checked_sub(text.len()) else { return };
            if !nearest_first.contains(&piece) {
                room = left;
                nearest_first.push(piece);
            }
        };
        for (name, definition) in self.definitions(wanted, now) {
            take(name, &definition.text);
        }
        for chunk in chunks.iter().rev() {
            let Some(path) = path_of(&chunk.uri.0) else { continue };
            if self.files.may_show(&path, now) {
                take(self.files.name(&path), &chunk.text);
            }
        }
        nearest_first.reverse();
        nearest_first
    }

    /// What other files define of the names near the cursor, the nearest name first.
    fn definitions(&mut self, wanted: &Wanted, now: Instant) -> Vec<(String, Definition)> {
        let text = wanted.document.text.to_string();
        let names = names_near(&text, wanted.cursor);
        let mut indexes = Vec::new();
        for source in self.sources(wanted, &text, now) {
            indexes.push((source.name.clone(), self.index(&source)));
        }
        let mut found = Vec::new();
        for name in names {
            let defined = indexes.iter().find_map(|(file, definitions)| {
                let definition = definitions.iter().find(|definition| definition.name == name)?;
                Some((file.clone(), definition.clone()))
            });
            found.extend(defined);
            if found.len() == MOST_DEFINITIONS {
                break;
            }
        }
        found
    }

    /// Imported files, open ones, those of the same folder.
    fn sources(&mut self, wanted: &Wanted, text: &str, now: Instant) -> Vec<Source> {
        let Some(own) = path_of(&wanted.document.uri.0) else { return Vec::new() };
        let imports = imported(text);
        let is_imported = |path: &Path| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
            match stem.as_ref() {
                "mod" | "lib" | "__init__" | "index" => {
                    imports.contains(folder.to_string_lossy().as_ref())
                }
                stem => imports.contains(stem),
            }
        };
        let mut sources = Vec::new();
        for other in &wanted.others {
            let Some(path) = path_of(&other.uri.0) else { continue };
            let language = Language::of(&other.language_id, &other.uri.0);
            if let Some(language) = language.filter(|_| self.files.may_show(&path, now)) {
                sources.push((
                    is_imported(&path),
                    Source {
                        key: other.uri.0.clone(),
                        name: self.files.name(&path),
                        stamp: Stamp::Open(other.version),
                        text: line_endings::normalise(&other.text.to_string()).into(),
                        language,
                    },
                ));
            }
        }
        let is_open = |path: &Path| {
            wanted.others.iter().any(|other| path_of(&other.uri.0).as_deref() == Some(path))
        };
        let extension = own.extension();
        let mut paths: Vec<(bool, PathBuf)> = self
            .files
            .list(now)
            .iter()
            .filter(|path| **path != own && path.extension() == extension && !is_open(path))
            .map(|path| (is_imported(path), path.clone()))
            .filter(|(is_imported, path)| *is_imported || path.parent() == own.parent())
            .collect();
        paths.sort_by_key(|(is_imported, _)| !is_imported);
        for (is_imported, path) in paths.into_iter().take(MOST_SOURCES) {
            let language = Language::of("", &path.to_string_lossy());
            if let (Some(language), Some((written, text))) = (language, self.files.read(&path)) {
                let name = self.files.name(&path);
                let key = path.to_string_lossy().into_owned();
                let stamp = Stamp::Written(written);
                sources.push((is_imported, Source { key, name, stamp, text, language }));
            }
        }
        sources.sort_by_key(|(is_imported, _)| !is_imported);
        sources.into_iter().map(|(_, source)| source).take(MOST_SOURCES).collect()
    }

    /// What a file defines; looked up anew only if it has changed.
    fn index(&mut self, source: &Source) -> Arc<[Definition]> {
        if let Some((stamp, definitions)) = self.indexed.get(&source.key)
            && *stamp == source.stamp
        {
            return Arc::clone(definitions);
        }
        if self.indexed.len() >= MOST_INDEXED {
            self.indexed.clear();
        }
        let found: Arc<[Definition]> = definitions(&source.text, source.language).into();
        self.indexed.insert(source.key.clone(), (source.stamp, Arc::clone(&found)));
        found
    }
}
