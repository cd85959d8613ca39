//! Tokens as text while a canvas is still being denoised.

use crate::decode::canvas::{Canvas, Cell};
use crate::error::Result;
use crate::infiller::FrameCell;
use crate::tokenizer::Tokenizer;

/// The canvas behind the prompt as the cells of a frame.
pub(crate) fn cells(tokenizer: &Tokenizer, canvas: &Canvas) -> Result<Vec<FrameCell>> {
    let mut cells = Vec::with_capacity(canvas.cells().len());
    let tokens = canvas.generated();
    for run in canvas.cells().chunk_by(|a, b| (*a == Cell::Masked) == (*b == Cell::Masked)) {
        let texts = pieces(tokenizer, &tokens[cells.len()..cells.len() + run.len()])?;
        cells.extend(run.iter().zip(texts).map(|(cell, text)| match *cell {
            Cell::Masked => FrameCell::Masked,
            Cell::Given => FrameCell::Committed { text, confidence: 1.0 },
            Cell::Committed { confidence } => {
                FrameCell::Committed { text, confidence: confidence as f32 }
            }
        }));
    }
    Ok(cells)
}

/// The text of each of these neighbouring tokens. A character that spans several stands in the last of them; one that
/// the tokens do not finish stands nowhere.
pub(crate) fn pieces(tokenizer: &Tokenizer, tokens: &[u32]) -> Result<Vec<String>> {
    let mut pieces = vec![String::new(); tokens.len()];
    let mut first = 0;
    for last in 0..tokens.len() {
        let text = tokenizer.decode(&tokens[first..=last])?;
        if !text.ends_with(char::REPLACEMENT_CHARACTER) {
            pieces[last] = text;
            first = last + 1;
        }
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;
    use crate::tokenizer::{EOS, MASK};

    /// One token for each byte, then the end token and the mask.
    fn byte_tokenizer() -> Tokenizer {
        let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
        alphabet.sort_unstable();
        let vocab: Map<_, _> =
            alphabet.iter().zip(0..).map(|(byte, id)| (byte.to_string(), json!(id))).collect();
        let added = |(content, id): (&str, u32)| {
            json!({ "id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false })
        };
        let added = [(EOS, 256), (MASK, 257)].map(added);
        let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
        let json = json!({
            "version": "1.0",
            "added_tokens": added,
            "pre_tokenizer": bytes,
            "decoder": bytes,
            "model": { "type": "BPE", "vocab": vocab, "merges": [] },
        });
        Tokenizer::from_json(&json.to_string(), None, None).unwrap()
    }

    #[test]
    fn a_character_stands_in_the_last_of_its_tokens() {
        let tokenizer = byte_tokenizer();
        let mut ids = tokenizer.encode("aé…").unwrap();
        assert_eq!(ids.len(), 6);
        assert_eq!(pieces(&tokenizer, &ids).unwrap(), ["a", "", "é", "", "", "…"]);
        ids.truncate(5);
        assert_eq!(pieces(&tokenizer, &ids).unwrap().concat(), "aé");
        // Bytes that never become a character are shown as one that stands for them.
        ids.extend(tokenizer.encode("b").unwrap());
        assert_eq!(pieces(&tokenizer, &ids).unwrap().concat(), "aé\u{FFFD}b");
    }

    #[test]
    fn masks_part_the_canvas_and_the_end_token_is_empty() {
        let tokenizer = byte_tokenizer();
        let special = tokenizer.special();
        let id = |text: &str| tokenizer.encode(text).unwrap()[0];
        let region = [id("x"), special.mask, id("y"), special.eos];
        let canvas = Canvas::with_given(&[id("p")], &region, special.mask);
        let shown = |text: &str| FrameCell::Committed { text: text.to_owned(), confidence: 1.0 };
        let expected = [shown("x"), FrameCell::Masked, shown("y"), shown("")];
        assert_eq!(cells(&tokenizer, &canvas).unwrap(), expected);
    }
}
