//! `initialize`: agrees with the client on positions, hears its settings, and says what the server can do.

use diffcoder_engine::infiller::Task;
use serde::Deserialize;
use serde_json::Value;
use tower_lsp::gen_lsp_types::{InitializeParams, InitializeResult, ServerInfo, WorkspaceFolders};

use crate::capabilities::{
    ClientFeatures, configuration_abilities, negotiate_encoding, server_capabilities,
};
use crate::error::RequestError;
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
    session.set_configuration_abilities(configuration_abilities(&params.capabilities));
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
    session.worker.loaded().await;
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
