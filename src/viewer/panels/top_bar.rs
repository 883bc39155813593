//! The bar on top: open, recent clips, path field, panels, size.

use std::path::{Path, PathBuf};

use bevy_egui::egui::containers::menu::{MenuButton, MenuConfig};
use bevy_egui::egui::{
    Align, Button, Key, Layout, PopupCloseBehavior, RichText, TextEdit, TextStyle, Ui, vec2,
};

use crate::viewer::action::ViewerAction;
use crate::viewer::theme;
use crate::viewer::workbench::{Drafts, Workbench};

/// What the bar sees.
#[derive(Debug)]
pub(in crate::viewer) struct TopBarView<'a> {
    /// Clip, recent list, what is open.
    pub workbench: &'a Workbench,
    /// The path being typed.
    pub drafts: &'a mut Drafts,
}

/// Draws the bar.
pub(in crate::viewer) fn top_bar_ui(ui: &mut Ui, view: TopBarView<'_>, actions: &mut Vec<ViewerAction>) {
    let TopBarView { workbench, drafts } = view;
    ui.horizontal(|ui| {
        ui.label(RichText::new("loc3r").text_style(TextStyle::Heading).strong());
        ui.add_space(theme::GAP);
        let open = ui.add_enabled(!workbench.dialog_open, Button::new("Open video …"));
        if open.on_hover_text("Or drop a file on the window (Ctrl O)").clicked() {
            actions.push(ViewerAction::ShowOpenDialog);
        }
        MenuButton::new("Recent or path").config(stays_open()).ui(ui, |ui| {
            recent(ui, workbench, drafts, actions);
        });
        if let Some(clip) = &workbench.clip {
            ui.label(RichText::new(name(clip)).strong()).on_hover_text(clip.display().to_string());
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if ui.selectable_label(workbench.help_open, "Keys").on_hover_text("Map of keys (?)").clicked() {
                actions.push(ViewerAction::ToggleHelp);
            }
            let sight = ui.selectable_label(workbench.sight_open, "What the model saw");
            if sight.on_hover_text("Frames, prompt and tokens (V)").clicked() {
                actions.push(ViewerAction::ToggleSight);
            }
        });
    });
}

/// A menu that a click inside does not close: fields and boxes in it can be used.
pub(super) fn stays_open() -> MenuConfig {
    MenuConfig::new().close_behavior(PopupCloseBehavior::CloseOnClickOutside)
}

fn recent(ui: &mut Ui, workbench: &Workbench, drafts: &mut Drafts, actions: &mut Vec<ViewerAction>) {
    for path in &workbench.recent {
        if ui.button(name(path)).on_hover_text(path.display().to_string()).clicked() {
            actions.push(ViewerAction::OpenVideo(path.clone()));
            ui.close();
        }
    }
    if !workbench.recent.is_empty() {
        ui.separator();
    }
    ui.label(theme::weak("Path of a video or a folder of images"));
    let field = ui.add(
        TextEdit::singleline(&mut drafts.path)
            .hint_text("/path/to/video.mp4")
            .margin(vec2(8.0, 5.0))
            .desired_width(320.0),
    );
    if field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter)) && !drafts.path.trim().is_empty()
    {
        actions.push(ViewerAction::OpenVideo(PathBuf::from(drafts.path.trim())));
        ui.close();
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
