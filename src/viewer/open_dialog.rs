//! The system's file dialog, shown without blocking: asked on a task, looked at
//! once per frame.

use std::path::PathBuf;

use bevy::prelude::{MessageWriter, ResMut, Resource};
use bevy::tasks::futures::check_ready;
use bevy::tasks::{IoTaskPool, Task};

use super::action::ViewerAction;
use super::window::Pace;
use super::workbench::Workbench;

/// Endings of video files in the dialog's filter; everything else can be chosen too.
const VIDEO_ENDINGS: [&str; 14] =
    ["mp4", "mov", "mkv", "webm", "avi", "m4v", "mpg", "mpeg", "ts", "mts", "wmv", "flv", "3gp", "ogv"];

/// The dialog while it is open.
#[derive(Debug, Default, Resource)]
pub(super) struct OpenDialog {
    task: Option<Task<Option<PathBuf>>>,
    /// The folder of a model is asked for, not a video.
    for_model: bool,
}

impl OpenDialog {
    /// Shows the dialog in the folder of `near`; nothing happens while one is open.
    pub(crate) fn show(&mut self, near: Option<&std::path::Path>) {
        if self.task.is_some() {
            return;
        }
        let mut dialog = rfd::AsyncFileDialog::new()
            .set_title("Open a video")
            .add_filter("Videos", &VIDEO_ENDINGS)
            .add_filter("All files", &["*"]);
        if let Some(folder) = near.and_then(std::path::Path::parent) {
            dialog = dialog.set_directory(folder);
        }
        self.wait_for(dialog.pick_file(), false);
    }

    /// Asks for the folder of a model; nothing happens while a dialog is open.
    pub(crate) fn show_for_model(&mut self) {
        if self.task.is_some() {
            return;
        }
        let dialog = rfd::AsyncFileDialog::new().set_title("Open the folder of a model");
        self.wait_for(dialog.pick_folder(), true);
    }

    fn wait_for(
        &mut self,
        answer: impl Future<Output = Option<rfd::FileHandle>> + Send + 'static,
        for_model: bool,
    ) {
        let path = async move { answer.await.map(|file| file.path().to_path_buf()) };
        self.for_model = for_model;
        self.task = Some(IoTaskPool::get().spawn(path));
    }
}

/// Takes the answer of the dialog once it is there.
pub(super) fn poll_dialog(
    mut dialog: ResMut<OpenDialog>,
    mut workbench: ResMut<Workbench>,
    pace: bevy::prelude::Res<Pace>,
    mut actions: MessageWriter<ViewerAction>,
) {
    let Some(task) = &mut dialog.task else { return };
    let Some(answer) = check_ready(task) else {
        pace.keep_drawing();
        return;
    };
    dialog.task = None;
    workbench.dialog_open = false;
    match answer {
        Some(path) if dialog.for_model => {
            actions.write(ViewerAction::LoadModel(path));
        }
        Some(path) => {
            actions.write(ViewerAction::OpenVideo(path));
        }
        // Without a desktop portal the dialog ends at once, too: name the other ways.
        None => {
            workbench.notice =
                Some("no file chosen; files can also be dropped here or given as a path".to_owned());
        }
    }
}
