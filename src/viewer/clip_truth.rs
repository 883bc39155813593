//! What lies beside a clip: `NAME.scene.json` (what is true) and
//! `NAME.questions.json` (questions to start with), read on a task.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bevy::prelude::{ResMut, Resource};
use bevy::tasks::futures::check_ready;
use bevy::tasks::{IoTaskPool, Task};

use super::workbench::{ClipTruth, Workbench};
use crate::qa::LabeledQuestion;
use crate::scene::read_scene_truth;

/// Reading what lies beside a clip.
#[derive(Debug, Default, Resource)]
pub(super) struct TruthReader(Option<Task<(ClipTruth, Vec<String>)>>);

impl TruthReader {
    /// Starts reading the files beside `clip`.
    pub(crate) fn read(&mut self, clip: PathBuf) {
        self.0 = Some(IoTaskPool::get().spawn(async move { read_beside(&clip) }));
    }

    /// Gives up on what is being read.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }

    /// Whether reading goes on.
    pub(crate) fn is_reading(&self) -> bool {
        self.0.is_some()
    }
}

/// Takes the result once it is there.
pub(super) fn poll_truth(mut reader: ResMut<TruthReader>, mut workbench: ResMut<Workbench>) {
    let Some((truth, problems)) = reader.0.as_mut().and_then(check_ready) else { return };
    reader.0 = None;
    workbench.truth = Arc::new(truth);
    if !problems.is_empty() {
        workbench.notice = Some(problems.join("; "));
    }
}

/// Missing files are normal; unreadable ones are told.
fn read_beside(clip: &Path) -> (ClipTruth, Vec<String>) {
    let mut truth = ClipTruth::default();
    let mut problems = Vec::new();
    let scene_file = clip.with_extension("scene.json");
    if scene_file.is_file() {
        match read_scene_truth(&scene_file) {
            Ok(scene) => truth.scene = scene.in_anchor_space(),
            Err(error) => problems.push(error.to_string()),
        }
    }
    let question_file = clip.with_extension("questions.json");
    if question_file.is_file() {
        let questions =
            std::fs::read_to_string(&question_file).map_err(|error| error.to_string()).and_then(|text| {
                serde_json::from_str::<Vec<LabeledQuestion>>(&text).map_err(|error| error.to_string())
            });
        match questions {
            Ok(questions) => truth.questions = questions,
            Err(reason) => {
                problems.push(format!("cannot read the questions {}: {reason}", question_file.display()));
            }
        }
    }
    (truth, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_without_files_has_no_truth_and_no_problem() {
        let folder = tempfile::tempdir().unwrap();
        let (truth, problems) = read_beside(&folder.path().join("clip.mp4"));
        assert_eq!(truth, ClipTruth::default());
        assert!(problems.is_empty());
    }

    #[test]
    fn broken_questions_are_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("clip.questions.json"), "[{]").unwrap();
        let (_, problems) = read_beside(&folder.path().join("clip.mp4"));
        assert!(problems[0].contains("clip.questions.json"));
    }
}
