//! The token buffer being denoised: a prompt that stays, and behind it tokens and masks.

use std::ops::Range;

use super::lead::Lead;

/// Prompt and generated region. A committed token never changes.
#[derive(Clone, Debug)]
pub struct Canvas {
    tokens: Vec<u32>,
    prompt_len: usize,
    cells: Vec<Cell>,
    /// Tokens that may not stand at a place: (position, token).
    bans: Vec<(usize, u32)>,
    /// What the generated text must begin with.
    lead: Option<Lead>,
    /// Tokens of the prompt up to the end of the text before the hole.
    before_hole: usize,
}

/// State of one generated position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    /// Not decided yet; its token is the mask.
    Masked,
    /// Given by the caller.
    Given,
    /// Decided by the model.
    Committed {
        /// Probability of the token when it was committed.
        confidence: f64,
    },
}

impl Canvas {
    /// `len` masks behind `prompt`.
    pub fn masks(prompt: &[u32], len: usize, mask: u32) -> Self {
        Self::with_given(prompt, &vec![mask; len], mask)
    }

    /// `region` behind `prompt`; tokens of it that are not `mask` are given and stay.
    pub fn with_given(prompt: &[u32], region: &[u32], mask: u32) -> Self {
        let cell = |&token: &u32| if token == mask { Cell::Masked } else { Cell::Given };
        Self {
            tokens: [prompt, region].concat(),
            prompt_len: prompt.len(),
            cells: region.iter().map(cell).collect(),
            bans: Vec::new(),
            lead: None,
            before_hole: 0,
        }
    }

    /// The same, whose first `tokens` tokens end with the text before the hole.
    pub fn with_text_before(self, tokens: usize) -> Self {
        Self { before_hole: tokens.min(self.prompt_len), ..self }
    }

    /// The prompt up to the end of the text before the hole; empty where that is not known.
    pub(super) fn before_hole(&self) -> &[u32] {
        &self.tokens[..self.before_hole]
    }

    /// The same, whose text has to begin with `lead`.
    pub fn with_lead(self, lead: Option<Lead>) -> Self {
        Self { lead, ..self }
    }

    /// What the generated text begins with, as given.
    pub fn lead(&self) -> &str {
        self.lead.as_ref().map_or("", Lead::text)
    }

    /// The position that spells the next part of the lead, and the tokens that can; `None` once it is spelled.
    pub(super) fn lead_at(&self) -> Option<(usize, Vec<u32>)> {
        let lead = self.lead.as_ref()?;
        let decided = self.gapless();
        let candidates = lead.candidates(&self.generated()[..decided])?;
        (decided < self.cells.len()).then(|| (self.prompt_len + decided, candidates))
    }

    /// Prompt and generated region.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens of the prompt; the generated region starts here.
    pub fn prompt_len(&self) -> usize {
        self.prompt_len
    }

    /// Prompt and generated region, in tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is neither prompt nor generated region.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Tokens of the generated region, masks included.
    pub fn generated(&self) -> &[u32] {
        &self.tokens[self.prompt_len..]
    }

    /// States of the generated region.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Makes all generated tokens from `position` on (prompt included in the count) masks again, and keeps the one that
    /// stood there from coming back.
    pub fn reject(&mut self, position: usize, mask: u32) {
        self.bans.push((position, self.tokens[position]));
        let from = position - self.prompt_len;
        self.tokens[position..].fill(mask);
        self.cells[from..].fill(Cell::Masked);
    }

    /// Tokens that may not be chosen at `position`.
    pub(super) fn banned_at(&self, position: usize) -> Vec<u32> {
        self.bans.iter().filter(|(at, _)| *at == position).map(|(_, token)| *token).collect()
    }

    /// The place of the least sure token that the model chose among the first `len` generated ones, prompt included in
    /// the count.
    pub fn least_sure(&self, len: usize) -> Option<usize> {
        let chosen = self.cells.iter().take(len).enumerate().filter_map(|(at, cell)| match cell {
            Cell::Committed { confidence } => Some((at, *confidence)),
            Cell::Masked | Cell::Given => None,
        });
        let least = chosen.min_by(|(_, a), (_, b)| a.total_cmp(b))?;
        Some(self.prompt_len + least.0)
    }

    /// Positions in `range` (prompt included in the count) that are still masks.
    pub fn masked_in(&self, range: Range<usize>) -> Vec<usize> {
        let generated = range.start.max(self.prompt_len)..range.end;
        generated.filter(|&position| self.is_masked(position)).collect()
    }

    /// The part of `range` that is generated.
    pub(super) fn generated_part(&self, range: Range<usize>) -> &[u32] {
        &self.tokens[range.start.max(self.prompt_len)..range.end]
    }

    fn is_masked(&self, position: usize) -> bool {
        position >= self.prompt_len && self.cells[position - self.prompt_len] == Cell::Masked
    }

    /// Generated tokens before the first mask.
    pub fn gapless(&self) -> usize {
        self.cells.iter().position(|&cell| cell == Cell::Masked).unwrap_or(self.cells.len())
    }

    /// The position before which nothing is generated but what was given to begin with; `None` once there is more.
    pub(super) fn first_own(&self) -> Option<usize> {
        let decided = self.gapless();
        let is_empty = match &self.lead {
            Some(lead) => lead.is_all_of(&self.generated()[..decided]),
            None => decided == 0,
        };
        is_empty.then_some(self.prompt_len + decided)
    }

    pub(super) fn commit(&mut self, position: usize, token: u32, confidence: f64) {
        debug_assert!(self.is_masked(position), "only masks are committed");
        self.tokens[position] = token;
        self.cells[position - self.prompt_len] = Cell::Committed { confidence };
    }

    /// Drops everything from `end` on and overwrites the generated tokens from `from` on with `token`.
    pub(super) fn close(&mut self, from: usize, end: usize, token: u32) {
        self.tokens.truncate(end);
        self.cells.truncate(end - self.prompt_len);
        self.tokens[from..].fill(token);
    }
}
