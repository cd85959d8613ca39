//! The golden cases under `holes/cases/`: documents, and the places in them where there is something to fill in.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod cases;

use diffcoder_lsp::after_fill::Language;
use diffcoder_lsp::holes::{DEFAULT_MARKER, Stubs, doc_place, lead, stubs};
use serde::Deserialize;

use cases::files;

/// A planned hole stands between these in an expected document.
const MARKS: (char, char) = ('⟦', '⟧');
/// The cursor.
const CURSOR: char = '‸';

#[derive(Debug, Deserialize)]
struct File {
    /// The protocol's `languageId`.
    language: String,
    #[serde(default)]
    stubs: Vec<StubCase>,
    #[serde(default)]
    doc_comment: Vec<DocCase>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StubCase {
    /// What the case shows, in a line.
    why: String,
    /// The document with its stubs marked.
    document: String,
    /// What the model is shown left of the first hole in place of its draft.
    #[serde(default)]
    lead: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DocCase {
    why: String,
    /// The document with the cursor.
    document: String,
    /// What the model says.
    #[serde(default)]
    fill: String,
    /// The document with the comment; absent where there is no place for one.
    expected: Option<String>,
}

#[test]
fn stubs_are_found_where_the_files_say() {
    let mut wrong = Vec::new();
    let mut n_cases = 0;
    for (name, file) in files::<File>("holes/cases") {
        let language = Language::of(&file.language, "");
        for case in &file.stubs {
            n_cases += 1;
            let text = case.document.replace([MARKS.0, MARKS.1], "");
            for line_end in ["\n", "\r\n"] {
                let text = text.replace('\n', line_end);
                let expected = case.document.replace('\n', line_end);
                let wanted = Stubs { within: None, language, marker: DEFAULT_MARKER };
                let holes = stubs(&text, &wanted);
                let mut found = text.clone();
                for hole in holes.iter().rev() {
                    found.insert(hole.span.end, MARKS.1);
                    found.insert(hole.span.start, MARKS.0);
                }
                if found != expected {
                    wrong.push(format!("{name}: {}\n  {expected:?}\n  {found:?}", case.why));
                }
                let shown = holes.first().and_then(|hole| lead(&text, &hole.span));
                let shown = shown.map(|lead| lead.replace("\r\n", "\n"));
                assert_eq!(shown, case.lead, "{name}: {}", case.why);
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {n_cases} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert!(n_cases >= 30, "{n_cases} cases are left");
}

#[test]
fn only_what_touches_the_range_is_a_stub() {
    let text = "fn a() { todo!() }\nfn b() { todo!() }\n";
    let holes = |within| {
        let wanted = Stubs { within, language: Language::of("rust", ""), marker: "" };
        stubs(text, &wanted).len()
    };
    assert_eq!((holes(None), holes(Some(0..18)), holes(Some(19..text.len()))), (2, 1, 1));
    assert_eq!(holes(Some(0..5)), 0);
}

#[test]
fn doc_comments_go_where_the_files_say() {
    let mut n_cases = 0;
    for (name, file) in files::<File>("holes/cases") {
        let language = Language::of(&file.language, "");
        for case in &file.doc_comment {
            n_cases += 1;
            let at = case.document.find(CURSOR).expect("a cursor");
            let text = case.document.replace(CURSOR, "");
            let place = language.and_then(|language| doc_place(&text, at, language));
            let found = place.and_then(|place| {
                let comment = place.comment(&case.fill)?;
                Some(format!("{}{comment}{}", &text[..place.at], &text[place.at..]))
            });
            assert_eq!(found, case.expected, "{name}: {}", case.why);
        }
    }
    assert!(n_cases >= 20, "{n_cases} cases are left");
}
