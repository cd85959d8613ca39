//! `workspace/didChangeConfiguration`, `workspace/didChangeWorkspaceFolders`, and the question `workspace/configuration`.

use tower_lsp::Client;
use tower_lsp::gen_lsp_types::{
    ConfigurationItem, DidChangeConfigurationParams, DidChangeWorkspaceFoldersParams,
    WorkspaceFolder,
};

use crate::related::path_of;
use crate::state::Session;

/// What the settings are called in the editor.
const SECTION: &str = "diffcoder";

/// A client that can be asked is asked: what it sends along may be nothing, or leave out the folders.
pub(crate) async fn did_change(
    session: &Session,
    client: &Client,
    params: DidChangeConfigurationParams,
) {
    if !pull(session, client).await {
        session.reconfigure(|config| config.set_editor(&params.settings));
    }
}

pub(crate) async fn did_change_folders(
    session: &Session,
    client: &Client,
    params: DidChangeWorkspaceFoldersParams,
) {
    let uris = |folders: Vec<WorkspaceFolder>| folders.into_iter().map(|folder| folder.uri);
    let removed: Vec<_> = uris(params.event.removed).collect();
    let folders = session.change_folders(uris(params.event.added).collect(), &removed);
    session.related.set_roots(folders.iter().filter_map(|folder| path_of(&folder.0)).collect());
    pull(session, client).await;
}

/// Asks the client for its settings; `false` if it does not answer such questions.
pub(crate) async fn pull(session: &Session, client: &Client) -> bool {
    let Some((question, folders)) = session.ask_for_settings() else { return false };
    let item = |scope_uri| ConfigurationItem { scope_uri, section: Some(SECTION.to_owned()) };
    let mut items = vec![item(None)];
    items.extend(folders.iter().cloned().map(|folder| item(Some(folder))));
    match session.answer_to(client.configuration(items)).await {
        Ok(answer) => session.take_settings(question, &folders, &answer),
        Err(error) => tracing::warn!("the editor does not tell its settings: {error}"),
    }
    true
}
