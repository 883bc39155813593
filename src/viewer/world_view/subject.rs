//! What the 3D view is about: the clip with its conversation, or the room on screen of
//! the training run that is followed.

use bevy::ecs::system::SystemParam;
use bevy::prelude::{DetectChanges as _, Res};

use crate::session::SessionState;
use crate::train::ValidationScene;
use crate::viewer::bridge::Conversation;
use crate::viewer::run_watch::RunWatch;

/// Conversation or run.
#[derive(SystemParam)]
pub(super) struct Subject<'w> {
    conversation: Res<'w, Conversation>,
    watch: Res<'w, RunWatch>,
}

impl Subject<'_> {
    /// Layout, cameras and situations to show.
    pub(super) fn session(&self) -> &SessionState {
        self.watch.run.as_ref().map_or(&self.conversation.0, |run| &run.session)
    }

    /// Whether a run is followed: then nothing can be asked or moved.
    pub(super) fn is_run(&self) -> bool {
        self.watch.run.is_some()
    }

    /// The room on screen, of a followed run.
    pub(super) fn room(&self) -> Option<&ValidationScene> {
        self.watch.run.as_ref()?.shown()
    }

    /// Whether anything of it changed since the caller looked last.
    pub(super) fn is_changed(&self) -> bool {
        self.conversation.is_changed() || self.watch.is_changed()
    }
}
