//! Finds what may be wrong in a text: what is under diagnostics, and what the model would not have written.

use std::ops::Range;

use super::{PlannedHole, is_word};

/// Most holes for unlikely tokens; what is under diagnostics comes on top.
const MOST_UNLIKELY: usize = 3;

/// A token is suspicious where the model would rather have written another one, by this factor at least.
const LEAST_FACTOR: f64 = 20.0;

/// A token of the text, as the model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Bytes of the document.
    pub span: Range<usize>,
    /// Natural logarithm of its probability.
    pub log_probability: f64,
    /// Natural logarithm of the probability of the likeliest token at its place.
    pub best_log_probability: f64,
}

impl Judged {
    /// How much rather the model would have written something else there. A place where many things can stand counts
    /// for little, unlike the bare probability.
    fn surprise(&self) -> f64 {
        self.best_log_probability - self.log_probability
    }
}

/// The places to fill anew, in reading order and apart from each other: what is under `diagnostics`, and the least likely
/// of `tokens`, each out to the edges of its word.
pub fn suspects(text: &str, tokens: &[Judged], diagnostics: &[Range<usize>]) -> Vec<PlannedHole> {
    let mut found: Vec<PlannedHole> = diagnostics
        .iter()
        .map(|span| to_words(text, trimmed(text, or_next(text, span.clone()))))
        .filter(|span| !span.is_empty())
        .map(|span| PlannedHole { span, reason: "under a diagnostic".to_owned() })
        .collect();
    let mut ranked: Vec<(&Judged, Range<usize>)> = (tokens.iter())
        .filter(|token| token.surprise() >= LEAST_FACTOR.ln())
        .map(|token| (token, trimmed(text, token.span.clone())))
        .filter(|(_, span)| !span.is_empty())
        .collect();
    ranked.sort_by(|(a, _), (b, _)| b.surprise().total_cmp(&a.surprise()));
    let mut n_unlikely = 0;
    for (token, span) in ranked {
        if n_unlikely == MOST_UNLIKELY {
            break;
        }
        let span = to_words(text, span);
        if found.iter().any(|hole| hole.span.start <= span.start && span.end <= hole.span.end) {
            continue;
        }
        n_unlikely += 1;
        let percent = 100.0 * token.log_probability.exp();
        found.push(PlannedHole { span, reason: format!("unlikely: {percent:.1} %") });
    }
    found.sort_by_key(|hole| (hole.span.start, hole.span.end));
    let mut apart: Vec<PlannedHole> = Vec::with_capacity(found.len());
    for hole in found {
        match apart.last_mut() {
            // Holes that touch are one: nothing would hold them apart.
            Some(last) if hole.span.start <= last.span.end => {
                last.span.end = last.span.end.max(hole.span.end);
            }
            _ => apart.push(hole),
        }
    }
    apart
}

/// `span`, or where it is empty the character behind it, else the one before it.
fn or_next(text: &str, span: Range<usize>) -> Range<usize> {
    if !span.is_empty() {
        return span;
    }
    let next = text[span.end..].chars().next().filter(|char| !char.is_whitespace());
    let previous = text[..span.start].chars().next_back().filter(|char| !char.is_whitespace());
    match (next, previous) {
        (Some(next), _) => span.start..span.end + next.len_utf8(),
        (None, Some(previous)) => span.start - previous.len_utf8()..span.end,
        (None, None) => span,
    }
}

/// `span` without blanks at its ends.
fn trimmed(text: &str, span: Range<usize>) -> Range<usize> {
    let part = &text[span.clone()];
    let start = span.start + (part.len() - part.trim_start().len());
    start..(span.start + part.trim_end().len()).max(start)
}

/// `span` out to the edges of the words that it cuts.
fn to_words(text: &str, span: Range<usize>) -> Range<usize> {
    let first = text[span.clone()].chars().next().is_some_and(is_word);
    let last = text[span.clone()].chars().next_back().is_some_and(is_word);
    let start = if first { text[..span.start].trim_end_matches(is_word).len() } else { span.start };
    let rest = &text[span.end..];
    let more = if last { rest.len() - rest.trim_start_matches(is_word).len() } else { 0 };
    start..span.end + more
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens of `text` cut at blanks, each with its surprise.
    fn judged(text: &str, surprises: &[f64]) -> Vec<Judged> {
        let mut at = 0;
        let tokens: Vec<Judged> = text
            .split_inclusive(' ')
            .zip(surprises)
            .map(|(token, surprise)| {
                at += token.len();
                Judged {
                    span: at - token.len()..at,
                    log_probability: -surprise - 0.1,
                    best_log_probability: -0.1,
                }
            })
            .collect();
        assert_eq!(at, text.len());
        tokens
    }

    fn found<'a>(text: &'a str, surprises: &[f64], diagnostics: &[Range<usize>]) -> Vec<&'a str> {
        let holes = suspects(text, &judged(text, surprises), diagnostics);
        holes.into_iter().map(|hole| &text[hole.span]).collect()
    }

    #[test]
    fn the_least_likely_tokens_become_holes_in_reading_order() {
        let text = "let total = first - second ;";
        assert_eq!(found(text, &[0.0; 7], &[]), [""; 0]);
        assert_eq!(found(text, &[0.0, 0.0, 0.0, 0.0, 9.0, 0.0, 0.0], &[]), ["-"]);
        assert_eq!(
            found(text, &[4.0, 9.0, 2.9, 3.1, 8.0, 7.0, 0.0], &[]),
            ["total", "-", "second"]
        );
    }

    #[test]
    fn a_place_where_anything_can_stand_is_not_suspicious() {
        let text = "a b";
        let token =
            |span, best: f64| Judged { span, log_probability: -8.0, best_log_probability: best };
        let holes = suspects(text, &[token(0..2, -6.0), token(2..3, -0.5)], &[]);
        assert_eq!(holes.len(), 1);
        assert_eq!((holes[0].span.clone(), holes[0].reason.as_str()), (2..3, "unlikely: 0.0 %"));
    }

    #[test]
    fn diagnostics_reach_to_the_edges_of_words_and_blanks_do_not_count() {
        let text = "let über = wert + ;";
        let at = |word: &str| text.find(word).unwrap();
        let one = |span: Range<usize>| found(text, &[0.0; 6], std::slice::from_ref(&span));
        assert_eq!(one(at("ber")..at("ber") + 1), ["über"]);
        assert_eq!(one(at("wert")..at("wert")), ["wert"]);
        assert_eq!(one(text.len()..text.len()), [";"]);
        assert_eq!(one(at("=") + 1..at("=") + 2), [""; 0]);
        let touching = [at("wert")..at("wert") + 4, at("wert") + 4..at("+") + 1];
        assert_eq!(found(text, &[0.0; 6], &touching), ["wert", "+"]);
        let overlapping = [at("wert")..at("+") + 1, at("+")..at("+") + 1];
        assert_eq!(found(text, &[0.0, 0.0, 0.0, 0.0, 9.0, 0.0], &overlapping), ["wert +"]);
    }
}
