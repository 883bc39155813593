//! What generated rooms and walks may look like.

use serde::{Deserialize, Serialize};

use super::scene::RoomKind;
use crate::geometry::ImageSize;

/// Ranges that the generator draws from, each `(smallest, largest)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SynthConfig {
    /// Number of connected rooms, 1 to 3.
    pub rooms: (u32, u32),
    /// What the first rooms are for; drawn where it is empty.
    #[serde(default)]
    pub kinds: Vec<RoomKind>,
    /// Side length of a room, metres.
    pub room_side: (f32, f32),
    /// Ceiling height, metres.
    pub room_height: (f32, f32),
    /// Number of objects in the whole scene, without doors and windows.
    pub objects: (u32, u32),
    /// Share of scenes with rooms whose two sides look alike.
    #[serde(default)]
    pub symmetric: f64,
    /// Size of the video frames.
    pub video_size: ImageSize,
    /// Frames per second of a walk.
    pub fps: f32,
    /// Length of a walk, seconds.
    pub seconds: (f32, f32),
    /// Horizontal field of view, degrees.
    pub fov_degrees: (f32, f32),
    /// Height of the camera above the floor, metres.
    pub camera_height: (f32, f32),
    /// Walking speed, metres per second.
    pub walking_speed: (f32, f32),
}

impl SynthConfig {
    /// Wide variation, few frames: rooms for training and evaluation.
    pub fn training() -> Self {
        Self {
            rooms: (1, 3),
            kinds: Vec::new(),
            room_side: (3.0, 9.0),
            room_height: (2.3, 3.2),
            objects: (9, 26),
            symmetric: 0.0,
            video_size: ImageSize::new(640, 480),
            fps: 6.0,
            seconds: (8.0, 40.0),
            fov_degrees: (50.0, 80.0),
            camera_height: (1.2, 1.75),
            walking_speed: (0.35, 0.8),
        }
    }

    /// Calm, well furnished rooms at video frame rate: clips to look at.
    pub fn showcase() -> Self {
        Self {
            rooms: (1, 2),
            kinds: Vec::new(),
            room_side: (3.8, 6.2),
            room_height: (2.5, 2.7),
            objects: (14, 34),
            symmetric: 0.0,
            video_size: ImageSize::new(640, 480),
            fps: 24.0,
            seconds: (16.0, 22.0),
            fov_degrees: (68.0, 74.0),
            camera_height: (1.45, 1.6),
            walking_speed: (0.4, 0.55),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_survive_a_round_trip() {
        for config in [SynthConfig::training(), SynthConfig::showcase()] {
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<SynthConfig>(&text).unwrap(), config);
        }
    }
}
