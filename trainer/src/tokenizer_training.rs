//! Trains a byte-level BPE tokenizer for source code and writes it in Hugging Face's files.

use std::path::{Path, PathBuf};

use anyhow::Context;
use diffcoder_engine::tokenizer::{BOS, EOS, MASK, PAD, SEP, SPECIAL_TOKENS, Tokenizer};
use rand::seq::SliceRandom;
use serde_json::json;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split as SplitPretokenizer, SplitPattern};
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, SplitDelimiterBehavior,
    TokenizerBuilder,
};

use crate::atomic::{self, NewFolder};
use crate::data::{Document, Split, corpus};
use crate::output;
use crate::rng::{Stream, stream};

/// Train a tokenizer on a corpus.
#[derive(Clone, Debug, clap::Args)]
pub struct TokenizerArgs {
    /// Corpus folder, as `data` wrote it.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Number of ids, special tokens included; a multiple of 16.
    #[arg(long, default_value_t = 4096)]
    pub vocab: usize,
    /// Folder to write the tokenizer into; an older tokenizer there is replaced.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// How text is cut before merges are learned: a line end with the indentation after it, a run of blanks, a word with
/// the one character before it, a digit, a run of marks.
///
/// It differs from GPT-4's in three ways that matter for code and for holes. Digits stand alone. A line's indentation
/// is one piece and leaves no blank to the word after it, so that a cursor after the indentation cuts no piece. The
/// English contractions are gone, for they cut `'static` into `'s` and `tatic`.
const SPLIT_PATTERN: &str =
    r"\s*[\r\n]+[ \t]*|[ \t]{2,}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+";

/// Merges hardly change with more text than this.
const SAMPLE_BYTES: usize = 40_000_000;
/// Longest token. Longer runs are mostly rulers and banners.
const MAX_TOKEN_CHARS: usize = 48;
/// Bytes that every byte-level tokenizer has an id for.
const ALPHABET: usize = 256;

/// Every so many texts one is also shown line by line, for prompts begin at line starts: their first indentation has no
/// line end before it.
const LINE_BY_LINE_EVERY: usize = 8;

/// Runs `diffcoder-train tokenizer`.
pub fn run_tokenizer(args: TokenizerArgs) -> anyhow::Result<()> {
    check_vocab(args.vocab)?;
    let documents = corpus::read_split(&args.data, Split::Train)?;
    atomic::clean_up_on_interrupt()?;
    let folder = NewFolder::beside(&args.out, "tokenizer.json")?;
    let files = train(&sample(&documents), args.vocab)?;
    files.write(folder.path())?;
    let tokenizer = Tokenizer::from_dir(folder.path())?;
    folder.publish()?;
    print_summary(&args.data, &tokenizer)
}

fn check_vocab(vocab: usize) -> anyhow::Result<()> {
    let least = (SPECIAL_TOKENS.len() + ALPHABET).next_multiple_of(16);
    anyhow::ensure!(
        vocab >= least && vocab.is_multiple_of(16),
        "a vocabulary of {vocab} cannot be had: it must be a multiple of 16 and at least {least}"
    );
    Ok(())
}

/// A fixed random choice of documents of at most [`SAMPLE_BYTES`].
fn sample(documents: &[Document]) -> Vec<&str> {
    let mut texts: Vec<&str> = documents.iter().map(|document| document.text.as_str()).collect();
    texts.shuffle(&mut stream(0, 0, Stream::Data));
    let mut bytes = 0;
    texts.retain(|text| {
        bytes += text.len();
        bytes <= SAMPLE_BYTES
    });
    texts
}

fn print_summary(data: &Path, tokenizer: &Tokenizer) -> anyhow::Result<()> {
    output::line(&format!("{} ids", tokenizer.vocab_size()))?;
    for split in Split::ALL {
        let documents = corpus::read_split(data, split)?;
        let (bytes, tokens) = count(&documents, tokenizer)?;
        output::line(&format!(
            "{}: {bytes} bytes, {tokens} tokens, {:.3} bytes per token",
            split.file_name(),
            bytes as f64 / tokens.max(1) as f64
        ))?;
    }
    Ok(())
}

/// Bytes and tokens of documents.
fn count(documents: &[Document], tokenizer: &Tokenizer) -> anyhow::Result<(usize, usize)> {
    use rayon::prelude::*;
    let counts: Vec<(usize, usize)> = documents
        .par_iter()
        .map(|document| Ok((document.text.len(), tokenizer.encode(&document.text)?.len())))
        .collect::<anyhow::Result<_>>()?;
    Ok(counts.into_iter().fold((0, 0), |(bytes, tokens), (b, t)| (bytes + b, tokens + t)))
}

/// The texts of a tokenizer's three files.
#[derive(Clone, Debug)]
pub struct TokenizerFiles {
    /// `tokenizer.json`
    pub tokenizer: String,
    /// `special_tokens_map.json`
    pub special_map: String,
    /// `tokenizer_config.json`
    pub config: String,
}

impl TokenizerFiles {
    /// Writes the three files into an existing folder.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        for (name, text) in [
            ("tokenizer.json", &self.tokenizer),
            ("special_tokens_map.json", &self.special_map),
            ("tokenizer_config.json", &self.config),
        ] {
            let path = folder.join(name);
            std::fs::write(&path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// Learns merges from `texts` until there are exactly `vocab` ids; special tokens have the first ones.
pub fn train(texts: &[&str], vocab: usize) -> anyhow::Result<TokenizerFiles> {
    check_vocab(vocab)?;
    let failed =
        |error: tokenizers::Error| anyhow::anyhow!("the tokenizer cannot be trained: {error}");
    let special: Vec<AddedToken> =
        SPECIAL_TOKENS.iter().map(|text| AddedToken::from((*text).to_owned(), true)).collect();
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(vocab)
        .min_frequency(2)
        .show_progress(true)
        .special_tokens(special)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .max_token_length(Some(MAX_TOKEN_CHARS))
        .build();
    let split = SplitPretokenizer::new(
        SplitPattern::Regex(SPLIT_PATTERN.to_owned()),
        SplitDelimiterBehavior::Isolated,
        false,
    )
    .map_err(failed)?;
    let bytes = ByteLevel::new(false, false, false);
    let mut tokenizer = TokenizerBuilder::<
        BPE,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    >::new()
    .with_model(BPE::default())
    .with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Sequence::new(vec![
        PreTokenizerWrapper::Split(split),
        PreTokenizerWrapper::ByteLevel(bytes),
    ]))))
    .with_decoder(Some(DecoderWrapper::ByteLevel(bytes)))
    .build()
    .map_err(failed)?;
    let lines = texts.iter().step_by(LINE_BY_LINE_EVERY).flat_map(|text| text.lines());
    tokenizer.train(&mut trainer, texts.iter().copied().chain(lines)).map_err(failed)?;
    let found = tokenizer.get_vocab_size(true);
    anyhow::ensure!(
        found == vocab,
        "the corpus is too small for a vocabulary of {vocab}: it gave {found} ids; ask for fewer or collect more text"
    );
    Ok(TokenizerFiles {
        tokenizer: tokenizer.to_string(true).map_err(failed)?,
        special_map: serde_json::to_string_pretty(&special_map())?,
        config: serde_json::to_string_pretty(&config())?,
    })
}

fn special_map() -> serde_json::Value {
    json!({ "bos_token": BOS, "eos_token": EOS, "mask_token": MASK, "pad_token": PAD, "sep_token": SEP })
}

fn config() -> serde_json::Value {
    let added: serde_json::Map<_, _> = SPECIAL_TOKENS
        .iter()
        .enumerate()
        .map(|(id, text)| {
            let entry = json!({
                "content": text, "lstrip": false, "normalized": false, "rstrip": false,
                "single_word": false, "special": true,
            });
            (id.to_string(), entry)
        })
        .collect();
    let mut config = special_map();
    config["tokenizer_class"] = json!("PreTrainedTokenizerFast");
    config["clean_up_tokenization_spaces"] = json!(false);
    config["added_tokens_decoder"] = added.into();
    config
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        let texts = [
            include_str!("tokenizer_training.rs"),
            include_str!("data/filter.rs"),
            include_str!("data/loader.rs"),
        ];
        let files = train(&texts, 512).unwrap();
        let dir = tempfile::tempdir().unwrap();
        files.write(dir.path()).unwrap();
        Tokenizer::from_dir(dir.path()).unwrap()
    });

    proptest! {
        #[test]
        fn any_text_comes_back(text in any::<String>()) {
            let ids = TOKENIZER.encode(&text).unwrap();
            prop_assert_eq!(TOKENIZER.decode(&ids).unwrap(), text);
        }

        #[test]
        fn code_like_text_comes_back(text in "[ \t\n\r(){};:=.a-zA-Z0-9'\"<>_#é漢]{0,80}") {
            let ids = TOKENIZER.encode(&text).unwrap();
            prop_assert_eq!(TOKENIZER.decode(&ids).unwrap(), text);
        }
    }

    #[test]
    fn the_vocabulary_has_the_size_asked_for_and_special_tokens_first() {
        assert_eq!(TOKENIZER.vocab_size(), 512);
        let special = TOKENIZER.special();
        assert_eq!((special.bos, special.eos, special.mask), (Some(0), 2, 5));
        let fim = special.fim.unwrap();
        assert_eq!((fim.prefix, fim.suffix, fim.middle, special.fim_rest), (6, 7, 8, Some(9)));
    }

    #[test]
    fn a_special_token_typed_into_a_file_is_text() {
        let text = "let marker = \"<[fim-middle]>\"; // <[MASK_TOKEN]>\n";
        let ids = TOKENIZER.encode(text).unwrap();
        assert!(ids.iter().all(|id| *id >= SPECIAL_TOKENS.len() as u32), "{ids:?}");
        assert_eq!(TOKENIZER.decode(&ids).unwrap(), text);
    }

    #[test]
    fn digits_stand_alone() {
        for text in ["1234567890", "x12 = 34.56e7", "u128"] {
            let digits = text.chars().filter(char::is_ascii_digit).count();
            let ids = TOKENIZER.encode(text).unwrap();
            let alone = ids.iter().filter(|id| {
                let token = TOKENIZER.decode(&[**id]).unwrap();
                token.len() == 1 && token.chars().all(|c| c.is_ascii_digit())
            });
            assert_eq!(alone.count(), digits, "{text}");
        }
    }

    #[test]
    fn indentation_is_one_token_and_no_piece_spans_a_cursor_after_it() {
        for run in ["    ", "        ", "\n    ", "\n        "] {
            assert_eq!(TOKENIZER.encode(run).unwrap().len(), 1, "{run:?}");
        }
        let encode = |text: &str| TOKENIZER.encode(text).unwrap();
        let cut = [encode("fn f() {\n    "), encode("return x;")].concat();
        assert_eq!(encode("fn f() {\n    return x;"), cut);
    }

    #[test]
    fn impossible_vocabularies_are_refused() {
        for vocab in [0, 128, 1000] {
            let error = train(&["fn main() {}"], vocab).unwrap_err().to_string();
            assert!(error.contains(&vocab.to_string()), "{error}");
        }
        let error = train(&["fn main() {}"], 4096).unwrap_err().to_string();
        assert!(error.contains("too small"), "{error}");
    }

    #[test]
    fn the_three_files_agree_on_special_tokens() {
        let config = config();
        for (id, text) in SPECIAL_TOKENS.iter().enumerate() {
            let entry = &config["added_tokens_decoder"][id.to_string()];
            assert_eq!(
                (entry["content"].as_str(), entry["special"].as_bool()),
                (Some(*text), Some(true))
            );
        }
        assert_eq!(special_map()["mask_token"], MASK);
    }
}
