//! What this server tells a client that it can do.

use serde_json::json;
use tower_lsp::gen_lsp_types::{
    ClientCapabilities, CodeActionOptions, CodeActionProvider, CompletionOptions,
    ExecuteCommandOptions, InlineCompletionProvider, Save, ServerCapabilities, TextDocumentSync,
    TextDocumentSyncKind, TextDocumentSyncOptions, WorkDoneProgressOptions,
    WorkspaceFoldersServerCapabilities, WorkspaceOptions,
};

use crate::actions::Action;
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

/// What the server has to know of what its client can take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClientFeatures {
    /// Asks for inline completions.
    pub(crate) inline_completion: bool,
    /// Takes code actions that are more than commands.
    pub(crate) action_literals: bool,
    /// Shows code actions that cannot be chosen, and why.
    pub(crate) disabled_actions: bool,
    /// Asks for the edit of a code action when it is chosen.
    pub(crate) resolved_edits: bool,
    /// Shows progress that the server begins.
    pub(crate) work_done_progress: bool,
    /// Asks for the instruction of a rewrite when that is chosen: `experimental.diffcoder.asksInstruction`.
    pub(crate) asks_instruction: bool,
}

impl ClientFeatures {
    pub(crate) fn of(client: &ClientCapabilities) -> Self {
        let text_document = client.text_document.as_ref();
        let actions = text_document.and_then(|features| features.code_action.as_ref());
        let resolved = actions.and_then(|actions| actions.resolve_support.as_ref());
        let window = client.window.as_ref();
        Self {
            inline_completion: text_document
                .is_some_and(|features| features.inline_completion.is_some()),
            action_literals: actions
                .is_some_and(|actions| actions.code_action_literal_support.is_some()),
            disabled_actions: actions.is_some_and(|actions| actions.disabled_support == Some(true)),
            resolved_edits: resolved.is_some_and(|resolved| {
                resolved.properties.iter().any(|property| property == "edit")
            }) && actions.is_some_and(|actions| actions.data_support == Some(true)),
            work_done_progress: window
                .is_some_and(|window| window.work_done_progress == Some(true)),
            asks_instruction: client
                .experimental
                .as_ref()
                .is_some_and(|extras| extras["diffcoder"]["asksInstruction"] == true),
        }
    }
}

/// The server's capabilities under that encoding, for a client with these features; `rewrite` says why the model follows
/// no instructions, if so.
pub(crate) fn server_capabilities(
    encoding: PositionEncoding,
    features: ClientFeatures,
    rewrite: Option<&str>,
) -> ServerCapabilities {
    let rewrite = rewrite.map_or(json!(true), |reason| json!({ "disabled": reason }));
    // Where there is ghost text, the menu belongs to the language's own server.
    let completion = (!features.inline_completion).then(CompletionOptions::default);
    let actions = CodeActionOptions {
        code_action_kinds: Some(Action::ALL.map(Action::kind).to_vec()),
        resolve_provider: Some(true),
        ..CodeActionOptions::default()
    };
    let progress = WorkDoneProgressOptions { work_done_progress: Some(true) };
    ServerCapabilities {
        position_encoding: Some(encoding.kind()),
        text_document_sync: Some(TextDocumentSync::Options(TextDocumentSyncOptions {
            open_close: Some(true),
            change: Some(TextDocumentSyncKind::Incremental),
            save: Some(Save::Bool(true)),
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
            work_done_progress_options: progress,
        }),
        inline_completion_provider: Some(InlineCompletionProvider::Bool(true)),
        completion_provider: completion,
        code_action_provider: Some(CodeActionProvider::CodeActionOptions(actions)),
        experimental: Some(json!({ "diffcoder": {
            "infill": true,
            "score": true,
            "holes": true,
            "seen": true,
            "status": true,
            "rewrite": rewrite,
        } })),
        ..ServerCapabilities::default()
    }
}
