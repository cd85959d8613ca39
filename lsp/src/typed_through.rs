//! A suggestion that somebody is typing, or has typed and taken back: what is left of it needs no model.

use ropey::Rope;

use crate::after_fill::Edit;

/// Most characters that an editor is thought to have set by itself.
const MOST_CLOSERS: usize = 4;
const CLOSERS: &str = ")]}>\"'`";

/// A cursor in a text.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) text: Rope,
    /// Byte of the text.
    pub(crate) cursor: usize,
}

/// Whether somebody asked for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Typing did: one is enough.
    Automatic,
    /// A person did, and wants to choose.
    Invoked,
}

/// What was suggested at a place.
#[derive(Clone, Debug)]
pub(crate) struct Suggested {
    pub(crate) place: Place,
    pub(crate) asked: Asked,
    /// The best first; none if there was nothing to show. Their ranges begin at the cursor.
    pub(crate) edits: Vec<Edit>,
}

impl Suggested {
    /// What is left of the suggestions at another place; `None` if that must be asked anew.
    pub(crate) fn rest_at(&self, now: &Place, asked: Asked) -> Option<Vec<Edit>> {
        if asked == Asked::Invoked && self.asked == Asked::Automatic {
            return None;
        }
        if self.edits.is_empty() {
            let is_same = now.cursor == self.place.cursor && now.text == self.place.text;
            return is_same.then(Vec::new);
        }
        let rests: Vec<Edit> =
            self.edits.iter().filter_map(|edit| self.rest_of(edit, now)).collect();
        (!rests.is_empty()).then_some(rests)
    }

    fn rest_of(&self, edit: &Edit, now: &Place) -> Option<Edit> {
        let then = &self.place;
        let n_typed = now.cursor.checked_sub(then.cursor)?;
        let (typed, rest) = edit.text.split_at_checked(n_typed)?;
        if rest.is_empty() || now.text.get_byte_slice(then.cursor..now.cursor)? != typed {
            return None;
        }
        // Right of the cursor, the text that the edit does not replace must be what it was.
        let right = |place: &Place| place.text.len_bytes() - place.cursor;
        let reach_then = edit.range.len();
        let reach = (reach_then + right(now)).checked_sub(right(then))?;
        let replaced = now.text.get_byte_slice(now.cursor..now.cursor + reach)?.to_string();
        let replaced_then =
            then.text.get_byte_slice(then.cursor..then.cursor + reach_then)?.to_string();
        let is_expected = match replaced.strip_suffix(replaced_then.as_str()) {
            Some(set) => is_set_by_editor(set, rest),
            // A closer that was typed over.
            None => replaced_then.ends_with(&replaced),
        };
        let is_same = is_expected
            && now.text.get_byte_slice(..then.cursor)?
                == then.text.get_byte_slice(..then.cursor)?
            && now.text.get_byte_slice(now.cursor + reach..)?
                == then.text.get_byte_slice(then.cursor + reach_then..)?;
        is_same.then(|| Edit { range: now.cursor..now.cursor + reach, text: rest.to_owned() })
    }
}

/// Whether `set` can be what an editor closed by itself, and `rest` closes too.
fn is_set_by_editor(set: &str, rest: &str) -> bool {
    let mut coming = rest.chars();
    set.chars().count() <= MOST_CLOSERS
        && set.chars().all(|char| CLOSERS.contains(char) && coming.any(|next| next == char))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place written as a text with `|` where the cursor is.
    fn place(text: &str) -> Place {
        let cursor = text.find('|').unwrap();
        Place { text: Rope::from_str(&text.replacen('|', "", 1)), cursor }
    }

    /// What is left at `now` of `text`, suggested at `then` over `reach` bytes: text and bytes replaced.
    fn rest(then: &str, (text, reach): (&str, usize), now: &str) -> Option<(String, usize)> {
        let place_then = place(then);
        let range = place_then.cursor..place_then.cursor + reach;
        let edits = vec![Edit { range, text: text.to_owned() }];
        let suggested = Suggested { place: place_then, asked: Asked::Automatic, edits };
        let rests = suggested.rest_at(&place(now), Asked::Automatic)?;
        assert_eq!(rests.len(), 1);
        assert_eq!(rests[0].range.start, place(now).cursor);
        Some((rests[0].text.clone(), rests[0].range.len()))
    }

    #[track_caller]
    fn check(then: &str, edit: (&str, usize), now: &str, expected: Option<(&str, usize)>) {
        let found = rest(then, edit, now);
        assert_eq!(found, expected.map(|(text, reach)| (text.to_owned(), reach)), "{then} {now}");
    }

    #[test]
    fn what_is_typed_of_it_leaves_the_rest() {
        check("a = |;\n", ("é + c", 0), "a = |;\n", Some(("é + c", 0)));
        check("a = |;\n", ("é + c", 0), "a = é +|;\n", Some((" c", 0)));
        check("a = |;\n", ("é + c", 0), "a = é + c|;\n", None);
        check("a = |;\n", ("é + c", 0), "a = e|;\n", None);
        check("a = |;\n", ("é + c", 0), "a =|;\n", None);
        check("a = |;\n", ("é + c", 0), "b = é|;\n", None);
        check("a = |;\n", ("é + c", 0), "a = é|; d\n", None);
    }

    #[test]
    fn closers_of_the_editor_are_reached_over() {
        check("|\n", ("f(b, [c]);", 0), "f(|)\n", Some(("b, [c]);", 1)));
        check("|\n", ("f(b, [c]);", 0), "f(b, [|])\n", Some(("c]);", 2)));
        check("|\n", ("f(b, [c]);", 0), "f(b, [c]|)\n", Some((");", 1)));
        check("|\n", ("f(b, [c]);", 0), "f(b, [c])|\n", Some((";", 0)));
        check("|\n", ("f(b", 0), "f(|)\n", None);
        check("|\n", ("f(b)", 0), "f(|]\n", None);
        check("f(|)\n", ("b)?;", 1), "f(b|)\n", Some((")?;", 1)));
        check("f(|)\n", ("b)?;", 1), "f(b)|\n", Some(("?;", 0)));
        check("f(|)\n", ("b)?;", 1), "f(b|]\n", None);
    }

    #[test]
    fn nothing_to_show_stays_nothing_at_the_same_place_alone() {
        let suggested =
            Suggested { place: place("a|b"), asked: Asked::Automatic, edits: Vec::new() };
        let at = |text| suggested.rest_at(&place(text), Asked::Automatic);
        assert_eq!(at("a|b"), Some(Vec::new()));
        assert_eq!(at("ac|b"), None);
        assert_eq!(suggested.rest_at(&place("a|b"), Asked::Invoked), None);
    }
}
