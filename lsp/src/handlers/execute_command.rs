//! `workspace/executeCommand`: the server's commands, for editors that bind keys and menus to them.

use tower_lsp::gen_lsp_types::{ExecuteCommandParams, LspAny};

use crate::error::RequestError;
use crate::handlers::status;
use crate::state::Session;

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

const PLAIN: [(&str, Plain); 4] = [
    (ACCEPTED, Plain::Accepted),
    ("diffcoder.server.status", Plain::Status),
    ("diffcoder.server.unload", Plain::Unload),
    ("diffcoder.server.reload", Plain::Reload),
];

/// Every command, for the capabilities.
pub(crate) fn names() -> Vec<String> {
    PLAIN.iter().map(|(name, _)| (*name).to_owned()).collect()
}

pub(crate) async fn handle(
    session: &Session,
    params: ExecuteCommandParams,
) -> Result<LspAny, RequestError> {
    match PLAIN.iter().find(|(name, _)| *name == params.command) {
        Some((_, command)) => plain(session, *command).await,
        None => {
            let known = names().join(", ");
            Err(RequestError::BadParams(format!(
                "there is no command {}; there are {known}",
                params.command
            )))
        }
    }
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
