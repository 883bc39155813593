//! A whole run: builds the network, runs its stages in order, each from where it
//! was left.

use std::collections::BTreeSet;
use std::path::Path;

use candle_core::Device;

use super::clip::{ClipMaker, ViewChoice, category_names, color_names};
use super::config::{CameraSource, CueSource, DataConfig, JointConfig};
use super::dense_stage::DenseStage;
use super::joint_sample::{FirstTokens, SampleMaker};
use super::joint_stage::JointStage;
use super::run_dir::Progress;
use super::stage::Runner;
use super::words::tokenizer_of;
use super::{RunDir, StageKind, TrainConfig, TrainError, TrainEvent, Variables, origin};
use crate::model::config::CameraEncoderConfig;
use crate::model::network::{CAMERA_PREFIX, TRAINING_ONLY_PREFIX};
use crate::model::odometry::{OdometryCamera, OdometryConfig};
use crate::model::{ModelConfig, Network, checkpoint};
use crate::worker::CancelFlag;

/// Width of a camera token of the models trained here.
const CAMERA_TOKEN_DIM: usize = 32;

/// Shown beside every answer of a model trained here.
const NOTICE: &str =
    "Preview: this small model is trained on generated rooms; localisation and answers are often wrong.";

/// The model that a run trains: its preset in the sizes of the run, with our camera encoder.
///
/// # Errors
/// When the preset does not exist.
pub fn model_config(config: &TrainConfig) -> Result<ModelConfig, TrainError> {
    let mut model = config.size.of_preset(&config.model).ok_or_else(|| TrainError::Config {
        reason: format!("there is no model preset {:?}", config.model),
    })?;
    model.camera = CameraEncoderConfig::Odometry(OdometryConfig::new(category_names(), color_names()));
    model.camera_token_dim = if config.joint.camera == CameraSource::None { 0 } else { CAMERA_TOKEN_DIM };
    model.geometry_cue = config.joint.geometry_cue != CueSource::None;
    NOTICE.clone_into(&mut model.notice);
    Ok(model)
}

/// The network of a run with its variables.
pub struct TrainedModel {
    /// Sizes.
    pub config: ModelConfig,
    /// Tower, projector, language model, heads.
    pub network: Network,
    /// Camera encoder.
    pub camera: OdometryCamera,
    /// The variables of both.
    pub variables: Variables,
}

impl TrainedModel {
    /// A freshly initialised model on a device.
    pub fn new(config: &TrainConfig, device: &Device) -> Result<Self, TrainError> {
        let model = model_config(config)?;
        let CameraEncoderConfig::Odometry(odometry) = &model.camera else {
            return Err(TrainError::Config {
                reason: "only the camera encoder of kind odometry is trained here".to_owned(),
            });
        };
        let variables = Variables::new(config.seed);
        let root = variables.builder(device);
        let network = Network::new(&model, &root)?;
        let camera = OdometryCamera::new(
            odometry,
            model.vision.hidden_size,
            CAMERA_TOKEN_DIM,
            root.pp(CAMERA_PREFIX),
        )?;
        Ok(Self { config: model, network, camera, variables })
    }
}

/// Runs the stages of `config` in the folder `run` on `device`; finished stages are skipped,
/// unless `config` now asks for more steps. What one device saved goes on on another.
///
/// # Errors
/// [`TrainError::Stopped`] when `stop` was raised.
pub fn train(
    run: &RunDir,
    config: &TrainConfig,
    device: &Device,
    stop: &CancelFlag,
    observer: &mut dyn FnMut(&TrainEvent),
) -> Result<(), TrainError> {
    let model = TrainedModel::new(config, device)?;
    run.load_variables(&model.variables, device)?;
    let mut runner = Runner { run, config, variables: &model.variables, stop: stop.clone(), observer };
    for &kind in &config.stages {
        if run.progress(kind.name())?.is_some_and(|progress| progress.is_complete(config.steps(kind))) {
            continue;
        }
        match kind {
            StageKind::Tower | StageKind::Camera => {
                let stage = DenseStage::new(
                    kind,
                    config,
                    &model.config,
                    &model.network,
                    &model.camera,
                    &model.variables,
                );
                runner.run_stage(&stage)?;
            }
            StageKind::Joint => {
                let gain = config.joint.match_gain;
                if gain > 0.0 && run.progress(kind.name())?.is_none() {
                    let layer = config.joint.pointing_layer();
                    model.variables.start_queries_as_keys(&model.config.language, layer, gain)?;
                }
                let maker = sample_maker(run, config, &model)?;
                runner.run_stage(&JointStage::new(config, maker, &model.variables)?)?;
            }
        }
    }
    Ok(())
}

/// The frozen parts that the joint stage reads clips with.
pub fn sample_maker(
    run: &RunDir,
    config: &TrainConfig,
    model: &TrainedModel,
) -> Result<SampleMaker, TrainError> {
    let data = DataConfig { seconds: config.joint.seconds, ..config.data };
    let choice = ViewChoice::Spread { views: model.config.num_frames as usize };
    let tokenizer = tokenizer_of(run, config, &model.config)?;
    Ok(SampleMaker {
        names: FirstTokens::new(&tokenizer)?,
        clips: ClipMaker {
            // Following the camera renders ten times the frames: only where it is asked for.
            spacing: (config.joint.camera == CameraSource::Estimated
                || config.joint.geometry_cue == CueSource::Estimated)
                .then_some(model.camera.config().spacing),
            questions: config.joint.situations,
            ..ClipMaker::new(&model.config, data, choice)
        },
        model: model.config.clone(),
        network: model.network.clone(),
        camera: model.camera.clone(),
        tokenizer,
        augment: config.data.augment,
    })
}

/// Makes a run in the folder `out` whose joint stage goes on from the weights and the
/// vocabulary of the model that a run exported to `folder`; its other stages count as
/// finished. Gives the run and its configuration: `config` without the steps that only random
/// weights begin with.
///
/// # Errors
/// When `config` has other stages than the joint one, `folder` is not a model that it trains or
/// lacks what only training reads, or `out` is not a new folder.
pub fn begin_with(
    folder: &Path,
    out: &Path,
    config: &TrainConfig,
) -> Result<(RunDir, TrainConfig), TrainError> {
    let stages = vec![StageKind::Joint];
    if config.stages != stages {
        let reason = "only the joint stage goes on from a model; add --preset joint".to_owned();
        return Err(TrainError::Config { reason });
    }
    let joint = JointConfig { growing_steps: 0, word_steps: 0, ..config.joint };
    let config = TrainConfig { joint, ..config.clone() };
    let variables = weights_of(folder, &config)?;
    let vocabulary = folder.join(checkpoint::TOKENIZER_FILE);

    if RunDir::at(out).config_path().exists() {
        return Err(TrainError::RunExists { path: out.to_owned() });
    }
    // Beside its place until it is whole: half of it would be taken for a run that lacks a stage.
    let partial = out.with_extension("partial");
    if partial.exists() {
        std::fs::remove_dir_all(&partial).map_err(|error| TrainError::file(&partial, error))?;
    }
    let run = RunDir::create(&partial, &config)?;
    origin::begin(&run, stored_config(folder)?.training)?;
    std::fs::copy(&vocabulary, run.tokenizer_path()).map_err(|error| TrainError::file(&vocabulary, error))?;
    for kind in StageKind::ALL {
        let progress = Progress { step: 0, finished: !stages.contains(&kind) };
        run.save(kind.name(), &variables, None, progress)?;
    }
    std::fs::rename(&partial, out).map_err(|error| TrainError::file(out, error))?;
    Ok((RunDir::at(out), config))
}

/// The variables of the model that `config` trains and what only training reads, from a folder.
fn weights_of(folder: &Path, config: &TrainConfig) -> Result<Variables, TrainError> {
    let path = folder.join(checkpoint::WEIGHTS_FILE);
    let model = TrainedModel::new(config, &Device::Cpu)?;
    let stored = stored_config(folder)?;
    let wanted = ModelConfig {
        familiarity: stored.familiarity,
        tokenizer_entries: stored.tokenizer_entries,
        notice: stored.notice.clone(),
        training: stored.training.clone(),
        ..model.config
    };
    if let Some(field) = first_difference(&stored, &wanted)? {
        let reason = format!("its {field} is not that of {:?}", config.model);
        return Err(TrainError::Checkpoint { path: folder.join(checkpoint::CONFIG_FILE), reason });
    }
    let needed: BTreeSet<String> = model.variables.tensors().into_keys().collect();
    let for_training = |name: &str| name.starts_with(TRAINING_ONLY_PREFIX);
    let load = |name: &str| needed.contains(name) || for_training(name);
    let found = model.variables.load(&path, &Device::Cpu, load)?;
    if let Some(name) = needed.difference(&found).next() {
        return Err(TrainError::Checkpoint { path, reason: format!("{name} is missing") });
    }
    if !found.iter().any(|name| for_training(name)) {
        let reason = "it lacks what only training reads; take the folder that a run exported".to_owned();
        return Err(TrainError::Checkpoint { path, reason });
    }
    Ok(model.variables)
}

/// The configuration of a model in a folder.
fn stored_config(folder: &Path) -> Result<ModelConfig, TrainError> {
    let path = folder.join(checkpoint::CONFIG_FILE);
    let json = std::fs::read(&path).map_err(|error| TrainError::file(&path, error))?;
    serde_json::from_slice(&json).map_err(|error| TrainError::file(&path, error))
}

/// The first field of two configurations that differs.
fn first_difference(a: &ModelConfig, b: &ModelConfig) -> Result<Option<String>, TrainError> {
    let fields = |config: &ModelConfig| {
        serde_json::to_value(config).map_err(|error| TrainError::Config { reason: error.to_string() })
    };
    let (a, b) = (fields(a)?, fields(b)?);
    let names = a.as_object().into_iter().flatten().map(|(name, _)| name);
    Ok(names.into_iter().find(|name| a.get(name) != b.get(name)).cloned())
}

/// Takes a stage of another run into this one, as a finished stage: its checkpoint, or, from the
/// folder of an exported model, what the stage trained of it (vision tower, camera encoder).
///
/// # Errors
/// When the other folder has no such stage or another size; see [`RunDir::adopt`].
pub fn adopt_stage(
    run: &RunDir,
    config: &TrainConfig,
    other: &Path,
    kind: StageKind,
) -> Result<(), TrainError> {
    let from = RunDir::at(other);
    if from.progress(kind.name())?.is_some() {
        return run.adopt(&from, kind);
    }
    if other.join(checkpoint::WEIGHTS_FILE).exists() {
        return adopt_part(run, config, other, kind);
    }
    let reason = format!(
        "{} is neither a run with a checkpoint of stage {} nor a model",
        other.display(),
        kind.name()
    );
    Err(TrainError::Config { reason })
}

fn adopt_part(run: &RunDir, config: &TrainConfig, folder: &Path, kind: StageKind) -> Result<(), TrainError> {
    if kind == StageKind::Joint {
        let reason = "the joint stage goes on from a model with --init".to_owned();
        return Err(TrainError::Config { reason });
    }
    let model = TrainedModel::new(config, &Device::Cpu)?;
    let stored = stored_config(folder)?;
    if stored.vision != model.config.vision || stored.camera != model.config.camera {
        let reason = format!("its vision tower or camera encoder is not that of {:?}", config.model);
        return Err(TrainError::Checkpoint { path: folder.join(checkpoint::CONFIG_FILE), reason });
    }
    let path = folder.join(checkpoint::WEIGHTS_FILE);
    let needed: BTreeSet<String> =
        model.variables.trained_by(kind).into_iter().map(|(name, _)| name).collect();
    let found = model.variables.load(&path, &Device::Cpu, |name| needed.contains(name))?;
    if let Some(name) = needed.difference(&found).next() {
        return Err(TrainError::Checkpoint { path, reason: format!("{name} is missing") });
    }
    run.save(kind.name(), &model.variables, None, Progress { step: 0, finished: true })?;
    origin::inherit(run, kind, stored.training)
}
