//! What a training run tells while it goes on; consumed by the command line's
//! progress bar and the Rerun recording, and written into the run folder.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::SceneSnapshot;

/// Named numbers of a step or a validation, in order of their names.
pub type Metrics = BTreeMap<String, f64>;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TrainEvent {
    /// A stage begins or goes on.
    StageStarted {
        /// Name of the stage.
        stage: String,
        /// Steps done before (0 unless resumed).
        step: u64,
        /// Steps in all.
        steps: u64,
        /// Scalars that this stage trains.
        parameters: usize,
    },
    /// A step was taken.
    Step {
        /// Name of the stage.
        stage: String,
        /// Steps done, this one included.
        step: u64,
        /// Learning rate of the step.
        learning_rate: f64,
        /// Loss terms (`loss` is what was minimised), `gradient_norm`, accuracies.
        metrics: Metrics,
        /// Seconds this step took, waiting for data included.
        secs: f64,
        /// Seconds of those spent waiting for data.
        waited_secs: f64,
        /// Frames in the step.
        frames: usize,
    },
    /// Figures on held-out seeds.
    Validation {
        /// Name of the stage.
        stage: String,
        /// Steps done.
        step: u64,
        /// Figures.
        metrics: Metrics,
    },
    /// Some of the held-out rooms with what was predicted; kept in a file of its own.
    Scenes(SceneSnapshot),
    /// A checkpoint was written.
    Saved {
        /// Name of the stage.
        stage: String,
        /// Steps done.
        step: u64,
        /// Its folder.
        path: PathBuf,
    },
    /// A stage is complete.
    StageFinished {
        /// Name of the stage.
        stage: String,
        /// Steps done.
        step: u64,
        /// Wall clock seconds of this process in the stage.
        secs: f64,
        /// Share of the time of its steps that was spent waiting for data, 0 to 1; 0 in files of
        /// older versions.
        #[serde(default)]
        waited_share: f64,
    },
    /// The run was asked to stop before the stage was complete.
    Stopped {
        /// Name of the stage.
        stage: String,
        /// Steps done.
        step: u64,
    },
}

impl TrainEvent {
    /// The stage it belongs to, and the steps done by then.
    pub fn moment(&self) -> (&str, u64) {
        match self {
            Self::Scenes(SceneSnapshot { stage, step, .. })
            | Self::StageStarted { stage, step, .. }
            | Self::Step { stage, step, .. }
            | Self::Validation { stage, step, .. }
            | Self::Saved { stage, step, .. }
            | Self::StageFinished { stage, step, .. }
            | Self::Stopped { stage, step } => (stage, *step),
        }
    }
}
