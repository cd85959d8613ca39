//! `initialize`: agrees with the client on positions and says what the server can do.

use std::path::PathBuf;

use tower_lsp::gen_lsp_types::{InitializeParams, InitializeResult, ServerInfo, WorkspaceFolders};

use crate::capabilities::{negotiate_encoding, server_capabilities};
use crate::error::RequestError;
use crate::related::path_of;
use crate::state::Session;

pub(crate) async fn handle(
    session: &Session,
    params: InitializeParams,
) -> Result<InitializeResult, RequestError> {
    let encoding = negotiate_encoding(&params.capabilities);
    session.set_encoding(encoding);
    session.related.set_roots(roots(&params));
    let server_info = ServerInfo::new(
        env!("CARGO_PKG_NAME").to_owned(),
        Some(env!("CARGO_PKG_VERSION").to_owned()),
    );
    Ok(InitializeResult::new(server_capabilities(encoding), Some(server_info)))
}

/// The folders that the client has open.
fn roots(params: &InitializeParams) -> Vec<PathBuf> {
    let folders = match &params.workspace_folders_initialize_params.workspace_folders {
        Some(WorkspaceFolders::WorkspaceFolderList(folders)) => folders.as_slice(),
        Some(WorkspaceFolders::Null) | None => &[],
    };
    let paths: Vec<PathBuf> = folders.iter().filter_map(|folder| path_of(&folder.uri.0)).collect();
    if !paths.is_empty() {
        return paths;
    }
    #[expect(deprecated, reason = "clients without folders still name their root so")]
    let root = params.root_uri.as_ref();
    root.and_then(|root| path_of(&root.0)).into_iter().collect()
}
