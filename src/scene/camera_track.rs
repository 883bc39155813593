//! Where the camera was: true tracks and estimates.

use serde::{Deserialize, Serialize};

use crate::geometry::{CameraPose, Intrinsics};
use crate::video::FrameIndex;

/// One camera-to-world pose per video frame, in presentation order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CameraTrack {
    /// Pose of frame i at index i.
    pub poses: Vec<CameraPose>,
}

impl CameraTrack {
    /// Length of the path in metres.
    pub fn path_length(&self) -> f32 {
        self.poses.windows(2).map(|w| w[0].position.distance(w[1].position)).sum()
    }

    /// Pose of a frame.
    pub fn pose(&self, index: FrameIndex) -> Option<&CameraPose> {
        self.poses.get(index.0 as usize)
    }
}

/// An estimated camera of one frame the model saw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CameraEstimate {
    /// The video frame.
    pub frame: FrameIndex,
    /// Camera-to-anchor pose.
    pub pose: CameraPose,
    /// Intrinsics of the video frame, estimated or given.
    pub intrinsics: Intrinsics,
}
