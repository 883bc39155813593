//! Dense points of the camera encoder.

use glam::Vec3;
use serde::{Deserialize, Serialize};

use crate::video::FrameIndex;

/// A coloured point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CloudPoint {
    /// Anchor space, metres.
    pub position: Vec3,
    /// RGB.
    pub color: [u8; 3],
    /// 0 (guess) to 1 (certain).
    pub confidence: f32,
    /// The video frame it was seen in.
    pub frame: FrameIndex,
}

/// Points of all frames of a clip, frame-major.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PointCloud {
    /// The points.
    pub points: Vec<CloudPoint>,
}
