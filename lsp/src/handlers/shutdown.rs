//! `shutdown`: stops all work; only `exit` may follow.

use crate::error::RequestError;
use crate::state::Session;

pub(crate) async fn handle(session: &Session) -> Result<(), RequestError> {
    session.shut_down();
    Ok(())
}
