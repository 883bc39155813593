//! What is in a place, true or predicted: objects, camera tracks, layouts, points.

mod camera_track;
mod layout;
mod object;
mod point_cloud;
mod token_targets;
mod truth_file;

use serde::{Deserialize, Serialize};

pub use camera_track::{CameraEstimate, CameraTrack};
pub use layout::{Layout, LayoutToken};
pub use object::{Category, ObjectId, SceneObject};
pub use point_cloud::{CloudPoint, PointCloud};
pub use token_targets::{token_points, token_targets};
pub use truth_file::{SceneFileError, read_scene_truth};

use crate::geometry::{AnchorFrame, Intrinsics};

/// What is true about a clip: known for generated rooms and annotated data sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SceneTruth {
    /// Objects in the world space.
    pub objects: Vec<SceneObject>,
    /// Floor polygons of the rooms, world space, metres, counter-clockwise.
    pub rooms: Vec<Vec<glam::Vec2>>,
    /// One camera-to-world pose per video frame, world space.
    pub track: CameraTrack,
    /// Intrinsics of the video frames.
    pub intrinsics: Intrinsics,
}

impl SceneTruth {
    /// The anchor space of the clip inside the world space; `None` without cameras.
    pub fn anchor(&self) -> Option<AnchorFrame> {
        self.track.poses.first().map(AnchorFrame::from_first_camera)
    }
}
