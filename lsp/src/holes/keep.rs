//! Holes in which some text stays: what is left of them are the holes.

use std::ops::Range as Span;

/// What `keep` leaves of `spans` (both in bytes, `spans` apart and ascending): the pieces in reading order, each with the
/// index of its span. A span without kept text is its own piece, a span that is kept as a whole has none.
///
/// # Errors
/// The index of a kept span that does not lie within one of `spans`.
pub fn without_kept(
    spans: &[Span<usize>],
    keep: &[Span<usize>],
) -> Result<Vec<(Span<usize>, usize)>, usize> {
    let mut kept: Vec<&Span<usize>> = keep.iter().collect();
    kept.sort_by_key(|span| (span.start, span.end));
    let holds = |outer: &Span<usize>, inner: &Span<usize>| {
        outer.start <= inner.start && inner.end <= outer.end
    };
    if let Some(outside) =
        keep.iter().position(|inner| !spans.iter().any(|outer| holds(outer, inner)))
    {
        return Err(outside);
    }
    let mut pieces = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        let mut from = span.start;
        let inside = kept.iter().filter(|inner| !inner.is_empty() && holds(span, inner));
        let mut is_whole = true;
        for inner in inside {
            if from < inner.start {
                pieces.push((from..inner.start, index));
            }
            from = from.max(inner.end);
            is_whole = false;
        }
        if is_whole || from < span.end {
            pieces.push((from..span.end, index));
        }
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kept_text_cuts_holes_into_pieces() {
        let without = |keep: &[Span<usize>]| without_kept(&[2..10, 12..12, 14..20], keep);
        let (whole, empty, last) = ((2..10, 0), (12..12, 1), (14..20, 2));
        assert_eq!(without(&[]).unwrap(), [whole, empty.clone(), last.clone()]);
        assert_eq!(
            without(&[8..10, 4..5, 5..6]).unwrap(),
            [(2..4, 0), (6..8, 0), empty.clone(), last.clone()]
        );
        assert_eq!(without(&[2..6, 6..10]).unwrap(), [empty.clone(), last]);
        assert_eq!(without(&[4..9, 5..6, 14..20]).unwrap(), [(2..4, 0), (9..10, 0), empty]);
    }

    #[test]
    fn kept_text_outside_the_holes_is_named() {
        for keep in [0..1, 9..11, 10..15, 30..31] {
            assert_eq!(without_kept(&[2..10, 12..20], &[3..4, keep]), Err(1));
        }
    }

    proptest! {
        #[test]
        fn a_byte_is_in_a_piece_if_it_is_in_a_hole_and_not_kept(
            cuts in proptest::collection::btree_set(0usize..60, 2..9),
            keep in proptest::collection::vec((0usize..60, 0usize..12), 0..6),
        ) {
            let cuts: Vec<usize> = cuts.into_iter().collect();
            let spans: Vec<Span<usize>> = cuts.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect();
            let keep: Vec<Span<usize>> = keep
                .into_iter()
                .map(|(start, len)| start..start + len)
                .filter(|inner| spans.iter().any(|outer| outer.start <= inner.start && inner.end <= outer.end))
                .collect();
            let pieces = without_kept(&spans, &keep).unwrap();
            for byte in 0..80 {
                let in_hole = spans.iter().any(|span| span.contains(&byte));
                let is_kept = keep.iter().any(|span| span.contains(&byte));
                let n_pieces = pieces.iter().filter(|(piece, _)| piece.contains(&byte)).count();
                prop_assert_eq!(n_pieces, usize::from(in_hole && !is_kept));
            }
            prop_assert!(pieces.windows(2).all(|pair| pair[0].0.end < pair[1].0.start));
        }
    }
}
