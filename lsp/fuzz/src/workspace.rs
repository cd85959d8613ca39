//! The folder of `workspace/` as the targets' sessions see it.

/// What sessions call it.
const NAME: &[u8] = b"file:///w";
/// What any other file would be called.
const FILE: &[u8] = b"file://";

/// What stands in those of its files that ignore files name, or that look like secrets.
pub const NOT_TO_BE_READ: &str = "no model may be shown this";

/// `message` with the folder's real place in it, and every other place where there is nothing: a server whose workspace
/// is a whole disk would list it.
pub fn placed(message: &[u8]) -> Vec<u8> {
    const FOLDER: &str = concat!("file://", env!("CARGO_MANIFEST_DIR"), "/workspace");
    const NOWHERE: &str = concat!("file://", env!("CARGO_MANIFEST_DIR"), "/nowhere");
    let mut placed = Vec::with_capacity(message.len());
    let mut rest = message;
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(NAME) {
            placed.extend_from_slice(FOLDER.as_bytes());
            rest = after;
        } else if let Some(after) = rest.strip_prefix(FILE) {
            placed.extend_from_slice(NOWHERE.as_bytes());
            rest = after;
        } else {
            placed.push(*first);
            rest = after;
        }
    }
    placed
}
