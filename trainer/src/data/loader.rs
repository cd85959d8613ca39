//! Packs samples into rows of exactly T tokens; the content of a step depends on (seed, step) alone.

use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::Document;
use super::middle::line_stop;
use super::neighbours::Neighbours;
use super::sample::{Beside, Sampler};
use crate::rng::{Stream, keyed, stream};

/// Shape and seed of the batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Rows of a batch (B).
    pub rows: usize,
    /// Tokens of a row (T), a multiple of the block length.
    pub len: usize,
    /// Seed of the run.
    pub seed: u64,
}

/// The data of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Token ids, (B, T) row by row.
    pub tokens: Vec<u32>,
    /// Which tokens may be masked and count in the loss, (B, T): all but begin and layout markers.
    pub loss_mask: Vec<bool>,
    /// Which tokens are what a hole is filled with, its end tokens included, (B, T).
    pub fills: Vec<bool>,
    /// B
    pub rows: usize,
    /// T
    pub len: usize,
}

/// A part of a document that an epoch visits once.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Visit {
    document: usize,
    /// Bytes, from a line start.
    focus: Range<usize>,
    /// Estimated number of tokens, at most T.
    tokens: usize,
}

/// The order of visits in one epoch.
struct Epoch {
    number: u64,
    visits: Vec<u32>,
    /// Estimated tokens before each visit.
    starts: Vec<usize>,
}

/// Draws batches from documents.
pub struct Loader {
    documents: Arc<Vec<Document>>,
    neighbours: Neighbours,
    sampler: Sampler,
    options: LoaderOptions,
    visits: Vec<Visit>,
    rows_per_epoch: u64,
    epoch: Mutex<Option<Arc<Epoch>>>,
}

/// A row's last gap that is shorter than this is filled with plain text.
const LEAST_SAMPLE_TOKENS: usize = 64;
/// Bytes that are encoded to learn how many bytes a token has.
const MEASURED_BYTES: usize = 400_000;
/// The place of [`Stream::Data`] in a key: a sample's key adds its row and index.
const SAMPLE_TAG: u64 = 1;

impl Loader {
    /// Fails if there is no text, or if T is not a multiple of the block length.
    pub fn new(
        documents: Arc<Vec<Document>>,
        sampler: Sampler,
        options: LoaderOptions,
    ) -> anyhow::Result<Self> {
        let block = sampler.options().block_length;
        anyhow::ensure!(
            options.rows > 0 && options.len > 0 && options.len.is_multiple_of(block),
            "a batch of {} rows of {} tokens cannot be had: the length must be a multiple of the block length {block}",
            options.rows,
            options.len
        );
        let bytes_per_token = measure(&documents, &sampler)?;
        let visits = visits(&documents, options.len, bytes_per_token);
        anyhow::ensure!(!visits.is_empty(), "the corpus has no text for training");
        let tokens: usize = visits.iter().map(|visit| visit.tokens).sum();
        let rows_per_epoch = (tokens / options.len).max(1) as u64;
        let neighbours = Neighbours::new(Arc::clone(&documents));
        let epoch = Mutex::new(None);
        Ok(Self { documents, neighbours, sampler, options, visits, rows_per_epoch, epoch })
    }

    /// Steps in which the corpus is seen about once.
    pub fn steps_per_epoch(&self) -> f64 {
        self.rows_per_epoch as f64 / self.options.rows as f64
    }

    /// The batch of a step: a pure function of the documents, the options and `step`.
    pub fn batch(&self, step: u64) -> anyhow::Result<Batch> {
        let LoaderOptions { rows, len, .. } = self.options;
        let drawn: Vec<Vec<u32>> = (0..rows as u64)
            .into_par_iter()
            .map(|row| self.row(step, row))
            .collect::<anyhow::Result<_>>()?;
        let tokens = drawn.concat();
        let loss_mask = tokens.iter().map(|token| self.sampler.in_loss(*token)).collect();
        let fills = self.sampler.fills(&tokens);
        Ok(Batch { tokens, loss_mask, fills, rows, len })
    }

    /// Batches from `first_step` on, drawn ahead of their use on a thread that ends with the iterator.
    pub fn prefetch(self: Arc<Self>, first_step: u64) -> Prefetch {
        Prefetch::new(first_step, move |step| self.batch(step))
    }

    /// One row: the visits that its part of the epoch begins, then whatever fills it up.
    fn row(&self, step: u64, row: u64) -> anyhow::Result<Vec<u32>> {
        let LoaderOptions { rows, len, seed } = self.options;
        let place = step * rows as u64 + row;
        let epoch = self.epoch(place / self.rows_per_epoch);
        let begin = (place % self.rows_per_epoch) as usize * len;
        let first = epoch.starts.partition_point(|start| *start < begin);
        let last = epoch.starts.partition_point(|start| *start < begin + len);
        let mut planned = epoch.visits[first..last].iter();
        let mut tokens = Vec::with_capacity(len);
        for index in 0.. {
            let room = len - tokens.len();
            if room == 0 {
                break;
            }
            let mut rng = keyed([seed, step, SAMPLE_TAG, 1 + (row << 32 | index)]);
            let planned = planned.next();
            let visit = match planned {
                Some(visit) => *visit as usize,
                None => rng.random_range(0..self.visits.len()),
            };
            let Visit { document, focus, tokens: estimate } = &self.visits[visit];
            let beside = Beside { neighbours: &self.neighbours, index: *document };
            let document = &self.documents[*document];
            if room < LEAST_SAMPLE_TOKENS {
                tokens.extend(self.sampler.plain(&document.text[focus.start..], room)?);
                continue;
            }
            // Leaves later visits of the row their place; the surplus is for markers and a wrong estimate.
            let block = self.sampler.options().block_length;
            let wanted = (estimate + estimate / 4 + LEAST_SAMPLE_TOKENS).next_multiple_of(block);
            let document = (document, Some(beside));
            let sample =
                self.sampler.sample(document, focus.clone(), room.min(wanted), &mut rng)?;
            tokens.extend(sample.tokens);
        }
        Ok(tokens)
    }

    fn epoch(&self, number: u64) -> Arc<Epoch> {
        let mut cached = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(epoch) = cached.as_ref().filter(|epoch| epoch.number == number) {
            return Arc::clone(epoch);
        }
        let mut visits: Vec<u32> = (0..self.visits.len() as u32).collect();
        visits.shuffle(&mut stream(self.options.seed, number, Stream::Epoch));
        let mut sum = 0;
        let starts = visits
            .iter()
            .map(|visit| {
                let start = sum;
                sum += self.visits[*visit as usize].tokens;
                start
            })
            .collect();
        let epoch = Arc::new(Epoch { number, visits, starts });
        *cached = Some(Arc::clone(&epoch));
        epoch
    }
}

const PREFETCHED_BATCHES: usize = 4;

/// Batches of consecutive steps; the first error ends it.
pub struct Prefetch {
    receiver: Receiver<anyhow::Result<Batch>>,
    /// Until its end was reported.
    thread: Option<JoinHandle<()>>,
}

impl Prefetch {
    fn new(first_step: u64, draw: impl Fn(u64) -> anyhow::Result<Batch> + Send + 'static) -> Self {
        let (sender, receiver) = sync_channel(PREFETCHED_BATCHES);
        let thread = std::thread::spawn(move || {
            for step in first_step.. {
                let batch = draw(step);
                let failed = batch.is_err();
                if sender.send(batch).is_err() || failed {
                    break;
                }
            }
        });
        Self { receiver, thread: Some(thread) }
    }
}

impl Iterator for Prefetch {
    type Item = anyhow::Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Ok(batch) = self.receiver.recv() {
            return Some(batch);
        }
        // The thread is gone. Only a panic is news: an error came as an item of its own.
        let panic = self.thread.take()?.join().err()?;
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
        Some(Err(anyhow::anyhow!(
            "the thread that draws the batches panicked ({}): this is a bug in diffcoder-train",
            message.unwrap_or("without a message")
        )))
    }
}

/// Bytes of a token, from documents all over the corpus.
fn measure(documents: &[Document], sampler: &Sampler) -> anyhow::Result<f64> {
    let all: usize = documents.iter().map(|document| document.text.len()).sum();
    let stride = (all / MEASURED_BYTES).max(1);
    let (mut bytes, mut tokens) = (0, 0);
    for document in documents.iter().step_by(stride) {
        bytes += document.text.len();
        tokens += sampler.tokenizer().encode(&document.text)?.len();
    }
    Ok(bytes.max(1) as f64 / tokens.max(1) as f64)
}

/// Cuts documents at line starts into parts of about `len` tokens.
fn visits(documents: &[Document], len: usize, bytes_per_token: f64) -> Vec<Visit> {
    let part_bytes = ((len as f64 * bytes_per_token) as usize).max(1);
    let mut visits = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let text = &document.text;
        let parts = text.len().div_ceil(part_bytes).max(1);
        let mut start = 0;
        for part in 1..=parts {
            let aim = text.floor_char_boundary(text.len() * part / parts).max(start);
            let stop = (line_stop(text, aim) + 1).min(text.len());
            if stop > start {
                let tokens = ((stop - start) as f64 / bytes_per_token).ceil() as usize;
                let tokens = tokens.clamp(1, len);
                visits.push(Visit { document: index, focus: start..stop, tokens });
            }
            start = stop;
        }
    }
    visits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::sample::tests::{OPTIONS, document, tokenizer};

    fn loader(rows: usize, len: usize, seed: u64) -> Loader {
        let documents = [
            include_str!("sample.rs"),
            include_str!("middle.rs"),
            "fn main() {}\n",
            "\n",
            include_str!("../rng.rs"),
        ];
        let documents = Arc::new(documents.map(document).to_vec());
        let sampler = Sampler::new(tokenizer(), OPTIONS).unwrap();
        Loader::new(documents, sampler, LoaderOptions { rows, len, seed }).unwrap()
    }

    #[test]
    fn a_step_is_a_function_of_seed_and_step() {
        let (one, two) = (loader(2, 256, 7), loader(2, 256, 7));
        let later = two.batch(30).unwrap();
        for step in 0..30 {
            one.batch(step).unwrap();
        }
        assert_eq!(one.batch(30).unwrap(), later);
        assert_ne!(one.batch(31).unwrap(), later);
        assert_ne!(loader(2, 256, 8).batch(30).unwrap(), later);
        let ahead: Vec<_> = Arc::new(one).prefetch(29).take(2).map(Result::unwrap).collect();
        assert_eq!(ahead[1], later);
    }

    #[test]
    fn rows_are_full_and_samples_begin_on_block_edges() {
        let loader = loader(3, 256, 1);
        let special = loader.sampler.tokenizer().special().clone();
        let mut n_fills = 0;
        for step in 0..40 {
            let batch = loader.batch(step).unwrap();
            assert_eq!(batch.tokens.len(), 3 * 256);
            assert_eq!(batch.loss_mask.len(), 3 * 256);
            for row in batch.tokens.chunks(256) {
                assert_eq!(Some(row[0]), special.bos);
                for (at, pair) in row.windows(2).enumerate() {
                    let begins = Some(pair[1]) == special.bos;
                    if begins {
                        assert!((at + 1).is_multiple_of(4));
                    }
                    // After an end only ends come until the next sample begins.
                    if pair[0] == special.eos {
                        assert!(pair[1] == special.eos || begins);
                    }
                }
            }
            for (token, in_loss) in batch.tokens.iter().zip(&batch.loss_mask) {
                assert_eq!(*in_loss, loader.sampler.in_loss(*token));
            }
            let fim = special.fim.unwrap();
            let mut fill_of_sample = false;
            for (at, (&token, &fill)) in batch.tokens.iter().zip(&batch.fills).enumerate() {
                fill_of_sample &= Some(token) != special.bos;
                assert_eq!(fill, fill_of_sample, "token {at}");
                n_fills += usize::from(fill);
                fill_of_sample |= token == fim.middle;
            }
            assert!(!batch.tokens.contains(&special.mask));
        }
        assert!(n_fills > 100, "{n_fills}");
    }

    #[test]
    fn an_epoch_visits_every_byte_once() {
        let loader = loader(1, 128, 3);
        for (index, document) in loader.documents.iter().enumerate() {
            let mut end = 0;
            for visit in loader.visits.iter().filter(|visit| visit.document == index) {
                assert_eq!(visit.focus.start, end);
                assert!(end == 0 || document.text[..end].ends_with('\n'));
                end = visit.focus.end;
            }
            assert_eq!(end, document.text.len());
        }
        let mut order = loader.epoch(5).visits.clone();
        assert_ne!(order, loader.epoch(6).visits);
        order.sort_unstable();
        assert!(order.iter().copied().eq(0..loader.visits.len() as u32));
        // Every visit begins in exactly one row of the epoch, save those past its last whole row.
        let starts = &loader.epoch(5).starts;
        let covered = starts
            .partition_point(|start| *start < loader.rows_per_epoch as usize * loader.options.len);
        assert!(covered + 3 >= starts.len());
    }

    #[test]
    fn a_panic_while_drawing_is_reported_as_one() {
        let mut batches = Prefetch::new(3, |step| {
            assert!(step < 4, "no step {step}");
            Ok(Batch {
                tokens: vec![1],
                loss_mask: vec![true],
                fills: vec![false],
                rows: 1,
                len: 1,
            })
        });
        assert!(batches.next().unwrap().is_ok());
        let error = batches.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("panicked (no step 4)"), "{error}");
        assert!(batches.next().is_none());
        let mut failing = Prefetch::new(0, |_| anyhow::bail!("no data"));
        assert_eq!(failing.next().unwrap().unwrap_err().to_string(), "no data");
        assert!(failing.next().is_none());
    }

    #[test]
    fn a_length_off_the_block_grid_is_refused() {
        let sampler = Sampler::new(tokenizer(), OPTIONS).unwrap();
        let options = LoaderOptions { rows: 1, len: 127, seed: 0 };
        let documents = Arc::new(vec![document("fn main() {}\n")]);
        let error = Loader::new(documents, sampler, options).err().unwrap();
        assert!(error.to_string().contains("127"), "{error}");
    }
}
