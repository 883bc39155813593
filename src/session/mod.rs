//! One interactive conversation about one video: requests in, plain events out,
//! and the state that both fronts read.
//!
//! [`Session`] owns the model thread `loc3r-model`. A front sends
//! [`SessionRequest`]s and feeds every [`SessionEvent`] to
//! [`SessionState::apply`], a [`SessionLog`] and the recorder. Tensors stay on the
//! thread, with keys and values of the videos that were open last. One request runs at
//! a time, in order of arrival; [`Session::cancel`] voids everything sent so far. A panic
//! or exhausted memory ends the thread with [`SessionEvent::Crashed`], and
//! [`Session::restart`] brings it back.

mod engine;
mod event;
mod handle;
mod kept_videos;
mod log;
mod model_list;
mod model_worker;
mod request;
mod state;

use std::path::PathBuf;

pub use event::{AnswerDone, ModelInfo, ModelSight, SessionEvent, Stage, Timing, TokenCounts};
pub use handle::Session;
pub use log::{LogError, LoggedEvent, Replay, SessionLog};
pub use model_list::{ModelChoice, ModelInUse, ModelList};
pub use request::{Compute, MAX_CHOICES, MAX_TEXT_CHARS, Precision, RequestId, SessionRequest};
pub use state::{Activity, AskedQuestion, SessionState, Severity, StatusMessage};

pub use crate::model::FeatureCache;
use crate::model::ModelError;
pub use crate::model::device::ComputeDevice;
use crate::model::device::DeviceError;
use crate::video::VideoError;

/// Why a request failed. Each message is shown as it is.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The device asked for cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The checkpoint or the network.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The video.
    #[error(transparent)]
    Video(#[from] VideoError),
    /// Nothing is loaded.
    #[error("no model is loaded; load one first (--model DIR)")]
    NoModel,
    /// Nothing is open.
    #[error("no video is open; open one first")]
    NoVideo,
    /// A question of blanks.
    #[error("the question is empty; type a question such as \"What is to my left?\"")]
    EmptyQuestion,
    /// A text beyond the limit.
    #[error("the {what} has {found} characters, more than the limit of {limit}; shorten it")]
    TooLong {
        /// Which text.
        what: &'static str,
        /// Its length in characters.
        found: usize,
        /// The limit in characters.
        limit: usize,
    },
    /// Too many options.
    #[error("the question has {found} options, more than the limit of {limit}; leave some out")]
    TooManyChoices {
        /// How many.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A situation set by hand that is not finite.
    #[error("the situation set by hand is not a finite position; place it again")]
    BadPlacement,
    /// Numbers that mean nothing.
    #[error(
        "the model gave a {what} that is not finite; its weights are damaged, get the checkpoint {folder} again"
    )]
    NotFinite {
        /// What was computed.
        what: &'static str,
        /// The checkpoint.
        folder: PathBuf,
    },
    /// The operating system refused a thread.
    #[error("the model thread cannot be started: {0}; close other programs and try again")]
    Thread(#[from] std::io::Error),
}
