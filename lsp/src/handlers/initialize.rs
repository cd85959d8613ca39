//! `initialize`: agrees with the client on positions and says what the server can do.

use tower_lsp::gen_lsp_types::{InitializeParams, InitializeResult, ServerInfo};

use crate::capabilities::{negotiate_encoding, server_capabilities};
use crate::error::RequestError;
use crate::state::Session;

pub(crate) async fn handle(
    session: &Session,
    params: InitializeParams,
) -> Result<InitializeResult, RequestError> {
    let encoding = negotiate_encoding(&params.capabilities);
    session.set_encoding(encoding);
    let server_info = ServerInfo::new(
        env!("CARGO_PKG_NAME").to_owned(),
        Some(env!("CARGO_PKG_VERSION").to_owned()),
    );
    Ok(InitializeResult::new(server_capabilities(encoding), Some(server_info)))
}
