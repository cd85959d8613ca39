//! How likely a model holds what stood in held-out holes: a measure that next-token and block-diffusion models share.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use serde::Serialize;

use diffcoder_engine::decode::lead::{Lead, TokenBytes};
use diffcoder_engine::model::RowGroup;
use diffcoder_engine::model::mask::SequenceMask;
use diffcoder_engine::prompt::budget::WindowState;
use diffcoder_engine::prompt::format::PromptFormat;
use diffcoder_engine::prompt::heal::fill_start;
use diffcoder_engine::prompt::layout::Layout;
use diffcoder_engine::prompt::related::related_tokens;

use super::CHOICE_SEED;
use super::nats::{Bits, Measure, Row, Scorer};
use crate::data::Document;
use crate::data::holes::{HeldOutHole, HoleKind, held_out_holes};
use crate::data::neighbours::Neighbours;
use crate::progress::counter;

/// Tokens that the context keeps free for the fill, as `infill` does for single lines.
const FILL_TOKENS: usize = 64;

/// Bits of the fills of some holes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Tally {
    /// Holes whose fill fits.
    holes: usize,
    /// UTF-8 bytes of the fills, with what they spell of the cut word.
    bytes: usize,
    /// Summed bits, those of the closing tokens included, over `bytes`.
    #[serde(flatten)]
    bits: Bits,
    /// Fills that greedy next-token decoding gives to the last token, its end included; `None` for NELBO, where decoding
    /// is not a function of these numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    exact: Option<usize>,
}

/// What came out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    suite: &'static str,
    measure: Measure,
    /// By language, and `all`.
    results: BTreeMap<String, Tally>,
}

impl Report {
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        for (language, tally) in &self.results {
            let exact = tally.exact.map(|exact| {
                format!(", {:.1} % exact", 100.0 * exact as f64 / tally.holes.max(1) as f64)
            });
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{language:<8} {}  ({} holes, {} bytes of fill{})",
                tally.bits,
                tally.holes,
                tally.bytes,
                exact.unwrap_or_default()
            );
        }
        text
    }
}

/// A fill behind its prompt.
struct Laid {
    row: Row,
    /// What the fill begins with because the cursor cut it.
    lead: String,
    bytes: usize,
}

/// Scores the fixed single-line holes, with at most `related_tokens` tokens of other files in a prompt (by default what
/// the model was trained for).
pub(super) fn measure(
    dir: &Path,
    documents: Vec<Document>,
    count: usize,
    related_tokens: Option<usize>,
) -> Result<Report> {
    let scorer = Scorer::open(dir)?;
    let most_related = related_tokens.unwrap_or_else(|| scorer.keys.related_tokens());
    let token_bytes = Arc::new(scorer.tokenizer.token_bytes());
    let holes = held_out_holes(&documents, HoleKind::SingleLine, count, CHOICE_SEED);
    let neighbours = Neighbours::new(Arc::new(documents));
    let mut results: BTreeMap<String, Tally> = BTreeMap::new();
    let bar = counter(holes.len(), "scoring")?;
    for hole in &holes {
        bar.inc(1);
        let Some(laid) = lay_out(&scorer, hole, (&neighbours, most_related))? else { continue };
        let nats = scorer.nats(&laid.row)?;
        let exact = match scorer.measure {
            Measure::Likelihood => Some(is_greedy(&scorer, &laid, &token_bytes)?),
            Measure::Nelbo => None,
        };
        for key in [hole.language.name(), "all"] {
            let tally = results.entry(key.to_owned()).or_default();
            tally.holes += 1;
            tally.bytes += laid.bytes;
            tally.bits.add(nats, tally.bytes);
            if let Some(exact) = exact {
                *tally.exact.get_or_insert(0) += usize::from(exact);
            }
        }
    }
    bar.finish_and_clear();
    Ok(Report { suite: "fill-likelihood", measure: scorer.measure, results })
}

/// The prompt as served and the fill as trained; `None` if the fill is too long for the place that serving leaves it.
fn lay_out(
    scorer: &Scorer,
    hole: &HeldOutHole,
    (neighbours, most_related): (&Neighbours, usize),
) -> Result<Option<Laid>> {
    let tokenizer = &scorer.tokenizer;
    let start = fill_start(tokenizer, &hole.prefix)?;
    let (left, lead) = hole.prefix.split_at(start);
    let fill = tokenizer.encode(&format!("{lead}{}", hole.middle))?;
    if fill.len() > FILL_TOKENS {
        return Ok(None);
    }
    let right = format!("{}\n{}", hole.rest, hole.suffix);
    let related = neighbours.beside_hole(hole, &right, most_related);
    let related = related_tokens(tokenizer, PromptFormat::Holes, &related, most_related)?;
    let layout = Layout {
        tokenizer,
        format: PromptFormat::Holes,
        prompt_tokens: scorer.keys.context_tokens.saturating_sub(FILL_TOKENS),
        related: &related,
    };
    let mut tokens = layout.prompt(left, &right, &mut WindowState::default())?.tokens;
    let first = tokens.len();
    tokens.extend(fill);
    PromptFormat::Holes.close(&mut tokens, tokenizer.special(), scorer.keys.block_length);
    let bytes = lead.len() + hole.middle.len();
    Ok(Some(Laid { row: Row { tokens, first }, lead: lead.to_owned(), bytes }))
}

/// Whether greedy next-token decoding behind the prompt writes the fill and its end: every token of it must be the
/// likeliest behind those before it, among those that spell the lead as long as that is not spelled.
fn is_greedy(scorer: &Scorer, laid: &Laid, token_bytes: &Arc<TokenBytes>) -> Result<bool> {
    let Row { tokens, first } = &laid.row;
    let eos = scorer.tokenizer.special().eos;
    let fill = &tokens[*first..];
    let end = fill.iter().position(|&token| token == eos).unwrap_or(fill.len());
    let mut cache = scorer.model.new_cache();
    let group = RowGroup {
        cache: &mut cache,
        tokens: &tokens[..first + end],
        mask: SequenceMask::Causal,
        commit: 0,
        logits: first - 1..first + end,
        branches: &[],
    };
    let logits = scorer.model.forward(&mut [group])?.to_vec2::<f32>()?;
    let lead = Lead::new(&laid.lead, token_bytes);
    Ok(follows(&logits, &fill[..end], eos, lead.as_ref(), scorer.tokenizer.vocab_size()))
}

/// Whether the best id of each row is that of `fill`, and the last row's `eos`; while `lead` is not spelled, the best of
/// those that spell it. logits: a row for each token of the fill and one for its end.
fn follows(
    logits: &[Vec<f32>],
    fill: &[u32],
    eos: u32,
    lead: Option<&Lead>,
    vocab_size: usize,
) -> bool {
    let wanted = fill.iter().chain([&eos]);
    logits.iter().zip(wanted).enumerate().all(|(at, (logits, wanted))| {
        let likelier = |&a: &u32, &b: &u32| logits[a as usize].total_cmp(&logits[b as usize]);
        let spelling = lead.and_then(|lead| lead.candidates(&fill[..at]));
        let best = match spelling {
            Some(ids) => ids.into_iter().max_by(likelier),
            None => (0..vocab_size as u32).max_by(likelier),
        };
        best == Some(*wanted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_is_the_best_of_each_row_and_of_those_that_spell_the_lead() {
        let texts = ["", "t", "o", "to", "tal", ")"];
        let bytes = texts.iter().map(|text| (!text.is_empty()).then(|| text.as_bytes().into()));
        let tokens = Arc::new(TokenBytes::new(bytes.collect()));
        let lead = Lead::new("to", &tokens);
        let best = |id: usize| {
            let mut row = vec![0f32; texts.len()];
            row[id] = 1.0;
            row
        };
        let (fill, eos) = ([3, 4], 0);
        let good = [best(3), best(4), best(0)];
        assert!(follows(&good, &fill, eos, None, texts.len()));
        for (at, id) in [(0, 1), (1, 5), (2, 4)] {
            let mut bad = good.clone();
            bad[at] = best(id);
            assert!(!follows(&bad, &fill, eos, None, texts.len()), "row {at}");
        }
        // ")" does not spell "to", so it is no choice there; "t" is.
        let mut first = best(5);
        first[3] = 0.5;
        let behind = [first.clone(), best(4), best(0)];
        assert!(!follows(&behind, &fill, eos, None, texts.len()));
        assert!(follows(&behind, &fill, eos, lead.as_ref(), texts.len()));
        first[1] = 0.7;
        let behind = [first, best(4), best(0)];
        assert!(!follows(&behind, &fill, eos, lead.as_ref(), texts.len()));
    }
}
