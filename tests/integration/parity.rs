//! The network, the losses and the metrics against PyTorch's results, by `loc3r parity`'s code.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use loc3r::model::config::Qwen2Config;
use loc3r::model::qwen2::{KvCache, Qwen2};
use loc3r::parity::{compare, fixtures};

use crate::checkpoints::Workshop;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn tensors(file: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(golden().join(file), &Device::Cpu).unwrap()
}

/// Compares a fixture and looks that as many tensors as ever were compared.
fn agrees(name: &str, compared: usize) {
    let report = compare(&golden(), name).unwrap();
    let beyond: Vec<_> = report.differences.iter().filter(|difference| !difference.holds()).collect();
    assert!(beyond.is_empty(), "{name}: {beyond:#?}");
    assert_eq!(report.differences.len(), compared, "{name}");
}

#[test]
fn every_fixture_has_a_test() {
    let tested = [
        "cut3r_dpt",
        "cut3r_linear",
        "llava_video",
        "losses",
        "metrics",
        "pose",
        "preprocess",
        "qwen2_tied",
        "qwen2_untied",
        "siglip",
    ];
    assert_eq!(fixtures(&golden()).unwrap(), tested);
}

#[test]
fn the_vision_tower() {
    agrees("siglip", 6);
}

#[test]
fn the_language_model_with_tied_embeddings_and_without() {
    agrees("qwen2_tied", 14);
    agrees("qwen2_untied", 14);
}

#[test]
fn a_video_with_every_pooling_and_every_newline() {
    agrees("llava_video", 23);
}

#[test]
fn cut3r_with_both_heads_with_held_and_reset_frames_and_in_half_precision() {
    agrees("cut3r_dpt", 132);
    agrees("cut3r_linear", 88);
}

#[test]
fn encodings_of_poses() {
    agrees("pose", 6);
}

#[test]
fn pictures_on_their_way_into_the_networks() {
    agrees("preprocess", 27);
}

#[test]
fn losses_and_gradients() {
    agrees("losses", 133);
}

#[test]
fn metrics_of_answers_numbers_and_places() {
    agrees("metrics", 16);
}

/// A copy of the tower's fixture with one of its results changed by `by`.
fn changed(workshop: &Workshop, by: f64) -> PathBuf {
    let folder = workshop.path("fixtures");
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["siglip.json", "siglip.weights.safetensors"] {
        std::fs::copy(golden().join(file), folder.join(file)).unwrap();
    }
    let mut stored = tensors("siglip.io.safetensors");
    let selected = (stored["selected"].clone() + by).unwrap();
    stored.insert("selected".to_owned(), selected);
    candle_core::safetensors::save(&stored, folder.join("siglip.io.safetensors")).unwrap();
    folder
}

#[test]
fn the_command_prints_every_tensor_and_fails_beyond_the_tolerance() {
    let workshop = Workshop::new();
    changed(&workshop, 0.0);
    let text = workshop.run(&["parity", "fixtures"]).success();
    assert!(text.contains("siglip: 6 of 6 tensors within their tolerance"), "{text}");
    assert!(text.contains("hidden_states.0") && text.contains("max rel"), "{text}");

    changed(&workshop, 1e-3);
    let run = workshop.run(&["parity", "fixtures", "--brief"]);
    assert_eq!(run.code(), Some(1));
    let text = run.stdout();
    assert!(text.contains("5 of 6") && text.contains("BEYOND"), "{text}");
    assert!(text.contains("selected") && !text.contains("hidden_states.0"), "{text}");
}

#[test]
fn fixtures_that_do_not_fit_are_named() {
    let workshop = Workshop::new();
    let folder = changed(&workshop, 0.0);
    std::fs::write(folder.join("other.json"), "{}").unwrap();
    let message = compare(&folder, "other").unwrap_err().to_string();
    assert!(message.contains("other") && message.contains("siglip"), "{message}");
    std::fs::write(folder.join("siglip.json"), r#"{"config": {"hidden_size": 64}}"#).unwrap();
    let message = compare(&folder, "siglip").unwrap_err().to_string();
    assert!(message.contains("/config/num_hidden_layers"), "{message}");
    std::fs::remove_file(folder.join("siglip.io.safetensors")).unwrap();
    let message = compare(&folder, "siglip").unwrap_err().to_string();
    assert!(message.contains("siglip.io.safetensors"), "{message}");
    assert!(fixtures(&workshop.path("nowhere")).unwrap_err().to_string().contains("nowhere"));
}

#[test]
fn a_prefill_row_by_row_equals_one_pass_and_a_truncated_cache_forgets() {
    let weights =
        VarBuilder::from_tensors(tensors("qwen2_tied.weights.safetensors"), DType::F32, &Device::Cpu);
    let config = Qwen2Config {
        vocab_size: 320,
        hidden_size: 64,
        intermediate_size: 160,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        rope_theta: 1e6,
        rms_norm_eps: 1e-6,
        tie_word_embeddings: true,
        max_position_embeddings: 32_768,
    };
    let model = Qwen2::new(&config, &weights.pp("model"), &weights).unwrap();
    let io = tensors("qwen2_tied.io.safetensors");
    let embeds = &io["inputs_embeds"];
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
    let expected = io["embeds.last_hidden"].narrow(1, 4, rows - 4).unwrap();
    let difference = (got - expected).unwrap().abs().unwrap().max_all().unwrap();
    assert!(difference.to_scalar::<f32>().unwrap() < 2e-5);
}
