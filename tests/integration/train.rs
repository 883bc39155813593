//! The trainer on the tiny preset: every variable learns, one batch can be learned by
//! heart, a stopped run goes on with the identical next step.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use loc3r::model::{ModelConfig, TrainedStage, TrainingRun, TrainingStart};
use loc3r::train::calibration::POSITION_BIAS;
use loc3r::train::feed::BatchSource as _;
use loc3r::train::follow::RunFollower;
use loc3r::train::joint_batch::Lesson;
use loc3r::train::joint_stage::JointStage;
use loc3r::train::optimizer::AdamW;
use loc3r::train::pipeline::{self, TrainedModel};
use loc3r::train::stage::Stage;
use loc3r::train::{
    Metrics, RunDir, StageKind, TrainConfig, TrainError, TrainEvent, dense_stage::DenseStage, origin,
};
use loc3r::worker::CancelFlag;

/// The preset with the smallest model and so little of everything that a stage takes
/// seconds; `assignments` come on top.
fn tiny(assignments: &[&str]) -> TrainConfig {
    const SMALL: [&str; 32] = [
        "model=tiny",
        "micro_batches=1",
        "tower.muon=0.0",
        "camera.muon=0.0",
        "joint.muon=0.0",
        "validation.every=10",
        "validation.clips=2",
        "tower.steps=20",
        "tower.clips=2",
        "tower.views=2",
        "tower.reuse=2",
        "tower.pool_steps=2",
        "camera.steps=10",
        "camera.learning_rate=1e-3",
        "camera.views=3",
        "camera.pool_steps=2",
        "joint.steps=10",
        "joint.clips=1",
        "joint.situations=4",
        "joint.reuse=1",
        "joint.pool_steps=1",
        "joint.mention_layer=1",
        "joint.word_steps=2",
        "joint.match_gain=2.0",
        "joint.weights.referring=1.0",
        "joint.weights.gaze=1.0",
        "joint.weights.front=1.0",
        "joint.weights.color=0.5",
        "joint.weights.early_layout=0.5",
        "joint.weights.pointing=0.5",
        "joint.weights.words=0.5",
        "joint.weights.answer=1.0",
    ];
    let all: Vec<String> = SMALL.iter().chain(assignments).map(|&text| text.to_owned()).collect();
    TrainConfig::preset("tiny").unwrap().with(&all).unwrap()
}

fn dense(kind: StageKind, config: &TrainConfig, model: &TrainedModel) -> DenseStage {
    DenseStage::new(kind, config, &model.config, &model.network, &model.camera, &model.variables)
}

fn joint(folder: &Path, config: &TrainConfig, model: &TrainedModel) -> JointStage {
    let run = RunDir::create(&folder.join("run"), config).unwrap();
    let maker = pipeline::sample_maker(&run, config, model).unwrap();
    JointStage::new(config, maker, &model.variables).unwrap()
}

/// Variables of a stage without gradient over a few batches.
fn without_gradient<S: Stage>(stage: &S) -> BTreeSet<String> {
    let mut source = stage.source();
    let mut missing: BTreeSet<String> = stage.trainable().into_iter().map(|(name, _)| name).collect();
    for step in 0..3 {
        let gradients = stage.loss(&source.batch(step).unwrap()).unwrap().total.backward().unwrap();
        for (name, var) in stage.trainable() {
            let reached = gradients.get(var.as_tensor()).is_some_and(|gradient| {
                gradient
                    .abs()
                    .unwrap()
                    .sum_all()
                    .unwrap()
                    .to_dtype(DType::F32)
                    .unwrap()
                    .to_scalar::<f32>()
                    .unwrap()
                    > 0.0
            });
            if reached {
                missing.remove(&name);
            }
        }
    }
    missing
}

/// Loss of one batch before and after some steps on it.
fn overfit<S: Stage>(config: &TrainConfig, stage: &S, steps: usize) -> (f32, f32) {
    let batch = stage.source().batch(0).unwrap();
    let mut optimizer = AdamW::new(stage.trainable(), config.optimizer).unwrap();
    let loss = |stage: &S| stage.loss(&batch).unwrap().total;
    let before = loss(stage).to_scalar::<f32>().unwrap();
    for _ in 0..steps {
        optimizer.backward_step(&loss(stage), 3e-3).unwrap();
    }
    (before, loss(stage).to_scalar::<f32>().unwrap())
}

#[test]
fn every_trainable_variable_of_the_tower_and_the_camera_learns() {
    let config =
        tiny(&["camera.weights.point=0.2", "camera.weights.category=0.1", "camera.weights.color=0.1"]);
    let model = TrainedModel::new(&config, &Device::Cpu).unwrap();
    for kind in [StageKind::Tower, StageKind::Camera] {
        let missing = without_gradient(&dense(kind, &config, &model));
        assert!(missing.is_empty(), "{}: {missing:?}", kind.name());
    }
}

#[test]
fn every_trainable_variable_of_the_joint_stage_learns() {
    // The smallest preset has no layers in which questions could look at the person.
    let config = tiny(&["model=tour", "joint.word_steps=0", "joint.weights.egocentric=1.0"]);
    let model = TrainedModel::new(&config, &Device::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let stage = joint(folder.path(), &config, &model);
    let missing = without_gradient(&stage);
    assert!(missing.is_empty(), "{missing:?}");

    let settings = ["joint.word_steps=0", "joint.geometry_cue=truth", "joint.camera=none"];
    let cued = tiny(&[&settings[..], &["model=tour", "joint.weights.egocentric=1.0"]].concat());
    let model = TrainedModel::new(&cued, &Device::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cued = joint(folder.path(), &cued, &model);
    let missing = without_gradient(&cued);
    assert!(
        missing.is_empty() && cued.trainable().iter().any(|(name, _)| name.contains("f_point")),
        "{missing:?}"
    );
    let trained: BTreeSet<String> = stage.trainable().into_iter().map(|(name, _)| name).collect();
    assert!(trained.iter().all(|name| !name.contains("vision_tower") && !name.contains("camera_encoder")));
}

#[test]
fn one_batch_is_learned_by_heart() {
    let config = tiny(&["data.augment=false", "joint.word_steps=0"]);
    let model = TrainedModel::new(&config, &Device::Cpu).unwrap();
    let (before, after) = overfit(&config, &dense(StageKind::Tower, &config, &model), 40);
    assert!(after < 0.6 * before, "tower {before} -> {after}");
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = overfit(&config, &joint(folder.path(), &config, &model), 40);
    assert!(after < 0.6 * before, "joint {before} -> {after}");
}

#[test]
fn at_first_only_the_projector_learns_and_only_words() {
    let config = tiny(&["joint.word_steps=1"]);
    let model = TrainedModel::new(&config, &Device::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let stage = joint(folder.path(), &config, &model);
    let mut source = stage.source();
    let batches: Vec<_> = (0..=config.micro_batches as u64).map(|step| source.batch(step).unwrap()).collect();
    assert!(batches[..config.micro_batches].iter().all(|batch| batch.lesson == Lesson::Words));
    assert_eq!(batches[config.micro_batches].lesson, Lesson::All);
    let gradients = stage.loss(&batches[0]).unwrap().total.backward().unwrap();
    for (name, var) in stage.trainable() {
        assert_eq!(gradients.get(var.as_tensor()).is_some(), name.contains("mm_projector"), "{name}");
    }
}

#[test]
fn heads_learn_before_the_layers_that_they_read() {
    let own = ["model=tour", "joint.word_steps=1", "joint.head_steps=1", "joint.weights.egocentric=1.0"];
    let config = tiny(&own);
    let model = TrainedModel::new(&config, &Device::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let stage = joint(folder.path(), &config, &model);
    let mut source = stage.source();
    let lessons: Vec<_> =
        (0..3 * config.micro_batches as u64).map(|step| source.batch(step).unwrap()).collect();
    let lessons: Vec<_> = lessons.chunks(config.micro_batches).map(|batches| &batches[0]).collect();
    assert_eq!(
        lessons.iter().map(|batch| batch.lesson).collect::<Vec<_>>(),
        [Lesson::Words, Lesson::Heads, Lesson::All]
    );
    let gradients = stage.loss(lessons[1]).unwrap().total.backward().unwrap();
    let is_head =
        |name: &str| ["f_pos", "f_proj", "f_ori", "training."].iter().any(|part| name.contains(part));
    let learns = |(name, var): &(String, Var)| {
        assert_eq!(gradients.get(var.as_tensor()).is_some(), is_head(name), "{name}");
        is_head(name)
    };
    assert!(stage.trainable().iter().filter(|variable| learns(variable)).count() > 9);
}

fn losses(events: &[TrainEvent]) -> Vec<(String, u64, Metrics)> {
    events
        .iter()
        .filter_map(|event| match event {
            TrainEvent::Step { stage, step, metrics, .. } => Some((stage.clone(), *step, metrics.clone())),
            _ => None,
        })
        .collect()
}

#[test]
fn a_stopped_run_goes_on_with_the_identical_next_step() {
    let config = tiny(&["tower.steps=5", "camera.steps=2", "joint.steps=4", "validation.clips=1"]);
    let folder = tempfile::tempdir().unwrap();
    let mut whole = Vec::new();
    let run = RunDir::create(&folder.path().join("whole"), &config).unwrap();
    pipeline::train(&run, &config, &Device::Cpu, &CancelFlag::default(), &mut |event| {
        whole.push(event.clone());
    })
    .unwrap();

    let mut parts = Vec::new();
    let run = RunDir::create(&folder.path().join("parts"), &config).unwrap();
    for stop_at in [("tower", 2), ("camera", 1), ("joint", 3), ("never", 0)] {
        let stop = CancelFlag::default();
        let outcome = pipeline::train(&run, &config, &Device::Cpu, &stop.clone(), &mut |event| {
            parts.push(event.clone());
            if let TrainEvent::Step { stage, step, .. } = event
                && (stage.as_str(), *step) == stop_at
            {
                stop.raise();
            }
        });
        assert!(matches!(outcome, Ok(()) | Err(TrainError::Stopped { .. })), "{outcome:?}");
    }
    assert_eq!(losses(&whole), losses(&parts));
}

#[test]
fn a_finished_run_goes_on_when_it_is_given_more_steps() {
    let folder = tempfile::tempdir().unwrap();
    let short = tiny(&["tower.steps=1", "camera.steps=1", "joint.steps=1", "validation.clips=1"]);
    let run = RunDir::create(&folder.path().join("run"), &short).unwrap();
    let steps_of = |config: &TrainConfig| {
        let mut taken = Vec::new();
        pipeline::train(&run, config, &Device::Cpu, &CancelFlag::default(), &mut |event| {
            if let TrainEvent::Step { stage, step, .. } = event {
                taken.push((stage.clone(), *step));
            }
        })
        .unwrap();
        taken
    };
    assert_eq!(steps_of(&short).len(), 3);
    assert_eq!(steps_of(&short), []);
    let longer = short.with(&["joint.steps=3".to_owned()]).unwrap();
    assert_eq!(steps_of(&longer), [("joint".to_owned(), 2), ("joint".to_owned(), 3)]);
}

#[test]
fn a_validation_of_the_joint_stage_leaves_rooms_for_whoever_follows_the_run() {
    let only = "stages=[\"joint\"]";
    let config = tiny(&[only, "joint.steps=2", "validation.every=1", "validation.clips=3"]);
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(&folder.path().join("run"), &config).unwrap();
    let mut told = Vec::new();
    pipeline::train(&run, &config, &Device::Cpu, &CancelFlag::default(), &mut |event| {
        if let TrainEvent::Scenes(snapshot) = event {
            told.push(snapshot.clone());
        }
    })
    .unwrap();
    let mut follower = RunFollower::new(run.path());
    follower.look().unwrap();
    assert_eq!(follower.snapshots(), [1, 2]);
    assert_eq!(told, [follower.scenes(1).unwrap(), follower.scenes(2).unwrap()]);
    let model = TrainedModel::new(&config, &Device::Cpu).unwrap().config;
    let tokens = model.num_frames as usize * model.token_grid().pow(2);
    for (k, room) in told[0].scenes.iter().enumerate() {
        assert_eq!(room.seed, config.validation.first_seed + k as u64);
        assert_eq!((room.predicted.len(), room.targets.len(), room.colors.len()), (tokens, tokens, tokens));
        assert_eq!(room.cameras.len(), model.num_frames as usize);
        // Truth and cameras are in one space, whose origin is the first camera.
        assert!(room.cameras[0].position.length() < 1e-3);
        assert!(room.truth.track.poses[0].position.length() < 1e-3);
        let apart = room.cameras.iter().zip(&room.truth.track.poses);
        assert!(apart.clone().count() > 1);
        for (given, truth) in apart {
            assert!(given.position.distance(truth.position) < 5e-3, "{given:?} {truth:?}");
        }
        assert!(!room.situations.is_empty() && room.situations[0].text.len() > 10);
        assert!(room.pairs().count() > tokens / 2 && room.floor_height < -1.0);
    }
    assert_eq!(told[0].scenes.len(), 3);
    // A step moves what is predicted and nothing that is true.
    let [before, after] = [0, 1].map(|k| &told[k].scenes[0]);
    assert_ne!(before.predicted, after.predicted);
    assert_eq!((&before.targets, &before.truth), (&after.targets, &after.truth));
}

#[test]
fn a_finished_run_becomes_a_checkpoint_that_the_model_loads() {
    let config = tiny(&["tower.steps=1", "camera.steps=1", "joint.steps=1", "validation.clips=1"]);
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(&folder.path().join("run"), &config).unwrap();
    pipeline::train(&run, &config, &Device::Cpu, &CancelFlag::default(), &mut |_| ()).unwrap();
    let model = folder.path().join("model");
    loc3r::train::export::export(&run, &config, &model).unwrap();
    let loaded = loc3r::model::Loc3rModel::load(&model, &Device::Cpu).unwrap();
    assert_eq!(loaded.config().camera_token_dim, 32);
    // Every stated spread is the trained one times one factor; means stay.
    let bias = |file: &Path| {
        let tensors = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
        let bias = tensors["model.f_pos.2.bias"].to_dtype(DType::F32).unwrap();
        bias.to_vec1::<f32>().unwrap()
    };
    let trained = bias(&run.checkpoint("joint").join("model.safetensors"));
    let told = bias(&model.join("model.safetensors"));
    let moved: Vec<f32> = told.iter().zip(&trained).map(|(told, trained)| told - trained).collect();
    assert!(moved[0].abs() < 1e-3 && moved[1].abs() < 1e-3, "{moved:?}");
    assert!((moved[2] - moved[3]).abs() < 1e-2 && moved[2].abs() > 1e-2, "{moved:?}");
    // It knows what its own rooms look like, and that pictures of one colour are none.
    let familiarity = loaded.network().familiarity.as_ref().unwrap();
    let strangeness =
        |pixels: Tensor| familiarity.strangeness(&loaded.network().vision.forward(&pixels).unwrap()).unwrap();
    let side = loaded.config().vision.image_size;
    for color in [[0f32; 3], [1.0, -1.0, -1.0], [-1.0, -1.0, 1.0]] {
        let one = Tensor::new(&color, &Device::Cpu).unwrap().reshape((1, 3, 1, 1)).unwrap();
        let strange = strangeness(one.broadcast_as((2, 3, side, side)).unwrap().contiguous().unwrap());
        assert!(strange > 1.0, "{color:?}: {strange}");
    }

    // A run that lacks a layer is not filled up with fresh weights.
    let file = run.checkpoint("joint").join("model.safetensors");
    let whole = std::fs::read(&file).unwrap();
    let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    tensors.retain(|name, _| !name.starts_with("model.layers.1."));
    candle_core::safetensors::save(&tensors, &file).unwrap();
    let refused = loc3r::train::export::export(&run, &config, &folder.path().join("larger"));
    assert!(refused.unwrap_err().to_string().contains("model.layers.1."));
    std::fs::write(&file, whole).unwrap();

    // The words of another run mean nothing to these weights, and new ones even less.
    let vocabulary = run.path().join("tokenizer.json");
    let learned = std::fs::read(&vocabulary).unwrap();
    std::fs::write(&vocabulary, "{}").unwrap();
    let refused = loc3r::train::export::export(&run, &config, &folder.path().join("other"));
    assert!(matches!(refused, Err(TrainError::Vocabulary { .. })), "{refused:?}");
    std::fs::remove_file(&vocabulary).unwrap();
    std::fs::remove_file(run.checkpoint("joint").join("tokenizer.json")).unwrap();
    let refused = loc3r::train::export::export(&run, &config, &folder.path().join("none"));
    assert!(matches!(refused, Err(TrainError::Vocabulary { .. })), "{refused:?}");
    std::fs::write(&vocabulary, learned).unwrap();
    loc3r::train::export::export(&run, &config, &model).unwrap();
}

/// What is noted of a start with `command`.
fn start(command: &str) -> TrainingStart {
    TrainingStart {
        command: command.to_owned(),
        seed: 1,
        version: "0.1.0".to_owned(),
        commit: Some("0123".to_owned()),
    }
}

/// A run of one start.
fn made_by(command: &str, stages: &[(&str, u64)]) -> TrainingRun {
    TrainingRun {
        stages: stages.iter().map(|&(name, steps)| TrainedStage { name: name.to_owned(), steps }).collect(),
        starts: vec![start(command)],
    }
}

#[test]
fn an_exported_model_is_where_a_new_run_begins() {
    let config = tiny(&["tower.steps=1", "camera.steps=1", "joint.steps=2", "validation.clips=1"]);
    let folder = tempfile::tempdir().unwrap();
    let first = RunDir::create(&folder.path().join("first"), &config).unwrap();
    pipeline::train(&first, &config, &Device::Cpu, &CancelFlag::default(), &mut |_| ()).unwrap();
    let behind_first = made_by("first", &[("tower", 1), ("camera", 1), ("joint", 2)]);
    origin::note_start(&first, start("first")).unwrap();
    let exported = folder.path().join("model");
    loc3r::train::export::export(&first, &config, &exported).unwrap();
    let json = std::fs::read(exported.join("config.json")).unwrap();
    let stored: ModelConfig = serde_json::from_slice(&json).unwrap();
    assert_eq!(stored.training, std::slice::from_ref(&behind_first));
    let loaded = loc3r::model::checkpoint::Checkpoint::load(&exported, DType::F32, &Device::Cpu).unwrap();
    assert_eq!(loaded.generation.min_new_tokens, 1);

    // Another seed: nothing here may come from fresh weights.
    let joint = |assignments: &[&str]| {
        let all = [&["stages=[\"joint\"]", "seed=9", "joint.steps=1"], assignments].concat();
        config.with(&all.into_iter().map(str::to_owned).collect::<Vec<_>>()).unwrap()
    };
    let more = folder.path().join("more");
    let (run, config) = pipeline::begin_with(&exported, &more, &joint(&["joint.word_steps=3"])).unwrap();
    assert_eq!((run.path(), config.joint.word_steps), (more.as_path(), 0));
    let weights = |run: &RunDir| {
        let path = run.checkpoint("joint").join("model.safetensors");
        candle_core::safetensors::load(path, &Device::Cpu).unwrap()
    };
    let (trained, begun) = (weights(&first), weights(&run));
    // The readers that only training has come along.
    let names = |tensors: &std::collections::HashMap<String, Tensor>| -> BTreeSet<String> {
        tensors.keys().cloned().collect()
    };
    assert_eq!(names(&trained), names(&begun));
    for (name, tensor) in begun.iter().filter(|(name, _)| *name != POSITION_BIAS) {
        let away = (tensor - &trained[name]).unwrap().abs().unwrap().flatten_all().unwrap();
        let away = away.max(0).unwrap().to_scalar::<f32>().unwrap();
        assert!(away < 1e-3, "{name}: {away}");
    }
    let mut stages = Vec::new();
    pipeline::train(&run, &config, &Device::Cpu, &CancelFlag::default(), &mut |event| {
        if let TrainEvent::StageStarted { stage, step, .. } = event {
            stages.push((stage.clone(), *step));
        }
    })
    .unwrap();
    assert_eq!(stages, [("joint".to_owned(), 0)]);
    // What made the model that it began with stays known.
    origin::note_start(&run, start("more")).unwrap();
    assert_eq!(origin::of_run(&run).unwrap(), [behind_first, made_by("more", &[("joint", 1)])]);
    // So it does where single stages are taken, from the model or from the run.
    let parts = RunDir::create(&folder.path().join("parts"), &config).unwrap();
    pipeline::adopt_stage(&parts, &config, &exported, StageKind::Tower).unwrap();
    assert_eq!(origin::of_run(&parts).unwrap(), [made_by("first", &[("tower", 1)])]);
    pipeline::adopt_stage(&parts, &config, first.path(), StageKind::Camera).unwrap();
    assert_eq!(origin::of_run(&parts).unwrap(), [made_by("first", &[("tower", 1), ("camera", 1)])]);
    assert_eq!(std::fs::read(run.tokenizer_path()).unwrap(), first.joint_vocabulary().unwrap());
    // One step of a small rate moves little: the step was taken from these weights.
    let moved = (&weights(&run)["model.layers.0.mlp.up_proj.weight"]
        - &begun["model.layers.0.mlp.up_proj.weight"])
        .unwrap()
        .abs()
        .unwrap()
        .mean_all()
        .unwrap()
        .to_scalar::<f32>()
        .unwrap();
    assert!(moved > 0.0 && moved < 1e-2, "{moved}");

    // Whatever is refused leaves nothing behind.
    let refused = |assignments: &[&str], from: &Path| {
        let out = folder.path().join("refused");
        let error = pipeline::begin_with(from, &out, &joint(assignments)).err().unwrap().to_string();
        assert!(!out.exists());
        error
    };
    assert!(refused(&["model=tour"], &exported).contains("config.json"));
    assert!(refused(&["stages=[\"tower\"]"], &exported).contains("--preset joint"));
    let file = exported.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    tensors.retain(|name, _| !name.starts_with("training."));
    candle_core::safetensors::save(&tensors, &file).unwrap();
    assert!(refused(&[], &exported).contains("only training reads"));
    assert!(matches!(
        pipeline::begin_with(&exported, &more, &config),
        Err(TrainError::RunExists { .. } | TrainError::Checkpoint { .. })
    ));
}
