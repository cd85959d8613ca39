//! Self-speculative decoding: logits of canvases that will probably come up, ahead of time.
//!
//! A forward also says what the model would make of the masks that it leaves. These guesses, and what stood behind the same text
//! before, make a tree of the canvases of the next steps; the most probable of them ride in the next forward as
//! [branches](crate::model::Branch). A step whose canvas is among them finds its logits there and needs no forward. They are the
//! logits of the same tokens behind the same keys, so a fill comes out as it does without (but for how sums round); only
//! forwards are saved, for rows that may be in vain (arXiv 2510.04147; the tree here goes on into the next blocks).

use std::ops::Range;

use super::canvas::Canvas;
use super::copy;
use super::policy::DecodeOrder;
use super::sample::Choice;
use crate::model::Branch;

/// Most rows of a forward that computes ahead: on a CPU rows cost time, and from 128 on they count as those of a prompt.
const MOST_ROWS: usize = 64;
/// Tokens that are guessed for one mask.
pub(super) const CANDIDATES: usize = 3;
/// How probable it is that text goes on as it did behind the same tokens before.
const COPY_PROBABILITY: f64 = 0.5;

/// What a forward would have made of a mask that it left.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Guess {
    pub(super) position: usize,
    /// Most probable first.
    pub(super) candidates: Vec<Choice>,
}

/// What a guess depends on besides the guesses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outlook<'a> {
    pub(super) canvas: &'a Canvas,
    pub(super) guesses: &'a [Guess],
    pub(super) block_length: usize,
    pub(super) order: DecodeOrder,
    /// The token that ends a fill and comes after everything left of it.
    pub(super) end: Option<u32>,
    /// Least probability of a canvas.
    pub(super) least: f64,
    /// Rows that the forward has anyway.
    pub(super) rows: usize,
}

/// A canvas from the first place of a block on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    tokens: Vec<u32>,
    /// Index of its first mask.
    first_mask: usize,
}

impl State {
    pub(super) fn branch(&self) -> Branch<'_> {
        Branch { tokens: &self.tokens, logits_from: self.first_mask }
    }
}

/// A canvas that may come up.
#[derive(Clone, Debug)]
struct Node {
    /// From the first place of the block on.
    tokens: Vec<u32>,
    /// Positions that are masks.
    masked: Vec<usize>,
    probability: f64,
}

impl Outlook<'_> {
    /// The canvases that may come up after steps of one token each, most probable first.
    pub(super) fn states(self, block: &Range<usize>) -> Vec<State> {
        let masked = self.canvas.masked_in(block.clone());
        let Some(&first) = masked.first() else { return Vec::new() };
        let mask = self.canvas.tokens()[first];
        let tokens = self.canvas.tokens()[block.clone()].to_vec();
        let mut open = vec![Node { tokens, masked, probability: 1.0 }];
        let (mut states, mut rows) = (Vec::new(), self.rows);
        while let Some(best) = (0..open.len())
            .rev()
            .max_by(|&a, &b| open[a].probability.total_cmp(&open[b].probability))
        {
            let node = open.swap_remove(best);
            if node.tokens != self.canvas.tokens()[block.clone()] {
                rows += node.tokens.len();
                if rows > MOST_ROWS {
                    break;
                }
                let first_mask = node.masked[0] - block.start;
                states.push(State { tokens: node.tokens.clone(), first_mask });
            }
            let Some((position, candidates)) = self.next(block.start, &node) else { continue };
            for Choice { token, confidence } in candidates {
                let probability = node.probability * confidence;
                // Nothing is decided behind the end.
                if probability < self.least || Some(token) == self.end {
                    continue;
                }
                let Node { mut tokens, mut masked, .. } = node.clone();
                tokens[position - block.start] = token;
                masked.retain(|&other| other != position);
                if masked.is_empty() {
                    let end = block.start + tokens.len();
                    masked.extend(end..(end + self.block_length).min(self.canvas.len()));
                    tokens.resize(tokens.len() + masked.len(), mask);
                }
                if !masked.is_empty() {
                    open.push(Node { tokens, masked, probability });
                }
            }
        }
        states
    }

    /// The place that is decided next, and what may come there.
    fn next(self, start: usize, node: &Node) -> Option<(usize, Vec<Choice>)> {
        let first = node.masked[0];
        let waits =
            |guess: &Guess| Some(guess.candidates[0].token) == self.end && guess.position != first;
        let is_open = |guess: &&Guess| node.masked.contains(&guess.position) && !waits(guess);
        let mut guesses = self.guesses.iter().filter(is_open);
        let guess = match self.order {
            DecodeOrder::LeftToRight => guesses.find(|guess| guess.position == first),
            DecodeOrder::SurestFirst => guesses
                .rev()
                .max_by(|a, b| a.candidates[0].confidence.total_cmp(&b.candidates[0].confidence)),
        };
        let position = guess.map_or(first, |guess| guess.position);
        let mut candidates = guess.map_or_else(Vec::new, |guess| guess.candidates.clone());
        if position == first
            && let Some(token) = self.copied(start, node)
        {
            let known = candidates.iter().position(|choice| choice.token == token);
            let confidence = known.map_or(0.0, |at| candidates.swap_remove(at).confidence);
            candidates.push(Choice { token, confidence: confidence.max(COPY_PROBABILITY) });
        }
        (!candidates.is_empty()).then_some((position, candidates))
    }

    /// What stood behind the text of a canvas up to its first mask before.
    fn copied(self, start: usize, node: &Node) -> Option<u32> {
        let decided = &node.tokens[..node.masked[0] - start];
        let (prompt, tokens) = (self.canvas.prompt_len(), self.canvas.tokens());
        let generated = match start.checked_sub(prompt) {
            Some(_) => [&tokens[prompt..start], decided].concat(),
            None => decided[prompt - start..].to_vec(),
        };
        let history = [self.canvas.before_hole(), &generated].concat();
        copy::continuation(&history, 1).first().copied()
    }
}

/// Canvases whose logits are known.
#[derive(Debug, Default)]
pub(super) struct Foreseen {
    /// Where the tokens of each begin.
    start: usize,
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    state: State,
    logits: Vec<Vec<f32>>,
}

impl Foreseen {
    /// Forgets what was known; `logits` hold a row for each place of each state from its first mask on.
    pub(super) fn replace(
        &mut self,
        start: usize,
        states: Vec<State>,
        mut logits: impl Iterator<Item = Vec<f32>>,
    ) {
        self.start = start;
        self.known.clear();
        for state in states {
            let wanted = state.tokens.len() - state.first_mask;
            self.known.push(Known { state, logits: logits.by_ref().take(wanted).collect() });
        }
    }

    /// The logits of the canvas up to `end` where they are known, from its first mask on, which stands at `first`.
    pub(super) fn take(
        &mut self,
        canvas: &Canvas,
        first: usize,
        end: usize,
    ) -> Option<Vec<Vec<f32>>> {
        let tokens = canvas.tokens().get(self.start..end)?;
        // A mask may have been committed as a token: then the first place that is open is another.
        let is_it = |Known { state, .. }: &Known| {
            state.tokens == tokens && self.start + state.first_mask == first
        };
        let at = self.known.iter().position(is_it)?;
        Some(self.known.swap_remove(at).logits)
    }
}
