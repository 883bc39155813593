//! The vision tower.

use super::{Fixture, ParityError};
use crate::model::config::SiglipConfig;
use crate::model::siglip::SiglipTower;

/// The configuration at a pointer below `config`, output after layer `select_layer`.
pub(super) fn config(fixture: &Fixture, at: &str, select_layer: i32) -> Result<SiglipConfig, ParityError> {
    let size = |name: &str| fixture.size(&format!("{at}{name}"));
    Ok(SiglipConfig {
        hidden_size: size("hidden_size")?,
        num_hidden_layers: size("num_hidden_layers")?,
        select_layer,
        num_attention_heads: size("num_attention_heads")?,
        intermediate_size: size("intermediate_size")?,
        image_size: size("image_size")?,
        patch_size: size("patch_size")?,
        layer_norm_eps: fixture.number_or(&format!("{at}layer_norm_eps"), 1e-6),
    })
}

pub(super) fn run(fixture: &mut Fixture) -> Result<(), ParityError> {
    fixture.read("io.safetensors")?;
    let weights = fixture.weights()?.pp("vision_model");
    let pixels = fixture.tensor("pixel_values")?;
    let all = SiglipTower::new(&config(fixture, "", -1)?, &weights)?;
    fixture.compare("patch_embedding", &all.patches(&pixels)?)?;
    for (stage, state) in all.hidden_states(&pixels)?.iter().enumerate() {
        fixture.compare(&format!("hidden_states.{stage}"), state)?;
    }
    let used = SiglipTower::new(&config(fixture, "", -2)?, &weights)?;
    fixture.compare("selected", &used.forward(&pixels)?)
}
