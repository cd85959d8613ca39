//! What people ask for by hand: the list of actions, and how code actions and commands name them.

mod perform;

use serde::{Deserialize, Serialize};
use tower_lsp::gen_lsp_types::{CodeActionKind, Diagnostic, Range, Uri};

use crate::filling::Mode;
use crate::state::Session;
use crate::versioned::VersionedDocument;
use diffcoder_engine::infiller::Task;

pub(crate) use perform::{Results, perform};

/// One thing to ask for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Action {
    Infill,
    FillAll,
    Rewrite,
    Repair,
    DocComment,
    Alternatives,
}

/// An action's names: the command's, the code action kind's, and the one for people.
struct Names {
    command: &'static str,
    kind: &'static str,
    title: &'static str,
}

impl Action {
    pub(crate) const ALL: [Self; 6] = [
        Self::Infill,
        Self::FillAll,
        Self::Rewrite,
        Self::Repair,
        Self::DocComment,
        Self::Alternatives,
    ];

    const fn names(self) -> Names {
        let (command, kind, title) = match self {
            Self::Infill => {
                ("diffcoder.server.infill", "refactor.rewrite.diffcoder.infill", "Infill selection")
            }
            Self::FillAll => (
                "diffcoder.server.fillAll",
                "refactor.rewrite.diffcoder.fillAll",
                "Fill all holes here",
            ),
            Self::Rewrite => (
                "diffcoder.server.rewrite",
                "refactor.rewrite.diffcoder.rewrite",
                "Rewrite with instruction",
            ),
            Self::Repair => {
                ("diffcoder.server.repair", "quickfix.diffcoder.repair", "Repair what is unlikely")
            }
            Self::DocComment => (
                "diffcoder.server.docComment",
                "refactor.rewrite.diffcoder.docComment",
                "Write doc comment",
            ),
            Self::Alternatives => (
                "diffcoder.server.alternatives",
                "refactor.rewrite.diffcoder.alternatives",
                "Choose among alternatives",
            ),
        };
        Names { command, kind, title }
    }

    /// The name of its command.
    pub(crate) const fn command(self) -> &'static str {
        self.names().command
    }

    /// The action of a command.
    pub(crate) fn of_command(command: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.command() == command)
    }

    /// The kind of its code action.
    pub(crate) fn kind(self) -> CodeActionKind {
        CodeActionKind::from(self.names().kind.to_owned())
    }

    /// Whether a client that wants code actions of the kind `wanted` wants this one.
    pub(crate) fn is_kind(self, wanted: &CodeActionKind) -> bool {
        let wanted = String::from(wanted.clone());
        let rest = self.names().kind.strip_prefix(wanted.as_str());
        wanted.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// Its name for people.
    pub(crate) const fn title(self) -> &'static str {
        self.names().title
    }

    /// Whether its holes are the ranges that a client names; otherwise it looks for them itself.
    pub(crate) fn fills_ranges(self) -> bool {
        matches!(self, Self::Infill | Self::Rewrite | Self::Alternatives)
    }

    /// Why the loaded model cannot do it; `None` if it can.
    pub(crate) fn refusal(self, session: &Session) -> Option<String> {
        match self {
            Self::Rewrite => session.worker.refusal(Task::Rewrite),
            Self::Repair => session.worker.refusal(Task::Score),
            Self::Infill | Self::FillAll | Self::DocComment | Self::Alternatives => None,
        }
    }
}

/// What an action is to be done with: the argument of its command, and what a code action remembers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Order {
    uri: Uri,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ranges: Option<Vec<Range>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    range: Option<Range>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instruction: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    diagnostics: Option<Vec<Diagnostic>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alternatives: Option<usize>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keep: Vec<Range>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_tokens: Option<usize>,
}

impl Order {
    /// An action on `range` of a version of a document.
    pub(crate) fn on(uri: Uri, version: i32, range: Range) -> Self {
        Self {
            uri,
            version: Some(version),
            ranges: None,
            range: Some(range),
            instruction: None,
            diagnostics: None,
            alternatives: None,
            keep: Vec::new(),
            mode: None,
            max_tokens: None,
        }
    }

    /// The same, for diagnostics.
    pub(crate) fn about(self, diagnostics: Vec<Diagnostic>) -> Self {
        Self { diagnostics: Some(diagnostics), ..self }
    }

    /// The same, on all of the document.
    pub(crate) fn everywhere(self) -> Self {
        Self { range: None, ..self }
    }

    /// What it is about, where that is diagnostics.
    pub(crate) fn diagnostics(&self) -> Option<&Vec<Diagnostic>> {
        self.diagnostics.as_ref()
    }

    pub(crate) fn document(&self) -> VersionedDocument {
        VersionedDocument { uri: self.uri.clone(), version: self.version }
    }

    /// All ranges named in either way.
    fn all_ranges(&self) -> Vec<Range> {
        let several = self.ranges.iter().flatten().copied();
        several.chain(self.range).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_wanted_by_their_beginnings() {
        let is_wanted = |action: Action, kind: &str| action.is_kind(&kind.to_owned().into());
        for kind in ["", "refactor", "refactor.rewrite", "refactor.rewrite.diffcoder.infill"] {
            assert!(is_wanted(Action::Infill, kind), "{kind}");
        }
        for kind in ["quickfix", "refactor.re", "refactor.rewrite.diffcoder.infill.x", "source"] {
            assert!(!is_wanted(Action::Infill, kind), "{kind}");
        }
        assert!(is_wanted(Action::Repair, "quickfix"));
    }

    #[test]
    fn every_action_has_names_of_its_own() {
        for action in Action::ALL {
            assert_eq!(Action::of_command(action.command()), Some(action));
        }
        assert_eq!(Action::of_command("diffcoder.server.unknown"), None);
    }
}
