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
pub use token_targets::{TargetRule, TargetStatistic, pooled_cell, token_points, token_targets};
pub use truth_file::{SceneFileError, read_scene_truth};

use crate::geometry::{AnchorFrame, Intrinsics, OrientedBox};

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

    /// The same truth in the anchor space of its first camera, footprints in the bev
    /// space; `None` without cameras.
    pub fn in_anchor_space(&self) -> Option<Self> {
        let anchor = self.anchor()?;
        let mut moved = self.clone();
        for object in &mut moved.objects {
            object.bounds = OrientedBox {
                center: anchor.anchor_from_world(object.bounds.center),
                yaw: anchor.bev_orientation(object.bounds.yaw),
                ..object.bounds
            };
        }
        let bev = |corner: &glam::Vec2| -> glam::Vec2 { anchor.bev_from_world(corner.extend(0.0)).into() };
        moved.rooms = self.rooms.iter().map(|room| room.iter().map(bev).collect()).collect();
        moved.track.poses = self.track.poses.iter().map(|pose| anchor.anchor_pose(pose)).collect();
        Some(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{CameraPose, ImageSize, Orientation};
    use glam::{Vec2, Vec3};

    #[test]
    fn truth_is_turned_into_the_frame_of_the_first_camera() {
        // The camera stands at (2, 0) and looks along +x: what is ahead in x is ahead in y of the bev space.
        let pose = CameraPose::looking(Vec3::new(2.0, 0.0, 1.5), Orientation::from_degrees(0.0), 0.0, 0.0);
        let scene = SceneTruth {
            objects: vec![SceneObject {
                id: ObjectId(0),
                category: Category::new("desk"),
                bounds: OrientedBox {
                    center: Vec3::new(5.0, 1.0, 0.4),
                    size: Vec3::ONE,
                    yaw: Orientation::from_degrees(0.0),
                },
                color: None,
            }],
            rooms: vec![vec![Vec2::new(2.0, 0.0)]],
            track: CameraTrack { poses: vec![pose] },
            intrinsics: Intrinsics::from_horizontal_fov(ImageSize::new(4, 3), 1.0),
        };
        let moved = scene.in_anchor_space().unwrap();
        let bounds = moved.objects[0].bounds;
        assert!(bounds.center.distance(Vec3::new(-1.0, 3.0, -1.1)) < 1e-5);
        assert!((bounds.yaw.degrees() - 90.0).abs() < 1e-3);
        assert!(moved.rooms[0][0].length() < 1e-5);
    }
}
