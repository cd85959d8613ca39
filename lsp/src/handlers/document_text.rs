//! `diffcoder/documentText`: the text that the server holds, for whoever suspects that it differs from the editor's.

use serde::{Deserialize, Serialize};
use tower_lsp::gen_lsp_types::TextDocumentIdentifier;

use crate::error::RequestError;
use crate::state::Session;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DocumentTextParams {
    text_document: TextDocumentIdentifier,
}

#[derive(Debug, Serialize)]
pub(crate) struct DocumentText {
    text: String,
    version: i32,
}

pub(crate) async fn handle(
    session: &Session,
    params: DocumentTextParams,
) -> Result<DocumentText, RequestError> {
    let document = session.snapshot(&params.text_document.uri)?.document;
    Ok(DocumentText { text: document.text.to_string(), version: document.version })
}
