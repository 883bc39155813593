//! The status bar: device, model, what runs, stage times, reused tokens, memory.

use bevy_egui::egui::{Align, Label, Layout, RichText, TextStyle, Ui, vec2};

use super::model_card::model_ui;
use super::question::stage_name;
use crate::session::{Activity, SessionState, Severity, StatusMessage, Timing};
use crate::viewer::action::ViewerAction;
use crate::viewer::theme;
use crate::viewer::views::StatusView;
use crate::viewer::workbench::RecordingState;

/// Draws the bar.
pub(in crate::viewer) fn status_ui(ui: &mut Ui, view: StatusView<'_>, actions: &mut Vec<ViewerAction>) {
    ui.horizontal(|ui| {
        model_ui(ui, view.session.model.as_ref(), &view.workbench.models, actions);
        ui.separator();
        message(ui, &view);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            machine(ui, &view);
            recording(ui, &view.workbench.recording, actions);
            timing(ui, view.session);
        });
    });
}

fn small(text: impl Into<String>) -> RichText {
    RichText::new(text).text_style(TextStyle::Small)
}

/// What went wrong, in full, until it is put away; with the cure where there is one.
pub(crate) fn problem_ui(ui: &mut Ui, status: &StatusMessage, actions: &mut Vec<ViewerAction>) {
    let row = vec2(ui.available_width(), ui.spacing().interact_size.y);
    ui.allocate_ui_with_layout(row, Layout::right_to_left(Align::Center), |ui| {
        if status.severity == Severity::Crash {
            if ui.button("Restart model").clicked() {
                actions.push(ViewerAction::RestartModel);
            }
        } else if ui.button("×").on_hover_text("Put this message away").clicked() {
            actions.push(ViewerAction::DismissMessage);
        }
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            ui.add(Label::new(RichText::new(&status.text).color(theme::PROBLEM)).wrap());
        });
    });
}

/// Newest notice: the model's, else the app's, else what is running.
fn message(ui: &mut Ui, view: &StatusView<'_>) {
    let status = view.session.status.as_ref();
    if let Some(status) = status.filter(|status| status.severity == Severity::Notice) {
        ui.label(small(one_line(&status.text)).color(theme::TEXT_WEAK)).on_hover_text(&status.text);
    } else if let Some(notice) =
        // The player and the model say the same of a file that neither can read.
        view
            .workbench
            .notice
            .as_ref()
            .filter(|notice| status.is_none_or(|status| status.text != **notice))
    {
        ui.label(small(one_line(notice)).color(theme::PREDICTED)).on_hover_text(notice);
    } else {
        let text = match view.session.activity {
            Activity::Idle => "ready",
            Activity::Cancelling { .. } => "cancelling",
            Activity::Running { stage, .. } => stage_name(stage),
        };
        ui.label(theme::weak(text));
    }
}

/// The first line, cut to what fits beside the rest.
fn one_line(text: &str) -> String {
    const LETTERS: usize = 90;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= LETTERS {
        return line.to_owned();
    }
    format!("{}…", line.chars().take(LETTERS - 1).collect::<String>())
}

fn timing(ui: &mut Ui, session: &SessionState) {
    let answer = session.questions.iter().rev().find_map(|asked| asked.answer.as_ref());
    if let Some(answer) = answer {
        let text = format!("answer {:.0} ms, {} tokens reused", answer.timing.total, answer.tokens.reused);
        ui.label(theme::weak(text)).on_hover_text(stages(&answer.timing));
    }
    if let Some(timing) = &session.video_timing {
        let mut text = format!("{} {:.1} s", session.product(), timing.total / 1000.0);
        let mut hint = stages(timing);
        if session.reused_tokens > 0 {
            text.push_str(&format!(", {} tokens reused", session.reused_tokens));
            hint.push_str("\nthis video was open before: nothing of it is computed again");
        } else if session.encoded_frames == 0 {
            hint.push_str("\nthis video was seen before");
        }
        ui.label(theme::weak(text)).on_hover_text(hint);
    }
}

fn stages(timing: &Timing) -> String {
    format!(
        "decode {:.0} ms\nvision {:.0} ms\ncamera {:.0} ms\nprefill {:.0} ms\ngenerate {:.0} ms\ntotal {:.0} ms",
        timing.decode, timing.vision, timing.camera, timing.prefill, timing.generate, timing.total
    )
}

fn recording(ui: &mut Ui, recording: &RecordingState, actions: &mut Vec<ViewerAction>) {
    let (text, color, hint) = match recording {
        RecordingState::Unavailable => return,
        RecordingState::Off => ("⏺ record", theme::TEXT_WEAK, "Log this session to Rerun (R)".to_owned()),
        RecordingState::On(target) => ("⏺ recording", theme::PROBLEM, format!("To {target}; R stops it")),
    };
    if ui.small_button(small(text).color(color)).on_hover_text(hint).clicked() {
        actions.push(ViewerAction::ToggleRecording);
    }
}

fn machine(ui: &mut Ui, view: &StatusView<'_>) {
    let memory = view.memory_bytes.map_or(String::new(), |bytes| format!("{:.1} GB  ", bytes as f64 / 1e9));
    let pace = view.pace.map_or(String::new(), |pace| format!("{:.0} fps", pace.per_second));
    let slowest =
        view.pace.map_or(String::new(), |pace| format!("\nslowest picture {:.0} ms", pace.slowest_ms));
    ui.label(theme::weak(format!("{memory}{pace}"))).on_hover_text(format!("{}{slowest}", view.adapter));
}
