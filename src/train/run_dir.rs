//! The folder of a training run.
//!
//! ```text
//! RUN/config.toml                    what was asked for
//! RUN/tokenizer.json                 the vocabulary, learned when the joint stage starts
//! RUN/metrics.jsonl                  one `TrainEvent` a line, appended
//! RUN/checkpoints/STAGE/model.safetensors      variables (f32)
//! RUN/checkpoints/STAGE/optimizer.safetensors  moments
//! RUN/checkpoints/STAGE/progress.json          steps done
//! RUN/checkpoints/joint/tokenizer.json         the vocabulary it was trained with
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

/// Name of the vocabulary's file.
const TOKENIZER_FILE: &str = "tokenizer.json";

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
        run.store(config)?;
        Ok(run)
    }

    /// Stores the configuration in place of the one that is there.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn store(&self, config: &TrainConfig) -> Result<(), TrainError> {
        let (path, partial) = (self.config_path(), self.path.join("config.toml.partial"));
        fs::write(&partial, config.to_toml()?).map_err(|error| TrainError::file(&partial, error))?;
        fs::rename(&partial, &path).map_err(|error| TrainError::file(&path, error))
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

    /// Where the vocabulary lies.
    pub fn tokenizer_path(&self) -> PathBuf {
        self.path.join(TOKENIZER_FILE)
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
        let vocabulary = self.tokenizer_path();
        if stage == StageKind::Joint.name() && vocabulary.exists() {
            fs::copy(&vocabulary, fresh.join(TOKENIZER_FILE)).map_err(|error| file(&vocabulary, error))?;
        }
        if folder.exists() {
            fs::rename(&folder, &old).map_err(|error| file(&folder, error))?;
        }
        fs::rename(&fresh, &folder).map_err(|error| file(&fresh, error))?;
        if old.exists() {
            fs::remove_dir_all(&old).map_err(|error| file(&old, error))?;
        }
        Ok(folder)
    }

    /// Copies the checkpoint of a stage of another run and marks the stage as finished;
    /// the vocabulary comes along with the joint stage.
    ///
    /// # Errors
    /// When the other run lacks a file, or this one has another vocabulary.
    pub fn adopt(&self, other: &Self, kind: StageKind) -> Result<(), TrainError> {
        let (checkpoint, folder) = (other.checkpoint(kind.name()), self.checkpoint(kind.name()));
        fs::create_dir_all(&folder).map_err(|error| TrainError::file(&folder, error))?;
        if kind == StageKind::Joint {
            let vocabulary = other.joint_vocabulary()?;
            let path = self.tokenizer_path();
            if path.exists() && read(&path)? != vocabulary {
                return Err(TrainError::Vocabulary {
                    path,
                    reason: format!("it is not the one of {}; adopt it into a new run", checkpoint.display()),
                });
            }
            for path in [path, folder.join(TOKENIZER_FILE)] {
                fs::write(&path, &vocabulary).map_err(|error| TrainError::file(&path, error))?;
            }
        }
        for name in ["model.safetensors", "optimizer.safetensors"] {
            let from = checkpoint.join(name);
            fs::copy(&from, folder.join(name)).map_err(|error| TrainError::file(&from, error))?;
        }
        let path = folder.join("progress.json");
        let progress = Progress { step: 0, finished: true };
        let text = serde_json::to_string(&progress).map_err(|error| TrainError::file(&path, error))?;
        fs::write(&path, text).map_err(|error| TrainError::file(&path, error))
    }

    /// `tokenizer.json` that the joint checkpoint was trained with: the one beside its
    /// weights, or that of the run where an older version kept it only there.
    ///
    /// # Errors
    /// When there is none, or the two differ.
    pub fn joint_vocabulary(&self) -> Result<Vec<u8>, TrainError> {
        let (own, path) =
            (self.checkpoint(StageKind::Joint.name()).join(TOKENIZER_FILE), self.tokenizer_path());
        match (own.exists(), path.exists()) {
            (true, true) if read(&own)? != read(&path)? => Err(TrainError::Vocabulary {
                reason: format!("the joint checkpoint was trained with {}; copy that over it", own.display()),
                path,
            }),
            (true, _) => read(&own),
            (false, true) => read(&path),
            (false, false) => Err(TrainError::Vocabulary {
                path,
                reason:
                    "it is missing, and without the vocabulary that the joint checkpoint was trained with \
                         its answers are noise; copy it from the run that made the checkpoint"
                        .to_owned(),
            }),
        }
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

    /// Loads the moments of a stage's checkpoint; they stay fresh where the file was deleted,
    /// as after a change of the optimiser.
    pub fn load_optimizer(&self, stage: &str, optimizer: &mut AdamW) -> Result<(), TrainError> {
        let path = self.checkpoint(stage).join("optimizer.safetensors");
        if path.exists() { Ok(optimizer.load(&path)?) } else { Ok(()) }
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

fn read(path: &Path) -> Result<Vec<u8>, TrainError> {
    fs::read(path).map_err(|error| TrainError::file(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::optimizer::AdamWConfig;

    /// A run in `folder` with a joint checkpoint.
    fn with_joint(folder: &Path, vocabulary: Option<&str>) -> RunDir {
        let run = RunDir::create(folder, &TrainConfig::preset("tiny").unwrap()).unwrap();
        if let Some(text) = vocabulary {
            fs::write(run.tokenizer_path(), text).unwrap();
        }
        let variables = Variables::new(1);
        candle_nn::linear(4, 2, variables.builder(&Device::Cpu).pp("a")).unwrap();
        let optimizer = AdamW::new(variables.trained_by(StageKind::Joint), AdamWConfig::default()).unwrap();
        run.save("joint", &variables, &optimizer, Progress { step: 1, finished: true }).unwrap();
        run
    }

    #[test]
    fn a_joint_checkpoint_keeps_its_vocabulary() {
        let folder = tempfile::tempdir().unwrap();
        let run = with_joint(&folder.path().join("a"), Some("mine"));
        fs::remove_file(run.tokenizer_path()).unwrap();
        assert_eq!(run.joint_vocabulary().unwrap(), b"mine");
        fs::write(run.tokenizer_path(), "another").unwrap();
        let message = run.joint_vocabulary().unwrap_err().to_string();
        assert!(message.contains("copy that over it"), "{message}");

        let run = with_joint(&folder.path().join("b"), None);
        let message = run.joint_vocabulary().unwrap_err().to_string();
        assert!(message.contains("missing"), "{message}");
    }

    #[test]
    fn the_vocabulary_comes_along_with_an_adopted_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let other = with_joint(&folder.path().join("other"), Some("theirs"));
        let config = TrainConfig::preset("tiny").unwrap();
        let run = RunDir::create(&folder.path().join("run"), &config).unwrap();
        run.adopt(&other, StageKind::Joint).unwrap();
        assert_eq!(fs::read(run.tokenizer_path()).unwrap(), b"theirs");
        assert_eq!(run.joint_vocabulary().unwrap(), b"theirs");

        let run = RunDir::create(&folder.path().join("taken"), &config).unwrap();
        fs::write(run.tokenizer_path(), "mine").unwrap();
        let message = run.adopt(&other, StageKind::Joint).unwrap_err().to_string();
        assert!(message.contains("new run"), "{message}");
        assert_eq!(run.progress("joint").unwrap(), None);
    }

    #[test]
    fn a_changed_configuration_takes_the_place_of_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let config = TrainConfig::preset("tiny").unwrap();
        let run = RunDir::create(&folder.path().join("run"), &config).unwrap();
        let changed = config.with(&["tower.steps=7".to_owned()]).unwrap();
        run.store(&changed).unwrap();
        assert_eq!(RunDir::open(run.path()).unwrap().1, changed);
    }

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
