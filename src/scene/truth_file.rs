//! Reading what is true about a clip from the scene file beside it (`NAME.scene.json`).

use std::path::{Path, PathBuf};

use super::SceneTruth;

/// Why a scene file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the scene file {path}: {reason}; the clip is shown without its truth")]
pub struct SceneFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads the truth of a clip, world space.
///
/// # Errors
/// When the file cannot be read or lacks a part of the truth.
pub fn read_scene_truth(path: &Path) -> Result<SceneTruth, SceneFileError> {
    let problem = |reason: String| SceneFileError { path: path.to_path_buf(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| problem(error.to_string()))
}
