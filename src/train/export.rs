//! From a run to a checkpoint folder that the product loads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use super::pipeline::{TrainedModel, sample_maker};
use super::words::tokenizer_of;
use super::{RunDir, StageKind, TrainConfig, TrainError, calibration, familiarity, origin};
use crate::model::network::{FAMILIARITY_PREFIX, TRAINING_ONLY_PREFIX};
use crate::model::{ModelConfig, checkpoint};

/// How answers are made: every question of the training data has one, so none is empty.
const GENERATION: &str = "{\n  \"min_new_tokens\": 1\n}\n";

/// Writes the newest joint checkpoint of a run to `folder` (weights in f16); what only training
/// reads comes along, so that [`super::pipeline::begin_with`] goes on from there, and so does what
/// made them ([`origin`]).
///
/// # Errors
/// When the run has no joint checkpoint or not its vocabulary, or the folder cannot be
/// written.
pub fn export(run: &RunDir, config: &TrainConfig, folder: &Path) -> Result<PathBuf, TrainError> {
    let stage = StageKind::Joint.name();
    if run.progress(stage)?.is_none() {
        return Err(TrainError::MissingStage { stage: "export", needs: stage });
    }
    let model = TrainedModel::new(config, &Device::Cpu)?;
    // Names of a fresh model: what the network of an older version had stays behind.
    let names: BTreeSet<String> = model.variables.tensors().into_keys().collect();
    let trained = run.load_variables(&model.variables, &Device::Cpu)?;
    if let Some(name) = names.difference(&trained).find(|name| StageKind::Joint.trains(name)) {
        let path = run.checkpoint(stage).join("model.safetensors");
        let reason =
            format!("{name} is missing: the run trained another {:?} than there is now", config.model);
        return Err(TrainError::Checkpoint { path, reason });
    }
    let mut tensors: BTreeMap<String, Tensor> = model.variables.tensors().into_iter().collect();
    tensors.retain(|name, _| names.contains(name) || name.starts_with(TRAINING_ONLY_PREFIX));
    let factor = calibration::fit(config, &model, sample_maker(run, config, &model)?)?;
    let bias = tensors.get_mut(calibration::POSITION_BIAS).ok_or_else(|| TrainError::Checkpoint {
        path: run.path().to_owned(),
        reason: format!("the network has no {}, whose spread is calibrated", calibration::POSITION_BIAS),
    })?;
    *bias = calibration::rescaled(bias, factor)?;
    let (familiarity, mean, whitening) = familiarity::fit(config, &model)?;
    tensors.insert(format!("{FAMILIARITY_PREFIX}.mean"), mean);
    tensors.insert(format!("{FAMILIARITY_PREFIX}.whitening"), whitening);
    let training = origin::of_run(run)?;
    let exported = ModelConfig { familiarity: Some(familiarity), training, ..model.config.clone() };
    let tokenizer = tokenizer_of(run, config, &model.config)?;
    checkpoint::save(folder, &exported, &tokenizer, &tensors, DType::F16)
        .map_err(|error| TrainError::File { path: folder.to_owned(), reason: error.to_string() })?;
    let settings = folder.join(checkpoint::GENERATION_FILE);
    std::fs::write(&settings, GENERATION).map_err(|error| TrainError::file(&settings, error))?;
    Ok(folder.to_owned())
}
