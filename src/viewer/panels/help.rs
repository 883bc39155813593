//! The map of keys, generated from the table that the keys use.

use bevy_egui::egui::{Context, Grid, Modal, RichText, TextStyle, vec2};

use crate::viewer::action::ViewerAction;
use crate::viewer::shortcuts::SHORTCUTS;
use crate::viewer::theme;

/// Draws the map over everything else.
pub(crate) fn help_ui(ctx: &Context, actions: &mut Vec<ViewerAction>) {
    let modal = Modal::new("keys".into()).frame(theme::window_frame()).show(ctx, |ui| {
        ui.label(RichText::new("Keys").text_style(TextStyle::Heading));
        ui.add_space(6.0);
        Grid::new("keys").num_columns(4).spacing(vec2(18.0, 6.0)).show(ui, |ui| {
            for pair in SHORTCUTS.chunks(2) {
                for shortcut in pair {
                    ui.monospace(RichText::new(shortcut.keys).color(theme::CAMERA));
                    ui.label(shortcut.does);
                }
                ui.end_row();
            }
        });
        ui.add_space(6.0);
        ui.label(theme::weak(
            "3D view: drag turns, right drag or Shift drag moves, wheel zooms, double click fits.",
        ));
        ui.label(theme::weak(
            "Drag the arrow's foot to move the situation, its ring to turn it, then ask from there.",
        ));
    });
    if modal.should_close() {
        actions.push(ViewerAction::ToggleHelp);
    }
}
