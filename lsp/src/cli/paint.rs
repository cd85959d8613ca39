//! Colours on or off, and text made safe for a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

use anstream::{AutoStream, ColorChoice};
use anstyle::Style;

/// Whether output carries colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Text as it is, ready for a file or for `patch`.
    Plain,
    /// ANSI colours.
    Coloured,
}

impl Paint {
    /// What `stream` wants: colours on a terminal unless `NO_COLOR` is set, or where `CLICOLOR_FORCE` is.
    pub(crate) fn for_stream(stream: &impl anstream::stream::RawStream) -> Self {
        match AutoStream::choice(stream) {
            ColorChoice::Never => Self::Plain,
            _ => Self::Coloured,
        }
    }

    /// `text` in `style`. On a terminal its control characters are made visible: neither a source file nor a model may
    /// move the cursor or change the title.
    pub(crate) fn style<'a>(self, style: Style, text: &'a str) -> Cow<'a, str> {
        match self {
            Self::Plain => Cow::Borrowed(text),
            Self::Coloured => {
                let text = visible_controls(text);
                if style == Style::new() {
                    return text;
                }
                Cow::Owned(format!("{style}{text}{style:#}"))
            }
        }
    }
}

/// `text` with the pictures of Unicode's block "Control Pictures" for control characters other than a tab.
pub(crate) fn visible_controls(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\u{7f}' => shown.push('\u{2421}'),
            '\0'..='\u{1f}' if is_unsafe(char) => {
                shown.extend(char::from_u32(0x2400 + u32::from(char)));
            }
            // Writing to a string cannot fail.
            _ if is_unsafe(char) => _ = write!(shown, "<{:02x}>", u32::from(char)),
            _ => shown.push(char),
        }
    }
    Cow::Owned(shown)
}

fn is_unsafe(char: char) -> bool {
    char.is_control() && char != '\t'
}

#[cfg(test)]
mod tests {
    use anstyle::AnsiColor;

    use super::*;

    #[test]
    fn colours_wrap_the_text() {
        let red = AnsiColor::Red.on_default();
        assert_eq!(Paint::Coloured.style(red, "x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(Paint::Plain.style(red, "x"), "x");
        assert_eq!(Paint::Coloured.style(Style::new(), "x"), "x");
    }

    #[test]
    fn escape_sequences_lose_their_power_on_a_terminal_only() {
        let nasty = "a\u{1b}[2J\tb\u{7f}\u{9b}";
        assert_eq!(Paint::Coloured.style(Style::new(), nasty), "a␛[2J\tb␡<9b>");
        assert_eq!(Paint::Plain.style(Style::new(), nasty), nasty);
    }
}
