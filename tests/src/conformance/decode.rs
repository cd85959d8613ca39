//! Decode cases: recorded traces, replayed commit by commit.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use candle_core::Device;
use diffcoder_engine::decode::case::{STABLE_ALGORITHM, StableCase};
use diffcoder_engine::model::ops::Ops;

use super::reference::model;
use super::{Case, Outcome, Setup};

const CONFIDENCE_TOLERANCE: f64 = 1e-4; // f32 logits on another CPU, rounded to six digits in the files

pub(super) fn run(directory: &Path, add: &mut dyn FnMut(Case)) -> anyhow::Result<()> {
    let folder = directory.join("decode");
    let index =
        std::fs::read_to_string(folder.join("INDEX.json")).context("read decode/INDEX.json")?;
    let index: BTreeMap<String, (String, String)> =
        serde_json::from_str(&index).context("read decode/INDEX.json")?;
    for file in std::fs::read_dir(&folder)? {
        let file = file?.file_name();
        let name = file.to_string_lossy();
        let Some(name) = name.strip_suffix(".json").filter(|name| *name != "INDEX") else {
            continue;
        };
        if !index.contains_key(name) {
            let outcome = Outcome::Skipped("INDEX.json does not list it".to_owned());
            add(Case { name: format!("decode/{name}"), outcome });
        }
    }
    for (name, (model_name, algorithm)) in index {
        let case_name = format!("decode/{name}");
        if algorithm != STABLE_ALGORITHM {
            let reason = format!("this build has no decoder for {algorithm}");
            add(Case { name: case_name, outcome: Outcome::Skipped(reason) });
            continue;
        }
        let text = std::fs::read_to_string(folder.join(format!("{name}.json")))
            .with_context(|| format!("read {case_name}"))?;
        let replay = StableCase::from_json(&text)?.replay(&model(
            directory,
            &model_name,
            &Setup { ops: Ops::default(), device: Device::Cpu },
        )?)?;
        add(match replay.mismatch {
            Some(mismatch) => Case { name: case_name, outcome: Outcome::Failed(mismatch) },
            None => Case::compared(case_name, replay.largest_error, CONFIDENCE_TOLERANCE),
        });
    }
    Ok(())
}
