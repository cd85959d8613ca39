//! Every parameter receives a finite gradient that is not zero, in each stage, dialect and op set.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use diffcoder_engine::model::ops::Ops;
use diffcoder_train::objective::loss::Normaliser;
use diffcoder_train::objective::noise::{Clip, NoiseRule, RateUnit};
use diffcoder_train::parameters::Parameters;
use diffcoder_train::rng::{Stream, stream};
use diffcoder_train::step::{Objective, StepGradients, Task, step_gradients};

const STAGES: [Objective; 3] = [
    Objective::NextToken,
    Objective::Diffusion {
        rule: NoiseRule {
            block: 4,
            unit: RateUnit::Block,
            clip: Clip::Off,
            u_max: 0.6,
            weight: diffcoder_train::objective::noise::Weight::One,
            left_to_right: 0.0,
        },
        normaliser: Normaliser::Masked,
    },
    Objective::Diffusion {
        rule: NoiseRule {
            block: 4,
            unit: RateUnit::Sequence,
            clip: Clip::On,
            u_max: 1.0,
            weight: diffcoder_train::objective::noise::Weight::Inverse,
            left_to_right: 0.5,
        },
        normaliser: Normaliser::All,
    },
];

fn gradients(dialect: &str, ops: Ops, objective: &Objective, micro_rows: usize) -> StepGradients {
    let config = common::tiny(dialect);
    let parameters = Parameters::init(&config, &mut stream(1, 0, Stream::Init)).unwrap();
    let model = parameters.model(&config, ops).unwrap();
    let batch = common::rows(4, 8, 16);
    let task = Task::new(objective, &batch, common::MASK, &mut stream(1, 0, Stream::Noise));
    step_gradients(&model, &parameters, &batch, &task, micro_rows).unwrap().unwrap()
}

#[test]
fn every_parameter_learns() {
    for dialect in ["llama", "qwen2", "qwen3"] {
        let config = common::tiny(dialect);
        let names = config.parameter_shapes().len();
        for ops in Ops::exact() {
            for objective in &STAGES {
                let found = gradients(dialect, ops, objective, 8);
                assert_eq!(found.gradients.len(), names);
                for (name, gradient) in &found.gradients {
                    let values: Vec<f32> = gradient.flatten_all().unwrap().to_vec1().unwrap();
                    assert!(values.iter().all(|g| g.is_finite()), "{dialect} {ops} {name}");
                    let largest = values.iter().fold(0f32, |max, g| max.max(g.abs()));
                    assert!(largest > 0.0, "{dialect} {ops} {objective:?} {name}: no gradient");
                }
            }
        }
    }
}

#[test]
fn a_steps_gradient_does_not_depend_on_how_it_is_cut() {
    for objective in &STAGES {
        let whole = gradients("qwen3", Ops::default(), objective, 8);
        for micro_rows in [4, 2, 1] {
            let cut = gradients("qwen3", Ops::default(), objective, micro_rows);
            assert!((whole.loss - cut.loss).abs() < 1e-5 * whole.loss.abs());
            assert!((whole.cross_entropy - cut.cross_entropy).abs() < 1e-5);
            for (name, expected) in &whole.gradients {
                let difference = (&cut.gradients[name] - expected).unwrap();
                let norm = |t: &candle_core::Tensor| {
                    t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt()
                };
                assert!(norm(&difference) <= 1e-4 * norm(expected), "{micro_rows} {name}");
            }
        }
    }
}
