//! A terminal window as SVG.

use std::fmt::Write as _;

use super::ansi::{Color, Look, Span, Weight};

const FONT_SIZE: usize = 14;
/// Advance of one column in hundredths of a pixel; spans are stretched to it, whatever font the reader has.
const COLUMN_CENTIPIXELS: usize = 843;
const LINE_HEIGHT: usize = 20;
const MARGIN: usize = 16;
const TITLE_HEIGHT: usize = 36;
const MIN_COLUMNS: usize = 60;
/// The shade that stands for a mask; drawn as a box, since fonts leave gaps in it.
const MASK: char = '░';

/// Draws `lines` under a title bar.
pub(crate) fn draw(title: &str, lines: &[Vec<Span>]) -> String {
    let columns =
        |line: &Vec<Span>| line.iter().map(|span| span.text.chars().count()).sum::<usize>();
    let widest = lines.iter().map(columns).max().unwrap_or(0);
    let width =
        2 * MARGIN + pixels(widest.max(title.chars().count() + 8).max(MIN_COLUMNS)).ceil() as usize;
    let height = TITLE_HEIGHT + lines.len() * LINE_HEIGHT + MARGIN;
    let mut svg = String::new();
    // Writing to a string cannot fail, so the results of the `write!`s are not looked at.
    _ = writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="{FONT_SIZE}">
<rect width="{width}" height="{height}" rx="8" fill="#16181d"/>"##
    );
    for (index, color) in ["#ff5f57", "#febc2e", "#28c840"].into_iter().enumerate() {
        _ = writeln!(svg, r#"<circle cx="{}" cy="18" r="6" fill="{color}"/>"#, 20 + 20 * index);
    }
    let (x, title) = (80, escape(title));
    _ = writeln!(svg, r##"<text x="{x}" y="23" fill="#8b919e">{title}</text>"##);
    for (row, line) in lines.iter().enumerate() {
        let baseline = TITLE_HEIGHT + row * LINE_HEIGHT + FONT_SIZE;
        let mut column = 0;
        for span in line {
            draw_span(&mut svg, span, (column, baseline));
            column += span.text.chars().count();
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Draws one span whose first character stands in `column`.
fn draw_span(svg: &mut String, span: &Span, (column, baseline): (usize, usize)) {
    let x = MARGIN as f64 + pixels(column);
    let n_columns = span.text.chars().count();
    let fill = color_of(span.look);
    if span.text.chars().all(|char| char == MASK) {
        let (y, height) = (baseline - FONT_SIZE + 1, LINE_HEIGHT - 4);
        let width = pixels(n_columns) - 2.0;
        _ = writeln!(
            svg,
            r##"<rect x="{:.2}" y="{y}" width="{width:.2}" height="{height}" rx="2" fill="#3a404c"/>"##,
            x + 1.0
        );
        return;
    }
    if span.text.trim().is_empty() {
        return;
    }
    let bold = if span.look.weight == Weight::Bold { r#" font-weight="bold""# } else { "" };
    let (length, text) = (pixels(n_columns), escape(&span.text));
    _ = writeln!(
        svg,
        r#"<text x="{x:.2}" y="{baseline}" fill="{fill}"{bold} textLength="{length:.2}" xml:space="preserve">{text}</text>"#
    );
}

fn pixels(columns: usize) -> f64 {
    (columns * COLUMN_CENTIPIXELS) as f64 / 100.0
}

fn color_of(look: Look) -> &'static str {
    match (look.color, look.weight) {
        (Color::Default, Weight::Dimmed) => "#8b919e",
        (Color::Default, _) => "#d7dae0",
        (Color::Red, _) => "#ff7b72",
        (Color::Green, _) => "#7ee787",
        (Color::Yellow, _) => "#f2cc60",
        (Color::Cyan, _) => "#76e3ea",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::ansi::parse;

    #[test]
    fn spans_keep_their_columns_and_colours() {
        let svg = draw("x", &parse("ab\u{1b}[32m<c>\u{1b}[0m\n"));
        let expected = r##"<text x="32.86" y="50" fill="#7ee787" textLength="25.29" xml:space="preserve">&lt;c&gt;</text>"##;
        assert!(svg.contains(expected), "{svg}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn masks_are_boxes() {
        let svg = draw("x", &parse("\u{1b}[2m░░\u{1b}[0m\u{1b}[2m░░\u{1b}[0m"));
        assert_eq!(svg.matches("rx=\"2\"").count(), 2, "{svg}");
        assert!(!svg.contains(MASK));
    }
}
