//! Base models: LLaVA-Video and LLaVA-OneVision as they are published, without the layers that
//! Loc3R-VLM adds. They answer questions, and there is nothing in them that locates: what
//! Loc3R-VLM is compared with.

use serde_json::Value;

use super::config::{CameraEncoderConfig, ModelConfig};
use super::network::CAMERA_PREFIX;
use super::weight_files::WeightFiles;

/// Beside everything that a base model says.
const NOTICE: &str = "base model: it has words but no places";

/// What the names of Loc3R's layers begin with.
const LAYERS: [&str; 4] = ["model.f_cam.", "model.f_proj.", "model.f_pos.", "model.f_ori."];

impl ModelConfig {
    /// Whether the model tells where things are and where somebody stands: all but base models.
    pub fn locates(&self) -> bool {
        self.prompt.situation_tokens
    }
}

/// Makes the `config` of a published file (`json`) that of a base model where no tensor of
/// Loc3R's layers is there. CUT3R, if it is there, shows the camera's path, and the language
/// model hears nothing of it.
pub(super) fn adopt(config: &mut ModelConfig, json: &Value, files: &WeightFiles) {
    let has_any = |prefix: &str| files.places.keys().any(|name| name.starts_with(prefix));
    let is_published = json.get("model_type").is_some();
    if !is_published || LAYERS.into_iter().any(has_any) {
        return;
    }
    if !has_any(CAMERA_PREFIX) {
        config.camera = CameraEncoderConfig::None;
    }
    config.camera_token_dim = 0;
    config.prompt.situation_tokens = false;
    config.prompt.pseudo_situation = String::new();
    NOTICE.clone_into(&mut config.notice);
}
