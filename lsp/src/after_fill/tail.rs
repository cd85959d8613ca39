//! The places at which a fill can be cut so that no half of anything is left at its end.

/// Most cuts of either kind that are tried.
const MOST_CUTS: usize = 8;

/// Starts of `text` that end with a whole line, the longest first.
pub(super) fn line_cuts(text: &str) -> Vec<&str> {
    let ends = text.rmatch_indices('\n').map(|(at, _)| text[..at].trim_end());
    let mut cuts: Vec<&str> = ends.filter(|cut| !cut.is_empty()).collect();
    cuts.dedup();
    cuts.truncate(MOST_CUTS);
    cuts
}

/// Starts of `text`'s last line that end with a whole word or sign, the longest first; the lines before it stay.
pub(super) fn token_cuts(text: &str) -> Vec<&str> {
    let line = text.rfind('\n').map_or(0, |newline| newline + 1);
    let mut cuts = Vec::new();
    let mut end = text.len();
    while cuts.len() < MOST_CUTS {
        let cut = without_last_token(&text[..end]);
        if cut.len() <= line || cut[line..].trim().is_empty() {
            break;
        }
        cuts.push(cut);
        end = cut.len();
    }
    cuts
}

/// `text` without its last line if that may be half of one, or without its last word if it has no other line.
pub(super) fn without_half(text: &str) -> &str {
    match text.rsplit_once('\n') {
        Some((lines, _)) if !lines.trim().is_empty() => lines.trim_end(),
        _ if text.ends_with(is_word) => without_last_token(text),
        _ => text,
    }
}

fn without_last_token(text: &str) -> &str {
    let text = text.trim_end();
    let Some(last) = text.chars().next_back() else { return text };
    let cut = if is_word(last) {
        text.trim_end_matches(is_word)
    } else {
        &text[..text.len() - last.len_utf8()]
    };
    cut.trim_end()
}

/// Whether `char` belongs to a name or a number.
pub(super) fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_one_by_one() {
        assert_eq!(line_cuts("a;\n\n    b;\n    c("), ["a;\n\n    b;", "a;"]);
        assert_eq!(line_cuts("a"), [""; 0]);
        assert_eq!(line_cuts("\na"), [""; 0]);
    }

    #[test]
    fn tokens_of_the_last_line_go_one_by_one() {
        assert_eq!(
            token_cuts("a\nfoo.bar(x_1"),
            ["a\nfoo.bar(", "a\nfoo.bar", "a\nfoo.", "a\nfoo"]
        );
    }

    #[test]
    fn half_a_line_goes_and_half_a_word() {
        assert_eq!(without_half("a;\nb = c"), "a;");
        assert_eq!(without_half("a = foo.ba"), "a = foo.");
        assert_eq!(without_half("a("), "a(");
        assert_eq!(without_half("\n  ab"), "");
    }
}
