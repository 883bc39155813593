//! The layout: where every vision token lies on the bird's-eye map.

use serde::{Deserialize, Serialize};

use crate::geometry::{BevBounds, BevPoint, BevSigma};
use crate::video::FrameIndex;

/// One vision token on the map (Loc3R-VLM, global layout reconstruction).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LayoutToken {
    /// The video frame it comes from.
    pub frame: FrameIndex,
    /// Row of the pooled token grid, 0 at the top.
    pub row: u16,
    /// Column of the pooled token grid, 0 at the left.
    pub column: u16,
    /// Predicted mean, metres, bev space.
    pub position: BevPoint,
    /// Predicted standard deviation, metres.
    pub sigma: BevSigma,
    /// Mean colour of the pixels under the token.
    pub color: [u8; 3],
}

/// Positions of all vision tokens of a clip.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Layout {
    /// Token grid of a frame: (rows, columns).
    pub grid: (u16, u16),
    /// Frame-major, then row-major.
    pub tokens: Vec<LayoutToken>,
    /// Height of the floor in the anchor space, metres (negative: the camera is above it).
    pub floor_height: f32,
}

impl Layout {
    /// Smallest rectangle around all token positions; `None` for an empty layout.
    pub fn bounds(&self) -> Option<BevBounds> {
        BevBounds::around(self.tokens.iter().map(|token| token.position))
    }
}
