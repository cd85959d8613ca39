//! What a server is started with: a way to get the model, and the settings of the machine's user.

use std::path::{Path, PathBuf};

use diffcoder_engine::infiller::Infiller;

use crate::client_log::ClientLog;
use crate::config::{Config, Settings};

/// Loads the model of a directory, or the embedded one; the error is a sentence for people.
pub type Loader = Box<dyn FnMut(Option<&Path>) -> Result<Box<dyn Infiller>, String> + Send>;

/// What a server is started with.
pub struct Backend {
    /// Called on the model's thread whenever the model is needed and not there.
    pub loader: Loader,
    /// What the machine's user has set.
    pub config: Config,
    /// Where suggestions are counted, if `server.stats` is on.
    pub stats: Option<PathBuf>,
    /// Called with the settings that hold for no document in particular, whenever they may have changed.
    pub on_settings: Box<dyn Fn(&Settings) + Send + Sync>,
    /// The log's end that the client reads, where the process logs for this one.
    pub client_log: Option<ClientLog>,
}

impl From<Box<dyn Infiller>> for Backend {
    /// A model that is there already; once unloaded it is gone.
    fn from(infiller: Box<dyn Infiller>) -> Self {
        let mut infiller = Some(infiller);
        let gone = || "it was given once and cannot be loaded again".to_owned();
        Self {
            loader: Box::new(move |_| infiller.take().ok_or_else(gone)),
            config: Config::default(),
            stats: None,
            on_settings: Box::new(|_| ()),
            client_log: None,
        }
    }
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend").field("config", &self.config).finish_non_exhaustive()
    }
}
