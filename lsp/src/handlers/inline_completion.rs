//! `textDocument/inlineCompletion`: fills the hole at the cursor.

use tower_lsp::gen_lsp_types::{
    InlineCompletionItem, InlineCompletionParams, InlineCompletionResponse, InsertText, Range,
};

use crate::context::CursorContext;
use crate::edit;
use crate::error::RequestError;
use crate::position::{offset_to_position, position_to_offset};
use crate::state::Session;
use crate::worker::Lane;

/// Answers with one item, or none where there is nothing worth showing; `Automatic` and `Invoked` are served alike.
pub(crate) async fn handle(
    session: &Session,
    params: InlineCompletionParams,
) -> Result<Option<InlineCompletionResponse>, RequestError> {
    let at = params.text_document_position_params;
    let snapshot = session.snapshot(&at.text_document.uri)?;
    let (document, encoding) = (&snapshot.document, snapshot.encoding);
    let offset = position_to_offset(&document.text, at.position, encoding);
    let context = CursorContext::at(document, offset);
    let pending = session.worker.submit(&document.uri.0, Lane::Completion, context.request(), None);

    let infill = pending.outcome().await?;

    tracing::debug!(
        document = document.uri.0,
        language = document.language_id,
        version = document.version,
        forwards = infill.stats.forwards,
        tokens = infill.stats.tokens,
        cached_tokens = infill.stats.cached_tokens,
        wall_ms = infill.stats.wall.as_millis(),
        "infilled"
    );
    let insertion = infill.holes.first().and_then(|hole| edit::insertion(&hole.text, &context));
    let cursor = offset_to_position(&document.text, offset, encoding);
    let items = insertion.map(|text| InlineCompletionItem {
        insert_text: InsertText::String(text),
        filter_text: None,
        range: Some(Range::new(cursor, cursor)),
        command: None,
    });
    Ok(Some(InlineCompletionResponse::InlineCompletionItemList(items.into_iter().collect())))
}
