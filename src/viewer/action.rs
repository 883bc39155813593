//! [`ViewerAction`]: everything a person, a key, a panel or a script can want.
//!
//! Panels, shortcuts, the 3D view and scripts only say what they want; the one
//! system in `control.rs` does it. Actions are plain serde values, so a script
//! file is a list of them (see `script.rs`).

use std::path::PathBuf;

use bevy::prelude::Message;
use serde::{Deserialize, Serialize};

use super::workbench::{CameraMode, Coloring, Layer};
use crate::qa::Situation;
use crate::video::FrameIndex;

/// One intention. Names in scripts are the snake case of the variants.
#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ViewerAction {
    /// Opens a file or a folder of images, in the player and in the model; the folder of a
    /// training run is followed.
    OpenVideo(PathBuf),
    /// Shows the system's file dialog.
    ShowOpenDialog,
    /// Shows a frame.
    SeekTo(FrameIndex),
    /// Moves by frames, negative is back; pauses.
    Step(i32),
    /// Plays or pauses.
    TogglePlay,
    /// Playback speed, clamped to 0.25-4.
    SetRate(f32),
    /// Starts again at the end.
    SetLooping(bool),
    /// Asks about the open clip.
    Ask {
        /// The question.
        question: String,
        /// Where the asker stands, in words.
        #[serde(default)]
        situation: Option<String>,
    },
    /// Asks the drafted (else the newest) question from the placed situation.
    AskFromHere,
    /// Stops the running request.
    Cancel,
    /// Shows another question of the history in the 3D view (index into
    /// `SessionState::questions`).
    SelectQuestion(usize),
    /// Copies a suggestion (index into `Workbench::suggestions`) into the drafts.
    UseSuggestion(usize),
    /// Shows or hides a layer of the 3D view.
    SetLayerVisible(Layer, bool),
    /// Hides tokens and points that are less certain than this share of all, 0 to 1.
    SetConfidence(f32),
    /// How layout tokens are coloured.
    SetColoring(Coloring),
    /// How the 3D view is controlled.
    SetCameraMode(CameraMode),
    /// Fits everything into the 3D view.
    FrameAll,
    /// Puts the situation by hand (bev space).
    PlaceSituation(Situation),
    /// Goes back to the model's own reading of the situation.
    ClearPlaced,
    /// Shows a held-out room of the followed run (counted from 0).
    ShowRoom(usize),
    /// Shows the room so many further on, around the end.
    StepRoom(i32),
    /// Shows the rooms of the validation at a step; without one, always the newest.
    ShowValidation(Option<u64>),
    /// Shows the validation so many later; beyond the last one is always the newest.
    StepValidation(i32),
    /// Shows a described situation of the room (counted from 0).
    ShowSituation(usize),
    /// Shows the curves of a stage.
    ShowStage(String),
    /// Copies the shown answer to the clipboard.
    CopyAnswer,
    /// Looks again which models there are to choose from, and what they take.
    ListModels,
    /// Loads a checkpoint folder.
    LoadModel(PathBuf),
    /// Lets go of the model and its memory.
    UnloadModel,
    /// Shows the system's dialog for the folder of a model.
    ShowModelDialog,
    /// Starts the model thread again after it ended.
    RestartModel,
    /// Starts or stops the Rerun recording.
    ToggleRecording,
    /// Size of everything, 1 is normal; clamped to 0.6-3.
    SetUiScale(f32),
    /// Shows or hides the map of keys.
    ToggleHelp,
    /// Shows or hides "what the model saw".
    ToggleSight,
    /// Puts the cursor into the question field.
    FocusQuestion,
    /// Closes what is open on top; else cancels the running request.
    Dismiss,
    /// Puts away the message over the 3D view.
    DismissMessage,
    /// Writes a picture of the window (PNG).
    Screenshot(PathBuf),
    /// Ends the app.
    Quit,
}
