//! `diffcoder/status`, `diffcoder/unload`, `diffcoder/reload`: the state of the model, and how to change it.

use crate::error::RequestError;
use crate::state::Session;
use crate::status::{self, StatusResult};

pub(crate) async fn handle(session: &Session) -> Result<StatusResult, RequestError> {
    Ok(status::of(session))
}

/// Frees the model's memory; the next request loads it again.
pub(crate) async fn unload(session: &Session) -> Result<StatusResult, RequestError> {
    session.worker.unload().await;
    Ok(status::of(session))
}

/// Loads the model afresh; not for a workspace that is not trusted, where nothing will be asked of it.
pub(crate) async fn reload(session: &Session) -> Result<StatusResult, RequestError> {
    if session.is_distrusted() {
        return Err(RequestError::Untrusted);
    }
    session.reconfigure(|config| _ = config.refresh());
    session.worker.reload().await;
    Ok(status::of(session))
}
