//! `textDocument/didChange`: applies the client's edits. It does not cancel an infill: the answer may still fit.

use serde::Deserialize;
use tower_lsp::gen_lsp_types::{LspAny, VersionedTextDocumentIdentifier};

use crate::document::ContentChange;
use crate::state::Session;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params {
    text_document: VersionedTextDocumentIdentifier,
    content_changes: Vec<ContentChange>,
}

/// Takes the parameters unread: those that cannot be read still name a document whose text is now unknown.
pub(crate) fn handle(session: &Session, params: LspAny) {
    let uri = params.pointer("/textDocument/uri").and_then(LspAny::as_str).map(Into::into);
    match Params::deserialize(params) {
        Ok(Params { text_document, content_changes }) => {
            let uri = text_document.text_document_identifier.uri;
            if let Err(error) = session.change(&uri, text_document.version, &content_changes) {
                tracing::warn!("ignored a change: {error}");
            }
        }
        Err(error) => {
            tracing::warn!("could not read a change: {error}");
            if let Some(uri) = uri {
                session.lose_step(&uri);
            }
        }
    }
}
