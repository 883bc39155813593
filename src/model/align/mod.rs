//! Camera poses by aligning the vision tower's own metric points: the camera
//! encoder of kind `aligned`.
//!
//! This is our own source of the camera token, used by the bundled model; the
//! published weights use CUT3R. The vision tower of the bundled model is trained
//! to give a metric, gravity-levelled point for every cell of a frame
//! ([`dense_head`]). Cells of different frames are matched by learned descriptors
//! ([`matching`]); what is left between two frames is a turn and a shift on the
//! floor, which a weighted Procrustes fit solves in closed form ([`planar`]); all
//! pairs together give the poses of the clip ([`pose_graph`]). Height, tilt and focal
//! lengths come from the rays through the points ([`view_fit`]). The camera token is
//! the encoded pose ([`pose_code`]).

pub mod aligned;
pub mod dense_head;
pub mod matching;
pub mod planar;
pub mod pose_code;
pub mod pose_graph;
pub mod view_fit;

use serde::{Deserialize, Serialize};

pub use aligned::{AlignedCamera, AlignedFrames};
pub use dense_head::{DenseConfig, DenseHead, DenseOutput};

/// Sizes and thresholds of the aligned camera encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlignConfig {
    /// The head that reads single frames.
    pub dense: DenseConfig,
    /// Expected distance of matched points, metres.
    pub match_scale: f32,
    /// Matches believed in less than this are left out.
    pub min_probability: f32,
}

impl AlignConfig {
    /// Defaults for the given category and colour names.
    pub fn new(categories: Vec<String>, colors: Vec<String>) -> Self {
        Self {
            dense: DenseConfig { categories, colors, descriptor_dim: 32, descriptor_hidden: 256 },
            match_scale: 0.2,
            min_probability: 0.15,
        }
    }
}
