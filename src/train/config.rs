//! What a run trains, on what, for how long. One TOML file; presets are files in
//! `assets/configs`, single values are set by dotted path (`tower.steps=100`).

use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::Value;

use super::TrainError;
use super::optimizer::AdamWConfig;
use super::size::SizeConfig;
use crate::scene::TargetRule;
use crate::synth::QuestionOptions;

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Name of the model preset.
    pub model: String,
    /// Decides initial weights and all data.
    pub seed: u64,
    /// Stages in order.
    pub stages: Vec<StageKind>,
    /// Batches whose mean gradient makes one step; each is computed on its own thread.
    pub micro_batches: usize,
    /// Seconds between checkpoints, at most 60: whatever ends a run, short ones add up. There is
    /// one before every validation, too.
    pub checkpoint_secs: f64,
    /// Share of a stage's steps in which the learning rate rises to its peak (the paper: 3 %).
    #[serde(default = "three_percent")]
    pub warmup: f64,
    /// Sizes of the model that differ from its preset's.
    #[serde(default)]
    pub size: SizeConfig,
    /// AdamW.
    pub optimizer: AdamWConfig,
    /// Rooms, walks and pictures.
    pub data: DataConfig,
    /// Figures on held-out seeds.
    pub validation: ValidationConfig,
    /// Vision tower and dense head on single frames.
    pub tower: DenseStageConfig,
    /// The camera encoder's head on clips, tower frozen.
    pub camera: DenseStageConfig,
    /// Language model, projections and heads; tower and camera frozen.
    pub joint: JointConfig,
}

/// A part of the curriculum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// Vision tower with the dense head.
    Tower,
    /// Camera encoder on the frozen tower.
    Camera,
    /// Joint objective on frozen tower and camera encoder.
    Joint,
}

impl StageKind {
    /// In the order of training.
    pub const ALL: [Self; 3] = [Self::Tower, Self::Camera, Self::Joint];

    /// Name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tower => "tower",
            Self::Camera => "camera",
            Self::Joint => "joint",
        }
    }
}

/// Names of the vision tower's variables start with this.
const TOWER_PREFIX: &str = "model.vision_tower.";
/// Names of the camera encoder's variables start with this.
const CAMERA_PREFIX: &str = "camera_encoder.";

impl StageKind {
    /// Whether the stage trains the variable of this name.
    pub fn trains(self, variable: &str) -> bool {
        let (tower, camera) = (variable.starts_with(TOWER_PREFIX), variable.starts_with(CAMERA_PREFIX));
        match self {
            Self::Tower => tower || camera,
            Self::Camera => camera,
            Self::Joint => !tower && !camera,
        }
    }
}

/// Rooms, walks and pictures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Shortest and longest walk, seconds.
    pub seconds: (f32, f32),
    /// Smallest and largest horizontal field of view, degrees.
    pub fov_degrees: (f32, f32),
    /// Whether pictures are varied in light, sharpness and noise.
    pub augment: bool,
    /// Share of scenes with rooms whose two sides look alike.
    #[serde(default)]
    pub symmetric: f64,
    /// Share of scenes of one small room: those that people live in are smaller than the rest.
    #[serde(default)]
    pub small: f64,
    /// Share of situations and situated questions that are worded as people word them.
    #[serde(default = "everyday")]
    pub everyday: f64,
    /// Share of situations about what a walk shows once and briefly, or early only.
    #[serde(default)]
    pub fleeting: f64,
    /// Share of situations, and of situated questions, with made-up words in between: people use
    /// words that no generated text has.
    #[serde(default)]
    pub strange: f64,
    /// How the true places of vision tokens come from depths.
    #[serde(default)]
    pub targets: TargetRule,
}

/// Figures on held-out seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationConfig {
    /// Steps between validations; 0 validates only at the end. Stages of fewer than ten times as
    /// many steps have more of them, see [`Self::may_come_at`].
    pub every: u64,
    /// First scene seed; below the seeds kept for evaluation.
    pub first_seed: u64,
    /// Number of scenes.
    pub clips: u64,
}

/// Validations that make a curve of a stage.
const ENOUGH_VALIDATIONS: u64 = 10;
/// Fewer steps between them are worth no point of it.
const FEWEST_BETWEEN: u64 = 10;

impl ValidationConfig {
    /// Whether the settings ask for a validation after `step` steps.
    pub fn asks_at(&self, step: u64) -> bool {
        self.every > 0 && step.is_multiple_of(self.every)
    }

    /// Whether there may be a validation after `step` of a stage's `steps` steps: where the
    /// settings ask for one, and, so that short stages have a curve, at every tenth of the steps
    /// (at least ten apart). The latter only come where they do not take too much of the time.
    pub fn may_come_at(&self, step: u64, steps: u64) -> bool {
        let tenth = (steps / ENOUGH_VALIDATIONS).max(FEWEST_BETWEEN);
        self.asks_at(step) || (tenth < self.every && step.is_multiple_of(tenth))
    }
}

/// Weights of the terms on single frames.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenseWeights {
    /// Category of cells, cross entropy.
    pub category: f64,
    /// Colour of cells on objects, cross entropy.
    pub color: f64,
    /// Metric point of cells, Laplace likelihood.
    pub point: f64,
}

/// A stage on frames (tower, camera).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenseStageConfig {
    /// Optimiser steps.
    pub steps: u64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Size of Muon's steps, see [`AdamWConfig::muon`]; 0 for AdamW alone.
    pub muon: f64,
    /// Clips in a micro-batch.
    pub clips: usize,
    /// Frames of a clip.
    pub views: usize,
    /// How often a rendered clip is used, on average.
    pub reuse: u64,
    /// Earlier steps whose clips are used again.
    pub pool_steps: u64,
    /// Steps in which rooms grow from one sparse room and a short walk to the whole range.
    #[serde(default)]
    pub growing_steps: u64,
    /// Loss weights.
    pub weights: DenseWeights,
}

/// Where the joint stage takes its camera tokens from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraSource {
    /// True poses with noise.
    Truth,
    /// The camera encoder.
    Estimated,
    /// No camera tokens (ablation).
    None,
}

/// Where the joint stage takes the 3D points of vision tokens from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CueSource {
    /// No geometry cue.
    #[default]
    None,
    /// True depth and poses.
    Truth,
    /// The camera encoder.
    Estimated,
}

/// Weights of the joint objective: L = answer + layout + situation (position + orientation) + mention.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JointWeights {
    /// Answer tokens, cross entropy.
    pub answer: f64,
    /// The same once more of answers that name a thing or a colour: few, and each another word;
    /// and of these answers when they look at the things of other questions (not in the paper).
    #[serde(default)]
    pub naming: f64,
    /// λ_BEV, layout (the paper: 0.05).
    pub layout: f64,
    /// λ_sit, position and orientation together (the paper: 0.075).
    pub situation: f64,
    /// λ_ori within the situation (the paper: 3.5).
    pub orientation: f64,
    /// Width of the heading's soft target, bins of the head (the paper leaves it open).
    #[serde(default = "two")]
    pub heading_sigma_bins: f64,
    /// Position of the object that a noun names, read at a middle layer (not in the paper).
    pub mention: f64,
    /// Layout as nouns find it, read before the layer in which they point (not in the paper).
    pub early_layout: f64,
    /// Attention of nouns to the tokens that show their object (not in the paper).
    pub pointing: f64,
    /// Likeness of vision tokens to the words of what they show (not in the paper).
    pub words: f64,
    /// Attention of `<Pos>` and `<Ori>` to the nouns that they mean (not in the paper).
    #[serde(default)]
    pub referring: f64,
    /// The way from the person to what they look at, read off `<Ori>` (not in the paper).
    #[serde(default)]
    pub gaze: f64,
    /// Where the things that a question names lie as the person sees them, read off their
    /// nouns, and the attention of these to the person and of answers to them (not in the paper).
    #[serde(default)]
    pub egocentric: f64,
    /// Colour of the object that a noun names, read at the same layer (not in the paper).
    #[serde(default)]
    pub color: f64,
    /// Where the fronts of objects face, read off nouns and vision tokens (not in the paper).
    #[serde(default)]
    pub front: f64,
}

/// The joint stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JointConfig {
    /// Optimiser steps.
    pub steps: u64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Size of Muon's steps, see [`AdamWConfig::muon`]; 0 for AdamW alone.
    pub muon: f64,
    /// Shortest and longest walk, seconds; instead of `data.seconds`.
    pub seconds: (f32, f32),
    /// Clips in a micro-batch.
    pub clips: usize,
    /// Situations with a question packed behind each clip.
    pub situations: usize,
    /// How often a rendered clip is used, on average.
    pub reuse: u64,
    /// Earlier steps whose clips are used again.
    pub pool_steps: u64,
    /// Steps in which rooms grow from one sparse room and a short walk to the whole range.
    #[serde(default)]
    pub growing_steps: u64,
    /// Source of the camera tokens.
    pub camera: CameraSource,
    /// Noise on true poses: metres, radians (standard deviation at the end of a clip).
    pub pose_noise: (f32, f32),
    /// Share of clips whose camera tokens are blanked.
    pub camera_dropout: f64,
    /// Geometry added to vision tokens (what Loc3R-VLM is compared with).
    #[serde(default)]
    pub geometry_cue: CueSource,
    /// Layer after which nouns are read, counted from 1.
    pub mention_layer: usize,
    /// First steps, in which the projector alone learns the words of what tokens show.
    pub word_steps: u64,
    /// Steps behind those, in which heads alone learn: the gradients of untrained heads are
    /// large, and undo what the layers below have learned before.
    #[serde(default)]
    pub head_steps: u64,
    /// Query projections of the pointing layer start as this multiple of its key
    /// projections, so that like attends to like; 0 starts them apart. In all layers it
    /// keeps tokens from finding the camera token of their frame.
    pub match_gain: f64,
    /// Whether the projector of vision tokens is trained (the paper leaves it open).
    #[serde(default = "yes")]
    pub train_projector: bool,
    /// First layers of the language model that stay as they are, with all that comes before
    /// them: the layers behind them and the heads can then learn at a higher rate.
    #[serde(default)]
    pub frozen_layers: usize,
    /// How much faster layers learn what they write to the residual stream (the output
    /// projections of attention and MLP) than everything else. In a trained model the stream
    /// has grown to hundreds of times the embeddings, and steps that suit other weights hardly
    /// move it.
    #[serde(default = "one")]
    pub writing_rate: f64,
    /// Loss weights.
    pub weights: JointWeights,
}

fn everyday() -> f64 {
    QuestionOptions::EVERYDAY
}

fn yes() -> bool {
    true
}

fn two() -> f64 {
    2.0
}

fn three_percent() -> f64 {
    0.03
}

fn one() -> f64 {
    1.0
}

impl JointConfig {
    /// The layer in which nouns attend to what they name, counted from 0: the one before
    /// they are read.
    pub fn pointing_layer(&self) -> usize {
        self.mention_layer.saturating_sub(1)
    }
}

impl TrainConfig {
    /// Names accepted by [`Self::preset`].
    pub const PRESETS: [&str; 3] = ["tiny", "mini", "ablation"];

    /// A preset by name.
    pub fn preset(name: &str) -> Result<Self, TrainError> {
        let text = match name {
            "tiny" => include_str!("../../assets/configs/tiny.toml"),
            "mini" => include_str!("../../assets/configs/mini.toml"),
            // What differs from "mini", a setting a line.
            "ablation" => {
                let lines = include_str!("../../assets/configs/ablation.toml").lines();
                let changes: Vec<_> =
                    lines.filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
                return Self::preset("mini")?.with(&changes);
            }
            _ => {
                let known = Self::PRESETS.join(", ");
                let reason = format!("there is no preset {name:?}; choose one of {known}");
                return Err(TrainError::Config { reason });
            }
        };
        Self::from_toml(text, name)
    }

    /// Reads a file.
    pub fn from_file(path: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path).map_err(|error| TrainError::file(path, error))?;
        Self::from_toml(&text, &path.display().to_string())
    }

    fn from_toml(text: &str, source: &str) -> Result<Self, TrainError> {
        let config: Self = toml::from_str(text)
            .map_err(|error| TrainError::Config { reason: format!("{source}: {error}") })?;
        config.validate()?;
        Ok(config)
    }

    /// As TOML.
    pub fn to_toml(&self) -> Result<String, TrainError> {
        toml::to_string(self).map_err(|error| TrainError::Config { reason: error.to_string() })
    }

    /// Optimiser steps of a stage.
    pub fn steps(&self, kind: StageKind) -> u64 {
        match kind {
            StageKind::Tower => self.tower.steps,
            StageKind::Camera => self.camera.steps,
            StageKind::Joint => self.joint.steps,
        }
    }

    /// Batches of so many steps.
    pub fn batches(&self, steps: u64) -> u64 {
        steps * self.micro_batches.max(1) as u64
    }

    /// The configuration with `assignments` like `tower.steps=100` applied.
    pub fn with(&self, assignments: &[String]) -> Result<Self, TrainError> {
        let wrong = |reason: String| TrainError::Config { reason };
        let mut value = Value::try_from(self).map_err(|error| wrong(error.to_string()))?;
        for assignment in assignments {
            let (path, text) = assignment
                .split_once('=')
                .ok_or_else(|| wrong(format!("{assignment:?} is not of the form name=value")))?;
            let slot = slot_of(&mut value, path.trim())?;
            *slot = parse_like(slot, text.trim())
                .map_err(|reason| wrong(format!("{path} = {text}: {reason}")))?;
        }
        let config: Self = value.try_into().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), TrainError> {
        // Export measures on rooms behind those of validation.
        let behind = super::familiarity::HELD_OUT.max(super::calibration::CLIPS);
        let seeds = self.validation.first_seed.saturating_add(self.validation.clips).saturating_add(behind);
        let model = self.size.of_preset(&self.model);
        if let Some(Err(reason)) = model.as_ref().map(crate::model::ModelConfig::validate) {
            return Err(TrainError::Config { reason: format!("size: {reason}") });
        }
        let layers = model.as_ref().map_or(0, |model| model.language.num_hidden_layers);
        let rules = [
            (model.is_some(), "model must name a model preset"),
            (
                (1..=layers).contains(&self.joint.mention_layer),
                "joint.mention_layer must be one of the language model's layers, counted from 1",
            ),
            (
                seeds <= crate::synth::HELD_OUT_SEEDS,
                "validation.first_seed reaches into the seeds kept for evaluation",
            ),
            (rising(self.data.seconds), "data.seconds must rise from more than 1"),
            ((0.0..=1.0).contains(&self.data.symmetric), "data.symmetric must be a share, 0 to 1"),
            ((0.0..=1.0).contains(&self.data.small), "data.small must be a share, 0 to 1"),
            ((0.0..=1.0).contains(&self.data.everyday), "data.everyday must be a share, 0 to 1"),
            ((0.0..=1.0).contains(&self.data.fleeting), "data.fleeting must be a share, 0 to 1"),
            ((0.0..=1.0).contains(&self.data.strange), "data.strange must be a share, 0 to 1"),
            (rising(self.joint.seconds), "joint.seconds must rise from more than 1"),
            (
                self.tower.clips > 0 && self.camera.clips > 0 && self.joint.clips > 0,
                "every stage needs clips",
            ),
            (
                self.tower.views > 0 && self.camera.views > 0,
                "tower.views and camera.views must be at least 1",
            ),
            (
                self.tower.reuse > 0 && self.camera.reuse > 0 && self.joint.reuse > 0,
                "reuse must be at least 1",
            ),
            (
                self.joint.weights.referring == 0.0 || self.joint.mention_layer < layers,
                "joint.weights.referring needs a layer behind joint.mention_layer",
            ),
            (
                self.joint.weights.egocentric == 0.0 || self.joint.mention_layer + 2 <= layers,
                "joint.weights.egocentric needs two layers behind joint.mention_layer",
            ),
            (
                self.joint.frozen_layers < layers,
                "joint.frozen_layers must leave a layer of the language model to learn",
            ),
            (
                (0.0..self.data.targets.farthest).contains(&self.data.targets.nearest)
                    && (0.0..=1.0).contains(&self.data.targets.least_usable_share),
                "data.targets needs nearest below farthest, and least_usable_share from 0 to 1",
            ),
            ((0.0..=1.0).contains(&self.warmup), "warmup must be a share, 0 to 1"),
            (self.joint.weights.heading_sigma_bins > 0.0, "joint.weights.heading_sigma_bins must be above 0"),
            (self.joint.writing_rate > 0.0, "joint.writing_rate must be above 0"),
            (
                (0.0..=60.0).contains(&self.checkpoint_secs),
                "checkpoint_secs must be 0 to 60, so that a run that is ended loses a minute at most",
            ),
            (self.micro_batches > 0, "micro_batches must be at least 1"),
            (self.joint.situations > 0, "joint.situations must be at least 1"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            None => Ok(()),
            Some((_, rule)) => Err(TrainError::Config { reason: (*rule).to_owned() }),
        }
    }
}

fn rising((shortest, longest): (f32, f32)) -> bool {
    shortest > 1.0 && longest >= shortest
}

/// The value at a dotted path.
fn slot_of<'a>(value: &'a mut Value, path: &str) -> Result<&'a mut Value, TrainError> {
    let mut slot = value;
    for key in path.split('.') {
        let Value::Table(table) = slot else {
            return Err(TrainError::Config { reason: format!("{path} is not a setting") });
        };
        let names: Vec<String> = table.keys().cloned().collect();
        slot = table.get_mut(key).ok_or_else(|| TrainError::Config {
            reason: format!("there is no setting {path}; at {key} it can go on with {}", names.join(", ")),
        })?;
    }
    Ok(slot)
}

/// Parses `text` as a value of the kind of `old`.
fn parse_like(old: &Value, text: &str) -> Result<Value, String> {
    let expected = |kind: &str| format!("{kind} expected");
    match old {
        Value::Integer(_) => text.parse().map(Value::Integer).map_err(|_error| expected("a whole number")),
        Value::Float(_) => text.parse().map(Value::Float).map_err(|_error| expected("a number")),
        Value::Boolean(_) => text.parse().map(Value::Boolean).map_err(|_error| expected("true or false")),
        Value::String(_) => Ok(Value::String(text.trim_matches('"').to_owned())),
        _ => {
            let table: toml::Table =
                toml::from_str(&format!("v = {text}")).map_err(|error| error.to_string())?;
            table.get("v").cloned().ok_or_else(|| expected("a value"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid_and_survive_toml() {
        for name in TrainConfig::PRESETS {
            let config = TrainConfig::preset(name).unwrap();
            let text = config.to_toml().unwrap();
            assert_eq!(TrainConfig::from_toml(&text, "test").unwrap(), config);
        }
    }

    #[test]
    fn settings_are_changed_by_dotted_path() {
        let set = |text: &str| TrainConfig::preset("tiny").unwrap().with(&[text.to_owned()]);
        assert_eq!(set("tower.steps=7").unwrap().tower.steps, 7);
        assert_eq!(set("joint.camera=none").unwrap().joint.camera, CameraSource::None);
        assert_eq!(set("tower.weights.point=0.5").unwrap().tower.weights.point, 0.5);
        assert_eq!(set("data.seconds=[4.0, 5.0]").unwrap().data.seconds, (4.0, 5.0));
        assert_eq!(set("stages=[\"joint\"]").unwrap().stages, [StageKind::Joint]);
        let message = set("tower.step=7").unwrap_err().to_string();
        assert!(message.contains("tower.step") && message.contains("steps"), "{message}");
        assert!(set("tower.steps=many").unwrap_err().to_string().contains("whole number"));
        assert!(set("validation.first_seed=9000000").unwrap_err().to_string().contains("evaluation"));
    }

    #[test]
    fn short_stages_are_validated_often_enough_for_a_curve() {
        let at = |every: u64, steps: u64| -> Vec<u64> {
            let validation = ValidationConfig { every, first_seed: 0, clips: 1 };
            (1..steps).filter(|&step| validation.may_come_at(step, steps)).collect()
        };
        assert_eq!(at(1000, 600), [60, 120, 180, 240, 300, 360, 420, 480, 540]);
        // Long stages have what they ask for, and none is every few steps.
        assert_eq!(at(1000, 28_000), (1..28).map(|k| 1000 * k).collect::<Vec<_>>());
        assert_eq!(at(100, 20), [10]);
        assert!(at(100, 8).is_empty());
        assert_eq!(at(2, 8), [2, 4, 6]);
        assert!(at(0, 600).is_empty());
        let validation = ValidationConfig { every: 100, first_seed: 0, clips: 1 };
        assert!(validation.asks_at(200) && !validation.asks_at(60));
        assert!(!ValidationConfig { every: 0, ..validation }.asks_at(0));
    }

    #[test]
    fn what_the_paper_leaves_open_of_training_is_a_setting() {
        let base = TrainConfig::preset("mini").unwrap();
        let joint = base.joint;
        assert_eq!((base.warmup, joint.weights.heading_sigma_bins, joint.train_projector), (0.03, 2.0, true));
        assert_eq!(base.data.targets, TargetRule::default());
        let set = |text: &str| base.with(&[text.to_owned()]);
        assert_eq!(set("data.targets.farthest=6.0").unwrap().data.targets.farthest, 6.0);
        assert!(!set("joint.train_projector=false").unwrap().joint.train_projector);
        assert_eq!(set("size.frames=16").unwrap().size.frames, 16);
        for (text, field) in [
            ("warmup=1.5", "warmup"),
            ("size.frames=2000", "num_frames"),
            ("size.layers=3", "mention_layer"),
            ("joint.weights.heading_sigma_bins=0.0", "heading_sigma_bins"),
            ("data.small=2.0", "data.small"),
            ("data.targets.nearest=20.0", "data.targets"),
            ("checkpoint_secs=61.0", "checkpoint_secs"),
            ("checkpoint_secs=nan", "checkpoint_secs"),
            ("data.everyday=-1.0", "data.everyday"),
            ("data.fleeting=1.5", "data.fleeting"),
        ] {
            assert!(set(text).unwrap_err().to_string().contains(field), "{text}");
        }
    }
}
