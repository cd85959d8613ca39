//! `textDocument/inlineCompletion`: fills the hole at the cursor.

use std::time::{Duration, Instant};

use diffcoder_engine::infiller::{Finish, HoleFill, Infill, InfillLimits};
use tower_lsp::gen_lsp_types::{
    InlineCompletionItem, InlineCompletionParams, InlineCompletionResponse,
    InlineCompletionTriggerKind, InsertText, Range, SelectedCompletionInfo,
};

use crate::after_fill::{Drop, Edit, Fill, Finished, Repair, Shape};
use crate::config::Settings;
use crate::context::{CursorContext, Selected};
use crate::error::RequestError;
use crate::position::{offset_to_position, position_to_offset, range_to_offsets};
use crate::state::{Session, Snapshot};
use crate::status::Nothing;
use crate::worker::Lane;

/// How often the model may fill a broken part of its fill anew.
const MOST_REPAIRS: usize = 2;

/// Time from the request within which repairs must end: a suggestion that comes later is not looked at.
const REPAIR_WITHIN: Duration = Duration::from_secs(1);

/// Answers with one item, or none where there is nothing worth showing.
///
/// A completion that nobody asked for is as long as its place wants: the line, or the block.
pub(crate) async fn handle(
    session: &Session,
    params: InlineCompletionParams,
) -> Result<Option<InlineCompletionResponse>, RequestError> {
    let started = Instant::now();
    let at = params.text_document_position_params;
    let snapshot = session.snapshot(&at.text_document.uri)?;
    let (document, encoding) = (&snapshot.document, snapshot.encoding);
    let offset = position_to_offset(&document.text, at.position, encoding);
    let selected = selected(&snapshot, offset, params.context.selected_completion_info);
    let trigger = &params.context.trigger_kind;
    if let Some(reason) = session.refuses(&snapshot, trigger) {
        session.notes.nothing(reason, None);
        return Ok(Some(InlineCompletionResponse::InlineCompletionItemList(Vec::new())));
    }
    let settings = &snapshot.settings;
    let context = CursorContext::behind(document, selected);
    let shape = match trigger {
        InlineCompletionTriggerKind::Automatic => settings.shape(context.site.shape()),
        InlineCompletionTriggerKind::Invoked | InlineCompletionTriggerKind::Custom(_) => {
            Shape::Free
        }
    };
    let key = &document.uri.0;
    let request = settings.suggestion(context.request(shape));
    let pending = session.worker.submit(key, Lane::Completion, request, None);

    let infill = pending.outcome().await?;

    snapshot.log_fills(&infill);
    tracing::debug!(
        document = key,
        language = document.language_id,
        version = document.version,
        forwards = infill.stats.forwards,
        tokens = infill.stats.tokens,
        cached_tokens = infill.stats.cached_tokens,
        wall_ms = infill.stats.wall.as_millis(),
        "infilled"
    );
    if let Some(reason) = unsure(&infill, trigger, settings) {
        session.notes.nothing(reason, Some(started.elapsed()));
        return Ok(Some(InlineCompletionResponse::InlineCompletionItemList(Vec::new())));
    }
    let job = Job { session, key, shape, settings, deadline: started + REPAIR_WITHIN };
    let (context, edit) = job.finish(context, infill).await?;
    match &edit {
        Ok(_) => session.notes.shown(started.elapsed()),
        Err(dropped) => {
            session.notes.nothing(Nothing::Dropped(*dropped), Some(started.elapsed()));
        }
    }
    let item = edit.ok().map(|edit| {
        let (text, span) = context.in_document(edit);
        let start = offset_to_position(&document.text, span.start, encoding);
        let end = offset_to_position(&document.text, span.end, encoding);
        InlineCompletionItem {
            insert_text: InsertText::String(text),
            filter_text: None,
            range: Some(Range::new(start, end)),
            command: None,
        }
    });
    Ok(Some(InlineCompletionResponse::InlineCompletionItemList(item.into_iter().collect())))
}

/// Whether the model is too unsure of a fill that nobody asked for.
fn unsure(
    infill: &Infill,
    trigger: &InlineCompletionTriggerKind,
    settings: &Settings,
) -> Option<Nothing> {
    let confidence = infill.holes.first()?.confidence;
    let threshold = settings.completion.show_threshold;
    let is_unsure =
        *trigger == InlineCompletionTriggerKind::Automatic && f64::from(confidence) < threshold;
    is_unsure.then_some(Nothing::Unsure { confidence, threshold })
}

/// The entry that the editor's menu shows; none if it has nothing to do with the cursor at `offset`.
fn selected(snapshot: &Snapshot, offset: usize, info: Option<SelectedCompletionInfo>) -> Selected {
    let text = &snapshot.document.text;
    let entry = info.map(|info| Selected {
        range: range_to_offsets(text, info.range, snapshot.encoding),
        text: info.text,
    });
    entry
        .filter(|entry| entry.range.start <= offset && offset <= entry.range.end)
        .unwrap_or_else(|| Selected::none(offset))
}

/// What a completion needs after the model's first answer.
struct Job<'a> {
    session: &'a Session,
    key: &'a str,
    shape: Shape,
    settings: &'a Settings,
    deadline: Instant,
}

impl Job<'_> {
    /// Makes an edit of the fill; has the model repair what is broken in it, as long as that can still help.
    async fn finish(
        &self,
        context: CursorContext,
        infill: Infill,
    ) -> Result<(CursorContext, Result<Edit, Drop>), RequestError> {
        let Some(fill) = infill.holes.into_iter().next() else {
            return Ok((context, Err(Drop::Empty)));
        };
        let (mut context, mut finished) = self.work_on(context, fill).await?;
        for _ in 0..MOST_REPAIRS {
            let Some(repair) = finished.repair.take() else { break };
            let Some(fill) = self.ask_again(&context, &repair).await? else { break };
            let (same_context, again) = self.work_on(context, fill).await?;
            context = same_context;
            if again.repair.is_none() && again.edit.is_ok() || finished.edit.is_err() {
                finished = again;
            } else {
                finished.repair = again.repair;
            }
        }
        // Not the edit: a log holds no source code.
        let dropped = finished.edit.as_ref().err();
        tracing::debug!(document = self.key, steps = ?finished.steps, ?dropped, "finished");
        Ok((context, finished.edit))
    }

    /// Off the thread that answers everyone: parsing takes milliseconds.
    async fn work_on(
        &self,
        mut context: CursorContext,
        fill: HoleFill,
    ) -> Result<(CursorContext, Finished), RequestError> {
        let shape = self.shape;
        let work = move || {
            let is_cut = matches!(fill.finish, Finish::TokenLimit | Finish::Deadline);
            let finished = context.site.finish(&Fill { text: &fill.text, is_cut, shape });
            (context, finished)
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
            Ok(payload) => RequestError::from_panic(&*payload),
            Err(_) => RequestError::ShuttingDown,
        })
    }

    /// The fill with its broken part filled anew; `None` if there is no time for it, or the model has nothing to say.
    async fn ask_again(
        &self,
        context: &CursorContext,
        repair: &Repair,
    ) -> Result<Option<HoleFill>, RequestError> {
        if Instant::now() >= self.deadline {
            return Ok(None);
        }
        let max_lines = Some(repair.broken.matches('\n').count() + 1);
        let limits =
            InfillLimits { max_lines, deadline: Some(self.deadline), ..InfillLimits::default() };
        let request = self.settings.suggestion(context.repair_request(repair, limits));
        let pending = self.session.worker.submit_again(self.key, Lane::Completion, request)?;
        let infill = match pending.outcome().await {
            // The first fill is still there.
            Err(RequestError::Infill(_) | RequestError::Panicked(_)) => return Ok(None),
            outcome => outcome?,
        };
        let part = infill.holes.into_iter().next();
        Ok(part.filter(|part| part.text != repair.broken).map(|part| HoleFill {
            text: format!("{}{}{}", repair.before, part.text, repair.after),
            ..part
        }))
    }
}
