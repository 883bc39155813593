//! What each panel gets to see: borrowed, plain, without Bevy.
//!
//! A panel is a function `fn name_ui(ui: &mut egui::Ui, view: NameView<'_>, actions:
//! &mut Vec<ViewerAction>)`; it can be tested without a window.

use super::playback::PlaybackClock;
use super::workbench::{Drafts, Workbench};
use crate::qa::SituationEstimate;
use crate::session::{AskedQuestion, SessionState};

/// Question panel: drafts, suggestions, history, streaming answer.
#[derive(Debug)]
pub struct QuestionView<'a> {
    /// The conversation.
    pub session: &'a SessionState,
    /// Settings, suggestions (`truth.questions`), placed situation.
    pub workbench: &'a Workbench,
    /// Text fields.
    pub drafts: &'a mut Drafts,
}

/// Timeline and transport.
#[derive(Debug)]
pub struct TimelineView<'a> {
    /// The conversation: sampled frames, cameras, answers.
    pub session: &'a SessionState,
    /// Position, speed.
    pub clock: &'a PlaybackClock,
}

/// Status bar.
#[derive(Debug)]
pub struct StatusView<'a> {
    /// The conversation: model, device, activity, timings.
    pub session: &'a SessionState,
    /// Recording and notices.
    pub workbench: &'a Workbench,
    /// Memory of this process in bytes, when the system tells.
    pub memory_bytes: Option<u64>,
    /// Pictures of the window over the last second; `None` while it rests.
    pub pace: Option<FramePace>,
    /// Name of the graphics adapter.
    pub adapter: &'a str,
}

/// How smoothly the window is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FramePace {
    /// Pictures per second.
    pub per_second: f32,
    /// The longest time between two of them, milliseconds.
    pub slowest_ms: f32,
}

/// Layers, colouring, confidence, camera mode.
#[derive(Debug)]
pub struct LayersView<'a> {
    /// Settings.
    pub workbench: &'a Workbench,
    /// What there is to show.
    pub session: &'a SessionState,
    /// Whether a training run is followed.
    pub run: bool,
}

/// "What the model saw".
#[derive(Debug)]
pub struct SightView<'a> {
    /// The conversation: `sight`, prompts and token counts.
    pub session: &'a SessionState,
    /// The question looked at.
    pub question: Option<&'a AskedQuestion>,
}

/// Whether a reading of the situation is the one that was placed by hand: it comes back
/// without any spread, which the model never gives.
pub(crate) fn is_given(estimate: &SituationEstimate) -> bool {
    estimate.position_sigma.rms() < 1e-4
}

/// Index of [`shown_question`] in the history.
pub(crate) fn shown_index(session: &SessionState, workbench: &Workbench) -> Option<usize> {
    let last = session.questions.len().checked_sub(1)?;
    Some(workbench.selected_question.filter(|index| *index <= last).unwrap_or(last))
}

/// The question that panels, caption and 3D view show: the selected one, else the newest.
pub fn shown_question<'a>(session: &'a SessionState, workbench: &Workbench) -> Option<&'a AskedQuestion> {
    workbench
        .selected_question
        .and_then(|index| session.questions.get(index))
        .or_else(|| session.current_question())
}
