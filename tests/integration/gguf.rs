//! GGUF files: made from a checkpoint, read alone, and as the language part of a folder.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::quantized::gguf_file::{Value, write};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use loc3r::model::checkpoint::{self, Checkpoint};
use loc3r::model::config::NewlineMode;
use loc3r::model::convert::convert;
use loc3r::model::quantize::{Quantization, quantize};
use loc3r::model::qwen2::KvCache;
use loc3r::model::random_weights::write_random;
use loc3r::model::{ModelConfig, Network, SeededVariables, TextTokenizer};

use crate::checkpoints::{Workshop, tensors_of, write_tiny};

const DEVICE: Device = Device::Cpu;
const ALL: [(Quantization, &str); 4] = [
    (Quantization::Q8_0, "q8_0"),
    (Quantization::Q6K, "q6_K"),
    (Quantization::Q5K, "q5_K"),
    (Quantization::Q4K, "q4_K"),
];

/// A checkpoint whose language model has rows of whole blocks of 256 numbers.
fn write_wide(folder: &Path) {
    let mut config = ModelConfig::tiny();
    config.language.hidden_size = 256;
    config.language.intermediate_size = 512;
    config.language.tie_word_embeddings = false;
    let variables = SeededVariables::new(7);
    Network::new(&config, &variables.builder(DType::F32, &DEVICE)).unwrap();
    let tokenizer = TextTokenizer::train(std::iter::once("the sofa".to_owned()), 300).unwrap();
    checkpoint::save(folder, &config, &tokenizer, &tensors_of(&variables), DType::F32).unwrap();
}

/// Hidden rows and logits of a few words.
fn run(network: &Network) -> (Tensor, Tensor) {
    let ids = Tensor::new(&[[3u32, 77, 250, 9, 41, 120, 5]], &DEVICE).unwrap();
    let embeds = network.language.embed(&ids).unwrap();
    let hidden = network.language.forward_embeds(&embeds, &mut KvCache::new()).unwrap();
    (hidden.clone(), network.language.logits(&hidden).unwrap())
}

/// ‖a − b‖ / ‖b‖.
fn difference(a: &Tensor, b: &Tensor) -> f32 {
    let length = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().sqrt().unwrap().to_scalar::<f32>().unwrap();
    length(&(a - b).unwrap()) / length(b)
}

fn load(path: &Path) -> Checkpoint {
    Checkpoint::load(path, DType::F32, &DEVICE).unwrap()
}

fn refusal(path: &Path) -> String {
    Checkpoint::load(path, DType::F32, &DEVICE).unwrap_err().to_string()
}

fn has_all(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "\"{part}\" is missing in: {message}");
    }
}

/// The margins of this test are the promise: hidden rows and logits of a model of two layers
/// with random weights, over their length.
#[test]
fn every_type_loads_and_computes_what_the_source_computes() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("model");
    write_wide(&source);
    let dense = load(&source);
    let (hidden, logits) = run(&dense.network);
    let mut last = 0.0;
    for ((quantization, name), margin) in ALL.into_iter().zip([0.03, 0.06, 0.12, 0.25]) {
        let file = folder.path().join(format!("{name}.gguf"));
        let done = quantize(&source, &file, quantization, None, &mut |_, _| ()).unwrap();
        assert_eq!(done.tensors, dense.report.used.len());
        assert_eq!(done.bytes, std::fs::metadata(&file).unwrap().len());
        for kind in ["attn_q", "attn_output", "ffn_down", "token_embd", "output"] {
            let report = done.kinds[&(kind.to_owned(), name)];
            assert!(report.difference > 0.0 && report.difference < margin, "{kind}: {report:?}");
            assert_eq!(report.unfit, None);
        }
        let exact = ["attn_q bias", "attn_norm", "vision tower", "projector and heads"];
        assert!(exact.iter().all(|kind| done.kinds[&((*kind).to_owned(), "f32")].difference == 0.0));

        let loaded = load(&file);
        assert_eq!(loaded.config.language, dense.config.language);
        assert_eq!(loaded.report.parameters, dense.report.parameters);
        let stored = &loaded.report.stored["model.layers.1.mlp.up_proj.weight"];
        assert_eq!((stored.numbers.name(), stored.file.as_str()), (name, format!("{name}.gguf").as_str()));
        let (found, found_logits) = run(&loaded.network);
        let difference = [difference(&found, &hidden), difference(&found_logits, &logits)];
        assert!(difference.iter().all(|&part| f64::from(part) < margin), "{name}: {difference:?}");
        assert!(difference[0] > last, "{name} is no coarser than the type before: {difference:?} {last}");
        last = difference[0];
        println!("{name}: hidden rows {}, logits {}", difference[0], difference[1]);
        let pixels = Tensor::rand(-1.0f32, 1.0, (2, 3, 32, 32), &DEVICE).unwrap();
        let features = |of: &Checkpoint| of.network.vision.forward(&pixels).unwrap();
        assert_eq!(
            features(&loaded).flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            features(&dense).flatten_all().unwrap().to_vec1::<f32>().unwrap()
        );
    }
}

#[test]
fn rows_too_short_for_a_type_are_reported_and_still_load() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("model");
    write_tiny(&source, |_| {});
    let file = folder.path().join("model.gguf");
    let done = quantize(&source, &file, Quantization::Q4K, Some(DType::F16), &mut |_, _| ()).unwrap();
    let report = done.kinds[&("attn_q".to_owned(), "q5_0")];
    assert_eq!((report.unfit, report.tensors), (Some(32), 2));
    assert!(done.kinds.contains_key(&("vision tower".to_owned(), "f16")), "{:?}", done.kinds);
    let (hidden, _) = run(&load(&source).network);
    let (found, _) = run(&load(&file).network);
    let difference = difference(&found, &hidden);
    assert!(difference > 0.0 && difference < 0.15, "{difference}");

    has_all(
        &quantize(&source, &file, Quantization::Q4K, None, &mut |_, _| ()).unwrap_err().to_string(),
        &["model.gguf", "there already"],
    );
    let again = folder.path().join("again.gguf");
    has_all(
        &quantize(&file, &again, Quantization::Q8_0, None, &mut |_, _| ()).unwrap_err().to_string(),
        &["token_embd.weight", "quantised already", "made from"],
    );
    let back = folder.path().join("back");
    has_all(&convert(&file, &back, None, &mut |_, _| ()).unwrap_err().to_string(), &["q5_0", "--as f16"]);
    convert(&file, &back, Some(DType::F32), &mut |_, _| ()).unwrap();
    assert_eq!(load(&back).report.parameters, load(&file).report.parameters);
}

#[test]
fn quantised_weights_count_with_their_own_size() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("model");
    write_wide(&source);
    let file = folder.path().join("model.gguf");
    quantize(&source, &file, Quantization::Q5K, None, &mut |_, _| ()).unwrap();
    let [(_, dense), _] = checkpoint::memory_plans(&source, &DEVICE).unwrap();
    let [(_, full), (_, half)] = checkpoint::memory_plans(&file, &DEVICE).unwrap();
    let stored = load(&file).report.stored;
    let blocks: u64 =
        stored.values().filter(|stored| stored.numbers.name() == "q5_K").map(|stored| stored.bytes).sum();
    assert!(blocks > 500_000, "{blocks}");
    // Five and a half bits in place of thirty-two, and the same in bf16.
    let (numbers, dense_numbers) = (blocks / 176 * 256, dense.language / 4);
    assert_eq!(full.language - half.language, 2 * (dense_numbers - numbers));
    assert!(full.language >= 4 * (dense_numbers - numbers) + blocks && full.language < dense.language / 2);
    assert_eq!(full.vision, dense.vision);
}

/// The language part as llama.cpp's converter writes it, everything in `blocks` but norms
/// and biases; `change` sees names and values first.
fn write_foreign(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    change: impl Fn(&mut BTreeMap<String, Value>, &mut BTreeMap<String, QTensor>),
) {
    let parts = [
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("model.layers", "blk"),
    ];
    let mut quantized = BTreeMap::new();
    for (name, tensor) in tensors.iter().filter(|(name, _)| is_language(name)) {
        let name = parts.iter().fold(name.clone(), |name, (ours, theirs)| name.replace(ours, theirs));
        let kind = if tensor.rank() == 2 { GgmlDType::Q8_0 } else { GgmlDType::F32 };
        quantized.insert(name, QTensor::quantize(tensor, kind).unwrap());
    }
    let language = ModelConfig::tiny().language;
    let mut values = BTreeMap::from(
        [
            ("general.architecture", Value::String("qwen2".to_owned())),
            ("qwen2.block_count", Value::U32(language.num_hidden_layers as u32)),
            ("qwen2.attention.head_count", Value::U32(language.num_attention_heads as u32)),
            ("qwen2.rope.freq_base", Value::F32(language.rope_theta as f32)),
            ("tokenizer.ggml.tokens", Value::Array(vec![Value::String("a".to_owned()); 40])),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    change(&mut values, &mut quantized);
    let values: Vec<(&str, &Value)> = values.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let quantized: Vec<(&str, &QTensor)> =
        quantized.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    write(&mut std::fs::File::create(path).unwrap(), &values, &quantized).unwrap();
}

fn is_language(name: &str) -> bool {
    ["model.layers", "model.embed_tokens", "model.norm"].iter().any(|part| name.starts_with(part))
}

/// The tensors of a tiny checkpoint, which is written to `folder`.
fn tiny(folder: &Path, keep_language: bool) -> BTreeMap<String, Tensor> {
    write_tiny(folder, |_| {});
    let all: BTreeMap<String, Tensor> =
        candle_core::safetensors::load(folder.join("model.safetensors"), &DEVICE)
            .unwrap()
            .into_iter()
            .collect();
    if !keep_language {
        write_tiny(folder, |tensors| tensors.retain(|name, _| !is_language(name)));
    }
    all
}

#[test]
fn a_foreign_language_part_takes_the_place_of_the_folders_own() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    let tensors = tiny(&source, true);
    let (hidden, _) = run(&load(&source).network);
    for keep_language in [true, false] {
        let place = folder.path().join(format!("model{keep_language}"));
        tiny(&place, keep_language);
        write_foreign(&place.join("language.Q8_0.gguf"), &tensors, |_, _| ());
        let loaded = load(&place);
        let (found, _) = run(&loaded.network);
        let difference = difference(&found, &hidden);
        assert!(difference > 0.0 && difference < 0.02, "{difference}");
        let report = loaded.report;
        let file = |name: &str| report.stored[name].file.clone();
        assert_eq!(file("model.layers.0.self_attn.q_proj.weight"), "language.Q8_0.gguf");
        assert_eq!(file("model.mm_projector.0.weight"), "model.safetensors");
        let replaced =
            report.ignored.iter().filter(|name| name.contains("[replaced by language.Q8_0.gguf]")).count();
        assert_eq!(
            replaced,
            if keep_language { tensors.keys().filter(|name| is_language(name)).count() } else { 0 }
        );
    }
}

#[test]
fn foreign_files_that_do_not_fit_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("model");
    let tensors = tiny(&place, false);
    let file = place.join("language.gguf");
    write_foreign(&file, &tensors, |_, _| ());
    has_all(&refusal(&file), &["language.gguf", "loc3r.config", "language model alone", "pass that folder"]);

    let refused = |change: &dyn Fn(&mut BTreeMap<String, Value>, &mut BTreeMap<String, QTensor>),
                   parts: &[&str]| {
        write_foreign(&file, &tensors, change);
        has_all(&refusal(&place), parts);
    };
    refused(
        &|values, _| {
            drop(values.insert("general.architecture".to_owned(), Value::String("llama".to_owned())));
        },
        &["language.gguf", "\"llama\"", "qwen2"],
    );
    refused(
        &|values, _| drop(values.insert("qwen2.rope.freq_base".to_owned(), Value::F32(1e4))),
        &["language.gguf", "qwen2.rope.freq_base", "10000"],
    );
    refused(
        &|values, _| drop(values.insert("split.count".to_owned(), Value::U16(3))),
        &["language.gguf", "one of 3 parts", "--merge"],
    );
    refused(
        &|_, tensors| drop(tensors.remove("blk.1.ffn_up.weight")),
        &["missing: model.layers.1.mlp.up_proj.weight [blk.1.ffn_up.weight]"],
    );
    refused(
        &|_, tensors| {
            let other =
                QTensor::quantize(&Tensor::zeros((32, 64), DType::F32, &DEVICE).unwrap(), GgmlDType::Q8_0);
            tensors.insert("blk.1.attn_v.weight".to_owned(), other.unwrap());
        },
        &["wrong shape: model.layers.1.self_attn.v_proj.weight is [32, 64]"],
    );
    refused(
        &|_, tensors| {
            let other = QTensor::quantize(&Tensor::zeros(32, DType::F32, &DEVICE).unwrap(), GgmlDType::F32);
            tensors.insert("blk.0.ffn_gate_exps.weight".to_owned(), other.unwrap());
        },
        &["unexpected: blk.0.ffn_gate_exps.weight"],
    );
    write_foreign(&place.join("second.gguf"), &tensors, |_, _| ());
    has_all(&refusal(&place), &["2 files of GGUF", "keep one"]);
}

/// Wherever the file is cut or a byte of its header changed: a message with its name, or a
/// model; never a panic.
#[test]
fn a_damaged_file_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("model");
    write_tiny(&source, |_| {});
    let file = folder.path().join("whole.gguf");
    quantize(&source, &file, Quantization::Q8_0, None, &mut |_, _| ()).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let damaged = folder.path().join("damaged.gguf");
    let cuts = (0..40).map(|part| bytes.len() * part / 40);
    for cut in cuts.chain([3, 4, 8, 24, bytes.len() - 40]) {
        std::fs::write(&damaged, &bytes[..cut]).unwrap();
        has_all(&refusal(&damaged), &["damaged.gguf"]);
    }
    // A scale that is no number, in the last block of a matrix.
    let mut broken = bytes.clone();
    let name = b"blk.0.attn_q.weight";
    let at = broken.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    let offset = |at: usize| u64::from_le_bytes(broken[at..at + 8].try_into().unwrap());
    let (width, rows, start) = (offset(at + 4), offset(at + 12), offset(at + 24));
    let last = (width * rows / 32 * 34) as usize - 34;
    let data = data_start(&broken);
    broken[data + start as usize + last..][..2].copy_from_slice(&[0, 0x7c]);
    std::fs::write(&damaged, &broken).unwrap();
    has_all(&refusal(&damaged), &["damaged.gguf", "not finite", "model.layers.0.self_attn.q_proj.weight"]);
}

/// Where the tensors of a file begin.
fn data_start(bytes: &[u8]) -> usize {
    let mut file = std::io::Cursor::new(bytes);
    candle_core::quantized::gguf_file::Content::read(&mut file).unwrap().tensor_data_offset as usize
}

#[test]
fn the_newline_between_rows_of_a_frame_survives_conversions() {
    let folder = tempfile::tempdir().unwrap();
    let [model, whole, file] = ["model", "whole", "file.gguf"].map(|name| folder.path().join(name));
    let config = ModelConfig { newline: NewlineMode::Grid, ..ModelConfig::tiny() };
    write_random(&config, &model, DType::F32, 1, &mut |_, _| {}).unwrap();
    assert_eq!(convert(&model, &whole, None, &mut |_, _| {}).unwrap().left_out, 0);
    assert_eq!(quantize(&model, &file, Quantization::Q8_0, None, &mut |_, _| {}).unwrap().left_out, 0);
    for path in [model, whole, file] {
        let loaded = Checkpoint::load(&path, DType::F32, &DEVICE).unwrap();
        assert!(loaded.report.used.iter().any(|name| name == "model.image_newline"), "{}", path.display());
    }
}

#[test]
fn one_file_answers_questions_and_tells_what_it_holds() {
    let workshop = Workshop::new();
    let made = workshop.run(&["convert", "model", "--quantize", "q8_0", "--out", "tiny.gguf"]).success();
    has_all(&made, &["tiny.gguf", "read back", "attn_q", "q8_0", "relative difference"]);
    let asked =
        workshop.run(&["ask", "clip", "What is on my left?", "--model", "tiny.gguf", "--json"]).success();
    let answer: serde_json::Value = serde_json::from_str(&asked).unwrap();
    assert_eq!(answer["model"], "tiny");
    let dense = workshop.run(&["ask", "clip", "What is on my left?", "--json"]).success();
    let dense: serde_json::Value = serde_json::from_str(&dense).unwrap();
    let place = |answer: &serde_json::Value| answer["situation"]["position"]["x"].as_f64().unwrap();
    assert!((place(&answer) - place(&dense)).abs() < 0.1, "{answer} {dense}");

    let told = workshop.run(&["inspect", "tiny.gguf", "--tensors"]).success();
    has_all(&told, &["tensors as q8_0", "model.layers.0.self_attn.q_proj.weight, q8_0 in tiny.gguf"]);
    let told = workshop.run(&["inspect", "tiny.gguf", "--json"]).success();
    let facts: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert!(facts["stored"]["q8_0"]["tensors"].as_u64().unwrap() >= 14, "{facts}");
    has_all(&workshop.run(&["ask", "clip", "What?", "--model", "none.gguf"]).failure(), &["none.gguf"]);
    std::fs::write(workshop.path("text.gguf"), "text").unwrap();
    has_all(&workshop.run(&["inspect", "text.gguf"]).failure(), &["text.gguf", "GGUF"]);
}
