//! How often a model writes its training text word for word: runs of tokens of its fills that stand in the corpus.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, ensure};
use rand::RngExt as _;
use rayon::prelude::*;
use serde::Serialize;

use diffcoder_engine::cancel::CancelToken;
use diffcoder_engine::engine::Engine;
use diffcoder_engine::infiller::{InfillLimits, InfillRequest, Infiller as _, Segment};
use diffcoder_engine::tokenizer::Tokenizer;

use crate::data::corpus::read_split;
use crate::data::middle::line_start;
use crate::data::{Document, Language, Split};
use crate::output;
use crate::progress::counter;
use crate::rng::keyed;

/// Measure how much of what a model writes stands word for word in its training text.
#[derive(clap::Args, Debug)]
pub struct VerbatimArgs {
    /// Model directory, as `export` wrote it.
    #[arg(long)]
    model: PathBuf,
    /// Corpus folder that the model was trained on.
    #[arg(long)]
    data: PathBuf,
    /// How many prompts of each split.
    #[arg(long, default_value_t = 1000)]
    samples: usize,
    /// Longest fill, tokens.
    #[arg(long, default_value_t = 128)]
    max_tokens: usize,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Run lengths that are counted, tokens; the last but one is what counts as a verbatim copy.
const RUN_LENGTHS: [usize; 6] = [10, 20, 30, 40, VERBATIM_TOKENS, 100];
/// Length of a run that counts as a verbatim copy, tokens.
const VERBATIM_TOKENS: usize = 50;
/// Seed of the choice of prompts: each model is measured on the same ones.
const CHOICE_SEED: u64 = 1;
/// Text that a document must have left of the cursor, bytes: a prompt to go on from.
const FEWEST_PREFIX_BYTES: usize = 400;
/// Text that it must have right of it, bytes: something to recite.
const FEWEST_REST_BYTES: usize = 600;
/// Places that are looked at for each prompt, before there are fewer.
const TRIES_PER_PROMPT: usize = 50;
/// Longest runs that the report shows.
const EXAMPLES: usize = 3;

/// Runs `diffcoder-train verbatim`.
pub fn run_verbatim(args: &VerbatimArgs) -> Result<()> {
    ensure!(args.samples > 0, "--samples is 0: ask for at least one prompt");
    ensure!(
        args.max_tokens >= VERBATIM_TOKENS,
        "--max-tokens is {}: a verbatim copy has {VERBATIM_TOKENS} tokens, ask for that many at least",
        args.max_tokens
    );
    let mut engine = Engine::from_dir(&args.model)?;
    let mut sampled = Vec::new();
    for split in Split::ALL {
        let documents = read_split(&args.data, split)?;
        let prompts = prompts(&documents, args.samples);
        ensure!(
            !prompts.is_empty(),
            "{} has no document that is long enough for a prompt: collect more packages",
            split.file_name()
        );
        sampled.push((split, fills(&mut engine, prompts, args.max_tokens)?));
    }
    // Only now, so that the texts and the tokens of the corpus are never held beside each other for longer than needed.
    let corpus = Corpus::encode(read_split(&args.data, Split::Train)?, engine.tokenizer())?;
    let splits: BTreeMap<&'static str, SplitReport> = sampled
        .into_iter()
        .map(|(split, samples)| {
            let name = match split {
                Split::Train => "training",
                Split::Validation => "held-out",
            };
            Ok((name, SplitReport::of(&samples, &corpus, engine.tokenizer())?))
        })
        .collect::<Result<_>>()?;
    let report = Report { max_tokens: args.max_tokens, corpus_tokens: corpus.tokens, splits };
    print(args, &report)
}

/// A cursor at a line start with the document before it.
struct Prompt<'a> {
    path: &'a str,
    prefix: &'a str,
}

/// What the model wrote for a prompt.
struct Sample {
    path: String,
    prompt: Vec<u32>,
    fill: Vec<u32>,
}

/// At most `count` different places, as many of each language: a function of the documents alone.
fn prompts(documents: &[Document], count: usize) -> Vec<Prompt<'_>> {
    let mut by_language: BTreeMap<Language, Vec<&Document>> = BTreeMap::new();
    for document in documents {
        if document.text.len() > FEWEST_PREFIX_BYTES + FEWEST_REST_BYTES {
            by_language.entry(document.language).or_default().push(document);
        }
    }
    let mut seen = BTreeSet::new();
    let mut prompts = Vec::new();
    let wanted = count.div_ceil(by_language.len().max(1));
    for (language, documents) in &by_language {
        let mut rng = keyed([CHOICE_SEED, 0, 0, *language as u64]);
        let most = (prompts.len() + wanted).min(count);
        for _ in 0..wanted.saturating_mul(TRIES_PER_PROMPT) {
            if prompts.len() == most {
                break;
            }
            let document = documents[rng.random_range(0..documents.len())];
            let text = document.text.as_str();
            let place = rng.random_range(FEWEST_PREFIX_BYTES..text.len() - FEWEST_REST_BYTES);
            let cursor = line_start(text, text.floor_char_boundary(place));
            if cursor > 0 && seen.insert((&document.path, cursor)) {
                prompts.push(Prompt { path: &document.path, prefix: &text[..cursor] });
            }
        }
    }
    prompts
}

/// Goes on from every prompt with nothing right of the cursor: a suffix would tell the model where to stop.
fn fills(engine: &mut Engine, prompts: Vec<Prompt<'_>>, max_tokens: usize) -> Result<Vec<Sample>> {
    let bar = counter(prompts.len(), "filling")?;
    let mut samples = Vec::with_capacity(prompts.len());
    for prompt in bar.wrap_iter(prompts.into_iter()) {
        let segments =
            vec![Segment::Text(prompt.prefix.into()), Segment::Hole { draft: Arc::from("") }];
        let request = InfillRequest {
            limits: InfillLimits { max_tokens, ..InfillLimits::default() },
            ..InfillRequest::new(prompt.path, segments)
        };
        let infill = engine.infill(&request, &CancelToken::new(), &mut |_| ())?;
        let text: String = infill.holes.iter().map(|hole| hole.text.as_str()).collect();
        samples.push(Sample {
            path: prompt.path.to_owned(),
            prompt: engine.tokenizer().encode(prompt.prefix)?,
            // Encoded afresh, for a model may spell text in other tokens than the corpus does.
            fill: engine.tokenizer().encode(&text)?,
        });
    }
    Ok(samples)
}

/// The training text in tokens: four bytes a token, the texts themselves are dropped.
struct Corpus {
    documents: Vec<(String, Vec<u32>)>,
    tokens: usize,
}

impl Corpus {
    fn encode(documents: Vec<Document>, tokenizer: &Tokenizer) -> Result<Self> {
        let bar = counter(documents.len(), "encoding the corpus")?;
        let documents: Vec<(String, Vec<u32>)> = documents
            .into_par_iter()
            .map(|document| {
                let ids = tokenizer.encode(&document.text)?;
                bar.inc(1);
                Ok((document.path, ids))
            })
            .collect::<Result<_>>()?;
        bar.finish_and_clear();
        let tokens = documents.iter().map(|(_, ids)| ids.len()).sum();
        Ok(Self { documents, tokens })
    }
}

/// Places of runs: by fill, the starts of its runs with the document that holds each.
type Runs = BTreeMap<usize, BTreeMap<usize, usize>>;

/// Every run of exactly `length` tokens of `fills` that stands in a document of the corpus.
///
/// The runs of the fills are indexed, not those of the corpus, so the memory goes with the fills. Equal hashes are
/// held against the tokens themselves.
fn shared_runs(fills: &[&[u32]], corpus: &[(String, Vec<u32>)], length: usize) -> Runs {
    let mut index: HashMap<u64, Vec<(usize, usize)>> = HashMap::new();
    for (fill, tokens) in fills.iter().enumerate() {
        for (start, hash) in rolling_hashes(tokens, length) {
            index.entry(hash).or_default().push((fill, start));
        }
    }
    let found: Vec<Vec<(usize, usize, usize)>> = corpus
        .par_iter()
        .enumerate()
        .map(|(document, (_, tokens))| {
            let mut found = Vec::new();
            for (at, hash) in rolling_hashes(tokens, length) {
                for &(fill, start) in index.get(&hash).into_iter().flatten() {
                    if fills[fill][start..start + length] == tokens[at..at + length] {
                        found.push((fill, start, document));
                    }
                }
            }
            found
        })
        .collect();
    let mut runs = Runs::new();
    for (fill, start, document) in found.into_iter().flatten() {
        runs.entry(fill).or_default().entry(start).or_insert(document);
    }
    runs
}

/// Base of the polynomial hash; odd, so that no token is shifted out of the word.
const HASH_BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Start and hash of every run of `length` tokens.
fn rolling_hashes(tokens: &[u32], length: usize) -> impl Iterator<Item = (usize, u64)> {
    let leading = (1..length).fold(1u64, |power, _| power.wrapping_mul(HASH_BASE));
    let mut hash = 0u64;
    tokens.iter().enumerate().filter_map(move |(at, token)| {
        if at >= length {
            let gone = (u64::from(tokens[at - length]) + 1).wrapping_mul(leading);
            hash = hash.wrapping_sub(gone);
        }
        hash = hash.wrapping_mul(HASH_BASE).wrapping_add(u64::from(*token) + 1);
        (at + 1 >= length).then(|| (at + 1 - length, hash))
    })
}

/// Length of the longest run of a fill that stands in the corpus; 0 for none.
fn longest_run(fills: &[&[u32]], corpus: &[(String, Vec<u32>)]) -> usize {
    // A run of n + 1 tokens holds one of n, so halving the range finds the longest.
    let (mut shared, mut most) = (0, fills.iter().map(|fill| fill.len()).max().unwrap_or(0));
    while shared < most {
        let length = most - (most - shared) / 2;
        if shared_runs(fills, corpus, length).is_empty() {
            most = length - 1;
        } else {
            shared = length;
        }
    }
    shared
}

/// What came out.
#[derive(Debug, Serialize)]
struct Report {
    /// Longest fill.
    max_tokens: usize,
    /// Tokens of the training text.
    corpus_tokens: usize,
    /// By the split that the prompts are from.
    splits: BTreeMap<&'static str, SplitReport>,
}

#[derive(Debug, Serialize)]
struct SplitReport {
    samples: usize,
    /// Tokens of all fills.
    tokens: usize,
    /// Fills that are long enough to hold a verbatim copy.
    long_enough: usize,
    /// Fills with a verbatim copy over all fills.
    verbatim_rate: f64,
    /// Fills with a verbatim copy of which every run stands in the prompt too: copied from there, not recited.
    verbatim_in_prompt: usize,
    /// Fills with a run of that many tokens or more.
    with_run_of: BTreeMap<usize, usize>,
    /// Tokens of the longest run.
    longest: usize,
    /// The longest runs.
    examples: Vec<Example>,
}

#[derive(Debug, Serialize)]
struct Example {
    prompt: String,
    found_in: String,
    text: String,
}

impl SplitReport {
    fn of(samples: &[Sample], corpus: &Corpus, tokenizer: &Tokenizer) -> Result<Self> {
        let fills: Vec<&[u32]> = samples.iter().map(|sample| sample.fill.as_slice()).collect();
        let runs: BTreeMap<usize, Runs> = RUN_LENGTHS
            .into_iter()
            .map(|length| (length, shared_runs(&fills, &corpus.documents, length)))
            .collect();
        let verbatim = &runs[&VERBATIM_TOKENS];
        let in_prompt = verbatim.iter().filter(|(fill, starts)| {
            starts.keys().all(|&start| {
                let run = &fills[**fill][start..start + VERBATIM_TOKENS];
                samples[**fill].prompt.windows(VERBATIM_TOKENS).any(|window| window == run)
            })
        });
        let longest = longest_run(&fills, &corpus.documents);
        let mut examples = Vec::new();
        for (fill, starts) in shared_runs(&fills, &corpus.documents, longest.max(1)) {
            let Some((&start, &document)) = starts.first_key_value() else { continue };
            if examples.len() < EXAMPLES {
                examples.push(Example {
                    prompt: samples[fill].path.clone(),
                    found_in: corpus.documents[document].0.clone(),
                    text: tokenizer.decode(&fills[fill][start..start + longest])?,
                });
            }
        }
        Ok(Self {
            samples: samples.len(),
            tokens: fills.iter().map(|fill| fill.len()).sum(),
            long_enough: fills.iter().filter(|fill| fill.len() >= VERBATIM_TOKENS).count(),
            verbatim_rate: verbatim.len() as f64 / samples.len() as f64,
            verbatim_in_prompt: in_prompt.count(),
            with_run_of: runs.into_iter().map(|(length, runs)| (length, runs.len())).collect(),
            longest,
            examples,
        })
    }
}

impl Report {
    fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        for (name, split) in &self.splits {
            let _ = writeln!(
                text,
                "{name} prompts: {} fills of at most {} tokens, {} of {VERBATIM_TOKENS} or more",
                split.samples, self.max_tokens, split.long_enough
            );
            for (length, count) in &split.with_run_of {
                let share = 100.0 * *count as f64 / split.samples as f64;
                let _ = writeln!(text, "  run of {length:>3} tokens: {count:>5}  {share:>5.1} %");
            }
            let _ = writeln!(
                text,
                "  of {VERBATIM_TOKENS}, all in the prompt: {}; longest run: {}",
                split.verbatim_in_prompt, split.longest
            );
        }
        text
    }
}

fn print(args: &VerbatimArgs, report: &Report) -> Result<()> {
    if args.json {
        output::line(&serde_json::to_string(report)?)
    } else {
        output::write(&report.table())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(documents: &[&[u32]]) -> Vec<(String, Vec<u32>)> {
        documents.iter().enumerate().map(|(i, ids)| (format!("d{i}"), ids.to_vec())).collect()
    }

    #[test]
    fn a_planted_run_is_found_at_its_length_and_no_longer() {
        let text: Vec<u32> = (0..500).map(|i| i * 37 % 101).collect();
        let planted: Vec<u32> = [&[7; 5][..], &text[120..180], &[9; 20]].concat();
        let other: Vec<u32> = (0..90).map(|i| 1000 + i).collect();
        let corpus = corpus(&[&other[..60], &text]);
        let fills: [&[u32]; 2] = [&[1, 2, 3], &planted];
        let runs = shared_runs(&fills, &corpus, VERBATIM_TOKENS);
        assert_eq!(runs.keys().collect::<Vec<_>>(), [&1]);
        assert_eq!(runs[&1].len(), 60 - VERBATIM_TOKENS + 1);
        assert!(runs[&1].values().all(|document| *document == 1));
        assert_eq!(runs[&1].first_key_value(), Some((&5, &1)));
        assert_eq!(longest_run(&fills, &corpus), 60);
        assert!(shared_runs(&fills, &corpus, 61).is_empty());
    }

    #[test]
    fn runs_do_not_reach_over_document_ends() {
        let corpus = corpus(&[&[1, 2, 3], &[4, 5, 6]]);
        assert_eq!(longest_run(&[&[1, 2, 3, 4, 5, 6]], &corpus), 3);
        assert_eq!(longest_run(&[&[8, 9]], &corpus), 0);
        assert_eq!(longest_run(&[&[]], &corpus), 0);
    }

    #[test]
    fn equal_runs_have_equal_hashes_wherever_they_stand() {
        let tokens = [5, 0, 0, 1, 5, 0, 0, 1, 2];
        let hashes: Vec<(usize, u64)> = rolling_hashes(&tokens, 4).collect();
        assert_eq!(hashes.len(), 6);
        assert_eq!(hashes[0].1, hashes[4].1);
        assert_eq!(hashes.iter().map(|(_, hash)| hash).collect::<BTreeSet<_>>().len(), 5);
    }

    #[test]
    fn prompts_end_at_line_starts_and_repeat_themselves_on_the_next_call() {
        let document = |path: &str, text: &str| Document {
            path: path.into(),
            package: "p".into(),
            language: Language::Rust,
            text: text.into(),
        };
        let documents =
            [document("a.rs", include_str!("verbatim.rs")), document("b.rs", "fn main() {}\n")];
        let chosen = prompts(&documents, 20);
        assert_eq!(chosen.len(), 20);
        assert!(chosen.iter().all(|prompt| prompt.path == "a.rs" && prompt.prefix.ends_with('\n')));
        let again = prompts(&documents, 20);
        assert!(chosen.iter().zip(&again).all(|(a, b)| a.prefix == b.prefix));
    }
}
