//! `initialize`: agrees with the client on positions and says what the server can do.

use diffcoder_engine::infiller::Task;
use tower_lsp::gen_lsp_types::{InitializeParams, InitializeResult, ServerInfo};

use crate::capabilities::{ClientFeatures, negotiate_encoding, server_capabilities};
use crate::error::RequestError;
use crate::state::Session;

pub(crate) async fn handle(
    session: &Session,
    params: InitializeParams,
) -> Result<InitializeResult, RequestError> {
    let encoding = negotiate_encoding(&params.capabilities);
    let features = ClientFeatures::of(&params.capabilities);
    session.set_client(encoding, features);
    let rewrite = session.worker.refusal(Task::Rewrite);
    let server_info = ServerInfo::new(
        env!("CARGO_PKG_NAME").to_owned(),
        Some(env!("CARGO_PKG_VERSION").to_owned()),
    );
    Ok(InitializeResult::new(server_capabilities(encoding, features, rewrite), Some(server_info)))
}
