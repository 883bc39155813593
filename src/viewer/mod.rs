//! The desktop app (Bevy and egui): video, 3D view, questions, timeline.
//!
//! Panels and input only produce [`ViewerAction`]s; `control.rs` carries them
//! out; what the model thread says arrives through `bridge.rs`. Nothing here
//! blocks: workers are polled once per frame.

mod action;
mod playback;
mod views;
mod workbench;

pub use action::ViewerAction;
pub use playback::{PlaybackClock, RATE_RANGE};
pub use views::{LayersView, QuestionView, SightView, StatusView, TimelineView, shown_question};
pub use workbench::{CameraMode, ClipTruth, Coloring, Drafts, Layer, LayerSet, RecordingState, Workbench};
