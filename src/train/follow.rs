//! Reads a run folder while somebody writes it: only what was appended since the last
//! look, whole lines only, in bounded memory.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::curve::Curve;
use super::{Metrics, RunDir, SceneSnapshot, TrainConfig, TrainEvent};

/// Bytes taken in at one look; a long run is shown as it is read.
const BYTES_PER_LOOK: u64 = 4 << 20;
/// Bytes at the start of the file by which another file in its place is known.
const MARK: usize = 256;
/// Weight of the newest step in the mean time of a step.
const NEWEST: f64 = 0.1;
/// A run that has not written for so long is taken for ended, at least.
const QUIET: Duration = Duration::from_mins(1);
/// ... and so many steps.
const QUIET_STEPS: f64 = 10.0;
/// Making rooms before the first step, and validating, take longer than a step.
const SLOW: u32 = 10;

/// The mean time of a step after the newest one; 0 before the first.
pub fn running_mean(before: f64, newest: f64) -> f64 {
    if before > 0.0 { before + NEWEST * (newest - before) } else { newest }
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunPhase {
    /// No step is done.
    Empty,
    /// Steps are being taken.
    Running,
    /// It was asked to stop, and can go on.
    Stopped,
    /// No news for longer than a step takes: ended from outside, or very slow.
    Quiet,
    /// All stages are complete.
    Finished,
    /// The folder cannot be read any more (what and why).
    Unreadable(String),
}

/// What a stage has told so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StageStory {
    /// Name of the stage.
    pub name: String,
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Whether it is complete.
    pub finished: bool,
    /// Mean seconds of the newest steps; 0 before the first.
    pub secs_per_step: f64,
    /// Loss terms and gradient norm by name.
    pub terms: BTreeMap<String, Curve>,
    /// Figures on held-out rooms by name.
    pub figures: BTreeMap<String, Curve>,
    /// Learning rate.
    pub learning_rate: Curve,
    /// Steps per second.
    pub speed: Curve,
}

impl StageStory {
    /// Seconds to its end, validations not counted; `None` before the first step.
    pub fn secs_left(&self) -> Option<f64> {
        (self.secs_per_step > 0.0).then(|| self.secs_per_step * self.steps.saturating_sub(self.step) as f64)
    }

    fn forget_after(&mut self, step: u64) {
        let curves = self.terms.values_mut().chain(self.figures.values_mut());
        curves.chain([&mut self.learning_rate, &mut self.speed]).for_each(|curve| curve.forget_after(step));
    }
}

/// What a run has told so far.
#[derive(Debug, Clone, Default)]
pub struct RunStory {
    /// Its settings, when this version can read them.
    pub config: Option<Arc<TrainConfig>>,
    /// In order of appearance.
    pub stages: Vec<StageStory>,
    /// Lines that are no events of this version.
    pub unread_lines: u64,
    /// Share of the file that is taken in, 0 to 1.
    pub read: f32,
    /// Steps of the validations whose rooms can be shown, ascending.
    pub snapshots: Vec<u64>,
    /// Whether the last event says that it was asked to stop.
    pub(crate) stopped: bool,
    /// Whether held-out rooms are being looked at.
    pub(crate) validating: bool,
}

impl RunStory {
    /// The stage that told something last.
    pub fn current(&self) -> Option<&StageStory> {
        self.stages.iter().rev().find(|stage| !stage.finished).or_else(|| self.stages.last())
    }

    /// How the run stands when nothing was written for `quiet`.
    pub fn phase(&self, quiet: Duration) -> RunPhase {
        let Some(current) = self.current() else {
            return if quiet > QUIET * SLOW { RunPhase::Quiet } else { RunPhase::Empty };
        };
        let last = self.config.as_ref().and_then(|config| config.stages.last());
        let complete = last.is_none_or(|last| current.name == last.name());
        if current.finished && complete {
            return RunPhase::Finished;
        }
        if self.stopped {
            return RunPhase::Stopped;
        }
        let patience = QUIET.max(Duration::from_secs_f64(QUIET_STEPS * current.secs_per_step));
        let slow = self.validating || current.step == 0 || current.finished;
        if quiet > if slow { patience * SLOW } else { patience } {
            RunPhase::Quiet
        } else {
            RunPhase::Running
        }
    }

    fn stage(&mut self, name: &str) -> &mut StageStory {
        let at = self.stages.iter().position(|stage| stage.name == name).unwrap_or_else(|| {
            self.stages.push(StageStory { name: name.to_owned(), ..StageStory::default() });
            self.stages.len() - 1
        });
        &mut self.stages[at]
    }

    fn take(&mut self, event: &TrainEvent) {
        let (name, at) = event.moment();
        self.stopped = matches!(event, TrainEvent::Stopped { .. });
        let validation = self.config.as_ref().map(|config| config.validation);
        let stage = self.stage(name);
        match event {
            TrainEvent::StageStarted { steps, .. } => {
                stage.forget_after(at);
                (stage.step, stage.steps, stage.finished) = (at, *steps, false);
            }
            TrainEvent::Step { learning_rate, metrics, secs, .. } => {
                stage.step = at;
                stage.secs_per_step = running_mean(stage.secs_per_step, *secs);
                push(&mut stage.terms, at, metrics);
                stage.learning_rate.push(at, *learning_rate);
                stage.speed.push(at, 1.0 / secs.max(1e-9));
            }
            TrainEvent::Validation { metrics, .. } => push(&mut stage.figures, at, metrics),
            TrainEvent::StageFinished { .. } => stage.finished = true,
            TrainEvent::Scenes(_) | TrainEvent::Saved { .. } | TrainEvent::Stopped { .. } => {}
        }
        let steps = stage.steps;
        let due = at == steps || validation.is_some_and(|validation| validation.may_come_at(at, steps));
        // What was learned is saved first.
        self.validating = matches!(event, TrainEvent::Step { .. } | TrainEvent::Saved { .. }) && due;
    }
}

fn push(curves: &mut BTreeMap<String, Curve>, step: u64, metrics: &Metrics) {
    for (name, &value) in metrics {
        curves.entry(name.clone()).or_default().push(step, value);
    }
}

/// A run and how it stands.
#[derive(Debug, Clone)]
pub struct RunReport {
    /// What it told.
    pub story: Arc<RunStory>,
    /// How it stands.
    pub phase: RunPhase,
    /// Time since it wrote last.
    pub quiet: Duration,
}

/// Follows one run folder.
#[derive(Debug)]
pub struct RunFollower {
    run: RunDir,
    story: RunStory,
    /// Start of the first line that is not taken in.
    offset: u64,
    mark: Vec<u8>,
    written: Option<SystemTime>,
}

impl RunFollower {
    /// Follows the run in `path`.
    pub fn new(path: &Path) -> Self {
        Self { run: RunDir::at(path), story: RunStory::default(), offset: 0, mark: Vec::new(), written: None }
    }

    /// Takes in what is new; gives whether there was any.
    ///
    /// # Errors
    /// One sentence for people. The follower can be asked again: a folder that comes back
    /// is read again.
    pub fn look(&mut self) -> Result<bool, String> {
        let before = self.story.snapshots.len();
        self.look_for_scenes();
        let appeared = self.story.snapshots.len() != before;
        let path = self.run.metrics_path();
        let mut file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(_) if self.run.config_path().exists() => {
                // Nothing is written yet, or it was put away to begin again.
                let forgotten = self.offset > 0;
                if forgotten {
                    self.begin_again();
                }
                self.written = modified(&self.run.config_path());
                return Ok(forgotten || self.load_config());
            }
            Err(error) => {
                return Err(format!(
                    "the run {} cannot be read: {error}; was the folder moved or deleted?",
                    self.run.path().display()
                ));
            }
        };
        let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
        let meta = file.metadata().map_err(wrong)?;
        self.written = meta.modified().ok();
        let mut mark = Vec::new();
        file.by_ref().take(MARK as u64).read_to_end(&mut mark).map_err(wrong)?;
        if meta.len() < self.offset || !mark.starts_with(&self.mark) {
            self.begin_again();
        }
        self.mark = mark;
        let configured = self.story.config.is_none() && self.load_config();
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.offset)).map_err(wrong)?;
        file.take(BYTES_PER_LOOK).read_to_end(&mut bytes).map_err(wrong)?;
        let taken = self.take_lines(&bytes);
        self.story.read = (self.offset as f64 / meta.len().max(1) as f64).min(1.0) as f32;
        Ok(taken || configured || appeared)
    }

    /// Whether a look would find more at once.
    pub fn has_more(&self) -> bool {
        let length = fs::metadata(self.run.metrics_path()).map_or(0, |meta| meta.len());
        // Less is the line being written.
        length.saturating_sub(self.offset) >= BYTES_PER_LOOK
    }

    /// How the run stands; `problem` is why the last look failed.
    pub fn phase(&self, problem: Option<&str>) -> RunPhase {
        problem.map_or_else(
            || self.story.phase(self.quiet()),
            |problem| RunPhase::Unreadable(problem.to_owned()),
        )
    }

    /// What is known now.
    pub fn report(&self, problem: Option<&str>) -> RunReport {
        RunReport { story: Arc::new(self.story.clone()), phase: self.phase(problem), quiet: self.quiet() }
    }

    /// Steps of the validations whose rooms can be shown, ascending.
    pub fn snapshots(&self) -> &[u64] {
        &self.story.snapshots
    }

    fn quiet(&self) -> Duration {
        self.written.and_then(|at| at.elapsed().ok()).unwrap_or_default()
    }

    /// The rooms of the validation at `step`.
    ///
    /// # Errors
    /// One sentence for people.
    pub fn scenes(&self, step: u64) -> Result<SceneSnapshot, String> {
        let path = self.scene_file(step).ok_or_else(|| format!("the run has no rooms of step {step}"))?;
        let wrong = |reason: String| format!("cannot read the rooms {}: {reason}", path.display());
        let text = fs::read(&path).map_err(|error| wrong(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))
    }

    /// When the rooms of the validation at `step` were written.
    pub fn scenes_written(&self, step: u64) -> Option<SystemTime> {
        self.scene_file(step).and_then(|path| modified(&path))
    }

    fn scene_file(&self, step: u64) -> Option<PathBuf> {
        let ending = format!("-{step:08}.json");
        let entries = fs::read_dir(self.run.scenes_path()).ok()?;
        entries.flatten().map(|entry| entry.path()).find(|path| path.to_string_lossy().ends_with(&ending))
    }

    fn look_for_scenes(&mut self) {
        let entries = fs::read_dir(self.run.scenes_path()).into_iter().flatten().flatten();
        let step_of = |name: &str| name.strip_suffix(".json")?.rsplit('-').next()?.parse().ok();
        let mut steps: Vec<u64> =
            entries.filter_map(|entry| step_of(&entry.file_name().to_string_lossy())).collect();
        steps.sort_unstable();
        steps.dedup();
        self.story.snapshots = steps;
    }

    fn begin_again(&mut self) {
        self.offset = 0;
        self.mark.clear();
        let snapshots = std::mem::take(&mut self.story.snapshots);
        self.story = RunStory { snapshots, ..RunStory::default() };
    }

    /// Settings that this version cannot read are done without.
    fn load_config(&mut self) -> bool {
        let before = self.story.config.take();
        self.story.config = RunDir::open(self.run.path()).ok().map(|(_, config)| Arc::new(config));
        before != self.story.config
    }

    /// Whole lines; the rest is read again when its end is there.
    fn take_lines(&mut self, bytes: &[u8]) -> bool {
        let whole = match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            // No event is as long as this: skip what it is.
            None if bytes.len() as u64 == BYTES_PER_LOOK => bytes.len(),
            None => return false,
        };
        for line in bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice::<TrainEvent>(line) {
                Ok(event) => {
                    if matches!(event, TrainEvent::StageStarted { .. }) {
                        // Going on may have changed them.
                        self.load_config();
                    }
                    self.story.take(&event);
                }
                Err(_) => self.story.unread_lines += 1,
            }
        }
        self.offset += whole as u64;
        true
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::train::scenes::tests::scene;

    fn line(event: &TrainEvent) -> String {
        serde_json::to_string(event).unwrap() + "\n"
    }

    fn started(step: u64, steps: u64) -> TrainEvent {
        TrainEvent::StageStarted { stage: "joint".to_owned(), step, steps, parameters: 9 }
    }

    fn step(step: u64) -> TrainEvent {
        TrainEvent::Step {
            stage: "joint".to_owned(),
            step,
            learning_rate: 1e-3,
            metrics: Metrics::from([("loss".to_owned(), 1.0 / step as f64)]),
            secs: 2.0,
            waited_secs: 0.0,
            frames: 8,
        }
    }

    fn run(folder: &Path) -> RunDir {
        let only = ["stages=[\"joint\"]".to_owned(), "validation.every=100".to_owned()];
        let config = TrainConfig::preset("tiny").unwrap().with(&only).unwrap();
        RunDir::create(&folder.join("run"), &config).unwrap()
    }

    fn write(run: &RunDir, text: &str) {
        let file = fs::OpenOptions::new().create(true).append(true).open(run.metrics_path());
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn loss(follower: &RunFollower) -> Vec<u64> {
        follower.story.stages[0].terms["loss"].points().iter().map(|point| point.last).collect()
    }

    #[test]
    fn only_whole_lines_count_and_each_once() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        let mut follower = RunFollower::new(run.path());
        follower.look().unwrap();
        assert_eq!(follower.report(None).phase, RunPhase::Empty);
        let second = line(&step(2));
        write(&run, &(line(&started(0, 50)) + &line(&step(1)) + &second[..20]));
        assert!(follower.look().unwrap());
        assert_eq!(loss(&follower), [1]);
        assert!(!follower.look().unwrap());
        write(&run, &(second[20..].to_owned() + "not an event\n" + &line(&step(3))));
        assert!(follower.look().unwrap());
        assert_eq!(loss(&follower), [1, 2, 3]);
        let report = follower.report(None);
        assert_eq!((report.story.unread_lines, report.phase), (1, RunPhase::Running));
        assert_eq!(report.story.current().unwrap().secs_left(), Some(94.0));
    }

    #[test]
    fn a_run_that_goes_on_replaces_the_steps_it_takes_again() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        let mut text = line(&started(0, 50));
        (1..=5).for_each(|k| text += &line(&step(k)));
        text += &(line(&started(3, 50)) + &line(&step(4)));
        write(&run, &text);
        let mut follower = RunFollower::new(run.path());
        follower.look().unwrap();
        assert_eq!(loss(&follower), [1, 2, 3, 4]);
    }

    #[test]
    fn the_phase_follows_events_and_silence() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        let mut follower = RunFollower::new(run.path());
        let mut phase = |event: &TrainEvent, quiet: u64| {
            write(&run, &line(event));
            follower.look().unwrap();
            follower.story.phase(Duration::from_secs(quiet))
        };
        assert_eq!(phase(&started(0, 100), 100), RunPhase::Running);
        assert_eq!(phase(&step(1), 30), RunPhase::Running);
        assert_eq!(phase(&step(2), 100), RunPhase::Quiet);
        // After step 100 the held-out rooms are being looked at, once it is saved.
        assert_eq!(phase(&step(100), 100), RunPhase::Running);
        let stage = || "joint".to_owned();
        let saved = |step| TrainEvent::Saved { stage: stage(), step, path: PathBuf::from("joint") };
        assert_eq!(phase(&saved(100), 100), RunPhase::Running);
        assert_eq!(phase(&saved(99), 100), RunPhase::Quiet);
        assert_eq!(phase(&TrainEvent::Stopped { stage: stage(), step: 100 }, 0), RunPhase::Stopped);
        assert_eq!(phase(&started(100, 100), 0), RunPhase::Running);
        let end = TrainEvent::StageFinished { stage: stage(), step: 100, secs: 9.0, waited_share: 0.0 };
        assert_eq!(phase(&end, 9999), RunPhase::Finished);
    }

    #[test]
    fn a_deleted_folder_is_told_and_one_that_comes_back_is_read_anew() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        write(&run, &(line(&started(0, 50)) + &line(&step(1)) + &line(&step(2))));
        let mut follower = RunFollower::new(run.path());
        follower.look().unwrap();
        let away = folder.path().join("away");
        fs::rename(run.path(), &away).unwrap();
        let problem = follower.look().unwrap_err();
        assert!(problem.contains("moved or deleted"), "{problem}");
        // What was read stays on screen.
        assert_eq!(loss(&follower), [1, 2]);
        assert!(matches!(follower.report(Some(&problem)).phase, RunPhase::Unreadable(_)));
        fs::rename(&away, run.path()).unwrap();
        fs::write(run.metrics_path(), line(&started(0, 60)) + &line(&step(1))).unwrap();
        follower.look().unwrap();
        assert_eq!(loss(&follower), [1]);
    }

    #[test]
    fn a_hundred_thousand_steps_are_read_in_parts_and_kept_small() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        let mut text = line(&started(0, 100_000));
        (1..=100_000).for_each(|k| text += &line(&step(k)));
        write(&run, &text);
        let mut follower = RunFollower::new(run.path());
        let mut looks = 0;
        while follower.look().unwrap() {
            looks += 1;
        }
        assert!(looks > 2, "{looks}");
        assert!(!follower.has_more() && follower.story.read > 0.999);
        let stage = follower.story.current().unwrap();
        assert_eq!(stage.step, 100_000);
        assert!(stage.terms["loss"].points().len() <= 1024);
    }

    #[test]
    fn rooms_are_found_by_their_step() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        for step in [200, 100] {
            let snapshot = SceneSnapshot { stage: "joint".to_owned(), step, scenes: vec![scene(step)] };
            run.log(&TrainEvent::Scenes(snapshot)).unwrap();
        }
        fs::write(run.scenes_path().join("joint-00000300.partial"), "{").unwrap();
        let mut follower = RunFollower::new(run.path());
        assert!(follower.look().unwrap());
        assert_eq!(follower.story.snapshots, [100, 200]);
        assert_eq!(follower.scenes(200).unwrap().scenes[0].seed, 200);
        assert!(follower.scenes(300).unwrap_err().contains("300"));
    }
}
