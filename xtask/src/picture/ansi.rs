//! Reads terminal output: lines of text whose colours are given by escape sequences.

/// A colour of the terminal's palette.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Color {
    /// The terminal's own.
    #[default]
    Default,
    Red,
    Green,
    Yellow,
    Cyan,
}

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) color: Color,
    pub(crate) weight: Weight,
}

/// Strength of the strokes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Weight {
    #[default]
    Normal,
    Bold,
    Dimmed,
}

/// Text in one look.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) text: String,
    pub(crate) look: Look,
}

/// The lines of `output`, each as spans. Sequences other than colours are dropped.
pub(crate) fn parse(output: &str) -> Vec<Vec<Span>> {
    let mut look = Look::default();
    output.lines().map(|line| parse_line(line, &mut look)).collect()
}

fn parse_line(line: &str, look: &mut Look) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut pieces = line.split("\u{1b}[");
    let mut push = |text: &str, look: Look| {
        if !text.is_empty() {
            spans.push(Span { text: text.to_owned(), look });
        }
    };
    push(pieces.next().unwrap_or_default(), *look);
    for piece in pieces {
        // A sequence is parameters and one final letter.
        let end = piece.find(|char: char| char.is_ascii_alphabetic()).unwrap_or(piece.len());
        let (parameters, rest) = piece.split_at(end);
        let mut rest = rest.chars();
        if rest.next() == Some('m') {
            *look = parameters.split(';').fold(*look, apply);
        }
        push(rest.as_str(), *look);
    }
    spans
}

fn apply(look: Look, parameter: &str) -> Look {
    let color = |color| Look { color, ..look };
    let weight = |weight| Look { weight, ..look };
    match parameter {
        "" | "0" => Look::default(),
        "1" => weight(Weight::Bold),
        "2" => weight(Weight::Dimmed),
        "31" => color(Color::Red),
        "32" => color(Color::Green),
        "33" => color(Color::Yellow),
        "36" => color(Color::Cyan),
        "39" => color(Color::Default),
        _ => look,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str, color: Color, weight: Weight) -> Span {
        Span { text: text.to_owned(), look: Look { color, weight } }
    }

    #[test]
    fn colours_hold_until_they_are_reset() {
        let lines = parse("a \u{1b}[31mred\u{1b}[0m b\n\u{1b}[1;32mbold\nstill\u{1b}[m\n");
        let normal = |text| span(text, Color::Default, Weight::Normal);
        let bold = |text| span(text, Color::Green, Weight::Bold);
        assert_eq!(lines[0], [normal("a "), span("red", Color::Red, Weight::Normal), normal(" b")]);
        assert_eq!(lines[1], [bold("bold")]);
        assert_eq!(lines[2], [bold("still")]);
    }

    #[test]
    fn other_sequences_are_dropped() {
        assert_eq!(
            parse("a\u{1b}[2Kb\u{1b}[38m"),
            [[
                span("a", Color::Default, Weight::Normal),
                span("b", Color::Default, Weight::Normal),
            ]]
        );
    }
}
