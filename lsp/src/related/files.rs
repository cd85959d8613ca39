//! Which files of the workspace may be read, and their texts.
//!
//! What `.gitignore` or `.diffcoderignore` names is not read, nor is what looks like a secret, nor anything outside the
//! workspace.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ignore::WalkBuilder;

use crate::after_fill::Language;
use crate::line_endings;

/// Where people list what diffcoder must not read, in the syntax of `.gitignore`.
const IGNORE_FILE: &str = ".diffcoderignore";
/// Files of a workspace that are known; those of a larger one beyond that are not read.
const MOST_FILES: usize = 4_000;
/// Files without a grammar that are known: what is open of them may be shown.
const MOST_OTHERS: usize = 40_000;
/// Larger files are data or generated.
const MOST_BYTES: u64 = 128 << 10;
/// For so long a list of files is good.
const LIST_AGE: Duration = Duration::from_secs(30);
/// Texts that are kept.
const MOST_TEXTS: usize = 256;

/// Names of files with keys or passwords in them, in lower case; the part before and the part after `*`.
const SECRET_NAMES: [(&str, &str); 26] = [
    (".env", "*"),
    ("*", ".env"),
    ("*", ".pem"),
    ("*", ".key"),
    ("*", ".p12"),
    ("*", ".pfx"),
    ("*", ".jks"),
    ("*", ".keystore"),
    ("*", ".kdbx"),
    ("*", ".gpg"),
    ("*", ".asc"),
    ("*", ".ovpn"),
    ("*", ".tfvars"),
    ("*", ".tfstate"),
    ("id_rsa", "*"),
    ("id_dsa", "*"),
    ("id_ecdsa", "*"),
    ("id_ed25519", "*"),
    ("credentials", "*"),
    ("secret", "*"),
    (".netrc", ""),
    (".npmrc", ""),
    (".pypirc", ""),
    (".pgpass", ""),
    (".htpasswd", ""),
    (".git-credentials", ""),
];
const SECRET_FOLDERS: [&str; 4] = [".ssh", ".aws", ".gnupg", "secrets"];

/// Whether a file looks as if it held keys or passwords.
pub(crate) fn is_secret(path: &Path) -> bool {
    let lower = |part: &std::ffi::OsStr| part.to_string_lossy().to_lowercase();
    let name = path.file_name().map(lower).unwrap_or_default();
    let is_secret_name = SECRET_NAMES.iter().any(|(start, end)| match (*start, *end) {
        (start, "*") => name.starts_with(start),
        ("*", end) => name.ends_with(end),
        (whole, _) => name == whole,
    });
    let folders = path.parent().into_iter().flat_map(Path::components);
    is_secret_name
        || folders
            .into_iter()
            .any(|part| SECRET_FOLDERS.contains(&lower(part.as_os_str()).as_str()))
}

/// What a look at the workspace has found.
#[derive(Debug, Default)]
struct Listed {
    /// Source files, in the order of their names.
    sources: Vec<PathBuf>,
    /// Other files.
    others: HashSet<PathBuf>,
}

/// The files of the workspace that may be read.
#[derive(Debug, Default)]
pub(crate) struct Files {
    roots: Vec<PathBuf>,
    listed: Option<(Instant, Listed)>,
    texts: HashMap<PathBuf, (SystemTime, Arc<str>)>,
}

impl Files {
    /// The files below `roots`.
    pub(crate) fn new(roots: Vec<PathBuf>) -> Self {
        Self { roots, ..Self::default() }
    }

    /// Every source file that may be read.
    pub(crate) fn list(&mut self, now: Instant) -> &[PathBuf] {
        self.look(now).map_or(&[], |listed| &listed.sources)
    }

    /// What is in the workspace, looked at anew from time to time.
    fn look(&mut self, now: Instant) -> Option<&Listed> {
        let is_old = |(at, _): &(Instant, Listed)| now.saturating_duration_since(*at) > LIST_AGE;
        if self.listed.as_ref().is_none_or(is_old) {
            self.listed = Some((now, walk(&self.roots)));
        }
        self.listed.as_ref().map(|(_, listed)| listed)
    }

    /// Whether the text of an open file may be shown to the model beside another one.
    pub(crate) fn may_show(&mut self, path: &Path, now: Instant) -> bool {
        if is_secret(path) {
            return false;
        }
        let is_inside = self.roots.iter().any(|root| path.starts_with(root));
        let is_listed = |listed: &Listed| {
            listed.others.contains(path) || listed.sources.iter().any(|each| each == path)
        };
        !is_inside || self.look(now).is_some_and(is_listed)
    }

    /// Text of a listed file, with `\n` at the end of its lines.
    pub(crate) fn read(&mut self, path: &Path) -> Option<Arc<str>> {
        let about = std::fs::metadata(path).ok()?;
        let written = about.modified().ok()?;
        if let Some((at, text)) = self.texts.get(path)
            && *at == written
        {
            return Some(Arc::clone(text));
        }
        if about.len() > MOST_BYTES {
            return None;
        }
        let text = std::fs::read_to_string(path).ok()?;
        let text: Arc<str> = line_endings::normalise(&text).into();
        if self.texts.len() >= MOST_TEXTS {
            self.texts.clear();
        }
        self.texts.insert(path.to_owned(), (written, Arc::clone(&text)));
        Some(text)
    }

    /// How a reader of the project names the file.
    pub(crate) fn name(&self, path: &Path) -> String {
        let inside = self.roots.iter().find_map(|root| path.strip_prefix(root).ok());
        let name = inside.or_else(|| path.file_name().map(Path::new)).unwrap_or(path);
        name.to_string_lossy().replace('\\', "/")
    }
}

fn walk(roots: &[PathBuf]) -> Listed {
    let mut listed = Listed::default();
    let Some((first, others)) = roots.split_first() else { return listed };
    let mut builder = WalkBuilder::new(first);
    others.iter().for_each(|root| _ = builder.add(root));
    // Hidden files stay out, links are not followed; ignore files count without a repository too.
    let files = builder
        .require_git(false)
        .add_custom_ignore_filename(IGNORE_FILE)
        .max_filesize(Some(MOST_BYTES))
        .sort_by_file_name(Ord::cmp)
        .build()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()))
        .map(ignore::DirEntry::into_path)
        .filter(|path| !is_secret(path));
    for path in files {
        if Language::of("", &path.to_string_lossy()).is_some() {
            listed.sources.push(path);
            if listed.sources.len() == MOST_FILES {
                break;
            }
        } else if listed.others.len() < MOST_OTHERS {
            listed.others.insert(path);
        }
    }
    listed
}

/// The path of a `file:` URI.
pub(crate) fn path_of(uri: &str) -> Option<PathBuf> {
    let path = uri.strip_prefix("file://")?;
    let path = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
    // `/c:/folder` is how Windows' paths are written.
    let path = match path.as_bytes() {
        [b'/', drive, b':', ..] if drive.is_ascii_alphabetic() => &path[1..],
        _ => &path,
    };
    Some(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_one() {
        for path in [
            "a/.env",
            "a/.env.local",
            "prod.env",
            "server.PEM",
            "b/id_rsa.pub",
            "credentials.json",
            "secrets.toml",
            ".ssh/config.py",
            "terraform.tfvars",
            "secrets/a.rs",
        ] {
            assert!(is_secret(Path::new(path)), "{path}");
        }
        for path in ["src/environment.rs", "keys.rs", "a/monkey.py", "src/secretary/x.rs"] {
            assert!(!is_secret(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn ignored_secret_and_foreign_files_are_never_listed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for (path, text) in [
            (".gitignore", "target\n"),
            (".diffcoderignore", "private/\n*.gen.rs\n"),
            ("src/a.rs", "fn a() {}\r\n"),
            ("src/.env.rs", ""),
            ("src/b.gen.rs", ""),
            ("private/c.rs", ""),
            ("target/d.rs", ""),
            ("secrets/e.rs", ""),
            ("picture.png", ""),
            ("notes.md", ""),
            ("private/notes.md", ""),
        ] {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut files = Files::new(vec![root.clone()]);
        let now = Instant::now();
        assert_eq!(files.list(now), [root.join("src/a.rs")]);
        assert_eq!(files.read(&root.join("src/a.rs")).unwrap().as_ref(), "fn a() {}\n");
        assert_eq!(files.name(&root.join("src/a.rs")), "src/a.rs");
        assert!(files.may_show(&root.join("src/a.rs"), now));
        assert!(files.may_show(&root.join("notes.md"), now), "a place in a text");
        assert!(!files.may_show(&root.join("private/notes.md"), now));
        assert!(!files.may_show(&root.join("private/c.rs"), now));
        assert!(!files.may_show(Path::new("/elsewhere/.env"), now));
        assert!(files.may_show(Path::new("/elsewhere/f.rs"), now));
    }

    #[test]
    fn uris_are_decoded() {
        assert_eq!(path_of("file:///a%20b/%C3%A9.rs"), Some(PathBuf::from("/a b/é.rs")));
        assert_eq!(path_of("file:///c%3A/a.rs"), Some(PathBuf::from("c:/a.rs")));
        assert_eq!(path_of("untitled:a.rs"), None);
    }
}
