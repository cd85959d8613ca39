//! `diffcoder/score`: how likely the text of a range is, token by token.

use serde::{Deserialize, Serialize};
use tower_lsp::gen_lsp_types::Range;

use crate::error::RequestError;
use crate::position::{offset_to_position, range_to_offsets};
use crate::scoring::score_request;
use crate::state::Session;
use crate::versioned::VersionedDocument;
use crate::worker::Lane;

/// Most likely tokens given for each place.
const MOST_ALTERNATIVES: usize = 16;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScoreParams {
    text_document: VersionedDocument,
    range: Range,
    #[serde(default)]
    alternatives: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct ScoreResult {
    version: i32,
    tokens: Vec<TokenReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenReport {
    range: Range,
    log_probability: f64,
    alternatives: Vec<AlternativeReport>,
}

#[derive(Debug, Serialize)]
struct AlternativeReport {
    text: String,
    probability: f64,
}

pub(crate) async fn handle(
    session: &Session,
    params: ScoreParams,
) -> Result<ScoreResult, RequestError> {
    let snapshot = session.snapshot_at(&params.text_document)?;
    let document = &snapshot.document;
    if params.alternatives > MOST_ALTERNATIVES {
        return Err(RequestError::BadParams(format!(
            "alternatives is {}: choose 0 to {MOST_ALTERNATIVES}",
            params.alternatives
        )));
    }
    let span = range_to_offsets(&document.text, params.range, snapshot.encoding);
    let (request, line_ends) = score_request(document, span.clone(), params.alternatives);
    let pending = session.worker.submit_score(&document.uri.0, Lane::Score, request);
    let score = pending.outcome().await?;
    session.check_unchanged(&snapshot)?;
    let position = |offset| {
        let offset = span.start + line_ends.original(offset);
        offset_to_position(&document.text, offset, snapshot.encoding)
    };
    let tokens = score
        .tokens
        .into_iter()
        .map(|token| TokenReport {
            range: Range::new(position(token.bytes.start), position(token.bytes.end)),
            log_probability: token.log_probability,
            alternatives: token
                .alternatives
                .into_iter()
                .map(|likely| AlternativeReport {
                    text: likely.text,
                    probability: likely.probability,
                })
                .collect(),
        })
        .collect();
    Ok(ScoreResult { version: document.version, tokens })
}
