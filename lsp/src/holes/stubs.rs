//! Finds what somebody has left open: `todo!()`, bodies that only pass, errors that say "not implemented", TODO lines.

use std::ops::Range;

use tree_sitter::{Node, Tree};

use super::{PlannedHole, indentation, is_word, line_end};
use crate::after_fill::Language;
use crate::after_fill::languages::Extent;

/// The word that stands for a hole where the settings name no other; a name in most languages, so that files parse.
pub const DEFAULT_MARKER: &str = "__FILL__";

/// Longer expressions are no stubs, whatever they say.
const MOST_STUB_BYTES: usize = 200;

/// Calls that give up.
const GIVING_UP: [&str; 6] = ["panic(", "error(", "raise ", "raise(", "fatalError(", "die("];

/// Decorators of Python functions whose empty bodies are meant.
const MEANT_EMPTY: [&str; 2] = ["overload", "abstractmethod"];

/// Where to look for stubs.
#[derive(Clone, Debug)]
pub struct Stubs<'a> {
    /// Bytes of the document to look at; `None` is all of it.
    pub within: Option<Range<usize>>,
    /// The document's language, if it has a grammar.
    pub language: Option<&'static Language>,
    /// A word that is a hole wherever it stands.
    pub marker: &'a str,
}

/// The stubs of `text` in reading order, apart from each other.
pub fn stubs(text: &str, wanted: &Stubs<'_>) -> Vec<PlannedHole> {
    let tree =
        wanted.language.and_then(|language| language.parser(Extent::File)?.parse(text, None));
    let mut found = match &tree {
        Some(tree) => in_tree(tree, text),
        None => in_lines(text),
    };
    found.extend(markers(text, wanted.marker));
    found.sort_by_key(|hole| (hole.span.start, hole.span.end));
    let mut apart: Vec<PlannedHole> = Vec::with_capacity(found.len());
    for hole in found {
        if apart.last().is_some_and(|last| hole.span.start < last.span.end) {
            continue;
        }
        // The note above a stub says what the stub shall do: it stays.
        if let Some(last) = apart.last()
            && lead(text, &last.span).is_some()
            && lead(text, &hole.span).is_none()
            && text[last.span.end..hole.span.start].trim().is_empty()
        {
            apart.pop();
        }
        apart.push(hole);
    }
    if let Some(within) = &wanted.within {
        apart.retain(|hole| hole.span.start < within.end && hole.span.end > within.start);
    }
    apart
}

/// What the model is shown left of a hole whose draft is a note such as `// TODO: sort`: the note, and a fresh line.
///
/// The fill takes the note's place in the file, but it has to be made with the note in sight.
pub fn lead(text: &str, span: &Range<usize>) -> Option<String> {
    let indentation = indentation(text, span.start)?;
    let note = &text[span.clone()];
    let is_whole = text[span.end..line_end(text, span.end)].trim().is_empty();
    (is_whole && is_note(note)).then(|| format!("{note}\n{indentation}"))
}

fn in_tree(tree: &Tree, text: &str) -> Vec<PlannedHole> {
    let mut found = Vec::new();
    let mut pending = vec![tree.root_node()];
    while let Some(node) = pending.pop() {
        match stub(node, text) {
            Some(hole) => found.push(hole),
            None => pending.extend((0..node.child_count()).filter_map(|index| node.child(index))),
        }
        if node.kind() == "function_definition"
            && let Some(hole) = empty_python_body(node, text)
        {
            found.push(hole);
        }
    }
    found
}

/// `node` itself, as a hole.
fn stub(node: Node<'_>, text: &str) -> Option<PlannedHole> {
    let code = text.get(node.byte_range())?;
    let kind = node.kind();
    if kind.contains("comment") {
        return note(text, node.byte_range());
    }
    if kind == "macro_invocation" {
        let name =
            node.child_by_field_name("macro").and_then(|name| text.get(name.byte_range()))?;
        let is_stub = name == "todo" || name == "unimplemented";
        return is_stub.then(|| hole(statement(node), &format!("{name}!()")));
    }
    if !node.is_named() || code.len() > MOST_STUB_BYTES {
        return None;
    }
    let gives_up = match kind {
        "throw_statement" | "throw_expression" => true,
        "call" | "call_expression" | "function_call" | "function_call_expression" => {
            GIVING_UP.iter().any(|start| code.starts_with(start))
        }
        _ => false,
    };
    (gives_up && says_unimplemented(code)).then(|| hole(statement(node), "not implemented"))
}

/// The statement that consists of `node` and its semicolon, or `node`.
fn statement(node: Node<'_>) -> Range<usize> {
    match node.parent() {
        Some(parent) if parent.kind() == "expression_statement" => parent.byte_range(),
        _ => node.byte_range(),
    }
}

fn says_unimplemented(code: &str) -> bool {
    let code = code.to_lowercase();
    let phrases = ["not implemented", "notimplemented", "not yet implemented", "unimplemented"];
    phrases.iter().any(|phrase| code.contains(phrase))
        || code.split(|char: char| !is_word(char)).any(|word| word == "todo")
}

/// The body of a Python function that has nothing in it, its docstring apart.
fn empty_python_body(function: Node<'_>, text: &str) -> Option<PlannedHole> {
    let body = function.child_by_field_name("body").filter(|body| body.kind() == "block")?;
    let code = |node: Node<'_>| text.get(node.byte_range()).unwrap_or_default();
    let is_meant = function.parent().is_some_and(|parent| {
        let named = (0..parent.child_count()).filter_map(|index| parent.child(index));
        named
            .filter(|child| child.kind() == "decorator")
            .any(|decorator| MEANT_EMPTY.iter().any(|name| code(decorator).ends_with(name)))
    });
    let mut statements: Vec<Node<'_>> = (0..body.child_count())
        .filter_map(|index| body.child(index))
        .filter(|child| child.is_named() && !child.kind().contains("comment"))
        .collect();
    if statements.first().is_some_and(|first| super::doc_comment::is_docstring(*first)) {
        statements.remove(0);
    }
    let [only] = statements[..] else { return None };
    let is_empty = matches!(code(only), "pass" | "...")
        || only.kind() == "raise_statement" && code(only).contains("NotImplementedError");
    (is_empty && !is_meant).then(|| hole(only.byte_range(), "empty body"))
}

/// Without a grammar: what is unmistakable in any language.
fn in_lines(text: &str) -> Vec<PlannedHole> {
    let mut found = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let code = line.trim();
        let start = at + (line.len() - line.trim_start().len());
        at += line.len();
        let span = start..start + code.len();
        if is_note(code) {
            found.extend(note(text, span));
            continue;
        }
        for stub in ["todo!()", "unimplemented!()"] {
            let places = code.match_indices(stub);
            found.extend(
                places.map(|(from, _)| hole(start + from..start + from + stub.len(), stub)),
            );
        }
    }
    found
}

/// The note at `span` and the lines in which it goes on, if it is one that stands alone.
fn note(text: &str, span: Range<usize>) -> Option<PlannedHole> {
    let mut end = span.start + text[span.clone()].trim_end().len();
    lead(text, &(span.start..end))?;
    let sign = sign(&text[span.start..end]);
    loop {
        let next = line_end(text, end);
        let Some(start) = text[next..].find('\n').map(|newline| next + newline + 1) else { break };
        let line = &text[start..line_end(text, start)];
        let goes_on = !sign.is_empty()
            && line.trim_start().starts_with(sign)
            && !is_note(line.trim())
            && !line.trim_start()[sign.len()..].trim().is_empty();
        if !goes_on {
            break;
        }
        end = start + line.trim_end().len();
    }
    Some(hole(span.start..end, "TODO"))
}

/// The characters that make a line a comment.
fn sign(comment: &str) -> &str {
    let is_sign = |char: char| "/#-;%".contains(char);
    &comment[..comment.find(|char| !is_sign(char)).unwrap_or(comment.len())]
}

/// Whether `comment` is a comment, not one that documents, that begins with TODO.
fn is_note(comment: &str) -> bool {
    let documents = ["///", "//!", "/**"].iter().any(|sign| comment.starts_with(sign));
    let opening = |char: char| "/#*-;%<!".contains(char);
    let words = comment.trim_start_matches(opening);
    let rest = words.trim_start().strip_prefix("TODO");
    words.len() < comment.len() && !documents && rest.is_some_and(|rest| !rest.starts_with(is_word))
}

fn markers(text: &str, marker: &str) -> Vec<PlannedHole> {
    if marker.trim().is_empty() {
        return Vec::new();
    }
    let is_whole = |at: &usize| {
        let before = text[..*at].chars().next_back().is_some_and(is_word);
        let after = text[at + marker.len()..].chars().next().is_some_and(is_word);
        !(before && marker.starts_with(is_word) || after && marker.ends_with(is_word))
    };
    let places = text.match_indices(marker).map(|(at, _)| at).filter(is_whole);
    places.map(|at| hole(at..at + marker.len(), "marker")).collect()
}

fn hole(span: Range<usize>, reason: &str) -> PlannedHole {
    PlannedHole { span, reason: reason.to_owned() }
}
