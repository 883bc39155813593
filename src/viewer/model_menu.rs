//! The models to choose from: the list is made on a task, looked at once per frame, whenever
//! somebody wants to choose.

use bevy::prelude::{Res, ResMut, Resource};
use bevy::tasks::futures::check_ready;
use bevy::tasks::{IoTaskPool, Task};

use super::window::Pace;
use super::workbench::Workbench;
use crate::session::{ModelChoice, ModelInUse, ModelList};

/// The list while it is made.
#[derive(Debug, Resource)]
pub(super) struct ModelMenu {
    models: ModelList,
    task: Option<Task<Result<Vec<ModelChoice>, String>>>,
}

impl ModelMenu {
    /// A menu of `models`.
    pub(crate) fn new(models: ModelList) -> Self {
        Self { models, task: None }
    }

    /// Begins to list what can take the place of `in_use`; nothing happens while that goes on.
    pub(crate) fn list(&mut self, in_use: Option<ModelInUse>) {
        if self.task.is_none() {
            let models = self.models.clone();
            self.task = Some(IoTaskPool::get().spawn(async move { models.make(in_use.as_ref()) }));
        }
    }
}

/// Takes the list once it is there; the one before is shown until then.
pub(super) fn poll_models(mut menu: ResMut<ModelMenu>, mut workbench: ResMut<Workbench>, pace: Res<Pace>) {
    let Some(task) = &mut menu.task else { return };
    let Some(made) = check_ready(task) else {
        pace.keep_drawing();
        return;
    };
    menu.task = None;
    match made {
        Ok(models) => workbench.models = models,
        Err(problem) => workbench.notice = Some(problem),
    }
}
