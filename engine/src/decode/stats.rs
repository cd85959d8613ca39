//! What a decode did: counts of forwards, and which forward committed which token.

/// One mask becoming a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CommitEvent {
    /// Index of the forward among denoising and commit forwards, prefill not counted.
    pub call: usize,
    /// Position on the canvas, prompt included.
    pub position: usize,
    /// The token.
    pub token: u32,
    /// Its probability under the raw logits.
    pub confidence: f64,
}

/// Forwards of one decode by their purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForwardCounts {
    /// Prompt into the cache and nothing else.
    pub prefill: usize,
    /// Denoising steps; with a fused commit, committed rows ride in them.
    pub denoise: usize,
    /// Decided blocks into the cache and nothing else.
    pub commit: usize,
    /// Canvases whose logits were computed ahead in denoising steps; no forwards.
    pub ahead: usize,
}

impl ForwardCounts {
    /// Every forward through the model.
    pub fn total(self) -> usize {
        self.prefill + self.calls()
    }

    /// Denoising and commit forwards: what conformance traces count.
    pub fn calls(self) -> usize {
        self.denoise + self.commit
    }
}
