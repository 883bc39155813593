//! Situations: where somebody stands and looks, in words and in numbers.

use serde::{Deserialize, Serialize};

use crate::geometry::{BevPoint, BevSigma, Orientation, OrientationHistogram};

/// Stands in for a missing situation text (Loc3R-VLM, training data).
pub const PSEUDO_SITUATION: &str = "I am standing in the room";

/// A position and a heading in the bev space of a clip.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Situation {
    /// Where the person stands, metres.
    pub position: BevPoint,
    /// Where the person looks.
    pub orientation: Orientation,
}

/// The model's reading of a situation text: `<Pos>` and `<Ori>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SituationEstimate {
    /// Means.
    pub situation: Situation,
    /// Standard deviation of the position, metres.
    pub position_sigma: BevSigma,
    /// Probabilities of the 36 heading bins.
    pub orientation: OrientationHistogram,
    /// Resultant length of the heading distribution, 0 (uniform) to 1.
    pub concentration: f32,
}
