//! A run worked out: global steps of each stage, its objective at a step, its cost in FLOP and memory.

use std::fmt::Write as _;

use diffcoder_engine::decode::policy::DecodeOrder;
use diffcoder_engine::model::config::{DiffcoderKeys, Family, ModelConfig};
use diffcoder_engine::prompt::format::PromptFormat;

use crate::config::{Recipe, StageKind, StageSection};
use crate::objective::noise::{NoiseRule, warmup_u_max};
use crate::optim::lr::LrCurve;
use crate::step::Objective;

/// Bytes of a mebibyte.
pub const MIB: f64 = 1_048_576.0;

/// One stage with its place in the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// As written.
    pub section: StageSection,
    /// Place among the stages, from 0.
    pub index: usize,
    /// Its first global step.
    pub first_step: u64,
}

impl Stage {
    /// First global step after it.
    pub fn end_step(&self) -> u64 {
        self.first_step + self.section.steps
    }

    /// Tokens of one step.
    pub fn step_tokens(&self) -> usize {
        self.section.batch_rows * self.section.seq_len
    }

    /// What global step `step` of this stage trains.
    pub fn objective(&self, recipe: &Recipe, step: u64) -> Objective {
        let options = &recipe.objective;
        match self.section.kind {
            StageKind::Ar => Objective::NextToken,
            StageKind::Warmup => {
                let u_max = warmup_u_max(step - self.first_step, self.section.steps);
                Objective::Diffusion {
                    rule: NoiseRule::warmup(self.section.block(recipe), options.rate, u_max),
                    normaliser: options.warmup_normaliser,
                }
            }
            StageKind::Cpt => Objective::Diffusion {
                rule: NoiseRule::cpt(self.section.block(recipe), options.rate, options.clip)
                    .with_left_to_right(self.section.left_to_right_rate),
                normaliser: options.normaliser,
            },
        }
    }
}

/// The stages of a recipe, one behind the other.
pub fn stages(recipe: &Recipe) -> Vec<Stage> {
    let mut first_step = 0;
    recipe
        .stages
        .iter()
        .enumerate()
        .map(|(index, &section)| {
            let stage = Stage { section, index, first_step };
            first_step = stage.end_step();
            stage
        })
        .collect()
}

/// The learning-rate curve of a recipe.
pub fn lr_curve(recipe: &Recipe) -> LrCurve {
    let total_steps = recipe.stages.iter().map(|stage| stage.steps).sum::<u64>();
    LrCurve {
        peak: recipe.optimizer.lr,
        floor: recipe.optimizer.lr * recipe.schedule.floor,
        warmup_steps: recipe.schedule.warmup_steps,
        decay_from: total_steps - recipe.schedule.decay_steps,
        total_steps,
    }
}

/// The configuration of a model that left `stage` last, as its `config.json` says it.
pub fn served_config(recipe: &Recipe, model: &ModelConfig, stage: &Stage) -> ModelConfig {
    // A model that has not learned to fill masks can only be trained on.
    let section = stage.section;
    let capabilities = match section.kind {
        StageKind::Cpt => {
            let one_hole_rate = section.infill_rate * (1.0 - section.multi_hole_rate);
            let learned = [
                ("infill", true),
                ("multi-hole", section.infill_rate * section.multi_hole_rate > 0.0),
                ("related", one_hole_rate * section.related_rate > 0.0),
            ];
            learned.iter().filter(|(_, is)| *is).map(|(name, _)| (*name).to_owned()).collect()
        }
        StageKind::Ar | StageKind::Warmup => Vec::new(),
    };
    let seen = recipe.stages[..=stage.index].iter().map(|stage| stage.seq_len).max().unwrap_or(0);
    // Served as most of its blocks were trained.
    let order = match section.left_to_right_rate > 0.5 {
        true => DecodeOrder::LeftToRight,
        false => DecodeOrder::SurestFirst,
    };
    let keys = DiffcoderKeys {
        end_bias: 0.0,
        order,
        copy_draft: None,
        speculate: None,
        block_length: section.block(recipe),
        context_tokens: seen,
        layout: PromptFormat::Holes,
        capabilities,
        stage: stage.section.kind.name().to_owned(),
    };
    ModelConfig { family: Family::Diffcoder(keys), ..model.clone() }
}

/// Model FLOP of one optimizer step, forward and backward: two for each multiply-add, recomputation not counted.
///
/// `n_predicted` is the number of rows that go through the head; a step that predicts nothing does nothing.
pub fn step_flop(model: &ModelConfig, stage: &Stage, n_predicted: usize) -> f64 {
    let (d, q) = (model.hidden_size as f64, (model.n_heads * model.head_size) as f64);
    let kv = (model.n_kv_heads * model.head_size) as f64;
    let layer = 2.0 * d * q + 2.0 * d * kv + 3.0 * d * model.intermediate_size as f64;
    // A causal row sees half of the sequence on average, once for the scores and once for the values.
    let attention = stage.section.seq_len as f64 * q;
    let rows = stage.step_tokens() as f64
        * match stage.section.kind {
            StageKind::Ar => 1.0,
            StageKind::Warmup | StageKind::Cpt => 2.0, // [x_t ; x_0]
        };
    let head = d * model.vocab_size as f64 * n_predicted as f64;
    if n_predicted == 0 {
        return 0.0; // no forward at all
    }
    6.0 * (rows * model.n_layers as f64 * (layer + attention) + head)
}

/// Rows of a step that go through the head, on average.
fn expected_predicted(recipe: &Recipe, stage: &Stage) -> usize {
    let tokens = stage.step_tokens();
    match stage.section.kind {
        StageKind::Ar => tokens,
        StageKind::Warmup => tokens / 4,
        StageKind::Cpt => {
            let Objective::Diffusion { rule, .. } = stage.objective(recipe, stage.first_step)
            else {
                return tokens;
            };
            (tokens as f64 * rule.expected_share()) as usize
        }
    }
}

/// Bytes of each token of a step outside the model: batches drawn ahead, the noisy copy, targets and weights.
const BATCH_TOKEN_BYTES: f64 = 64.0;

/// Rough bytes that a step of `stage` needs: weights, gradients, moments, the activations of one micro-batch, and the
/// batches drawn ahead. Floating-point, so that no recipe overflows it.
pub fn step_bytes(model: &ModelConfig, stage: &StageSection) -> f64 {
    let (q, kv) = (model.n_heads * model.head_size, model.n_kv_heads * model.head_size);
    let halves = if stage.kind == StageKind::Ar { 1.0 } else { 2.0 };
    let rows = halves * stage.micro_rows as f64 * stage.seq_len as f64;
    // What backward needs of a layer: norms, projections before and after rotation, the MLP's three inner rows, sums.
    let per_row = 6 * model.hidden_size + 4 * q + 3 * kv + 4 * model.intermediate_size;
    let floats = 4.0 * model.n_parameters() as f64 + rows * per_row as f64 * model.n_layers as f64;
    4.0 * floats + BATCH_TOKEN_BYTES * stage.batch_rows as f64 * stage.seq_len as f64
}

/// Everything that follows from a recipe, as lines for people.
pub fn summary(recipe: &Recipe, model: &ModelConfig) -> String {
    let mut text = format!(
        "{}: {} layers x {}, {:.2} M parameters, block of {} tokens, context of {} tokens\n",
        recipe.run.name,
        model.n_layers,
        model.hidden_size,
        model.n_parameters() as f64 / 1e6,
        recipe.objective.block,
        recipe.context_tokens(),
    );
    let mut total = 0.0;
    for stage in stages(recipe) {
        let section = &stage.section;
        let flop =
            step_flop(model, &stage, expected_predicted(recipe, &stage)) * section.steps as f64;
        total += flop;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "stage {} {:<6}  steps {}..{}  {} tokens a step ({} rows of {}, {} at a time)  {:.1} M tokens  {:.2e} FLOP  \
             about {:.0} MiB",
            stage.index + 1,
            section.kind.name(),
            stage.first_step,
            stage.end_step(),
            stage.step_tokens(),
            section.batch_rows,
            section.seq_len,
            section.micro_rows,
            (stage.step_tokens() as u64 * section.steps) as f64 / 1e6,
            flop,
            step_bytes(model, section) / MIB,
        );
    }
    let curve = lr_curve(recipe);
    let _ = writeln!(
        text,
        "learning rate {:e} after {} steps, falling to {:.1e} from step {} to {}; {total:.2e} FLOP in all",
        curve.peak, curve.warmup_steps, curve.floor, curve.decay_from, curve.total_steps,
    );
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn stages_follow_each_other_and_the_curve_decays_in_cpt_alone() {
        let text = include_str!("../recipes/nano.toml");
        let recipe = Recipe::parse(text, Path::new("nano.toml")).unwrap();
        let model = recipe.model_config().unwrap();
        let stages = stages(&recipe);
        for pair in stages.windows(2) {
            assert_eq!(pair[0].end_step(), pair[1].first_step);
        }
        let first_cpt = stages.iter().find(|stage| stage.section.kind == StageKind::Cpt).unwrap();
        assert!(lr_curve(&recipe).decay_from >= first_cpt.first_step);
        let tokens = |kind: StageKind| -> u64 {
            let of_kind = stages.iter().filter(|stage| stage.section.kind == kind);
            of_kind.map(|stage| stage.section.steps * stage.step_tokens() as u64).sum()
        };
        let all = tokens(StageKind::Ar) + tokens(StageKind::Warmup) + tokens(StageKind::Cpt);
        let share = tokens(StageKind::Ar) as f64 / all as f64;
        assert!((0.7..0.9).contains(&share), "{share}");
        assert_eq!(served_config(&recipe, &model, &stages[0]).family, {
            let keys = DiffcoderKeys {
                end_bias: 0.0,
                order: DecodeOrder::SurestFirst,
                copy_draft: None,
                speculate: None,
                block_length: 4,
                context_tokens: 512,
                layout: PromptFormat::Holes,
                capabilities: Vec::new(),
                stage: "ar".to_owned(),
            };
            Family::Diffcoder(keys)
        });
    }

    #[test]
    fn a_model_can_do_what_its_last_stage_has_shown_it() {
        let text = include_str!("../recipes/nano.toml");
        let recipe = Recipe::parse(text, Path::new("nano.toml")).unwrap();
        let model = recipe.model_config().unwrap();
        let capabilities = |multi_hole_rate, related_rate| {
            let mut recipe = recipe.clone();
            let last = recipe.stages.last_mut().unwrap();
            (last.multi_hole_rate, last.related_rate) = (multi_hole_rate, related_rate);
            let config = served_config(&recipe, &model, stages(&recipe).last().unwrap());
            let Family::Diffcoder(keys) = config.family else { panic!("our own") };
            keys.capabilities.join(" ")
        };
        assert_eq!(capabilities(0.0, 0.0), "infill");
        assert_eq!(capabilities(0.5, 0.5), "infill multi-hole related");
        // All samples have several holes, and those are shown nothing else.
        assert_eq!(capabilities(1.0, 0.5), "infill multi-hole");
    }

    #[test]
    fn a_model_is_served_with_the_blocks_and_the_order_of_its_last_stage() {
        let text = include_str!("../recipes/nano-muon-4.toml");
        let recipe = Recipe::parse(text, Path::new("nano-muon-4.toml")).unwrap();
        let model = recipe.model_config().unwrap();
        let served = stages(&recipe).into_iter().map(|stage| {
            let Family::Diffcoder(keys) = served_config(&recipe, &model, &stage).family else {
                panic!("our own")
            };
            (keys.block_length, keys.order)
        });
        let expected = [(1, DecodeOrder::SurestFirst), (4, DecodeOrder::LeftToRight)];
        assert_eq!(served.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn warmup_ramps_within_its_stage() {
        let text = include_str!("../recipes/nano.toml");
        let recipe = Recipe::parse(text, Path::new("nano.toml")).unwrap();
        let stages = stages(&recipe);
        let warmup = stages.iter().find(|stage| stage.section.kind == StageKind::Warmup).unwrap();
        let u_max = |step: u64| match warmup.objective(&recipe, step) {
            Objective::Diffusion { rule, .. } => rule.u_max,
            Objective::NextToken => panic!("a warmup masks"),
        };
        assert_eq!(u_max(warmup.first_step), 1e-3);
        let middle = u_max(warmup.first_step + warmup.section.steps / 2);
        assert!((middle - 0.5005).abs() < 1e-4, "{middle}");
    }
}
