//! `diffcoder/completionStats`: what completions have cost so far. What `bench replay` reads.

use crate::completions::Stats;
use crate::error::RequestError;
use crate::state::Session;

pub(crate) async fn handle(session: &Session) -> Result<Stats, RequestError> {
    Ok(session.completions.stats())
}
