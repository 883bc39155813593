//! The frame on screen and what is drawn over it.

mod overlay;
mod panel;
mod texture;

pub use panel::VideoPanel;

pub(super) fn plugin(app: &mut bevy::prelude::App) {
    texture::plugin(app);
}
