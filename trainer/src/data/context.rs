//! How much of the text on both sides of a hole a training sample shows.

use std::ops::Range;

use diffcoder_engine::tokenizer::Tokenizer;
use rand::{Rng, RngExt};

use super::middle::{line_start, line_stop};
use super::sample::BYTES_PER_TOKEN;

/// P gets between these shares of the room that the fill leaves, where the document is longer than the room.
const PREFIX_SHARES: Range<f64> = 0.4..0.9;
/// How often a cut context begins or ends at a line's edge instead of anywhere.
const LINE_CUT_RATE: f64 = 0.8;
/// How often an infilling sample gets less room than there is: fills are few tokens, and shorter contexts make more of
/// them in the same number of tokens. The others use the whole room, for serving does.
const SHORT_CONTEXT_RATE: f64 = 0.5;
/// Least room of an infilling sample with a short context, tokens.
const SHORTEST_CONTEXT: usize = 96;
/// How often the size of a window is corrected; measured, two or three times are enough.
const WINDOW_TRIES: usize = 6;

/// P and S of at most `room` tokens together; what one side does not need the other may have.
pub(super) fn contexts(
    tokenizer: &Tokenizer,
    (before, after): (&str, &str),
    room: usize,
    rng: &mut impl Rng,
) -> anyhow::Result<(Context, Context)> {
    let share = (room as f64 * rng.random_range(PREFIX_SHARES)) as usize;
    let at_line = rng.random_bool(LINE_CUT_RATE);
    let prefix = window(tokenizer, before, share, (Side::End, at_line.into()))?;
    if prefix.whole {
        let left = room - prefix.tokens.len();
        let suffix = window(tokenizer, after, left, (Side::Start, at_line.into()))?;
        return Ok((prefix, suffix));
    }
    let suffix = window(tokenizer, after, room - share, (Side::Start, at_line.into()))?;
    if !suffix.whole {
        return Ok((prefix, suffix));
    }
    let left = room - suffix.tokens.len();
    let prefix = window(tokenizer, before, left, (Side::End, at_line.into()))?;
    Ok((prefix, suffix))
}

/// At most `most` tokens from one side of `text`.
fn window(
    tokenizer: &Tokenizer,
    text: &str,
    most: usize,
    (side, cut): (Side, Cut),
) -> anyhow::Result<Context> {
    let mut bytes = most * BYTES_PER_TOKEN;
    let mut best = Context::default();
    for _ in 0..WINDOW_TRIES {
        let piece = side.take(text, bytes, cut);
        let tokens = tokenizer.encode(piece)?;
        let found = tokens.len();
        if found <= most {
            let whole = piece.len() == text.len();
            if found >= best.tokens.len() {
                best = Context { tokens, bytes: piece.len(), whole };
            }
            if whole || best.tokens.len() >= most - most / 16 {
                return Ok(best);
            }
        }
        // A little less than the measured ratio asks for, so that the next try fits.
        bytes = piece.len() * most * 63 / (found.max(1) * 64);
    }
    Ok(best)
}

/// The text on one side of a hole that fits the room.
#[derive(Default)]
pub(super) struct Context {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Length of that text.
    pub bytes: usize,
    /// Whether it is all there is.
    whole: bool,
}

/// Sometimes a smaller room, every order of magnitude as likely.
pub(super) fn shortened(room: usize, rng: &mut impl Rng) -> usize {
    if room <= SHORTEST_CONTEXT || !rng.random_bool(SHORT_CONTEXT_RATE) {
        return room;
    }
    let ratio = room as f64 / SHORTEST_CONTEXT as f64;
    (SHORTEST_CONTEXT as f64 * ratio.powf(rng.random::<f64>())) as usize
}

/// The side of a text that is kept.
#[derive(Clone, Copy)]
enum Side {
    Start,
    End,
}

/// Where a text may be cut.
#[derive(Clone, Copy)]
enum Cut {
    Line,
    Anywhere,
}

impl From<bool> for Cut {
    fn from(at_line: bool) -> Self {
        if at_line { Self::Line } else { Self::Anywhere }
    }
}

impl Side {
    /// At most `bytes` bytes from this side of `text`.
    fn take(self, text: &str, bytes: usize, cut: Cut) -> &str {
        if bytes >= text.len() {
            return text;
        }
        match (self, cut) {
            (Self::Start, Cut::Anywhere) => &text[..text.floor_char_boundary(bytes)],
            (Self::Start, Cut::Line) => {
                let stop = text.floor_char_boundary(bytes);
                let line = line_start(text, stop);
                &text[..if line == 0 { stop } else { line }]
            }
            (Self::End, Cut::Anywhere) => &text[text.ceil_char_boundary(text.len() - bytes)..],
            (Self::End, Cut::Line) => {
                let start = text.ceil_char_boundary(text.len() - bytes);
                let newline = line_stop(text, start);
                &text[if newline == text.len() { start } else { newline + 1 }..]
            }
        }
    }
}
