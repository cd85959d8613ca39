//! Groups of holes in one held-out document: what filling several holes at once is measured on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::holes::{
    HeldOutHole, HoleKind, Trees, cursor, held_out_holes, in_prose, says_something,
};
use super::middle::{line_start, line_stop};
use super::{Document, Language};
use crate::rng::keyed;

/// Holes of one document that are filled together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoleGroup {
    /// Language of the document.
    pub language: Language,
    /// Path of the document.
    pub path: String,
    /// The whole document.
    pub text: String,
    /// Bytes of the holes, ascending: each goes from a cursor to the end of a line of its own.
    pub holes: Vec<Range<usize>>,
}

/// Holes of a group.
pub const GROUP_HOLES: usize = 3;
/// Lines above and below the first hole in which the others are.
const NEARBY_LINES: usize = 12;
/// Places that are looked at for the other holes of a group.
const TRIES: usize = 60;
/// Sets the places apart from those of other choices with the same seed.
const KEY: u64 = 3;

/// About `count` groups of [`GROUP_HOLES`] single-line holes each, around the holes that [`held_out_holes`] chooses; those
/// without enough places nearby are left out.
pub fn held_out_groups(documents: &[Document], count: usize, seed: u64) -> Vec<HoleGroup> {
    let by_path: BTreeMap<&str, &Document> =
        documents.iter().map(|document| (document.path.as_str(), document)).collect();
    let mut trees = Trees::default();
    let seams = held_out_holes(documents, HoleKind::SingleLine, count, seed);
    let groups = seams.iter().enumerate().filter_map(|(index, seam)| {
        let document = by_path.get(seam.path.as_str())?;
        group(document, seam, &mut trees, [seed, KEY, index as u64, 0])
    });
    groups.collect()
}

fn group<'a>(
    document: &'a Document,
    seam: &HeldOutHole,
    trees: &mut Trees<'a>,
    key: [u64; 4],
) -> Option<HoleGroup> {
    let text = document.text.as_str();
    let mut rng = keyed(key);
    let first = seam.prefix.len()..seam.prefix.len() + seam.middle.len();
    let window = nearby(text, &first);
    let mut lines = BTreeSet::from([line_start(text, first.start)]);
    let mut holes = vec![first];
    for _ in 0..TRIES {
        if holes.len() == GROUP_HOLES {
            break;
        }
        let Some(at) = cursor(&text[window.clone()], &mut rng) else { continue };
        let start = window.start + at;
        let hole = start..line_stop(text, start);
        let is_code = says_something(&text[hole.clone()], HoleKind::SingleLine)
            && !trees.of(document).is_some_and(|tree| in_prose(tree, hole.start));
        if is_code && lines.insert(line_start(text, hole.start)) {
            holes.push(hole);
        }
    }
    holes.sort_by_key(|hole| hole.start);
    (holes.len() == GROUP_HOLES).then(|| HoleGroup {
        language: document.language,
        path: document.path.clone(),
        text: document.text.clone(),
        holes,
    })
}

/// Whole lines around a hole.
fn nearby(text: &str, hole: &Range<usize>) -> Range<usize> {
    let mut start = line_start(text, hole.start);
    let mut end = line_stop(text, hole.end);
    for _ in 0..NEARBY_LINES {
        start = if start == 0 { 0 } else { line_start(text, start - 1) };
        end = if end == text.len() { end } else { line_stop(text, end + 1) };
    }
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_fixed_and_their_holes_end_different_lines_of_code() {
        let document = |path: &str, text: &str| Document {
            path: path.into(),
            package: path.into(),
            language: Language::Rust,
            text: text.into(),
        };
        let documents = [
            document("a.rs", include_str!("holes.rs")),
            document("b.rs", include_str!("split.rs")),
            document("c.rs", "fn main() { run(1) }\n"),
        ];
        let groups = held_out_groups(&documents, 60, 1);
        assert_eq!(groups, held_out_groups(&documents, 60, 1));
        assert!(groups.len() >= 40, "{}", groups.len());
        for group in &groups {
            assert_eq!(group.holes.len(), GROUP_HOLES);
            for hole in &group.holes {
                assert_eq!(group.text.as_bytes()[hole.end], b'\n');
                assert!(says_something(&group.text[hole.clone()], HoleKind::SingleLine));
            }
            for pair in group.holes.windows(2) {
                assert!(group.text[pair[0].end..pair[1].start].contains('\n'));
            }
            let lines = group.text[group.holes[0].end..group.holes[2].start].lines().count();
            assert!(lines <= 2 * NEARBY_LINES + 2, "{lines}");
        }
        assert!(groups.iter().all(|group| group.path != "c.rs"), "one line has no place for three");
    }
}
