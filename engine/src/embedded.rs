//! The model that every build carries, so that everything works right after it, offline.

use crate::engine::{Engine, ModelParts};
use crate::error::EngineError;

/// The files of `engine/models/default`.
const FILES: ModelParts<'static> = ModelParts {
    name: "nano (embedded)",
    config: include_str!("../models/default/config.json"),
    tokenizer: include_str!("../models/default/tokenizer.json"),
    special_tokens_map: Some(include_str!("../models/default/special_tokens_map.json")),
    tokenizer_config: Some(include_str!("../models/default/tokenizer_config.json")),
    weights: include_bytes!("../models/default/model.gguf"),
};

impl Engine {
    /// The embedded model.
    ///
    /// # Errors
    /// None in a build whose tests passed; the type is that of every other way to load a model.
    pub fn embedded() -> Result<Self, EngineError> {
        Self::from_parts(FILES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_model_is_small_and_loads() {
        // The whole binary is to stay below 45 MB.
        assert!(FILES.weights.len() <= 8 << 20, "{} bytes", FILES.weights.len());
        let engine = Engine::embedded().unwrap();
        assert_eq!(engine.model().config().block_length(), Some(4));
    }
}
