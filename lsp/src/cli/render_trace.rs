//! The canvas after every denoising step, one line each: masks as blocks, tokens coloured by confidence.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use diffcoder_engine::infiller::{Frame, FrameCell};

use super::paint::{Paint, visible_controls};

/// One mask. Two columns are about what a token takes, so the canvas grows little while it is filled.
const MASK: &str = "░░";
/// A token without text: the closing one, or all but the last of a character that spans several.
const NO_TEXT: &str = "◦";

/// Lowest confidence of each band, its colour and what the legend says.
const BANDS: [(f32, AnsiColor, &str); 4] = [
    (0.95, AnsiColor::Green, "0.95 and up"),
    (0.7, AnsiColor::Cyan, "0.7"),
    (0.4, AnsiColor::Yellow, "0.4"),
    (0.0, AnsiColor::Red, "below"),
];

/// Draws frames as they come.
pub(crate) struct TracePen<'a> {
    out: &'a mut dyn Write,
    paint: Paint,
    steps: usize,
}

impl<'a> TracePen<'a> {
    /// Writes the legend.
    pub(crate) fn new(out: &'a mut dyn Write, paint: Paint) -> io::Result<Self> {
        let dim = Style::new().dimmed();
        if paint == Paint::Coloured {
            write!(out, "confidence:")?;
            for (_, color, name) in BANDS {
                write!(out, " {}", paint.style(color.on_default(), name))?;
            }
            write!(out, "   ")?;
        }
        writeln!(
            out,
            "{} masked  ⏎ line end  ⇥ tab  · space  {NO_TEXT} no text",
            paint.style(dim, MASK)
        )?;
        Ok(Self { out, paint, steps: 0 })
    }

    /// Draws one denoising step.
    pub(crate) fn draw(&mut self, frame: &Frame) -> io::Result<()> {
        self.steps += 1;
        let dim = Style::new().dimmed();
        write!(self.out, "{} ", self.paint.style(dim, &format!("{:>3}", self.steps)))?;
        for cell in &frame.cells {
            let shown = match cell {
                FrameCell::Masked => self.paint.style(dim, MASK).into_owned(),
                FrameCell::Committed { text, confidence } => {
                    self.paint.style(style_of(*confidence), &on_one_line(text)).into_owned()
                }
            };
            write!(self.out, "{shown}")?;
        }
        writeln!(self.out)?;
        self.out.flush()
    }
}

fn style_of(confidence: f32) -> Style {
    let band = BANDS.iter().find(|(lowest, ..)| confidence >= *lowest);
    band.map_or(Style::new(), |(_, color, _)| color.on_default())
}

/// The text of a token without line ends, and never invisible.
fn on_one_line(text: &str) -> String {
    if text.is_empty() {
        return NO_TEXT.to_owned();
    }
    let is_blank = text.chars().all(char::is_whitespace);
    let mut shown = String::new();
    for char in text.chars() {
        shown.push(match char {
            '\n' => '⏎',
            '\t' => '⇥',
            ' ' if is_blank => '·',
            other => other,
        });
    }
    visible_controls(&shown).into_owned()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::cli::test_support::committed;

    fn trace(canvases: Vec<Vec<FrameCell>>, paint: Paint) -> String {
        let mut out = Vec::new();
        let mut pen = TracePen::new(&mut out, paint).unwrap();
        for (index, cells) in canvases.into_iter().enumerate() {
            pen.draw(&Frame { hole: 0, forwards: index + 1, cells }).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_line_shows_one_step() {
        let masked = || FrameCell::Masked;
        let shown = trace(
            vec![
                vec![masked(), committed(" total", 0.9), masked(), masked()],
                vec![
                    committed("let", 0.4),
                    committed(" total", 0.9),
                    masked(),
                    committed("\n    ", 1.0),
                ],
                vec![
                    committed("\t", 0.4),
                    committed("é\u{1b}[31m", 0.9),
                    committed("", 0.2),
                    committed("    ", 1.0),
                ],
            ],
            Paint::Plain,
        );
        assert_snapshot!(shown, @r"
        ░░ masked  ⏎ line end  ⇥ tab  · space  ◦ no text
          1 ░░ total░░░░
          2 let total░░⏎····
          3 ⇥é␛[31m◦····
        ");
    }

    #[test]
    fn colours_follow_the_confidence() {
        let cells =
            [1.0, 0.95, 0.9, 0.5, 0.1, f32::NAN].map(|confidence| committed("x", confidence));
        let shown = trace(vec![cells.into()], Paint::Coloured);
        let canvas = shown.lines().nth(1).unwrap();
        let colors: Vec<&str> =
            canvas.split('x').map(|before| before.rsplit('\u{1b}').next().unwrap()).collect();
        assert_eq!(colors[..5], ["[32m", "[32m", "[36m", "[33m", "[31m"]);
        assert!(shown.starts_with("confidence: \u{1b}[32m0.95 and up\u{1b}[0m"), "{shown}");
    }
}
