//! `window/workDoneProgress/cancel`: stops what the client shows the progress of.

use tower_lsp::gen_lsp_types::WorkDoneProgressCancelParams;

use crate::state::Session;

pub(crate) fn handle(session: &Session, params: WorkDoneProgressCancelParams) {
    session.cancel_progress(&params.token);
}
