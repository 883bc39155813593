//! Camera poses by visual odometry on the vision tower's own metric points: the
//! camera encoder of kind `odometry`.
//!
//! This is our own source of the camera token, used by the bundled model; the
//! published weights use CUT3R. The vision tower of the bundled model is trained
//! to give a metric, gravity-levelled point for every cell of a frame
//! ([`dense_head`]); from these come camera height, tilt and a first focal length
//! ([`view_fit`]). Corners are followed through closely spaced frames of the video
//! ([`corners`], [`flow`]); the focal length is refined by how the picture moves
//! ([`focal`]), and the motion from frame to frame is solved from the followed
//! corners, their fused depth ([`motion`]) and the grey levels themselves ([`shading`],
//! [`odometer`]). Frames that see the same again take the drift out of the path
//! ([`reobservation`], [`graph`]). What is handed on is the levelled motion on the floor
//! ([`planar`]); the camera token is the encoded pose ([`pose_code`]). Only the head has
//! weights.

pub mod corners;
pub mod dense_head;
pub mod encoder;
pub mod flow;
pub mod focal;
pub mod graph;
pub mod linear;
pub mod motion;
pub mod odometer;
pub mod planar;
pub mod pose_code;
pub mod pyramid;
pub mod reobservation;
pub mod shading;
pub mod view_fit;

use serde::{Deserialize, Serialize};

pub use dense_head::{DenseConfig, DenseHead, DenseOutput};
pub use encoder::{Footage, OdometryCamera, PathStep, TrackedFrames};

use crate::video::FrameSpacing;

/// Sizes of the camera encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OdometryConfig {
    /// The head that reads single frames.
    pub dense: DenseConfig,
    /// How closely the video is followed.
    pub spacing: FrameSpacing,
}

impl OdometryConfig {
    /// Defaults for the given category and colour names.
    pub fn new(categories: Vec<String>, colors: Vec<String>) -> Self {
        Self {
            dense: DenseConfig { categories, colors },
            spacing: FrameSpacing { longest_secs: 0.1, most_frames: 480 },
        }
    }
}
