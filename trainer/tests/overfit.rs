//! A tiny model memorises one batch, first as an autoregressive and then as a diffusion model.

mod common;

use diffcoder_engine::model::ops::Ops;
use diffcoder_train::objective::loss::Normaliser;
use diffcoder_train::objective::noise::{Clip, NoiseRule, RateUnit};
use diffcoder_train::optim::Optimizer;
use diffcoder_train::optim::adamw::{AdamWSettings, DecayGroup};
use diffcoder_train::optim::clip::{clip_scale, global_norm};
use diffcoder_train::parameters::Parameters;
use diffcoder_train::rng::{Stream, stream};
use diffcoder_train::step::{Objective, Task, step_gradients};

#[test]
fn one_batch_is_memorised() {
    let config = common::tiny("qwen3");
    let parameters = Parameters::init(&config, &mut stream(1, 0, Stream::Init)).unwrap();
    let model = parameters.model(&config, Ops::default()).unwrap();
    let batch = common::rows(0, 4, 16);
    let adamw = AdamWSettings {
        betas: [0.9, 0.95],
        eps: 1e-8,
        weight_decay: 0.0,
        decay: DecayGroup::Matrices,
    };
    let mut optimizer = Optimizer::new(adamw.into());
    let diffusion = Objective::Diffusion {
        rule: NoiseRule::cpt(4, RateUnit::Block, Clip::On),
        normaliser: Normaliser::All,
    };
    let mut run = |objective: Objective, steps: u64| -> Vec<f64> {
        (0..steps)
            .map(|step| {
                let mut noise = stream(1, step, Stream::Noise);
                let task = Task::new(&objective, &batch, common::MASK, &mut noise);
                let found = step_gradients(&model, &parameters, &batch, &task, 4).unwrap().unwrap();
                let scale = clip_scale(global_norm(&found.gradients).unwrap(), 1.0);
                let variables = parameters.variables();
                optimizer.step(variables, &found.gradients, 1e-2, scale).unwrap();
                found.cross_entropy
            })
            .collect()
    };
    let autoregressive = run(Objective::NextToken, 150);
    assert!(autoregressive[0] > 3.5, "an untrained model knows nothing: {}", autoregressive[0]);
    // The first predicted token of a row depends on nothing but its marker, which differs between rows.
    assert!(autoregressive[149] < 0.2, "{}", autoregressive[149]);
    let masked = run(diffusion, 250);
    let last: f64 = masked[230..].iter().sum::<f64>() / 20.0;
    assert!(last < 0.3, "{last}");
}
