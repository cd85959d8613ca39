//! Documents by name and version: what a request is about, and whether it still is.

use serde::Deserialize;
use tower_lsp::gen_lsp_types::Uri;

use crate::error::RequestError;
use crate::state::{Session, Snapshot};

/// A document, and the version of it that positions of a request belong to.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct VersionedDocument {
    pub(crate) uri: Uri,
    /// Without one, the version that the server has.
    pub(crate) version: Option<i32>,
}

impl Session {
    /// The document as it is now, if that is the version asked about.
    pub(crate) fn snapshot_at(&self, asked: &VersionedDocument) -> Result<Snapshot, RequestError> {
        let snapshot = self.snapshot(&asked.uri)?;
        match asked.version {
            Some(version) if version != snapshot.document.version => {
                Err(RequestError::ContentModified(asked.uri.clone()))
            }
            _ => Ok(snapshot),
        }
    }

    /// An error if the document has changed since: an answer made for `snapshot` would land in the wrong place.
    pub(crate) fn check_unchanged(&self, snapshot: &Snapshot) -> Result<(), RequestError> {
        let Snapshot { document, .. } = snapshot;
        let version = Some(document.version);
        self.snapshot_at(&VersionedDocument { uri: document.uri.clone(), version }).map(drop)
    }
}
