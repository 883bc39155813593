//! What made the weights of a run: the commands that it was started with, and the runs whose
//! weights it goes on from. Kept in the run folder, exported with the model
//! ([`TrainingRun`]).

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{RunDir, StageKind, TrainError};
use crate::model::{TrainedStage, TrainingRun, TrainingStart};

/// `origin.json` of a run folder.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Origin {
    /// Runs behind the weights that it began with, oldest first.
    earlier: Vec<TrainingRun>,
    /// Its own starts.
    starts: Vec<TrainingStart>,
}

/// Notes a start of the run; the same one again says nothing new.
///
/// # Errors
/// When `origin.json` cannot be read or written.
pub fn note_start(run: &RunDir, start: TrainingStart) -> Result<(), TrainError> {
    let mut origin = read(run)?;
    if origin.starts.contains(&start) {
        return Ok(());
    }
    origin.starts.push(start);
    write(run, &origin)
}

/// The runs behind the weights of `run`, itself the last; a run that has taken no step is not
/// among them.
///
/// # Errors
/// When `origin.json` or a checkpoint cannot be read.
pub fn of_run(run: &RunDir) -> Result<Vec<TrainingRun>, TrainError> {
    let Origin { mut earlier, starts } = read(run)?;
    let mut stages = Vec::new();
    for kind in StageKind::ALL {
        let steps = run.progress(kind.name())?.map_or(0, |progress| progress.step);
        if steps > 0 {
            stages.push(TrainedStage { name: kind.name().to_owned(), steps });
        }
    }
    if !stages.is_empty() {
        earlier.push(TrainingRun { stages, starts });
    }
    Ok(earlier)
}

/// Notes that all weights of a run that has just been made come from `earlier` runs.
pub(super) fn begin(run: &RunDir, earlier: Vec<TrainingRun>) -> Result<(), TrainError> {
    write(run, &Origin { earlier, starts: Vec::new() })
}

/// Notes that what stage `kind` trains comes from the runs `from`, whatever it came from before.
pub(super) fn inherit(run: &RunDir, kind: StageKind, from: Vec<TrainingRun>) -> Result<(), TrainError> {
    let mut origin = read(run)?;
    let is_of_kind = |stage: &TrainedStage| stage.name == kind.name();
    for known in &mut origin.earlier {
        known.stages.retain(|stage| !is_of_kind(stage));
    }
    for mut earlier in from {
        earlier.stages.retain(is_of_kind);
        // Tower and camera encoder of one run are one run here, too.
        match origin.earlier.iter_mut().find(|known| known.starts == earlier.starts) {
            Some(known) => known.stages.append(&mut earlier.stages),
            None => origin.earlier.push(earlier),
        }
    }
    origin.earlier.retain(|known| !known.stages.is_empty());
    write(run, &origin)
}

fn path(run: &RunDir) -> PathBuf {
    run.path().join("origin.json")
}

/// Empty for a run of an older version, which kept none.
fn read(run: &RunDir) -> Result<Origin, TrainError> {
    let path = path(run);
    if !path.exists() {
        return Ok(Origin::default());
    }
    let text = fs::read(&path).map_err(|error| TrainError::file(&path, error))?;
    serde_json::from_slice(&text).map_err(|error| TrainError::file(&path, error))
}

/// Moved into place when whole.
fn write(run: &RunDir, origin: &Origin) -> Result<(), TrainError> {
    let (path, partial) = (path(run), run.path().join("origin.json.partial"));
    let text = serde_json::to_string_pretty(origin).map_err(|error| TrainError::file(&path, error))?;
    fs::write(&partial, text).map_err(|error| TrainError::file(&partial, error))?;
    fs::rename(&partial, &path).map_err(|error| TrainError::file(&path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::TrainConfig;

    fn start(command: &str) -> TrainingStart {
        TrainingStart { command: command.to_owned(), seed: 1, version: "0.1.0".to_owned(), commit: None }
    }

    fn trained(command: &str, stages: &[(&str, u64)]) -> TrainingRun {
        let stages = stages.iter().map(|&(name, steps)| TrainedStage { name: name.to_owned(), steps });
        TrainingRun { stages: stages.collect(), starts: vec![start(command)] }
    }

    fn new_run(folder: &std::path::Path) -> RunDir {
        RunDir::create(folder, &TrainConfig::preset("tiny").unwrap()).unwrap()
    }

    fn stand_at(run: &RunDir, stage: &str, step: u64) {
        let checkpoint = run.checkpoint(stage);
        fs::create_dir_all(&checkpoint).unwrap();
        let text = format!(r#"{{"step":{step},"finished":true}}"#);
        fs::write(checkpoint.join("progress.json"), text).unwrap();
    }

    #[test]
    fn a_run_is_its_starts_and_its_steps() {
        let folder = tempfile::tempdir().unwrap();
        let run = new_run(&folder.path().join("run"));
        assert_eq!(of_run(&run).unwrap(), []);
        for command in ["a", "b --resume", "b --resume", "a"] {
            note_start(&run, start(command)).unwrap();
        }
        assert_eq!(of_run(&run).unwrap(), []);
        stand_at(&run, "tower", 7);
        stand_at(&run, "camera", 0);
        let mut expected = trained("a", &[("tower", 7)]);
        expected.starts.push(start("b --resume"));
        assert_eq!(of_run(&run).unwrap(), [expected]);
    }

    #[test]
    fn a_stage_of_another_run_brings_what_made_it() {
        let folder = tempfile::tempdir().unwrap();
        let run = new_run(&folder.path().join("run"));
        let whole =
            || vec![trained("old", &[("tower", 5)]), trained("whole", &[("tower", 9), ("camera", 3)])];
        inherit(&run, StageKind::Tower, whole()).unwrap();
        assert_eq!(
            of_run(&run).unwrap(),
            [trained("old", &[("tower", 5)]), trained("whole", &[("tower", 9)])]
        );
        inherit(&run, StageKind::Camera, whole()).unwrap();
        assert_eq!(of_run(&run).unwrap(), whole());
        // Another camera encoder takes the place of that one; the tower stays.
        inherit(&run, StageKind::Camera, vec![trained("better", &[("camera", 4), ("joint", 2)])]).unwrap();
        let taken = [
            trained("old", &[("tower", 5)]),
            trained("whole", &[("tower", 9)]),
            trained("better", &[("camera", 4)]),
        ];
        assert_eq!(of_run(&run).unwrap(), taken);
        note_start(&run, start("mine")).unwrap();
        stand_at(&run, "joint", 8);
        assert_eq!(of_run(&run).unwrap()[3], trained("mine", &[("joint", 8)]));
    }

    #[test]
    fn a_record_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let run = new_run(&folder.path().join("run"));
        fs::write(path(&run), "{").unwrap();
        let message = note_start(&run, start("a")).unwrap_err().to_string();
        assert!(message.contains("origin.json"), "{message}");
    }
}
