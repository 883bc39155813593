//! The training panel: how the followed run stands, its curves, its figures on held-out
//! rooms.

use std::time::Duration;

use bevy_egui::egui::{
    Align, Color32, Label, Layout, ProgressBar, RichText, ScrollArea, TextStyle, Ui, vec2,
};

use super::chart::{Chart, ChartKind, chart_ui};
use crate::train::follow::{RunPhase, RunReport, RunStory, StageStory};
use crate::train::joint_figures::{CONSTANT_LAYOUT_ERROR, ESTIMATED};
use crate::viewer::action::ViewerAction;
use crate::viewer::run_watch::FollowedRun;
use crate::viewer::theme;

/// Height of the chart of the loss, points.
const LARGE: f32 = 150.0;
/// Height of the other charts, points.
const SMALL: f32 = 92.0;

/// Draws the panel.
pub(in crate::viewer) fn training_ui(ui: &mut Ui, run: &FollowedRun, actions: &mut Vec<ViewerAction>) {
    let Some(report) = &run.report else {
        ui.label(theme::weak("Reading the run …"));
        return;
    };
    heading(ui, run, report);
    advice(ui, run, report);
    let story = &report.story;
    let Some(current) = story.current() else { return };
    progress(ui, story, current, &report.phase);
    let chosen = run.stage.as_ref().and_then(|name| story.stages.iter().find(|stage| stage.name == *name));
    let stage = chosen.unwrap_or(current);
    if story.stages.len() > 1 {
        ui.horizontal(|ui| {
            for other in &story.stages {
                if ui.selectable_label(other.name == stage.name, &other.name).clicked() {
                    actions.push(ViewerAction::ShowStage(other.name.clone()));
                }
            }
        });
    }
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| curves(ui, stage));
}

fn heading(ui: &mut Ui, run: &FollowedRun, report: &RunReport) {
    let (text, color) = match &report.phase {
        RunPhase::Empty => ("not begun", theme::TEXT_WEAK),
        RunPhase::Running => ("running", theme::TRUE),
        RunPhase::Stopped => ("stopped", theme::PREDICTED),
        RunPhase::Quiet => ("no news", theme::PREDICTED),
        RunPhase::Finished => ("finished", theme::CAMERA),
        RunPhase::Unreadable(_) => ("cannot be read", theme::PROBLEM),
    };
    ui.horizontal(|ui| {
        let name = run.path.file_name().unwrap_or(run.path.as_os_str()).to_string_lossy();
        let title = RichText::new(format!("Training {name}")).text_style(TextStyle::Heading);
        ui.label(title).on_hover_text(run.path.display().to_string());
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.label(RichText::new(format!("⏺ {text}")).color(color).strong());
        });
    });
}

/// What there is to know and to do when the run does not simply go on.
fn advice(ui: &mut Ui, run: &FollowedRun, report: &RunReport) {
    let resume = format!("loc3r train --out {} --resume", run.path.display());
    let (text, color) = match &report.phase {
        RunPhase::Running | RunPhase::Finished => (None, theme::TEXT_WEAK),
        RunPhase::Empty => (
            Some(format!(
                "No step is done yet: the first rooms are being made, which takes up to a minute. Is no training running? Start it with: {resume}"
            )),
            theme::TEXT_WEAK,
        ),
        RunPhase::Stopped => (Some(format!("To go on: {resume}")), theme::TEXT_WEAK),
        RunPhase::Quiet => {
            let quiet = duration((report.quiet + run.received.elapsed()).as_secs_f64());
            let text = format!(
                "Nothing was written for {quiet}. If the training was ended, it goes on with: {resume}"
            );
            (Some(text), theme::PREDICTED)
        }
        RunPhase::Unreadable(problem) => {
            let kept = if report.story.stages.is_empty() { "" } else { " What was read before stays here." };
            (Some(format!("{problem}{kept}")), theme::PROBLEM)
        }
    };
    let unread = report.story.unread_lines;
    let unread = (unread > 0).then(|| {
        format!(
            "{unread} lines of metrics.jsonl are no events of this version, or hold a loss that is no number."
        )
    });
    for (text, color) in
        text.map(|text| (text, color)).into_iter().chain(unread.map(|t| (t, theme::PREDICTED)))
    {
        card(ui, &text, color);
    }
}

fn card(ui: &mut Ui, text: &str, color: Color32) {
    theme::card_frame().show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.add(Label::new(RichText::new(text).color(color).text_style(TextStyle::Small)).wrap());
    });
}

fn progress(ui: &mut Ui, story: &RunStory, current: &StageStory, phase: &RunPhase) {
    let share = current.step as f32 / current.steps.max(1) as f32;
    ui.horizontal(|ui| {
        ui.label(RichText::new(format!("Stage {}", current.name)).strong());
        ui.label(format!("step {} of {}", current.step, current.steps));
        if story.read < 0.999 {
            ui.label(theme::weak(format!("reading {:.0} %", 100.0 * story.read)));
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if current.secs_per_step > 0.0 && *phase != RunPhase::Finished {
                ui.label(theme::weak(pace(current.secs_per_step)));
            }
            if let Some(left) = current.secs_left().filter(|_| *phase == RunPhase::Running) {
                ui.label(format!("{} left", duration(left)));
            }
        });
    });
    ui.add(ProgressBar::new(share).desired_height(6.0).fill(theme::ACCENT));
}

fn curves(ui: &mut Ui, stage: &StageStory) {
    let Some(loss) = stage.terms.get("loss") else {
        ui.label(theme::weak("No step of this stage is done yet."));
        return;
    };
    let whole = vec2(ui.available_width() - 4.0, LARGE);
    let steps =
        |title, curve, color| Chart { title, unit: "", curve, kind: ChartKind::Steps, baseline: None, color };
    chart_ui(ui, whole, &steps("loss", loss, theme::CAMERA));
    let (own, estimated): (Vec<_>, Vec<_>) = stage
        .figures
        .iter()
        .filter(|(name, _)| *name != CONSTANT_LAYOUT_ERROR)
        .partition(|(name, _)| !name.starts_with(ESTIMATED));
    let constant = stage.figures.get(CONSTANT_LAYOUT_ERROR).and_then(|curve| Some(curve.newest()?.1));
    section(ui, "On held-out rooms");
    if own.is_empty() {
        ui.label(theme::weak("Figures and rooms come with the first validation."));
    }
    figures(ui, &own, constant);
    section(ui, "Terms of the loss");
    let names: Vec<(String, &_)> = stage
        .terms
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "loss" | "gradient_norm"))
        .map(|(name, curve)| (words(name), curve))
        .collect();
    let terms: Vec<_> = names.iter().map(|(name, curve)| steps(name, curve, theme::CAMERA)).collect();
    grid(ui, &terms);
    if !estimated.is_empty() {
        section(ui, "On held-out rooms, with the cameras that the model finds itself");
        figures(ui, &estimated, constant);
    }
    section(ui, "Pace");
    let mut pace = vec![
        steps("steps per second", &stage.speed, theme::TEXT_WEAK),
        steps("learning rate", &stage.learning_rate, theme::TEXT_WEAK),
    ];
    pace.extend(stage.terms.get("gradient_norm").map(|norm| steps("gradient norm", norm, theme::TEXT_WEAK)));
    grid(ui, &pace);
}

fn section(ui: &mut Ui, title: &str) {
    ui.add_space(6.0);
    ui.label(RichText::new(title).strong());
}

/// Unit of a figure and whether it is an error rather than a share; names end in the unit.
fn unit(name: &str) -> (&'static str, bool) {
    match name {
        _ if name.ends_with("_m") => ("m", true),
        _ if name.ends_with("_deg") => ("°", true),
        _ => ("%", false),
    }
}

/// Errors first, then shares.
fn figures(ui: &mut Ui, curves: &[(&String, &crate::train::curve::Curve)], constant: Option<f64>) {
    let mut named: Vec<_> = curves.iter().map(|(name, curve)| (unit(name), words(name), *curve)).collect();
    named.sort_by_key(|((_, error), ..)| !error);
    let charts: Vec<Chart<'_>> = named
        .iter()
        .map(|((unit, error), name, curve)| Chart {
            title: name,
            unit,
            curve,
            kind: ChartKind::Figures,
            baseline: constant.filter(|_| name == "layout error").map(|value| (value, "one point for all")),
            color: if *error { theme::PREDICTED } else { theme::TRUE },
        })
        .collect();
    grid(ui, &charts);
}

/// Two charts a row; a last one alone takes the row.
fn grid(ui: &mut Ui, charts: &[Chart<'_>]) {
    let gap = ui.spacing().item_spacing.x;
    let whole = ui.available_width() - 4.0;
    for row in charts.chunks(2) {
        ui.horizontal(|ui| {
            let width = (whole - gap * (row.len() - 1) as f32) / row.len() as f32;
            for chart in row {
                chart_ui(ui, vec2(width, SMALL), chart);
            }
        });
    }
}

/// A name for people: "estimated_layout_error_m" is "layout error".
fn words(name: &str) -> String {
    let name = name.strip_prefix(ESTIMATED).unwrap_or(name);
    name.trim_end_matches("_m").trim_end_matches("_deg").replace('_', " ")
}

fn pace(secs_per_step: f64) -> String {
    if secs_per_step < 1.0 {
        format!("{:.1} steps/s", 1.0 / secs_per_step)
    } else {
        format!("{secs_per_step:.1} s a step")
    }
}

/// "40 s", "12 min", "3 h 5 min".
fn duration(secs: f64) -> String {
    let minutes = Duration::from_secs_f64(secs.clamp(0.0, 1e9)).as_secs().div_ceil(60);
    match minutes {
        0..=2 => format!("{secs:.0} s"),
        3..120 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use egui_kittest::Harness;
    use egui_kittest::kittest::Queryable as _;

    use super::*;
    use crate::train::follow::RunFollower;
    use crate::train::{Metrics, RunDir, TrainConfig, TrainEvent};

    fn step(stage: &str, step: u64) -> TrainEvent {
        TrainEvent::Step {
            stage: stage.to_owned(),
            step,
            learning_rate: 1e-3,
            metrics: Metrics::from([("loss".to_owned(), 2.5), ("layout".to_owned(), 1.5)]),
            secs: 2.0,
            waited_secs: 0.0,
            frames: 8,
        }
    }

    /// A run that told `events`.
    fn run(events: &[TrainEvent]) -> FollowedRun {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("walks");
        let dir = RunDir::create(&path, &TrainConfig::preset("tiny").unwrap()).unwrap();
        for event in events {
            dir.log(event).unwrap();
        }
        let mut follower = RunFollower::new(&path);
        follower.look().unwrap();
        FollowedRun { report: Some(follower.report(None)), ..FollowedRun::new(&path) }
    }

    fn begun() -> Vec<TrainEvent> {
        let started = |stage: &str| TrainEvent::StageStarted {
            stage: stage.to_owned(),
            step: 0,
            steps: 200,
            parameters: 1,
        };
        let figures = [("layout_error_m", 1.25), (CONSTANT_LAYOUT_ERROR, 2.4), ("answer_exact", 0.125)];
        let metrics = figures.map(|(name, value)| (name.to_owned(), value)).into();
        vec![
            started("tower"),
            step("tower", 1),
            TrainEvent::StageFinished { stage: "tower".to_owned(), step: 200, secs: 1.0, waited_share: 0.0 },
            started("joint"),
            step("joint", 1),
            step("joint", 2),
            TrainEvent::Validation { stage: "joint".to_owned(), step: 2, metrics },
        ]
    }

    fn panel(run: FollowedRun) -> Harness<'static, Vec<ViewerAction>> {
        let mut panel = Harness::new_ui_state(
            move |ui, actions: &mut Vec<ViewerAction>| training_ui(ui, &run, actions),
            Vec::new(),
        );
        panel.set_size(vec2(500.0, 900.0));
        panel.run();
        panel
    }

    #[test]
    fn a_running_run_shows_its_step_its_curves_and_the_time_left() {
        let panel = panel(run(&begun()));
        for label in [
            "Training walks",
            "⏺ running",
            "Stage joint",
            "step 2 of 200",
            "7 min left",
            "loss: 2.50",
            "layout: 1.50",
            "layout error: 1.25 m",
            "answer exact: 12.5 %",
        ] {
            assert!(panel.query_by_label(label).is_some(), "{label}");
        }
        assert!(panel.query_by_label_contains("constant").is_none());
    }

    #[test]
    fn figures_have_words_and_units() {
        let of = |name: &str| (words(name), unit(name).0);
        assert_eq!(of("estimated_layout_error_m"), ("layout error".to_owned(), "m"));
        assert_eq!(of("camera_pitch_error_deg"), ("camera pitch error".to_owned(), "°"));
        assert_eq!(of("heading_acc_15deg"), ("heading acc 15deg".to_owned(), "%"));
    }

    #[test]
    fn the_curves_of_an_earlier_stage_can_be_chosen() {
        let mut panel = panel(run(&begun()));
        panel.get_by_label("tower").click();
        panel.run();
        assert_eq!(panel.state().as_slice(), [ViewerAction::ShowStage("tower".to_owned())]);
    }

    #[test]
    fn a_run_that_does_not_go_on_says_what_to_do() {
        let says = |run: FollowedRun, text: &str| panel(run).query_by_label_contains(text).is_some();
        assert!(says(run(&[]), "No step is done yet"));
        let mut stopped = begun();
        stopped.push(TrainEvent::Stopped { stage: "joint".to_owned(), step: 2 });
        assert!(says(run(&stopped), "--resume"));
        let mut quiet = run(&begun());
        let report = quiet.report.as_mut().unwrap();
        (report.phase, report.quiet) = (RunPhase::Quiet, Duration::from_mins(10));
        assert!(says(quiet.clone(), "10 min") || says(quiet, "11 min"));
        let mut gone = run(&begun());
        gone.report.as_mut().unwrap().phase = RunPhase::Unreadable("the folder is gone".to_owned());
        assert!(says(gone, "the folder is gone What was read before"));
        let mut odd = run(&begun());
        let report = odd.report.as_mut().unwrap();
        Arc::make_mut(&mut report.story).unread_lines = 3;
        assert!(says(odd, "3 lines of metrics.jsonl"));
    }
}
