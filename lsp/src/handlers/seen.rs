//! `diffcoder/seen`: somebody copied a piece of a document, which may matter where they go next.

use serde::Deserialize;
use tower_lsp::gen_lsp_types::{Range, TextDocumentIdentifier};

use crate::position::range_to_offsets;
use crate::state::Session;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SeenParams {
    text_document: TextDocumentIdentifier,
    range: Range,
}

/// Nobody is told of a document that is not open: a notification has no answer.
pub(crate) fn handle(session: &Session, params: SeenParams) {
    if let Ok(snapshot) = session.snapshot(&params.text_document.uri) {
        let text = &snapshot.document.text;
        session.seen(&snapshot.document, range_to_offsets(text, params.range, snapshot.encoding));
    }
}
