//! The question panel: situation, question, suggestions, progress, answer, history.

use bevy_egui::egui::{
    Align, Button, Grid, Key, Layout, ProgressBar, RichText, ScrollArea, TextEdit, TextStyle, Ui, vec2,
};

use crate::session::{Activity, AskedQuestion, SessionState, Stage};
use crate::viewer::action::ViewerAction;
use crate::viewer::theme;
use crate::viewer::views::{QuestionView, is_given, shown_question};
use crate::viewer::workbench::Drafts;

/// Suggestions shown at once.
const SUGGESTIONS: usize = 6;
/// Letters of a suggestion before it is cut.
const SUGGESTION_LETTERS: usize = 44;

/// Draws the panel.
pub(in crate::viewer) fn question_ui(ui: &mut Ui, view: QuestionView<'_>, actions: &mut Vec<ViewerAction>) {
    let QuestionView { session, workbench, drafts } = view;
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        situation_field(ui, drafts, workbench.placed.is_some(), actions);
        question_field(ui, session, drafts, actions);
        progress(ui, session, actions);
        let shown = shown_question(session, workbench);
        if let Some(asked) = shown {
            ui.add_space(4.0);
            answer_card(ui, asked, session, actions);
        }
        suggestions(ui, &view_suggestions(&workbench.truth.questions), actions);
        history(ui, session, shown, actions);
    });
}

fn situation_field(ui: &mut Ui, drafts: &mut Drafts, placed: bool, actions: &mut Vec<ViewerAction>) {
    ui.horizontal(|ui| {
        ui.label(theme::weak("Where you are"));
        if placed {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let chip =
                    RichText::new("placed by hand  ×").color(theme::PLACED).text_style(TextStyle::Small);
                if ui.button(chip).on_hover_text("Go back to the model's own reading").clicked() {
                    actions.push(ViewerAction::ClearPlaced);
                }
            });
        }
    });
    ui.add(
        TextEdit::multiline(&mut drafts.situation)
            .hint_text("I am sitting on the sofa facing the TV (optional)")
            .margin(vec2(8.0, 6.0))
            .desired_rows(2)
            .desired_width(f32::INFINITY),
    );
}

fn question_field(ui: &mut Ui, session: &SessionState, drafts: &mut Drafts, actions: &mut Vec<ViewerAction>) {
    ui.label(theme::weak("Question"));
    let blocked = blocked(session);
    from_the_right(ui, |ui| {
        let ready = blocked.is_none() && !drafts.question.trim().is_empty();
        let ask = Button::new(RichText::new("Ask").strong()).fill(theme::ACCENT).min_size(vec2(64.0, 32.0));
        let ask = ui.add_enabled(ready, ask);
        let ask = match blocked {
            Some(reason) => ask.on_disabled_hover_text(reason),
            None => ask.on_disabled_hover_text("Type a question first"),
        };
        let field = ui.add(
            TextEdit::singleline(&mut drafts.question)
                .hint_text("What is on my left?")
                .margin(vec2(8.0, 7.0))
                .desired_width(f32::INFINITY),
        );
        if std::mem::take(&mut drafts.focus_question) {
            field.request_focus();
        }
        let entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
        if ask.clicked() || (entered && ready) {
            let situation = Some(drafts.situation.trim().to_owned()).filter(|text| !text.is_empty());
            actions.push(ViewerAction::Ask { question: drafts.question.trim().to_owned(), situation });
        }
    });
}

/// Why nothing can be asked now.
fn blocked(session: &SessionState) -> Option<&'static str> {
    if session.model.is_none() {
        Some("No model is loaded")
    } else if session.layout.is_none() {
        Some("The model has not seen a video yet")
    } else if session.is_busy() {
        Some("Wait for the running question, or cancel it")
    } else {
        None
    }
}

/// One row, filled from the right: the last widget takes what is left.
fn from_the_right(ui: &mut Ui, add_contents: impl FnOnce(&mut Ui)) {
    let row = vec2(ui.available_width(), ui.spacing().interact_size.y);
    ui.allocate_ui_with_layout(row, Layout::right_to_left(Align::Center), add_contents);
}

fn progress(ui: &mut Ui, session: &SessionState, actions: &mut Vec<ViewerAction>) {
    let text = match session.activity {
        Activity::Idle => return,
        Activity::Cancelling { .. } => "Cancelling …".to_owned(),
        Activity::Running { stage, done, total, .. } if total > 0 => {
            format!("{}  {done} / {total}", stage_name(stage))
        }
        Activity::Running { stage, .. } => format!("{} …", stage_name(stage)),
    };
    let share = match session.activity {
        Activity::Running { done, total, .. } if total > 0 => done as f32 / total as f32,
        _ => 0.0,
    };
    from_the_right(ui, |ui| {
        let running = matches!(session.activity, Activity::Running { .. });
        if ui.add_enabled(running, Button::new("Cancel")).clicked() {
            actions.push(ViewerAction::Cancel);
        }
        ui.add(ProgressBar::new(share).text(text).fill(theme::ACCENT));
    });
}

/// Name of a stage on screen.
pub(super) fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::LoadModel => "Loading the model",
        Stage::DecodeFrames => "Reading frames",
        Stage::Vision => "Looking at frames",
        Stage::Camera => "Finding the camera",
        Stage::Prefill => "Reading",
        Stage::Generate => "Answering",
    }
}

fn answer_card(ui: &mut Ui, asked: &AskedQuestion, session: &SessionState, actions: &mut Vec<ViewerAction>) {
    theme::card_frame().show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(theme::weak(&asked.question.text));
        match (&asked.answer, &asked.failure) {
            (_, Some(failure)) => {
                ui.label(RichText::new(failure).color(theme::PROBLEM));
            }
            (Some(answer), None) => {
                ui.horizontal_wrapped(|ui| {
                    let text = if answer.text.trim().is_empty() { "(no words)" } else { answer.text.trim() };
                    ui.label(RichText::new(text).text_style(TextStyle::Heading));
                    if ui.small_button("Copy").clicked() {
                        actions.push(ViewerAction::CopyAnswer);
                    }
                });
            }
            (None, None) => {
                let text = if asked.partial.is_empty() { "…" } else { &asked.partial };
                ui.label(RichText::new(text).text_style(TextStyle::Heading));
            }
        }
        facts(ui, asked);
        if let Some(model) = session.model.as_ref().filter(|model| !model.notice.is_empty()) {
            ui.label(theme::weak(&model.notice).color(theme::PREDICTED));
        }
    });
}

fn facts(ui: &mut Ui, asked: &AskedQuestion) {
    let grid = Grid::new("facts").num_columns(2).spacing(vec2(14.0, 3.0)).min_row_height(17.0);
    grid.show(ui, |ui| {
        let mut row = |name: &str, value: String, hint: &str| {
            ui.label(theme::weak(name));
            let value = ui.label(RichText::new(value).text_style(TextStyle::Small));
            if !hint.is_empty() {
                value.on_hover_text(hint);
            }
            ui.end_row();
        };
        if let Some(estimate) = &asked.estimate {
            let at = estimate.situation.position;
            let sigma = estimate.position_sigma;
            let degrees = estimate.situation.orientation.degrees();
            let certainty = estimate.concentration * 100.0;
            let (place, heading) = if is_given(estimate) {
                (format!("x {:.2} m,  y {:.2} m, placed by hand", at.x, at.y), format!("{degrees:.0}°"))
            } else {
                (
                    format!("x {:.2} ± {:.2} m,  y {:.2} ± {:.2} m", at.x, sigma.x, at.y, sigma.y),
                    format!("{degrees:.0}°,  {certainty:.0} % certain"),
                )
            };
            row("Position", place, "Right of (x) and in front of (y) the first camera");
            row("Looking", heading, "Counter-clockwise; the first camera looks along 90°");
        }
        if let Some(answer) = &asked.answer {
            let tokens = answer.tokens;
            let new = tokens.prompt.saturating_sub(tokens.reused);
            row("Tokens", format!("{} reused,  {new} new,  {} written", tokens.reused, tokens.generated), "");
            row("Time", format!("{:.0} ms", answer.timing.total), "");
        }
    });
}

fn view_suggestions(questions: &[crate::qa::LabeledQuestion]) -> Vec<(usize, String, String)> {
    questions
        .iter()
        .take(SUGGESTIONS)
        .enumerate()
        .map(|(index, labeled)| {
            let question = &labeled.question;
            let situation = question.situation_text.clone().unwrap_or_default();
            (index, shortened(&question.text), format!("{situation}\n{}", question.text))
        })
        .collect()
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= SUGGESTION_LETTERS {
        return text.to_owned();
    }
    let cut: String = text.chars().take(SUGGESTION_LETTERS - 1).collect();
    format!("{}…", cut.trim_end())
}

fn suggestions(ui: &mut Ui, suggestions: &[(usize, String, String)], actions: &mut Vec<ViewerAction>) {
    if suggestions.is_empty() {
        return;
    }
    ui.add_space(4.0);
    ui.label(theme::weak("Questions of this clip"));
    ui.horizontal_wrapped(|ui| {
        for (index, short, whole) in suggestions {
            let chip = Button::new(RichText::new(short).text_style(TextStyle::Small));
            if ui.add(chip).on_hover_text(whole.trim()).clicked() {
                actions.push(ViewerAction::UseSuggestion(*index));
            }
        }
    });
}

fn history(
    ui: &mut Ui,
    session: &SessionState,
    shown: Option<&AskedQuestion>,
    actions: &mut Vec<ViewerAction>,
) {
    if session.questions.len() < 2 {
        return;
    }
    ui.add_space(4.0);
    ui.label(theme::weak("Asked before"));
    for (index, asked) in session.questions.iter().enumerate().rev() {
        let answer = asked.answer.as_ref().map_or("–", |answer| answer.text.trim());
        let text =
            RichText::new(format!("{}   →   {answer}", asked.question.text)).text_style(TextStyle::Small);
        let selected = shown.is_some_and(|shown| shown.request == asked.request);
        if ui.selectable_label(selected, text).clicked() {
            actions.push(ViewerAction::SelectQuestion(index));
        }
    }
}
