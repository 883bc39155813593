//! The one system that carries out [`ViewerAction`]s.

use std::path::PathBuf;

use bevy::app::AppExit;
use bevy::ecs::system::SystemParam;
use bevy::prelude::{Commands, MessageReader, MessageWriter, Res, ResMut, Resource};

use super::action::ViewerAction;
use super::bridge::{Conversation, ModelLink, VideoLink};
use super::camera_rig::CameraRig;
use super::clip_truth::TruthReader;
use super::model_menu::ModelMenu;
use super::open_dialog::OpenDialog;
use super::playback::PlaybackClock;
use super::record::Recording;
use super::run_watch::RunWatch;
use super::views::shown_question;
use super::window::{Pace, Pictures};
use super::workbench::{CameraMode, Drafts, Workbench};
use super::world_view::WorldScene;
use glam::Vec3;

use crate::geometry::{AnchorFrame, CameraPose, Orientation};
use crate::qa::{Question, QuestionKind, Situation, describe};
use crate::session::{ModelInUse, SessionRequest};
use crate::train::RunDir;

/// Smallest and largest size of the interface.
const UI_SCALE_RANGE: std::ops::RangeInclusive<f32> = 0.6..=3.0;
/// Clips in the recent list.
const RECENT: usize = 8;
/// Stands in for the situation text when no known object is near a placed situation.
pub(super) const PLACED_BY_HAND: &str = "placed by hand";

/// Text for the clipboard, taken by the next interface pass.
#[derive(Debug, Default, Resource)]
pub(super) struct Clipboard(pub Option<String>);

/// Everything an action can change.
#[derive(SystemParam)]
pub(super) struct Desk<'w, 's> {
    workbench: ResMut<'w, Workbench>,
    drafts: ResMut<'w, Drafts>,
    conversation: ResMut<'w, Conversation>,
    model: ResMut<'w, ModelLink>,
    menu: ResMut<'w, ModelMenu>,
    video: ResMut<'w, VideoLink>,
    clock: ResMut<'w, PlaybackClock>,
    rig: ResMut<'w, CameraRig>,
    scene: ResMut<'w, WorldScene>,
    dialog: ResMut<'w, OpenDialog>,
    truth: ResMut<'w, TruthReader>,
    watch: ResMut<'w, RunWatch>,
    recording: ResMut<'w, Recording>,
    clipboard: ResMut<'w, Clipboard>,
    pictures: Res<'w, Pictures>,
    pace: Res<'w, Pace>,
    commands: Commands<'w, 's>,
    exit: MessageWriter<'w, AppExit>,
}

/// Carries out the actions of this frame in order.
pub(super) fn apply_actions(mut actions: MessageReader<ViewerAction>, mut desk: Desk) {
    for action in actions.read() {
        tracing::debug!(?action, "action");
        desk.apply(action.clone());
        desk.pace.keep_drawing();
    }
    if let Some(problem) = desk.pictures.take_problem() {
        desk.workbench.notice = Some(problem);
    }
}

impl Desk<'_, '_> {
    fn apply(&mut self, action: ViewerAction) {
        match action {
            ViewerAction::OpenVideo(path) if RunDir::is_run(&path) => self.follow_run(path),
            ViewerAction::OpenVideo(path) => self.open_video(path),
            ViewerAction::ShowOpenDialog => {
                self.workbench.dialog_open = true;
                self.dialog.show(self.workbench.clip.as_deref());
            }
            ViewerAction::SeekTo(index) => self.clock.seek(index),
            ViewerAction::Step(frames) => self.clock.step(frames),
            ViewerAction::TogglePlay => self.clock.toggle(),
            ViewerAction::SetRate(rate) => self.clock.set_rate(rate),
            ViewerAction::SetLooping(looping) => self.clock.set_looping(looping),
            ViewerAction::Ask { question, situation } => self.ask(&question, situation),
            ViewerAction::AskFromHere => self.ask_from_here(),
            ViewerAction::Cancel => self.cancel(),
            ViewerAction::SelectQuestion(index) => self.select_question(index),
            ViewerAction::UseSuggestion(index) => self.use_suggestion(index),
            ViewerAction::SetLayerVisible(layer, visible) => self.workbench.layers.set(layer, visible),
            ViewerAction::SetConfidence(share) => self.workbench.confidence = share.clamp(0.0, 1.0),
            ViewerAction::SetColoring(coloring) => self.workbench.coloring = coloring,
            ViewerAction::SetCameraMode(mode) => self.set_camera_mode(mode),
            ViewerAction::FrameAll => {
                if self.workbench.camera_mode == CameraMode::Follow {
                    self.set_camera_mode(CameraMode::Orbit);
                }
                self.scene.request_fit();
            }
            ViewerAction::PlaceSituation(situation) => self.place(situation),
            ViewerAction::ClearPlaced => self.clear_placed(),
            ViewerAction::ShowRoom(_)
            | ViewerAction::StepRoom(_)
            | ViewerAction::ShowValidation(_)
            | ViewerAction::StepValidation(_)
            | ViewerAction::ShowSituation(_)
            | ViewerAction::ShowStage(_) => self.look_at_run(action),
            ViewerAction::CopyAnswer => self.copy_answer(),
            ViewerAction::ListModels => {
                let video_bytes = self.model.held_by_videos();
                let model = self.conversation.0.model.as_ref();
                self.menu.list(model.map(|model| ModelInUse { path: model.folder.clone(), video_bytes }));
            }
            ViewerAction::LoadModel(folder) => self.model.load_model(folder),
            ViewerAction::UnloadModel => self.model.unload_model(),
            ViewerAction::ShowModelDialog => {
                self.workbench.dialog_open = true;
                self.dialog.show_for_model();
            }
            ViewerAction::RestartModel => self.restart_model(),
            ViewerAction::ToggleRecording => self.recording.toggle(),
            ViewerAction::SetUiScale(scale) => {
                self.workbench.ui_scale = scale.clamp(*UI_SCALE_RANGE.start(), *UI_SCALE_RANGE.end());
            }
            ViewerAction::ToggleHelp => self.workbench.help_open = !self.workbench.help_open,
            ViewerAction::ToggleSight => self.workbench.sight_open = !self.workbench.sight_open,
            ViewerAction::FocusQuestion => self.drafts.focus_question = true,
            ViewerAction::Dismiss => self.dismiss(),
            ViewerAction::DismissMessage => self.conversation.0.status = None,
            ViewerAction::Screenshot(path) => self.pictures.take(&mut self.commands, path),
            ViewerAction::Quit => {
                self.exit.write(AppExit::Success);
            }
        }
    }

    /// Leaves the clip and follows the training run in `path`.
    fn follow_run(&mut self, path: PathBuf) {
        self.clock.close();
        *self.video = VideoLink::default();
        self.truth.forget();
        self.model.leave_video();
        self.conversation.leave(&path);
        self.conversation.0.status = None;
        self.watch.follow(&path);
        // What is predicted over what is true is a map.
        self.set_camera_mode(CameraMode::Top);
        self.take_place_of_clip(path);
    }

    /// What a person wants to see of the followed run.
    fn look_at_run(&mut self, action: ViewerAction) {
        let Some(run) = &mut self.watch.run else { return };
        match action {
            ViewerAction::ShowRoom(room) => run.choose_room(room),
            ViewerAction::StepRoom(by) => {
                let count = run.snapshot.as_ref().map_or(0, |snapshot| snapshot.scenes.len()).max(1);
                run.choose_room((run.room as i32 + by).rem_euclid(count as i32) as usize);
            }
            ViewerAction::ShowStage(stage) => run.stage = Some(stage),
            ViewerAction::ShowSituation(situation) => {
                let last = run.session.questions.len().saturating_sub(1);
                self.workbench.selected_question = Some(situation.min(last));
            }
            ViewerAction::ShowValidation(step) => self.watch.pin(step),
            ViewerAction::StepValidation(by) => {
                let wanted = run.validation(by);
                self.watch.pin(wanted);
            }
            _ => {}
        }
        if let Some(run) = &self.watch.run
            && !std::sync::Arc::ptr_eq(&self.workbench.truth, &run.truth)
        {
            self.workbench.truth = std::sync::Arc::clone(&run.truth);
            self.workbench.selected_question = None;
        }
    }

    fn open_video(&mut self, path: PathBuf) {
        if self.watch.run.is_some() {
            self.watch.leave();
            self.set_camera_mode(CameraMode::Orbit);
        }
        self.clock.close();
        // Playing by itself would make the pictures of a script depend on time.
        self.video.open(&path, !self.pace.is_scripted());
        self.truth.read(path.clone());
        self.model.open_video(path.clone());
        self.conversation.0.status = None;
        self.conversation.leave(&path);
        self.take_place_of_clip(path);
    }

    /// Forgets what belonged to the clip or run before `path`, which is open now.
    fn take_place_of_clip(&mut self, path: PathBuf) {
        let workbench = &mut *self.workbench;
        workbench.notice = None;
        if workbench.placed.take().is_some() {
            // Words about a place in the clip before.
            self.drafts.situation.clear();
        }
        workbench.selected_question = None;
        workbench.truth = std::sync::Arc::default();
        workbench.recent.retain(|recent| *recent != path);
        workbench.recent.insert(0, path.clone());
        workbench.recent.truncate(RECENT);
        workbench.clip = Some(path);
    }

    fn ask(&mut self, text: &str, situation_text: Option<String>) {
        let text = text.trim();
        if text.is_empty() {
            self.workbench.notice = Some("type a question first".to_owned());
            return;
        }
        let placed = self.workbench.placed;
        let question = Question {
            kind: QuestionKind::of_sqa3d(text),
            text: text.to_owned(),
            situation_text: situation_text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()),
            choices: Vec::new(),
        };
        self.workbench.selected_question = None;
        self.workbench.notice = None;
        self.model.request(SessionRequest::Ask { question, placed });
    }

    fn ask_from_here(&mut self) {
        let drafted = Some(self.drafts.question.trim().to_owned()).filter(|text| !text.is_empty());
        let newest = self.conversation.0.current_question().map(|asked| asked.question.text.clone());
        let Some(text) = drafted.or(newest) else {
            self.workbench.notice = Some("type a question first".to_owned());
            self.drafts.focus_question = true;
            return;
        };
        let situation = Some(self.drafts.situation.clone()).filter(|text| text != PLACED_BY_HAND);
        self.ask(&text, situation);
    }

    fn cancel(&mut self) {
        self.conversation.0.cancelling();
        self.model.cancel();
    }

    fn select_question(&mut self, index: usize) {
        let last = self.conversation.0.questions.len().saturating_sub(1);
        self.workbench.selected_question = (index < last).then_some(index);
        self.workbench.placed = None;
    }

    fn use_suggestion(&mut self, index: usize) {
        if let Some(suggestion) = self.workbench.truth.questions.get(index) {
            self.drafts.question.clone_from(&suggestion.question.text);
            self.drafts.situation = suggestion.question.situation_text.clone().unwrap_or_default();
            self.drafts.focus_question = true;
            self.workbench.placed = None;
        }
    }

    fn set_camera_mode(&mut self, mode: CameraMode) {
        let changed = self.workbench.camera_mode != mode;
        self.workbench.camera_mode = mode;
        self.rig.set_mode(mode);
        // Every change shows everything: what was near in one view may be out of sight in the other.
        if changed && mode != CameraMode::Follow {
            self.scene.request_fit();
        }
    }

    /// Puts the situation and says it in words.
    fn place(&mut self, situation: Situation) {
        self.workbench.placed = Some(situation);
        let objects = self.workbench.truth.scene.as_ref().map_or(&[][..], |scene| &scene.objects);
        // The truth is in the anchor space already, whose own anchor changes nothing.
        let level = CameraPose::looking(Vec3::ZERO, Orientation::FORWARD, 0.0, 0.0);
        self.drafts.situation = describe(&situation, objects, &AnchorFrame::from_first_camera(&level))
            .unwrap_or_else(|| PLACED_BY_HAND.to_owned());
    }

    fn clear_placed(&mut self) {
        self.workbench.placed = None;
        let question = shown_question(&self.conversation.0, &self.workbench);
        self.drafts.situation =
            question.and_then(|asked| asked.question.situation_text.clone()).unwrap_or_default();
    }

    fn copy_answer(&mut self) {
        let answer =
            shown_question(&self.conversation.0, &self.workbench).and_then(|asked| asked.answer.as_ref());
        self.clipboard.0 = answer.map(|answer| answer.text.clone());
    }

    fn restart_model(&mut self) {
        if let Err(problem) = self.model.restart() {
            self.workbench.notice = Some(problem);
        }
    }

    fn dismiss(&mut self) {
        if self.workbench.help_open {
            self.workbench.help_open = false;
        } else if self.workbench.sight_open {
            self.workbench.sight_open = false;
        } else if self.conversation.0.is_busy() {
            self.cancel();
        } else if self.workbench.placed.is_some() {
            self.clear_placed();
        }
    }
}
