//! Cases that stand in TOML files.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;

/// Every file of a folder below `lsp/tests`, with its name, in the order of the names.
pub(crate) fn files<T: DeserializeOwned>(folder: &str) -> Vec<(String, T)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let file = toml::from_str(&fs::read_to_string(&path).unwrap());
            (name.clone(), file.unwrap_or_else(|error| panic!("{name}: {error}")))
        })
        .collect();
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    files
}
