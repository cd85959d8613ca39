//! What the serving tests share: reference models and a model whose logits a test writes by hand.

use std::cell::RefCell;
use std::path::PathBuf;

use candle_core::{Device, Tensor};
use diffcoder_engine::decode::{CommittedKeys, Forward, Rows};
use diffcoder_engine::error::EngineError;
use diffcoder_engine::model::Model;
use diffcoder_engine::model::config::ModelConfig;
use diffcoder_engine::model::ops::Ops;
use diffcoder_engine::model::weights::Weights;

/// Directory of the reference numbers.
pub(crate) fn golden_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// A reference model by its directory name.
pub(crate) fn golden_model(name: &str) -> Model {
    let dir = golden_dir().join("models").join(name);
    let text = std::fs::read_to_string(dir.join("config.json")).unwrap();
    let config = ModelConfig::from_json(&text).unwrap();
    Model::new(&config, Weights::from_dir(&dir).unwrap(), Ops::default()).unwrap()
}

/// A model whose logits are a function of position and of how many forwards asked for logits before.
pub(crate) struct Scripted<F> {
    /// Gives the row of logits.
    pub(crate) logits: F,
    /// (rows, rows committed, rows with logits) of every forward.
    pub(crate) calls: RefCell<Vec<(usize, usize, usize)>>,
}

impl<F: Fn(usize, usize) -> Vec<f32>> Scripted<F> {
    pub(crate) fn new(logits: F) -> Self {
        Self { logits, calls: RefCell::default() }
    }

    pub(crate) fn forwards(&self) -> usize {
        self.calls.borrow().len()
    }
}

/// Tokens whose keys a real model would hold.
#[derive(Debug, Default)]
pub(crate) struct TokenLog(pub(crate) Vec<u32>);

impl CommittedKeys for TokenLog {
    fn committed(&self) -> usize {
        self.0.len()
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }
}

impl<F: Fn(usize, usize) -> Vec<f32>> Forward for Scripted<F> {
    type Cache = TokenLog;

    fn new_cache(&self) -> TokenLog {
        TokenLog::default()
    }

    fn forward(&self, rows: Rows<'_, TokenLog>) -> Result<Tensor, EngineError> {
        let asked = self.calls.borrow().iter().filter(|call| call.2 > 0).count();
        self.calls.borrow_mut().push((rows.tokens.len(), rows.commit, rows.logits.len()));
        let first = rows.cache.committed();
        rows.cache.0.extend(&rows.tokens[..rows.commit]);
        let values: Vec<Vec<f32>> =
            rows.logits.map(|row| (self.logits)(first + row, asked)).collect();
        if values.is_empty() {
            return Ok(Tensor::zeros((0, 1), candle_core::DType::F32, &Device::Cpu)?);
        }
        Ok(Tensor::new(values, &Device::Cpu)?)
    }
}

/// Logits over 16 ids under which `token` has the probability `p` and the others share the rest.
pub(crate) fn sure(token: u32, p: f32) -> Vec<f32> {
    let mut logits = vec![((1.0 - p) / 15.0).ln(); 16];
    logits[token as usize] = p.ln();
    logits
}
