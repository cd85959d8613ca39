//! What this server tells a client that it can do.

use serde_json::json;
use tower_lsp::gen_lsp_types::{
    ClientCapabilities, InlineCompletionProvider, Save, ServerCapabilities, TextDocumentSync,
    TextDocumentSyncKind, TextDocumentSyncOptions,
};

use crate::position::PositionEncoding;

/// The position encoding to use with a client.
pub(crate) fn negotiate_encoding(client: &ClientCapabilities) -> PositionEncoding {
    let offered = client.general.as_ref().and_then(|general| general.position_encodings.as_deref());
    PositionEncoding::negotiate(offered.unwrap_or_default())
}

/// The server's capabilities under that encoding.
pub(crate) fn server_capabilities(encoding: PositionEncoding) -> ServerCapabilities {
    ServerCapabilities {
        position_encoding: Some(encoding.kind()),
        text_document_sync: Some(TextDocumentSync::Options(TextDocumentSyncOptions {
            open_close: Some(true),
            change: Some(TextDocumentSyncKind::Incremental),
            save: Some(Save::Bool(true)),
            ..TextDocumentSyncOptions::default()
        })),
        inline_completion_provider: Some(InlineCompletionProvider::Bool(true)),
        experimental: Some(json!({ "diffcoder": { "infill": true, "score": true } })),
        ..ServerCapabilities::default()
    }
}
