//! `textDocument/didSave`: what somebody saves, other files may be about.

use tower_lsp::gen_lsp_types::DidSaveTextDocumentParams;

use crate::state::Session;

pub(crate) fn handle(session: &Session, params: DidSaveTextDocumentParams) {
    session.saved(&params.text_document.uri);
}
