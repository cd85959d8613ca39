//! The golden cases under `after_fill/cases/`: a document with a hole, a fill, and what becomes of it.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod cases;

use diffcoder_lsp::after_fill::{Drop, Edit, Fill, Language, Shape, Site};
use diffcoder_lsp::line_endings::LineEnding;
use serde::Deserialize;

use cases::files;

/// Marks a cursor, or with text in between the draft in a hole: `⟦draft⟧`.
const MARKS: (char, char) = ('⟦', '⟧');

#[derive(Debug, Deserialize)]
struct File {
    /// The protocol's `languageId`.
    language: String,
    case: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What the case shows, in a line.
    why: String,
    document: String,
    fill: String,
    /// The model was stopped.
    #[serde(default)]
    is_cut: bool,
    /// What the completion may be: `line`, `block`, `free`, or `auto` for what the place wants.
    #[serde(default)]
    shape: String,
    /// The text that is inserted.
    edit: Option<String>,
    /// What of the line right of the hole it replaces.
    #[serde(default)]
    over: String,
    /// Or why nothing is.
    dropped: Option<String>,
}

/// The outcome of a case, in the words of its file.
fn outcome(language_id: &str, case: &Case, ending: LineEnding) -> Result<(String, String), String> {
    let (before, rest) = case.document.split_once(MARKS.0).expect("a hole");
    let (draft, after) = rest.split_once(MARKS.1).expect("the end of the hole");
    let with_crlf = ending == LineEnding::CrLf;
    let styled = |text: &str| if with_crlf { text.replace('\n', "\r\n") } else { text.to_owned() };
    let (before, draft, after) = (styled(before), styled(draft), styled(after));
    let text = format!("{before}{draft}{after}");
    let hole = before.len()..before.len() + draft.len();
    let mut site = Site::new(&text, hole.clone(), Language::of(language_id, ""));
    let shape = match case.shape.as_str() {
        "" | "free" => Shape::Free,
        "line" => Shape::Line,
        "block" => Shape::Block,
        "auto" => site.shape(),
        other => panic!("no such shape: {other}"),
    };
    let finished = site.finish(&Fill { text: &case.fill, is_cut: case.is_cut, shape });
    match finished.edit {
        Ok(Edit { range, text: new }) => {
            assert_eq!(range.start, hole.start);
            let over = &text[hole.end..range.end];
            assert!(!over.contains(['\r', '\n']), "the range stays in its line: {over:?}");
            assert!(!with_crlf || !new.replace("\r\n", "").contains('\n'), "{new:?}");
            Ok((new.replace("\r\n", "\n"), over.to_owned()))
        }
        Err(Drop::Empty) => Err("empty".to_owned()),
        Err(Drop::Repetition) => Err("repetition".to_owned()),
        Err(Drop::Error) => Err("error".to_owned()),
    }
}

#[test]
fn every_case_comes_out_as_its_file_says() {
    let mut wrong = Vec::new();
    let mut n_cases = 0;
    for (name, file) in files::<File>("after_fill/cases") {
        for case in &file.case {
            n_cases += 1;
            let expected = match (&case.edit, &case.dropped) {
                (Some(edit), None) => Ok((edit.clone(), case.over.clone())),
                (None, Some(reason)) => Err(reason.clone()),
                _ => panic!("{name}: {}: either `edit` or `dropped`", case.why),
            };
            for ending in [LineEnding::Lf, LineEnding::CrLf] {
                let found = outcome(&file.language, case, ending);
                if found != expected {
                    wrong.push(format!(
                        "{name}: {} ({ending:?})\n  expected {expected:?}\n  found    {found:?}",
                        case.why
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {n_cases} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert!(n_cases >= 80, "{n_cases} cases are left");
}

/// A fill that is what stood there must pass as it is: the documents of the cases with their expected edits.
#[test]
fn a_good_fill_is_left_alone() {
    for (name, file) in files::<File>("after_fill/cases") {
        for case in &file.case {
            let (Some(edit), true) = (&case.edit, case.over.is_empty()) else { continue };
            let again = Case {
                why: String::new(),
                document: case.document.clone(),
                fill: edit.clone(),
                is_cut: false,
                shape: String::new(),
                edit: None,
                over: String::new(),
                dropped: None,
            };
            let found = outcome(&file.language, &again, LineEnding::Lf);
            assert_eq!(found, Ok((edit.clone(), String::new())), "{name}: {}", case.why);
        }
    }
}
