//! What this server tells a client that it can do.

use serde_json::json;
use tower_lsp::gen_lsp_types::{
    ClientCapabilities, ExecuteCommandOptions, InlineCompletionProvider, ServerCapabilities,
    TextDocumentSync, TextDocumentSyncKind, TextDocumentSyncOptions,
    WorkspaceFoldersServerCapabilities, WorkspaceOptions,
};

use crate::handlers::execute_command;
use crate::position::PositionEncoding;

/// The position encoding to use with a client.
pub(crate) fn negotiate_encoding(client: &ClientCapabilities) -> PositionEncoding {
    let offered = client.general.as_ref().and_then(|general| general.position_encodings.as_deref());
    PositionEncoding::negotiate(offered.unwrap_or_default())
}

/// How a client tells its settings.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ConfigurationAbilities {
    /// It answers `workspace/configuration`.
    pub(crate) answers: bool,
    /// It takes a registration for `workspace/didChangeConfiguration`.
    pub(crate) registers: bool,
}

/// What a client says of its settings.
pub(crate) fn configuration_abilities(client: &ClientCapabilities) -> ConfigurationAbilities {
    let workspace = client.workspace.as_ref();
    ConfigurationAbilities {
        answers: workspace.and_then(|workspace| workspace.configuration) == Some(true),
        registers: workspace
            .and_then(|workspace| workspace.did_change_configuration.as_ref())
            .and_then(|changes| changes.dynamic_registration)
            == Some(true),
    }
}

/// The server's capabilities under that encoding.
pub(crate) fn server_capabilities(encoding: PositionEncoding) -> ServerCapabilities {
    ServerCapabilities {
        position_encoding: Some(encoding.kind()),
        text_document_sync: Some(TextDocumentSync::Options(TextDocumentSyncOptions {
            open_close: Some(true),
            change: Some(TextDocumentSyncKind::Incremental),
            ..TextDocumentSyncOptions::default()
        })),
        workspace: Some(WorkspaceOptions {
            workspace_folders: Some(WorkspaceFoldersServerCapabilities {
                supported: Some(true),
                change_notifications: Some(true.into()),
            }),
            ..WorkspaceOptions::default()
        }),
        execute_command_provider: Some(ExecuteCommandOptions {
            commands: execute_command::names(),
            ..ExecuteCommandOptions::default()
        }),
        inline_completion_provider: Some(InlineCompletionProvider::Bool(true)),
        experimental: Some(
            json!({ "diffcoder": { "infill": true, "score": true, "status": true } }),
        ),
        ..ServerCapabilities::default()
    }
}
