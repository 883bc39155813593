//! The folder of a training run.
//!
//! ```text
//! RUN/config.toml                    what was asked for
//! RUN/origin.json                    its commands, and the runs that it goes on from (`origin`)
//! RUN/tokenizer.json                 the vocabulary, learned when the joint stage starts
//! RUN/metrics.jsonl                  one `TrainEvent` a line, appended
//! RUN/scenes/STAGE-STEP.json         rooms of a validation, predicted and true
//! RUN/checkpoints/STAGE/model.safetensors      variables (f32)
//! RUN/checkpoints/STAGE/optimizer.safetensors  moments; none where it began from a model
//! RUN/checkpoints/STAGE/progress.json          steps done
//! RUN/checkpoints/joint/tokenizer.json         the vocabulary it was trained with
//! ```
//!
//! A checkpoint is written beside the old one and moved over it, so that a run
//! killed at any moment leaves a whole checkpoint.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::optimizer::AdamW;
use super::{SceneSnapshot, StageKind, TrainConfig, TrainError, TrainEvent, Variables, origin};

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

impl Progress {
    /// Whether nothing is left of a stage of `steps` steps: it may have been finished at
    /// fewer. One adopted from another run is as long as that run made it.
    pub fn is_complete(self, steps: u64) -> bool {
        self.finished && (self.step == 0 || self.step >= steps)
    }
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

    /// Whether the folder is that of a run: it has a configuration, and events or
    /// settings that can be read (a run that has just begun has no events yet).
    pub fn is_run(path: &Path) -> bool {
        let run = Self::at(path);
        run.config_path().is_file() && (run.metrics_path().is_file() || Self::open(path).is_ok())
    }

    /// Where the scenes of validations lie, a file each.
    pub fn scenes_path(&self) -> PathBuf {
        self.path.join("scenes")
    }

    /// Appends one event to `metrics.jsonl`; scenes get a file of their own.
    pub fn log(&self, event: &TrainEvent) -> Result<(), TrainError> {
        if let TrainEvent::Scenes(snapshot) = event {
            return self.store_scenes(snapshot);
        }
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

    /// Moved into place when whole: whoever follows the run never sees half a file.
    fn store_scenes(&self, snapshot: &SceneSnapshot) -> Result<(), TrainError> {
        let folder = self.scenes_path();
        fs::create_dir_all(&folder).map_err(|error| TrainError::file(&folder, error))?;
        let path = folder.join(scenes_file(&snapshot.stage, snapshot.step));
        let partial = path.with_extension("partial");
        let text = serde_json::to_string(snapshot).map_err(|error| TrainError::file(&path, error))?;
        fs::write(&partial, text).map_err(|error| TrainError::file(&partial, error))?;
        fs::rename(&partial, &path).map_err(|error| TrainError::file(&path, error))
    }

    /// The events of the run so far, those after the checkpoints left out: a run that goes
    /// on takes these steps again. Lines that cannot be read (a run killed while writing)
    /// are skipped.
    ///
    /// # Errors
    /// When a checkpoint cannot be read.
    pub fn history(&self) -> Result<Vec<TrainEvent>, TrainError> {
        let text = fs::read(self.metrics_path()).unwrap_or_default();
        let mut events: Vec<TrainEvent> = Vec::new();
        for event in text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()) {
            if let TrainEvent::StageStarted { stage, step, .. } = &event {
                forget_after(&mut events, stage, *step);
            }
            events.push(event);
        }
        for stage in StageKind::ALL.map(StageKind::name) {
            let done = self.progress(stage)?.map_or(0, |progress| progress.step);
            forget_after(&mut events, stage, done);
        }
        let mut with_scenes = Vec::with_capacity(events.len());
        for event in events {
            if let TrainEvent::Validation { stage, step, .. } = &event {
                let path = self.scenes_path().join(scenes_file(stage, *step));
                let snapshot = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
                with_scenes.extend(snapshot.map(TrainEvent::Scenes));
            }
            with_scenes.push(event);
        }
        Ok(with_scenes)
    }

    /// Writes the checkpoint of a stage; one without an optimiser's moments goes on with fresh
    /// ones.
    pub fn save(
        &self,
        stage: &str,
        variables: &Variables,
        optimizer: Option<&AdamW>,
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
        if let Some(optimizer) = optimizer {
            optimizer.save(&fresh.join("optimizer.safetensors"))?;
        }
        store_progress(&fresh, progress)?;
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

    /// Marks a stage as complete whose checkpoint stands at its last step.
    ///
    /// # Errors
    /// When there is no checkpoint, or it cannot be written.
    pub fn finish(&self, stage: &str, step: u64) -> Result<(), TrainError> {
        store_progress(&self.checkpoint(stage), Progress { step, finished: true })
    }

    /// Copies the checkpoint of a stage of another run and marks the stage as finished;
    /// the vocabulary comes along with the joint stage.
    ///
    /// # Errors
    /// When the other run lacks a file, or this one has another vocabulary.
    pub fn adopt(&self, other: &Self, kind: StageKind) -> Result<(), TrainError> {
        self.take_over(other, kind, true)
    }

    /// Begins a stage with the weights that it has in another run; the vocabulary comes along
    /// with the joint stage.
    ///
    /// # Errors
    /// Like [`Self::adopt`].
    pub fn begin_from(&self, other: &Self, kind: StageKind) -> Result<(), TrainError> {
        self.take_over(other, kind, false)
    }

    fn take_over(&self, other: &Self, kind: StageKind, finished: bool) -> Result<(), TrainError> {
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
            if name == "model.safetensors" || (finished && from.exists()) {
                fs::copy(&from, folder.join(name)).map_err(|error| TrainError::file(&from, error))?;
            }
        }
        store_progress(&folder, Progress { step: 0, finished })?;
        origin::inherit(self, kind, origin::of_run(other)?)
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
    /// better camera encoder can be adopted after the joint stage has begun. Gives the names.
    pub fn load_variables(
        &self,
        variables: &Variables,
        device: &Device,
    ) -> Result<BTreeSet<String>, TrainError> {
        let mut names = BTreeSet::new();
        for stage in StageKind::ALL {
            if self.progress(stage.name())?.is_some() {
                let path = self.checkpoint(stage.name()).join("model.safetensors");
                names.extend(variables.load(&path, device, |name| stage.trains(name))?);
            }
        }
        Ok(names)
    }

    /// Loads the moments of a stage's checkpoint; they stay fresh where it has none.
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

/// Name of the file with the scenes of a validation; names sort by step.
fn scenes_file(stage: &str, step: u64) -> String {
    format!("{stage}-{step:08}.json")
}

/// Moved into place when whole: a run killed meanwhile has the old one.
fn store_progress(folder: &Path, progress: Progress) -> Result<(), TrainError> {
    let (path, partial) = (folder.join("progress.json"), folder.join("progress.json.partial"));
    let text = serde_json::to_string(&progress).map_err(|error| TrainError::file(&path, error))?;
    fs::write(&partial, text).map_err(|error| TrainError::file(&partial, error))?;
    fs::rename(&partial, &path).map_err(|error| TrainError::file(&path, error))
}

/// Drops what `stage` told after `step`.
fn forget_after(events: &mut Vec<TrainEvent>, stage: &str, step: u64) {
    events.retain(|event| {
        let (of, at) = event.moment();
        of != stage || at <= step
    });
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
        run.save("joint", &variables, Some(&optimizer), Progress { step: 1, finished: true }).unwrap();
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
    fn the_history_ends_at_the_checkpoint_and_has_the_scenes() {
        let folder = tempfile::tempdir().unwrap();
        let run = with_joint(&folder.path().join("run"), None);
        let stage = || "joint".to_owned();
        let step = |step| TrainEvent::Step {
            stage: stage(),
            step,
            learning_rate: 1e-3,
            metrics: crate::train::Metrics::from([("loss".to_owned(), step as f64)]),
            secs: 1.0,
            waited_secs: 0.0,
            frames: 1,
        };
        let snapshot =
            SceneSnapshot { stage: stage(), step: 1, scenes: vec![crate::train::scenes::tests::scene(5)] };
        let validation =
            TrainEvent::Validation { stage: stage(), step: 1, metrics: crate::train::Metrics::new() };
        let scenes = TrainEvent::Scenes(snapshot);
        for event in [&step(1), &scenes, &validation, &step(2), &step(3)] {
            run.log(event).unwrap();
        }
        fs::OpenOptions::new()
            .append(true)
            .open(run.metrics_path())
            .unwrap()
            .write_all(b"{\"event\":\"st")
            .unwrap();
        // The checkpoint stands at step 1.
        assert_eq!(run.history().unwrap(), [step(1), scenes, validation]);
    }

    #[test]
    fn a_run_folder_is_known_before_its_first_event() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let run = RunDir::create(&path, &TrainConfig::preset("tiny").unwrap()).unwrap();
        assert!(RunDir::is_run(&path) && !run.metrics_path().exists());
        // Any program may keep a config.toml beside its pictures.
        fs::write(run.config_path(), "colour = 3").unwrap();
        assert!(!RunDir::is_run(&path));
        fs::write(run.metrics_path(), "").unwrap();
        assert!(RunDir::is_run(&path));
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
        run.save("tower", &variables, Some(&optimizer), progress).unwrap();
        run.save("tower", &variables, Some(&optimizer), progress).unwrap();
        assert_eq!(run.progress("tower").unwrap(), Some(progress));
        let checkpoint = run.checkpoint("tower");
        fs::rename(&checkpoint, checkpoint.with_extension("old")).unwrap();
        assert_eq!(run.progress("tower").unwrap(), Some(progress));
        assert_eq!(run.progress("joint").unwrap(), None);
    }
}
