//! Checkpoint folders as people have them: CUT3R's own file beside the language model, base
//! models, settings of generation.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use loc3r::geometry::ImageSize;
use loc3r::model::camera::CameraInput;
use loc3r::model::checkpoint::{self, Checkpoint};
use loc3r::model::config::{CameraEncoderConfig, ModelConfig, NewlineMode, PromptConfig, Qwen2Config};
use loc3r::model::convert::convert;
use loc3r::model::cut3r::{Cut3rConfig, DptConfig, HeadKind};
use loc3r::model::memory_plan::MemoryPlan;
use loc3r::model::quantize::{Quantization, quantize};
use loc3r::model::{Loc3rModel, Network, Query, ReplyStep, SeededVariables, TextTokenizer};
use loc3r::video::FrameIndex;
use serde_json::Value;

use crate::checkpoints::{Workshop, write_tiny};

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
    write_parts(folder, |_| true);
}

/// Those tensors of everything but the camera encoder that `keep` wants.
fn write_parts(folder: &Path, keep: impl Fn(&str) -> bool) {
    let config = config();
    let variables = SeededVariables::new(3);
    Network::new(&config, &variables.builder(DType::F32, &DEVICE)).unwrap();
    let tokenizer = TextTokenizer::train(std::iter::once("the sofa".to_owned()), 300).unwrap();
    let mut tensors = crate::checkpoints::tensors_of(&variables);
    tensors.retain(|name, _| keep(name));
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
    archive.write_all(b"\x80\x02cposix\nsystem\nX\x02\0\0\0ls\x85R.").unwrap();
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
    let parts = |plan: &MemoryPlan| [plan.language, plan.vision, plan.keys_and_values];
    assert_eq!(parts(&full), parts(&half).map(|bytes| 2 * bytes));
    // The processor computes in f32: the largest matrix that is multiplied becomes that.
    let shapes = candle_core::safetensors::load(folder.path().join("model.safetensors"), &DEVICE).unwrap();
    let largest = shapes.values().filter(|tensor| tensor.rank() == 2).map(Tensor::elem_count).max().unwrap();
    assert_eq!((full.widened, half.widened), (0, 4 * largest as u64));
    assert_eq!((full.graphics, half.graphics), (0, 0));
}

/// What `torch.save({"model": tensors}, path)` writes.
fn write_pth(path: &Path, tensors: &BTreeMap<String, Tensor>) {
    let text = |text: &str| [&[b'X'][..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let whole = |number: usize| [&[b'J'][..], &(number as i32).to_le_bytes()].concat();
    let tuple = |sizes: &[usize]| {
        let parts: Vec<u8> = sizes.iter().flat_map(|&size| whole(size)).collect();
        [&b"("[..], &parts, b"t"].concat()
    };
    let described = |(key, (name, tensor)): (usize, (&String, &Tensor))| {
        [
            text(name),
            b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
            text("storage"),
            b"ctorch\nFloatStorage\n".to_vec(),
            text(&key.to_string()),
            text("cpu"),
            whole(tensor.elem_count()),
            b"tQ".to_vec(),
            whole(0),
            tuple(tensor.dims()),
            tuple(tensor.stride()),
            b"\x89ccollections\nOrderedDict\n)RtR".to_vec(),
        ]
        .concat()
    };
    let described: Vec<u8> = tensors.iter().enumerate().flat_map(described).collect();
    let pickle = [&b"\x80\x02}("[..], &text("model"), b"}(", &described, b"uu."].concat();

    let mut archive = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    archive.start_file("cut3r/data.pkl", options).unwrap();
    archive.write_all(&pickle).unwrap();
    for (key, tensor) in tensors.values().enumerate() {
        let numbers: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        archive.start_file(format!("cut3r/data/{key}"), options).unwrap();
        archive.write_all(&numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    }
    archive.finish().unwrap();
}

/// Camera tokens of three frames.
fn camera_tokens(loaded: &Checkpoint, pixels: &Tensor) -> Vec<Vec<f32>> {
    let features = Tensor::zeros((3, 16, 32), DType::F32, &DEVICE).unwrap();
    let input = CameraInput {
        features: &features,
        pixels,
        secs: &[0.0, 0.5, 1.0],
        frame_size: ImageSize::new(64, 48),
        frames: &[FrameIndex(0), FrameIndex(5), FrameIndex(10)],
        sampled: &[0, 1, 2],
    };
    let encoded = loaded.camera.as_ref().unwrap().encode(&input, &mut |_| true).unwrap();
    encoded.unwrap().tokens.to_vec2().unwrap()
}

#[test]
fn cut3rs_own_pth_is_the_same_as_its_conversion() {
    let tensors: BTreeMap<String, Tensor> = cut3r_tensors().into_iter().collect();
    let load = |name: &str| {
        let folder = tempfile::tempdir().unwrap();
        write_language_part(folder.path());
        let file = folder.path().join(name);
        if file.extension().is_some_and(|extension| extension == "pth") {
            write_pth(&file, &tensors);
        } else {
            std::fs::copy(golden("cut3r_dpt.weights.safetensors"), &file).unwrap();
        }
        Checkpoint::load(folder.path(), DType::F32, &DEVICE).unwrap()
    };
    let (own, converted) = (load("cut3r_512_dpt_4_64.pth"), load("cut3r_512_dpt_4_64.safetensors"));
    assert_eq!(own.report.used, converted.report.used);
    assert_eq!(own.report.parameters, converted.report.parameters);
    assert_eq!(own.report.ignored.len(), converted.report.ignored.len());
    let stored = &own.report.stored["camera_encoder.enc_blocks.0.attn.qkv.weight"];
    assert_eq!(stored.file, "cut3r_512_dpt_4_64.pth");
    assert_eq!(own.report.stored["model.norm.weight"].file, "model.safetensors");
    let pixels = Tensor::rand(-1.0f32, 1.0, (3, 3, 32, 32), &DEVICE).unwrap();
    let tokens = camera_tokens(&own, &pixels);
    assert!(tokens.iter().flatten().any(|&value| value != 0.0));
    assert_eq!(tokens, camera_tokens(&converted, &pixels));
}

#[test]
fn a_number_that_is_none_is_told_with_its_tensor_and_its_file() {
    let folder = tempfile::tempdir().unwrap();
    write_language_part(folder.path());
    let mut tensors: BTreeMap<String, Tensor> = cut3r_tensors().into_iter().collect();
    let broken = (&tensors["pose_token"] * f64::NAN).unwrap();
    tensors.insert("pose_token".to_owned(), broken);
    write_pth(&folder.path().join("cut3r.pth"), &tensors);
    let message = Loc3rModel::load(folder.path(), &DEVICE).unwrap_err().to_string();
    assert!(message.contains("not finite"), "{message}");
    assert!(message.contains("camera_encoder.pose_token in cut3r.pth"), "{message}");

    let short = tensors["pose_token"].narrow(2, 0, 4).unwrap();
    tensors.insert("pose_token".to_owned(), short.contiguous().unwrap());
    tensors.insert("surplus".to_owned(), tensors["masked_img_token"].clone());
    write_pth(&folder.path().join("cut3r.pth"), &tensors);
    let message = Loc3rModel::load(folder.path(), &DEVICE).unwrap_err().to_string();
    assert!(message.contains("camera_encoder.pose_token is [1, 1, 4] in cut3r.pth"), "{message}");
    assert!(message.contains("camera_encoder.surplus [surplus] in cut3r.pth"), "{message}");
}

#[test]
fn a_model_of_ours_without_its_heads_is_damaged() {
    let heads = ["model.f_cam.", "model.f_proj.", "model.f_pos.", "model.f_ori."];
    let folder = tempfile::tempdir().unwrap();
    write_parts(folder.path(), |name| !heads.iter().any(|head| name.starts_with(head)));
    std::fs::copy(golden("cut3r_dpt.weights.safetensors"), folder.path().join("cut3r.safetensors")).unwrap();
    let message = Loc3rModel::load(folder.path(), &DEVICE).unwrap_err().to_string();
    assert!(message.contains("missing: model.f_cam.0"), "{message}");
}

#[test]
fn a_base_model_with_one_of_the_layers_or_with_unknown_ones_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let layers = write_transformers(folder.path(), true, "", true);
    let beside = |tensors: HashMap<String, Tensor>| {
        candle_core::safetensors::save(&tensors, folder.path().join("loc3r_layers.safetensors")).unwrap();
        Loc3rModel::load(folder.path(), &DEVICE).unwrap_err().to_string()
    };
    let mut one = layers.clone();
    one.retain(|name, _| name.starts_with("model.f_ori."));
    let message = beside(one);
    assert!(message.contains("missing: model.f_p") && !message.contains("base model"), "{message}");
    let adapter = Tensor::zeros((3, 5), DType::F32, &DEVICE).unwrap();
    let message = beside(HashMap::from([("adapter.weight".to_owned(), adapter)]));
    assert!(message.contains("unexpected") && message.contains("adapter.weight"), "{message}");
}

/// A tiny checkpoint that says tokens 60 and 61 for ever: whatever the last row is, one of
/// them has by far the largest logit.
fn write_talkative(folder: &Path) {
    write_tiny(folder, |tensors| {
        let name = "model.embed_tokens.weight";
        let mut rows: Vec<Vec<f32>> = tensors[name].to_vec2().unwrap();
        let width = rows[0].len();
        for (id, value) in [(60, 100.0), (61, -100.0)] {
            rows[id] = vec![0.0; width];
            rows[id][0] = value;
        }
        tensors.insert(name.to_owned(), Tensor::new(rows, &DEVICE).unwrap());
        let mut norm = vec![1f32; width];
        norm[0] = 100.0;
        tensors.insert("model.norm.weight".to_owned(), Tensor::new(norm, &DEVICE).unwrap());
    });
}

#[test]
fn answers_end_where_the_settings_of_generation_say() {
    let workshop = Workshop::new();
    let folder = workshop.path("model");
    write_talkative(&folder);
    let said = |settings: &str| {
        std::fs::write(folder.join("generation_config.json"), settings).unwrap();
        let told = workshop.run(&["ask", "clip", "What is on my left?", "--json"]).success();
        let answer: Value = serde_json::from_str(&told).unwrap();
        answer["tokens"]["generated"].as_u64().unwrap()
    };
    assert_eq!(said("{}"), 64);
    assert_eq!(said(r#"{"max_new_tokens": 3}"#), 3);
    assert_eq!(said(r#"{"max_new_tokens": 70, "eos_token_id": null}"#), 70);
    assert_eq!(said(r#"{"eos_token_id": [61, 60]}"#), 0);
    assert_eq!(said(r#"{"eos_token_id": [61, 60], "min_new_tokens": 2}"#), 2);

    std::fs::write(folder.join("generation_config.json"), r#"{"eos_token_id": "end"}"#).unwrap();
    let message = workshop.run(&["ask", "clip", "What?"]).failure();
    assert!(message.contains("generation_config.json") && message.contains("eos_token_id"), "{message}");
}

#[test]
fn settings_of_generation_are_told_and_kept_by_conversions() {
    let workshop = Workshop::new();
    let settings = r#"{"do_sample": true, "eos_token_id": 60, "max_new_tokens": 9, "temperature": 0.7}"#;
    std::fs::write(workshop.path("model/generation_config.json"), settings).unwrap();
    let told = workshop.run(&["inspect", "model"]).success();
    let line = "answers     greedy; at most 9 tokens; ends at tokens 60; temperature 0.7 of generation_config.json is not used";
    assert!(told.contains(line), "{told}");

    let source = Checkpoint::load(&workshop.path("model"), DType::F32, &DEVICE).unwrap();
    assert_eq!(source.tokenizer.stop_ids.last(), Some(&60));
    assert_eq!(Loc3rModel::load(&workshop.path("model"), &DEVICE).unwrap().longest_answer(), Some(9));
    let (folder, file) = (workshop.path("converted"), workshop.path("quantised.gguf"));
    convert(&workshop.path("model"), &folder, None, &mut |_, _| ()).unwrap();
    quantize(&workshop.path("model"), &file, Quantization::Q8_0, None, &mut |_, _| ()).unwrap();
    for made in [folder, file] {
        let made = Checkpoint::load(&made, DType::F32, &DEVICE).unwrap();
        assert_eq!(made.generation, source.generation);
        assert_eq!(made.tokenizer.stop_ids, source.tokenizer.stop_ids);
    }
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

/// What transformers would write for the tiny model without a camera encoder.
fn transformers_config() -> serde_json::Value {
    let ModelConfig { language, vision, num_frames, .. } = ModelConfig::tiny();
    serde_json::json!({
        "architectures": ["LlavaOnevisionForConditionalGeneration"],
        "model_type": "llava_onevision",
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
        "text_config": {
            "model_type": "qwen2",
            "hidden_size": language.hidden_size,
            "intermediate_size": language.intermediate_size,
            "num_attention_heads": language.num_attention_heads,
            "num_hidden_layers": language.num_hidden_layers,
            "num_key_value_heads": language.num_key_value_heads,
            "max_position_embeddings": language.max_position_embeddings,
            "rope_theta": language.rope_theta,
            "vocab_size": 100,
        },
        "vision_config": {
            "model_type": "siglip_vision_model",
            "hidden_size": vision.hidden_size,
            "image_size": vision.image_size,
            "intermediate_size": vision.intermediate_size,
            "num_attention_heads": vision.num_attention_heads,
            "num_hidden_layers": vision.num_hidden_layers,
            "patch_size": vision.patch_size,
        },
        "loc3r": {"camera": {"kind": "none"}, "camera_token_dim": 0, "num_frames": num_frames},
    })
}

/// The configuration that it means.
fn transformers_meaning(tied: bool) -> ModelConfig {
    let tiny = ModelConfig::tiny();
    let mut config = ModelConfig {
        name: "llava-onevision".to_owned(),
        newline: NewlineMode::OneToken,
        language: Qwen2Config { tie_word_embeddings: tied, ..tiny.language.clone() },
        prompt: PromptConfig::published(),
        ..tiny
    };
    // Read off the tensors.
    config.heads.hidden_size = Some(config.language.hidden_size);
    config
}

/// Writes a folder of transformers; `prefix` stands before all names of its parts. Gives Loc3R's
/// layers where they are not written (`is_base`).
fn write_transformers(folder: &Path, tied: bool, prefix: &str, is_base: bool) -> HashMap<String, Tensor> {
    let config = transformers_meaning(tied);
    let variables = SeededVariables::new(3);
    Network::new(&config, &variables.builder(DType::F32, &DEVICE)).unwrap();
    let renamed = |name: &str| {
        let part = |part: &str| format!("{prefix}{part}");
        let (language, output) = match prefix {
            "" => ("language_model.model.", "language_model.lm_head."),
            _ => ("model.language_model.", "lm_head."),
        };
        for (ours, theirs) in [
            ("model.vision_tower.vision_tower.", part("vision_tower.")),
            ("model.mm_projector.0.", part("multi_modal_projector.linear_1.")),
            ("model.mm_projector.2.", part("multi_modal_projector.linear_2.")),
            ("model.image_newline", part("image_newline")),
            ("model.f_", "model.f_".to_owned()),
            ("lm_head.", output.to_owned()),
            ("model.", language.to_owned()),
        ] {
            if let Some(rest) = name.strip_prefix(ours) {
                return format!("{theirs}{rest}");
            }
        }
        name.to_owned()
    };
    let tensors: HashMap<String, Tensor> = crate::checkpoints::tensors_of(&variables)
        .into_iter()
        .map(|(name, tensor)| (renamed(&name), tensor))
        .collect();
    let (layers, tensors): (HashMap<_, _>, HashMap<_, _>) =
        tensors.into_iter().partition(|(name, _)| is_base && name.starts_with("model.f_"));
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
    std::fs::write(folder.join("config.json"), transformers_config().to_string()).unwrap();
    let tokenizer = TextTokenizer::train(std::iter::once("the sofa".to_owned()), 300).unwrap();
    tokenizer.save(&folder.join("tokenizer.json")).unwrap();
    layers
}

/// `model.f_pos.0.weight` as somebody else might call it.
fn foreign(name: &str) -> String {
    name.replace("model.f_", "spatial.head_")
}

#[test]
fn a_base_model_answers_and_says_that_it_has_no_places() {
    let workshop = Workshop::new();
    let folder = workshop.path("base");
    std::fs::create_dir(&folder).unwrap();
    write_transformers(&folder, true, "", true);
    let said = |model: &str| -> Value {
        let asked =
            ["ask", "clip", "What is on my left?", "--situation", "I sit.", "--json", "--model", model];
        serde_json::from_str(&workshop.run(&asked).success()).unwrap()
    };
    let answer = said("base");
    assert_eq!(answer["situation"], Value::Null);
    assert_eq!(answer["notice"], "base model: it has words but no places");
    assert!(answer["tokens"]["generated"].as_u64().unwrap() > 0, "{answer}");
    let told = workshop.run(&["ask", "clip", "What?", "--model", "base"]).success();
    assert!(told.contains("no places") && !told.contains("is read as"), "{told}");
    assert!(told.contains("video read after") && !told.contains("layout"), "{told}");
    let told = workshop.run(&["inspect", "base"]).success();
    assert!(told.contains("layers of Loc3R: none: a base model") && !told.contains("heading bins"), "{told}");
    let told = workshop.run(&["reconstruct", "clip", "--model", "base"]).success();
    assert!(told.contains("cameras  none") && told.contains("layout   none"), "{told}");
    let told = workshop.run(&["reconstruct", "clip", "--model", "base", "--tum", "path.txt"]).failure();
    assert!(told.contains("no camera encoder"), "{told}");
    assert!(!workshop.path("path.txt").exists());

    // Neither of the situation tokens, which it has never seen.
    let model = Loc3rModel::load(&folder, &DEVICE).unwrap();
    let clip = crate::model::clip(1);
    let video = model.encode_video(&clip, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
    assert!(video.layout.tokens.is_empty() && video.cameras.is_empty());
    let query = Query {
        situation: Some("I sit.".to_owned()),
        question: "What is on my left?".to_owned(),
        choices: Vec::new(),
        placed: None,
        max_new_tokens: 4,
    };
    let mut situations = 0;
    let reply = model
        .ask(&video, &query, &mut |step| {
            situations += usize::from(matches!(step, ReplyStep::Situation(_)));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((reply.estimate, situations), (None, 0));
    assert!(reply.prompt.contains("I sit. What is on my left? Answer"), "{}", reply.prompt);

    let (copy, file) = (workshop.path("copy"), workshop.path("base.gguf"));
    convert(&folder, &copy, None, &mut |_, _| ()).unwrap();
    quantize(&folder, &file, Quantization::Q8_0, None, &mut |_, _| ()).unwrap();
    assert_eq!(said("copy")["answer"], answer["answer"]);
    assert_eq!(said("base.gguf")["notice"], answer["notice"]);
}

#[test]
fn cut3r_beside_a_base_model_shows_the_path() {
    let folder = tempfile::tempdir().unwrap();
    write_transformers(folder.path(), true, "", true);
    let mut json = transformers_config();
    let config = config();
    json["loc3r"]["camera"] = serde_json::to_value(&config.camera).unwrap();
    json["loc3r"]["camera_token_dim"] = config.camera_token_dim.into();
    std::fs::write(folder.path().join("config.json"), json.to_string()).unwrap();
    std::fs::copy(golden("cut3r_dpt.weights.safetensors"), folder.path().join("cut3r.safetensors")).unwrap();
    let model = Loc3rModel::load(folder.path(), &DEVICE).unwrap();
    assert!(!model.config().locates() && !model.config().has_camera_tokens());
    let clip = crate::model::clip(1);
    let video = model.encode_video(&clip, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
    assert_eq!((video.cameras.len(), video.layout.tokens.len()), (clip.frames.len(), 0));
}

#[test]
fn layers_of_loc3r_beside_a_base_model_make_it_whole() {
    let whole = tempfile::tempdir().unwrap();
    write_transformers(whole.path(), true, "", false);
    let whole = Checkpoint::load(whole.path(), DType::F32, &DEVICE).unwrap();
    for is_foreign in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let layers = write_transformers(folder.path(), true, "", true);
        let named = |name: String| if is_foreign { foreign(&name) } else { name };
        let layers: HashMap<String, Tensor> =
            layers.into_iter().map(|(name, tensor)| (named(name), tensor)).collect();
        candle_core::safetensors::save(&layers, folder.path().join("loc3r_layers.safetensors")).unwrap();
        let merged = Checkpoint::load(folder.path(), DType::F32, &DEVICE).unwrap();
        assert_eq!(merged.config, whole.config, "foreign names: {is_foreign}");
        let sorted = |report: &checkpoint::KeyReport| {
            let known = |name: &String| name.split(" [").next().unwrap_or_default().to_owned();
            report.used.iter().map(known).collect::<std::collections::BTreeSet<String>>()
        };
        assert_eq!(sorted(&merged.report), sorted(&whole.report));
        assert_eq!(merged.report.parameters, whole.report.parameters);
    }
}

#[test]
fn a_folder_of_transformers_loads_as_it_is_tied_or_not() {
    for (tied, prefix) in [(true, ""), (false, ""), (true, "model."), (false, "model.")] {
        let folder = tempfile::tempdir().unwrap();
        write_transformers(folder.path(), tied, prefix, false);
        let loaded = Checkpoint::load(folder.path(), DType::F32, &DEVICE).unwrap();
        assert_eq!(loaded.config, transformers_meaning(tied), "tied {tied}, {prefix:?}");
        let report = loaded.report;
        assert_eq!(report.used.iter().any(|name| name == "lm_head.weight"), !tied);
        assert!(report.ignored.is_empty() && report.unexpected.is_empty(), "{report:?}");
    }
}

#[test]
fn choices_of_a_published_folder_say_where_they_come_from() {
    let folder = tempfile::tempdir().unwrap();
    write_transformers(folder.path(), true, "", false);
    let shown = || {
        let told = checkpoint::examine(folder.path(), &DEVICE).unwrap();
        told.choices.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let has =
        |lines: &[String], line: &str| assert!(lines.iter().any(|found| found == line), "{line}: {lines:#?}");
    let lines = shown();
    has(&lines, "newlines: one behind the video (config.json)");
    has(&lines, "heading bins: centred at -180° + (b + ½)·10° (default)");
    has(&lines, "hidden width of f_pos and f_ori: 32 (weights)");
    has(&lines, "names of Loc3R's layers: by name (weights)");
    has(&lines, "gravity: there is no camera encoder (config.json)");

    let mut json = transformers_config();
    json["loc3r"]["heads"] = serde_json::json!({"bin_centers": "whole"});
    std::fs::write(folder.path().join("config.json"), json.to_string()).unwrap();
    has(&shown(), "heading bins: centred at -180° + b·10° (config.json)");

    json["loc3r"]["heads"] = serde_json::json!({"bin_centres": "whole"});
    std::fs::write(folder.path().join("config.json"), json.to_string()).unwrap();
    let message = Loc3rModel::load(folder.path(), &DEVICE).unwrap_err().to_string();
    assert!(message.contains("config.json") && message.contains("bin_centres"), "{message}");
}
