//! Finishes fills of holes that a person has named: as other fills, but nothing outside a hole changes.

use std::ops::Range;

use super::{Drop, Fill, Language, Site};
use crate::line_endings;

/// What is to stand in each of `spans` of `text`, which are in reading order and apart: its fill, brought to the
/// document's indentation and line ends, without what stands right of the hole already and without lonely closers.
///
/// A fill that repeats what is there leaves the hole as it is. One that brings an error is kept as the model gave it:
/// somebody has asked for it and will look at it.
pub fn finish_within(
    text: &str,
    spans: &[Range<usize>],
    fills: &[Fill<'_>],
    language: Option<&'static Language>,
) -> Vec<String> {
    let ending = line_endings::detect(text);
    let raw: Vec<String> =
        fills.iter().map(|fill| line_endings::apply(fill.text, ending).into_owned()).collect();
    let mut texts = raw.clone();
    for (index, (span, fill)) in spans.iter().zip(fills).enumerate() {
        // Each fill is judged with all others in place.
        let mut document = String::with_capacity(text.len());
        let mut hole = 0..0;
        let mut from = 0;
        for (other, at) in spans.iter().enumerate() {
            document.push_str(&text[from..at.start]);
            let start = document.len();
            document.push_str(if other == index { &text[at.clone()] } else { &texts[other] });
            if other == index {
                hole = start..document.len();
            }
            from = at.end;
        }
        document.push_str(&text[from..]);
        let finished = Site::new(&document, hole.clone(), language).finish(fill);
        texts[index] = match finished.edit {
            Ok(edit) => {
                let reached = &document[hole.end..edit.range.end];
                let kept = edit.text.strip_suffix(reached);
                kept.map_or_else(
                    || raw[index].clone(),
                    |kept| without_second_end(kept, &document[hole.end..]).to_owned(),
                )
            }
            Err(Drop::Empty) => String::new(),
            Err(Drop::Repetition) => text[span.clone()].to_owned(),
            Err(Drop::Error) => raw[index].clone(),
        };
    }
    texts
}

/// `fill` without the semicolon or comma at its end that stands right of the hole as well.
fn without_second_end<'a>(fill: &'a str, after: &str) -> &'a str {
    let is_there = |end: &char| [';', ','].contains(end) && after.starts_with(*end);
    let end = fill.chars().next_back().filter(is_there);
    end.map_or(fill, |end| &fill[..fill.len() - end.len_utf8()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::after_fill::Shape;

    fn finish(language_id: &str, document: &str, fills: &[&str]) -> String {
        let mut text = String::new();
        let mut spans = Vec::new();
        for (index, piece) in document.split(['⟦', '⟧']).enumerate() {
            let start = text.len();
            text.push_str(piece);
            if index % 2 == 1 {
                spans.push(start..text.len());
            }
        }
        let fills: Vec<Fill<'_>> =
            fills.iter().map(|text| Fill { text, is_cut: false, shape: Shape::Free }).collect();
        let texts = finish_within(&text, &spans, &fills, Language::of(language_id, ""));
        let mut from = 0;
        let mut result = String::new();
        for (span, new) in spans.iter().zip(&texts) {
            result.push_str(&text[from..span.start]);
            result.push_str(new);
            from = span.end;
        }
        result + &text[from..]
    }

    #[test]
    fn what_stands_right_of_the_hole_stays_and_is_not_doubled() {
        assert_eq!(finish("rust", "fn a() { b(⟦⟧) }", &["c, d)"]), "fn a() { b(c, d) }");
        assert_eq!(finish("rust", "fn a() { ⟦b⟧ + c; }", &["d + c;"]), "fn a() { d + c; }");
        assert_eq!(finish("python", "a = [⟦⟧]\n", &["1, 2]"]), "a = [1, 2]\n");
    }

    #[test]
    fn indentation_and_line_ends_are_the_files() {
        let document = "fn a() {\r\n    ⟦todo!()⟧\r\n}\r\n";
        let fill = "if b {\n      c();\n    }";
        let expected = "fn a() {\r\n    if b {\r\n        c();\r\n    }\r\n}\r\n";
        assert_eq!(finish("rust", document, &[fill]), expected);
    }

    #[test]
    fn each_of_several_is_finished() {
        let document = "fn a() {\n    b(⟦⟧);\n    c[⟦x⟧] = ⟦⟧;\n}\n";
        let expected = "fn a() {\n    b(1);\n    c[2] = d(3);\n}\n";
        assert_eq!(finish("rust", document, &["1);", "2] = d(3);", "d(3);"]), expected);
    }

    #[test]
    fn empty_repeated_and_broken_fills() {
        assert_eq!(finish("rust", "fn a() { ⟦b();⟧ }", &["  "]), "fn a() {  }");
        assert_eq!(finish("rust", "fn a() { ⟦b();⟧ }", &["b();"]), "fn a() { b(); }");
        assert_eq!(finish("rust", "fn a() { ⟦b();⟧ }", &["= = ="]), "fn a() { = = = }");
    }
}
