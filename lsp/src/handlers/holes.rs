//! `diffcoder/holes`: where there is something to fill in; fills nothing.

use serde::{Deserialize, Serialize};
use tower_lsp::gen_lsp_types::{Diagnostic, Range};

use crate::error::RequestError;
use crate::planning::{self, Plan};
use crate::position::{offset_to_position, range_to_offsets};
use crate::state::Session;
use crate::versioned::VersionedDocument;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HolesParams {
    text_document: VersionedDocument,
    kind: Kind,
    range: Option<Range>,
    #[serde(default)]
    diagnostics: Vec<Diagnostic>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    FillAll,
    Repair,
    DocComment,
}

#[derive(Debug, Serialize)]
pub(crate) struct HolesResult {
    version: i32,
    holes: Vec<HoleReport>,
}

#[derive(Debug, Serialize)]
struct HoleReport {
    range: Range,
    reason: String,
}

pub(crate) async fn handle(
    session: &Session,
    params: HolesParams,
) -> Result<HolesResult, RequestError> {
    let snapshot = session.snapshot_at(&params.text_document)?;
    let (document, encoding) = (&snapshot.document, snapshot.encoding);
    let offsets = |range| range_to_offsets(&document.text, range, encoding);
    let span = params.range.map(offsets);
    let plan = match params.kind {
        Kind::FillAll => Plan::FillAll { within: span },
        Kind::Repair => {
            let diagnostics = params.diagnostics.iter().map(|found| offsets(found.range)).collect();
            Plan::Repair { span, diagnostics }
        }
        Kind::DocComment => {
            let span = span.ok_or_else(|| {
                RequestError::BadParams("range is missing: name a place in the item".to_owned())
            })?;
            Plan::DocComment { at: span.start }
        }
    };
    let holes = planning::holes(session, &snapshot, plan).await?;
    session.check_unchanged(&snapshot)?;
    let position = |offset| offset_to_position(&document.text, offset, encoding);
    let holes = holes
        .into_iter()
        .map(|hole| HoleReport {
            range: Range::new(position(hole.span.start), position(hole.span.end)),
            reason: hole.reason,
        })
        .collect();
    Ok(HolesResult { version: document.version, holes })
}
