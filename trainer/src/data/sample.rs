//! Turns a document into one training sequence: an infilling sample in the served layout, or plain text.

use std::ops::Range;

use diffcoder_engine::prompt::budget::REST_TOKENS;
use diffcoder_engine::prompt::format::{FimParts, PromptFormat};
use diffcoder_engine::prompt::heal::fill_start;
use diffcoder_engine::prompt::related::{RELATED_SHARE, related_tokens};
use diffcoder_engine::tokenizer::{MAX_HOLES, Tokenizer};
use rand::{Rng, RngExt};

use super::Document;
use super::context::{contexts, shortened};
use super::middle::{self, Middle, MiddleKind, line_stop};
use super::multi_hole::{self, Holes, Window};
use super::neighbours::Neighbours;

/// How samples are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleOptions {
    /// Share of samples in infilling order.
    pub infill_rate: f64,
    /// Share of the infilling samples that have several holes.
    pub multi_hole_rate: f64,
    /// Share of the infilling samples with one hole that are shown text of other files, where there is some.
    pub related_rate: f64,
    /// Share of the infilling samples whose middle is one whole line.
    pub whole_line_rate: f64,
    /// Length N of a diffusion block: samples end on a block edge.
    pub block_length: usize,
}

/// One training sequence; its length is a multiple of the block length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// How its middle was chosen (that of the seam, where there are several holes); `None` for plain text.
    pub middle: Option<MiddleKind>,
}

/// Where a document stands among others.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    /// The documents.
    pub neighbours: &'a Neighbours,
    /// Which of them it is.
    pub index: usize,
}

/// Draws samples with one tokenizer.
#[derive(Clone)]
pub struct Sampler {
    tokenizer: Tokenizer,
    options: SampleOptions,
    markers: Vec<u32>,
}

const FORMAT: PromptFormat = PromptFormat::Holes;
/// How often text of other files has a place among it that somebody was at.
const PLACE_RATE: f64 = 0.3;
/// Bytes of text that are encoded for each token wanted, at first.
pub(super) const BYTES_PER_TOKEN: usize = 5;

impl Sampler {
    /// Fails if the tokenizer lacks the markers of the layout.
    pub fn new(tokenizer: Tokenizer, options: SampleOptions) -> anyhow::Result<Self> {
        anyhow::ensure!(
            options.block_length > 0
                && (0.0..=1.0).contains(&options.infill_rate)
                && (0.0..=1.0).contains(&options.multi_hole_rate)
                && (0.0..=1.0).contains(&options.related_rate)
                && (0.0..=1.0).contains(&options.whole_line_rate),
            "samples need a block length of at least 1 and rates between 0 and 1, not {}, {}, {}, {} and {}",
            options.block_length,
            options.infill_rate,
            options.multi_hole_rate,
            options.related_rate,
            options.whole_line_rate
        );
        let special = tokenizer.special();
        let (Some(bos), Some(fim), Some(rest)) = (special.bos, special.fim, special.fim_rest)
        else {
            anyhow::bail!(
                "the tokenizer lacks the begin or fill-in-the-middle tokens of our layout: train one with `diffcoder-train tokenizer`"
            );
        };
        anyhow::ensure!(
            options.multi_hole_rate == 0.0 || special.holes.is_some(),
            "the tokenizer lacks the markers of several holes: set multi_hole_rate to 0, or train one with `diffcoder-train tokenizer`"
        );
        let mut markers = vec![bos, fim.prefix, fim.suffix, fim.middle, rest];
        markers.extend(special.holes.into_iter().flatten());
        Ok(Self { tokenizer, options, markers })
    }

    /// The tokenizer that samples are made with.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The options that samples are drawn with.
    pub fn options(&self) -> SampleOptions {
        self.options
    }

    /// Whether a token may be masked and counts in the loss: all but begin and markers, for serving gives those.
    pub fn in_loss(&self, token: u32) -> bool {
        !self.markers.contains(&token)
    }

    /// Which tokens of rows of samples are what a hole is filled with: all behind the marker of the middle but markers,
    /// the end tokens included.
    pub fn fills(&self, tokens: &[u32]) -> Vec<bool> {
        let special = self.tokenizer.special();
        let middle = special.fim.map(|fim| fim.middle);
        let mut inside = false;
        let is_fill = |&token: &u32| {
            // The next sample begins a text of its own.
            inside = (inside || Some(token) == middle) && Some(token) != special.bos;
            inside && self.in_loss(token)
        };
        tokens.iter().map(is_fill).collect()
    }

    /// Draws a sample of at most `budget` tokens (a multiple of the block length) about the part `focus` (bytes, from
    /// a line start) of a document. `beside` is what stands around it, where that may be shown.
    pub fn sample(
        &self,
        (document, beside): (&Document, Option<Beside<'_>>),
        focus: Range<usize>,
        budget: usize,
        rng: &mut impl Rng,
    ) -> anyhow::Result<Sample> {
        if rng.random_bool(self.options.infill_rate)
            && let Some(middle) = self.middle(document, focus.clone(), rng)
            && let Some(tokens) = self.infill((document, beside), &middle, budget, rng)?
        {
            return Ok(Sample { tokens, middle: Some(middle.kind) });
        }
        Ok(Sample { tokens: self.plain(&document.text[focus.start..], budget)?, middle: None })
    }

    /// What the sample has to fill in.
    fn middle(
        &self,
        document: &Document,
        focus: Range<usize>,
        rng: &mut impl Rng,
    ) -> Option<Middle> {
        let Document { text, language, .. } = document;
        let rate = self.options.whole_line_rate;
        // The stream of a run without whole lines stays what it was.
        let is_line = rate > 0.0 && rng.random_bool(rate);
        let line = is_line.then(|| middle::whole_line(text, *language, focus.clone(), rng));
        line.flatten().or_else(|| middle::choose(text, *language, focus, rng))
    }

    /// Begin token and text from its start; end tokens up to the block edge if all of it fits, else cut at `budget`.
    pub fn plain(&self, text: &str, budget: usize) -> anyhow::Result<Vec<u32>> {
        let special = self.tokenizer.special();
        let mut bytes = budget * BYTES_PER_TOKEN * 2;
        loop {
            let piece = &text[..text.floor_char_boundary(bytes)];
            let mut tokens: Vec<u32> = special.bos.into_iter().collect();
            tokens.extend(self.tokenizer.encode(piece)?);
            if tokens.len() >= budget {
                tokens.truncate(budget);
                return Ok(tokens);
            }
            if piece.len() == text.len() {
                FORMAT.close(&mut tokens, special, self.options.block_length);
                return Ok(tokens);
            }
            bytes *= 2;
        }
    }

    /// The served prompt, the fills and their end tokens; `None` if the fill is too long for `budget`.
    fn infill(
        &self,
        (document, beside): (&Document, Option<Beside<'_>>),
        middle: &Middle,
        budget: usize,
        rng: &mut impl Rng,
    ) -> anyhow::Result<Option<Vec<u32>>> {
        let text = document.text.as_str();
        let block_length = self.options.block_length;
        // As served: the fill spells the word that the cut goes through.
        let mut span = fill_start(&self.tokenizer, &text[..middle.span.start])?..middle.span.end;
        let mut fill = self.tokenizer.encode(&text[span.clone()])?;
        if fill.len() > budget / 2 {
            span.end = line_stop(text, span.start).min(span.end);
            fill = self.tokenizer.encode(&text[span.clone()])?;
        }
        let (rest_text, after) = FORMAT.split_right(&text[span.end..]);
        let mut rest = self.tokenizer.encode(rest_text)?;
        rest.truncate(REST_TOKENS);
        let several = rng.random_bool(self.options.multi_hole_rate);
        // An opener, end tokens, and merges lost at both ends, for each hole besides the seam.
        let surplus = if several { MAX_HOLES * (block_length + 3) } else { 0 };
        let fixed = fill.len() + rest.len() + PromptFormat::MARKER_TOKENS + block_length + surplus;
        let Some(room) = budget.checked_sub(fixed) else { return Ok(None) };
        let room = shortened(room, rng);
        let related = match beside {
            // The stream of a run without related text stays what it was.
            Some(beside) if !several && self.options.related_rate > 0.0 => {
                let is_shown = rng.random_bool(self.options.related_rate);
                let most = if is_shown { room / RELATED_SHARE } else { 0 };
                // The word that the fill spells again is there when serving looks for names.
                let around = (&text[..middle.span.start], &text[span.end..]);
                let is_beside = is_shown && rng.random_bool(PLACE_RATE);
                let place = is_beside.then(|| beside.neighbours.place(beside.index, rng)).flatten();
                let pieces = beside.neighbours.related(beside.index, around, place, most);
                related_tokens(&self.tokenizer, FORMAT, &pieces, most)?
            }
            _ => Vec::new(),
        };
        let room = room - related.len();
        let (prefix, suffix) = contexts(&self.tokenizer, (&text[..span.start], after), room, rng)?;
        if several {
            let window = Window {
                start: span.start - prefix.bytes,
                end: text.len() - after.len() + suffix.bytes,
            };
            let holes = Holes::around(&self.tokenizer, document, span.clone(), &window, rng)?;
            let tokens =
                multi_hole::tokens(&self.tokenizer, text, (&holes, &window), block_length, rng)?;
            if let Some(tokens) = tokens.filter(|tokens| tokens.len() <= budget) {
                return Ok(Some(tokens));
            }
        }
        let prefix = [related, prefix.tokens].concat();
        let parts = FimParts { suffix: &suffix.tokens, prefix: &prefix, rest: &rest };
        let mut tokens = FORMAT.assemble(self.tokenizer.special(), parts)?;
        tokens.extend(fill);
        FORMAT.close(&mut tokens, self.tokenizer.special(), block_length);
        Ok(Some(tokens))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use diffcoder_engine::tokenizer::Tokenizer;

    use super::*;
    use crate::data::Language;
    use crate::rng::keyed;
    use crate::tokenizer_training;

    /// A tokenizer trained on this crate's own sources.
    pub(crate) fn tokenizer() -> Tokenizer {
        let texts =
            [include_str!("sample.rs"), include_str!("middle.rs"), include_str!("filter.rs")];
        let files = tokenizer_training::train(&texts, 512).unwrap();
        Tokenizer::from_json(&files.tokenizer, Some(&files.special_map), Some(&files.config))
            .unwrap()
    }

    pub(crate) fn document(text: &str) -> Document {
        Document {
            path: "demo-1.0.0/src/lib.rs".into(),
            package: "demo".into(),
            language: Language::Rust,
            text: text.into(),
        }
    }

    pub(crate) const OPTIONS: SampleOptions = SampleOptions {
        infill_rate: 0.65,
        multi_hole_rate: 0.0,
        whole_line_rate: 0.0,
        related_rate: 0.0,
        block_length: 4,
    };

    /// The texts S, P, R, F and the number of end tokens, read back from a sample.
    fn read_back(tokenizer: &Tokenizer, tokens: &[u32]) -> ([String; 4], usize) {
        let special = tokenizer.special();
        let fim = special.fim.unwrap();
        let place = |id: u32| tokens.iter().position(|token| *token == id);
        assert_eq!(place(special.bos.unwrap()), Some(0));
        assert_eq!(place(fim.suffix), Some(1));
        let (prefix, middle) = (place(fim.prefix).unwrap(), place(fim.middle).unwrap());
        let rest = place(special.fim_rest.unwrap()).unwrap_or(middle);
        let end = place(special.eos).unwrap();
        assert!(tokens[end..].iter().all(|token| *token == special.eos));
        let text = |range: Range<usize>| tokenizer.decode(&tokens[range]).unwrap();
        let rest_text = text((rest + 1).min(middle)..middle);
        let parts = [text(2..prefix), text(prefix + 1..rest), rest_text, text(middle + 1..end)];
        (parts, tokens.len() - end)
    }

    #[test]
    fn an_infilling_sample_puts_the_document_together_again() {
        let sampler =
            Sampler::new(tokenizer(), SampleOptions { infill_rate: 1.0, ..OPTIONS }).unwrap();
        let text = "fn add(left: u32, right: u32) -> u32 {\n    left.min(right)\n}\n\nfn é() {}\n";
        let document = document(text);
        let mut with_rest = 0;
        for seed in 0..300 {
            let mut rng = keyed([seed, 1, 2, 3]);
            let sample = sampler.sample((&document, None), 0..text.len(), 256, &mut rng).unwrap();
            assert!(sample.middle.is_some());
            assert!(sample.tokens.len() <= 256 && sample.tokens.len().is_multiple_of(4));
            let ([suffix, prefix, rest, fill], ends) =
                read_back(sampler.tokenizer(), &sample.tokens);
            assert!((1..=4).contains(&ends));
            assert!(!rest.contains('\n'));
            with_rest += usize::from(!rest.is_empty());
            let seam = if suffix.is_empty() && !text.ends_with(&format!("{fill}{rest}\n")) {
                ""
            } else {
                "\n"
            };
            assert_eq!(format!("{prefix}{fill}{rest}{seam}{suffix}"), text);
            let encode = |text: &str| sampler.tokenizer().encode(text).unwrap();
            // No word is cut, but indentation may be.
            if !prefix.ends_with([' ', '\n']) {
                let whole = encode(&format!("{prefix}{fill}"));
                assert_eq!([encode(&prefix), encode(&fill)].concat(), whole, "{prefix}|{fill}");
            }
            // The same parts give the prompt that serving makes.
            let (suffix, prefix, rest) = (encode(&suffix), encode(&prefix), encode(&rest));
            let parts = FimParts { suffix: &suffix, prefix: &prefix, rest: &rest };
            let prompt =
                PromptFormat::Holes.assemble(sampler.tokenizer().special(), parts).unwrap();
            assert_eq!(sample.tokens[..prompt.len()], prompt);
        }
        assert!(with_rest > 20);
    }

    #[test]
    fn whole_lines_are_filled_with_their_indentation_or_behind_it() {
        let options = SampleOptions { infill_rate: 1.0, whole_line_rate: 1.0, ..OPTIONS };
        let sampler = Sampler::new(tokenizer(), options).unwrap();
        let text = "fn add(left: u32) -> u32 {\n    // Why.\n    left.min(7)\n}\n";
        let document = document(text);
        let (mut with, mut without) = (0, 0);
        for seed in 0..100 {
            let mut rng = keyed([seed, 4, 3, 2]);
            let sample = sampler.sample((&document, None), 0..text.len(), 256, &mut rng).unwrap();
            let ([.., rest, fill], _) = read_back(sampler.tokenizer(), &sample.tokens);
            assert_eq!(rest, "");
            assert!(text.lines().any(|line| line.ends_with(&fill)), "{fill:?}");
            assert!(!fill.contains("Why"));
            with += usize::from(fill == "    left.min(7)");
            without += usize::from(fill == "left.min(7)");
        }
        assert!(with > 5 && without > 5, "{with} with and {without} without indentation");
    }

    #[test]
    fn long_documents_are_cut_around_the_hole() {
        let sampler =
            Sampler::new(tokenizer(), SampleOptions { infill_rate: 1.0, ..OPTIONS }).unwrap();
        let text = include_str!("sample.rs");
        let document = document(text);
        let (mut infills, mut full) = (0, 0);
        for seed in 0..100 {
            let mut rng = keyed([seed, 9, 9, 9]);
            let sample = sampler.sample((&document, None), 2000..4000, 512, &mut rng).unwrap();
            assert!(sample.tokens.len() <= 512);
            if sample.middle.is_none() {
                continue;
            }
            infills += 1;
            full += usize::from(sample.tokens.len() > 440);
            let ([suffix, prefix, rest, fill], _) = read_back(sampler.tokenizer(), &sample.tokens);
            let around = format!("{prefix}{fill}{rest}\n{suffix}");
            assert!(text.contains(&around), "{around}");
        }
        assert!(infills > 90 && full > infills * 3 / 10, "{infills} {full}");
    }

    #[test]
    fn text_of_other_files_stands_in_front_of_the_prefix() {
        let text = include_str!("sample.rs");
        let other = Document {
            path: "demo-1.0.0/src/budget.rs".into(),
            ..document("pub struct Sample(u32);\n\nfn nowhere() {}\n")
        };
        let documents = Arc::new(vec![document(text), other]);
        let neighbours = Neighbours::new(Arc::clone(&documents));
        let beside = Some(Beside { neighbours: &neighbours, index: 0 });
        let options = SampleOptions { infill_rate: 1.0, related_rate: 0.5, ..OPTIONS };
        let sampler = Sampler::new(tokenizer(), options).unwrap();
        let piece = "// src/budget.rs\npub struct Sample(u32);\n\n";
        let place = "// src/budget.rs\npub struct Sample(u32);\n\nfn nowhere() {}\n\n";
        let (mut shown, mut places) = (0, 0);
        for seed in 0..200 {
            let mut rng = keyed([seed, 5, 5, 5]);
            let sample =
                sampler.sample((&documents[0], beside), 2000..4000, 512, &mut rng).unwrap();
            assert!(sample.tokens.len() <= 512 && sample.tokens.len().is_multiple_of(4));
            if sample.middle.is_none() {
                continue;
            }
            let ([suffix, prefix, rest, fill], _) = read_back(sampler.tokenizer(), &sample.tokens);
            let after_place = prefix.strip_prefix(place);
            places += usize::from(after_place.is_some());
            let prefix = after_place.unwrap_or(&prefix);
            shown += usize::from(prefix.starts_with(piece));
            let prefix = prefix.strip_prefix(piece).unwrap_or(prefix);
            let around = format!("{prefix}{fill}{rest}\n{suffix}");
            assert!(text.contains(&around), "{around}");
        }
        assert!((20..120).contains(&shown) && (5..50).contains(&places), "{shown} {places}");
    }

    /// The text of a sample with several holes put together again, and its number of holes.
    fn put_together(tokenizer: &Tokenizer, tokens: &[u32]) -> (String, usize) {
        let special = tokenizer.special();
        let (fim, markers) = (special.fim.unwrap(), special.holes.unwrap());
        let place = |id: u32| tokens.iter().position(|token| *token == id);
        let (prefix, middle) = (place(fim.prefix).unwrap(), place(fim.middle).unwrap());
        let rest = place(special.fim_rest.unwrap()).unwrap_or(middle);
        let mut fills = std::collections::BTreeMap::new();
        let first = middle + tokens[middle..].iter().take_while(|t| **t == fim.middle).count();
        assert!(first.is_multiple_of(4));
        let mut at = first;
        while at < tokens.len() {
            assert!(markers.contains(&tokens[at]) && at.is_multiple_of(4));
            let end = at + tokens[at..].iter().position(|t| *t == special.eos).unwrap();
            assert!(fills.insert(tokens[at], tokens[at + 1..end].to_vec()).is_none());
            at = end + tokens[end..].iter().take_while(|t| **t == special.eos).count();
        }
        let filled = |part: &[u32]| {
            let part = part.iter().flat_map(|token| match fills.get(token) {
                Some(fill) if *token != markers[0] => fill.clone(),
                _ => vec![*token],
            });
            tokenizer.decode(&part.collect::<Vec<_>>()).unwrap()
        };
        let parts = [
            filled(&tokens[prefix + 1..rest]),
            tokenizer.decode(&fills[&markers[0]]).unwrap(),
            filled(&tokens[(rest + 1).min(middle)..middle]),
            filled(&tokens[2..prefix]),
        ];
        let [prefix, seam, rest, suffix] = parts;
        let line_end = if suffix.is_empty() { "" } else { "\n" };
        (format!("{prefix}{seam}{rest}{line_end}{suffix}"), fills.len())
    }

    #[test]
    fn several_holes_put_the_document_together_again() {
        let options = SampleOptions { infill_rate: 1.0, multi_hole_rate: 1.0, ..OPTIONS };
        let sampler = Sampler::new(tokenizer(), options).unwrap();
        let text = include_str!("sample.rs");
        let document = document(text);
        let markers = sampler.tokenizer().special().holes.unwrap();
        let mut counts = [0; MAX_HOLES + 1];
        for seed in 0..200 {
            let mut rng = keyed([seed, 4, 4, 4]);
            let sample = sampler.sample((&document, None), 3000..5000, 512, &mut rng).unwrap();
            assert!(sample.tokens.len() <= 512 && sample.tokens.len().is_multiple_of(4));
            if !sample.tokens.contains(&markers[0]) {
                continue;
            }
            let (around, holes) = put_together(sampler.tokenizer(), &sample.tokens);
            counts[holes] += 1;
            assert!(text.contains(&around), "{around}");
            for token in &sample.tokens {
                assert_eq!(sampler.in_loss(*token), !sampler.markers.contains(token));
            }
        }
        assert_eq!(counts[0] + counts[1], 0);
        assert!(counts[2..].iter().all(|count| *count >= 5), "{counts:?}");
    }

    #[test]
    fn plain_text_ends_on_a_block_edge_or_fills_the_budget() {
        let sampler =
            Sampler::new(tokenizer(), SampleOptions { infill_rate: 0.0, ..OPTIONS }).unwrap();
        let eos = sampler.tokenizer().special().eos;
        let text = "fn f() {}\n";
        let tokens = sampler.plain(text, 64).unwrap();
        assert!(tokens.len().is_multiple_of(4) && tokens.last() == Some(&eos));
        assert_eq!(sampler.tokenizer().decode(&tokens).unwrap(), text);
        let long = sampler.plain(&text.repeat(100), 64).unwrap();
        assert_eq!(long.len(), 64);
        assert!(!long.contains(&eos));
    }

    #[test]
    fn markers_are_not_in_the_loss_and_ends_are() {
        let sampler = Sampler::new(tokenizer(), OPTIONS).unwrap();
        let special = sampler.tokenizer().special().clone();
        let fim = special.fim.unwrap();
        for marker in [special.bos.unwrap(), fim.prefix, fim.suffix, fim.middle] {
            assert!(!sampler.in_loss(marker));
        }
        assert!(sampler.in_loss(special.eos));
    }
}
