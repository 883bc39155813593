//! The desktop app (Bevy and egui): video, 3D view, questions, timeline.
//!
//! Panels, keys and scripts only produce [`ViewerAction`]s; `control.rs` carries
//! them out; what the worker threads say arrives through `bridge.rs`. Nothing here
//! blocks. The systems of a frame run in the order of [`ViewerSet`]; egui's pass
//! follows and its actions are carried out in the next frame.
//!
//! The 3D view is drawn by our own pipelines (`render/`, `shaders/`) into a texture
//! that egui shows, so the pointer always belongs to exactly one widget.
#![expect(elided_lifetimes_in_paths, reason = "every parameter of a Bevy system has them")]

mod action;
mod bridge;
mod camera_rig;
mod clip_truth;
mod control;
mod model_menu;
mod open_dialog;
mod panels;
mod playback;
mod record;
mod render;
mod run_watch;
mod script;
mod shortcuts;
mod space;
mod theme;
mod video_view;
mod views;
mod window;
mod workbench;
mod world_view;

use std::path::PathBuf;
use std::process::ExitCode;

use bevy::app::AppExit;
use bevy::prelude::{
    App, Camera2d, Commands, DefaultPlugins, IntoScheduleConfigs as _, MessageWriter, Msaa, PluginGroup as _,
    Startup, SystemSet, Update,
};
use bevy::window::WindowPlugin;
use bevy_egui::{EguiPlugin, EguiPrimaryContextPass};

pub use action::ViewerAction;
pub use playback::{PlaybackClock, RATE_RANGE};
pub use run_watch::FollowedRun;
pub use shortcuts::{SHORTCUTS, Shortcut};
pub use video_view::VideoPanel;
pub use views::{FramePace, LayersView, QuestionView, SightView, StatusView, TimelineView, shown_question};
pub use workbench::{CameraMode, ClipTruth, Coloring, Drafts, Layer, LayerSet, RecordingState, Workbench};
pub use world_view::WorldPanel;

use crate::recording::RecordingConfig;
use crate::session::{
    Compute, FeatureCache, LogError, ModelList, Session, SessionError, SessionEvent, SessionLog,
};

/// The parts of a frame, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, SystemSet)]
pub enum ViewerSet {
    /// Events and frames of the workers arrive.
    Receive,
    /// Actions are carried out.
    Control,
    /// The 3D scene follows the state.
    Sync,
    /// Textures and uniforms are filled.
    Present,
    /// Requests go out.
    Send,
}

/// What the app starts with.
#[derive(Debug, Clone)]
pub struct ViewerOptions {
    /// The first clip, or the folder of a training run to follow.
    pub video: Option<PathBuf>,
    /// Checkpoint folder; without one the app plays and shows, but cannot answer.
    pub model: Option<PathBuf>,
    /// Models to choose from.
    pub models: ModelList,
    /// Where and how precisely the model computes.
    pub compute: Compute,
    /// Where to keep what the model sees of videos.
    pub cache: Option<FeatureCache>,
    /// A file of actions to carry out (see `script.rs`).
    pub script: Option<PathBuf>,
    /// Where to record from the start.
    pub recording: RecordingConfig,
    /// A session log to show instead of running a model.
    pub replay: Option<PathBuf>,
}

/// Why the app cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ViewerError {
    /// The script cannot be read.
    #[error("cannot use the script {file}: {reason}")]
    Script {
        /// The script.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The session log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The model thread cannot be started.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Opens the window and runs until it is closed; the code is 0 unless a script failed.
///
/// # Errors
/// When a file it starts with cannot be read or the model thread cannot be started.
pub fn run(options: ViewerOptions) -> Result<ExitCode, ViewerError> {
    let script = options.script.as_deref().map(script::Script::read).transpose()?;
    let replay = options.replay.as_deref().map(SessionLog::replay).transpose()?;
    let session = if options.replay.is_none() { Some(Session::start(options.cache.clone())?) } else { None };
    let events: Vec<SessionEvent> =
        replay.into_iter().flat_map(|replay| replay.events).map(|logged| logged.event).collect();
    let replayed = replayed_clip(&events).filter(|_| script.is_none());
    let clip = options.video.clone().or(replayed);

    let mut app = App::new();
    app.add_plugins(
        DefaultPlugins
            .set(WindowPlugin { primary_window: Some(window::primary_window()), ..WindowPlugin::default() }),
    )
    .add_plugins(EguiPlugin::default())
    .insert_resource(window::Pace::new(script.is_some()))
    .insert_resource(script.unwrap_or_default())
    .insert_resource(bridge::ModelLink::new(session, options.compute, events))
    .insert_resource(model_menu::ModelMenu::new(options.models.clone()))
    .insert_resource(record::Recording::new(options.recording.clone()));
    // A panel that cannot be drawn once (the window is closing) is no reason to end.
    app.set_error_handler(bevy::ecs::error::error);
    add_viewer(&mut app);
    app.add_systems(Startup, move |mut actions: MessageWriter<ViewerAction>| {
        actions.write(ViewerAction::ListModels);
        actions.write_batch(options.model.clone().map(ViewerAction::LoadModel));
        actions.write_batch(clip.clone().map(ViewerAction::OpenVideo));
    });
    Ok(match app.run() {
        AppExit::Success => ExitCode::SUCCESS,
        AppExit::Error(code) => ExitCode::from(code.get()),
    })
}

/// The clip that a recorded session is about.
fn replayed_clip(events: &[SessionEvent]) -> Option<PathBuf> {
    events.iter().rev().find_map(|event| match event {
        SessionEvent::VideoOpened { info, .. } => Some(info.path.clone()),
        _ => None,
    })
}

/// Everything but the engine.
fn add_viewer(app: &mut App) {
    app.add_message::<ViewerAction>()
        .init_resource::<Workbench>()
        .init_resource::<Drafts>()
        .init_resource::<camera_rig::CameraRig>()
        .init_resource::<clip_truth::TruthReader>()
        .init_resource::<open_dialog::OpenDialog>()
        .init_resource::<run_watch::RunWatch>()
        .init_resource::<control::Clipboard>()
        .configure_sets(
            Update,
            (ViewerSet::Receive, ViewerSet::Control, ViewerSet::Sync, ViewerSet::Present, ViewerSet::Send)
                .chain(),
        )
        .add_systems(Startup, spawn_camera)
        .add_systems(
            Update,
            (
                (
                    clip_truth::poll_truth,
                    open_dialog::poll_dialog,
                    model_menu::poll_models,
                    run_watch::receive_run,
                ),
                script::play_script,
                control::apply_actions,
                record::record,
            )
                .chain()
                .in_set(ViewerSet::Control),
        )
        .add_systems(bevy::prelude::Last, record::finish_recording)
        .add_systems(EguiPrimaryContextPass, before_panels);
    bridge::plugin(app);
    window::plugin(app);
    render::plugin(app);
    world_view::plugin(app);
    video_view::plugin(app);
    panels::plugin(app);
}

/// The camera that egui is drawn with; the 3D view has its own pipelines.
fn spawn_camera(mut commands: Commands) {
    commands.spawn((Camera2d, Msaa::Off));
}

/// Scale, keys and clipboard, before the panels are drawn.
fn before_panels(
    mut contexts: bevy_egui::EguiContexts,
    workbench: bevy::prelude::Res<Workbench>,
    clock: bevy::prelude::Res<PlaybackClock>,
    mut clipboard: bevy::prelude::ResMut<control::Clipboard>,
    mut actions: MessageWriter<ViewerAction>,
) -> bevy::prelude::Result {
    let ctx = contexts.ctx_mut()?;
    ctx.options_mut(|options| options.zoom_with_keyboard = false);
    ctx.set_zoom_factor(workbench.ui_scale);
    actions.write_batch(shortcuts::pressed_actions(ctx, &workbench, &clock));
    if let Some(text) = clipboard.0.take() {
        ctx.copy_text(text);
    }
    Ok(())
}
