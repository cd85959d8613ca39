//! Finds where the doc comment of an item goes, and makes one of what the model says there.

use tree_sitter::Node;

use super::{indentation, line_end, line_start};
use crate::after_fill::Language;
use crate::after_fill::languages::Extent;

/// How a language writes its doc comments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// Every line begins with a sign.
    Lines(&'static str),
    /// `/** */`
    Block,
    /// A string below the item's first line.
    Docstring,
}

/// Nodes that can have a doc comment, in the grammars of all languages.
const ITEMS: [&str; 37] = [
    "function_item",
    "function_signature_item",
    "struct_item",
    "enum_item",
    "union_item",
    "trait_item",
    "type_item",
    "const_item",
    "static_item",
    "mod_item",
    "macro_definition",
    "function_definition",
    "class_definition",
    "function_declaration",
    "generator_function_declaration",
    "class_declaration",
    "abstract_class_declaration",
    "method_definition",
    "method_signature",
    "interface_declaration",
    "type_alias_declaration",
    "enum_declaration",
    "record_declaration",
    "struct_declaration",
    "trait_declaration",
    "property_declaration",
    "method_declaration",
    "constructor_declaration",
    "type_declaration",
    "const_declaration",
    "class_specifier",
    "struct_specifier",
    "namespace_definition",
    "method",
    "singleton_method",
    "class",
    "module",
];

/// Nodes around an item whose doc comment stands before them.
const WRAPPERS: [&str; 3] = ["export_statement", "template_declaration", "ambient_declaration"];

/// Where the doc comment of an item goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocPlace {
    /// Byte of the document before which it is inserted, behind the blanks of its line.
    pub at: usize,
    /// The item's name, where it has one.
    pub name: String,
    style: Style,
    indentation: String,
}

/// The place for the smallest item around the byte `at`; `None` where there is no item, or it has its doc comment.
pub fn doc_place(text: &str, at: usize, language: &'static Language) -> Option<DocPlace> {
    let style = style(language)?;
    let tree = language.parser(Extent::File)?.parse(text, None)?;
    // From the first word of the line on: the blanks left of an item belong to what is around it.
    let line = &text[line_start(text, at)..];
    let first = line_start(text, at) + (line.len() - line.trim_start_matches([' ', '\t']).len());
    let at = at.max(first.min(line_end(text, at)));
    let mut next = tree.root_node().descendant_for_byte_range(at, at);
    while let Some(node) = next {
        if node.is_named() && ITEMS.contains(&node.kind()) {
            return place_of(text, node, style);
        }
        // An attribute belongs to the item below it.
        if matches!(node.kind(), "attribute_item" | "decorator") {
            let below = std::iter::successors(node.next_named_sibling(), Node::next_named_sibling);
            let mut below = below.skip_while(|node| node.kind() == "attribute_item");
            if let Some(item) = below.next().filter(|item| ITEMS.contains(&item.kind())) {
                return place_of(text, item, style);
            }
        }
        next = node.parent();
    }
    None
}

fn style(language: &Language) -> Option<Style> {
    Some(match language.name {
        "Rust" | "C++" | "C#" => Style::Lines("/// "),
        "Go" => Style::Lines("// "),
        "Ruby" | "Bash" => Style::Lines("# "),
        "Lua" => Style::Lines("--- "),
        "TypeScript" | "TSX" | "JavaScript" | "Java" | "PHP" | "C" => Style::Block,
        "Python" => Style::Docstring,
        _ => return None,
    })
}

fn place_of(text: &str, item: Node<'_>, style: Style) -> Option<DocPlace> {
    let name = item.child_by_field_name("name").and_then(|name| text.get(name.byte_range()));
    let at = match style {
        Style::Docstring => {
            let first = item.child_by_field_name("body")?.named_child(0)?;
            if is_docstring(first) {
                return None;
            }
            first.start_byte()
        }
        Style::Lines(_) | Style::Block => {
            let wrapper = item.parent().filter(|parent| WRAPPERS.contains(&parent.kind()));
            let mut first = wrapper.unwrap_or(item);
            while let Some(attribute) = first.prev_named_sibling().filter(is_attribute) {
                first = attribute;
            }
            first.start_byte()
        }
    };
    let indentation = indentation(text, at)?.to_owned();
    let above = text[..line_start(text, at)].lines().next_back().unwrap_or_default().trim();
    let has_one = match style {
        Style::Lines(sign) => above.starts_with(sign.trim_end()) || above.ends_with("*/"),
        Style::Block => above.ends_with("*/"),
        Style::Docstring => false,
    };
    let name = name.unwrap_or_default().to_owned();
    (!has_one).then_some(DocPlace { at, name, style, indentation })
}

fn is_attribute(node: &Node<'_>) -> bool {
    matches!(node.kind(), "attribute_item" | "decorator")
}

/// Whether a Python statement is a string and nothing else.
pub(super) fn is_docstring(statement: Node<'_>) -> bool {
    statement.kind() == "expression_statement"
        && statement.named_child_count() == 1
        && statement.named_child(0).is_some_and(|only| only.kind() == "string")
        || statement.kind() == "string"
}

impl DocPlace {
    /// What the model is shown left of the comment's text.
    pub fn opening(&self) -> String {
        match self.style {
            // Go's comments begin with the name.
            Style::Lines("// ") if !self.name.is_empty() => format!("// {} ", self.name),
            Style::Lines(sign) => sign.to_owned(),
            Style::Block => "/** ".to_owned(),
            Style::Docstring => "\"\"\"".to_owned(),
        }
    }

    /// What it is shown right of it: the end of the comment, and a fresh line.
    pub fn closing(&self) -> String {
        format!("{}\n{}", self.end(), self.indentation)
    }

    fn end(&self) -> &'static str {
        match self.style {
            Style::Lines(_) => "",
            Style::Block => " */",
            Style::Docstring => "\"\"\"",
        }
    }

    /// The comment with `fill` in it, up to the fresh line; `None` where the model said nothing.
    pub fn comment(&self, fill: &str) -> Option<String> {
        let fill = match self.style {
            Style::Lines(_) => fill,
            Style::Block => {
                let inside = fill.split("*/").next().unwrap_or_default();
                // The last line may hold the end of the comment alone.
                inside.trim_end().trim_end_matches('*')
            }
            Style::Docstring => fill.split("\"\"\"").next().unwrap_or_default(),
        };
        let (first, more) = fill.split_once('\n').unwrap_or((fill, ""));
        if first.trim().is_empty() {
            return None;
        }
        let indentation = &self.indentation;
        let mut comment = format!("{}{}", self.opening(), first.trim_end());
        for line in more.lines().map(str::trim) {
            let line = match self.style {
                Style::Lines(sign) => {
                    // The model has gone on with the item itself.
                    let Some(line) = line.strip_prefix(sign.trim_end()) else { break };
                    format!("{}{}", sign.trim_end(), line.trim_end())
                }
                Style::Block => format!(" * {}", line.trim_start_matches('*').trim_start()),
                Style::Docstring => line.to_owned(),
            };
            comment.push('\n');
            if !line.is_empty() {
                comment = format!("{comment}{indentation}{}", line.trim_end());
            }
        }
        Some(format!("{}{}", comment.trim_end(), self.closing()))
    }
}
