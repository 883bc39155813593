//! What goes into a [`Loc3rModel`] and what comes out, as plain values.

use glam::Vec3;

use crate::qa::{Situation, SituationEstimate};
use crate::scene::{CameraEstimate, Layout, PointCloud};
use crate::video::{Frame, VideoInfo};

#[cfg(doc)]
use super::Loc3rModel;

/// The sampled frames of a video.
#[derive(Debug, Clone)]
pub struct Clip {
    /// Facts about the video.
    pub info: VideoInfo,
    /// Sampled frames in presentation order: upright, full size.
    pub frames: Vec<Frame>,
    /// Frames between them for camera encoders that follow the video
    /// ([`Loc3rModel::spacing`]); they may be as small as the model's own pictures.
    pub between: Vec<Frame>,
    /// True anchor-space points of the vision tokens, frame-major, for models with a
    /// geometry cue; `None` lets these use what the camera encoder estimates.
    pub token_points: Option<Vec<Option<Vec3>>>,
}

/// Progress of [`Loc3rModel::encode_video`].
#[derive(Debug, Clone, Copy)]
pub enum VideoStep<'a> {
    /// Frames through the vision tower.
    Vision {
        /// Frames done.
        done: usize,
        /// Frames in all.
        total: usize,
    },
    /// Frames through the camera encoder.
    Camera {
        /// Frames done.
        done: usize,
        /// Frames in all.
        total: usize,
        /// Cameras of the first sampled frames; later frames may still move them.
        so_far: &'a [CameraEstimate],
    },
    /// How unlike the training data the clip looks; above 1 it is stranger than any
    /// held-out clip.
    Strangeness(f32),
    /// Something went wrong that does not change the result.
    Warning(&'a str),
    /// Poses and dense points are known.
    Cameras(&'a [CameraEstimate], &'a PointCloud),
    /// Tokens through the language model, told between its layers.
    Prefill {
        /// Tokens done; those of a chunk on its way by the share of the layers behind them.
        done: usize,
        /// Tokens in all.
        total: usize,
        /// The layout of the vision tokens among them.
        so_far: &'a Layout,
    },
}

/// One question.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Where the person is and looks, in words.
    pub situation: Option<String>,
    /// What is asked.
    pub question: String,
    /// Options of a multiple-choice question, without letters.
    pub choices: Vec<String>,
    /// A situation set by hand: the reply's estimate says exactly this. The words that
    /// describe it are the caller's, in `situation`.
    pub placed: Option<Situation>,
    /// Longest answer, tokens.
    pub max_new_tokens: usize,
}

/// Progress of [`Loc3rModel::ask`].
#[derive(Debug, Clone, Copy)]
pub enum ReplyStep<'a> {
    /// New tokens of the prompt through the language model, told between its layers.
    Prefill {
        /// Tokens done; those of a chunk on its way by the share of the layers behind them.
        done: usize,
        /// New tokens in all.
        total: usize,
    },
    /// `<Pos>` and `<Ori>` are read; never told by a base model that nobody is placed for.
    Situation(&'a SituationEstimate),
    /// More of the answer; empty while a character is incomplete.
    Piece(&'a str),
}

/// A finished answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Where the model thinks the person is, or where it was placed; otherwise `None` from a
    /// base model.
    pub estimate: Option<SituationEstimate>,
    /// The answer.
    pub text: String,
    /// Mean probability of the answer's tokens.
    pub confidence: f32,
    /// The full prompt with a placeholder for the video.
    pub prompt: String,
    /// Tokens of the prompt, video included.
    pub prompt_tokens: usize,
    /// Those of them that were computed before.
    pub reused_tokens: usize,
    /// Tokens of the answer.
    pub generated_tokens: usize,
    /// Milliseconds for the new tokens of the prompt.
    pub prefill_ms: f64,
    /// Milliseconds for the answer.
    pub generate_ms: f64,
}
