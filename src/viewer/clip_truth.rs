//! What lies beside a clip: `NAME.scene.json` (what is true) and
//! `NAME.questions.json` (questions to start with), read on a task.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bevy::prelude::{ResMut, Resource};
use bevy::tasks::futures::check_ready;
use bevy::tasks::{IoTaskPool, Task};

use super::workbench::{ClipTruth, Workbench};
use crate::geometry::{AnchorFrame, BevPoint, OrientedBox};
use crate::qa::LabeledQuestion;
use crate::scene::{SceneTruth, read_scene_truth};

/// Reading what lies beside a clip.
#[derive(Debug, Default, Resource)]
pub(super) struct TruthReader(Option<Task<(ClipTruth, Vec<String>)>>);

impl TruthReader {
    /// Starts reading the files beside `clip`.
    pub(crate) fn read(&mut self, clip: PathBuf) {
        self.0 = Some(IoTaskPool::get().spawn(async move { read_beside(&clip) }));
    }

    /// Whether reading goes on.
    pub(crate) fn is_reading(&self) -> bool {
        self.0.is_some()
    }
}

/// Takes the result once it is there.
pub(super) fn poll_truth(mut reader: ResMut<TruthReader>, mut workbench: ResMut<Workbench>) {
    let Some((truth, problems)) = reader.0.as_mut().and_then(check_ready) else { return };
    reader.0 = None;
    workbench.truth = Arc::new(truth);
    if !problems.is_empty() {
        workbench.notice = Some(problems.join("; "));
    }
}

/// Missing files are normal; unreadable ones are told.
fn read_beside(clip: &Path) -> (ClipTruth, Vec<String>) {
    let mut truth = ClipTruth::default();
    let mut problems = Vec::new();
    let scene_file = clip.with_extension("scene.json");
    if scene_file.is_file() {
        match read_scene_truth(&scene_file) {
            Ok(scene) => truth.scene = in_anchor_space(&scene),
            Err(error) => problems.push(error.to_string()),
        }
    }
    let question_file = clip.with_extension("questions.json");
    if question_file.is_file() {
        let questions =
            std::fs::read_to_string(&question_file).map_err(|error| error.to_string()).and_then(|text| {
                serde_json::from_str::<Vec<LabeledQuestion>>(&text).map_err(|error| error.to_string())
            });
        match questions {
            Ok(questions) => truth.questions = questions,
            Err(reason) => {
                problems.push(format!("cannot read the questions {}: {reason}", question_file.display()));
            }
        }
    }
    (truth, problems)
}

/// The same truth seen from the first camera; `None` without cameras.
fn in_anchor_space(scene: &SceneTruth) -> Option<SceneTruth> {
    let anchor = scene.anchor()?;
    let mut moved = scene.clone();
    for object in &mut moved.objects {
        object.bounds = OrientedBox {
            center: anchor.anchor_from_world(object.bounds.center),
            yaw: anchor.bev_orientation(object.bounds.yaw),
            ..object.bounds
        };
    }
    let bev = |corner: &glam::Vec2| -> glam::Vec2 { bev_point(&anchor, *corner).into() };
    moved.rooms = scene.rooms.iter().map(|room| room.iter().map(bev).collect()).collect();
    moved.track.poses = scene.track.poses.iter().map(|pose| anchor.anchor_pose(pose)).collect();
    Some(moved)
}

fn bev_point(anchor: &AnchorFrame, corner: glam::Vec2) -> BevPoint {
    anchor.bev_from_world(corner.extend(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{CameraPose, ImageSize, Intrinsics, Orientation};
    use crate::scene::{CameraTrack, Category, ObjectId, SceneObject};
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
        let moved = in_anchor_space(&scene).unwrap();
        let bounds = moved.objects[0].bounds;
        assert!(bounds.center.distance(Vec3::new(-1.0, 3.0, -1.1)) < 1e-5);
        assert!((bounds.yaw.degrees() - 90.0).abs() < 1e-3);
        assert!(moved.rooms[0][0].length() < 1e-5);
    }

    #[test]
    fn a_clip_without_files_has_no_truth_and_no_problem() {
        let folder = tempfile::tempdir().unwrap();
        let (truth, problems) = read_beside(&folder.path().join("clip.mp4"));
        assert_eq!(truth, ClipTruth::default());
        assert!(problems.is_empty());
    }

    #[test]
    fn broken_questions_are_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("clip.questions.json"), "[{]").unwrap();
        let (_, problems) = read_beside(&folder.path().join("clip.mp4"));
        assert!(problems[0].contains("clip.questions.json"));
    }
}
