//! Carries an action out as far as replacements in the document; whoever asked applies them.

use std::ops::Range as Span;

use diffcoder_engine::infiller::{FillMode, HoleFill, InfillError, InfillRequest};
use tower_lsp::gen_lsp_types::WorkspaceEdit;

use super::{Action, Order};
use crate::edits;
use crate::error::RequestError;
use crate::filling::{Filling, off_thread, pieces_of, spans_of};
use crate::planning::{self, Plan, doc_place_at};
use crate::position::range_to_offsets;
use crate::state::{Session, Snapshot};
use crate::worker::Lane;

/// Results that are offered where nobody says how many.
const ALTERNATIVES: usize = 4;
/// Most results that may be asked for.
const MOST_ALTERNATIVES: usize = 8;

type Replacements = Vec<(Span<usize>, String)>;

/// What an action came to: replacements in the document as it was when the action began.
#[derive(Debug)]
pub(crate) struct Results {
    snapshot: Snapshot,
    /// The best one first; none is empty.
    all: Vec<Replacements>,
}

impl Results {
    /// The result at `index` as an edit of the document as it is by now.
    pub(crate) fn edit(
        &self,
        session: &Session,
        index: usize,
    ) -> Result<WorkspaceEdit, RequestError> {
        edits::of_now(session, &self.snapshot, self.all.get(index).map_or(&[], |all| all))
    }

    /// The texts of each result, for people to choose among.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> {
        self.all.iter().map(|all| {
            let texts: Vec<&str> = all.iter().map(|(_, text)| text.as_str()).collect();
            texts.join(" … ")
        })
    }
}

/// Does what is asked for. The document is read before the first `.await`.
pub(crate) async fn perform(
    session: &Session,
    action: Action,
    order: Order,
) -> Result<Results, RequestError> {
    let snapshot = session.snapshot_at(&order.document())?;
    let number = session.begin_order(&snapshot.document.uri);
    if let Some(reason) = action.refusal(session) {
        return Err(InfillError::BadRequest(reason.to_owned()).into());
    }
    if !(order.keep.is_empty() || action.fills_ranges()) {
        let reason =
            format!("keep: {} chooses its holes itself; name ranges to infill", action.command());
        return Err(RequestError::BadParams(reason));
    }
    let offsets = |range| range_to_offsets(&snapshot.document.text, range, snapshot.encoding);
    let (filling, asked) = match action {
        Action::Infill => infill(&snapshot, &order)?,
        Action::Rewrite => {
            let instruction = order.instruction.as_deref().map(str::trim).unwrap_or_default();
            if instruction.is_empty() {
                return Err(bad("instruction is missing: say what to do with the range"));
            }
            let (filling, asked) = infill(&snapshot, &order)?;
            (filling, InfillRequest { instruction: Some(instruction.into()), ..asked })
        }
        Action::Alternatives => {
            let alternatives = order.alternatives.unwrap_or(ALTERNATIVES);
            if !(1..=MOST_ALTERNATIVES).contains(&alternatives) {
                let reason =
                    format!("alternatives is {alternatives}: choose 1 to {MOST_ALTERNATIVES}");
                return Err(RequestError::BadParams(reason));
            }
            let (filling, asked) = infill(&snapshot, &order)?;
            (filling, InfillRequest { alternatives, ..asked })
        }
        Action::FillAll => {
            let within = order.all_ranges().into_iter().map(offsets).reduce(hull);
            let plan = Plan::FillAll { within };
            let filling = planned(session, &snapshot, plan, "nothing here is left open").await?;
            let asked = request(&filling, &snapshot, &order);
            (filling, asked)
        }
        Action::Repair => {
            let diagnostics = order.diagnostics.iter().flatten();
            let plan = Plan::Repair {
                span: order.all_ranges().into_iter().map(offsets).reduce(hull),
                diagnostics: diagnostics.map(|found| offsets(found.range)).collect(),
            };
            let why = "the model finds nothing unlikely here";
            let filling = planned(session, &snapshot, plan, why).await?;
            let asked = request(&filling, &snapshot, &order);
            let asked = InfillRequest { avoid_draft: true, ..asked };
            (filling, asked)
        }
        Action::DocComment => {
            let range = order.all_ranges().into_iter().next();
            let range = range.ok_or_else(|| bad("range is missing: name a place in the item"))?;
            let (document, at) = (snapshot.document.clone(), offsets(range).start);
            let place = off_thread(move || doc_place_at(&document, at)).await?;
            let place = place.ok_or_else(|| {
                RequestError::NothingToDo("no item here lacks a doc comment".to_owned())
            })?;
            let filling = Filling::documenting(&snapshot.document, place);
            let asked = request(&filling, &snapshot, &order);
            (filling, asked)
        }
    };
    // Stubs and places to repair are not to be emptied; a selection may be.
    let keeps_empty = matches!(action, Action::FillAll | Action::Repair | Action::DocComment);
    session.check_newest(&snapshot.document.uri, number)?;
    let key = snapshot.document.uri.0.clone();
    let asked = filling.beside_others(asked, session, &snapshot);
    let pending = session.worker.submit(&key, Lane::Command, asked, None);
    let infill = pending.outcome().await?;
    let spans = filling.spans.clone();
    let drafts: Vec<String> = spans.iter().map(|span| filling.draft(span).to_owned()).collect();
    let infill = filling.finish(infill).await?;
    let replacements = |fills: Vec<HoleFill>| -> Replacements {
        let filled = spans.iter().zip(&drafts).zip(fills);
        filled
            .filter(|((_, draft), fill)| {
                fill.text != **draft && !(keeps_empty && fill.text.trim().is_empty())
            })
            .map(|((span, _), fill)| (span.clone(), fill.text))
            .collect()
    };
    let results = std::iter::once(infill.holes).chain(infill.alternatives).map(replacements);
    let mut all: Vec<Replacements> = Vec::new();
    for result in results.filter(|result| !result.is_empty()) {
        if !all.contains(&result) {
            all.push(result);
        }
    }
    if all.is_empty() {
        return Err(RequestError::NothingToDo(
            "the model has nothing else to put there".to_owned(),
        ));
    }
    Ok(Results { snapshot, all })
}

/// The ranges of an order as holes.
fn infill(snapshot: &Snapshot, order: &Order) -> Result<(Filling, InfillRequest), RequestError> {
    let (spans, _) = spans_of(&order.all_ranges(), snapshot)?;
    let spans = match &order.keep[..] {
        [] => spans,
        keep => pieces_of(&spans, keep, snapshot)?.into_iter().map(|(span, _)| span).collect(),
    };
    let filling = Filling::of(&snapshot.document, spans);
    let asked = request(&filling, snapshot, order);
    Ok((filling, asked))
}

/// What the model is asked to fill, as the settings and the order have it.
fn request(filling: &Filling, snapshot: &Snapshot, order: &Order) -> InfillRequest {
    let mut asked = snapshot.settings.order(filling.request());
    asked.mode = order.mode.map_or(asked.mode, FillMode::from);
    asked.limits.max_tokens = order.max_tokens.unwrap_or(asked.limits.max_tokens);
    asked
}

/// The holes of a plan; an error that says `why_none` if it has none.
async fn planned(
    session: &Session,
    snapshot: &Snapshot,
    plan: Plan,
    why_none: &str,
) -> Result<Filling, RequestError> {
    let holes = planning::holes(session, snapshot, plan).await?;
    if holes.is_empty() {
        return Err(RequestError::NothingToDo(why_none.to_owned()));
    }
    let spans = holes.into_iter().map(|hole| hole.span).collect();
    Ok(Filling::of(&snapshot.document, spans))
}

fn hull(one: Span<usize>, other: Span<usize>) -> Span<usize> {
    one.start.min(other.start)..one.end.max(other.end)
}

fn bad(reason: &str) -> RequestError {
    RequestError::BadParams(reason.to_owned())
}
