//! Several holes of one document: jointly in one prompt, by new prompts one after the other, or each by itself.

use std::borrow::Cow;

use super::Engine;
use super::one::{Answer, Filled, Opening, Session};
use super::serving::bad;
use crate::decode::lead::Lead;
use crate::error::EngineError;
use crate::infiller::{FillMode, HoleFill, InfillError, InfillRequest, Sampling, Segment};
use crate::prompt::chat::{ChatPrompt, Rewrite};
use crate::prompt::format::PromptFormat;
use crate::prompt::heal::fill_start;
use crate::prompt::joint::{JointPrompt, Piece, joint_prompt};
use crate::prompt::layout::Layout;
use crate::prompt::related::{related_pieces, related_tokens};

/// The least share of the context that several fills leave to their prompt.
const PROMPT_SHARE: usize = 2;

/// The document of a request: text, and holes by their index.
pub(super) struct Pieces<'a> {
    pieces: Vec<Piece<'a>>,
    drafts: Vec<&'a str>,
}

impl<'a> Pieces<'a> {
    pub(super) fn of(segments: &'a [Segment]) -> Result<Self, InfillError> {
        let mut drafts = Vec::new();
        let pieces = segments
            .iter()
            .map(|segment| match segment {
                Segment::Text(text) => Piece::Text(text),
                Segment::Hole { draft } => {
                    drafts.push(&**draft);
                    Piece::Hole(drafts.len() - 1)
                }
            })
            .collect();
        if drafts.is_empty() {
            return Err(bad("the request has no hole"));
        }
        Ok(Self { pieces, drafts })
    }

    /// What stands in each hole; what a request to avoid that does not want to see again.
    pub(super) fn drafts(&self) -> &[&'a str] {
        &self.drafts
    }

    pub(super) fn n_holes(&self) -> usize {
        self.drafts.len()
    }

    /// The text left and right of one hole, the other holes holding what `filled` says or else their drafts.
    fn around(&self, hole: usize, filled: &[Option<Filled>]) -> [Cow<'a, str>; 2] {
        let at = self.pieces.iter().position(|piece| matches!(piece, Piece::Hole(i) if *i == hole));
        let at = at.unwrap_or(self.pieces.len());
        let text = |pieces: &[Piece<'a>]| -> Cow<'a, str> {
            let texts = pieces.iter().map(|piece| match piece {
                Piece::Text(text) => Cow::Borrowed(*text),
                Piece::Hole(index) => match filled.get(*index) {
                    Some(Some(filled)) => Cow::Owned(filled.fill.text.clone()),
                    _ => Cow::Borrowed(self.drafts[*index]),
                },
            });
            // A document of one piece is not copied.
            texts.filter(|text| !text.is_empty()).reduce(|all, text| all + text).unwrap_or_default()
        };
        [text(&self.pieces[..at]), text(&self.pieces[(at + 1).min(self.pieces.len())..])]
    }
}

impl Engine {
    /// One fill for each hole, in reading order.
    pub(super) fn fill_all(
        &mut self,
        request: &InfillRequest,
        pieces: &Pieces<'_>,
        sampling: &Sampling,
        session: &mut Session<'_>,
    ) -> Result<Vec<HoleFill>, InfillError> {
        let mut filled: Vec<Option<Filled>> = (0..pieces.n_holes()).map(|_| None).collect();
        match (request.mode, pieces.n_holes()) {
            (FillMode::Independent, _) | (_, 1) => {
                let none: [Option<Filled>; 0] = [];
                for (hole, fill) in filled.iter_mut().enumerate() {
                    let opening = self.opening_of(request, pieces, hole, &none)?;
                    *fill = Some(self.fill_prompt(&opening, hole, sampling, session)?);
                }
            }
            (FillMode::InTurn, _) => {
                self.fill_in_turn((request, pieces), sampling, session, &mut filled)?;
            }
            (FillMode::Joint, _) => match self.joint_prompt_of(request, pieces)? {
                Some((prompt, leads)) => {
                    self.fill_jointly((prompt, &leads), sampling, session, &mut filled)?;
                }
                None => self.fill_in_turn((request, pieces), sampling, session, &mut filled)?,
            },
        }
        let fills: Vec<HoleFill> = filled.into_iter().flatten().map(|filled| filled.fill).collect();
        debug_assert_eq!(fills.len(), pieces.n_holes());
        Ok(fills)
    }

    /// What the fill of one hole goes on from, the others being text.
    fn opening_of(
        &mut self,
        request: &InfillRequest,
        pieces: &Pieces<'_>,
        hole: usize,
        filled: &[Option<Filled>],
    ) -> Result<Opening, InfillError> {
        let [left, right] = pieces.around(hole, filled);
        if let Some(instruction) = &request.instruction {
            let part = pieces.drafts[hole];
            let (tokenizer, serving) = (&self.tokenizer, self.serving);
            let most = serving.related_tokens;
            let related = related_pieces(tokenizer, serving.format, &request.related, most)?;
            let rewrite =
                Rewrite { left: &left, part, right: &right, instruction, related: &related };
            return self.opening_of_rewrite(request, rewrite, hole);
        }
        let (left, lead) = self.heal(&left)?;
        let (tokenizer, format) = (&self.tokenizer, self.serving.format);
        let most = self.serving.related_tokens;
        let related = related_tokens(tokenizer, format, &request.related, most)?;
        let layout = Layout {
            tokenizer,
            format,
            prompt_tokens: self.serving.context_tokens.saturating_sub(request.limits.max_tokens),
            related: &related,
        };
        // Windows stand still for the hole that is typed at; several holes have windows of their own.
        let key = match hole {
            0 => Cow::Borrowed(&request.document_key),
            _ => Cow::Owned(format!("{}#{hole}", request.document_key)),
        };
        let prompt = layout.prompt(left, &right, self.windows.of(&key))?;
        let before_hole = format.before_hole(&prompt.tokens, prompt.rest_tokens);
        Ok(Opening { before_hole, ..self.opening(prompt.tokens, lead)? })
    }

    /// A fill behind `tokens` that has to begin with `lead`.
    fn opening(&self, tokens: Vec<u32>, lead: &str) -> Result<Opening, InfillError> {
        let surplus = self.tokenizer.encode(lead)?.len();
        Ok(Opening { tokens, lead: lead.to_owned(), surplus, before_hole: 0, answer: None })
    }

    /// A part that is written anew as an instruction says; it may be as long as it was in addition to what is granted.
    fn opening_of_rewrite(
        &mut self,
        request: &InfillRequest,
        rewrite: Rewrite<'_>,
        hole: usize,
    ) -> Result<Opening, InfillError> {
        let template = match &self.instruct {
            Ok(template) => template,
            Err(reason) => return Err(InfillError::BadRequest(reason.clone())),
        };
        let surplus = self.tokenizer.encode(rewrite.part)?.len();
        let granted = request.limits.max_tokens + surplus;
        let most = self.serving.context_tokens.saturating_sub(granted);
        // Apart from those of the hole itself: a conversation has room for less.
        let windows = self.windows.of(&format!("{}#rewrite{hole}", request.document_key));
        let ChatPrompt { tokens, fence } =
            template.prompt(&self.tokenizer, rewrite, most, windows)?;
        let answer = Some(Answer { fence, line_end: rewrite.part.ends_with('\n') });
        Ok(Opening { tokens, lead: String::new(), surplus, before_hole: 0, answer })
    }

    /// Text before a hole, cut where the fill begins.
    fn heal<'a>(&self, left: &'a str) -> Result<(&'a str, &'a str), EngineError> {
        let Some(tokens) = &self.token_bytes else { return Ok((left, "")) };
        let (before, lead) = left.split_at(fill_start(&self.tokenizer, left)?);
        // What the fill could not spell stays in the prompt.
        Ok(if Lead::new(lead, tokens).is_some() { (before, lead) } else { (left, "") })
    }

    /// One prompt for all holes, where the model knows such and they fit.
    fn joint_prompt_of(
        &self,
        request: &InfillRequest,
        pieces: &Pieces<'_>,
    ) -> Result<Option<(JointPrompt, Vec<String>)>, InfillError> {
        let serving = self.serving;
        if request.instruction.is_some()
            || !serving.multi_hole
            || serving.format != PromptFormat::Holes
        {
            return Ok(None);
        }
        let each =
            request.limits.max_tokens.next_multiple_of(serving.block_length) + serving.block_length;
        let context = serving.context_tokens;
        let Some(room) = context.checked_sub(pieces.n_holes() * each) else { return Ok(None) };
        if room < context / PROMPT_SHARE {
            return Ok(None);
        }
        let mut leads = vec![String::new(); pieces.n_holes()];
        let mut cut = Vec::with_capacity(pieces.pieces.len());
        for (index, piece) in pieces.pieces.iter().enumerate() {
            cut.push(match (*piece, pieces.pieces.get(index + 1)) {
                (Piece::Text(text), Some(&Piece::Hole(hole))) => {
                    let (text, lead) = self.heal(text)?;
                    leads[hole] = lead.to_owned();
                    Piece::Text(text)
                }
                (piece, _) => piece,
            });
        }
        let prompt = joint_prompt(&self.tokenizer, &cut, serving.block_length, room)?;
        Ok(prompt.map(|prompt| (prompt, leads)))
    }

    /// Any order: before each fill every open hole's first block is looked at, and the surest hole goes next.
    fn fill_jointly(
        &mut self,
        (prompt, leads): (JointPrompt, &[String]),
        sampling: &Sampling,
        session: &mut Session<'_>,
        filled: &mut [Option<Filled>],
    ) -> Result<(), InfillError> {
        let JointPrompt { mut tokens, openers } = prompt;
        let mut open: Vec<usize> = (0..filled.len()).collect();
        while !open.is_empty() {
            let mut best = (0, f64::NEG_INFINITY);
            for (index, &hole) in open.iter().enumerate() {
                if open.len() == 1 || session.is_late() {
                    break;
                }
                let opening = self.opening([&*tokens, &[openers[hole]]].concat(), &leads[hole])?;
                let sure = self.first_look(&opening, sampling, session)?;
                if sure > best.1 {
                    best = (index, sure);
                }
            }
            let hole = open.remove(best.0);
            tokens.push(openers[hole]);
            let opening = self.opening(tokens, &leads[hole])?;
            let fill = self.fill_prompt(&opening, hole, sampling, session)?;
            tokens = opening.tokens;
            tokens.extend(&fill.tokens);
            let format = self.serving.format;
            format.close(&mut tokens, self.tokenizer.special(), self.serving.block_length);
            filled[hole] = Some(fill);
        }
        Ok(())
    }

    /// A model that knows one hole: each fill becomes text of the prompts that follow, the surest hole first.
    ///
    /// The order is made once: to look again after each fill would read every prompt again.
    fn fill_in_turn(
        &mut self,
        (request, pieces): (&InfillRequest, &Pieces<'_>),
        sampling: &Sampling,
        session: &mut Session<'_>,
        filled: &mut [Option<Filled>],
    ) -> Result<(), InfillError> {
        let mut order = Vec::with_capacity(filled.len());
        for hole in 0..filled.len() {
            let opening = self.opening_of(request, pieces, hole, filled)?;
            order.push((self.first_look(&opening, sampling, session)?, hole));
        }
        order.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        for (_, hole) in order {
            let opening = self.opening_of(request, pieces, hole, filled)?;
            filled[hole] = Some(self.fill_prompt(&opening, hole, sampling, session)?);
        }
        Ok(())
    }
}
