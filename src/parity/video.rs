//! The whole path from frames to logits, with every way of pooling and of marking lines.

use candle_core::Tensor;

use super::{Fixture, ParityError, qwen2, siglip};
use crate::model::config::{ModelConfig, NewlineMode, PoolingConfig, PoolingMode};
use crate::model::projector::Projector;
use crate::model::qwen2::{KvCache, Qwen2};
use crate::model::sequence::VisualLayout;
use crate::model::siglip::SiglipTower;

/// Stands for the video among the token ids.
const VIDEO_TOKEN: i64 = -200;

const VARIANTS: [(&str, PoolingMode, NewlineMode); 6] = [
    ("bilinear.grid", PoolingMode::Bilinear, NewlineMode::Grid),
    ("bilinear.one_token", PoolingMode::Bilinear, NewlineMode::OneToken),
    ("bilinear.frame", PoolingMode::Bilinear, NewlineMode::Frame),
    ("bilinear.no_token", PoolingMode::Bilinear, NewlineMode::NoToken),
    ("average.grid", PoolingMode::Average, NewlineMode::Grid),
    ("max.grid", PoolingMode::Max, NewlineMode::Grid),
];

pub(super) fn run(fixture: &mut Fixture) -> Result<(), ParityError> {
    fixture.read("io.safetensors")?;
    let weights = fixture.weights()?;
    let model = weights.pp("model");
    let mut vision = siglip::config(fixture, "vision/", -1)?;
    vision.num_hidden_layers = fixture.size("vision/layers_in_weights_file")?;
    let tower = SiglipTower::new(&vision, &model.pp("vision_tower.vision_tower.vision_model"))?;
    let pixels = fixture.tensor("video")?;
    fixture.compare("vision_embeddings", &tower.embed(&pixels)?)?;
    let features = tower.forward(&pixels)?;
    fixture.compare("vision_features", &features)?;

    let language = qwen2::config(fixture, "llm/")?;
    let decoder = Qwen2::new(&language, &model, &weights)?;
    let stride = fixture.size("mm_spatial_pool_stride")?;
    let frames = pixels.dim(0)?;
    for (name, mode, newline) in VARIANTS {
        let config = ModelConfig {
            vision: vision.clone(),
            language: language.clone(),
            pooling: PoolingConfig { mode, stride },
            newline,
            ..ModelConfig::tiny()
        };
        config.validate().map_err(|reason| fixture.wrong(reason))?;
        let projector = Projector::new(&config, &model)?;
        let projected = projector.project(&features)?;
        let pooled = projector.pool(&projected)?;
        let pooling = name.split('.').next().unwrap_or(name);
        // What several variants share is compared with the first of them.
        if name == "bilinear.grid" {
            fixture.compare("projected", &projected)?;
        }
        if newline == NewlineMode::Grid {
            fixture.compare(&format!("{pooling}.pooled"), &pooled)?;
        }
        let layout = VisualLayout::new(&config, frames);
        let video = projector.arrange(&pooled.unsqueeze(0)?, None, &layout)?;
        fixture.compare(&format!("{name}.video_tokens"), &video)?;
        answer(fixture, name, &decoder, video)?;
    }
    Ok(())
}

/// The prompt with the video in its place, and what follows where that is stored.
fn answer(fixture: &mut Fixture, name: &str, decoder: &Qwen2, video: Tensor) -> Result<(), ParityError> {
    let prompt = fixture.ids("input_ids")?;
    let at = prompt.iter().position(|&id| id == VIDEO_TOKEN);
    let at = at.ok_or_else(|| fixture.wrong(format!("input_ids hold no {VIDEO_TOKEN}")))?;
    let before = qwen2::embed(fixture, decoder, &prompt[..at])?;
    let after = qwen2::embed(fixture, decoder, &prompt[at + 1..])?;
    let embeds = Tensor::cat(&[before, video, after], 1)?;
    fixture.compare(&format!("{name}.inputs_embeds"), &embeds)?;
    let logits = format!("{name}.logits");
    if !fixture.holds(&logits) {
        return Ok(());
    }
    let mut cache = KvCache::new();
    let hidden = decoder.forward_embeds(&embeds, &mut cache)?;
    fixture.compare(&logits, &decoder.logits(&hidden)?)?;
    fixture.compare_if_stored(&format!("{name}.last_hidden"), &hidden)?;
    let ids = format!("{name}.greedy_ids");
    if fixture.holds(&ids) {
        qwen2::greedy(fixture, &ids, decoder, &hidden, &mut cache)?;
    }
    Ok(())
}
