//! The trainer: vision tower, camera encoder, joint objective (Loc3R-VLM,
//! training recipe; what is ours is said in each stage).
//!
//! A run is a folder ([`RunDir`]) and a configuration ([`TrainConfig`]); each of
//! its stages trains some of the [`Variables`] of one network on freshly
//! generated rooms. Batches depend on the seed and the step only, so that a run
//! that was stopped goes on with the identical next step.

pub mod alignment;
pub mod calibration;
pub mod clip;
pub mod config;
pub mod curve;
pub mod dense_batch;
pub mod dense_stage;
pub mod event;
pub mod export;
pub mod familiarity;
pub mod feed;
pub mod follow;
pub mod joint_batch;
pub mod joint_figures;
pub mod joint_sample;
mod joint_scenes;
pub mod joint_stage;
mod joint_terms;
pub mod loss;
pub mod optimizer;
pub mod origin;
pub mod pipeline;
pub mod pixels;
pub mod pointing;
pub mod pool;
pub mod referring;
pub mod run_dir;
pub mod scenes;
pub mod schedule;
pub mod size;
pub mod stage;
pub mod track_error;
pub mod tracking;
pub mod variables;
pub mod words;

use std::path::{Path, PathBuf};

pub use config::{StageKind, TrainConfig};
pub use event::{Metrics, TrainEvent};
pub use run_dir::RunDir;
pub use scenes::{SceneSituation, SceneSnapshot, ValidationScene};
pub use variables::Variables;

/// What can go wrong in training.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A setting is wrong.
    #[error("training configuration: {reason}")]
    Config {
        /// What is wrong.
        reason: String,
    },
    /// The folder holds a run already.
    #[error("{path} already holds a run; add --resume to go on with it, or choose another folder")]
    RunExists {
        /// The folder.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// A checkpoint does not fit the model.
    #[error("checkpoint {path}: {reason}; it belongs to another model, start a new run")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The vocabulary is not the one that the weights belong to.
    #[error("vocabulary {path}: {reason}")]
    Vocabulary {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Training data could not be made.
    #[error("training data: {reason}")]
    Data {
        /// What happened.
        reason: String,
    },
    /// A stage needs another one first.
    #[error(
        "stage {stage} needs a finished stage {needs}: run it first, or train with stages = [\"{needs}\", \"{stage}\"]"
    )]
    MissingStage {
        /// The stage asked for.
        stage: &'static str,
        /// The one that is missing.
        needs: &'static str,
    },
    /// The run was asked to stop; its checkpoint is written.
    #[error("stopped at step {step} of stage {stage}; add --resume to go on")]
    Stopped {
        /// The stage.
        stage: &'static str,
        /// Steps done.
        step: u64,
    },
    /// The optimiser failed.
    #[error(transparent)]
    Optimizer(#[from] optimizer::OptimizerError),
    /// The network could not be built or run.
    #[error("network: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl TrainError {
    pub(crate) fn file(path: &Path, error: impl std::fmt::Display) -> Self {
        Self::File { path: path.to_owned(), reason: error.to_string() }
    }
}
