//! The whole model on the tiny configuration: video in, replies out, checkpoints,
//! reuse of the video prefix, gradients, bad input.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use loc3r::geometry::{BevPoint, ImageSize, Orientation};
use loc3r::model::camera::{self, CameraInput};
use loc3r::model::config::{CameraEncoderConfig, ModelConfig, NewlineMode, Qwen2Config};
use loc3r::model::odometry::OdometryConfig;
use loc3r::model::qwen2::{KvCache, PassOptions};
use loc3r::model::sequence::VisualLayout;
use loc3r::model::{
    Clip, Loc3rModel, ModelError, Network, Query, Reply, ReplyStep, SeededVariables, TextTokenizer,
    VideoEncoding, VideoStep, checkpoint,
};
use loc3r::qa::Situation;
use loc3r::video::{Frame, FrameIndex, VideoInfo};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const DEVICE: Device = Device::Cpu;

/// The tiny model with camera tokens and row newlines: every kind of variable is there.
pub(crate) fn full_config() -> ModelConfig {
    let names = |names: [&str; 2]| names.map(str::to_owned).to_vec();
    ModelConfig {
        camera: CameraEncoderConfig::Odometry(OdometryConfig::new(
            names(["sofa", "lamp"]),
            names(["red", "blue"]),
        )),
        camera_token_dim: 64,
        newline: NewlineMode::Grid,
        language: Qwen2Config { tie_word_embeddings: false, ..ModelConfig::tiny().language },
        ..ModelConfig::tiny()
    }
}

pub(crate) fn clip(seed: u64) -> Clip {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let size = ImageSize::new(48, 36);
    let frames: Vec<Frame> = (0..4)
        .map(|index| Frame {
            index: FrameIndex(10 * index),
            pts_secs: f64::from(index),
            size,
            rgb: (0..3 * size.pixels()).map(|_| rng.random()).collect::<Vec<u8>>().into(),
        })
        .collect();
    let info = VideoInfo {
        path: format!("clip{seed}.mp4").into(),
        size,
        pts_secs: (0..40).map(|i| f64::from(i) * 0.1).collect(),
        keyframes: vec![FrameIndex(0)],
        rotation_degrees: 0,
        codec: "h264".to_owned(),
        container: "mp4".to_owned(),
        warnings: Vec::new(),
    };
    Clip { info, frames, between: Vec::new(), token_points: None }
}

fn query(situation: Option<&str>, question: &str) -> Query {
    Query {
        situation: situation.map(str::to_owned),
        question: question.to_owned(),
        choices: Vec::new(),
        placed: None,
        max_new_tokens: 6,
    }
}

fn encode(model: &Loc3rModel, clip: &Clip) -> VideoEncoding {
    model.encode_video(clip, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn ask(model: &Loc3rModel, video: &VideoEncoding, query: &Query) -> Reply {
    let reply = model.ask(video, query, &mut |_| ControlFlow::Continue(())).unwrap();
    Reply { prefill_ms: 0.0, generate_ms: 0.0, ..reply }
}

#[test]
fn a_clip_becomes_a_layout_and_an_answer() {
    let model = Loc3rModel::random(&full_config(), 7, &DEVICE).unwrap();
    let mut steps = Vec::new();
    let (mut reached, mut tokens) = (Vec::new(), Vec::new());
    let video = model
        .encode_video(&clip(1), &mut |step| {
            steps.push(match step {
                VideoStep::Vision { .. } => 'v',
                VideoStep::Camera { so_far, .. } => {
                    reached.push(so_far.len());
                    'c'
                }
                VideoStep::Strangeness(_) => 's',
                VideoStep::Warning(message) => panic!("{message}"),
                VideoStep::Cameras(cameras, points) => {
                    assert_eq!(cameras.len(), 4);
                    assert_eq!(points.points.len(), 4 * 8 * 8);
                    'C'
                }
                VideoStep::Prefill { so_far, .. } => {
                    tokens.push(so_far.clone());
                    'p'
                }
            });
            ControlFlow::Continue(())
        })
        .unwrap();
    steps.dedup();
    assert_eq!(steps, ['v', 'c', 'C', 'p']);
    // The camera path grows frame by frame.
    assert_eq!(reached, [0, 1, 2, 3, 4]);
    assert!(tokens.first().unwrap().tokens.is_empty());
    assert_eq!(tokens.last(), Some(&video.layout));
    assert_eq!(video.layout.grid, (2, 2));
    assert_eq!(video.layout.tokens.len(), 4 * 4);
    assert_eq!(video.layout.tokens[5].frame, FrameIndex(10));
    assert!(video.layout.tokens.iter().all(|token| token.sigma.x > 0.0 && token.position.x.is_finite()));
    assert_eq!(video.sight_rgb.len(), 4 * 32 * 32 * 3);
    assert_eq!(video.cameras[3].frame, FrameIndex(30));
    assert_eq!(video.tokens_per_frame, 1 + 2 * 3);

    let mut streamed = String::new();
    let mut situation = None;
    let reply = model
        .ask(&video, &query(Some("I am on the sofa"), "What is on my left?"), &mut |step| {
            match step {
                ReplyStep::Prefill { .. } => assert!(situation.is_none()),
                ReplyStep::Situation(estimate) => situation = Some(estimate.clone()),
                ReplyStep::Piece(piece) => streamed.push_str(piece),
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(streamed.trim(), reply.text);
    assert_eq!(situation.as_ref(), reply.estimate.as_ref());
    let estimate = reply.estimate.as_ref().unwrap();
    assert!((estimate.orientation.0.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    assert!(reply.prompt.contains("<image>\nI am on the sofa <Pos><Ori> What is on my left?"));
    assert_eq!(reply.reused_tokens, video.prefix_tokens);
    assert!(reply.prompt_tokens > reply.reused_tokens && reply.generated_tokens <= 6);
    assert!(reply.confidence > 0.0 && reply.confidence <= 1.0);
}

#[test]
fn placed_situations_are_repeated_exactly() {
    let model = Loc3rModel::random(&ModelConfig::tiny(), 7, &DEVICE).unwrap();
    let video = encode(&model, &clip(1));
    let placed =
        Situation { position: BevPoint::new(1.5, -2.0), orientation: Orientation::from_degrees(33.0) };
    let reply = ask(&model, &video, &Query { placed: Some(placed), ..query(None, "Where am I?") });
    assert_eq!(reply.estimate.unwrap().situation, placed);
}

#[test]
fn questions_in_any_order_reply_like_a_cold_run_and_videos_never_mix() {
    let model = Loc3rModel::random(&full_config(), 3, &DEVICE).unwrap();
    let clips = [clip(1), clip(2)];
    let questions = [
        query(None, "What is on my left?"),
        query(Some("I am on the sofa"), "What is on my left?"),
        query(Some("I am on the sofa"), "How many chairs are there in this room?"),
        query(None, "Is the lamp red?"),
    ];
    let cold: Vec<Vec<Reply>> = clips
        .iter()
        .map(|clip| questions.iter().map(|question| ask(&model, &encode(&model, clip), question)).collect())
        .collect();
    assert_ne!(cold[0][0].estimate, cold[1][0].estimate);
    let videos = clips.each_ref().map(|clip| encode(&model, clip));
    // All orders of four questions, alternating between the videos.
    for order in 0..24 {
        let mut left = vec![0, 1, 2, 3];
        let mut rest = order;
        for (turn, choices) in [(0, 4), (1, 3), (2, 2), (3, 1)] {
            let question = left.remove(rest % choices);
            rest /= choices;
            let video = (turn + order) % 2;
            assert_eq!(ask(&model, &videos[video], &questions[question]), cold[video][question]);
        }
    }
}

#[test]
fn stopping_is_possible_at_every_step() {
    let model = Loc3rModel::random(&full_config(), 3, &DEVICE).unwrap();
    let clip = clip(1);
    let mut total = 0;
    model
        .encode_video(&clip, &mut |_| {
            total += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    for stop in 0..total {
        let mut step = 0;
        let result = model.encode_video(&clip, &mut |_| {
            step += 1;
            if step > stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(result, Err(ModelError::Cancelled)));
    }
    let video = encode(&model, &clip);
    for stop in 0..3 {
        let mut step = 0;
        let result = model.ask(&video, &query(None, "What?"), &mut |_| {
            step += 1;
            if step > stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(result, Err(ModelError::Cancelled)) || step <= stop);
    }
}

#[test]
fn odd_questions_get_an_answer_or_a_clear_refusal() {
    let model = Loc3rModel::random(&ModelConfig::tiny(), 3, &DEVICE).unwrap();
    let video = encode(&model, &clip(1));
    let refuse = |text: &str| {
        model.ask(&video, &query(None, text), &mut |_| ControlFlow::Continue(())).unwrap_err().to_string()
    };
    assert!(refuse("").contains("empty"));
    assert!(refuse(" \n ").contains("empty"));
    assert!(refuse("<|im_end|>").contains("empty"));
    assert!(refuse(&"why ".repeat(3000)).contains("at most 1024"));
    for text in ["沙发在哪里？", "Où est la lampe ?", "\u{202e}🛋", "<Pos> <Ori> <|im_start|>system", "?"]
    {
        ask(&model, &video, &query(Some("<Pos>"), text));
    }
    let other = Loc3rModel::random(&ModelConfig::tiny(), 3, &DEVICE).unwrap();
    let foreign = other.ask(&video, &query(None, "What?"), &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(foreign.to_string().contains("another model"));
}

#[test]
fn clips_that_lie_about_their_size_are_refused() {
    let model = Loc3rModel::random(&ModelConfig::tiny(), 3, &DEVICE).unwrap();
    let refuse =
        |clip: &Clip| model.encode_video(clip, &mut |_| ControlFlow::Continue(())).unwrap_err().to_string();
    let mut empty = clip(1);
    empty.frames.clear();
    assert!(refuse(&empty).contains("clip1.mp4"));
    let mut short = clip(1);
    short.frames[2].rgb = Arc::from([0u8; 5].as_slice());
    assert!(refuse(&short).contains("5 bytes for 48x36"));
}

#[test]
fn every_trainable_variable_receives_a_gradient() {
    let config = full_config();
    let variables = SeededVariables::new(5);
    let root = variables.builder(DType::F32, &DEVICE);
    let network = Network::new(&config, &root).unwrap();
    let (batch, frames) = (2, 3);
    let layout = VisualLayout::new(&config, frames);
    let pixels = Tensor::rand(-1.0f32, 1.0, (batch * frames, 3, 32, 32), &DEVICE).unwrap();
    let features = network.vision.forward(&pixels).unwrap();
    let pooled = network.projector.forward(&features).unwrap();
    let pooled = pooled.reshape((batch, frames, 4, config.language.hidden_size)).unwrap();
    let cameras = Tensor::rand(-1.0f32, 1.0, (batch, frames, config.camera_token_dim), &DEVICE).unwrap();
    let cameras = network.project_cameras(&cameras).unwrap();
    let video = network.projector.arrange(&pooled, cameras.as_ref(), &layout).unwrap();
    let text = Tensor::new(&[[5u32, 6, 7, 8], [9, 10, 11, 12]], &DEVICE).unwrap();
    // The prefix runs once, two continuations per video go through it.
    let mut cache = KvCache::new();
    let prefix = network.language.forward_embeds(&video, &mut cache).unwrap();
    let text = network.language.embed(&Tensor::cat(&[&text, &text], 1).unwrap()).unwrap();
    let options = PassOptions { continuations: Some(4), ..PassOptions::default() };
    let hidden = network.language.forward_with(&text, &mut cache, options).unwrap().last;
    let row = |at| hidden.narrow(1, at, 1).unwrap();
    let heads = network.heads().unwrap();
    let (bev, position) = (heads.layout(&prefix).unwrap(), heads.position(&row(0)).unwrap());
    let parts = [
        bev.mean,
        heads.log_variance(&bev.raw).unwrap(),
        position.mean,
        heads.log_variance(&position.raw).unwrap(),
        heads.orientation(&row(1)).unwrap(),
        network.language.logits(&row(3)).unwrap(),
    ];
    let loss = parts
        .iter()
        .map(|part| part.sqr().unwrap().mean_all().unwrap())
        .reduce(|sum, part| (sum + part).unwrap())
        .unwrap();
    let gradients = loss.backward().unwrap();
    let map = variables.var_map();
    let data = map.data().lock().unwrap();
    let named: BTreeMap<_, _> = data.iter().collect();
    assert!(named.len() > 50);
    for (name, variable) in named {
        let gradient = gradients.get(variable).unwrap_or_else(|| panic!("{name} has no gradient"));
        let size = gradient.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        // A shift of all keys moves every score alike: its gradient is zero by nature.
        assert!(size > 0.0 || name.ends_with("k_proj.bias"), "{name} has a zero gradient");
    }
}

#[test]
fn continuations_packed_side_by_side_equal_single_ones() {
    let config = ModelConfig::tiny();
    let network = Network::new(&config, &SeededVariables::new(5).builder(DType::F32, &DEVICE)).unwrap();
    let width = config.language.hidden_size;
    let (prefix, rows, copies) = (5usize, 3usize, 2usize);
    let prefix_embeds = Tensor::rand(-1.0f32, 1.0, (1, prefix, width), &DEVICE).unwrap();
    let texts = Tensor::rand(-1.0f32, 1.0, (copies, rows, width), &DEVICE).unwrap();
    let mut cache = KvCache::new();
    network.language.forward_embeds(&prefix_embeds, &mut cache).unwrap();
    let apart: Vec<Tensor> = (0..copies)
        .map(|k| {
            network.language.forward_embeds(&texts.narrow(0, k, 1).unwrap(), &mut cache.clone()).unwrap()
        })
        .collect();
    let apart = Tensor::cat(&apart, 0).unwrap();
    let options = PassOptions { continuations: Some(rows), ..PassOptions::default() };
    let packed = texts.reshape((1, copies * rows, width)).unwrap();
    let packed = network.language.forward_with(&packed, &mut cache.clone(), options).unwrap().last;
    let packed = packed.reshape((copies, rows, width)).unwrap();
    let difference = (packed - apart).unwrap().abs().unwrap().max_all().unwrap();
    assert!(difference.to_scalar::<f32>().unwrap() < 1e-5, "{difference}");
}

/// Writes a checkpoint of random weights and hands its tensors to `change` first.
pub(crate) fn write_checkpoint(folder: &Path, change: impl Fn(&mut BTreeMap<String, Tensor>)) -> ModelConfig {
    let config = full_config();
    let variables = SeededVariables::new(11);
    let root = variables.builder(DType::F32, &DEVICE);
    Network::new(&config, &root).unwrap();
    camera::build(&config, root.pp("camera_encoder")).unwrap();
    let mut tensors = crate::checkpoints::tensors_of(&variables);
    change(&mut tensors);
    let tokenizer = TextTokenizer::train(std::iter::once("the sofa".to_owned()), 300).unwrap();
    checkpoint::save(folder, &config, &tokenizer, &tensors, DType::F16).unwrap();
    config
}

#[test]
fn a_saved_checkpoint_replies_the_same_each_time_it_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    write_checkpoint(folder.path(), |_| {});
    let reply = || {
        let model = Loc3rModel::load(folder.path(), &DEVICE).unwrap();
        assert!(model.parameters() > 10_000);
        let video = encode(&model, &clip(1));
        ask(&model, &video, &query(None, "What is this?"))
    };
    assert_eq!(reply(), reply());
}

#[test]
fn checkpoints_under_other_published_names_load() {
    let folder = tempfile::tempdir().unwrap();
    write_checkpoint(folder.path(), |tensors| {
        let old = std::mem::take(tensors);
        tensors.extend(old.into_iter().map(|(name, tensor)| {
            let name = name
                .replace("model.vision_tower.vision_tower.", "vision_tower.")
                .replace("model.mm_projector.0", "multi_modal_projector.linear_1")
                .replace("model.layers.", "language_model.model.layers.")
                .replace("lm_head.", "language_model.lm_head.")
                .replace("model.f_cam.", "model.camera_projector.")
                .replace("model.f_proj.", "model.layout_head.")
                .replace("model.f_pos.", "position.")
                .replace("model.f_ori.", "orientation.");
            (name, tensor)
        }));
    });
    Loc3rModel::load(folder.path(), &DEVICE).unwrap();
    let told = checkpoint::examine(folder.path(), &DEVICE).unwrap();
    let names = told.choices.iter().find(|choice| choice.name == "names of Loc3R's layers").unwrap();
    assert!(names.value.contains("position.0.weight as model.f_pos.0.weight"), "{names}");
}

#[test]
fn broken_checkpoints_name_file_and_tensor() {
    let message = |change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
        let folder = tempfile::tempdir().unwrap();
        write_checkpoint(folder.path(), change);
        let message = Loc3rModel::load(folder.path(), &DEVICE).unwrap_err().to_string();
        assert!(message.contains("model.safetensors"), "{message}");
        message
    };
    let missing = message(&|tensors| drop(tensors.remove("model.norm.weight")));
    assert!(missing.contains("missing: model.norm.weight"), "{missing}");
    let extra = message(&|tensors| {
        let copy = tensors["model.norm.weight"].clone();
        tensors.insert("model.layers.9.extra".to_owned(), copy);
    });
    assert!(extra.contains("unexpected: model.layers.9.extra"), "{extra}");
    let shape = message(&|tensors| {
        let wrong = Tensor::zeros((3, 5), DType::F32, &DEVICE).unwrap();
        tensors.insert("model.f_proj.weight".to_owned(), wrong);
    });
    assert!(
        shape.contains("model.f_proj.weight is [3, 5] in model.safetensors, the model needs [4, 32]"),
        "{shape}"
    );
    let nan = message(&|tensors| {
        let bad = Tensor::full(f32::NAN, 4, &DEVICE).unwrap();
        tensors.insert("model.f_proj.bias".to_owned(), bad);
    });
    assert!(nan.contains("NaN") && nan.contains("model.f_proj.bias"), "{nan}");
}

#[test]
fn damaged_checkpoint_folders_are_refused() {
    let message = |break_it: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        write_checkpoint(folder.path(), |_| {});
        break_it(folder.path());
        Loc3rModel::load(folder.path(), &DEVICE).unwrap_err().to_string()
    };
    let replace =
        |folder: &Path, file: &str, content: &[u8]| std::fs::write(folder.join(file), content).unwrap();
    assert!(message(&|folder| replace(folder, "config.json", b"{}")).contains("config.json"));
    assert!(message(&|folder| replace(folder, "config.json", b"\xff")).contains("config.json"));
    assert!(message(&|folder| replace(folder, "tokenizer.json", b"[]")).contains("tokenizer.json"));
    assert!(message(&|folder| replace(folder, "model.safetensors", b"")).contains("model.safetensors"));
    assert!(
        message(&|folder| replace(folder, "model.safetensors", &[0xff; 64])).contains("model.safetensors")
    );
    assert!(
        message(&|folder| std::fs::remove_file(folder.join("model.safetensors")).unwrap())
            .contains("there is no")
    );
    let truncated = message(&|folder| {
        let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
        replace(folder, "model.safetensors", &bytes[..bytes.len() / 2]);
    });
    assert!(truncated.contains("model.safetensors"), "{truncated}");
    let index = message(&|folder| {
        replace(folder, "model.safetensors.index.json", br#"{"weight_map": {"a": "../secret.safetensors"}}"#);
    });
    assert!(index.contains("secret"), "{index}");
    let tokenizer = message(&|folder| {
        let other =
            TextTokenizer::train(std::iter::repeat_n("a lamp and a lamp".to_owned(), 9), 300).unwrap();
        other.save(&folder.join("tokenizer.json")).unwrap();
    });
    assert!(tokenizer.contains("take the tokenizer of this checkpoint"), "{tokenizer}");
}

#[test]
fn camera_tokens_have_the_configured_width() {
    let config = full_config();
    let root = SeededVariables::new(2).builder(DType::F32, &DEVICE);
    let encoder = camera::build(&config, root).unwrap().unwrap();
    let input = CameraInput {
        features: &Tensor::rand(-1.0f32, 1.0, (2, 16, 32), &DEVICE).unwrap(),
        pixels: &Tensor::rand(-1.0f32, 1.0, (2, 3, 32, 32), &DEVICE).unwrap(),
        frame_size: ImageSize::new(640, 480),
        secs: &[0.0, 0.3],
        frames: &[FrameIndex(0), FrameIndex(9)],
        sampled: &[0, 1],
    };
    let output = encoder.encode(&input, &mut |_| true).unwrap().unwrap();
    assert_eq!(output.tokens.dims(), [2, 64]);
    assert_eq!(output.poses.len(), 2);
    assert!(encoder.encode(&input, &mut |_| false).unwrap().is_none());
}
