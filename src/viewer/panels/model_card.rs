//! The model in use: its name in the bar, its essentials and its card behind it.

use bevy_egui::egui::containers::menu::MenuButton;
use bevy_egui::egui::{Align, Grid, Label, Layout, RichText, ScrollArea, TextStyle, Ui, vec2};

use super::top_bar::stays_open;
use crate::session::ModelInfo;
use crate::viewer::theme;

/// Size of the opened card.
const CARD_WIDTH: f32 = 680.0;
const CARD_HEIGHT: f32 = 420.0;

/// Draws the name; a click opens the card.
pub(super) fn model_ui(ui: &mut Ui, model: &ModelInfo) {
    let name = RichText::new(&model.name).text_style(TextStyle::Small).strong();
    let (button, _) = MenuButton::new(name).config(stays_open()).ui(ui, |ui| {
        ui.set_width(CARD_WIDTH);
        essentials(ui, model);
        ui.separator();
        card(ui, &model.card);
    });
    button.on_hover_text("What this model is, and what it cannot do");
    ui.label(theme::weak(&model.device));
}

fn essentials(ui: &mut Ui, model: &ModelInfo) {
    ui.label(RichText::new(&model.name).text_style(TextStyle::Heading));
    let facts = [
        ("weights", format!("{:.2} million", model.parameters as f64 / 1e6)),
        ("input", format!("{} frames of {} × {} pixels", model.frames, model.image_size, model.image_size)),
        ("runs on", model.device.clone()),
        ("folder", model.folder.display().to_string()),
    ];
    Grid::new("essentials").num_columns(2).spacing(vec2(18.0, 4.0)).show(ui, |ui| {
        for (name, value) in facts {
            ui.label(theme::weak(name));
            ui.label(value);
            ui.end_row();
        }
    });
    if !model.notice.is_empty() {
        ui.label(theme::weak(&model.notice).color(theme::PREDICTED));
    }
}

fn card(ui: &mut Ui, text: &str) {
    if text.is_empty() {
        ui.label(theme::weak("There is no model card (README.md) in its folder."));
        return;
    }
    ScrollArea::both().max_height(CARD_HEIGHT).auto_shrink([false, true]).show(ui, |ui| {
        // Tables keep their columns: lines neither wrap nor are stretched to the width.
        ui.with_layout(Layout::top_down(Align::Min), |ui| {
            ui.add(Label::new(RichText::new(text).text_style(TextStyle::Small).monospace()).extend());
        });
    });
}
