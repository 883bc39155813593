//! The model in use: its name in the bar; behind it its essentials, its card, and the models
//! that could take its place.

use bevy_egui::egui::containers::menu::MenuButton;
use bevy_egui::egui::style::StyleModifier;
use bevy_egui::egui::{Align, Button, Grid, Label, Layout, RichText, ScrollArea, TextStyle, Ui, vec2};

use super::top_bar::stays_open;
use crate::session::{ModelChoice, ModelInfo};
use crate::viewer::action::ViewerAction;
use crate::viewer::theme;

/// Size of the opened card.
const CARD_WIDTH: f32 = 780.0;
const CARD_HEIGHT: f32 = 420.0;

/// Draws the name; a click opens the card and the list of models.
pub(super) fn model_ui(
    ui: &mut Ui,
    model: Option<&ModelInfo>,
    choices: &[ModelChoice],
    actions: &mut Vec<ViewerAction>,
) {
    let name = model.map_or("no model", |model| model.name.as_str());
    let name = RichText::new(name).text_style(TextStyle::Small).strong();
    // Buttons of a menu look like text: right for a list of names, not for what unloads a model.
    let config = stays_open().style(StyleModifier::default());
    let (button, shown) = MenuButton::new(name).config(config).ui(ui, |ui| {
        ui.set_width(CARD_WIDTH);
        if let Some(model) = model {
            essentials(ui, model);
            ui.separator();
            card(ui, &model.card);
            ui.separator();
        }
        choice(ui, model, choices, actions);
    });
    if button.clicked() && shown.is_some() {
        actions.push(ViewerAction::ListModels);
    }
    button.on_hover_text("What this model is, what it cannot do, and other models");
    if let Some(model) = model {
        ui.label(theme::weak(&model.device));
    }
}

/// Other models, what they take, and none.
fn choice(ui: &mut Ui, model: Option<&ModelInfo>, choices: &[ModelChoice], actions: &mut Vec<ViewerAction>) {
    Grid::new("models").num_columns(3).spacing(vec2(18.0, 4.0)).show(ui, |ui| {
        for choice in choices {
            let in_use = model.is_some_and(|model| model.folder == choice.path);
            let color = if choice.fits { theme::TEXT_WEAK } else { theme::PROBLEM };
            ui.label(&choice.name).on_hover_text(choice.path.display().to_string());
            ui.label(theme::weak(&choice.needs).color(color));
            let button = ui.add_enabled(!in_use, Button::new(if in_use { "in use" } else { "Use" }));
            if button.clicked() {
                actions.push(ViewerAction::LoadModel(choice.path.clone()));
                ui.close();
            }
            ui.end_row();
        }
    });
    ui.horizontal(|ui| {
        if ui.button("Open folder …").on_hover_text("A folder with config.json and weights").clicked() {
            actions.push(ViewerAction::ShowModelDialog);
            ui.close();
        }
        let unload = ui.add_enabled(model.is_some(), Button::new("Unload"));
        if unload.on_hover_text("Give its memory back; the video can still be played").clicked() {
            actions.push(ViewerAction::UnloadModel);
            ui.close();
        }
    });
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
