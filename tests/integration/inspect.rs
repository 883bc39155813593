//! What is told of a checkpoint before a tensor of it is read: of one that is too large for any
//! laptop, and of one that does not fit together.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use loc3r::model::checkpoint::{self, Checkpoint};
use loc3r::model::{ModelConfig, ModelError, Network, TextTokenizer, camera};
use serde_json::Value;

use crate::checkpoints::{Workshop, write_tiny};

const DEVICE: Device = Device::Cpu;

/// Notes what a network asks for; gives zeros that take no memory.
#[derive(Clone, Default)]
struct Wanted(Arc<Mutex<BTreeMap<String, Vec<usize>>>>);

impl SimpleBackend for Wanted {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        self.0.lock().unwrap().insert(name.to_owned(), shape.dims().to_vec());
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _dtype: DType, _device: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("{name} is asked for without a shape")
    }

    fn contains_tensor(&self, _name: &str) -> bool {
        false
    }
}

/// A folder with the published model in bf16: 17 GB of zeros that take no place on the disk.
fn write_published(folder: &Path) {
    let config = ModelConfig::llava_video_7b();
    let wanted = Wanted::default();
    let root = VarBuilder::from_backend(Box::new(wanted.clone()), DType::F32, DEVICE);
    Network::new(&config, &root).unwrap();
    camera::build(&config, root.pp("camera_encoder")).unwrap();
    let mut end = 0;
    let header: serde_json::Map<String, Value> = wanted
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|(name, shape)| {
            let start = end;
            end += 2 * shape.iter().product::<usize>() as u64;
            let told = serde_json::json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, end]});
            (name.clone(), told)
        })
        .collect();
    let header = serde_json::to_vec(&header).unwrap();
    std::fs::create_dir_all(folder).unwrap();
    let mut file = File::create(folder.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    file.set_len(8 + header.len() as u64 + end).unwrap();
    let config = serde_json::to_string(&config).unwrap();
    std::fs::write(folder.join("config.json"), config).unwrap();
    let tokenizer = TextTokenizer::train(std::iter::once("the sofa".to_owned()), 300).unwrap();
    tokenizer.save(&folder.join("tokenizer.json")).unwrap();
}

#[test]
fn the_published_size_is_looked_at_and_refused_without_reading_it() {
    let workshop = Workshop::new();
    let folder = workshop.path("big");
    write_published(&folder);
    let told = workshop.run(&["inspect", "big", "--tensors"]).success();
    for part in [
        "model       llava-video-7b",
        "32 frames of 384 x 384 pixels",
        "language    28 layers, width 3584",
        "memory      as f32: ",
        "memory      as bf16 or f16: ",
        "a matrix widened to f32 2.2 GB",
        "memory      as q4_K, the rest bf16",
        "answers     greedy",
        "used        model.layers.27.mlp.down_proj.weight, bf16 in model.safetensors",
        "used        camera_encoder.pose_token, bf16 in model.safetensors",
    ] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    let told = workshop.run(&["inspect", "big", "--json"]).success();
    let facts: Value = serde_json::from_str(&told).unwrap();
    let bytes = |numbers: &str| facts["memory_bytes"][numbers]["language"].as_u64().unwrap();
    // Qwen2 with projector and heads; q4_K with the copy that products on the processor want.
    assert!((15_200_000_000..15_400_000_000).contains(&bytes("bf16")), "{}", bytes("bf16"));
    assert_eq!(bytes("f32"), 2 * bytes("bf16"));
    assert!((8_000_000_000..10_000_000_000).contains(&bytes("q4_K")), "{}", bytes("q4_K"));

    let refused = |dtype, free| match Checkpoint::load_within(&folder, dtype, &DEVICE, Some(free)) {
        Err(ModelError::Memory { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let reason = refused(DType::F32, 30_000_000_000);
    for part in ["30.0 GB are free", "with `--precision bf16` it needs 2", "`loc3r convert --quantize q4_K`"]
    {
        assert!(reason.contains(part), "{part} is missing in {reason}");
    }
    let reason = refused(DType::BF16, 20_000_000_000);
    assert!(reason.contains("--quantize q4_K` it needs 1") && !reason.contains("precision"), "{reason}");
    let reason = refused(DType::BF16, 1_000_000_000);
    assert!(reason.contains("q4_K` it still needs") && reason.contains("larger machine"), "{reason}");
}

#[test]
fn a_model_that_does_not_fit_is_refused_before_any_weight_is_read() {
    let folder = tempfile::tempdir().unwrap();
    // Whoever reads the weights finds that one of them is no number.
    write_tiny(folder.path(), |tensors| {
        let broken = (&tensors["model.norm.weight"] * f64::NAN).unwrap();
        tensors.insert("model.norm.weight".to_owned(), broken);
    });
    let load = |free| Checkpoint::load_within(folder.path(), DType::F32, &DEVICE, free).unwrap_err();
    let [(_, plan), _] = checkpoint::memory_plans(folder.path(), &DEVICE).unwrap();
    for free in [0, 1000, plan.total() - 1] {
        let error = load(Some(free));
        assert!(matches!(error, ModelError::Memory { .. }), "{error}");
        assert!(!error.to_string().contains("finite"), "{error}");
    }
    for free in [Some(plan.total()), None] {
        let error = load(free);
        assert!(matches!(error, ModelError::Weights { .. }), "{error}");
        assert!(error.to_string().contains("model.norm.weight in model.safetensors"), "{error}");
    }
}

#[test]
fn a_checkpoint_that_does_not_fit_together_is_told_tensor_by_tensor() {
    let workshop = Workshop::new();
    let removed = |name: &str| name.starts_with("model.layers.1.");
    let surplus: Vec<String> = (0..8).map(|number| format!("adapter.{number}.weight")).collect();
    write_tiny(&workshop.path("model"), |tensors| {
        tensors.retain(|name, _| !removed(name));
        for name in &surplus {
            tensors.insert(name.clone(), Tensor::zeros(3, DType::F32, &DEVICE).unwrap());
        }
    });
    let run = workshop.run(&["inspect", "model", "--tensors"]);
    let message = run.failure();
    assert!(message.contains("model.safetensors") && message.contains("and 7 more"), "{message}");
    let told = run.stdout();
    let listed = |what: &str| -> Vec<String> {
        let lines = told.lines().filter_map(|line| line.strip_prefix(&format!("{what:<11} ")));
        lines.filter(|line| !line.ends_with(" tensors")).map(str::to_owned).collect()
    };
    // Two norms, four projections of attention, three with biases, and three of the MLP.
    assert_eq!(listed("missing").len(), 12, "{told}");
    assert!(listed("missing").iter().all(|name| removed(name)), "{told}");
    let unexpected: Vec<String> = surplus.iter().map(|name| format!("{name} in model.safetensors")).collect();
    assert_eq!(listed("unexpected"), unexpected);
    assert!(listed("used").contains(&"model.norm.weight, f32 in model.safetensors".to_owned()), "{told}");
    assert!(told.contains("missing     12 tensors") && told.contains("unexpected  8 tensors"), "{told}");

    let run = workshop.run(&["inspect", "model", "--json"]);
    run.failure();
    let facts: Value = serde_json::from_str(&run.stdout()).unwrap();
    assert_eq!(facts["problems"]["missing"].as_array().unwrap().len(), 12);
    assert!(facts["problem"].as_str().unwrap().contains("model.layers.1."), "{facts}");
    // Loading says the same in short, and where the rest is.
    let message = workshop.run(&["ask", "clip", "What?"]).failure();
    assert!(message.contains("and 7 more") && message.contains("inspect FOLDER --tensors"), "{message}");
}

#[test]
fn a_checkpoint_without_a_usable_tokenizer_tells_the_rest() {
    let workshop = Workshop::new();
    let tokenizer = workshop.path("model").join("tokenizer.json");
    let ids = "ids of the situation tokens";
    let told = workshop.run(&["inspect", "model"]).success();
    assert!(told.contains(&format!("choice      {ids}: <Pos> ")), "{told}");
    let spoil: [fn(&Path); 2] =
        [|file| std::fs::write(file, "[]").unwrap(), |file| std::fs::remove_file(file).unwrap()];
    for spoil in spoil {
        spoil(&tokenizer);
        let run = workshop.run(&["inspect", "model"]);
        assert!(run.failure().contains("tokenizer.json"), "{}", run.stderr());
        let unknown = format!("choice      {ids}: unknown (tokenizer.json)");
        for part in ["model       tiny", "memory      as f32: ", "tensors     ", &unknown] {
            assert!(run.stdout().contains(part), "{part} is missing in\n{}", run.stdout());
        }
        let run = workshop.run(&["inspect", "model", "--json"]);
        run.failure();
        let facts: Value = serde_json::from_str(&run.stdout()).unwrap();
        assert!(facts["problem"].as_str().unwrap().contains("tokenizer.json"), "{facts}");
        let choices = facts["choices"].as_array().unwrap();
        let told = choices.iter().find(|choice| choice["name"] == ids).unwrap();
        assert_eq!((told["value"].as_str(), told["origin"].as_str()), (Some("unknown"), Some("tokenizer")));
    }
}

#[test]
fn the_bundled_model_tells_what_it_knows_of_itself() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/models/loc3r-mini");
    let told = Workshop::new().run(&["inspect", folder.to_str().unwrap()]).success();
    for part in [
        "model       loc3r-mini",
        "notice      Preview",
        "familiarity clips farther than",
        "video       32 frames of 128 x 128 pixels",
        "answers     greedy",
        "tensors     2 in familiarity",
        "in camera_encoder",
        "training    ",
    ] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    assert!(!told.contains("missing") && !told.contains("unexpected"), "{told}");
}
