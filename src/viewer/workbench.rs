//! What the app itself remembers: display settings, drafts, what is open on top.
//!
//! Plain data, changed by `control.rs` (and text drafts by the fields that edit
//! them), read by panels and the 3D view. What the model said lives in
//! [`crate::session::SessionState`].

use std::path::PathBuf;
use std::sync::Arc;

use bevy::prelude::Resource;
use serde::{Deserialize, Serialize};

use crate::qa::{LabeledQuestion, Situation};
use crate::scene::SceneTruth;
use crate::session::ModelChoice;

/// A part of the 3D view that can be hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Metric grid and scale bar.
    Grid,
    /// Layout tokens.
    Layout,
    /// Sigma ellipses of the layout tokens.
    Sigmas,
    /// Dense points of the camera encoder.
    Points,
    /// Camera path.
    Path,
    /// Frusta of the sampled frames.
    Frusta,
    /// Predicted situation: arrow, sigma ellipse and rose.
    Situation,
    /// True situation, true camera path.
    TrueSituation,
    /// True objects and rooms.
    TrueObjects,
    /// Names and numbers.
    Labels,
    /// Vision tokens over the video, coloured by certainty.
    VideoTokens,
    /// Where layout tokens truly lie (held-out rooms of a run).
    TrueLayout,
}

impl Layer {
    /// All layers in the order of the list on screen.
    pub const ALL: [Self; 12] = [
        Self::Layout,
        Self::TrueLayout,
        Self::Sigmas,
        Self::Points,
        Self::Path,
        Self::Frusta,
        Self::Situation,
        Self::TrueSituation,
        Self::TrueObjects,
        Self::Labels,
        Self::Grid,
        Self::VideoTokens,
    ];

    /// Name on screen.
    pub fn label(self) -> &'static str {
        match self {
            Self::Grid => "Grid",
            Self::Layout => "Layout",
            Self::Sigmas => "Uncertainty",
            Self::Points => "Dense points",
            Self::Path => "Camera path",
            Self::Frusta => "Frames",
            Self::Situation => "Situation",
            Self::TrueSituation => "True situation",
            Self::TrueObjects => "True objects",
            Self::Labels => "Labels",
            Self::VideoTokens => "Tokens on the video",
            Self::TrueLayout => "True layout",
        }
    }

    /// Its bit in the mask that the shaders test.
    pub fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A set of layers: the mask that goes to the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSet(pub u32);

impl Default for LayerSet {
    fn default() -> Self {
        let mut set = Self(Layer::ALL.iter().fold(0, |mask, layer| mask | layer.bit()));
        set.set(Layer::Sigmas, false);
        set.set(Layer::VideoTokens, false);
        set
    }
}

impl LayerSet {
    /// Whether `layer` is shown.
    pub fn contains(self, layer: Layer) -> bool {
        self.0 & layer.bit() != 0
    }

    /// Shows or hides `layer`.
    pub fn set(&mut self, layer: Layer, visible: bool) {
        self.0 = if visible { self.0 | layer.bit() } else { self.0 & !layer.bit() };
    }
}

/// How layout tokens are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coloring {
    /// Mean colour of the pixels under the token.
    #[default]
    Image,
    /// From certain to uncertain.
    Uncertainty,
}

/// How the 3D view is controlled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraMode {
    /// Around a point.
    #[default]
    Orbit,
    /// Behind the camera of the shown frame.
    Follow,
    /// From above, first camera looking up the screen.
    Top,
}

/// Text being typed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Resource)]
pub struct Drafts {
    /// Where the asker stands.
    pub situation: String,
    /// The question.
    pub question: String,
    /// Path of a video or folder.
    pub path: String,
    /// The question field takes the keyboard at the next pass (then set it to false).
    pub focus_question: bool,
}

/// What is known to be true about the open clip, from the files beside it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClipTruth {
    /// Objects, rooms and cameras, **in the anchor space of the clip**.
    pub scene: Option<SceneTruth>,
    /// Questions that come with the clip; situations in its bev space.
    pub questions: Vec<LabeledQuestion>,
}

/// State of the Rerun recording.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RecordingState {
    /// This build cannot record.
    #[default]
    Unavailable,
    /// Off.
    Off,
    /// On, with where it goes ("live viewer", a file).
    On(String),
}

/// Display settings and what is open.
#[derive(Debug, Clone, Resource)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, each with its own name on screen")]
pub struct Workbench {
    /// Layers shown.
    pub layers: LayerSet,
    /// Share of the least certain tokens and points that is hidden, 0 to 1.
    pub confidence: f32,
    /// Colours of layout tokens.
    pub coloring: Coloring,
    /// Control of the 3D view.
    pub camera_mode: CameraMode,
    /// Situation placed by hand, bev space.
    pub placed: Option<Situation>,
    /// Question shown in the 3D view and the caption; `None` is the newest.
    pub selected_question: Option<usize>,
    /// Path of the clip or the run that is open or being opened.
    pub clip: Option<PathBuf>,
    /// Truth and suggestions of the open clip.
    pub truth: Arc<ClipTruth>,
    /// Models to choose from.
    pub models: Vec<ModelChoice>,
    /// Opened before, newest first.
    pub recent: Vec<PathBuf>,
    /// The map of keys is open.
    pub help_open: bool,
    /// "What the model saw" is open.
    pub sight_open: bool,
    /// The file dialog is open (its button is disabled).
    pub dialog_open: bool,
    /// A file is held over the window.
    pub drop_hover: bool,
    /// Size of everything.
    pub ui_scale: f32,
    /// Rerun.
    pub recording: RecordingState,
    /// The newest message of the viewer itself (not of the model), for the status bar.
    pub notice: Option<String>,
}

impl Default for Workbench {
    fn default() -> Self {
        Self {
            layers: LayerSet::default(),
            confidence: 0.0,
            coloring: Coloring::default(),
            camera_mode: CameraMode::default(),
            placed: None,
            selected_question: None,
            clip: None,
            truth: Arc::default(),
            models: Vec::new(),
            recent: Vec::new(),
            help_open: false,
            sight_open: false,
            dialog_open: false,
            drop_hover: false,
            ui_scale: 1.0,
            recording: RecordingState::default(),
            notice: None,
        }
    }
}
