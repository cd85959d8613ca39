//! Small changes to right code, to see whether a test suite notices.

/// Exchanged at their first place, the first pair that applies.
const OPERATORS: [(&str, &str); 22] = [
    (" == ", " != "),
    (" != ", " == "),
    (" <= ", " > "),
    (" >= ", " < "),
    (" < ", " >= "),
    (" > ", " <= "),
    (" not in ", " in "),
    (" in ", " not in "),
    (" += ", " -= "),
    (" -= ", " += "),
    (" + ", " - "),
    (" - ", " + "),
    (" * ", " + "),
    (" // ", " * "),
    (" / ", " * "),
    (" % ", " + "),
    (" and ", " or "),
    (" or ", " and "),
    ("True", "False"),
    ("False", "True"),
    (" not ", " "),
    ("return ", "return not "),
];

/// Another text than `code`: one operator or number changed, else nothing done at all. `None` where that is no change.
pub(super) fn mutate(code: &str) -> Option<String> {
    let is_loop = code.trim_start().starts_with("for ") || code.contains(" for ");
    let operators = OPERATORS.iter().filter(|(from, _)| !(is_loop && *from == " in "));
    for (from, to) in operators {
        if code.contains(from) {
            return Some(code.replacen(from, to, 1));
        }
    }
    if let Some(at) = code.find(|char: char| char.is_ascii_digit()) {
        let digit = code.as_bytes()[at] - b'0';
        return Some(format!("{}{}{}", &code[..at], (digit + 1) % 10, &code[at + 1..]));
    }
    let indentation = &code[..code.len() - code.trim_start().len()];
    let nothing = if code.ends_with('\n') { format!("{indentation}pass\n") } else { String::new() };
    (nothing != code).then_some(nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_changes() {
        for (code, changed) in [
            ("    if a == b == c:\n", "    if a != b == c:\n"),
            ("    return a + b\n", "    return a - b\n"),
            ("    return x\n", "    return not x\n"),
            ("    for x in xs[19:]:\n", "    for x in xs[29:]:\n"),
            ("    xs.sort()\n", "    pass\n"),
            ("xs.sort()", ""),
        ] {
            assert_eq!(mutate(code).as_deref(), Some(changed), "{code}");
        }
        assert_eq!(mutate(""), None);
        assert_eq!(mutate("    pass\n"), None);
    }
}
