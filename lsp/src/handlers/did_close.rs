//! `textDocument/didClose`: forgets the text and stops what was under way for it.

use tower_lsp::gen_lsp_types::DidCloseTextDocumentParams;

use crate::state::Session;

pub(crate) fn handle(session: &Session, params: DidCloseTextDocumentParams) {
    session.close(&params.text_document.uri);
}
