//! The panels without a window: what a person does, and the actions that follow.

use std::sync::Arc;

use bevy_egui::egui;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;

use super::*;
use crate::geometry::{BevPoint, BevSigma, ImageSize, Orientation, OrientationHistogram};
use crate::qa::{AnswerKey, LabeledQuestion, Question, QuestionKind, Situation, SituationEstimate};
use crate::scene::{Layout as SceneLayout, LayoutToken};
use crate::session::{
    Activity, AnswerDone, ModelChoice, ModelInfo, RequestId, SessionEvent, SessionState, Severity, Stage,
    StatusMessage, Timing, TokenCounts,
};
use crate::video::{FrameIndex, VideoInfo};
use crate::viewer::workbench::{CameraMode, ClipTruth, Layer};

fn question(text: &str) -> Question {
    Question { kind: QuestionKind::What, text: text.to_owned(), situation_text: None, choices: Vec::new() }
}

fn ready_session() -> SessionState {
    SessionState {
        model: Some(ModelInfo {
            name: "test model".to_owned(),
            folder: "assets".into(),
            device: "CPU, 2 threads".to_owned(),
            parameters: 1_000_000,
            frames: 16,
            image_size: 128,
            notice: "preview quality".to_owned(),
            card: "# test model\nTrained on nothing.".to_owned(),
        }),
        layout: Some(Arc::new(SceneLayout::default())),
        ..SessionState::default()
    }
}

fn answered(session: &mut SessionState, request: u64, text: &str, answer: &str) {
    let request = RequestId(request);
    session.apply(SessionEvent::Started { request, question: Some(question(text)) });
    let answer = AnswerDone {
        text: answer.to_owned(),
        confidence: 0.9,
        prompt: "prompt".to_owned(),
        tokens: TokenCounts { prompt: 300, reused: 272, generated: 2 },
        timing: Timing { total: 120.0, ..Timing::default() },
    };
    session.apply(SessionEvent::AnswerReady { request, answer });
}

struct Desk {
    session: SessionState,
    workbench: Workbench,
    drafts: Drafts,
    actions: Vec<ViewerAction>,
}

fn desk(session: SessionState) -> Desk {
    Desk { session, workbench: Workbench::default(), drafts: Drafts::default(), actions: Vec::new() }
}

fn question_panel(desk: Desk) -> Harness<'static, Desk> {
    Harness::new_ui_state(
        |ui, desk: &mut Desk| {
            let view =
                QuestionView { session: &desk.session, workbench: &desk.workbench, drafts: &mut desk.drafts };
            question_ui(ui, view, &mut desk.actions);
        },
        desk,
    )
}

#[test]
fn a_typed_question_is_asked_with_its_situation() {
    let mut desk = desk(ready_session());
    desk.drafts.situation = " I am at the door ".to_owned();
    desk.drafts.question = "What is on my left?".to_owned();
    let mut panel = question_panel(desk);
    panel.get_by_label("Ask").click();
    panel.run();
    let wanted = ViewerAction::Ask {
        question: "What is on my left?".to_owned(),
        situation: Some("I am at the door".to_owned()),
    };
    assert_eq!(panel.state().actions, [wanted]);
}

#[test]
fn nothing_is_asked_without_a_model_or_while_busy() {
    let mut busy = ready_session();
    busy.activity = Activity::Running { request: RequestId(1), stage: Stage::Generate, done: 0, total: 0 };
    for session in [SessionState::default(), busy] {
        let mut desk = desk(session);
        desk.drafts.question = "What is this?".to_owned();
        let mut panel = question_panel(desk);
        panel.get_by_label("Ask").click();
        panel.run_steps(3);
        assert_eq!(panel.state().actions, []);
    }
}

#[test]
fn a_running_question_can_be_cancelled() {
    let mut session = ready_session();
    session.apply(SessionEvent::Started { request: RequestId(4), question: Some(question("How many?")) });
    let mut panel = question_panel(desk(session));
    panel.get_by_label("Cancel").click();
    panel.run_steps(3);
    assert_eq!(panel.state().actions, [ViewerAction::Cancel]);
}

#[test]
fn the_answer_is_shown_with_its_notice_and_can_be_copied() {
    let mut session = ready_session();
    answered(&mut session, 1, "What is on my left?", "a lamp");
    let mut panel = question_panel(desk(session));
    panel.run();
    assert!(panel.query_by_label("a lamp").is_some());
    assert!(panel.query_by_label("preview quality").is_some());
    panel.get_by_label("Copy").click();
    panel.run();
    assert_eq!(panel.state().actions, [ViewerAction::CopyAnswer]);
}

#[test]
fn history_selects_an_earlier_question() {
    let mut session = ready_session();
    answered(&mut session, 1, "First?", "one");
    answered(&mut session, 2, "Second?", "two");
    let mut panel = question_panel(desk(session));
    panel.set_size(egui::vec2(500.0, 900.0));
    panel.run();
    panel.get_by_label("First?   →   one").click();
    panel.run();
    assert_eq!(panel.state().actions, [ViewerAction::SelectQuestion(0)]);
}

#[test]
fn suggestions_of_the_clip_can_be_used() {
    let mut desk = desk(ready_session());
    let labeled = LabeledQuestion {
        question: question("Is the door behind me?"),
        key: AnswerKey::Text(vec!["yes".to_owned()]),
        situation: None,
    };
    desk.workbench.truth = Arc::new(ClipTruth { scene: None, questions: vec![labeled] });
    let mut panel = question_panel(desk);
    panel.get_by_label("Is the door behind me?").click();
    panel.run();
    assert_eq!(panel.state().actions, [ViewerAction::UseSuggestion(0)]);
}

fn problem_bar(severity: Severity) -> Harness<'static, Desk> {
    let status = Some(StatusMessage { severity, text: "out of memory".to_owned() });
    let session = SessionState { status, ..SessionState::default() };
    Harness::new_ui_state(
        |ui, desk: &mut Desk| {
            let problem = desk.session.status.clone().expect("set above");
            problem_ui(ui, &problem, &mut desk.actions);
        },
        desk(session),
    )
}

#[test]
fn a_crashed_model_offers_a_restart() {
    let mut bar = problem_bar(Severity::Crash);
    assert!(bar.query_by_label("out of memory").is_some());
    bar.get_by_label("Restart model").click();
    bar.run();
    assert_eq!(bar.state().actions, [ViewerAction::RestartModel]);
}

#[test]
fn a_problem_can_be_put_away() {
    let mut bar = problem_bar(Severity::Problem);
    bar.get_by_label("×").click();
    bar.run();
    assert_eq!(bar.state().actions, [ViewerAction::DismissMessage]);
}

#[test]
fn what_the_problem_bar_says_is_not_said_again_below() {
    let below = |notice: &str| {
        let mut desk = desk(SessionState::default());
        desk.session.status =
            Some(StatusMessage { severity: Severity::Problem, text: "no video".to_owned() });
        desk.workbench.notice = Some(notice.to_owned());
        let bar = Harness::new_ui_state(
            |ui, desk: &mut Desk| {
                let Desk { session, workbench, actions, .. } = desk;
                let view = StatusView { session, workbench, memory_bytes: None, pace: None, adapter: "" };
                status_ui(ui, view, actions);
            },
            desk,
        );
        bar.query_by_label(notice).is_some()
    };
    assert!(!below("no video"));
    assert!(below("picture saved"));
}

#[test]
fn a_video_that_was_kept_shows_the_tokens_that_were_there() {
    let bar = |tokens: Vec<LayoutToken>, reused_tokens| {
        let mut desk = desk(ready_session());
        desk.session.layout = Some(Arc::new(SceneLayout { grid: (1, 1), tokens, floor_height: -1.4 }));
        desk.session.video_timing = Some(Timing { total: 100.0, ..Timing::default() });
        desk.session.reused_tokens = reused_tokens;
        Harness::new_ui_state(
            |ui, desk: &mut Desk| {
                let Desk { session, workbench, actions, .. } = desk;
                let view = StatusView { session, workbench, memory_bytes: None, pace: None, adapter: "" };
                status_ui(ui, view, actions);
            },
            desk,
        )
    };
    let token = LayoutToken {
        frame: FrameIndex(0),
        row: 0,
        column: 0,
        position: BevPoint::new(1.0, 2.0),
        sigma: BevSigma { x: 0.5, y: 0.5 },
        color: [0; 3],
    };
    assert!(bar(vec![token], 0).query_by_label("layout 0.1 s").is_some());
    assert!(bar(vec![token], 579).query_by_label("layout 0.1 s, 579 tokens reused").is_some());
    // A base model gives no layout.
    assert!(bar(Vec::new(), 0).query_by_label("video read 0.1 s").is_some());
}

#[test]
fn a_path_can_be_typed_into_the_menu() {
    let mut bar = Harness::new_ui_state(
        |ui, desk: &mut Desk| {
            let view = TopBarView { workbench: &desk.workbench, drafts: &mut desk.drafts };
            top_bar_ui(ui, view, &mut desk.actions);
        },
        desk(ready_session()),
    );
    bar.get_by_label("Recent or path").click();
    bar.run();
    bar.get_by_role(egui::accesskit::Role::TextInput).click();
    bar.run();
    bar.get_by_role(egui::accesskit::Role::TextInput).type_text("/videos/walk.mp4");
    bar.run();
    bar.key_press(egui::Key::Enter);
    bar.run();
    assert_eq!(bar.state().actions, [ViewerAction::OpenVideo("/videos/walk.mp4".into())]);
}

#[test]
fn layers_are_switched_one_after_the_other_in_the_open_menu() {
    let mut row = Harness::new_ui_state(
        |ui, desk: &mut Desk| {
            let view = LayersView { workbench: &desk.workbench, session: &desk.session, run: false };
            ui.horizontal(|ui| layers_ui(ui, view, &mut desk.actions));
        },
        desk(ready_session()),
    );
    row.get_by_label("Layers").click();
    row.run();
    for name in ["Grid", "Labels"] {
        row.get_by_label(name).click();
        row.run();
    }
    let hidden = [Layer::Grid, Layer::Labels].map(|layer| ViewerAction::SetLayerVisible(layer, false));
    assert_eq!(row.state().actions, hidden);
}

#[test]
fn a_question_asked_from_a_placed_situation_claims_no_certainty() {
    let mut session = ready_session();
    answered(&mut session, 1, "What is on my left?", "a lamp");
    session.apply(SessionEvent::SituationReady {
        request: RequestId(1),
        estimate: SituationEstimate {
            situation: Situation { position: BevPoint::new(1.0, 2.0), orientation: Orientation::FORWARD },
            position_sigma: BevSigma { x: 0.0, y: 0.0 },
            orientation: OrientationHistogram(vec![1.0]),
            concentration: 1.0,
        },
    });
    let mut panel = question_panel(desk(session));
    panel.run();
    assert!(panel.query_by_label("x 1.00 m,  y 2.00 m, placed by hand").is_some());
    assert!(panel.query_by_label_contains("certain").is_none());
}

#[test]
fn the_layers_row_changes_the_camera_mode() {
    let mut row = Harness::new_ui_state(
        |ui, desk: &mut Desk| {
            ui.horizontal(|ui| {
                let view = LayersView { workbench: &desk.workbench, session: &desk.session, run: false };
                layers_ui(ui, view, &mut desk.actions);
            });
        },
        desk(ready_session()),
    );
    row.get_by_label("Map").click();
    row.run();
    assert_eq!(row.state().actions, [ViewerAction::SetCameraMode(CameraMode::Top)]);
}

/// A clip of five seconds, paused at its start.
fn clock_of(warnings: &[&str]) -> PlaybackClock {
    let info = VideoInfo {
        path: "clip.mp4".into(),
        size: ImageSize::new(64, 48),
        pts_secs: (0..50).map(|i| f64::from(i) * 0.1).collect(),
        keyframes: Vec::new(),
        rotation_degrees: 0,
        codec: "h264".to_owned(),
        container: "mp4".to_owned(),
        warnings: warnings.iter().map(ToString::to_string).collect(),
    };
    let mut clock = PlaybackClock::default();
    clock.open(Arc::new(info), false);
    clock
}

fn timeline_bar(clock: PlaybackClock) -> Harness<'static, Desk> {
    Harness::new_ui_state(
        move |ui, desk: &mut Desk| {
            timeline_ui(ui, TimelineView { session: &desk.session, clock: &clock }, &mut desk.actions);
        },
        desk(ready_session()),
    )
}

#[test]
fn what_is_odd_about_a_clip_stands_beside_its_timeline() {
    let bar = timeline_bar(clock_of(&["the file ends early", "colours look pale"]));
    assert!(bar.query_by_label("⚠ the file ends early; colours look pale").is_some());
    assert!(timeline_bar(clock_of(&[])).query_by_label_contains("⚠").is_none());
}

#[test]
fn the_transport_steps_and_plays() {
    let mut bar = timeline_bar(clock_of(&[]));
    bar.get_by_label("▶|").click();
    bar.run();
    bar.get_by_label("▶").click();
    bar.run();
    assert_eq!(bar.state().actions, [ViewerAction::Step(1), ViewerAction::TogglePlay]);
}

#[test]
fn the_name_of_the_model_opens_its_card() {
    let session = ready_session();
    let mut bar = Harness::new_ui(move |ui| {
        model_card::model_ui(ui, session.model.as_ref(), &[], &mut Vec::new());
    });
    assert!(bar.query_by_label_contains("Trained on nothing").is_none());
    bar.get_by_label("test model").click();
    bar.run();
    bar.get_by_label_contains("Trained on nothing");
    bar.get_by_label("1.00 million");
    bar.get_by_label("preview quality");
}

#[test]
fn other_models_are_listed_with_what_they_take_and_can_be_used() {
    let choice = |name: &str, path: &str, fits| ModelChoice {
        name: name.to_owned(),
        path: path.into(),
        needs: format!("{name} GB"),
        fits,
    };
    let mut desk = desk(ready_session());
    desk.workbench.models = vec![choice("here", "assets", true), choice("large", "models/large", false)];
    let mut bar = Harness::new_ui_state(
        |ui, desk: &mut Desk| {
            let (model, models) = (desk.session.model.as_ref(), &desk.workbench.models);
            model_card::model_ui(ui, model, models, &mut desk.actions);
        },
        desk,
    );
    bar.get_by_label("test model").click();
    bar.run();
    bar.get_by_label("large GB");
    bar.get_by_label("in use");
    bar.get_by_label("Use").click();
    bar.run();
    bar.get_by_label("test model").click();
    bar.run();
    bar.get_by_label("Unload").click();
    bar.run();
    // The list is made anew whenever it is shown, not when it is put away.
    let wanted = [
        ViewerAction::ListModels,
        ViewerAction::LoadModel("models/large".into()),
        ViewerAction::ListModels,
        ViewerAction::UnloadModel,
    ];
    assert_eq!(bar.state().actions, wanted);
}
