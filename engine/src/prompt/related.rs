//! Text of other files in front of the prefix.

use super::format::PromptFormat;
use crate::error::Result;
use crate::related::Related;
use crate::tokenizer::Tokenizer;

/// One in so many tokens of a context may be text of other files, where the model knows such text.
pub const RELATED_SHARE: usize = 4;
/// Pieces longer than this many bytes for each token that is left are not even tokenised.
const BYTES_PER_TOKEN: usize = 8;

/// The tokens of `related` in its order, at most `most`: the nearest pieces, which are the last, that fit as a whole.
pub fn related_tokens(
    tokenizer: &Tokenizer,
    format: PromptFormat,
    related: &[Related],
    most: usize,
) -> Result<Vec<u32>> {
    let fitting = fitting(tokenizer, format, related, most)?;
    Ok(fitting.into_iter().flat_map(|(_, tokens)| tokens).collect())
}

/// The pieces of `related` that [`related_tokens`] takes.
pub fn related_pieces(
    tokenizer: &Tokenizer,
    format: PromptFormat,
    related: &[Related],
    most: usize,
) -> Result<Vec<Related>> {
    let fitting = fitting(tokenizer, format, related, most)?;
    Ok(fitting.into_iter().map(|(piece, _)| piece.clone()).collect())
}

/// The pieces that fit into `most` tokens, with their tokens. A later piece takes its room first, and one that is too
/// long does not keep those before it away.
fn fitting<'a>(
    tokenizer: &Tokenizer,
    format: PromptFormat,
    related: &'a [Related],
    most: usize,
) -> Result<Vec<(&'a Related, Vec<u32>)>> {
    let mut pieces = Vec::new();
    let mut room = most;
    for piece in related.iter().rev() {
        if piece.text.len() > BYTES_PER_TOKEN * room {
            continue;
        }
        let tokens = encode(tokenizer, format, piece)?;
        let Some(left) = room.checked_sub(tokens.len()) else { continue };
        room = left;
        pieces.push((piece, tokens));
    }
    pieces.reverse();
    Ok(pieces)
}

fn encode(tokenizer: &Tokenizer, format: PromptFormat, piece: &Related) -> Result<Vec<u32>> {
    let Related { path, text } = piece;
    let text = text.trim_end_matches('\n');
    match (format, tokenizer.special().filename) {
        (PromptFormat::SeedFim, Some(filename)) => {
            let mut tokens = vec![filename];
            tokens.extend(tokenizer.encode(&format!("{path}\n{text}\n"))?);
            Ok(tokens)
        }
        // Our own models have seen files alone: one that goes on from another reads like this.
        _ => tokenizer.encode(&format!("{} {path}\n{text}\n\n", comment_leader(path))),
    }
}

/// What a line of comment begins with in the language of `path`.
fn comment_leader(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "py" | "pyi" | "rb" | "sh" | "bash" | "toml" | "yaml" | "yml" => "#",
        "lua" => "--",
        _ => "//",
    }
}
