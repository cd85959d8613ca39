//! Further results of one request: other lengths and other draws.

use super::Engine;
use super::one::Session;
use super::several::Pieces;
use crate::infiller::{HoleFill, InfillError, InfillRequest, Sampling};

/// Temperature of further draws where the request itself takes the most likely tokens.
const TEMPERATURE: f64 = 0.8;
/// Draws for each alternative wanted, before there are fewer: some turn out the same.
const DRAWS: usize = 2;

impl Engine {
    /// At most `request.alternatives - 1` results that differ from `first` and from each other, the most confident first.
    ///
    /// A fill of several lines has its first line as an alternative; the others are drawn with further seeds.
    pub(super) fn alternatives(
        &mut self,
        request: &InfillRequest,
        pieces: &Pieces<'_>,
        first: &[HoleFill],
        session: &mut Session<'_>,
    ) -> Result<Vec<Vec<HoleFill>>, InfillError> {
        let wanted = request.alternatives - 1;
        let mut found: Vec<Vec<HoleFill>> = Vec::new();
        let keep = |fills: Vec<HoleFill>, found: &mut Vec<Vec<HoleFill>>| {
            if !same(&fills, first) && !found.iter().any(|other| same(&fills, other)) {
                found.push(fills);
            }
        };
        if wanted > 0 {
            let line = |fill: &HoleFill| fill.cut_to_first_line().unwrap_or_else(|| fill.clone());
            keep(first.iter().map(line).collect(), &mut found);
        }
        for draw in 1..=(wanted * DRAWS) as u64 {
            if found.len() >= wanted || session.is_late() {
                break;
            }
            let sampling = Sampling {
                temperature: if request.sampling.temperature > 0.0 {
                    request.sampling.temperature
                } else {
                    TEMPERATURE
                },
                seed: request.sampling.seed.wrapping_add(draw),
                ..request.sampling.clone()
            };
            keep(self.fill_all(request, pieces, &sampling, session)?, &mut found);
        }
        found.truncate(wanted);
        found.sort_by(|a, b| confidence(b).total_cmp(&confidence(a)));
        Ok(found)
    }
}

fn same(a: &[HoleFill], b: &[HoleFill]) -> bool {
    a.iter().map(|fill| &fill.text).eq(b.iter().map(|fill| &fill.text))
}

/// Geometric mean over the holes.
fn confidence(fills: &[HoleFill]) -> f64 {
    let logs = fills.iter().map(|fill| f64::from(fill.confidence).ln());
    logs.sum::<f64>() / fills.len().max(1) as f64
}
