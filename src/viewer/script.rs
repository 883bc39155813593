//! Driving the app by a file: `loc3r view --script FILE`.
//!
//! One JSON value per line; empty lines and lines that start with `#` are skipped.
//! A line is a [`ViewerAction`] in snake case or one of the [`ScriptStep`]s:
//!
//! ```text
//! {"open_video": "sample_videos/studio.mp4"}
//! {"wait_for": "layout"}
//! {"ask": {"question": "What is behind me?", "situation": "I am sitting on the sofa"}}
//! {"wait_for": "answer"}
//! {"screenshot": "app.png"}
//! "quit"
//! ```
//!
//! A step that waits too long, a failure of the model thread while waiting, or a
//! picture that cannot be written ends the app with exit code 1.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use bevy::app::AppExit;
use bevy::prelude::{MessageWriter, Res, ResMut, Resource, Time};
use serde::Deserialize;

use super::ViewerError;
use super::action::ViewerAction;
use super::bridge::{Conversation, VideoLink};
use super::clip_truth::TruthReader;
use super::playback::PlaybackClock;
use super::run_watch::{FollowedRun, RunWatch};
use super::window::Pictures;
use super::workbench::Workbench;
use crate::session::Severity;

/// Longest time a step may wait, seconds: a slow machine reads a clip in less.
const PATIENCE_SECS: f32 = 300.0;
/// Frames drawn before a picture is taken, so that all that was asked for is on screen.
const SETTLE_FRAMES: u32 = 6;

/// What a script can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Milestone {
    /// A checkpoint is loaded.
    Model,
    /// The frame that the clock asks for is on screen, and what lies beside the clip is read.
    Video,
    /// The layout is there.
    Layout,
    /// The newest question is answered.
    Answer,
    /// No request is running.
    Idle,
    /// The followed run is read and, if it has any, a held-out room is shown.
    Run,
}

/// Steps that only scripts have.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ScriptStep {
    /// Goes on when it has happened.
    WaitFor(Milestone),
    /// Goes on after so many seconds.
    Wait(f32),
    /// Fails unless the shown answer contains these words (any case).
    ExpectAnswer(String),
    /// An action of the app.
    #[serde(untagged)]
    Act(ViewerAction),
}

/// A script being played.
#[derive(Debug, Default, Resource)]
pub(super) struct Script {
    steps: VecDeque<(usize, ScriptStep)>,
    file: PathBuf,
    /// Seconds and frames spent on the current step.
    waited: (f32, u32),
}

impl Script {
    /// Reads a script file.
    ///
    /// # Errors
    /// [`ViewerError::Script`] with the line that cannot be read.
    pub(crate) fn read(file: &Path) -> Result<Self, ViewerError> {
        let problem = |reason: String| ViewerError::Script { file: file.to_path_buf(), reason };
        let text = std::fs::read_to_string(file).map_err(|error| problem(error.to_string()))?;
        let mut steps = VecDeque::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let step = serde_json::from_str(line).map_err(|_error| problem(unknown_step(number, line)))?;
            steps.push_back((number, step));
        }
        Ok(Self { steps, file: file.to_path_buf(), waited: (0.0, 0) })
    }
}

fn unknown_step(number: usize, line: &str) -> String {
    format!(
        "line {number} is no known step: {line}; steps are actions in snake case, wait_for (model, video, layout, answer, idle, run), wait SECONDS, expect_answer"
    )
}

/// Plays the steps that can be played in this frame.
pub(super) fn play_script(
    time: Res<Time>,
    mut script: ResMut<Script>,
    conversation: Res<Conversation>,
    video: Res<VideoLink>,
    clock: Res<PlaybackClock>,
    truth: Res<TruthReader>,
    workbench: Res<Workbench>,
    watch: Res<RunWatch>,
    pictures: Res<Pictures>,
    mut actions: MessageWriter<ViewerAction>,
    mut exit: MessageWriter<AppExit>,
) {
    let Some((number, step)) = script.steps.front().cloned() else { return };
    script.waited.0 += time.delta_secs();
    script.waited.1 += 1;
    let session = &conversation.0;
    let reached = |milestone| match milestone {
        Milestone::Model => session.model.is_some(),
        Milestone::Video => video.shows(clock.frame()) && !truth.is_reading(),
        Milestone::Layout => session.layout.is_some(),
        Milestone::Answer => session.current_question().is_some_and(|asked| asked.answer.is_some()),
        Milestone::Idle => !session.is_busy(),
        Milestone::Run => watch.run.as_ref().is_some_and(FollowedRun::is_read),
    };
    let trouble = |milestone| match (milestone, &session.status) {
        (Milestone::Video, _) => video.failure.clone(),
        (Milestone::Run, _) => watch.run.as_ref().and_then(|run| run.problem.clone()),
        (_, Some(status)) if status.severity != Severity::Notice => Some(status.text.clone()),
        _ => None,
    };
    let outcome = match &step {
        _ if script.waited.0 > PATIENCE_SECS => Err(format!("waited {PATIENCE_SECS} s in vain")),
        ScriptStep::WaitFor(milestone) if reached(*milestone) => Ok(true),
        ScriptStep::WaitFor(milestone) => trouble(*milestone).map_or(Ok(false), Err),
        ScriptStep::Wait(seconds) => Ok(script.waited.0 >= *seconds),
        ScriptStep::ExpectAnswer(words) => expect_answer(&conversation, &workbench, words).map(|()| true),
        ScriptStep::Act(ViewerAction::Screenshot(_)) => Ok(script.waited.1 > SETTLE_FRAMES),
        ScriptStep::Act(ViewerAction::Quit) => Ok(pictures.are_written()),
        ScriptStep::Act(_) => Ok(true),
    };
    let outcome = outcome.and_then(|done| pictures.take_problem().map_or(Ok(done), Err));
    match outcome {
        Ok(false) => {}
        Ok(true) => {
            script.steps.pop_front();
            script.waited = (0.0, 0);
            if let ScriptStep::Act(action) = step {
                actions.write(action);
            }
        }
        Err(reason) => {
            tracing::error!("script {}, line {number}: {reason}", script.file.display());
            script.steps.clear();
            exit.write(AppExit::from_code(1));
        }
    }
}

fn expect_answer(conversation: &Conversation, workbench: &Workbench, words: &str) -> Result<(), String> {
    let answer = super::views::shown_question(&conversation.0, workbench)
        .and_then(|asked| asked.answer.as_ref())
        .map(|answer| answer.text.clone())
        .unwrap_or_default();
    if answer.to_lowercase().contains(&words.to_lowercase()) {
        Ok(())
    } else {
        Err(format!("expected an answer with \"{words}\", got \"{answer}\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<ScriptStep>, ViewerError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("script.jsonl");
        std::fs::write(&file, text).unwrap();
        Script::read(&file).map(|script| script.steps.into_iter().map(|(_, step)| step).collect())
    }

    #[test]
    fn reads_actions_and_steps() {
        let steps = read(
            "# a comment\n\n{\"open_video\": \"a.mp4\"}\n{\"wait_for\": \"answer\"}\n{\"wait\": 0.5}\n\"toggle_play\"\n{\"set_layer_visible\": [\"points\", false]}\n",
        )
        .unwrap();
        assert_eq!(
            steps,
            [
                ScriptStep::Act(ViewerAction::OpenVideo("a.mp4".into())),
                ScriptStep::WaitFor(Milestone::Answer),
                ScriptStep::Wait(0.5),
                ScriptStep::Act(ViewerAction::TogglePlay),
                ScriptStep::Act(ViewerAction::SetLayerVisible(super::super::workbench::Layer::Points, false)),
            ]
        );
    }

    #[test]
    fn names_the_line_it_cannot_read() {
        let message = read("\"toggle_play\"\n\"dance\"\n").unwrap_err().to_string();
        assert!(message.contains("line 2") && message.contains("dance"), "{message}");
    }
}
