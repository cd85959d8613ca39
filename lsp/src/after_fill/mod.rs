//! What happens to a fill between the model and the editor.
//!
//! [`Site::new`] looks at a hole before the model is asked, [`Site::finish`] turns the model's text into an edit: the
//! file's indentation and line ends, nothing twice, brackets in pairs, and no syntax error that was not there before.
//! Both are functions of their arguments alone.

mod adaptive;
mod brackets;
mod by_hand;
mod errors;
mod indent;
pub(crate) mod languages;
mod overlap;
mod site;
mod tail;

use std::ops::Range;

use diffcoder_engine::infiller::{Finish, HoleFill};

pub use adaptive::Shape;
pub use by_hand::finish_within;
pub use errors::Parsed;
pub use languages::Language;
pub use site::Site;

use crate::line_endings;
use site::{Candidate, Flaws};

/// What the model gave for a hole.
#[derive(Clone, Copy, Debug)]
pub struct Fill<'a> {
    /// Its text; lines end with `\n`.
    pub text: &'a str,
    /// Whether the model was stopped before it closed the hole itself.
    pub is_cut: bool,
    /// How far the fill may go.
    pub shape: Shape,
}

impl<'a> From<&'a HoleFill> for Fill<'a> {
    /// All that the model gave, for somebody who has asked for it.
    fn from(fill: &'a HoleFill) -> Self {
        let is_cut = matches!(fill.finish, Finish::TokenLimit | Finish::Deadline | Finish::Unsure);
        Self { text: &fill.text, is_cut, shape: Shape::Free }
    }
}

/// A replacement in the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Bytes of the document; begins with the hole, and ends in the line that the hole ends in.
    pub range: Range<usize>,
    /// What takes their place, with the document's line ends.
    pub text: String,
}

/// What was done to a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Cut to the hole's line, or to its block.
    Shape,
    /// Brought to the file's indentation.
    Indentation,
    /// Freed of what stands left of the hole.
    TypedText,
    /// Freed of lines that stand below.
    RepeatedLines,
    /// The edit reaches over text right of the hole that the fill has as well.
    Reach,
    /// Freed of closers without a partner.
    ClosersRemoved,
    /// Closed.
    ClosersAdded,
    /// Cut at its end.
    Tail,
}

/// Why a fill is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// It has no text, or none is left of it.
    Empty,
    /// It stands there already.
    Repetition,
    /// It brings an error into the file, however it is cut.
    Error,
}

/// The outcome of [`Site::finish`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The edit, or why there is none.
    pub edit: Result<Edit, Drop>,
    /// What was done on the way, in this order.
    pub steps: Vec<Step>,
    /// Where the model may try again.
    pub repair: Option<Repair>,
}

/// A part of a fill that brings an error: with the rest of the fill in place, the model may fill it anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The fill before it; lines end with `\n`.
    pub before: String,
    /// The part itself.
    pub broken: String,
    /// The fill after it.
    pub after: String,
}

/// What a text has too much of; for measuring fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// ERROR and MISSING nodes of its syntax tree.
    pub errors: usize,
    /// Brackets without a partner.
    pub lonely_brackets: usize,
}

impl Health {
    /// Looks at all of `text`, whatever its length.
    pub fn of(text: &str, language: &Language) -> Option<Self> {
        let tree = errors::Syntax::parse(language, languages::Extent::File, text)?.tree;
        let found = brackets::in_tree(&tree, &(0..text.len()));
        Some(Self {
            errors: errors::Errors::of(&tree).count,
            lonely_brackets: brackets::balance(&found, &[], &[]).n_lonely,
        })
    }
}

impl Site {
    /// Makes an edit of a fill, or finds that there is nothing worth showing.
    pub fn finish(&mut self, fill: &Fill<'_>) -> Finished {
        let mut steps = Vec::new();
        let mut repair = None;
        let edit = self.work(fill, &mut steps, &mut repair).map(|candidate| Edit {
            range: self.hole.start..self.hole.end + candidate.reach,
            text: line_endings::apply(&candidate.text, self.ending).into_owned(),
        });
        Finished { edit, steps, repair }
    }

    fn work(
        &mut self,
        fill: &Fill<'_>,
        steps: &mut Vec<Step>,
        repair: &mut Option<Repair>,
    ) -> Result<Candidate, Drop> {
        let given = line_endings::normalise(fill.text);
        if given.trim().is_empty() {
            return Err(Drop::Empty);
        }
        if overlap::repeats_all(&given, &self.after) {
            return Err(Drop::Repetition);
        }
        let text = self.trimmed(&given).to_owned();
        let mut candidate = Candidate { text, reach: 0 };
        if fill.is_cut {
            let whole = tail::without_half(&candidate.text).to_owned();
            take(&mut candidate.text, whole, Step::Tail, steps);
        }
        let shaped = self.shaped(&candidate.text, fill.shape).to_owned();
        take(&mut candidate.text, shaped, Step::Shape, steps);
        if candidate.text.trim().is_empty() {
            return Err(Drop::Empty);
        }
        self.free_of_typed_text(&mut candidate, steps);
        if !self.is_in_prose() {
            let fitted = indent::fit(&candidate.text, &self.around(&candidate.text));
            take(&mut candidate.text, fitted, Step::Indentation, steps);
        }
        self.free_of_repetition(&mut candidate, steps);
        if candidate.text.trim().is_empty() {
            return Err(Drop::Repetition);
        }
        let flaws = self.balance(&mut candidate, steps);
        let flaws = self.cut_tail(&mut candidate, flaws, steps, repair);
        self.judge(candidate, &flaws)
    }

    /// The last word: shown, unless it is nothing, nothing new, or an error.
    fn judge(&self, mut candidate: Candidate, flaws: &Flaws) -> Result<Candidate, Drop> {
        candidate.text.truncate(self.trimmed(&candidate.text).len());
        let replaced = format!("{}{}", self.draft, &self.after[..candidate.reach]);
        if candidate.text == replaced || overlap::repeats_all(&candidate.text, &self.after) {
            return Err(Drop::Repetition);
        }
        if candidate.text.trim().is_empty() {
            return Err(Drop::Empty);
        }
        if self.is_worse(&candidate, flaws) { Err(Drop::Error) } else { Ok(candidate) }
    }

    /// `text` without blanks at its end that would stand before a line end.
    fn trimmed<'a>(&self, text: &'a str) -> &'a str {
        if self.rest().trim().is_empty() { text.trim_end() } else { text }
    }

    fn shaped<'a>(&self, text: &'a str, shape: Shape) -> &'a str {
        match shape {
            Shape::Free => text,
            Shape::Line => text.split('\n').next().unwrap_or_default(),
            Shape::Block => match adaptive::block_end(text, self.line()) {
                // The line that closes the block is the file's, unless the file lacks it.
                Some((start, end))
                    if self.base.n_lonely > 0
                        && text[start..end].trim_start().starts_with(brackets::is_closer) =>
                {
                    &text[..end]
                }
                Some((start, end)) if self.is_own_closing_line(&text[start..end]) => &text[..end],
                Some((start, _)) => text[..start].trim_end(),
                None => text,
            },
        }
    }

    /// Whether `line` closes with a word what the fill's first line continues and the file does not close.
    fn is_own_closing_line(&self, line: &str) -> bool {
        let words = self.language.map_or(&[][..], |language| language.closing_words);
        let next = self.below().lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        words.contains(&line.trim()) && next.trim_end() != line.trim_end()
    }

    fn free_of_typed_text(&mut self, candidate: &mut Candidate, steps: &mut Vec<Step>) {
        let Some(rest) = overlap::without_line_start(&candidate.text, self.line()) else { return };
        let freed = Candidate { text: rest.to_owned(), reach: 0 };
        if self.flaws(&freed).weight() <= self.flaws(candidate).weight() {
            *candidate = freed;
            steps.push(Step::TypedText);
        }
    }

    /// Takes out lines that stand below, and reaches over what stands right of the hole.
    fn free_of_repetition(&mut self, candidate: &mut Candidate, steps: &mut Vec<Step>) {
        if let Some(reach) = overlap::repeated_rest(&candidate.text, self.rest()) {
            let reaching = Candidate { text: candidate.text.trim_end().to_owned(), reach };
            if self.flaws(&reaching).weight() <= self.flaws(candidate).weight() {
                *candidate = reaching;
                steps.push(Step::Reach);
            }
        }
        if !self.rest()[candidate.reach..].trim().is_empty() {
            return;
        }
        if let Some(at) = overlap::repeated_lines(&candidate.text, self.below()) {
            let cut = candidate.text[..at].trim_end().to_owned();
            take(&mut candidate.text, cut, Step::RepeatedLines, steps);
        }
        let words = self.language.map_or(&[][..], |language| language.closing_words);
        let below = self.below();
        if let Some(at) = overlap::repeated_closing_lines(&candidate.text, below, words) {
            let text = candidate.text[..at].trim_end().to_owned();
            let cut = Candidate { text, reach: candidate.reach };
            if self.flaws(&cut).weight() < self.flaws(candidate).weight() {
                *candidate = cut;
                steps.push(Step::RepeatedLines);
            }
        }
    }

    /// Chooses the reach, the closers to leave out or those to add that leave the fewest flaws.
    fn balance(&mut self, candidate: &mut Candidate, steps: &mut Vec<Step>) -> Flaws {
        let mut best = self.flaws(candidate);
        // Where a string goes on behind the hole, a bracket too many is no error.
        let mut may_reach = self.rest()[candidate.reach..]
            .chars()
            .next()
            .is_some_and(|next| brackets::has_lonely_closer(&candidate.text, next));
        if best.weight() == (0, 0) && !may_reach {
            return best;
        }
        let closers = self.with_closers(candidate, &best);
        let reaches = brackets::closing_starts(self.rest(), &candidate.text).into_iter();
        let reaches = reaches.filter(|reach| *reach > candidate.reach);
        let reaching =
            reaches.map(|reach| (Step::Reach, Candidate { reach, text: candidate.text.clone() }));
        let words = self.language.map_or(&[][..], |language| language.closing_words);
        let shorter = brackets::without_last_closers(&candidate.text, words);
        let shorter = shorter
            .into_iter()
            .map(|text| (Step::ClosersRemoved, Candidate { text, reach: candidate.reach }));
        let longer = closers.into_iter().map(|closed| (Step::ClosersAdded, closed));
        let others: Vec<(Step, Candidate)> = reaching.chain(shorter).chain(longer).collect();
        let mut chosen = None;
        for (step, other) in others {
            let flaws = self.flaws(&other);
            let is_as_good = may_reach && step == Step::Reach && flaws.weight() == best.weight();
            let is_better = flaws.weight() < best.weight() || is_as_good;
            if is_better && !other.text.trim().is_empty() {
                may_reach = false;
                best = flaws;
                chosen = Some((step, other));
            }
        }
        if let Some((step, other)) = chosen {
            *candidate = other;
            steps.push(step);
        }
        best
    }

    /// `candidate` with what closes it: brackets, words such as `end`, or the one token that the grammar misses.
    fn with_closers(&self, candidate: &Candidate, flaws: &Flaws) -> Vec<Candidate> {
        let text = &candidate.text;
        let line_indentation = |line: usize| {
            let line_text = text.split('\n').nth(line).unwrap_or_default();
            let own = indent::blanks(line_text);
            let first = indent::blanks(self.line());
            match line {
                0 if self.line().trim().is_empty() => format!("{first}{own}"),
                0 => first.to_owned(),
                _ => own.to_owned(),
            }
        };
        let start = self.before.len();
        let mut closed = brackets::with_closers(text, start, &flaws.open_in_fill, line_indentation);
        let end = start + text.len();
        let missing = flaws.errors.missing.iter();
        let at_end = missing.filter(|(at, token)| *at <= end && *at >= start && token.len() == 1);
        closed.extend(at_end.map(|(_, token)| format!("{}{token}", text.trim_end())));
        let is_open_ended = self.rest().trim().is_empty() && flaws.errors.count > 0;
        if is_open_ended && self.language.is_some_and(|language| language.has_semicolons) {
            let most_closed = closed.last().map_or(text.trim_end(), |closed| closed.trim_end());
            closed.push(format!("{most_closed};"));
        }
        if is_open_ended && flaws.errors.count > self.base.errors.count {
            let words = self.language.map_or(&[][..], |language| language.closing_words);
            closed.extend(
                words
                    .iter()
                    .map(|word| format!("{}\n{}{word}", text.trim_end(), line_indentation(0))),
            );
        }
        closed.into_iter().map(|text| Candidate { text, reach: candidate.reach }).collect()
    }

    /// Cuts at the end until no error is left that was not there before; else keeps the cut with the fewest.
    fn cut_tail(
        &mut self,
        candidate: &mut Candidate,
        flaws: Flaws,
        steps: &mut Vec<Step>,
        repair: &mut Option<Repair>,
    ) -> Flaws {
        let is_worse = self.is_worse(candidate, &flaws);
        if !is_worse && !self.is_touched(candidate, &flaws) {
            return flaws;
        }
        if is_worse {
            *repair = self.repair(candidate, &flaws);
        }
        let mut best = (flaws, candidate.clone());
        let lines = tail::line_cuts(&candidate.text);
        let first_line = lines.last().copied().unwrap_or(&candidate.text);
        let tokens = tail::token_cuts(first_line);
        let cuts: Vec<String> = lines.iter().chain(&tokens).map(|cut| (*cut).to_owned()).collect();
        for text in cuts {
            let cut = Candidate { text, reach: 0 };
            let flaws = self.flaws(&cut);
            // Half-closed ones have been the losers before: all closers, or all and a semicolon.
            let mut closed = self.with_closers(&cut, &flaws);
            closed.drain(..closed.len().saturating_sub(2));
            let mut others = vec![(flaws, cut)];
            for other in closed {
                others.push((self.flaws(&other), other));
            }
            for (flaws, other) in others {
                let is_good = !self.is_worse(&other, &flaws) && !self.is_touched(&other, &flaws);
                let is_better = is_worse && flaws.weight() < best.0.weight();
                if is_good || is_better {
                    best = (flaws, other);
                }
                if is_good {
                    *candidate = best.1;
                    steps.push(Step::Tail);
                    return best.0;
                }
            }
        }
        *candidate = best.1;
        best.0
    }

    /// The part of `candidate` around its first error.
    fn repair(&self, candidate: &Candidate, flaws: &Flaws) -> Option<Repair> {
        let span = self.span(candidate);
        let error = flaws.errors.touching(&span)?;
        let text = &candidate.text;
        let start =
            text.floor_char_boundary(error.start.saturating_sub(span.start).min(text.len()));
        let end = text.ceil_char_boundary(error.end.saturating_sub(span.start).min(text.len()));
        // To the end of the line at least: what comes after an error was written in its belief.
        let end = text[end..].find('\n').map_or(text.len(), |newline| end + newline);
        Some(Repair {
            before: text[..start].to_owned(),
            broken: text[start..end].to_owned(),
            after: text[end..].to_owned(),
        })
    }
}

/// Puts `new` in the place of `text`, and notes the step if that changes anything.
fn take(text: &mut String, new: String, step: Step, steps: &mut Vec<Step>) {
    if *text != new {
        *text = new;
        steps.push(step);
    }
}
