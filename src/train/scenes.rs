//! What the model predicts of a few held-out rooms at a validation, beside what is true:
//! plain values for the app and the Rerun recording, one small JSON file a validation.

use serde::{Deserialize, Serialize};

use crate::geometry::{BevPoint, BevSigma, CameraPose};
use crate::qa::{Situation, SituationEstimate};
use crate::scene::{CameraEstimate, Layout, LayoutToken, SceneTruth};
use crate::video::FrameIndex;

/// Scenes of a snapshot, at most: what a person looks through.
pub const MOST_SCENES: usize = 4;
/// Situations of a scene, at most.
pub const MOST_SITUATIONS: usize = 6;

/// The scenes of one validation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SceneSnapshot {
    /// Name of the stage.
    pub stage: String,
    /// Steps done.
    pub step: u64,
    /// The same rooms in the same order at every validation of a run.
    pub scenes: Vec<ValidationScene>,
}

/// Prediction and truth of one room, in the anchor space of its first camera.
///
/// Tokens are frame-major, then row-major over the pooled grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidationScene {
    /// Seed of the room.
    pub seed: u64,
    /// Token grid of a frame: (rows, columns).
    pub grid: (u16, u16),
    /// Height of the floor, metres (negative: the camera is above it).
    pub floor_height: f32,
    /// Predicted position (x, y) and sigma (x, y) of every token, bev space, metres.
    pub predicted: Vec<[f32; 4]>,
    /// True position (x, y) of every token, metres; `None` where nothing was hit.
    pub targets: Vec<Option<[f32; 2]>>,
    /// Mean colour of the pixels under every token.
    pub colors: Vec<[u8; 3]>,
    /// Camera-to-anchor poses that the model was given, one a frame; empty without.
    pub cameras: Vec<CameraPose>,
    /// Objects, rooms and the cameras of the frames; anchor space.
    pub truth: SceneTruth,
    /// Described situations, bev space.
    pub situations: Vec<SceneSituation>,
}

/// A described situation: where it is, and where the model reads it to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SceneSituation {
    /// The description.
    pub text: String,
    /// What it describes.
    pub truth: Situation,
    /// The model's reading.
    pub estimate: SituationEstimate,
}

impl ValidationScene {
    /// The predicted layout as the app draws it; frames are numbered from 0.
    pub fn layout(&self) -> Layout {
        let (rows, columns) = self.grid;
        let per_frame = (usize::from(rows) * usize::from(columns)).max(1);
        let token = |(k, &[x, y, sx, sy]): (usize, &[f32; 4])| LayoutToken {
            frame: FrameIndex((k / per_frame) as u32),
            row: (k % per_frame / usize::from(columns).max(1)) as u16,
            column: (k % per_frame % usize::from(columns).max(1)) as u16,
            position: BevPoint::new(x, y),
            sigma: BevSigma { x: sx, y: sy },
            color: self.colors.get(k).copied().unwrap_or([128; 3]),
        };
        let tokens = self.predicted.iter().enumerate().map(token).collect();
        Layout { grid: self.grid, tokens, floor_height: self.floor_height }
    }

    /// The cameras that the model was given, with the true intrinsics.
    pub fn camera_estimates(&self) -> Vec<CameraEstimate> {
        let intrinsics = self.truth.intrinsics;
        let frames = (0..).map(FrameIndex);
        frames.zip(&self.cameras).map(|(frame, &pose)| CameraEstimate { frame, pose, intrinsics }).collect()
    }

    /// Predicted and true position of every token whose truth is known.
    pub fn pairs(&self) -> impl Iterator<Item = (BevPoint, BevPoint)> + '_ {
        self.predicted.iter().zip(&self.targets).filter_map(|(&[x, y, ..], target)| {
            target.map(|[u, v]| (BevPoint::new(x, y), BevPoint::new(u, v)))
        })
    }

    /// Median distance of predicted and true positions, metres; `None` without tokens.
    pub fn median_error(&self) -> Option<f32> {
        let mut errors: Vec<f32> = self.pairs().map(|(found, truth)| found.distance(truth)).collect();
        errors.sort_by(f32::total_cmp);
        errors.get(errors.len() / 2).copied()
    }
}

/// `metres` to the millimetre: that much is worth its place in a file.
pub fn to_millimetres(metres: f32) -> f32 {
    (metres * 1e3).round() / 1e3
}

#[cfg(test)]
pub(crate) mod tests {
    use glam::{Vec2, Vec3};

    use super::*;
    use crate::geometry::{ImageSize, Intrinsics, Orientation, OrientationHistogram};
    use crate::scene::CameraTrack;

    /// A room with four tokens, each half a metre off, and one situation.
    pub(crate) fn scene(seed: u64) -> ValidationScene {
        let situation = Situation { position: BevPoint::new(1.0, 2.0), orientation: Orientation::FORWARD };
        let pose = CameraPose::looking(Vec3::ZERO, Orientation::FORWARD, 0.0, 0.0);
        ValidationScene {
            seed,
            grid: (1, 2),
            floor_height: -1.4,
            predicted: (0..4).map(|k| [k as f32, 1.0, 0.2, 0.3]).collect(),
            targets: (0..4).map(|k| (k != 3).then_some([k as f32, 1.5])).collect(),
            colors: vec![[10, 20, 30]; 4],
            cameras: vec![pose; 2],
            truth: SceneTruth {
                objects: Vec::new(),
                rooms: vec![vec![Vec2::ZERO, Vec2::X * 3.0, Vec2::new(3.0, 4.0)]],
                track: CameraTrack { poses: vec![pose; 2] },
                intrinsics: Intrinsics::from_horizontal_fov(ImageSize::new(64, 48), 1.2),
            },
            situations: vec![SceneSituation {
                text: "I am at the door".to_owned(),
                truth: situation,
                estimate: SituationEstimate {
                    situation,
                    position_sigma: BevSigma { x: 0.5, y: 0.4 },
                    orientation: OrientationHistogram(vec![0.25; 4]),
                    concentration: 0.0,
                },
            }],
        }
    }

    #[test]
    fn tokens_keep_their_frame_and_cell() {
        let layout = scene(1).layout();
        let places: Vec<_> = layout.tokens.iter().map(|t| (t.frame.0, t.row, t.column)).collect();
        assert_eq!(places, [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1)]);
        assert_eq!(scene(1).camera_estimates()[1].frame, FrameIndex(1));
    }

    #[test]
    fn the_error_counts_tokens_with_a_truth_only() {
        let mut scene = scene(1);
        assert_eq!(scene.pairs().count(), 3);
        assert_eq!(scene.median_error(), Some(0.5));
        scene.targets.fill(None);
        assert_eq!(scene.median_error(), None);
    }
}
