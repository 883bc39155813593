//! Arrangement of the window: builds what each panel sees and collects their actions.

use bevy::prelude::{App, IntoScheduleConfigs, MessageWriter, Result};
use bevy_egui::egui::{CentralPanel, Frame, LayerId, Panel, Ui, UiBuilder};
use bevy_egui::{EguiContexts, EguiPrimaryContextPass};

use super::action::ViewerAction;
use super::theme;
use super::video_view::VideoPanel;
use super::world_view::WorldPanel;

pub(super) fn plugin(app: &mut App) {
    app.add_systems(EguiPrimaryContextPass, panels.after(super::before_panels));
}

fn panels(
    mut contexts: EguiContexts,
    mut world: WorldPanel,
    mut video: VideoPanel,
    mut actions: MessageWriter<ViewerAction>,
) -> Result {
    let ctx = contexts.ctx_mut()?.clone();
    let mut wanted = Vec::new();
    let window = UiBuilder::new().layer_id(LayerId::background()).max_rect(ctx.viewport_rect());
    let mut ui = Ui::new(ctx, "window".into(), window);
    let frame = Frame::new().fill(theme::BACKGROUND);
    Panel::left("video").default_size(560.0).frame(frame).show(&mut ui, |ui| video.show(ui, &mut wanted));
    CentralPanel::default().frame(frame).show(&mut ui, |ui| world.show(ui, &mut wanted));
    actions.write_batch(wanted);
    Ok(())
}
