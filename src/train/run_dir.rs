//! The folder of a training run.
//!
//! ```text
//! RUN/config.toml                    what was asked for
//! RUN/metrics.jsonl                  one `TrainEvent` a line, appended
//! RUN/checkpoints/STAGE/model.safetensors      variables (f32)
//! RUN/checkpoints/STAGE/optimizer.safetensors  moments
//! RUN/checkpoints/STAGE/progress.json          steps done
//! ```
//!
//! A checkpoint is written beside the old one and moved over it, so that a run
//! killed at any moment leaves a whole checkpoint.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::optimizer::AdamW;
use super::{StageKind, TrainConfig, TrainError, TrainEvent, Variables};

/// How far a stage has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Whether the stage is complete.
    pub finished: bool,
}

/// A run folder.
#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes the folder for a new run and stores its configuration.
    ///
    /// # Errors
    /// When the folder already holds a run, or cannot be written.
    pub fn create(path: &Path, config: &TrainConfig) -> Result<Self, TrainError> {
        let run = Self { path: path.to_owned() };
        if run.config_path().exists() {
            return Err(TrainError::RunExists { path: path.to_owned() });
        }
        fs::create_dir_all(path).map_err(|error| TrainError::file(path, error))?;
        let text = config.to_toml()?;
        fs::write(run.config_path(), text).map_err(|error| TrainError::file(&run.config_path(), error))?;
        Ok(run)
    }

    /// The folder of a run, whatever is in it.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Opens the folder of an earlier run.
    pub fn open(path: &Path) -> Result<(Self, TrainConfig), TrainError> {
        let run = Self { path: path.to_owned() };
        let config = TrainConfig::from_file(&run.config_path())?;
        Ok((run, config))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the configuration lies.
    pub fn config_path(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// Where events are appended.
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// The checkpoint folder of a stage.
    pub fn checkpoint(&self, stage: &str) -> PathBuf {
        self.path.join("checkpoints").join(stage)
    }

    /// Appends one event to `metrics.jsonl`.
    pub fn log(&self, event: &TrainEvent) -> Result<(), TrainError> {
        let path = self.metrics_path();
        let mut line = serde_json::to_string(event).map_err(|error| TrainError::file(&path, error))?;
        line.push('\n');
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|error| TrainError::file(&path, error))?;
        file.write_all(line.as_bytes()).map_err(|error| TrainError::file(&path, error))
    }

    /// Writes the checkpoint of a stage.
    pub fn save(
        &self,
        stage: &str,
        variables: &Variables,
        optimizer: &AdamW,
        progress: Progress,
    ) -> Result<PathBuf, TrainError> {
        let folder = self.checkpoint(stage);
        let (fresh, old) = (folder.with_extension("new"), folder.with_extension("old"));
        let file = |path: &Path, error: std::io::Error| TrainError::file(path, error);
        if fresh.exists() {
            fs::remove_dir_all(&fresh).map_err(|error| file(&fresh, error))?;
        }
        fs::create_dir_all(&fresh).map_err(|error| file(&fresh, error))?;
        variables.save(&fresh.join("model.safetensors"))?;
        optimizer.save(&fresh.join("optimizer.safetensors"))?;
        let text = serde_json::to_string(&progress).map_err(|error| TrainError::file(&fresh, error))?;
        fs::write(fresh.join("progress.json"), text).map_err(|error| file(&fresh, error))?;
        if folder.exists() {
            fs::rename(&folder, &old).map_err(|error| file(&folder, error))?;
        }
        fs::rename(&fresh, &folder).map_err(|error| file(&fresh, error))?;
        if old.exists() {
            fs::remove_dir_all(&old).map_err(|error| file(&old, error))?;
        }
        Ok(folder)
    }

    /// Copies the checkpoint folder of another run and marks the stage as finished.
    pub fn adopt(&self, checkpoint: &Path, stage: &str) -> Result<(), TrainError> {
        let folder = self.checkpoint(stage);
        fs::create_dir_all(&folder).map_err(|error| TrainError::file(&folder, error))?;
        for name in ["model.safetensors", "optimizer.safetensors"] {
            let from = checkpoint.join(name);
            fs::copy(&from, folder.join(name)).map_err(|error| TrainError::file(&from, error))?;
        }
        let path = folder.join("progress.json");
        let progress = Progress { step: 0, finished: true };
        let text = serde_json::to_string(&progress).map_err(|error| TrainError::file(&path, error))?;
        fs::write(&path, text).map_err(|error| TrainError::file(&path, error))
    }

    /// How far a stage has come; `None` without checkpoint.
    pub fn progress(&self, stage: &str) -> Result<Option<Progress>, TrainError> {
        self.recover(stage)?;
        let path = self.checkpoint(stage).join("progress.json");
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(|error| TrainError::file(&path, error))?;
        serde_json::from_str(&text).map(Some).map_err(|error| TrainError::file(&path, error))
    }

    /// Loads what the stages with a checkpoint trained, each stage only its own part: a
    /// better camera encoder can be adopted after the joint stage has begun.
    pub fn load_variables(&self, variables: &Variables, device: &Device) -> Result<(), TrainError> {
        for stage in [StageKind::Tower, StageKind::Camera, StageKind::Joint] {
            if self.progress(stage.name())?.is_some() {
                let path = self.checkpoint(stage.name()).join("model.safetensors");
                variables.load(&path, device, |name| stage.trains(name))?;
            }
        }
        Ok(())
    }

    /// Loads the moments of a stage's checkpoint.
    pub fn load_optimizer(&self, stage: &str, optimizer: &mut AdamW) -> Result<(), TrainError> {
        Ok(optimizer.load(&self.checkpoint(stage).join("optimizer.safetensors"))?)
    }

    /// A run killed between the two renames of [`Self::save`] left its checkpoint as `.old`.
    fn recover(&self, stage: &str) -> Result<(), TrainError> {
        let folder = self.checkpoint(stage);
        let old = folder.with_extension("old");
        if !folder.exists() && old.exists() {
            fs::rename(&old, &folder).map_err(|error| TrainError::file(&old, error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::optimizer::AdamWConfig;

    #[test]
    fn a_run_is_made_once_and_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let config = TrainConfig::preset("tiny").unwrap();
        RunDir::create(&path, &config).unwrap();
        let message = RunDir::create(&path, &config).unwrap_err().to_string();
        assert!(message.contains("--resume"), "{message}");
        assert_eq!(RunDir::open(&path).unwrap().1, config);
    }

    #[test]
    fn a_checkpoint_survives_a_kill_between_the_renames() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(&folder.path().join("run"), &TrainConfig::preset("tiny").unwrap()).unwrap();
        let variables = Variables::new(1);
        candle_nn::linear(4, 2, variables.builder(&Device::Cpu).pp("a")).unwrap();
        let optimizer = AdamW::new(variables.trained_by(StageKind::Joint), AdamWConfig::default()).unwrap();
        let progress = Progress { step: 7, finished: false };
        run.save("tower", &variables, &optimizer, progress).unwrap();
        run.save("tower", &variables, &optimizer, progress).unwrap();
        assert_eq!(run.progress("tower").unwrap(), Some(progress));
        let checkpoint = run.checkpoint("tower");
        fs::rename(&checkpoint, checkpoint.with_extension("old")).unwrap();
        assert_eq!(run.progress("tower").unwrap(), Some(progress));
        assert_eq!(run.progress("joint").unwrap(), None);
    }
}
