//! The window: size, title, how often it draws, pictures of it, what happens when
//! the graphics device fails.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bevy::prelude::{
    App, Commands, DetectChanges as _, IntoScheduleConfigs as _, Last, MessageReader, On, Res, ResMut,
    Resource, Single, Update, Window, With,
};
use bevy::render::error_handler::{RenderErrorHandler, RenderErrorPolicy};
use bevy::render::view::screenshot::{Screenshot, ScreenshotCaptured};
use bevy::tasks::IoTaskPool;
use bevy::window::{
    FileDragAndDrop, MonitorSelection, PresentMode, PrimaryWindow, WindowPosition, WindowResolution,
    WindowTheme,
};
use bevy::winit::{UpdateMode, WinitSettings};

use super::ViewerSet;
use super::action::ViewerAction;
use super::bridge::Conversation;
use super::playback::PlaybackClock;
use super::workbench::Workbench;

/// Size of the window at its first opening, pixels.
const SIZE: (u32, u32) = (1440, 900);
/// Between two looks at the workers while something runs.
const BUSY_WAIT: Duration = Duration::from_millis(33);
/// Between two looks at the workers while nothing runs.
const IDLE_WAIT: Duration = Duration::from_millis(150);

/// The window as it opens.
pub(super) fn primary_window() -> Window {
    Window {
        title: "loc3r".to_owned(),
        name: Some("loc3r".to_owned()),
        resolution: WindowResolution::new(SIZE.0, SIZE.1),
        position: WindowPosition::Centered(MonitorSelection::Primary),
        present_mode: PresentMode::AutoVsync,
        window_theme: Some(WindowTheme::Dark),
        ..Window::default()
    }
}

/// How often the window is drawn.
#[derive(Debug, Resource)]
pub(super) struct Pace {
    scripted: bool,
    keep_drawing: AtomicBool,
}

impl Pace {
    /// Continuous drawing for scripts, else as little as what is shown needs.
    pub(crate) fn new(scripted: bool) -> Self {
        Self { scripted, keep_drawing: AtomicBool::new(false) }
    }

    /// Whether a script drives the app: no animation then depends on time.
    pub(crate) fn is_scripted(&self) -> bool {
        self.scripted
    }

    /// Something moves: draw the next frame at once.
    pub(crate) fn keep_drawing(&self) {
        self.keep_drawing.store(true, Ordering::Relaxed);
    }
}

/// Pictures of the window on their way to disk.
#[derive(Debug, Clone, Default, Resource)]
pub(super) struct Pictures {
    open: Arc<AtomicUsize>,
    problems: Arc<Mutex<Vec<String>>>,
}

impl Pictures {
    /// Whether all pictures are written.
    pub(crate) fn are_written(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    /// Takes the newest failure.
    pub(crate) fn take_problem(&self) -> Option<String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Takes a picture of the window at the end of this frame and writes it as PNG.
    pub(crate) fn take(&self, commands: &mut Commands, path: PathBuf) {
        self.open.fetch_add(1, Ordering::AcqRel);
        let pictures = self.clone();
        commands.spawn(Screenshot::primary_window()).observe(move |captured: On<ScreenshotCaptured>| {
            let (image, path, pictures) = (captured.image.clone(), path.clone(), pictures.clone());
            IoTaskPool::get()
                .spawn(async move {
                    let written = image
                        .try_into_dynamic()
                        .map_err(|error| error.to_string())
                        .and_then(|picture| picture.to_rgb8().save(&path).map_err(|error| error.to_string()));
                    if let Err(reason) = written {
                        let problem = format!("cannot write the picture {}: {reason}", path.display());
                        tracing::error!("{problem}");
                        pictures.problems.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
                    }
                    pictures.open.fetch_sub(1, Ordering::AcqRel);
                })
                .detach();
        });
    }
}

/// Keeps the app alive when the graphics device fails: drawing stops, the model
/// thread and the recording go on, and closing the window still works.
pub(super) fn render_error_handler() -> RenderErrorHandler {
    RenderErrorHandler(|error, main_world, _| {
        tracing::error!("graphics error: {error:?}");
        if let Some(mut workbench) = main_world.get_resource_mut::<Workbench>() {
            workbench.notice = Some("the graphics device reported an error; see the log".to_owned());
        }
        match error.ty {
            bevy::render::error_handler::ErrorType::DeviceLost => {
                RenderErrorPolicy::Recover(bevy::render::settings::RenderCreation::default())
            }
            bevy::render::error_handler::ErrorType::OutOfMemory => RenderErrorPolicy::StopRendering,
            _ => RenderErrorPolicy::Ignore,
        }
    })
}

pub(super) fn plugin(app: &mut App) {
    app.init_resource::<Pictures>()
        .insert_resource(WinitSettings::continuous())
        .insert_resource(render_error_handler())
        .add_systems(
            Update,
            take_dropped_files.in_set(ViewerSet::Control).before(super::control::apply_actions),
        )
        .add_systems(Last, (set_pace, set_title));
}

fn set_pace(
    pace: Res<Pace>,
    clock: Res<PlaybackClock>,
    conversation: Res<Conversation>,
    mut settings: ResMut<WinitSettings>,
) {
    let keep = pace.keep_drawing.swap(false, Ordering::Relaxed);
    let mode = if pace.scripted || clock.is_playing() || keep {
        UpdateMode::Continuous
    } else if conversation.0.is_busy() {
        UpdateMode::reactive(BUSY_WAIT)
    } else {
        UpdateMode::reactive(IDLE_WAIT)
    };
    if settings.focused_mode != mode {
        settings.focused_mode = mode;
        settings.unfocused_mode = mode;
    }
}

fn set_title(workbench: Res<Workbench>, mut window: Single<&mut Window, With<PrimaryWindow>>) {
    if workbench.is_changed() {
        let clip = workbench.clip.as_ref().and_then(|path| path.file_name());
        let title =
            clip.map_or_else(|| "loc3r".to_owned(), |name| format!("{} — loc3r", name.to_string_lossy()));
        if window.title != title {
            window.title = title;
        }
    }
}

fn take_dropped_files(
    mut drops: MessageReader<FileDragAndDrop>,
    mut workbench: ResMut<Workbench>,
    mut actions: bevy::prelude::MessageWriter<ViewerAction>,
) {
    for drop in drops.read() {
        match drop {
            FileDragAndDrop::DroppedFile { path_buf, .. } => {
                workbench.drop_hover = false;
                actions.write(ViewerAction::OpenVideo(path_buf.clone()));
            }
            FileDragAndDrop::HoveredFile { .. } => workbench.drop_hover = true,
            FileDragAndDrop::HoveredFileCanceled { .. } => workbench.drop_hover = false,
        }
    }
}
