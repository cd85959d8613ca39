//! Forward cases: logits and hidden states under every mask, with both op sets and through the serving cache.

use std::path::Path;

use anyhow::ensure;
use candle_core::Tensor;
use diffcoder_engine::model::mask::SequenceMask;
use diffcoder_engine::model::{Model, RowGroup};

use super::reference::{Tensors, config, largest_difference, model};
use super::{Case, Outcome, Setup};

const LOGIT_TOLERANCE: f64 = 2e-4; // f32 CPU against PyTorch, golden/README.md

const MASKS: [(&str, SequenceMask); 4] = [
    ("causal", SequenceMask::Causal),
    ("full", SequenceMask::Full),
    ("block4", SequenceMask::BlockCausal { block: 4 }),
    ("block8", SequenceMask::BlockCausal { block: 8 }),
];

pub(super) fn run(
    directory: &Path,
    setups: &[Setup],
    add: &mut dyn FnMut(Case),
) -> anyhow::Result<()> {
    let mut names: Vec<String> = std::fs::read_dir(directory.join("forward"))?
        .filter_map(|entry| {
            entry.ok()?.file_name().to_str()?.strip_suffix(".safetensors").map(str::to_owned)
        })
        .collect();
    names.sort_unstable();
    for name in names {
        let tensors =
            Tensors::read(&directory.join("forward").join(format!("{name}.safetensors")))?;
        let same =
            config(directory, &name, "config.json")? == config(directory, &name, "config_v5.json")?;
        let text = "flat and nested configuration styles give the same model".to_owned();
        add(Case {
            name: format!("forward/{name}/config"),
            outcome: if same { Outcome::Passed(text) } else { Outcome::Failed(text) },
        });
        for setup in setups {
            let model = model(directory, &name, setup)?;
            let label = |part: &str| format!("forward/{name}/{part} ({})", setup.ops);
            for (mask_name, mask) in MASKS {
                check_mask(&tensors, mask_name, mask)?;
                add(Case::compared(
                    label(mask_name),
                    logits_error(&model, &tensors, mask_name, mask)?,
                    LOGIT_TOLERANCE,
                ));
            }
            add(Case::compared(
                label("hidden_block4"),
                hidden_error(&model, &tensors)?,
                LOGIT_TOLERANCE,
            ));
            add(Case::compared(label("long_rope"), long_error(&model, &tensors)?, LOGIT_TOLERANCE));
            add(Case::compared(
                label("sparse_positions"),
                sparse_error(&model, &tensors)?,
                LOGIT_TOLERANCE,
            ));
        }
        let model = model(directory, &name, &setups[0])?;
        for (mask_name, mask) in MASKS {
            let error = cached_error(&model, &tensors, mask_name, mask)?;
            add(Case::compared(
                format!("forward/{name}/{mask_name} (cached)"),
                error,
                LOGIT_TOLERANCE,
            ));
        }
    }
    Ok(())
}

/// The reference masks themselves must be ours.
fn check_mask(tensors: &Tensors, name: &str, mask: SequenceMask) -> anyhow::Result<()> {
    let reference = tensors.get(&format!("mask_{name}"))?;
    let (len, _) = reference.dims2()?;
    let reference: Vec<bool> =
        reference.flatten_all()?.to_vec1::<u8>()?.into_iter().map(|sees| sees == 1).collect();
    ensure!(reference == mask.dense(len), "the {name} mask differs from the reference");
    Ok(())
}

fn logits_error(
    model: &Model,
    tensors: &Tensors,
    name: &str,
    mask: SequenceMask,
) -> anyhow::Result<f64> {
    let ids = tensors.ids("input_ids")?;
    let positions: Vec<u32> = (0..ids.dims2()?.1 as u32).collect();
    let logits = model.logits(&model.forward_sequence(&ids, &positions, mask)?)?;
    largest_difference(&logits, tensors.get(&format!("logits_{name}"))?)
}

fn hidden_error(model: &Model, tensors: &Tensors) -> anyhow::Result<f64> {
    let ids = tensors.ids("input_ids")?;
    let positions: Vec<u32> = (0..ids.dims2()?.1 as u32).collect();
    let states = model.hidden_states(&ids, &positions, SequenceMask::BlockCausal { block: 4 })?;
    let expected =
        tensors.names().into_iter().filter(|name| name.starts_with("hidden_block4_")).count();
    ensure!(states.len() == expected, "{} states, the reference has {expected}", states.len());
    let errors = states.iter().enumerate().map(|(index, state)| {
        largest_difference(state, tensors.get(&format!("hidden_block4_{index}"))?)
    });
    errors
        .collect::<anyhow::Result<Vec<f64>>>()
        .map(|errors| errors.into_iter().fold(0.0, f64::max))
}

fn long_error(model: &Model, tensors: &Tensors) -> anyhow::Result<f64> {
    let ids = tensors.ids("long_input_ids")?;
    let len = ids.dims2()?.1;
    let positions: Vec<u32> = (0..len as u32).collect();
    let hidden =
        model.forward_sequence(&ids, &positions, SequenceMask::Causal)?.narrow(1, len - 4, 4)?;
    largest_difference(&model.logits(&hidden)?, tensors.get("long_logits_causal_last4")?)
}

fn sparse_error(model: &Model, tensors: &Tensors) -> anyhow::Result<f64> {
    let (ids, positions) = (tensors.ids("sparse_input_ids")?, tensors.positions("sparse_pos")?);
    let logits = model.logits(&model.forward_sequence(
        &ids,
        &positions,
        SequenceMask::BlockCausal { block: 4 },
    )?)?;
    largest_difference(&logits, tensors.get("sparse_logits_block4")?)
}

/// The same logits through the serving cache: a first committed part, then the rest; both sequences in one forward.
fn cached_error(
    model: &Model,
    tensors: &Tensors,
    name: &str,
    mask: SequenceMask,
) -> anyhow::Result<f64> {
    let rows: Vec<Vec<u32>> = tensors.ids("input_ids")?.to_vec2()?;
    let len = rows[0].len();
    // Full attention has no committed prefix; the others are cut at an edge of both block lengths.
    let cut = if mask == SequenceMask::Full { 0 } else { 16 };
    let mut caches = [model.new_cache(), model.new_cache()];
    let mut forward = |part: std::ops::Range<usize>, commit: usize| -> anyhow::Result<Tensor> {
        let mut groups: Vec<RowGroup<'_>> = caches
            .iter_mut()
            .zip(&rows)
            .map(|(cache, row)| RowGroup {
                cache,
                tokens: &row[part.clone()],
                mask,
                commit,
                logits: 0..part.len(),
                branches: &[],
            })
            .collect();
        let logits = model.forward(&mut groups)?;
        let (_rows, vocabulary) = logits.dims2()?;
        Ok(logits.reshape((2, part.len(), vocabulary))?)
    };
    let logits = if cut == 0 {
        forward(0..len, 0)?
    } else {
        Tensor::cat(&[forward(0..cut, cut)?, forward(cut..len, 0)?], 1)?
    };
    largest_difference(&logits, tensors.get(&format!("logits_{name}"))?)
}
