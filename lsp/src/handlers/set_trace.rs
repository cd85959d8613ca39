//! `$/setTrace`: how much of the log the client wants to hear.

use tower_lsp::gen_lsp_types::SetTraceParams;

use crate::state::Session;

pub(crate) fn handle(session: &Session, params: SetTraceParams) {
    session.trace.set(&params.value);
}
