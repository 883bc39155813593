//! What the fronts ask of the model thread.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::qa::{Question, Situation};

/// Grows with every request; events of an older request are void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

impl RequestId {
    /// The id after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The device somebody asked for. There is no fallback: a device that is not
/// there is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputeDevice {
    /// CUDA or Metal if this build has it and a device answers, else the CPU; says which.
    Auto,
    /// The processor.
    Cpu,
    /// CUDA device by number.
    Cuda(usize),
    /// Metal device by number.
    Metal(usize),
}

/// One request to the model thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionRequest {
    /// Loads a checkpoint folder; replaces the model in use.
    LoadModel {
        /// Folder with config.json, weights and tokenizer.
        folder: PathBuf,
        /// Where it runs.
        device: ComputeDevice,
    },
    /// Reads a video, runs vision tower and camera encoder, predicts the layout.
    OpenVideo {
        /// File or folder of images.
        path: PathBuf,
    },
    /// Reads the situation and answers the question about the open video.
    Ask {
        /// What is asked, with the situation in words.
        question: Question,
        /// Position and heading set by hand: they are given to the model in place
        /// of its own reading, and shown as placed by hand.
        placed: Option<Situation>,
    },
}
