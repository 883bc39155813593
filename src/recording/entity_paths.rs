//! Every entity path and timeline of a recording, in one place; the app and the
//! command line write the same.

/// Root of everything 3D; anchor space.
pub const WORLD: &str = "world";
/// Camera of the current sampled frame: pose, pinhole, picture.
pub const CAMERA: &str = "world/camera";
/// Video frames.
pub const VIDEO: &str = "world/camera/video";
/// Path of the camera through the sampled frames.
pub const CAMERA_PATH: &str = "world/camera_path";
/// Frusta of all sampled frames.
pub const CAMERA_FRUSTA: &str = "world/camera_frusta";
/// Dense points of the camera encoder.
pub const POINTS: &str = "world/points";
/// Vision tokens on the floor plane, coloured as in the video.
pub const LAYOUT: &str = "world/layout/tokens";
/// Their sigma ellipses.
pub const LAYOUT_SIGMA: &str = "world/layout/sigma";
/// Vision tokens coloured by uncertainty.
pub const LAYOUT_UNCERTAINTY: &str = "world/layout/uncertainty";
/// Predicted situation: an arrow.
pub const SITUATION: &str = "world/situation/arrow";
/// Its sigma ellipse.
pub const SITUATION_SIGMA: &str = "world/situation/sigma";
/// Its heading distribution.
pub const SITUATION_ROSE: &str = "world/situation/rose";
/// Question, situation and answer as text.
pub const ANSWER: &str = "answer";
/// Facts about model, device and video.
pub const SESSION: &str = "session";
/// Messages in order.
pub const LOG: &str = "log";
/// Root of the stage times.
pub const TIMING: &str = "timing";

/// Root of what training steps tell, a folder a stage.
pub const TRAINING: &str = "training";
/// Root of the figures of validations, a folder a stage.
pub const VALIDATION: &str = "validation";
/// Root of the rooms of a validation, a folder each, numbered from 0.
pub const SCENES: &str = "scenes";

/// A loss term of a stage.
pub fn loss_term(stage: &str, name: &str) -> String {
    format!("{TRAINING}/{stage}/terms/{name}")
}

/// Learning rate, speed or gradient norm of a stage.
pub fn pace(stage: &str, name: &str) -> String {
    format!("{TRAINING}/{stage}/{name}")
}

/// A figure of a stage on held-out rooms: `metres` (names that end in `_m`), `degrees`
/// (`_deg`) or `shares`.
pub fn figure(stage: &str, name: &str) -> String {
    let unit = match name {
        _ if name.ends_with("_m") => "metres",
        _ if name.ends_with("_deg") => "degrees",
        _ => "shares",
    };
    format!("{VALIDATION}/{stage}/{unit}/{name}")
}

/// A part of a room on the bird's-eye map.
pub fn scene_part(scene: usize, part: &str) -> String {
    format!("{SCENES}/{scene}/{part}")
}

/// Optimiser steps of a stage.
pub const TIMELINE_STEP: &str = "step";
/// Time of the video frame in seconds.
pub const TIMELINE_VIDEO: &str = "video_time";
/// Number of the video frame.
pub const TIMELINE_FRAME: &str = "frame";
/// Number of the question in the conversation.
pub const TIMELINE_QUESTION: &str = "question";
