//! `textDocument/inlineCompletion`: fills the hole at the cursor.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diffcoder_engine::infiller::{Finish, HoleFill, Infill, InfillLimits};
use serde_json::json;
use tokio::sync::oneshot;
use tower_lsp::gen_lsp_types::{
    Command, InlineCompletionItem, InlineCompletionParams, InlineCompletionResponse,
    InlineCompletionTriggerKind, InsertText, Range, SelectedCompletionInfo,
};

use crate::after_fill::{Drop, Edit, Fill, Finished, Repair, Shape};
use crate::completions::{Arrival, Spent};
use crate::config::Settings;
use crate::context::{CursorContext, Selected};
use crate::error::RequestError;
use crate::handlers::execute_command::ACCEPTED;
use crate::position::{offset_to_position, position_to_offset, range_to_offsets};
use crate::state::{Session, Snapshot};
use crate::status::Nothing;
use crate::typed_through::{Asked, Suggested};
use crate::worker::Lane;

/// How often the model may fill a broken part of its fill anew.
const MOST_REPAIRS: usize = 2;

/// Time from the request within which repairs must end: a suggestion that comes later is not looked at.
const REPAIR_WITHIN: Duration = Duration::from_millis(600);

/// How many suggestions somebody who asks may choose from.
const MOST_ITEMS: usize = 4;

/// Answers with what is worth showing: one item at most for typing, several for somebody who asked.
///
/// A completion that nobody asked for is as long as its place wants: the line, or the block.
pub(crate) async fn handle(
    session: &Session,
    params: InlineCompletionParams,
) -> Result<Option<InlineCompletionResponse>, RequestError> {
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
    let asked = match trigger {
        InlineCompletionTriggerKind::Automatic => Asked::Automatic,
        InlineCompletionTriggerKind::Invoked | InlineCompletionTriggerKind::Custom(_) => {
            Asked::Invoked
        }
    };
    let edits = complete(session, &snapshot, &selected, asked).await?;
    let items = edits.iter().map(|edit| {
        let (text, span) = selected.in_document(edit);
        let start = offset_to_position(&document.text, span.start, encoding);
        let end = offset_to_position(&document.text, span.end, encoding);
        InlineCompletionItem {
            insert_text: InsertText::String(text),
            filter_text: None,
            range: Some(Range::new(start, end)),
            command: Some(acceptance(document.version)),
        }
    });
    Ok(Some(InlineCompletionResponse::InlineCompletionItemList(items.collect())))
}

/// Tells the server that an item made for a version of the document was taken.
fn acceptance(version: i32) -> Command {
    Command {
        title: "Accepted".to_owned(),
        tooltip: None,
        command: ACCEPTED.to_owned(),
        arguments: Some(vec![json!({ "id": version })]),
    }
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

/// The suggestions behind the selected entry, the best first; edits of the text with that entry in it.
///
/// What is left of an earlier suggestion is found without the model.
pub(crate) async fn complete(
    session: &Session,
    snapshot: &Snapshot,
    selected: &Selected,
    asked: Asked,
) -> Result<Vec<Edit>, RequestError> {
    let started = Instant::now();
    let document = &snapshot.document;
    let (uri, key) = (&document.uri, document.uri.0.as_str());
    let place = selected.place(document);
    let settings = &snapshot.settings;
    let asked_after = (asked, settings.debounce());
    let arrival = session.completions.arrive(uri, &place, asked_after, started);
    let (delay, last_tree) = match arrival {
        Arrival::Remembered(edits) => {
            session.worker.supersede(key, Lane::Completion);
            if !edits.is_empty() {
                session.notes.still_shown();
            }
            return Ok(edits);
        }
        Arrival::Ask(delay, last_tree) => (delay, last_tree),
    };
    let wanted = session.wanted_beside_cursor(snapshot, selected.range.start);
    let related = Arc::clone(&session.related);
    let (prepared, preparation) = oneshot::channel();
    let make = {
        let (document, selected) = (document.clone(), selected.clone());
        let settings = Arc::clone(settings);
        move || {
            let started = Instant::now();
            let related = wanted.map(|wanted| related.choose(&wanted)).unwrap_or_default();
            let context = CursorContext::behind(&document, &selected, &mut last_tree.lock());
            let context = context.beside(related);
            let (shape, n_items) = match asked {
                Asked::Automatic => (settings.shape(context.site.shape()), 1),
                Asked::Invoked => (Shape::Free, MOST_ITEMS),
            };
            let mut request = settings.suggestion(context.request(shape, n_items));
            if asked == Asked::Automatic {
                // What would not be shown is not decoded to its end.
                request.limits.least_confidence = settings.completion.show_threshold;
                request.limits.deadline = settings.deadline().map(|longest| started + longest);
            }
            // Nobody listens any more if the request was cancelled.
            drop(prepared.send((context, shape, started.elapsed())));
            request
        }
    };
    let pending = session.worker.submit_later(key, Lane::Completion, Box::new(make), delay);

    let mut infill = pending.outcome().await?;
    if asked == Asked::Automatic {
        infill.holes.iter_mut().for_each(|fill| keep_what_is_sure(fill, settings));
    }
    let (context, shape, prepare) = preparation.await.map_err(|_| RequestError::ShuttingDown)?;

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
    let finishing = Instant::now();
    let unsure = unsure(&infill, asked, settings);
    let job = Job { session, key, shape, settings, deadline: started + REPAIR_WITHIN };
    let fills = std::iter::once(infill.holes).chain(infill.alternatives);
    let fills: Vec<HoleFill> = fills.filter_map(|holes| holes.into_iter().next()).collect();
    let outcome = match unsure {
        Some(reason) => Err(reason),
        None => job.finish_all(context, fills).await?.map_err(Nothing::Dropped),
    };
    let edits = match outcome {
        Ok(edits) => {
            session.notes.shown(started.elapsed());
            edits
        }
        Err(reason) => {
            session.notes.nothing(reason, Some(started.elapsed()));
            Vec::new()
        }
    };
    let spent = Spent {
        debounce: delay,
        whole: started.elapsed().saturating_sub(delay),
        prepare,
        finish: finishing.elapsed(),
    };
    session.completions.spent(asked, spent, &infill.stats);
    session.completions.keep(uri, Suggested { place, asked, edits: edits.clone() });
    Ok(edits)
}

/// Cuts a fill that is too unsure as a whole to its first line, if that is sure enough.
fn keep_what_is_sure(fill: &mut HoleFill, settings: &Settings) {
    let is_sure =
        |fill: &HoleFill| f64::from(fill.confidence) >= settings.completion.show_threshold;
    if !is_sure(fill)
        && let Some(line) = fill.cut_to_first_line().filter(is_sure)
    {
        *fill = line;
    }
}

/// Whether the model is too unsure of a fill that nobody asked for.
fn unsure(infill: &Infill, asked: Asked, settings: &Settings) -> Option<Nothing> {
    let confidence = infill.holes.first()?.confidence;
    let threshold = settings.completion.show_threshold;
    let is_unsure = asked == Asked::Automatic && f64::from(confidence) < threshold;
    is_unsure.then_some(Nothing::Unsure { confidence, threshold })
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
    /// Makes edits of the fills, the most confident first and none like another one; else tells what became of the first.
    async fn finish_all(
        &self,
        mut context: CursorContext,
        fills: Vec<HoleFill>,
    ) -> Result<Result<Vec<Edit>, Drop>, RequestError> {
        let mut found: Vec<(Edit, f32)> = Vec::new();
        let mut dropped = Drop::Empty;
        for (index, fill) in fills.into_iter().enumerate() {
            let confidence = fill.confidence;
            let edit;
            // Only the first is worth the model's time again.
            (context, edit) = match index {
                0 => self.finish(context, fill).await?,
                _ => {
                    let (context, finished) = self.work_on(context, fill).await?;
                    (context, finished.edit)
                }
            };
            match edit {
                Ok(edit) => found.push((edit, confidence)),
                Err(reason) if index == 0 => dropped = reason,
                Err(_) => {}
            }
        }
        found.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let mut edits: Vec<Edit> = Vec::new();
        for (edit, _) in found {
            if !edits.contains(&edit) {
                edits.push(edit);
            }
        }
        Ok(if edits.is_empty() { Err(dropped) } else { Ok(edits) })
    }

    /// Makes an edit of the fill; has the model repair what is broken in it, as long as that can still help.
    async fn finish(
        &self,
        context: CursorContext,
        fill: HoleFill,
    ) -> Result<(CursorContext, Result<Edit, Drop>), RequestError> {
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
            let is_cut =
                matches!(fill.finish, Finish::TokenLimit | Finish::Deadline | Finish::Unsure);
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
