//! The widget of the video: the picture as large as it fits, with the overlay.

use bevy::ecs::system::SystemParam;
use bevy::prelude::Res;
use bevy_egui::egui::{Align2, Color32, CornerRadius, FontId, Rect, Response, Sense, Ui, pos2, vec2};

use super::overlay;
use super::texture::VideoPicture;
use crate::geometry::ImageSize;
use crate::viewer::action::ViewerAction;
use crate::viewer::bridge::{Conversation, VideoLink};
use crate::viewer::theme;
use crate::viewer::views::shown_question;
use crate::viewer::workbench::{Layer, Workbench};

/// Everything the widget of the video needs; a panel calls [`VideoPanel::show`].
#[derive(SystemParam)]
pub struct VideoPanel<'w> {
    picture: Res<'w, VideoPicture>,
    link: Res<'w, VideoLink>,
    conversation: Res<'w, Conversation>,
    workbench: Res<'w, Workbench>,
}

impl VideoPanel<'_> {
    /// Fills the rest of `ui` with the video; a click plays or pauses.
    pub fn show(&mut self, ui: &mut Ui, actions: &mut Vec<ViewerAction>) -> Response {
        let (space, response) = ui.allocate_exact_size(ui.available_size(), Sense::click());
        let Some(frame) = &self.link.shown else {
            let text = self.link.failure.as_deref().unwrap_or("No video");
            let painter = ui.painter_at(space);
            let font = FontId::proportional(14.0);
            let galley = painter.layout(text.to_owned(), font, theme::TEXT_WEAK, space.width() * 0.8);
            painter.galley(space.center() - galley.size() * 0.5, galley, theme::TEXT_WEAK);
            return response;
        };
        let rect = fitted(space, frame.size);
        let painter = ui.painter_at(space);
        let uv = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
        painter.image(self.picture.id, rect, uv, Color32::WHITE);
        if self.link.is_stand_in {
            painter.text(
                rect.right_top() + vec2(-10.0, 8.0),
                Align2::RIGHT_TOP,
                format!("frame {} …", frame.index.0 + 1),
                FontId::proportional(12.0),
                theme::TEXT,
            );
        }
        let session = &self.conversation.0;
        if let (Some(layout), true) =
            (session.shown_layout(), self.workbench.layers.contains(Layer::VideoTokens))
        {
            overlay::tokens(&painter, rect, layout, frame.index, self.workbench.confidence);
        }
        let question = shown_question(session, &self.workbench);
        if let Some(sight) = &session.sight {
            overlay::sampled_badge(&painter, rect, sight, frame.index);
        }
        if let Some(question) = question {
            if let Some(truth) = &self.workbench.truth.scene {
                overlay::discussed_objects(&painter, rect, truth, question, frame.index);
            }
            overlay::caption(&painter, rect, question);
        }
        if response.clicked() {
            actions.push(ViewerAction::TogglePlay);
        }
        painter.rect_stroke(
            rect,
            CornerRadius::ZERO,
            bevy_egui::egui::Stroke::new(1.0, theme::GRID),
            bevy_egui::egui::StrokeKind::Inside,
        );
        response
    }
}

/// The largest rectangle of the video's shape in the middle of `space`.
fn fitted(space: Rect, size: ImageSize) -> Rect {
    let aspect = size.aspect().max(1e-3);
    let width = space.width().min(space.height() * aspect);
    Rect::from_center_size(space.center(), vec2(width, width / aspect))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_keeps_its_shape_and_fits() {
        let space = Rect::from_min_size(pos2(10.0, 20.0), vec2(800.0, 300.0));
        let rect = fitted(space, ImageSize::new(640, 480));
        assert!((rect.height() - 300.0).abs() < 1e-3 && (rect.width() - 400.0).abs() < 1e-3);
        assert_eq!(rect.center(), space.center());
        let tall = fitted(space, ImageSize::new(100, 400));
        assert!(space.contains_rect(tall));
    }
}
