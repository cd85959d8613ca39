//! The place of a hole: the text around it, its syntax and brackets, and what a candidate would do to them.

use std::ops::Range;

use super::adaptive::{self, Shape};
use super::brackets::{self, Balance, Bracket};
use super::errors::{Errors, Parsed, Syntax};
use super::indent::{Around, Unit};
use super::languages::{Extent, Language};
use crate::line_endings::{self, LineEnding};

/// Most bytes that are looked at on each side of a hole; parsing more would take longer than a keystroke.
const WINDOW_BYTES: usize = 48 << 10;

/// A hole in a document, looked at once before its fill comes.
///
/// Lines end with `\n` in here; only the part of a large document that is near the hole is kept.
#[derive(Debug)]
pub struct Site {
    /// Text left of the hole.
    pub(super) before: String,
    /// What stands in the hole.
    pub(super) draft: String,
    /// All three together.
    whole: String,
    /// Text right of the hole.
    pub(super) after: String,
    pub(super) language: Option<&'static Language>,
    /// The hole in the document.
    pub(super) hole: Range<usize>,
    pub(super) ending: LineEnding,
    unit: Option<Unit>,
    extent: Extent,
    syntax: Option<Syntax>,
    brackets_before: Vec<Bracket>,
    brackets_after: Vec<Bracket>,
    /// What is wrong without a fill.
    pub(super) base: Flaws,
}

/// A fill under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) text: String,
    /// Bytes right of the hole that the text replaces as well.
    pub(super) reach: usize,
}

/// What is wrong with a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flaws {
    pub(super) errors: Errors,
    /// Brackets without a partner.
    pub(super) n_lonely: usize,
    /// Brackets that the fill leaves open.
    pub(super) open_in_fill: Vec<Bracket>,
}

impl Flaws {
    /// Errors and lonely brackets, then the extent of the errors: the less the better.
    pub(super) fn weight(&self) -> (usize, usize) {
        (self.errors.count + self.n_lonely, self.errors.bytes)
    }
}

impl Site {
    /// Looks at the hole `span` of `text`, on character boundaries.
    pub fn new(text: &str, span: Range<usize>, language: Option<&'static Language>) -> Self {
        Self::again(text, span, language, None)
    }

    /// As [`Self::new`] for a document that was looked at before: only what has changed since is parsed.
    pub fn again(
        text: &str,
        span: Range<usize>,
        language: Option<&'static Language>,
        earlier: Option<&Parsed>,
    ) -> Self {
        let window = window(text, &span);
        let before = line_endings::normalise(&text[window.start..span.start]).into_owned();
        let draft = line_endings::normalise(&text[span.clone()]).into_owned();
        let after = line_endings::normalise(&text[span.end..window.end]).into_owned();
        let whole = format!("{before}{draft}{after}");
        let extent = if window.start > 0 { Extent::Part } else { Extent::File };
        let syntax =
            language.and_then(|language| Syntax::parse_again(language, extent, &whole, earlier));
        let at = before.len() + draft.len();
        let (brackets_before, brackets_draft, brackets_after) = match &syntax {
            Some(syntax) => {
                let mut all = brackets::in_tree(&syntax.tree, &(0..whole.len()));
                let right = all.split_off(all.partition_point(|bracket| bracket.at < at));
                let draft = all.split_off(all.partition_point(|bracket| bracket.at < before.len()));
                (all, draft, right)
            }
            None => (
                brackets::in_text(&before, 0),
                brackets::in_text(&draft, before.len()),
                brackets::in_text(&after, at),
            ),
        };
        let base = brackets::balance(&brackets_before, &brackets_draft, &brackets_after);
        let errors = syntax.as_ref().map(|syntax| Errors::of(&syntax.tree)).unwrap_or_default();
        let is_sound = syntax.is_some() && errors.count == 0;
        let n_lonely = if is_sound { 0 } else { base.n_lonely };
        let base = Flaws { errors, n_lonely, open_in_fill: base.open_in_fill };
        Self {
            unit: Unit::of(&whole),
            extent,
            ending: line_endings::detect(text),
            hole: span,
            before,
            draft,
            after,
            whole,
            language,
            syntax,
            brackets_before,
            brackets_after,
            base,
        }
    }

    /// What was parsed, for the next look at the document.
    pub fn parsed(&self) -> Option<Parsed> {
        let (language, syntax) = (self.language?, self.syntax.as_ref()?);
        let (text, tree) = (self.whole.clone(), syntax.tree.clone());
        Some(Parsed { language, extent: self.extent, text, tree })
    }

    /// How much to show at this place when nobody has asked.
    pub fn shape(&self) -> Shape {
        if !self.draft.is_empty() {
            return Shape::Free;
        }
        let tree = self.syntax.as_ref().map(|syntax| &syntax.tree);
        adaptive::shape(
            (tree, self.language),
            self.before.len(),
            (self.line(), self.rest()),
            self.above(),
        )
    }

    /// The hole's line left of the hole.
    pub(super) fn line(&self) -> &str {
        self.before.rsplit('\n').next().unwrap_or_default()
    }

    /// The line right of the hole.
    pub(super) fn rest(&self) -> &str {
        self.after.split('\n').next().unwrap_or_default()
    }

    /// What stands below the line that the hole ends in.
    pub(super) fn below(&self) -> &str {
        self.after.split_once('\n').map_or("", |(_, below)| below)
    }

    /// The last line above the hole's with text on it.
    fn above(&self) -> &str {
        self.lines_above().rsplit('\n').next().unwrap_or_default()
    }

    /// What stands above the hole's line, without blank lines at its end.
    fn lines_above(&self) -> &str {
        self.before[..self.before.len() - self.line().len()].trim_end()
    }

    /// What the lines of `fill` have to go by; its own kind of indentation where the file has none.
    pub(super) fn around(&self, fill: &str) -> Around<'_> {
        let last = self.above();
        let above_opens = adaptive::opens_block(last, self.language);
        let above = brackets::statement_line(self.lines_above(), &self.brackets_before);
        let goes_on = last.ends_with('\\') || brackets::goes_on(&self.brackets_before);
        let unit = self.unit.or_else(|| Unit::of(fill)).unwrap_or(Unit::Spaces(4));
        Around { line: self.line(), above, above_opens, goes_on, unit }
    }

    /// Whether a comment or a string goes on at both sides of the hole.
    pub(super) fn is_in_prose(&self) -> bool {
        self.syntax
            .as_ref()
            .is_some_and(|syntax| super::errors::in_prose(&syntax.tree, self.before.len()))
    }

    /// What would be wrong with the text with `candidate` in it.
    pub(super) fn flaws(&mut self, candidate: &Candidate) -> Flaws {
        let start = self.before.len();
        let end = start + candidate.text.len();
        let span = start..start + self.draft.len() + candidate.reach;
        let from = self.brackets_after.partition_point(|bracket| bracket.at < span.end);
        let mut balance = None;
        let mut errors = Errors::default();
        if let Some(syntax) = &mut self.syntax {
            let right = &self.after[candidate.reach..];
            let new = format!("{}{}{right}", self.before, candidate.text);
            if let Some(tree) = syntax.reparse(&self.whole, &new, span, candidate.text.len()) {
                errors = Errors::of(&tree);
                if errors.count == 0 {
                    return Flaws::default();
                }
                let fill = brackets::in_tree(&tree, &(start..end));
                // Without the fill a string may be open, and then all that follows was read inside out.
                let reread = (self.base.errors.count > 0)
                    .then(|| brackets::in_tree(&tree, &(end..new.len())));
                let after = reread.as_deref().unwrap_or(&self.brackets_after[from..]);
                balance = Some(brackets::balance(&self.brackets_before, &fill, after));
            }
        }
        let Balance { n_lonely, open_in_fill } = balance.unwrap_or_else(|| {
            let fill = brackets::in_text(&candidate.text, start);
            brackets::balance(&self.brackets_before, &fill, &self.brackets_after[from..])
        });
        Flaws { errors, n_lonely, open_in_fill }
    }

    /// The span of `candidate` in the text that it makes.
    pub(super) fn span(&self, candidate: &Candidate) -> Range<usize> {
        self.before.len()..self.before.len() + candidate.text.len()
    }

    /// Whether one of `flaws` lies in `candidate` or next to it.
    pub(super) fn is_touched(&self, candidate: &Candidate, flaws: &Flaws) -> bool {
        flaws.errors.touching(&self.span(candidate)).is_some()
    }

    /// Whether `flaws` of `candidate` are more than the place had without a fill.
    pub(super) fn is_worse(&self, candidate: &Candidate, flaws: &Flaws) -> bool {
        // Errors that cover the fill itself are counted; one that swallows the text around it shows in the bytes.
        const SLACK_BYTES: usize = 32;
        flaws.errors.count > self.base.errors.count
            || flaws.n_lonely > self.base.n_lonely
            || flaws.errors.bytes > self.base.errors.bytes + candidate.text.len() + SLACK_BYTES
    }
}

/// The part of `text` that is looked at: from a line at the margin to a line at the margin, where there are such.
fn window(text: &str, span: &Range<usize>) -> Range<usize> {
    let is_margin = |at: usize| {
        let next = text.as_bytes().get(at);
        text.as_bytes()[at - 1] == b'\n' && next.is_some_and(|byte| !b" \t\r\n})]#".contains(byte))
    };
    let start = match span.start.checked_sub(WINDOW_BYTES) {
        None | Some(0) => 0,
        Some(from) => (from..span.start)
            .find(|at| is_margin(*at))
            .unwrap_or_else(|| text.floor_char_boundary(from)),
    };
    let end = (span.end + WINDOW_BYTES).min(text.len());
    let end = if end == text.len() {
        end
    } else {
        (span.end + 1..end)
            .rev()
            .find(|at| is_margin(*at))
            .unwrap_or_else(|| text.floor_char_boundary(end))
    };
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_document_is_cut_at_its_margin() {
        let item = "fn a() {\n    é();\n}\n\n";
        let text = item.repeat(10_000);
        let hole = item.len() * 5_000 + 13;
        let site = Site::new(&text, hole..hole, Language::of("rust", ""));
        assert!(site.before.len() <= WINDOW_BYTES && site.before.len() > WINDOW_BYTES - 100);
        assert!(site.before.starts_with("fn a()") && site.after.ends_with("}\n\n"));
        assert_eq!(site.base, Flaws::default());
        let small = Site::new("a\r\nb", 3..3, None);
        assert_eq!((small.before.as_str(), small.after.as_str()), ("a\n", "b"));
    }

    #[test]
    fn a_document_without_a_margin_is_cut_at_a_character() {
        let text = "é".repeat(100_000);
        let site = Site::new(&text, 100_000..100_000, None);
        assert_eq!(site.before.len(), WINDOW_BYTES);
        assert_eq!(site.after.len(), WINDOW_BYTES);
    }
}
