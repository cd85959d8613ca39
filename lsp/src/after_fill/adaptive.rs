//! How much a completion that nobody asked for should show: the line, or the block.

use tree_sitter::Tree;

use super::brackets::is_closer;
use super::errors::in_prose;
use super::indent::{blanks, columns};
use super::languages::Language;

/// How far a fill may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// As far as the model goes.
    #[default]
    Free,
    /// To the end of the hole's line.
    Line,
    /// To the end of the block that the hole is in, or that begins left of it.
    Block,
}

/// Ends of lines after which any language goes on further in.
const OPENERS: &[&str] = &["{", "(", "[", ":"];

/// The shape for a cursor at the byte `at`, with `line` left of it and `rest` right of it in its line.
pub(super) fn shape(
    (tree, language): (Option<&Tree>, Option<&Language>),
    at: usize,
    (line, rest): (&str, &str),
    above: &str,
) -> Shape {
    let rest = rest.trim();
    let is_open_to_the_right = rest.chars().all(|char| is_closer(char) || "\"'`>;,".contains(char));
    if !is_open_to_the_right || tree.is_some_and(|tree| in_prose(tree, at)) {
        return Shape::Line;
    }
    if !line.trim().is_empty() {
        // Behind an opener a closer may wait that the editor has set; brackets of a call stay on their line.
        let is_block = if rest.is_empty() {
            opens_block(line, language) && !line.trim_end().ends_with(['(', '['])
        } else {
            line.trim_end().ends_with('{') && rest.starts_with('}')
        };
        return if is_block { Shape::Block } else { Shape::Line };
    }
    if !rest.is_empty() {
        return Shape::Line;
    }
    match tree {
        Some(tree) if is_list(tree, at) => Shape::Line,
        Some(_) => Shape::Block,
        None if opens_block(above, None) => Shape::Block,
        None => Shape::Line,
    }
}

/// Whether a line of items, not of statements, belongs at `at`.
fn is_list(tree: &Tree, at: usize) -> bool {
    const LISTS: [&str; 8] =
        ["argument", "parameter", "array", "list", "tuple", "dictionary", "object", "initializer"];
    const BODIES: [&str; 4] =
        ["declaration_list", "statement_list", "object_type", "object_creation"];
    let node = tree.root_node().named_descendant_for_byte_range(at, at);
    node.is_some_and(|node| {
        let kind = node.kind();
        LISTS.iter().any(|list| kind.contains(list))
            && !BODIES.contains(&kind)
            && !kind.ends_with("declaration_list")
            && node.parent().is_some()
    })
}

/// What comments at the end of a line begin with.
const COMMENTS: [&str; 4] = [" #", "\t#", " //", "\t//"];

/// Whether a block follows `line`, whatever comment stands at its end.
pub(super) fn opens_block(line: &str, language: Option<&Language>) -> bool {
    let code = COMMENTS.iter().filter_map(|mark| line.find(mark)).min();
    opens_block_bare(line, language)
        || code.is_some_and(|end| opens_block_bare(&line[..end], language))
}

fn opens_block_bare(line: &str, language: Option<&Language>) -> bool {
    let line = line.trim();
    let ends = |end: &&'static str| {
        line.strip_suffix(*end).is_some_and(|before| {
            !end.starts_with(char::is_alphabetic) || !before.ends_with(super::tail::is_word)
        })
    };
    let starts = |start: &&'static str| {
        line.strip_prefix(*start).is_some_and(|after| !after.starts_with(super::tail::is_word))
    };
    let Some(language) = language else { return OPENERS.iter().any(ends) };
    let is_parameters = line.ends_with('|') && line.contains(" |");
    language.block_ends.iter().any(ends)
        || !language.block_starts.is_empty()
            && (is_parameters
                || language.block_starts.iter().any(starts)
                    && !language.closing_words.iter().any(ends))
}

/// Where `fill` leaves the block it stands in: the start of the first line that is less far in than the block, and that
/// line's end. `line` stands left of the hole.
pub(super) fn block_end(fill: &str, line: &str) -> Option<(usize, usize)> {
    let is_blank = line.trim().is_empty();
    let first = fill.split('\n').next().unwrap_or_default();
    let begin = columns(line) + if is_blank { columns(blanks(first)) } else { 0 };
    let mut at = first.len();
    for (index, next) in fill[at..].split('\n').skip(1).enumerate() {
        let start = at + 1;
        at = start + next.len();
        if next.trim().is_empty() {
            continue;
        }
        // Behind an opener the block is further in than its line; what closes it is as far in.
        let is_out = if is_blank {
            columns(next) < begin || begin == 0 && fill[..start].ends_with("\n\n") && index > 0
        } else {
            columns(next) <= begin
        };
        if is_out {
            return Some((start, at));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::after_fill::errors::Syntax;
    use crate::after_fill::languages::Extent;

    #[track_caller]
    fn check(id: &str, text: &str, expected: Shape) {
        let (before, after) = text.split_once('¦').unwrap();
        let language = Language::of(id, "");
        let whole = format!("{before}{after}");
        let syntax = language.and_then(|language| Syntax::parse(language, Extent::File, &whole));
        let line = before.rsplit('\n').next().unwrap();
        let above = before.lines().rev().skip(1).find(|line| !line.trim().is_empty());
        let found = shape(
            (syntax.as_ref().map(|syntax| &syntax.tree), language),
            before.len(),
            (line, after.split('\n').next().unwrap()),
            above.unwrap_or_default(),
        );
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn lines_and_blocks_are_told_apart() {
        check("rust", "fn a() {\n    let b = ¦;\n}\n", Shape::Line);
        check("rust", "fn a() {\n    let b = ¦ + 1;\n}\n", Shape::Line);
        check("rust", "fn a() {\n    ¦\n}\n", Shape::Block);
        check("rust", "fn a() {¦}\n", Shape::Block);
        check("rust", "fn a() {¦\n", Shape::Block);
        check("rust", "fn a() {\n    // \n    b(\n        ¦\n    );\n}\n", Shape::Line);
        check("rust", "/* a\n¦\n*/\n", Shape::Line);
        check("rust", "// so {¦\n", Shape::Line);
        check("python", "def a():¦\n", Shape::Block);
        check("python", "def a():\n    ¦\n", Shape::Block);
        check("python", "a = {\n    ¦\n}\n", Shape::Line);
        check("python", "\"\"\"\n¦\n\"\"\"\n", Shape::Line);
        check("python", "x = a¦\n", Shape::Line);
        check("ruby", "class A\n  def b¦\n  end\nend\n", Shape::Block);
        check("ruby", "a.each do |b|¦\n", Shape::Block);
        check("lua", "if a then¦\n", Shape::Block);
        check("swift", "func a() {\n    ¦\n}\n", Shape::Block);
        check("plaintext", "Dear all,\n¦\n", Shape::Line);
    }

    #[test]
    fn a_block_ends_where_its_lines_do() {
        assert_eq!(block_end("b();\n    c();\n}\n", "    "), Some((14, 15)));
        assert_eq!(block_end("\n        b();\n    }\n    c();", "    if a {"), Some((14, 19)));
        assert_eq!(block_end("b\n\n    c", "    "), None);
        assert_eq!(block_end("fn a() {\n}\n\nfn b() {}", ""), Some((12, 21)));
    }
}
