//! Sizes of a model that differ from those of its preset, to try them.

use serde::{Deserialize, Serialize};

use crate::model::ModelConfig;

/// Sizes of a model; 0 leaves one to the preset. Widths of the feed-forward layers follow, numbers
/// of attention heads stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SizeConfig {
    /// Frames of a clip that the model sees.
    pub frames: u32,
    /// Side of a frame, pixels.
    pub image: usize,
    /// Side of a patch, pixels.
    pub patch: usize,
    /// Width of the vision tower.
    pub tower_width: usize,
    /// Layers of the vision tower.
    pub tower_layers: usize,
    /// Width of the language model.
    pub width: usize,
    /// Layers of the language model.
    pub layers: usize,
}

impl SizeConfig {
    /// The model preset of this name in these sizes; `None` when there is none.
    pub fn of_preset(self, name: &str) -> Option<ModelConfig> {
        ModelConfig::preset(name).map(|preset| self.of(preset))
    }

    fn of(self, mut preset: ModelConfig) -> ModelConfig {
        let or = |own: usize, preset: usize| if own > 0 { own } else { preset };
        if self.frames > 0 {
            preset.num_frames = self.frames;
        }
        let vision = &mut preset.vision;
        vision.image_size = or(self.image, vision.image_size);
        vision.patch_size = or(self.patch, vision.patch_size);
        vision.num_hidden_layers = or(self.tower_layers, vision.num_hidden_layers);
        let width = or(self.tower_width, vision.hidden_size);
        vision.intermediate_size = vision.intermediate_size.saturating_mul(width) / vision.hidden_size;
        vision.hidden_size = width;
        let language = &mut preset.language;
        language.num_hidden_layers = or(self.layers, language.num_hidden_layers);
        let width = or(self.width, language.hidden_size);
        language.intermediate_size = language.intermediate_size.saturating_mul(width) / language.hidden_size;
        language.hidden_size = width;
        preset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_is_left_to_the_preset() {
        let mini = ModelConfig::mini();
        assert_eq!(SizeConfig::default().of(mini.clone()), mini);
        let size = SizeConfig { frames: 16, image: 96, tower_width: 128, layers: 5, ..SizeConfig::default() };
        let small = size.of(mini.clone());
        small.validate().unwrap();
        assert_eq!((small.num_frames, small.vision.image_size, small.vision.patch_size), (16, 96, 16));
        assert_eq!((small.vision.hidden_size, small.vision.intermediate_size), (128, 512));
        assert_eq!(small.vision.num_hidden_layers, mini.vision.num_hidden_layers);
        assert_eq!((small.language.hidden_size, small.language.num_hidden_layers), (192, 5));
    }
}
