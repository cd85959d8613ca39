//! What the tests of several commands need: a file in a folder of its own, a scripted model.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use diffcoder_engine::cancel::CancelToken;
use diffcoder_engine::infiller::{
    Finish, Frame, FrameCell, HoleFill, Infill, InfillError, InfillRequest, InfillStats, Infiller,
};
use tempfile::TempDir;

use crate::args::LineColRange;

/// A file named `source.rs` with `text`, in a folder that goes away with the first value.
pub(crate) fn write_file(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.rs");
    fs::write(&path, text).unwrap();
    (folder, path)
}

/// The place `L:C-L:C`.
pub(crate) fn place(range: &str) -> LineColRange {
    range.parse().unwrap()
}

/// What an infill has cost that took `wall`.
pub(crate) fn stats(wall: Duration) -> InfillStats {
    InfillStats {
        prompt_tokens: 20,
        cached_tokens: 4,
        forwards: 4,
        prefill_forwards: 1,
        canvases_ahead: 0,
        tokens: 6,
        wall,
    }
}

/// A committed cell.
pub(crate) fn committed(text: &str, confidence: f32) -> FrameCell {
    FrameCell::Committed { text: text.to_owned(), confidence }
}

/// Fills every hole with one text, in two frames, and remembers what it was asked.
pub(crate) struct Scripted {
    pub(crate) fill: &'static str,
    pub(crate) requests: Vec<InfillRequest>,
}

impl Scripted {
    pub(crate) fn new(fill: &'static str) -> Self {
        Self { fill, requests: Vec::new() }
    }
}

impl Infiller for Scripted {
    fn infill(
        &mut self,
        request: &InfillRequest,
        cancel: &CancelToken,
        on_frame: &mut dyn FnMut(&Frame),
    ) -> Result<Infill, InfillError> {
        self.requests.push(request.clone());
        if cancel.is_cancelled() {
            return Err(InfillError::Cancelled);
        }
        let masked = vec![FrameCell::Masked, committed("x", 0.5)];
        let done = vec![committed(self.fill, 0.99), committed("x", 0.5)];
        for (forwards, cells) in [(2, masked), (3, done)] {
            on_frame(&Frame { hole: 0, forwards, cells });
        }
        let text = self.fill.to_owned();
        Ok(Infill {
            holes: vec![HoleFill {
                text,
                confidence: 0.75,
                finish: Finish::EndOfText,
                first_line: None,
            }],
            alternatives: Vec::new(),
            stats: stats(Duration::from_millis(1234)),
        })
    }

    fn model_name(&self) -> &str {
        "scripted"
    }
}
