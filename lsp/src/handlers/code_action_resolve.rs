//! `codeAction/resolve`: carries out the action that somebody has chosen, as an edit.

use serde::Deserialize;
use tower_lsp::Client;
use tower_lsp::gen_lsp_types::CodeAction;

use crate::actions::{Action, Order, perform};
use crate::error::RequestError;
use crate::progress;
use crate::state::Session;

/// What `textDocument/codeAction` gave the client to keep.
#[derive(Debug, Deserialize)]
struct Kept {
    action: Action,
    order: Order,
}

pub(crate) async fn handle(
    session: &Session,
    client: &Client,
    mut chosen: CodeAction,
) -> Result<CodeAction, RequestError> {
    let Some(data) = chosen.data.clone() else { return Ok(chosen) };
    let Kept { action, order } = Kept::deserialize(data).map_err(|error| {
        RequestError::BadParams(format!("data is not what the server gave: {error}"))
    })?;
    let work = perform(session, action, order);
    let results = progress::shown(session, client, (action.title(), None), work).await?;
    chosen.edit = Some(results.edit(session, 0)?);
    Ok(chosen)
}
