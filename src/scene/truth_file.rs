//! Reading what is true about a clip from the scene file beside it
//! (`NAME.scene.json`, the format of generated scenes): rooms, objects, the camera of
//! every frame. What only a renderer needs (materials, light) is passed over.

use std::path::{Path, PathBuf};

use glam::Vec2;
use serde::Deserialize;

use super::{CameraTrack, Category, ObjectId, SceneObject, SceneTruth};
use crate::geometry::{Intrinsics, OrientedBox};

/// Why a scene file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the scene file {path}: {reason}; the clip is shown without its truth")]
pub struct SceneFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

#[derive(Deserialize)]
struct TruthFile {
    rooms: Vec<Outline>,
    objects: Vec<Object>,
    track: Option<CameraTrack>,
    intrinsics: Option<Intrinsics>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Outline {
    Polygon(Vec<Vec2>),
    Bounds { bounds: [Vec2; 2] },
}

#[derive(Deserialize)]
struct Object {
    category: Category,
    bounds: OrientedBox,
    color: Option<String>,
}

/// Reads the truth of a clip, world space.
///
/// # Errors
/// When the file cannot be read, is no scene file, or does not say where the camera was.
pub fn read_scene_truth(path: &Path) -> Result<SceneTruth, SceneFileError> {
    let problem = |reason: String| SceneFileError { path: path.to_path_buf(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    let file: TruthFile = serde_json::from_str(&text).map_err(|error| problem(error.to_string()))?;
    let (Some(track), Some(intrinsics)) = (file.track, file.intrinsics) else {
        return Err(problem(
            "it has no camera `track` with `intrinsics` (`loc3r synth --scene` writes them)".to_owned(),
        ));
    };
    let objects = (0..).zip(file.objects).map(|(id, object)| SceneObject {
        id: ObjectId(id),
        category: object.category,
        bounds: object.bounds,
        color: object.color,
    });
    let rooms = file.rooms.into_iter().map(|outline| match outline {
        Outline::Polygon(corners) => corners,
        Outline::Bounds { bounds: [a, b] } => vec![a, Vec2::new(b.x, a.y), b, Vec2::new(a.x, b.y)],
    });
    Ok(SceneTruth { objects: objects.collect(), rooms: rooms.collect(), track, intrinsics })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SceneTruth, SceneFileError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.scene.json");
        std::fs::write(&path, text).unwrap();
        read_scene_truth(&path)
    }

    const CAMERA: &str = r#""track": {"poses": [{"position": [1, 2, 1.5], "rotation": [0, 0, 0, 1]}]},
        "intrinsics": {"focal": [400, 400], "principal": [320, 240], "size": {"width": 640, "height": 480}}"#;

    #[test]
    fn reads_rooms_objects_and_cameras_and_passes_over_the_rest() {
        let truth = read(&format!(
            r#"{{"rooms": [{{"bounds": [[0, 0], [4, 3]]}}, [[4, 0], [6, 0], [6, 3]]],
                "objects": [{{"category": "sofa", "style": 3,
                    "bounds": {{"center": [0.5, 1.5, 0.4], "size": [0.9, 2.0, 0.8], "yaw": 0}}}}],
                "lighting": {{"sun": 1}}, "fps": 24, {CAMERA}}}"#
        ))
        .unwrap();
        assert_eq!(truth.rooms[0].len(), 4);
        assert_eq!(truth.rooms[1].len(), 3);
        assert_eq!(truth.objects[0].category.as_str(), "sofa");
        assert_eq!(truth.track.poses.len(), 1);
    }

    #[test]
    fn a_scene_without_a_camera_says_what_to_do() {
        let message =
            read(r#"{"rooms": [], "objects": [], "walk": {"seconds": 10}}"#).unwrap_err().to_string();
        assert!(message.contains("clip.scene.json") && message.contains("track"), "{message}");
    }

    #[test]
    fn something_else_is_refused() {
        assert!(read("[1, 2]").is_err());
        assert!(read("").is_err());
    }
}
