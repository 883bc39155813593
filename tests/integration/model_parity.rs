//! Every part of the network against the original PyTorch modules.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use candle_core::{Device, Tensor};
use loc3r::model::config::{ModelConfig, NewlineMode, PoolingConfig, PoolingMode, Qwen2Config, SiglipConfig};
use loc3r::model::projector::Projector;
use loc3r::model::qwen2::{KvCache, PassOptions, Qwen2};
use loc3r::model::sequence::VisualLayout;
use loc3r::model::siglip::SiglipTower;

use crate::golden::{Fixture, max_difference};

fn siglip_config(fixture: &Fixture, at: &str, select_layer: i32) -> SiglipConfig {
    let size = |name: &str| fixture.size(&format!("{at}{name}"));
    SiglipConfig {
        hidden_size: size("hidden_size"),
        num_hidden_layers: size("num_hidden_layers"),
        select_layer,
        num_attention_heads: size("num_attention_heads"),
        intermediate_size: size("intermediate_size"),
        image_size: size("image_size"),
        patch_size: size("patch_size"),
        layer_norm_eps: 1e-6,
    }
}

fn qwen2_config(fixture: &Fixture, at: &str) -> Qwen2Config {
    let size = |name: &str| fixture.size(&format!("{at}{name}"));
    Qwen2Config {
        vocab_size: size("vocab_size"),
        hidden_size: size("hidden_size"),
        intermediate_size: size("intermediate_size"),
        num_hidden_layers: size("num_hidden_layers"),
        num_attention_heads: size("num_attention_heads"),
        num_key_value_heads: size("num_key_value_heads"),
        rope_theta: 1e6,
        rms_norm_eps: 1e-6,
        tie_word_embeddings: fixture
            .facts
            .pointer(&format!("/config/{at}tie_word_embeddings"))
            .unwrap()
            .as_bool()
            .unwrap(),
        max_position_embeddings: 32_768,
    }
}

fn ids(fixture: &Fixture, name: &str) -> Tensor {
    let ids: Vec<u32> = fixture.ids(name).iter().map(|&id| u32::try_from(id).unwrap()).collect();
    Tensor::from_slice(&ids, (1, ids.len()), &Device::Cpu).unwrap()
}

#[test]
fn siglip_tower() {
    let fixture = Fixture::open("siglip");
    let weights = fixture.weights().pp("vision_model");
    let pixels = fixture.tensor("pixel_values");
    let all = SiglipTower::new(&siglip_config(&fixture, "", -1), &weights).unwrap();
    fixture.check("patch_embedding", &all.patches(pixels).unwrap());
    for (stage, state) in all.hidden_states(pixels).unwrap().iter().enumerate() {
        fixture.check(&format!("hidden_states.{stage}"), state);
    }
    let used = SiglipTower::new(&siglip_config(&fixture, "", -2), &weights).unwrap();
    fixture.check("selected", &used.forward(pixels).unwrap());
}

fn qwen2_parity(name: &str) {
    let fixture = Fixture::open(name);
    let weights = fixture.weights();
    let model = Qwen2::new(&qwen2_config(&fixture, ""), &weights.pp("model"), &weights).unwrap();
    let prompt = ids(&fixture, "input_ids");
    let embeds = model.embed(&prompt).unwrap();

    let mut cache = KvCache::new();
    for layer in [0, 1] {
        let options = PassOptions { taps: &[layer + 1], ..PassOptions::default() };
        let hidden = model.forward_with(&embeds, &mut KvCache::new(), options).unwrap();
        fixture.check(&format!("ids.layer{layer}_out"), &hidden.tapped[0]);
    }
    let hidden = model.forward_embeds(&embeds, &mut cache).unwrap();
    fixture.check("ids.last_hidden", &hidden);
    fixture.check("ids.logits", &model.logits(&hidden).unwrap());
    let (keys, values) = cache.layer(0).unwrap();
    fixture.check("ids.layer0_k", keys);
    fixture.check("ids.layer0_v", values);
    check_greedy(&fixture, "", &model, &hidden, &mut cache);

    let mut cache = KvCache::new();
    let hidden = model.forward_embeds(fixture.tensor("inputs_embeds"), &mut cache).unwrap();
    fixture.check("embeds.last_hidden", &hidden);
    fixture.check("embeds.logits", &model.logits(&hidden).unwrap());
    check_greedy(&fixture, "embeds.", &model, &hidden, &mut cache);

    let prefix = fixture.facts["split_prefix_len"].as_u64().unwrap() as usize;
    let rest = embeds.dim(1).unwrap() - prefix;
    let mut cache = KvCache::new();
    let part = |start, len| embeds.narrow(1, start, len).unwrap();
    let head = model.forward_embeds(&part(0, prefix), &mut cache).unwrap();
    fixture.check("split.prefix_logits", &model.logits(&head).unwrap());
    let tail = model.forward_embeds(&part(prefix, rest), &mut cache).unwrap();
    fixture.check("split.suffix_logits", &model.logits(&tail).unwrap());
}

fn check_greedy(fixture: &Fixture, prefix: &str, model: &Qwen2, hidden: &Tensor, cache: &mut KvCache) {
    let last = hidden.narrow(1, hidden.dim(1).unwrap() - 1, 1).unwrap();
    let mut logits = model.logits(&last).unwrap();
    let (mut rows, mut chosen) = (Vec::new(), Vec::new());
    for _ in 0..fixture.ids(&format!("{prefix}greedy_ids")).len() {
        let row = logits.flatten_all().unwrap();
        let next = row.argmax(0).unwrap().to_scalar::<u32>().unwrap();
        rows.push(row);
        chosen.push(i64::from(next));
        let embeds = model.embed(&Tensor::new(&[[next]], &Device::Cpu).unwrap()).unwrap();
        logits = model.logits(&model.forward_embeds(&embeds, cache).unwrap()).unwrap();
    }
    assert_eq!(chosen, fixture.ids(&format!("{prefix}greedy_ids")));
    fixture.check(&format!("{prefix}greedy_logits"), &Tensor::stack(&rows, 0).unwrap());
}

#[test]
fn qwen2_with_tied_embeddings() {
    qwen2_parity("qwen2_tied");
}

#[test]
fn qwen2_with_its_own_output_layer() {
    qwen2_parity("qwen2_untied");
}

#[test]
fn a_chunked_prefill_equals_one_pass_and_a_truncated_cache_forgets() {
    let fixture = Fixture::open("qwen2_tied");
    let weights = fixture.weights();
    let model = Qwen2::new(&qwen2_config(&fixture, ""), &weights.pp("model"), &weights).unwrap();
    let embeds = fixture.tensor("inputs_embeds");
    let rows = embeds.dim(1).unwrap();
    let mut cache = KvCache::new();
    model.forward_embeds(embeds, &mut cache).unwrap();
    cache.truncate(4).unwrap();
    assert_eq!(cache.len(), 4);
    let mut parts = Vec::new();
    for row in 4..rows {
        parts.push(model.forward_embeds(&embeds.narrow(1, row, 1).unwrap(), &mut cache).unwrap());
    }
    let got = Tensor::cat(&parts, 1).unwrap();
    let expected = fixture.tensor("embeds.last_hidden").narrow(1, 4, rows - 4).unwrap();
    assert!(max_difference(&got, &expected) <= fixture.bound("embeds.last_hidden"));
}

struct Video {
    fixture: Fixture,
    config: ModelConfig,
}

impl Video {
    fn open(mode: PoolingMode, newline: NewlineMode) -> Self {
        let fixture = Fixture::open("llava_video");
        let mut vision = siglip_config(&fixture, "vision/", -1);
        vision.num_hidden_layers = fixture.size("vision/layers_in_weights_file");
        let config = ModelConfig {
            vision,
            language: qwen2_config(&fixture, "llm/"),
            pooling: PoolingConfig { mode, stride: fixture.size("mm_spatial_pool_stride") },
            newline,
            ..ModelConfig::tiny()
        };
        Self { fixture, config }
    }

    /// Runs the whole path and compares each stage stored under `name`.
    fn check(&self, name: &str) {
        let (fixture, config) = (&self.fixture, &self.config);
        let weights = fixture.weights();
        let model = weights.pp("model");
        let tower =
            SiglipTower::new(&config.vision, &model.pp("vision_tower.vision_tower.vision_model")).unwrap();
        let projector = Projector::new(config, &model).unwrap();
        let language = Qwen2::new(&config.language, &model, &weights).unwrap();

        let pixels = fixture.tensor("video");
        fixture.check("vision_embeddings", &tower.embed(pixels).unwrap());
        let features = tower.forward(pixels).unwrap();
        fixture.check("vision_features", &features);
        let projected = projector.project(&features).unwrap();
        fixture.check("projected", &projected);
        let pooled = projector.pool(&projected).unwrap();
        let mode = name.split('.').next().unwrap();
        fixture.check(&format!("{mode}.pooled"), &pooled);
        let layout = VisualLayout::new(config, pixels.dim(0).unwrap());
        let video = projector.arrange(&pooled.unsqueeze(0).unwrap(), None, &layout).unwrap();
        fixture.check(&format!("{name}.video_tokens"), &video.get(0).unwrap());

        let prompt = fixture.ids("input_ids");
        let at = prompt.iter().position(|&id| id == -200).unwrap();
        let text = |ids: &[i64]| {
            let ids: Vec<u32> = ids.iter().map(|&id| u32::try_from(id).unwrap()).collect();
            language.embed(&Tensor::from_slice(&ids, (1, ids.len()), &Device::Cpu).unwrap()).unwrap()
        };
        let embeds = Tensor::cat(&[text(&prompt[..at]), video, text(&prompt[at + 1..])], 1).unwrap();
        fixture.check(&format!("{name}.inputs_embeds"), &embeds);
        if fixture.facts["tensors"].get(format!("{name}.logits")).is_some() {
            let mut cache = KvCache::new();
            let hidden = language.forward_embeds(&embeds, &mut cache).unwrap();
            fixture.check(&format!("{name}.logits"), &language.logits(&hidden).unwrap());
            if name == "bilinear.grid" {
                fixture.check("bilinear.grid.last_hidden", &hidden);
                self.check_greedy(&language, &hidden, &mut cache);
            }
        }
    }

    fn check_greedy(&self, language: &Qwen2, hidden: &Tensor, cache: &mut KvCache) {
        let mut last = hidden.narrow(1, hidden.dim(1).unwrap() - 1, 1).unwrap();
        let mut chosen = Vec::new();
        for _ in 0..self.fixture.ids("bilinear.grid.greedy_ids").len() {
            let next = language.logits(&last).unwrap().flatten_all().unwrap().argmax(0).unwrap();
            let next = next.to_scalar::<u32>().unwrap();
            chosen.push(i64::from(next));
            let embeds = language.embed(&Tensor::new(&[[next]], &Device::Cpu).unwrap()).unwrap();
            last = language.forward_embeds(&embeds, cache).unwrap();
        }
        assert_eq!(chosen, self.fixture.ids("bilinear.grid.greedy_ids"));
    }
}

#[test]
fn video_with_bilinear_pooling_and_every_newline_mode() {
    Video::open(PoolingMode::Bilinear, NewlineMode::Grid).check("bilinear.grid");
    Video::open(PoolingMode::Bilinear, NewlineMode::OneToken).check("bilinear.one_token");
    Video::open(PoolingMode::Bilinear, NewlineMode::Frame).check("bilinear.frame");
    Video::open(PoolingMode::Bilinear, NewlineMode::NoToken).check("bilinear.no_token");
}

#[test]
fn video_with_average_and_max_pooling() {
    Video::open(PoolingMode::Average, NewlineMode::Grid).check("average.grid");
    Video::open(PoolingMode::Max, NewlineMode::Grid).check("max.grid");
}
