//! One prompt for several holes (layout `Holes`): the seam between P and S, the other holes as markers in P, R and S.

use super::budget::REST_TOKENS;
use super::format::{FimParts, PromptFormat};
use super::layout::MIN_PROMPT_TOKENS;
use crate::error::{EngineError, Result};
use crate::tokenizer::{MAX_HOLES, Tokenizer};

/// Tokens of context that the outermost holes keep beyond them, where there is text.
const MARGIN_TOKENS: usize = 32;
/// The suffix keeps at least this share of the room, as with one hole.
const SUFFIX_SHARE: usize = 4;

/// A prompt for several holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JointPrompt {
    /// The tokens, up to the block edge where the first fill opens.
    pub tokens: Vec<u32>,
    /// The marker that opens the fill of each hole, in reading order.
    pub openers: Vec<u32>,
}

/// What stands on one side of the seam: text, and holes by their index among all.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// Text.
    Text(&'a str),
    /// The hole with this index in reading order.
    Hole(usize),
}

/// Lays out holes that are filled knowing of each other. `pieces` is the whole document in reading order.
///
/// `prompt_tokens` is the most tokens of the prompt. `None` where the holes are too many or too far apart for one prompt,
/// or the tokenizer has no markers for them.
pub fn joint_prompt(
    tokenizer: &Tokenizer,
    pieces: &[Piece<'_>],
    block_length: usize,
    prompt_tokens: usize,
) -> Result<Option<JointPrompt>> {
    let special = tokenizer.special();
    let holes: Vec<usize> =
        (0..pieces.len()).filter(|&index| matches!(pieces[index], Piece::Hole(_))).collect();
    let Some(markers) = special.holes.filter(|_| (1..=MAX_HOLES).contains(&holes.len())) else {
        return Ok(None);
    };
    // The middle hole is the seam, so that the others are near it on both sides.
    let seam_rank = holes.len() / 2;
    let seam = holes[seam_rank];
    let mut free = markers[1..].iter().copied();
    let mut openers = vec![markers[0]; holes.len()];
    for (rank, opener) in openers.iter_mut().enumerate() {
        if rank != seam_rank
            && let Some(marker) = free.next()
        {
            *opener = marker;
        }
    }
    let encode = |pieces: &[Piece<'_>]| -> Result<Vec<u32>> {
        let mut tokens = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => tokens.extend(tokenizer.encode(text)?),
                Piece::Hole(index) => {
                    tokens.push(openers.get(*index).copied().ok_or_else(|| {
                        EngineError::Request(format!("there is no hole {index} among the pieces"))
                    })?)
                }
            }
        }
        Ok(tokens)
    };
    let (rest, after) = split_right(&pieces[seam + 1..]);
    let (prefix, rest, suffix) = (encode(&pieces[..seam])?, encode(&rest)?, encode(&after)?);
    let fixed = PromptFormat::MARKER_TOKENS + rest.len() + block_length;
    let Some(room) =
        prompt_tokens.checked_sub(fixed).filter(|_| prompt_tokens >= MIN_PROMPT_TOKENS)
    else {
        return Ok(None);
    };
    let is_opener = |token: &u32| openers.contains(token);
    let needed_left = prefix.iter().position(is_opener).map_or(0, |first| prefix.len() - first);
    let needed_right = suffix.iter().rposition(is_opener).map_or(0, |last| last + 1);
    let needed_left = (needed_left + MARGIN_TOKENS).min(prefix.len());
    let needed_right = (needed_right + MARGIN_TOKENS).min(suffix.len());
    if needed_left + needed_right > room || rest.len() > REST_TOKENS {
        return Ok(None);
    }
    let right = (room / SUFFIX_SHARE).max(needed_right).max(room.saturating_sub(prefix.len()));
    let right = right.min(suffix.len()).min(room - needed_left);
    let left = prefix.len().min(room - right);
    let parts =
        FimParts { suffix: &suffix[..right], prefix: &prefix[prefix.len() - left..], rest: &rest };
    let mut tokens = PromptFormat::Holes.assemble(special, parts)?;
    PromptFormat::Holes.align_fills(&mut tokens, block_length);
    Ok(Some(JointPrompt { tokens, openers }))
}

/// Splits what stands right of the seam at the first line end in a text: R, and what S begins with.
fn split_right<'a>(pieces: &[Piece<'a>]) -> (Vec<Piece<'a>>, Vec<Piece<'a>>) {
    let mut rest = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        if let Piece::Text(text) = piece
            && text.contains(['\n', '\r'])
        {
            let (near, far) = PromptFormat::Holes.split_right(text);
            rest.push(Piece::Text(near));
            let far = std::iter::once(Piece::Text(far)).chain(pieces[index + 1..].iter().copied());
            return (rest, far.collect());
        }
        rest.push(*piece);
    }
    (rest, Vec::new())
}
