//! Everything that can go wrong in the engine, each with the thing it went wrong with.

use std::path::PathBuf;

/// Result of engine functions.
pub type Result<T> = std::result::Result<T, EngineError>;

/// An engine failure. Messages name the thing and, where there is one, the mend.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A file of the model directory could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that must be there is not.
    #[error("{} is missing: {mend}", path.display())]
    MissingFile {
        /// The file.
        path: PathBuf,
        /// What to do.
        mend: &'static str,
    },
    /// `config.json` describes a model that cannot be built.
    #[error("config.json: {0}")]
    Config(String),
    /// A tokenizer file is unusable.
    #[error("{0}")]
    Tokenizer(String),
    /// The weights lack a tensor that the configuration calls for.
    #[error(
        "the weights in {location} lack the tensor {name}: weights and config.json do not belong together"
    )]
    MissingTensor {
        /// Tensor name.
        name: String,
        /// File or directory it was looked for in.
        location: String,
    },
    /// The weights hold a tensor that the configuration does not call for.
    #[error(
        "the weights in {location} hold the surplus tensor {name}: weights and config.json do not belong together"
    )]
    SurplusTensor {
        /// Tensor name.
        name: String,
        /// File or directory it was found in.
        location: String,
    },
    /// A tensor has another shape than the configuration calls for.
    #[error(
        "tensor {name} in {location} has shape {found:?}, config.json calls for {expected:?}: weights and config.json do not belong together"
    )]
    TensorShape {
        /// Tensor name.
        name: String,
        /// File or directory it was found in.
        location: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape that the configuration calls for.
        expected: Vec<usize>,
    },
    /// A weight file is damaged or of an unsupported kind.
    #[error("{location}: {reason}")]
    Weights {
        /// The file.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The caller asked for something this model cannot do.
    #[error("{0}")]
    Request(String),
    /// The request was cancelled.
    #[error("the request was cancelled")]
    Cancelled,
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
