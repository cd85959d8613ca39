//! `initialize`: agrees with the client on positions, hears its settings, and says what the server can do.

use std::path::PathBuf;

use diffcoder_engine::infiller::Task;
use serde::Deserialize;
use serde_json::Value;
use tower_lsp::gen_lsp_types::{InitializeParams, InitializeResult, ServerInfo, WorkspaceFolders};

use crate::capabilities::{
    ClientFeatures, configuration_abilities, negotiate_encoding, server_capabilities,
};
use crate::error::RequestError;
use crate::related::path_of;
use crate::state::Session;

/// What `initializationOptions` may say; docs/configuration.md.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Options {
    settings: Value,
    trusted: Option<bool>,
}

pub(crate) async fn handle(
    session: &Session,
    params: InitializeParams,
) -> Result<InitializeResult, RequestError> {
    let encoding = negotiate_encoding(&params.capabilities);
    let features = ClientFeatures::of(&params.capabilities);
    session.set_client(encoding, features);
    if let Some(trace) = &params.trace {
        session.trace.set(trace);
    }
    session.set_configuration_abilities(configuration_abilities(&params.capabilities));
    session.related.set_roots(roots(&params));
    let folders = params.workspace_folders_initialize_params.workspace_folders;
    if let Some(WorkspaceFolders::WorkspaceFolderList(folders)) = folders {
        session.change_folders(folders.into_iter().map(|folder| folder.uri).collect(), &[]);
    }
    if let Some(options) = params.initialization_options.filter(|options| !options.is_null()) {
        let options = Options::deserialize(options).map_err(|error| {
            RequestError::BadParams(format!("initializationOptions cannot be read: {error}"))
        })?;
        if options.trusted == Some(false) {
            session.distrust();
        }
        session.reconfigure(|config| config.set_initial(&options.settings));
    }
    let rewrite = session.worker.refusal(Task::Rewrite);
    let server_info = ServerInfo::new(
        env!("CARGO_PKG_NAME").to_owned(),
        Some(env!("CARGO_PKG_VERSION").to_owned()),
    );
    Ok(InitializeResult::new(
        server_capabilities(encoding, features, rewrite.as_deref()),
        Some(server_info),
    ))
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
