//! The tiers of the benchmark `rooms`.

use serde::{Deserialize, Serialize};

use super::SynthConfig;

/// How hard a scene is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// One room, few things.
    SparseRoom,
    /// One room, many things.
    ClutteredRoom,
    /// Two or three rooms.
    SeveralRooms,
}

impl Tier {
    /// The tier of the benchmark's scene `index`: they take turns.
    pub fn of(index: u64) -> Self {
        [Self::SparseRoom, Self::ClutteredRoom, Self::SeveralRooms][(index % 3) as usize]
    }

    /// Rooms and walks of the tier.
    pub fn config(self) -> SynthConfig {
        let (rooms, objects) = match self {
            Self::SparseRoom => ((1, 1), (8, 13)),
            Self::ClutteredRoom => ((1, 1), (18, 28)),
            Self::SeveralRooms => ((2, 3), (14, 28)),
        };
        // Close enough frames for models that follow the video.
        SynthConfig { rooms, objects, fps: 12.0, ..SynthConfig::training() }
    }
}
