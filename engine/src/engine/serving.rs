//! How the loaded model's family is served, and which requests it can take.

use crate::error::EngineError;
use crate::infiller::{DecodeOrder, InfillError, InfillRequest, Sampling, Unmasking};
use crate::model::config::{Family, ModelConfig};
use crate::prompt::chat::ChatTemplate;
use crate::prompt::format::PromptFormat;
use crate::prompt::related::RELATED_SHARE;
use crate::tokenizer::Tokenizer;

/// How the model's family is served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Serving {
    pub(super) format: PromptFormat,
    pub(super) block_length: usize,
    /// Prompt and fill together.
    pub(super) context_tokens: usize,
    /// Whether one prompt may hold several holes.
    pub(super) multi_hole: bool,
    /// Added to the logit of the end token.
    pub(super) end_bias: f32,
    /// Which masks become tokens first, unless a request says so.
    pub(super) order: DecodeOrder,
    /// Copy-draft's least confidence, unless a request says so; `None` where it is off.
    pub(super) copy_draft: Option<f64>,
    /// Least probability of a canvas that is computed ahead, unless a request says so; `None` where it is off.
    pub(super) speculate: Option<f64>,
    /// Most tokens of other files in a prompt.
    pub(super) related_tokens: usize,
}

impl Serving {
    pub(super) fn of(config: &ModelConfig) -> Result<Self, EngineError> {
        let (format, context_tokens, multi_hole) = match &config.family {
            Family::StableDiffCoder => {
                (PromptFormat::SeedFim, config.max_position_embeddings, false)
            }
            Family::Diffcoder(own) if own.can("infill") => {
                (own.layout, own.context_tokens, own.can("multi-hole"))
            }
            Family::Diffcoder(own) => {
                return Err(EngineError::Config(format!(
                    "this model was not trained to infill (it left the stage \"{}\", and diffcoder.capabilities lacks \"infill\"): train it through the cpt stage and export that checkpoint",
                    own.stage
                )));
            }
            Family::Transformer => return Err(unknown_family()),
        };
        let block_length = config.block_length().ok_or_else(unknown_family)?;
        let related_tokens = match &config.family {
            Family::Diffcoder(own) => own.related_tokens(),
            _ => context_tokens / RELATED_SHARE,
        };
        let (end_bias, order, copy_draft, speculate) = match &config.family {
            Family::Diffcoder(own) => (own.end_bias, own.order, own.copy_draft, own.speculate),
            _ => (0.0, DecodeOrder::default(), None, None),
        };
        Ok(Self {
            format,
            block_length,
            context_tokens,
            multi_hole,
            end_bias,
            order,
            copy_draft,
            speculate,
            related_tokens,
        })
    }

    /// Tokenizer and model must belong together, and the layout's markers must exist.
    pub(super) fn check(
        self,
        config: &ModelConfig,
        tokenizer: &Tokenizer,
    ) -> Result<(), EngineError> {
        let special = tokenizer.special();
        if tokenizer.vocab_size() > config.vocab_size {
            return Err(EngineError::Tokenizer(format!(
                "tokenizer.json has {} ids but vocab_size in config.json is {}: the files do not belong together",
                tokenizer.vocab_size(),
                config.vocab_size
            )));
        }
        if special.fim.is_none() || (self.format.splits_rest() && special.fim_rest.is_none()) {
            return Err(EngineError::Tokenizer(
                "the tokenizer lacks the fill-in-the-middle tokens of the model's layout: take the tokenizer.json that belongs to its weights".into(),
            ));
        }
        Ok(())
    }
}

/// The chat template of a model that follows instructions, or why this one does not.
pub(super) fn instruct(
    name: &str,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
) -> Result<ChatTemplate, String> {
    let (knows, mend) = match &config.family {
        Family::Diffcoder(own) => (
            own.can("instruct"),
            "choose a model whose config.json lists the capability \"instruct\"",
        ),
        // Of the published models only those have a template.
        _ => (
            tokenizer.chat_template().is_some(),
            "choose an Instruct model, with its chat_template in tokenizer_config.json or chat_template.jinja",
        ),
    };
    if !knows {
        return Err(format!("{name} was not trained to follow instructions: {mend}"));
    }
    let template = tokenizer.chat_template().ok_or_else(|| {
        format!(
            "{name} follows instructions, but its chat template is missing: put chat_template.jinja beside its tokenizer.json"
        )
    })?;
    match template.around_message() {
        Ok(_) => Ok(template.clone()),
        Err(error) => Err(format!("{name} cannot be told an instruction: {error}")),
    }
}

/// Refuses what no model could do.
pub(super) fn check_request(request: &InfillRequest) -> Result<(), InfillError> {
    check_sampling(&request.sampling)?;
    if request.limits.max_tokens == 0 {
        return Err(bad("max_tokens is 0: ask for at least one token"));
    }
    if request.limits.max_lines == Some(0) {
        return Err(bad("max_lines is 0: ask for at least one line"));
    }
    if request.alternatives == 0 {
        return Err(bad("0 alternatives: ask for at least one"));
    }
    Ok(())
}

fn check_sampling(sampling: &Sampling) -> Result<(), InfillError> {
    let Sampling { unmasking, temperature, top_p, copy_draft, speculate, .. } = *sampling;
    if !(temperature.is_finite() && temperature >= 0.0) {
        return Err(bad(&format!("temperature is {temperature}: choose 0 or more")));
    }
    if !(top_p > 0.0 && top_p <= 1.0) {
        return Err(bad(&format!("top_p is {top_p}: choose more than 0 and at most 1")));
    }
    if let Some(least) = copy_draft.filter(|least| !(0.0..=1.0).contains(least)) {
        return Err(bad(&format!("the copy-draft confidence is {least}: choose 0 to 1")));
    }
    if let Some(least) = speculate.filter(|least| !(0.0..=1.0).contains(least)) {
        return Err(bad(&format!("the probability to speculate from is {least}: choose 0 to 1")));
    }
    match unmasking {
        Unmasking::Threshold(threshold) if !(0.0..=1.0).contains(&threshold) => {
            Err(bad(&format!("the threshold is {threshold}: choose 0 to 1")))
        }
        Unmasking::Static { steps_per_block: 0 } => {
            Err(bad("0 denoising steps for a block: choose at least 1"))
        }
        _ => Ok(()),
    }
}

fn unknown_family() -> EngineError {
    EngineError::Config(
        "neither a Stable-DiffCoder nor a model of diffcoder-train: how it fills holes is unknown; choose another \
         model directory"
            .into(),
    )
}

pub(super) fn bad(reason: &str) -> InfillError {
    InfillError::BadRequest(reason.to_owned())
}
