//! `workspace/executeCommand`: the server's commands, for editors that bind keys and menus to them; edits go through
//! `workspace/applyEdit`.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use tower_lsp::Client;
use tower_lsp::gen_lsp_types::{
    ApplyWorkspaceEditParams, ApplyWorkspaceEditRequest, ExecuteCommandParams, LspAny,
    MessageActionItem, MessageType, WorkspaceEdit,
};

use crate::actions::{Action, Order, Results, perform};
use crate::error::RequestError;
use crate::handlers::{holes, score, status};
use crate::progress;
use crate::state::Session;

/// Longest text of a result that is shown for choosing.
const MOST_SHOWN_CHARS: usize = 60;

/// What an item's `command` says when the user has taken it.
pub(crate) const ACCEPTED: &str = "diffcoder.server.accepted";

/// The commands that need no document.
#[derive(Clone, Copy)]
enum Plain {
    Accepted,
    Status,
    Unload,
    Reload,
}

/// The commands that are requests: the same parameters, the same answer.
#[derive(Clone, Copy)]
enum Asking {
    Holes,
    Score,
}

const ASKING: [(&str, Asking); 2] =
    [("diffcoder.server.holes", Asking::Holes), ("diffcoder.server.score", Asking::Score)];

const PLAIN: [(&str, Plain); 4] = [
    (ACCEPTED, Plain::Accepted),
    ("diffcoder.server.status", Plain::Status),
    ("diffcoder.server.unload", Plain::Unload),
    ("diffcoder.server.reload", Plain::Reload),
];

/// Every command of the server.
pub(crate) fn names() -> Vec<String> {
    let plain = PLAIN.iter().map(|(name, _)| *name);
    let asking = ASKING.iter().map(|(name, _)| *name);
    plain.chain(Action::ALL.map(Action::command)).chain(asking).map(str::to_owned).collect()
}

pub(crate) async fn handle(
    session: &Session,
    client: &Client,
    params: ExecuteCommandParams,
) -> Result<Option<LspAny>, RequestError> {
    if let Some((_, command)) = PLAIN.iter().find(|(name, _)| *name == params.command) {
        return plain(session, *command).await.map(Some);
    }
    if let Some((_, request)) = ASKING.iter().find(|(name, _)| *name == params.command) {
        return answer(session, *request, params).await.map(Some);
    }
    let Some(action) = Action::of_command(&params.command) else {
        let names = names().join(", ");
        return Err(bad(format!("there is no command {}: there are {names}", params.command)));
    };
    run(session, client, (action, params)).await
}

async fn plain(session: &Session, command: Plain) -> Result<LspAny, RequestError> {
    let status = match command {
        Plain::Accepted => {
            session.notes.accepted();
            return Ok(LspAny::Null);
        }
        Plain::Status => status::handle(session).await,
        Plain::Unload => status::unload(session).await,
        Plain::Reload => status::reload(session).await,
    };
    Ok(serde_json::to_value(status?).unwrap_or_default())
}

async fn answer(
    session: &Session,
    request: Asking,
    params: ExecuteCommandParams,
) -> Result<LspAny, RequestError> {
    let answer = match request {
        Asking::Holes => {
            let asked = argument(params, "the parameters of diffcoder/holes")?;
            serde_json::to_value(holes::handle(session, asked).await?)
        }
        Asking::Score => {
            let asked = argument(params, "the parameters of diffcoder/score")?;
            serde_json::to_value(score::handle(session, asked).await?)
        }
    };
    Ok(answer.unwrap_or_default())
}

/// The one argument of a command.
fn argument<T: DeserializeOwned>(
    params: ExecuteCommandParams,
    what: &str,
) -> Result<T, RequestError> {
    let argument = params.arguments.into_iter().flatten().next();
    let argument =
        argument.ok_or_else(|| bad(format!("{} needs one argument: {what}", params.command)))?;
    T::deserialize(argument)
        .map_err(|error| bad(format!("the argument of {}: {error}", params.command)))
}

/// Carries out an action and has the client apply it.
async fn run(
    session: &Session,
    client: &Client,
    (action, params): (Action, ExecuteCommandParams),
) -> Result<Option<LspAny>, RequestError> {
    let token = params.work_done_progress_params.work_done_token.clone();
    let order: Order = argument(params, "an object with uri and range")?;
    let work = perform(session, action, order);
    let results = progress::shown(session, client, (action.title(), token), work).await?;
    let chosen = match action {
        Action::Alternatives => session.answer_to(choose(client, &results)).await?,
        _ => Some(0),
    };
    if let Some(index) = chosen {
        let edit = results.edit(session, index)?;
        session.answer_to(apply(client, action, edit)).await?;
    }
    Ok(None)
}

/// Has a person choose among the results; `None` if they want none of them.
async fn choose(client: &Client, results: &Results) -> Result<Option<usize>, RequestError> {
    let title = |(index, text): (usize, String)| {
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let shown: String = line.chars().take(MOST_SHOWN_CHARS).collect();
        let more = if shown.len() < line.len() { "…" } else { "" };
        format!("{}: {shown}{more}", index + 1)
    };
    let titles: Vec<String> = results.texts().enumerate().map(title).collect();
    let items = titles
        .iter()
        .map(|title| MessageActionItem { title: title.clone(), properties: HashMap::new() })
        .collect();
    let answer = client
        .show_message_request(MessageType::Info, "Which one shall it be?", Some(items))
        .await
        .map_err(|error| RequestError::Client(error.to_string()))?;
    Ok(answer.and_then(|item| titles.iter().position(|title| *title == item.title)))
}

async fn apply(client: &Client, action: Action, edit: WorkspaceEdit) -> Result<(), RequestError> {
    let label = Some(action.title().to_owned());
    let params = ApplyWorkspaceEditParams { label, edit, metadata: None };
    let answer = client.send_request::<ApplyWorkspaceEditRequest>(params).await;
    let answer = answer.map_err(|error| RequestError::Client(error.to_string()))?;
    if answer.applied {
        return Ok(());
    }
    let reason = answer.failure_reason.unwrap_or_else(|| "it gave no reason".to_owned());
    Err(RequestError::Client(format!("the edit was not applied: {reason}")))
}

fn bad(reason: String) -> RequestError {
    RequestError::BadParams(reason)
}
