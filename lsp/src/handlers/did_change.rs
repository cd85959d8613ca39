//! `textDocument/didChange`: applies the client's edits. It does not cancel an infill: the answer may still fit.

use std::time::Instant;

use serde::Deserialize;
use tower_lsp::gen_lsp_types::{LspAny, Uri, VersionedTextDocumentIdentifier};

use crate::document::ContentChange;
use crate::error::notice;
use crate::state::Session;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params {
    text_document: VersionedTextDocumentIdentifier,
    content_changes: Vec<ContentChange>,
}

/// Takes the parameters unread: those that cannot be read still name a document whose text is now unknown.
pub(crate) fn handle(session: &Session, params: LspAny) {
    let began = Instant::now();
    let uri = params.pointer("/textDocument/uri").and_then(LspAny::as_str).map(Uri::from);
    keep_step(session, uri, || {
        let Params { text_document, content_changes } = Params::deserialize(params)?;
        let uri = text_document.text_document_identifier.uri;
        session.change(&uri, text_document.version, &content_changes)?;
        Ok(())
    });
    session.completions.edited(began.elapsed());
}

/// Runs `change`; unless it succeeds, the text of the document, or of all if none was named, is unknown from here on.
fn keep_step(session: &Session, uri: Option<Uri>, change: impl FnOnce() -> anyhow::Result<()>) {
    match notice(change) {
        Some(Ok(())) => return,
        Some(Err(error)) => tracing::warn!("ignored a change: {error}"),
        None => {}
    }
    match uri {
        Some(uri) => session.lose_step(&uri),
        None => session.lose_all_steps(),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;
    use diffcoder_engine::cancel::CancelToken;
    use diffcoder_engine::infiller::{Frame, Infill, InfillError, InfillRequest, Infiller};
    use serde_json::json;
    use tower_lsp::gen_lsp_types::TextDocumentItem;

    use super::*;
    use crate::backend::Backend;
    use crate::client_log::Trace;
    use crate::config::Config;
    use crate::worker::Worker;

    struct NoModel;

    impl Infiller for NoModel {
        fn model_name(&self) -> &str {
            "none"
        }

        fn infill(
            &mut self,
            _request: &InfillRequest,
            _cancel: &CancelToken,
            _on_frame: &mut dyn FnMut(&Frame),
        ) -> Result<Infill, InfillError> {
            Err(InfillError::Cancelled)
        }
    }

    const URIS: [&str; 2] = ["file:///a.rs", "file:///b.rs"];

    /// Which of the two open documents are still in step after `change` for `uri`.
    fn in_step_after(
        uri: Option<&str>,
        change: impl FnOnce() -> anyhow::Result<()>,
    ) -> (Session, [bool; 2]) {
        let session = Session::new(
            Worker::start(Backend::from(Box::new(NoModel) as Box<dyn Infiller>).loader, None).0,
            Config::default(),
            Box::new(|_| ()),
            Trace::default(),
        );
        for uri in URIS {
            let item = json!({ "uri": uri, "languageId": "rust", "version": 1, "text": "text" });
            session.open(TextDocumentItem::deserialize(item).unwrap().into());
        }
        keep_step(&session, uri.map(Uri::from), change);
        let in_step = URIS.map(|uri| session.snapshot(&uri.into()).is_ok());
        (session, in_step)
    }

    #[test]
    fn a_change_that_fails_or_panics_leaves_its_document_out_of_step() {
        assert_eq!(in_step_after(Some(URIS[0]), || Ok(())).1, [true, true]);
        assert_eq!(in_step_after(Some(URIS[0]), || bail!("unreadable")).1, [false, true]);
        assert_eq!(in_step_after(None, || bail!("unreadable")).1, [false, false]);
        let (session, in_step) = in_step_after(Some(URIS[0]), || panic!("a bug"));
        assert_eq!(in_step, [false, true]);
        let whole = json!({
            "textDocument": { "uri": URIS[0], "version": 2 },
            "contentChanges": [{ "text": "whole" }],
        });
        handle(&session, whole);
        assert_eq!(session.snapshot(&URIS[0].into()).unwrap().document.text.to_string(), "whole");
    }
}
