//! Indentation: what a file uses, and a fill brought to it.

/// What one level of a file's indentation is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// A tab.
    Tab,
    /// So many spaces.
    Spaces(usize),
}

/// Width of a tab where it is compared with spaces.
const TAB_COLUMNS: usize = 4;

/// What the hole's line says about the lines of a fill.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    /// The line left of the hole.
    pub(super) line: &'a str,
    /// The line above it in which the last statement begins.
    pub(super) above: &'a str,
    /// Whether a block follows the line above.
    pub(super) above_opens: bool,
    /// Whether a statement goes on at the hole.
    pub(super) goes_on: bool,
    /// What the file uses.
    pub(super) unit: Unit,
}

impl Unit {
    /// The unit that most lines of `text` point to, blank ones only where no other does.
    pub(super) fn of(text: &str) -> Option<Self> {
        let lines = || text.split('\n').map(|line| line.trim_end_matches('\r'));
        Self::of_lines(lines().filter(|line| !line.trim().is_empty()))
            .or_else(|| Self::of_lines(lines().filter(|line| !line.is_empty())))
    }

    fn of_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut n_tabs = 0;
        let mut steps = [0_usize; 9];
        let mut last = 0;
        for line in lines {
            if line.starts_with('\t') {
                n_tabs += 1;
                continue;
            }
            let columns = line.len() - line.trim_start_matches(' ').len();
            let step = columns.abs_diff(last);
            // A comment's ` * ` is no level.
            if (2..=8).contains(&step) && !line.trim_start().starts_with('*') {
                steps[step] += 1;
            }
            last = columns;
        }
        if n_tabs > steps.iter().sum::<usize>() {
            return Some(Self::Tab);
        }
        let most = (2..=8).rev().max_by_key(|step| steps[*step]);
        most.filter(|step| steps[*step] > 0).map(Self::Spaces)
    }

    fn columns(self) -> usize {
        match self {
            Self::Tab => TAB_COLUMNS,
            Self::Spaces(columns) => columns,
        }
    }

    /// Indentation of so many columns.
    fn write(self, columns: usize) -> String {
        match self {
            Self::Tab => "\t".repeat(columns / TAB_COLUMNS) + &" ".repeat(columns % TAB_COLUMNS),
            Self::Spaces(_) => " ".repeat(columns),
        }
    }
}

/// The blanks that `line` begins with.
pub(super) fn blanks(line: &str) -> &str {
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// Columns that `line` is indented by.
pub(super) fn columns(line: &str) -> usize {
    blanks(line).chars().map(|char| if char == '\t' { TAB_COLUMNS } else { 1 }).sum()
}

/// `fill` with the file's kind of indentation, its levels as wide as the file's, its first line where the hole's line
/// wants it, and its other lines in step with the first.
pub(super) fn fit(fill: &str, around: &Around<'_>) -> String {
    let lines: Vec<&str> = fill.split('\n').collect();
    let width = width_of(&lines, around);
    let is_blank_start = around.line.trim().is_empty();
    let at = columns(around.line);

    let first = lines[0];
    let mut head = if is_blank_start { columns(first) } else { 0 };
    let mut shift = 0_isize;
    if is_blank_start && !first.trim().is_empty() {
        let wanted =
            columns(around.above) + if around.above_opens { around.unit.columns() } else { 0 };
        let have = at + head;
        let goal = if around.goes_on && at == 0 {
            have
        } else if have > wanted {
            // Deeper than the line above allows: the model has repeated blanks that stand there already.
            wanted.max(at)
        } else if have < wanted && around.above_opens && !begins_with_closer(first) {
            wanted
        } else {
            have
        };
        shift = goal.cast_signed() - have.cast_signed();
        head = goal - at;
    }
    let base = if is_blank_start { at + head } else { at };
    let shift = shift_of(&lines, base, shift, width, around);

    let mut text = if is_blank_start && !first.trim().is_empty() {
        around.unit.write(head) + first.trim_start_matches([' ', '\t'])
    } else {
        first.to_owned()
    };
    for (index, line) in lines.iter().enumerate().skip(1) {
        text.push('\n');
        // Blanks of the last line stand before what is right of the hole.
        if !line.trim().is_empty() || index + 1 == lines.len() {
            let columns = rescale(columns(line), base, width, around.unit);
            let columns = columns.cast_signed().saturating_add(shift).max(0).cast_unsigned();
            text.push_str(&around.unit.write(columns));
            text.push_str(line.trim_start_matches([' ', '\t']));
        }
    }
    text
}

fn begins_with_closer(line: &str) -> bool {
    line.trim_start().starts_with(super::brackets::is_closer)
}

fn opens(line: &str) -> bool {
    line.trim_end().ends_with(['{', '(', '[', ':'])
}

/// Width of the fill's own levels, if it is another one than the file's: what a line after an opening one is further
/// in by, the same for all of them.
fn width_of(lines: &[&str], around: &Around<'_>) -> Option<usize> {
    let mut width = None;
    let indented = |index: usize| {
        let own = columns(lines[index]);
        if index == 0 {
            columns(around.line) + if around.line.trim().is_empty() { own } else { 0 }
        } else {
            own
        }
    };
    for index in 1..lines.len() {
        if !opens(lines[index - 1])
            || lines[index].trim().is_empty()
            || begins_with_closer(lines[index])
        {
            continue;
        }
        let step = indented(index).checked_sub(indented(index - 1)).filter(|step| *step > 0)?;
        if *width.get_or_insert(step) != step {
            return None;
        }
    }
    width.filter(|width| *width != around.unit.columns())
}

/// `columns` with levels of `width` beyond `base` made as wide as `unit`'s.
fn rescale(columns: usize, base: usize, width: Option<usize>, unit: Unit) -> usize {
    match (width, columns.checked_sub(base)) {
        (Some(width), Some(beyond)) => base + beyond / width * unit.columns() + beyond % width,
        _ => columns,
    }
}

/// How far the lines after the first have to move to be in step with it.
fn shift_of(
    lines: &[&str],
    base: usize,
    first: isize,
    width: Option<usize>,
    around: &Around<'_>,
) -> isize {
    let is_comment =
        ["//", "#", "*", "--"].iter().any(|mark| lines[0].trim_start().starts_with(mark));
    if is_comment {
        return 0;
    }
    let scaled = |line: &str| rescale(columns(line), base, width, around.unit).cast_signed();
    let base = base.cast_signed();
    // The line that closes what the fill's first line opened stands where that line stands.
    let mut depth = 0_isize;
    for (index, line) in lines.iter().enumerate() {
        if index > 0 && depth == 1 && begins_with_closer(line) {
            return base - scaled(line);
        }
        for char in line.chars() {
            match char {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth -= 1,
                _ => {}
            }
        }
        if depth <= 0 {
            break;
        }
    }
    let Some(second) = lines[1..].iter().find(|line| !line.trim().is_empty()) else { return 0 };
    let lowest =
        lines[1..].iter().filter(|line| !line.trim().is_empty()).map(|line| scaled(line)).min();
    let lowest = lowest.unwrap_or(0);
    let opened = opens(lines[0]) || lines[0].trim().is_empty() && opens(around.line);
    let step = around.unit.columns().cast_signed();
    if opened && base > 0 && !begins_with_closer(second) && scaled(second) <= base {
        // Written as if the hole's line stood at the margin.
        return (base + step - scaled(second)).max(0);
    }
    // The other lines have the first one's mistake, unless they are right already.
    let was = base - first;
    if first != 0
        && lowest >= was.min(base)
        && (first < 0 && lowest >= was || first > 0 && lowest <= was)
    {
        first
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, above: &str, unit: Unit, fill: &str, expected: &str) {
        let around = Around { line, above, above_opens: opens(above), goes_on: false, unit };
        assert_eq!(fit(fill, &around), expected, "{fill:?} after {line:?}");
    }

    #[test]
    fn the_files_unit_is_found() {
        for (text, expected) in [
            ("a\nb\n", None),
            ("a {\n  b {\n    c\n  }\n}\n", Some(Unit::Spaces(2))),
            ("a {\n    b\n}\n/*\n * x\n * y\n */\n", Some(Unit::Spaces(4))),
            ("a {\n\tb {\n\t\tc\n", Some(Unit::Tab)),
            ("a {\r\n\t\r\n}", Some(Unit::Tab)),
        ] {
            assert_eq!(Unit::of(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_fill_that_fits_stays() {
        for (line, above, fill) in [
            ("    ", "fn a() {", "b();\n    c();"),
            ("", "}", "fn a() {\n    b();\n}"),
            ("    if a {", "fn a() {", "\n        b();\n    }"),
            ("    foo(", "{", "a,\n        b)"),
            ("    ", "    if a:", "return 1\n    b"),
            ("    x = ", "    y", "[\n        1,\n    ]"),
            ("    ", "", "/// a(\n    ///     b,"),
            ("  f(a", "", ",\n      "),
        ] {
            let around =
                Around { line, above, above_opens: false, goes_on: false, unit: Unit::Spaces(4) };
            assert_eq!(fit(fill, &around), fill);
        }
    }

    #[test]
    fn kind_and_width_are_the_files() {
        check("\tif a {", "{", Unit::Tab, "\n        b();\n    }", "\n\t\tb();\n\t}");
        check("  ", "a {", Unit::Spaces(2), "if b {\n      c();\n  }", "if b {\n    c();\n  }");
        check(
            "    ",
            "a {",
            Unit::Spaces(4),
            "if b {\n\t\tc();\n\t}",
            "if b {\n        c();\n    }",
        );
    }

    #[test]
    fn blanks_that_stand_there_are_not_repeated() {
        check("    ", "fn a() {", Unit::Spaces(4), "    b();\n    c();", "b();\n    c();");
        check("    ", "fn a() {", Unit::Spaces(4), "    b();\n        c();", "b();\n    c();");
        check("    ", "    if a:", Unit::Spaces(4), "    b()", "    b()");
    }

    #[test]
    fn a_block_without_indentation_gets_it() {
        check("", "fn a() {", Unit::Spaces(4), "b();\nc();", "    b();\n    c();");
        check(
            "    ",
            "fn a() {",
            Unit::Spaces(4),
            "if b {\n    c();\n}",
            "if b {\n        c();\n    }",
        );
    }
}
