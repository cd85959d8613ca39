//! `initialized`: from here on the server may ask and tell the client something.

use tower_lsp::Client;
use tower_lsp::gen_lsp_types::Registration;

use super::configuration;
use crate::state::Session;

/// Asks for the settings, and to be told when they change.
pub(crate) async fn handle(session: &Session, client: &Client) {
    if session.wants_configuration_registered() {
        let registration = Registration {
            id: "settings".to_owned(),
            method: "workspace/didChangeConfiguration".to_owned(),
            register_options: Some(serde_json::json!({ "section": "diffcoder" })),
        };
        let answer = session.answer_to(client.register_capability(vec![registration])).await;
        if let Err(error) = answer {
            tracing::warn!("the editor will not tell of changed settings: {error}");
        }
    }
    configuration::pull(session, client).await;
}
