//! `textDocument/didOpen`: the server holds the text from here on; the file on disk no longer counts.

use tower_lsp::gen_lsp_types::DidOpenTextDocumentParams;

use crate::state::Session;

pub(crate) fn handle(session: &Session, params: DidOpenTextDocumentParams) {
    session.open(params.text_document.into());
}
