//! `textDocument/completion`: the inline completion as an entry of the menu, for editors that know no other.

use tower_lsp::gen_lsp_types::{
    CompletionItem, CompletionItemKind, CompletionItemTextEdit, CompletionList, CompletionParams,
    CompletionResponse, Documentation, InlineCompletionContext, InlineCompletionParams,
    InlineCompletionResponse, InlineCompletionTriggerKind, InsertText, InsertTextMode,
    MarkupContent, MarkupKind, Position, Range, TextEdit,
};

use super::inline_completion;
use crate::error::RequestError;
use crate::position::{offset_to_position, position_to_offset};
use crate::state::{Session, Snapshot};

/// Longest label of an entry, in characters.
const MOST_LABEL_CHARS: usize = 60;

/// Answers with one entry, or none.
///
/// The list is incomplete whatever it holds: with the next key there is another fill.
pub(crate) async fn handle(
    session: &Session,
    params: CompletionParams,
) -> Result<Option<CompletionResponse>, RequestError> {
    let at = params.text_document_position_params;
    let snapshot = session.snapshot(&at.text_document.uri)?;
    let cursor = at.position;
    let asked = InlineCompletionParams {
        // Editors ask for this menu while people type, whatever they call it.
        context: InlineCompletionContext {
            trigger_kind: InlineCompletionTriggerKind::Automatic,
            selected_completion_info: None,
        },
        work_done_progress_params: params.work_done_progress_params,
        text_document_position_params: at,
    };
    let answer = inline_completion::handle(session, asked).await?;
    let found = match answer {
        Some(InlineCompletionResponse::InlineCompletionItemList(items)) => items,
        Some(InlineCompletionResponse::InlineCompletionList(list)) => list.items,
        None => Vec::new(),
    };
    let items = found.into_iter().filter_map(|item| {
        let InsertText::String(text) = item.insert_text else { return None };
        let entry = entry(&snapshot, cursor, &text, item.range)?;
        Some(CompletionItem { command: item.command, ..entry })
    });
    Ok(Some(CompletionResponse::CompletionList(CompletionList {
        is_incomplete: true,
        items: items.take(1).collect(),
        ..CompletionList::default()
    })))
}

/// The entry that inserts `text`, which replaces `range`, or goes in at the cursor.
fn entry(
    snapshot: &Snapshot,
    cursor: Position,
    text: &str,
    range: Option<Range>,
) -> Option<CompletionItem> {
    let Snapshot { document, encoding, .. } = snapshot;
    let offset = |position| position_to_offset(&document.text, position, *encoding);
    let end = range.map_or(offset(cursor), |range| offset(range.end));
    let cursor = offset(cursor);
    let before = document.text.byte_slice(..cursor).to_string();
    // Menus hold entries against the word at the cursor, so the entry begins with it.
    let word_start =
        before.trim_end_matches(|char: char| char.is_alphanumeric() || char == '_').len();
    let word = &before[word_start..];
    let position = |offset| offset_to_position(&document.text, offset, *encoding);
    let whole = format!("{word}{text}");
    let first = whole.lines().find(|line| !line.trim().is_empty())?.trim();
    let mut label: String = first.chars().take(MOST_LABEL_CHARS).collect();
    if label.len() < whole.trim().len() {
        label.push('…');
    }
    let code = format!("```{}\n{whole}\n```", document.language_id);
    Some(CompletionItem {
        label,
        kind: Some(CompletionItemKind::Snippet),
        detail: Some("diffcoder".to_owned()),
        documentation: Some(Documentation::MarkupContent(MarkupContent::new(
            MarkupKind::Markdown,
            code,
        ))),
        // Never chosen by itself: it comes late, and Enter may be on its way for another entry.
        preselect: Some(false),
        filter_text: Some(word.to_owned()).filter(|word| !word.is_empty()),
        insert_text_mode: Some(InsertTextMode::AsIs),
        text_edit: Some(CompletionItemTextEdit::TextEdit(TextEdit::new(
            Range::new(position(word_start), position(end)),
            whole,
        ))),
        ..CompletionItem::default()
    })
}
