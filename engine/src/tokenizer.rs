//! Text to token ids and back, and the table of special tokens that prompts and decode need.
//!
//! Document text is always encoded with special tokens switched off: a special token's string typed into a file is
//! text like any other.

use std::path::Path;

use serde_json::Value;
use tokenizers::Tokenizer as HfTokenizer;

use crate::decode::lead::TokenBytes;
use crate::error::{EngineError, Result};
use crate::prompt::chat::ChatTemplate;

/// Strings of the special tokens of our own models: Seed-Coder's, and those that our layouts add.
///
/// The order is the order of ids in tokenizers that `diffcoder-train` makes; the mask has id 5 as in Seed-Coder.
pub const SPECIAL_TOKENS: [&str; 19] = [
    BOS,
    PAD,
    EOS,
    SEP,
    FILENAME,
    MASK,
    FIM_PREFIX,
    FIM_SUFFIX,
    FIM_MIDDLE,
    FIM_REST,
    "<[unused_0]>",
    "<[h_0]>",
    "<[h_1]>",
    "<[h_2]>",
    "<[h_3]>",
    "<[h_4]>",
    "<[h_5]>",
    "<[h_6]>",
    "<[h_7]>",
];
/// Begin of a sequence.
pub const BOS: &str = "<[begin▁of▁sentence]>";
/// Padding; never seen by a trained model.
pub const PAD: &str = "<[PAD▁TOKEN]>";
/// End of a sequence, and of a fill.
pub const EOS: &str = "<[end▁of▁sentence]>";
/// Separator (Seed-Coder's; reserved).
pub const SEP: &str = "<[SEP▁TOKEN]>";
/// Precedes the path of a related file.
pub const FILENAME: &str = "<filename>";
/// A position that has not been decoded yet.
pub const MASK: &str = "<[MASK_TOKEN]>";
/// Opens the text left of the hole.
pub const FIM_PREFIX: &str = "<[fim-prefix]>";
/// Opens the text right of the hole.
pub const FIM_SUFFIX: &str = "<[fim-suffix]>";
/// Opens the fill.
pub const FIM_MIDDLE: &str = "<[fim-middle]>";
/// Opens the rest of the hole's last line (our `Holes` layout).
pub const FIM_REST: &str = "<[fim-rest]>";

/// Most holes of one prompt in the `Holes` layout.
pub const MAX_HOLES: usize = 8;

/// Marks hole `index` of a prompt, and opens its fill (our `Holes` layout).
fn hole_marker(index: usize) -> String {
    format!("<[h_{index}]>")
}

/// Ids of the special tokens of a model directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begins every prompt where the tokenizer has it.
    pub bos: Option<u32>,
    /// Ends a fill.
    pub eos: u32,
    /// A position not decoded yet.
    pub mask: u32,
    /// The three fill-in-the-middle markers, where the tokenizer has them.
    pub fim: Option<FimTokens>,
    /// Opens the rest of the hole's last line (our `Holes` layout).
    pub fim_rest: Option<u32>,
    /// Precedes a path.
    pub filename: Option<u32>,
    /// The markers of several holes; the first one is that of the hole between P and S (our `Holes` layout).
    pub holes: Option<[u32; MAX_HOLES]>,
}

/// Ids of the fill-in-the-middle markers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FimTokens {
    /// Opens the text left of the hole.
    pub prefix: u32,
    /// Opens the text right of the hole.
    pub suffix: u32,
    /// Opens the fill.
    pub middle: u32,
}

/// A tokenizer with its special-token table.
#[derive(Clone)]
pub struct Tokenizer {
    inner: HfTokenizer,
    special: SpecialTokens,
    chat_template: Option<ChatTemplate>,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, `special_tokens_map.json`, `tokenizer_config.json` and `chat_template.jinja` of a model
    /// directory.
    ///
    /// The mask and end tokens come from the two maps where they name one, else from the strings above.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let read = |name: &str| -> Result<Option<String>> {
            let path = dir.join(name);
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok(Some(text)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(EngineError::Read { path, source }),
            }
        };
        let tokenizer = read("tokenizer.json")?.ok_or_else(|| EngineError::MissingFile {
            path: dir.join("tokenizer.json"),
            mend: "a model directory needs the tokenizer.json that belongs to its weights",
        })?;
        let mut tokenizer = Self::from_json(
            &tokenizer,
            read("special_tokens_map.json")?.as_deref(),
            read("tokenizer_config.json")?.as_deref(),
        )?;
        // As in the transformers library, the file wins over the entry.
        if let Some(source) = read("chat_template.jinja")? {
            tokenizer.set_chat_template(source);
        }
        Ok(tokenizer)
    }

    /// Builds from the texts of the three files.
    pub fn from_json(
        tokenizer: &str,
        special_map: Option<&str>,
        config: Option<&str>,
    ) -> Result<Self> {
        let mut inner: HfTokenizer = tokenizer.parse().map_err(|error| {
            EngineError::Tokenizer(format!("tokenizer.json cannot be read: {error}"))
        })?;
        inner.set_encode_special_tokens(true);
        // A directory may have been saved with the limits of its training; they would cut a prompt without a word.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| EngineError::Tokenizer(format!("tokenizer.json: {error}")))?;
        let maps = [("special_tokens_map.json", special_map), ("tokenizer_config.json", config)];
        let mut parsed = Vec::new();
        for (name, text) in maps {
            if let Some(text) = text {
                let value: Value = serde_json::from_str(text).map_err(|error| {
                    EngineError::Tokenizer(format!("{name} is not JSON: {error}"))
                })?;
                parsed.push(value);
            }
        }
        let named = |key: &str| -> Option<String> {
            parsed.iter().find_map(|map| token_string(map.get(key)?))
        };
        let id_of = |key: &str, fallback: &str| -> Option<u32> {
            let text = named(key).unwrap_or_else(|| fallback.to_owned());
            inner.token_to_id(&text).or_else(|| added_token_id(&parsed, &text))
        };
        let mask = id_of("mask_token", MASK).ok_or_else(|| {
            EngineError::Tokenizer(format!(
                "the tokenizer has no mask token: add one named {MASK} to tokenizer.json, or name it as \"mask_token\" in \
                 special_tokens_map.json (an autoregressive model cannot be denoised)"
            ))
        })?;
        let eos = id_of("eos_token", EOS).ok_or_else(|| {
            EngineError::Tokenizer(format!(
                "the tokenizer has no end token: name it as \"eos_token\" in special_tokens_map.json (default {EOS})"
            ))
        })?;
        let plain = |text: &str| inner.token_to_id(text);
        let fim = match (plain(FIM_PREFIX), plain(FIM_SUFFIX), plain(FIM_MIDDLE)) {
            (Some(prefix), Some(suffix), Some(middle)) => {
                Some(FimTokens { prefix, suffix, middle })
            }
            _ => None,
        };
        let markers: Vec<u32> =
            (0..MAX_HOLES).filter_map(|index| plain(&hole_marker(index))).collect();
        let special = SpecialTokens {
            bos: id_of("bos_token", BOS),
            eos,
            mask,
            fim,
            fim_rest: plain(FIM_REST),
            filename: plain(FILENAME),
            holes: markers.try_into().ok(),
        };
        let mut tokenizer = Self { inner, special, chat_template: None };
        let source = parsed.iter().find_map(|map| template_source(map.get("chat_template")?));
        if let Some(source) = source {
            tokenizer.set_chat_template(source);
        }
        Ok(tokenizer)
    }

    fn set_chat_template(&mut self, source: String) {
        let spelling = |id: u32| self.inner.id_to_token(id).unwrap_or_default();
        let bos = self.special.bos.map(spelling).unwrap_or_default();
        self.chat_template = Some(ChatTemplate { source, bos, eos: spelling(self.special.eos) });
    }

    /// How the model writes conversations, where its files say so.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_ref()
    }

    /// The special-token table.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// Number of ids, special ones included. Rows of the head past it belong to no token.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Ids of `text`; strings of special tokens in it are encoded as text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|error| EngineError::Tokenizer(format!("cannot encode: {error}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Ids of a text of the model's own files, a chat template's for instance: strings of special tokens are these tokens.
    pub fn encode_markup(&self, text: &str) -> Result<Vec<u32>> {
        let added = self.inner.get_added_tokens_decoder();
        let special: Vec<(&u32, &str)> = added
            .iter()
            .filter(|(_, token)| token.special && !token.content.is_empty())
            .map(|(id, token)| (id, token.content.as_str()))
            .collect();
        let (mut ids, mut rest) = (Vec::new(), text);
        loop {
            // The first one, and of those that begin there the longest.
            let found = special
                .iter()
                .filter_map(|(id, content)| Some((rest.find(content)?, content.len(), **id)))
                .min_by_key(|&(at, len, _)| (at, std::cmp::Reverse(len)));
            let Some((at, len, id)) = found else {
                ids.extend(self.encode(rest)?);
                return Ok(ids);
            };
            ids.extend(self.encode(&rest[..at])?);
            ids.push(id);
            rest = &rest[at + len..];
        }
    }

    /// As [`Self::encode`], with the byte of `text` at which each token starts. Tokens inside one character share its.
    pub fn encode_with_starts(&self, text: &str) -> Result<(Vec<u32>, Vec<usize>)> {
        let encoding = self
            .inner
            .encode(text, false)
            .map_err(|error| EngineError::Tokenizer(format!("cannot encode: {error}")))?;
        let starts = encoding.get_offsets().iter().map(|&(start, _)| start).collect();
        Ok((encoding.get_ids().to_vec(), starts))
    }

    /// Byte of `text` at which its last pre-token starts: what the tokenizer would not join with what stands before it.
    pub fn last_word_start(&self, text: &str) -> Result<usize> {
        let encoding = self
            .inner
            .encode(text, false)
            .map_err(|error| EngineError::Tokenizer(format!("cannot encode: {error}")))?;
        let words = encoding.get_word_ids();
        let Some(last) = words.last() else { return Ok(text.len()) };
        let first = words.iter().position(|word| word == last).unwrap_or(0);
        // Its own start may leave out a blank that belongs to it (`trim_offsets`).
        let before = first.checked_sub(1).and_then(|before| encoding.get_offsets().get(before));
        Ok(before.map_or(0, |&(_, end)| end))
    }

    /// What each id spells; `None` for special tokens and for those that are not in the byte-level alphabet.
    pub fn token_bytes(&self) -> TokenBytes {
        let added = self.inner.get_added_tokens_decoder();
        let spell = |id: u32| -> Option<Box<[u8]>> {
            if added.contains_key(&id) {
                return None;
            }
            self.inner.id_to_token(id)?.chars().map(byte_of).collect()
        };
        TokenBytes::new((0..self.vocab_size() as u32).map(spell).collect())
    }

    /// Text of `ids`; special tokens are left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner
            .decode(ids, true)
            .map_err(|error| EngineError::Tokenizer(format!("cannot decode: {error}")))
    }
}

/// The byte that a character of the byte-level alphabet stands for: printable Latin-1 for itself, the other bytes in
/// order from U+0100 on.
fn byte_of(c: char) -> Option<u8> {
    let is_itself = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(c) {
        code @ 0..=0xff => Some(code as u8).filter(|&byte| is_itself(byte)),
        code => (0..=u8::MAX).filter(|&byte| !is_itself(byte)).nth((code - 0x100) as usize),
    }
}

/// The source of a `chat_template` entry: a string, or a list of named ones, of which `default` is meant.
fn template_source(value: &Value) -> Option<String> {
    match value {
        Value::String(source) => Some(source.clone()),
        Value::Array(named) => named
            .iter()
            .find(|entry| entry["name"] == "default")
            .and_then(|entry| entry["template"].as_str())
            .map(str::to_owned),
        _ => None,
    }
}

/// The text of a token entry, which is a string or an object with `content`.
fn token_string(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(entry) => entry.get("content")?.as_str().map(str::to_owned),
        _ => None,
    }
}

/// Looks `text` up in `added_tokens_decoder`, which maps ids (as strings) to entries.
fn added_token_id(maps: &[Value], text: &str) -> Option<u32> {
    maps.iter().filter_map(|map| map.get("added_tokens_decoder")?.as_object()).find_map(|table| {
        table
            .iter()
            .find_map(|(id, entry)| (token_string(entry)? == text).then(|| id.parse().ok())?)
    })
}
