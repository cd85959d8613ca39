//! The layout of models that follow instructions: a conversation, written as their own chat template says.
//!
//! Templates are Jinja as Hugging Face tokenizers have it (`chat_template`), rendered with the settings that
//! `apply_chat_template` of the transformers library uses. The message is data: only the template's own text may hold
//! special tokens.

use minijinja::{Environment, Error as JinjaError, ErrorKind, context};

use super::budget::{Budget, WindowState};
use super::layout::MIN_PROMPT_TOKENS;
use crate::error::{EngineError, Result};
use crate::related::Related;
use crate::tokenizer::Tokenizer;

/// Stands for the message while a template is rendered; private-use characters, so no template holds it.
const MESSAGE: &str = "\u{f8ff}message\u{f8ff}";
/// Steps that a template may take; those in use need some dozens.
const TEMPLATE_FUEL: u64 = 1_000_000;
/// Shortest code fence.
const LEAST_FENCE: usize = 3;
/// Tokens that a text may gain when it is encoded again next to other text.
const SEAM_TOKENS: usize = 16;
/// How often the context is made smaller before none is given.
const FITTING_TRIES: usize = 3;

/// A model's chat template, and the strings that it writes at the ends of turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTemplate {
    /// Jinja source.
    pub source: String,
    /// `bos_token`.
    pub bos: String,
    /// `eos_token`.
    pub eos: String,
}

/// A part of a document that is to be written anew as a person says.
#[derive(Clone, Copy, Debug)]
pub struct Rewrite<'a> {
    /// The document left of the part.
    pub left: &'a str,
    /// What stands there now; may be empty.
    pub part: &'a str,
    /// The document right of the part.
    pub right: &'a str,
    /// What the person says.
    pub instruction: &'a str,
    /// Pieces of other files, the nearest last.
    pub related: &'a [Related],
}

/// A prompt whose continuation is the new part and then [`Self::fence`] on a line of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatPrompt {
    /// The conversation, and the opened code block of the answer.
    pub tokens: Vec<u32>,
    /// What closes that block.
    pub fence: String,
}

impl ChatTemplate {
    /// The conversation left and right of the one message of the user, up to where the answer begins.
    ///
    /// # Errors
    /// A template that cannot be rendered, or does not show the message once.
    pub fn around_message(&self) -> Result<[String; 2]> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(TEMPLATE_FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |reason: String| -> std::result::Result<(), JinjaError> {
                Err(JinjaError::new(ErrorKind::InvalidOperation, reason))
            },
        );
        let rendered = environment.render_str(
            &self.source,
            context! {
                messages => [context! { role => "user", content => MESSAGE }],
                bos_token => self.bos,
                eos_token => self.eos,
                add_generation_prompt => true,
            },
        );
        let rendered = rendered
            .map_err(|error| EngineError::Tokenizer(format!("the chat template fails: {error}")))?;
        match rendered.split(MESSAGE).collect::<Vec<_>>()[..] {
            [before, after] => Ok([before.to_owned(), after.to_owned()]),
            _ => Err(EngineError::Tokenizer(
                "the chat template does not show the user's message as it is, once".into(),
            )),
        }
    }

    /// The prompt for a rewrite, of at most `most` tokens. `windows` belongs to the part.
    pub fn prompt(
        &self,
        tokenizer: &Tokenizer,
        rewrite: Rewrite<'_>,
        most: usize,
        windows: &mut WindowState,
    ) -> Result<ChatPrompt> {
        let fence = rewrite.fence();
        let [before, after] = self.around_message()?;
        let (before, after) = (tokenizer.encode_markup(&before)?, tokenizer.encode_markup(&after)?);
        let opened = tokenizer.encode(&format!("{fence}\n"))?;
        let conversation = |message: &str| -> Result<Vec<u32>> {
            Ok([&*before, &tokenizer.encode(message)?, &after, &opened].concat())
        };
        let bare = conversation(&rewrite.message("", "", &fence))?;
        let Some(mut room) = most.checked_sub(bare.len() + SEAM_TOKENS) else {
            return Err(EngineError::Request(format!(
                "the part, its new text and the instruction need {} tokens, and the model's context has room for {most}: choose a smaller part",
                bare.len() + SEAM_TOKENS
            )));
        };
        for _ in 0..FITTING_TRIES {
            if room < MIN_PROMPT_TOKENS {
                break;
            }
            let (prefix, suffix) =
                Budget::new(room).fit(tokenizer, rewrite.left, rewrite.right, windows)?;
            let left = tokenizer.decode(&prefix)?;
            let right = tokenizer.decode(&suffix)?;
            // A window may begin or end inside a character.
            let broken = char::REPLACEMENT_CHARACTER;
            let left =
                if rewrite.left.ends_with(&left) { &left } else { left.trim_start_matches(broken) };
            let right = if rewrite.right.starts_with(&right) {
                &right
            } else {
                right.trim_end_matches(broken)
            };
            let tokens = conversation(&rewrite.message(left, right, &fence))?;
            match tokens.len().checked_sub(most) {
                None | Some(0) => return Ok(ChatPrompt { tokens, fence }),
                Some(surplus) => room = room.saturating_sub(surplus + SEAM_TOKENS),
            }
        }
        Ok(ChatPrompt { tokens: bare, fence })
    }
}

impl Rewrite<'_> {
    /// Backquotes, more than stand next to each other anywhere in the message.
    fn fence(&self) -> String {
        let texts = [self.left, self.part, self.right, self.instruction];
        let related = self.related.iter().map(|piece| &*piece.text);
        let longest = texts.into_iter().chain(related).map(longest_fence).max().unwrap_or(0);
        "`".repeat(LEAST_FENCE.max(longest + 1))
    }

    /// What the user says, with this much of the document around the part.
    fn message(&self, left: &str, right: &str, fence: &str) -> String {
        let mut message = String::new();
        let mut section = |title: &str, text: &str| {
            if !text.is_empty() {
                let line_end = if text.ends_with('\n') { "" } else { "\n" };
                message.push_str(&format!("{title}\n{fence}\n{text}{line_end}{fence}\n\n"));
            }
        };
        for piece in self.related {
            section(&format!("From another file of the project, {}:", piece.path), &piece.text);
        }
        section("The file before the part to be written:", left);
        section("The file after the part to be written:", right);
        section("The part as it stands now:", self.part);
        let task = if self.part.is_empty() { "Write the part" } else { "Write the part anew" };
        let instruction = self.instruction.trim();
        message.push_str(&format!(
            "{task}: {instruction}\n\nAnswer with the text of the part alone, in one code block."
        ));
        message
    }
}

fn longest_fence(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// Where the answer ends in a text that opened with `fence`: before the line end in front of the closing fence.
pub fn end_of_answer(text: &str, fence: &str) -> Option<usize> {
    if text.starts_with(fence) {
        return Some(0);
    }
    text.match_indices('\n')
        .find(|(at, _)| text[at + 1..].starts_with(fence))
        .map(|(at, _)| if text[..at].ends_with('\r') { at - 1 } else { at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate { source: source.into(), bos: "<B>".into(), eos: "<E>".into() }
    }

    #[test]
    fn a_template_is_rendered_as_the_transformers_library_does() {
        // Block lines vanish, methods of Python's strings work.
        let source = "{% if messages[0]['role'] != 'system' %}\n{{ bos_token + 'system\\nBe kind.\\n\\n' + eos_token }}\n{% endif %}\n    {% for message in messages %}\n{{ bos_token + message['role'].strip() + '\\n' + message['content'] | trim + eos_token }}\n    {% endfor %}\n{% if add_generation_prompt %}\n{{ bos_token + 'assistant\\n' }}\n{% endif %}";
        let [before, after] = template(source).around_message().unwrap();
        assert_eq!(before, "<B>system\nBe kind.\n\n<E>\n<B>user\n");
        assert_eq!(after, "<E>\n<B>assistant\n\n");
    }

    #[test]
    fn a_template_that_fails_says_why() {
        let error = |source: &str| template(source).around_message().unwrap_err().to_string();
        assert!(error("{{ raise_exception('no users here') }}").contains("no users here"));
        assert!(error("{% for").contains("chat template"));
        assert!(error("hello").contains("the user's message"));
        assert!(
            error("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}")
                .contains("fuel")
        );
    }

    #[test]
    fn an_answer_ends_at_its_fence() {
        assert_eq!(end_of_answer("let x = 1;\n```\nThat is all.", "```"), Some(10));
        assert_eq!(end_of_answer("a\r\n```", "```"), Some(1));
        assert_eq!(end_of_answer("```", "```"), Some(0));
        assert_eq!(end_of_answer("let s = \"```\";\n", "```"), None);
    }

    #[test]
    fn the_fence_is_longer_than_any_in_the_document() {
        let rewrite = |left| Rewrite { left, part: "", right: "", instruction: "do", related: &[] };
        assert_eq!(rewrite("a `b`").fence(), "```");
        assert_eq!(rewrite("/// ````md").fence(), "`````");
    }
}
