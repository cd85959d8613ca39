//! `textDocument/codeAction`: what can be asked for at a place. Nothing is computed but where it applies.

use std::ops::Range as Span;

use tower_lsp::gen_lsp_types::{
    CodeAction, CodeActionDisabled, CodeActionParams, CodeActionResponse, Command,
};

use crate::actions::{Action, Order};
use crate::document::Document;
use crate::error::RequestError;
use crate::filling::off_thread;
use crate::planning::{doc_place_at, stubs_of};
use crate::position::range_to_offsets;
use crate::state::Session;

/// In larger documents the actions that need a parse are offered unseen: editors ask with every move of the cursor.
const MOST_PARSED_BYTES: usize = 512 << 10;

pub(crate) async fn handle(
    session: &Session,
    params: CodeActionParams,
) -> Result<Option<Vec<CodeActionResponse>>, RequestError> {
    let snapshot = session.snapshot(&params.text_document.uri)?;
    let document = snapshot.document.clone();
    let span = range_to_offsets(&document.text, params.range, snapshot.encoding);
    let order = Order::on(document.uri.clone(), document.version, params.range);
    let diagnostics = params.context.diagnostics;
    let mut offered: Vec<(Action, Order)> = Vec::new();
    if !span.is_empty() {
        offered.push((Action::Infill, order.clone()));
        offered.push((Action::Rewrite, order.clone()));
        offered.push((Action::Alternatives, order.clone()));
    }
    if !diagnostics.is_empty() {
        // On a diagnostic the selection is of no interest: it is what the editor calls the diagnostic's range.
        offered.push((Action::Repair, order.clone().everywhere().about(diagnostics.clone())));
    } else if !span.is_empty() {
        offered.push((Action::Repair, order.clone()));
    }
    let is_wanted = |action: Action| {
        let only = params.context.only.as_ref();
        only.is_none_or(|only| only.iter().any(|kind| action.is_kind(kind)))
    };
    if is_wanted(Action::FillAll) || is_wanted(Action::DocComment) {
        let marker = snapshot.settings.holes.marker.clone();
        let (stubs, item) = off_thread(move || found(&document, &span, &marker)).await?;
        let order = match stubs {
            Stubs::InRange => Some(order.clone()),
            Stubs::InDocument => Some(order.clone().everywhere()),
            Stubs::None => None,
        };
        offered.extend(order.map(|order| (Action::FillAll, order)));
        let order =
            Order::on(snapshot.document.uri.clone(), snapshot.document.version, params.range);
        offered.extend(item.then_some((Action::DocComment, order)));
    }
    let offered = offered.into_iter().filter(|(action, _)| is_wanted(*action));
    Ok(Some(offered.filter_map(|(action, order)| response(session, action, order)).collect()))
}

/// Where there are stubs.
enum Stubs {
    InRange,
    /// Nothing is selected.
    InDocument,
    None,
}

/// Whether there are stubs, and an item that can get a doc comment.
fn found(document: &Document, span: &Span<usize>, marker: &str) -> (Stubs, bool) {
    if document.text.len_bytes() > MOST_PARSED_BYTES {
        return (if span.is_empty() { Stubs::InDocument } else { Stubs::InRange }, true);
    }
    let within = (!span.is_empty()).then(|| span.clone());
    let stubs = match (stubs_of(document, within.clone(), marker).is_empty(), within) {
        (true, _) => Stubs::None,
        (false, Some(_)) => Stubs::InRange,
        (false, None) => Stubs::InDocument,
    };
    (stubs, doc_place_at(document, span.start).is_some())
}

/// The client's own command that asks for the instruction of a rewrite, and carries it out.
const ASK_REWRITE: &str = "diffcoder.askRewrite";

/// The action as the client can take it: to be resolved, else as its command. One that the model cannot do is shown as
/// such, where the client shows such.
fn response(session: &Session, action: Action, order: Order) -> Option<CodeActionResponse> {
    let features = session.features();
    let title = action.title().to_owned();
    let is_asked = action == Action::Rewrite;
    let refusal = action.refusal(session).or_else(|| {
        let cannot = is_asked && !features.asks_instruction;
        let command = action.command();
        cannot
            .then(|| format!("this editor cannot ask for the instruction: call {command} with it"))
    });
    let can = refusal.is_none();
    let argument = serde_json::to_value(&order).ok()?;
    let command = Command {
        title: title.clone(),
        command: if is_asked { ASK_REWRITE } else { action.command() }.to_owned(),
        arguments: Some(vec![argument]),
        tooltip: None,
    };
    if !features.action_literals {
        return can.then_some(CodeActionResponse::Command(command));
    }
    if !can && !features.disabled_actions {
        return None;
    }
    // Only a person can choose among several results, or say what is to be done.
    let is_resolved =
        features.resolved_edits && !matches!(action, Action::Alternatives | Action::Rewrite);
    let data = serde_json::json!({ "action": action, "order": order });
    Some(CodeActionResponse::CodeAction(CodeAction {
        title,
        kind: Some(action.kind()),
        diagnostics: order.diagnostics().cloned(),
        disabled: refusal.map(|reason| CodeActionDisabled { reason }),
        data: (is_resolved && can).then_some(data),
        command: (!is_resolved && can).then_some(command),
        ..CodeAction::default()
    }))
}
