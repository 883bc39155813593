//! Generated indoor scenes with exact truth: rooms, furniture, handheld walks,
//! pictures, questions. Deterministic: a seed gives the same bytes on every run.
//!
//! Seeds from [`HELD_OUT_SEEDS`] up are for evaluation and never seen in training.

mod bvh;
mod catalogue;
mod config;
mod export;
mod floor_plan;
mod free_space;
mod furnish;
mod furniture;
mod generate;
mod light;
mod lightmap;
mod material;
mod palette;
mod phrasing;
mod questions;
mod renderer;
mod room_programs;
mod scene;
mod scene_file;
mod seeding;
mod shape;
mod showcase;
mod situations;
mod stage;
mod tier;
mod walk;
mod walls;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use catalogue::{CATEGORIES, category_index};
pub use config::SynthConfig;
pub use export::{ExportOptions, export_walk};
pub use generate::generate_scene;
pub use material::{Material, Texture};
pub use palette::{COLORS, color_index, color_linear};
pub use phrasing::{category_called, front, named_alone};
pub use questions::{QuestionOptions, QuestionScene, Sighting, generate_questions, questions_about};
pub use renderer::{Quality, Renderer};
pub use scene::{Door, Lighting, Room, RoomKind, SynthObject, SynthScene};
pub use scene_file::{LoadedScene, parse_scene_file, read_scene_file, scene_json, write_scene_file};
pub use shape::{Part, Shape};
pub use showcase::{SHOWCASES, showcase};
pub use tier::Tier;
pub use walk::generate_walk;

use crate::geometry::{ImageSize, Intrinsics};
use crate::qa::LabeledQuestion;
use crate::scene::{CameraTrack, ObjectId};

/// First seed reserved for evaluation.
pub const HELD_OUT_SEEDS: u64 = 9_000_000;

/// Ids in [`RenderedView::ids`] below [`FIRST_OBJECT`] are surfaces of the building.
pub mod surface {
    /// Nothing was hit.
    pub const NONE: u16 = 0;
    /// A wall.
    pub const WALL: u16 = 1;
    /// The floor.
    pub const FLOOR: u16 = 2;
    /// The ceiling.
    pub const CEILING: u16 = 3;
}

/// [`RenderedView::ids`] of object `ObjectId(k)` is `FIRST_OBJECT + k`.
pub const FIRST_OBJECT: u16 = 16;

/// One rendered picture with its truth.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderedView {
    /// Size in pixels.
    pub size: ImageSize,
    /// `height * width * 3` bytes, row-major RGB.
    pub rgb: Vec<u8>,
    /// Metres along the optical axis per pixel; infinite where nothing was hit.
    pub depth: Vec<f32>,
    /// What was hit, see [`surface`] and [`FIRST_OBJECT`].
    pub ids: Vec<u16>,
}

/// A walk through a scene.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Walk {
    /// Frames per second.
    pub fps: f32,
    /// Camera of every frame (full video size).
    pub intrinsics: Intrinsics,
    /// Pose of every frame, world space.
    pub track: CameraTrack,
}

/// An object named in a text: training signal for grounding words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mention {
    /// Byte offset of the first letter of the noun.
    pub start: usize,
    /// Byte offset behind the noun.
    pub end: usize,
    /// The object it names.
    pub object: ObjectId,
}

/// A generated question with exact truth; the situation is in the bev space of the walk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SynthQuestion {
    /// Question, key, situation.
    #[serde(flatten)]
    pub labeled: LabeledQuestion,
    /// Other ways to say the same situation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternative_situations: Vec<String>,
    /// Objects named in the situation text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<Mention>,
    /// Objects named in the question itself; nouns that mean several are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked_about: Vec<Mention>,
}

impl From<LabeledQuestion> for SynthQuestion {
    /// The question alone, nothing in its text marked.
    fn from(labeled: LabeledQuestion) -> Self {
        Self { labeled, alternative_situations: Vec::new(), mentions: Vec::new(), asked_about: Vec::new() }
    }
}

/// What can go wrong with generated scenes; every message names the file and a remedy.
#[derive(Debug, thiserror::Error)]
pub enum SynthError {
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}; check the path and its permissions")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        reason: String,
    },
    /// A scene file does not hold a scene.
    #[error("{path} is not a usable scene file: {reason}")]
    BadSceneFile {
        /// The file.
        path: PathBuf,
        /// The field and what is expected.
        reason: String,
    },
    /// A result cannot be written.
    #[error("cannot write {path}: {reason}; choose another folder with --out or free some space")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        reason: String,
    },
    /// The encoder failed.
    #[error(transparent)]
    Video(#[from] crate::video::VideoError),
}

impl SynthError {
    fn unwritable(path: &Path, reason: &impl ToString) -> Self {
        Self::Unwritable { path: path.to_owned(), reason: reason.to_string() }
    }
}
