//! What the model thread tells: plain values, ready to be shown, logged and replayed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::RequestId;
use crate::geometry::ImageSize;
use crate::qa::{Question, SituationEstimate};
use crate::scene::{CameraEstimate, Layout, PointCloud};
use crate::video::{FrameIndex, VideoInfo};

/// What the model thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Reading weights.
    LoadModel,
    /// Opening the video and reading the sampled frames.
    DecodeFrames,
    /// Vision tower.
    Vision,
    /// Camera encoder.
    Camera,
    /// Language model over the video prefix or the question.
    Prefill,
    /// Writing the answer.
    Generate,
}

/// Milliseconds per stage; 0 for a stage that did not run (cached). Frames are decoded while
/// the vision tower looks at those before: `decode` is the wait for them.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are the stages")]
pub struct Timing {
    pub decode: f64,
    pub vision: f64,
    pub camera: f64,
    pub prefill: f64,
    pub generate: f64,
    pub total: f64,
}

/// Tokens of one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenCounts {
    /// Whole prompt, video prefix included.
    pub prompt: usize,
    /// Part of the prompt whose keys and values were already there.
    pub reused: usize,
    /// Tokens of the answer.
    pub generated: usize,
}

/// The model in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Name for people ("loc3r-mini").
    pub name: String,
    /// Folder it came from.
    pub folder: PathBuf,
    /// Device by name ("CPU, 8 threads", "CUDA 0: NVIDIA H100").
    pub device: String,
    /// Number of weights.
    pub parameters: u64,
    /// Frames it looks at.
    pub frames: u32,
    /// Side of its square input, pixels.
    pub image_size: u32,
    /// Sentence to show beside every answer ("preview quality", "random weights"); empty when none.
    pub notice: String,
    /// Its model card (Markdown), empty when there is none; not written to logs.
    #[serde(skip)]
    pub card: String,
}

/// "What the model saw".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelSight {
    /// Sampled frames.
    pub frames: Vec<FrameIndex>,
    /// Size of the resized frames.
    pub size: ImageSize,
    /// RGB of the resized frames, one after the other; not written to logs.
    #[serde(skip)]
    pub rgb: Vec<u8>,
    /// Vision tokens of one frame.
    pub tokens_per_frame: usize,
    /// Tokens of the video in the prompt, camera tokens and newlines included.
    pub prefix_tokens: usize,
}

/// A finished answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerDone {
    /// The answer.
    pub text: String,
    /// Mean probability of the generated tokens.
    pub confidence: f32,
    /// The full prompt, visual tokens as a placeholder.
    pub prompt: String,
    /// How much was computed.
    pub tokens: TokenCounts,
    /// How long it took.
    pub timing: Timing,
}

/// One fact from the model thread, with the request it belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionEvent {
    /// A request was taken up.
    Started {
        /// The request.
        request: RequestId,
        /// The question, if it is one.
        question: Option<Question>,
    },
    /// Progress of a stage.
    Progress {
        /// The request.
        request: RequestId,
        /// What is running.
        stage: Stage,
        /// Steps done.
        done: u32,
        /// Steps in all.
        total: u32,
    },
    /// A checkpoint is ready.
    ModelLoaded {
        /// The request.
        request: RequestId,
        /// Which one.
        model: ModelInfo,
    },
    /// Neither model nor video are in memory any more.
    ModelUnloaded {
        /// The request that unloaded it, or that could not put another in its place.
        request: RequestId,
    },
    /// The video is open and its frames are read.
    VideoOpened {
        /// The request.
        request: RequestId,
        /// Facts.
        info: VideoInfo,
        /// What the model sees of it.
        sight: ModelSight,
    },
    /// Something about the open video that a user should know.
    ClipWarning {
        /// The request.
        request: RequestId,
        /// One sentence.
        message: String,
    },
    /// The first cameras while the encoder follows the video; they may still move. An encoder
    /// that takes frames one after the other tells of them before [`Self::VideoOpened`].
    CamerasSoFar {
        /// The request.
        request: RequestId,
        /// One per sampled frame that was reached.
        cameras: Vec<CameraEstimate>,
    },
    /// Camera poses (and, when the encoder gives them, dense points).
    CamerasReady {
        /// The request.
        request: RequestId,
        /// One per sampled frame.
        cameras: Vec<CameraEstimate>,
        /// Dense points; empty when the encoder gives none.
        points: PointCloud,
    },
    /// The layout of the first vision tokens while the language model reads the video.
    LayoutSoFar {
        /// The request.
        request: RequestId,
        /// Their positions; they do not change any more.
        layout: Layout,
    },
    /// The layout.
    LayoutReady {
        /// The request.
        request: RequestId,
        /// Positions of all vision tokens.
        layout: Layout,
        /// Time of each stage.
        timing: Timing,
        /// Frames that went through the vision tower; 0 when they had been seen before.
        #[serde(default)]
        encoded_frames: u32,
        /// Tokens of the video whose keys and values were still in memory; 0 when they were
        /// computed.
        #[serde(default)]
        reused_tokens: usize,
    },
    /// `<Pos>` and `<Ori>` are read.
    SituationReady {
        /// The request.
        request: RequestId,
        /// The estimate.
        estimate: SituationEstimate,
    },
    /// More of the answer.
    AnswerPiece {
        /// The request.
        request: RequestId,
        /// Text to append.
        piece: String,
    },
    /// The answer is complete.
    AnswerReady {
        /// The request.
        request: RequestId,
        /// The answer.
        answer: AnswerDone,
    },
    /// The request was cancelled.
    Cancelled {
        /// The request.
        request: RequestId,
    },
    /// The request failed; the thread lives on.
    Failed {
        /// The request.
        request: RequestId,
        /// Where.
        stage: Stage,
        /// What, where and what to do.
        message: String,
    },
    /// The thread itself ended; a new one must be started.
    Crashed {
        /// What happened.
        message: String,
    },
}

impl SessionEvent {
    /// Whether it tells of something unfinished that comes again when it is complete.
    pub fn is_provisional(&self) -> bool {
        matches!(self, Self::CamerasSoFar { .. } | Self::LayoutSoFar { .. })
    }

    /// The request it belongs to; `None` for the end of the thread.
    pub fn request(&self) -> Option<RequestId> {
        match self {
            Self::Started { request, .. }
            | Self::Progress { request, .. }
            | Self::ModelLoaded { request, .. }
            | Self::VideoOpened { request, .. }
            | Self::ClipWarning { request, .. }
            | Self::CamerasSoFar { request, .. }
            | Self::CamerasReady { request, .. }
            | Self::LayoutSoFar { request, .. }
            | Self::ModelUnloaded { request }
            | Self::LayoutReady { request, .. }
            | Self::SituationReady { request, .. }
            | Self::AnswerPiece { request, .. }
            | Self::AnswerReady { request, .. }
            | Self::Cancelled { request }
            | Self::Failed { request, .. } => Some(*request),
            Self::Crashed { .. } => None,
        }
    }
}

impl Timing {
    /// The field of a stage; `None` for [`Stage::LoadModel`], which is not timed here.
    pub fn stage_mut(&mut self, stage: Stage) -> Option<&mut f64> {
        match stage {
            Stage::LoadModel => None,
            Stage::DecodeFrames => Some(&mut self.decode),
            Stage::Vision => Some(&mut self.vision),
            Stage::Camera => Some(&mut self.camera),
            Stage::Prefill => Some(&mut self.prefill),
            Stage::Generate => Some(&mut self.generate),
        }
    }
}
