//! From a run to a checkpoint folder that the product loads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use super::joint_stage::TRAINING_ONLY_PREFIX;
use super::pipeline::{TrainedModel, sample_maker};
use super::words::tokenizer_of;
use super::{RunDir, StageKind, TrainConfig, TrainError, calibration, familiarity};
use crate::model::network::FAMILIARITY_PREFIX;
use crate::model::{ModelConfig, checkpoint};

/// Writes the newest joint checkpoint of a run to `folder` (weights in f16).
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
    // Names of a fresh model: what only training needs, or an older version had, stays behind.
    let names: Vec<String> = model.variables.tensors().into_keys().collect();
    let trained = run.load_variables(&model.variables, &Device::Cpu)?;
    let untrained = names.iter().find(|name| {
        let kept = StageKind::Joint.trains(name) && !name.starts_with(TRAINING_ONLY_PREFIX);
        kept && !trained.contains(*name)
    });
    if let Some(name) = untrained {
        let path = run.checkpoint(stage).join("model.safetensors");
        let reason =
            format!("{name} is missing: the run trained another {:?} than there is now", config.model);
        return Err(TrainError::Checkpoint { path, reason });
    }
    let mut all = model.variables.tensors();
    let mut tensors: BTreeMap<String, Tensor> = names
        .into_iter()
        .filter(|name| !name.starts_with(TRAINING_ONLY_PREFIX))
        .filter_map(|name| all.remove(&name).map(|tensor| (name, tensor)))
        .collect();
    let factor = calibration::fit(config, &model, sample_maker(run, config, &model)?)?;
    let bias = tensors.get_mut(calibration::POSITION_BIAS).ok_or_else(|| TrainError::Checkpoint {
        path: run.path().to_owned(),
        reason: format!("the network has no {}, whose spread is calibrated", calibration::POSITION_BIAS),
    })?;
    *bias = calibration::rescaled(bias, factor)?;
    let (familiarity, mean, whitening) = familiarity::fit(config, &model)?;
    tensors.insert(format!("{FAMILIARITY_PREFIX}.mean"), mean);
    tensors.insert(format!("{FAMILIARITY_PREFIX}.whitening"), whitening);
    let exported = ModelConfig { familiarity: Some(familiarity), ..model.config.clone() };
    let tokenizer = tokenizer_of(run, config, &model.config)?;
    checkpoint::save(folder, &exported, &tokenizer, &tensors, DType::F16)
        .map_err(|error| TrainError::File { path: folder.to_owned(), reason: error.to_string() })?;
    Ok(folder.to_owned())
}
