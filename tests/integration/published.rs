//! Checkpoint folders as people have them: CUT3R's own file beside the language model.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use loc3r::model::checkpoint::{self, Checkpoint};
use loc3r::model::config::{CameraEncoderConfig, ModelConfig};
use loc3r::model::convert::convert;
use loc3r::model::cut3r::{Cut3rConfig, DptConfig, HeadKind};
use loc3r::model::{Loc3rModel, Network, SeededVariables, TextTokenizer};

const DEVICE: Device = Device::Cpu;

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)
}

/// The tiny model with a CUT3R of the size of the reference tensors.
fn config() -> ModelConfig {
    let facts: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(golden("cut3r_dpt.json")).unwrap()).unwrap();
    let size =
        |pointer: &str| facts.pointer(&format!("/config/{pointer}")).unwrap().as_u64().unwrap() as usize;
    let cut3r = Cut3rConfig {
        enc_embed_dim: size("enc_embed_dim"),
        enc_depth: size("enc_depth"),
        enc_num_heads: size("enc_num_heads"),
        dec_embed_dim: size("dec_embed_dim"),
        dec_depth: size("dec_depth"),
        dec_num_heads: size("dec_num_heads"),
        state_dec_num_heads: size("state_dec_num_heads"),
        state_size: size("state_size"),
        local_mem_size: size("local_mem_size"),
        heads: Some(HeadKind::Dpt(DptConfig {
            feature_dim: size("dpt/feature_dim"),
            last_dim: size("dpt/last_dim"),
            layer_dims: [0, 1, 2, 3].map(|layer| size(&format!("dpt/layer_dims/{layer}"))),
        })),
        image_size: 48,
        ..Cut3rConfig::published()
    };
    let camera_token_dim = cut3r.dec_embed_dim;
    ModelConfig { camera: CameraEncoderConfig::Cut3r(cut3r), camera_token_dim, ..ModelConfig::tiny() }
}

/// Everything but the camera encoder.
fn write_language_part(folder: &Path) {
    let config = config();
    let variables = SeededVariables::new(3);
    Network::new(&config, &variables.builder(DType::F32, &DEVICE)).unwrap();
    let tokenizer = TextTokenizer::train(std::iter::once("the sofa".to_owned()), 300).unwrap();
    let tensors = crate::checkpoints::tensors_of(&variables);
    checkpoint::save(folder, &config, &tokenizer, &tensors, DType::F32).unwrap();
}

fn cut3r_tensors() -> HashMap<String, Tensor> {
    candle_core::safetensors::load(golden("cut3r_dpt.weights.safetensors"), &DEVICE).unwrap()
}

#[test]
fn cut3r_is_taken_from_its_own_file_and_every_tensor_is_accounted_for() {
    let folder = tempfile::tempdir().unwrap();
    write_language_part(folder.path());
    let missing = Loc3rModel::load(folder.path(), &DEVICE).unwrap_err().to_string();
    assert!(missing.contains("missing: camera_encoder."), "{missing}");

    let file = folder.path().join("cut3r_512_dpt_4_64.safetensors");
    std::fs::copy(golden("cut3r_dpt.weights.safetensors"), &file).unwrap();
    let report = Checkpoint::load(folder.path(), DType::F32, &DEVICE).unwrap().report;
    let used = report.used.iter().filter(|name| name.starts_with("camera_encoder.")).count();
    let ignored = report.ignored.iter().filter(|name| name.starts_with("camera_encoder.")).count();
    assert_eq!(used + ignored, cut3r_tensors().len());
    assert!(used > 100 && report.ignored.iter().any(|name| name.contains("ray_map")), "{:?}", report.ignored);

    std::fs::copy(&file, folder.path().join("cut3r_other.safetensors")).unwrap();
    let message = Loc3rModel::load(folder.path(), &DEVICE).unwrap_err().to_string();
    assert!(message.contains("2 files of CUT3R"), "{message}");
}

#[test]
fn a_cut3r_without_a_decoder_of_the_state_uses_that_of_the_pictures() {
    let folder = tempfile::tempdir().unwrap();
    write_language_part(folder.path());
    let tensors: HashMap<String, Tensor> =
        cut3r_tensors().into_iter().filter(|(name, _)| !name.starts_with("dec_blocks_state.")).collect();
    candle_core::safetensors::save(&tensors, folder.path().join("cut3r.safetensors")).unwrap();
    let report = Checkpoint::load(folder.path(), DType::F32, &DEVICE).unwrap().report;
    assert!(report.used.iter().any(|name| name.starts_with("camera_encoder.dec_blocks_state.")));
}

#[test]
fn a_pickle_that_wants_to_run_code_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    write_language_part(folder.path());
    let file = std::fs::File::create(folder.path().join("cut3r.pth")).unwrap();
    let mut archive = zip::ZipWriter::new(file);
    archive.start_file("archive/data.pkl", zip::write::SimpleFileOptions::default()).unwrap();
    std::io::Write::write_all(&mut archive, b"\x80\x02cposix\nsystem\nX\x02\0\0\0ls\x85R.").unwrap();
    archive.finish().unwrap();
    let message = Loc3rModel::load(folder.path(), &DEVICE).unwrap_err().to_string();
    assert!(message.contains("cut3r.pth") && message.contains("posix.system"), "{message}");
}

#[test]
fn what_a_model_takes_is_known_before_it_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    write_language_part(folder.path());
    std::fs::copy(golden("cut3r_dpt.weights.safetensors"), folder.path().join("cut3r.safetensors")).unwrap();
    let [(_, full), (_, half)] = checkpoint::memory_plans(folder.path(), &DEVICE).unwrap();
    let loaded = Checkpoint::load(folder.path(), DType::F32, &DEVICE).unwrap();
    assert_eq!(full.language + full.vision + full.camera, 4 * loaded.report.parameters);
    // The camera encoder is kept in f32 at any rate.
    assert_eq!(full.camera, half.camera);
    assert_eq!(full.total() - full.camera, 2 * (half.total() - half.camera));
}

#[test]
fn converting_merges_the_parts_and_keeps_every_number() {
    let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_language_part(folder.path());
    std::fs::copy(golden("cut3r_dpt.weights.safetensors"), folder.path().join("cut3r.safetensors")).unwrap();
    let from = Checkpoint::load(folder.path(), DType::F32, &DEVICE).unwrap().report;
    let to = out.path().join("merged");
    let mut heard = Vec::new();
    let converted = convert(folder.path(), &to, None, &mut |done, total| heard.push((done, total))).unwrap();
    assert_eq!((converted.tensors, converted.left_out), (from.used.len(), from.ignored.len()));
    assert_eq!(heard.last(), Some(&(from.used.len(), from.used.len())));
    let report = Checkpoint::load(&to, DType::F32, &DEVICE).unwrap().report;
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(report.used), sorted(from.used));
    assert_eq!((report.ignored.len(), report.parameters), (0, from.parameters));
    let name = "camera_encoder.enc_blocks.0.attn.qkv.weight";
    let merged = candle_core::safetensors::load(to.join("model.safetensors"), &DEVICE).unwrap();
    let original = &cut3r_tensors()["enc_blocks.0.attn.qkv.weight"];
    assert_eq!(merged[name].to_vec2::<f32>().unwrap(), original.to_vec2::<f32>().unwrap());

    let half = out.path().join("half");
    convert(folder.path(), &half, Some(DType::BF16), &mut |_, _| ()).unwrap();
    let merged = candle_core::safetensors::load(half.join("model.safetensors"), &DEVICE).unwrap();
    assert_eq!(merged[name].dtype(), DType::BF16);
    let message = convert(folder.path(), &half, None, &mut |_, _| ()).unwrap_err().to_string();
    assert!(message.contains("a checkpoint already"), "{message}");
}

#[test]
fn numbers_that_are_none_stop_the_conversion_and_leave_nothing_that_loads() {
    let folder = tempfile::tempdir().unwrap();
    write_language_part(folder.path());
    let mut tensors = cut3r_tensors();
    let broken = (&tensors["pose_token"] * f64::NAN).unwrap();
    tensors.insert("pose_token".to_owned(), broken);
    candle_core::safetensors::save(&tensors, folder.path().join("cut3r.safetensors")).unwrap();
    let to = folder.path().join("out");
    let message = convert(folder.path(), &to, None, &mut |_, _| ()).unwrap_err().to_string();
    assert!(message.contains("pose_token") && message.contains("NaN"), "{message}");
    assert!(!to.join("model.safetensors").exists());
}
