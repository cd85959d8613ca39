//! The model as its thread holds it, and what others are told of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use diffcoder_engine::infiller::{Infiller, Resources, Task};

use crate::backend::Loader;
use crate::error::RequestError;

/// What is told of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelState {
    pub(crate) life: Life,
    pub(crate) name: String,
    pub(crate) resources: Resources,
    pub(crate) is_busy: bool,
    /// What the model cannot do, and why.
    refusals: Vec<(Task, String)>,
    /// Most tokens of other files that it has use for.
    pub(crate) related_tokens: usize,
}

/// Where the model is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Loading,
    Loaded,
    Unloaded,
    /// Why it cannot be loaded.
    Failed(String),
}

/// The model, while there is one.
pub(crate) struct Held {
    loader: Loader,
    infiller: Option<Box<dyn Infiller>>,
    failure: Option<String>,
}

impl Default for ModelState {
    fn default() -> Self {
        Self::loading()
    }
}

impl ModelState {
    pub(crate) fn loading() -> Self {
        Self::without_model(Life::Loading)
    }

    pub(crate) fn unloaded() -> Self {
        Self::without_model(Life::Unloaded)
    }

    fn without_model(life: Life) -> Self {
        Self {
            life,
            name: String::new(),
            resources: Resources::default(),
            is_busy: false,
            refusals: Vec::new(),
            related_tokens: 0,
        }
    }

    /// Why the model cannot do `task`; `None` if it can.
    pub(crate) fn refusal(&self, task: Task) -> Option<String> {
        match &self.life {
            Life::Loaded => {
                let mut refusals = self.refusals.iter();
                Some(refusals.find(|(refused, _)| *refused == task)?.1.clone())
            }
            // It scores as soon as it is there.
            _ if task == Task::Score => None,
            Life::Loading => Some("the model is still being loaded".to_owned()),
            Life::Unloaded => Some("the model is not loaded".to_owned()),
            Life::Failed(reason) => Some(format!("there is no model: {reason}")),
        }
    }
}

impl Held {
    pub(crate) fn new(loader: Loader) -> Self {
        Self { loader, infiller: None, failure: None }
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.infiller.is_some()
    }

    /// Whether the last load failed: the next one is for whoever asks for it, not for every key.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    pub(crate) fn unload(&mut self) {
        self.infiller = None;
        self.failure = None;
    }

    pub(crate) fn load(&mut self, dir: Option<&Path>) {
        // The old one goes first: two large models may not fit.
        self.unload();
        let load = || (self.loader)(dir);
        let loaded = catch_unwind(AssertUnwindSafe(load))
            .unwrap_or_else(|payload| Err(RequestError::from_panic(&*payload).to_string()));
        match loaded {
            Ok(infiller) => {
                tracing::info!(model = infiller.model_name(), "loaded");
                self.infiller = Some(infiller);
            }
            Err(reason) => {
                tracing::error!("there is no model: {reason}");
                self.failure = Some(reason);
            }
        }
    }

    /// The model, or why there is none.
    pub(crate) fn infiller(&mut self) -> Result<&mut dyn Infiller, String> {
        match (&mut self.infiller, &self.failure) {
            (Some(infiller), _) => Ok(infiller.as_mut()),
            (None, Some(reason)) => Err(reason.clone()),
            (None, None) => Err("it is not loaded".to_owned()),
        }
    }

    pub(crate) fn state(&self) -> ModelState {
        match (&self.infiller, &self.failure) {
            (Some(infiller), _) => ModelState {
                life: Life::Loaded,
                name: infiller.model_name().to_owned(),
                resources: infiller.resources(),
                is_busy: false,
                refusals: [Task::Score, Task::Rewrite]
                    .into_iter()
                    .filter_map(|task| Some((task, infiller.refusal(task)?)))
                    .collect(),
                related_tokens: infiller.related_tokens(),
            },
            (None, Some(reason)) => ModelState::without_model(Life::Failed(reason.clone())),
            (None, None) => ModelState::unloaded(),
        }
    }
}
