//! What the 3D view shows: camera mode, colouring, confidence, layers.

use bevy_egui::egui::containers::menu::MenuButton;
use bevy_egui::egui::{Label, Slider, Ui};

use super::top_bar::stays_open;
use crate::viewer::action::ViewerAction;
use crate::viewer::theme;
use crate::viewer::views::LayersView;
use crate::viewer::workbench::{CameraMode, Coloring, Layer};

/// Draws the row above the 3D view.
pub(in crate::viewer) fn layers_ui(ui: &mut Ui, view: LayersView<'_>, actions: &mut Vec<ViewerAction>) {
    let LayersView { workbench, session, run } = view;
    for (mode, name, hint) in [
        (CameraMode::Orbit, "Orbit", "Around the room (1)"),
        (CameraMode::Follow, "Follow", "Behind the camera (2)"),
        (CameraMode::Top, "Map", "From above (3)"),
    ] {
        if ui.selectable_label(workbench.camera_mode == mode, name).on_hover_text(hint).clicked() {
            actions.push(ViewerAction::SetCameraMode(mode));
        }
    }
    if ui.button("Fit").on_hover_text("Everything into view (F)").clicked() {
        actions.push(ViewerAction::FrameAll);
    }
    ui.separator();
    MenuButton::new("Layers").config(stays_open()).ui(ui, |ui| {
        let elsewhere = |layer| if run { layer == Layer::VideoTokens } else { layer == Layer::TrueLayout };
        for layer in Layer::ALL.into_iter().filter(|layer| !elsewhere(*layer)) {
            let mut visible = workbench.layers.contains(layer);
            let known = is_known(layer, &view);
            if ui.add_enabled(known, bevy_egui::egui::Checkbox::new(&mut visible, layer.label())).changed() {
                actions.push(ViewerAction::SetLayerVisible(layer, visible));
            }
        }
    });
    ui.separator();
    ui.label(theme::weak("Colour"));
    for (coloring, name) in [(Coloring::Image, "image"), (Coloring::Uncertainty, "uncertainty")] {
        if ui.selectable_label(workbench.coloring == coloring, name).clicked() {
            actions.push(ViewerAction::SetColoring(coloring));
        }
    }
    ui.separator();
    ui.add(Label::new(theme::weak("Hide the least certain")).extend());
    let mut percent = workbench.confidence * 100.0;
    let slider = Slider::new(&mut percent, 0.0..=100.0).fixed_decimals(0).suffix(" %");
    if ui.add_enabled(session.layout.is_some(), slider).changed() {
        actions.push(ViewerAction::SetConfidence(percent / 100.0));
    }
}

/// Whether there is anything to show on a layer.
fn is_known(layer: Layer, view: &LayersView<'_>) -> bool {
    match layer {
        Layer::Points => !view.session.points.points.is_empty(),
        Layer::TrueObjects => view.workbench.truth.scene.is_some(),
        Layer::TrueSituation => {
            view.workbench.truth.scene.is_some() || !view.workbench.truth.questions.is_empty()
        }
        _ => true,
    }
}
