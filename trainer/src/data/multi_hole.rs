//! Training samples with several holes: the markers stand in S, P and R, and the fills follow in any order.

use std::ops::Range;

use diffcoder_engine::prompt::budget::REST_TOKENS;
use diffcoder_engine::prompt::format::{FimParts, PromptFormat};
use diffcoder_engine::prompt::heal::fill_start;
use diffcoder_engine::tokenizer::{MAX_HOLES, Tokenizer};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use super::Document;
use super::middle;

/// How many places are tried for each hole besides the seam.
const TRIES_PER_HOLE: usize = 3;
/// Longest middle of a hole besides the seam, bytes: several long ones would leave no context.
const MOST_BYTES: usize = 240;

/// Holes of one document, ascending and apart, every one of them a byte range of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holes {
    /// The hole between P and S.
    pub(super) seam: Range<usize>,
    /// The others.
    pub(super) others: Vec<Range<usize>>,
}

impl Holes {
    /// Adds one to [`MAX_HOLES`]` - 1` holes beside the seam, all inside `window`; there may be fewer where there is no
    /// place, and none at all.
    pub(super) fn around(
        tokenizer: &Tokenizer,
        document: &Document,
        seam: Range<usize>,
        window: &Window,
        rng: &mut impl Rng,
    ) -> anyhow::Result<Self> {
        let wanted = rng.random_range(1..MAX_HOLES);
        let mut others: Vec<Range<usize>> = Vec::with_capacity(wanted);
        // Both sides of the seam, or else its own text would be offered again and again.
        let sides = [window.start..seam.start, seam.end..window.end];
        let sides: Vec<_> = sides.into_iter().filter(|side| !side.is_empty()).collect();
        let bytes: usize = sides.iter().map(ExactSizeIterator::len).sum();
        for _ in 0..wanted * TRIES_PER_HOLE {
            if others.len() == wanted || bytes == 0 {
                break;
            }
            let at = rng.random_range(0..bytes);
            let side = if at < sides[0].len() { &sides[0] } else { &sides[sides.len() - 1] };
            let Some(middle) = middle::choose(&document.text, document.language, side.clone(), rng)
            else {
                continue;
            };
            let text = &document.text[..middle.span.start];
            let span = fill_start(tokenizer, text)?..middle.span.end;
            let inside = span.start >= side.start && span.end <= side.end;
            // Holes that touch would be one.
            let apart = |other: &Range<usize>| span.end < other.start || other.end < span.start;
            let fits = inside && (1..=MOST_BYTES).contains(&span.len());
            if fits && apart(&seam) && others.iter().all(apart) {
                others.push(span);
            }
        }
        others.sort_by_key(|hole| hole.start);
        Ok(Self { seam, others })
    }
}

/// The window of the document that a sample shows, in bytes: P begins at `start`, S ends at `end`.
pub(super) struct Window {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Tokens of the whole sample: prompt with markers, then every fill behind its opener, in random order.
///
/// Markers besides the seam's are shuffled, so that an index says nothing about a place. `None` if the tokenizer has no
/// such markers, or no hole besides the seam is left in the window.
pub(super) fn tokens(
    tokenizer: &Tokenizer,
    text: &str,
    (holes, window): (&Holes, &Window),
    block_length: usize,
    rng: &mut impl Rng,
) -> anyhow::Result<Option<Vec<u32>>> {
    let special = tokenizer.special();
    let Some(markers) = special.holes else { return Ok(None) };
    let seam = &holes.seam;
    let (rest_text, after) = PromptFormat::Holes.split_right(&text[seam.end..window.end]);
    let rest_end = seam.end + rest_text.len();
    let suffix_start = window.end - after.len();
    let mut indices: Vec<usize> = (1..markers.len()).collect();
    indices.shuffle(rng);
    // A hole over the border between R and S has no place in this layout.
    let regions = [window.start..seam.start, seam.end..rest_end, suffix_start..window.end];
    let mut fills = vec![(markers[0], seam.clone())];
    let mut parts: [Vec<u32>; 3] = Default::default();
    for (region, tokens) in regions.into_iter().zip(&mut parts) {
        let mut from = region.start;
        for hole in &holes.others {
            let inside = hole.start >= region.start && hole.end <= region.end;
            let Some(&index) = indices.last().filter(|_| inside) else { continue };
            indices.pop();
            tokens.extend(tokenizer.encode(&text[from..hole.start])?);
            tokens.push(markers[index]);
            fills.push((markers[index], hole.clone()));
            from = hole.end;
        }
        tokens.extend(tokenizer.encode(&text[from..region.end])?);
    }
    let [prefix, rest, suffix] = parts;
    if fills.len() == 1 || rest.len() > REST_TOKENS {
        return Ok(None);
    }
    let parts = FimParts { suffix: &suffix, prefix: &prefix, rest: &rest };
    let mut tokens = PromptFormat::Holes.assemble(special, parts)?;
    PromptFormat::Holes.align_fills(&mut tokens, block_length);
    fills.shuffle(rng);
    for (marker, hole) in fills {
        tokens.push(marker);
        tokens.extend(tokenizer.encode(&text[hole])?);
        PromptFormat::Holes.close(&mut tokens, special, block_length);
    }
    Ok(Some(tokens))
}
