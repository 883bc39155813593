//! What is drawn over the video: the mark of sampled frames, vision tokens by
//! certainty, the objects under discussion, the answer as a caption.

use bevy_egui::egui::{Color32, FontId, Painter, Pos2, Rect, Stroke, StrokeKind, pos2, vec2};
use glam::Vec3;

use crate::geometry::{CameraPose, Intrinsics};
use crate::scene::{Layout, SceneTruth};
use crate::session::{AskedQuestion, ModelSight};
use crate::video::FrameIndex;
use crate::viewer::theme;

/// "Seen by the model" at the upper left corner of sampled frames.
pub(super) fn sampled_badge(painter: &Painter, rect: Rect, sight: &ModelSight, frame: FrameIndex) {
    let Some(place) = sight.frames.iter().position(|&sampled| sampled == frame) else { return };
    let text = format!("seen by the model, {} of {}", place + 1, sight.frames.len());
    let galley = painter.layout_no_wrap(text, FontId::proportional(12.0), theme::TEXT);
    let plate = Rect::from_min_size(rect.left_top() + vec2(10.0, 10.0), galley.size() + vec2(26.0, 8.0));
    painter.rect_filled(plate, 6.0, theme::BACKGROUND.gamma_multiply(0.75));
    painter.circle_filled(plate.left_center() + vec2(11.0, 0.0), 3.5, theme::CAMERA);
    painter.galley(plate.left_top() + vec2(20.0, 4.0), galley, theme::TEXT);
}

/// A dot per vision token of this frame, coloured by its spread; those that the
/// certainty filter hides in the 3D view are hidden here, too.
pub(super) fn tokens(painter: &Painter, rect: Rect, layout: &Layout, frame: FrameIndex, hidden_share: f32) {
    let (rows, columns) = (f32::from(layout.grid.0.max(1)), f32::from(layout.grid.1.max(1)));
    let mut spreads: Vec<f32> = layout.tokens.iter().map(|token| token.sigma.rms()).collect();
    spreads.sort_by(f32::total_cmp);
    let share =
        |spread: f32| spreads.partition_point(|&other| other < spread) as f32 / spreads.len().max(1) as f32;
    let cell = vec2(rect.width() / columns, rect.height() / rows);
    for token in layout.tokens.iter().filter(|token| token.frame == frame) {
        let uncertainty = share(token.sigma.rms());
        if uncertainty > 1.0 - hidden_share {
            continue;
        }
        let corner = rect.left_top() + vec2(f32::from(token.column) * cell.x, f32::from(token.row) * cell.y);
        let patch = Rect::from_min_size(corner, cell).shrink(1.5);
        let color = theme::uncertainty(uncertainty);
        painter.rect_filled(patch, 3.0, color.gamma_multiply(0.16));
        painter.rect_stroke(patch, 3.0, Stroke::new(1.0, color.gamma_multiply(0.7)), StrokeKind::Inside);
    }
}

/// Outlines the true objects that question or answer name, seen from the true camera.
pub(super) fn discussed_objects(
    painter: &Painter,
    rect: Rect,
    truth: &SceneTruth,
    question: &AskedQuestion,
    frame: FrameIndex,
) {
    let Some(pose) = truth.track.pose(frame) else { return };
    let words = discussed_words(question);
    for object in &truth.objects {
        let name = object.category.as_str();
        if !is_named(&words, name) {
            continue;
        }
        let corners = object.bounds.corners();
        let screen: Vec<Pos2> =
            corners.iter().filter_map(|&corner| on_screen(pose, &truth.intrinsics, rect, corner)).collect();
        // Boxes that reach behind the camera have no outline.
        if screen.len() < corners.len() {
            continue;
        }
        let outline = Rect::from_points(&screen).intersect(rect);
        if outline.width() < 4.0 || outline.height() < 4.0 {
            continue;
        }
        painter.rect_stroke(
            outline,
            4.0,
            Stroke::new(1.5, theme::TRUE.gamma_multiply(0.9)),
            StrokeKind::Inside,
        );
        let galley = painter.layout_no_wrap(name.to_owned(), FontId::proportional(12.0), theme::TRUE);
        let plate = Rect::from_min_size(outline.left_top(), galley.size() + vec2(10.0, 4.0));
        painter.rect_filled(plate, 4.0, theme::BACKGROUND.gamma_multiply(0.75));
        painter.galley(plate.left_top() + vec2(5.0, 2.0), galley, theme::TRUE);
    }
}

fn discussed_words(question: &AskedQuestion) -> String {
    let answer = question.answer.as_ref().map_or("", |answer| answer.text.as_str());
    let parts = [question.question.situation_text.as_deref().unwrap_or(""), &question.question.text, answer];
    let spaced: String =
        parts.join(" ").to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
    format!(" {} ", spaced.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Whether the words name the category, alone or in the plural.
fn is_named(words: &str, category: &str) -> bool {
    !category.is_empty()
        && ["", "s", "es"].iter().any(|ending| words.contains(&format!(" {category}{ending} ")))
}

fn on_screen(pose: &CameraPose, intrinsics: &Intrinsics, rect: Rect, point: Vec3) -> Option<Pos2> {
    let pixel = intrinsics.project(pose.camera_from_world(point))?;
    let share = vec2(pixel.x / intrinsics.size.width as f32, pixel.y / intrinsics.size.height as f32);
    Some(pos2(rect.left() + share.x * rect.width(), rect.top() + share.y * rect.height()))
}

/// Question and answer (so far) at the lower edge.
pub(super) fn caption(painter: &Painter, rect: Rect, question: &AskedQuestion) {
    let answer = match (&question.answer, &question.failure) {
        (Some(answer), _) => answer.text.clone(),
        (None, Some(_)) => return,
        (None, None) if question.partial.is_empty() => "…".to_owned(),
        (None, None) => question.partial.clone(),
    };
    let width = rect.width() - 48.0;
    let size = (rect.height() * 0.045).clamp(13.0, 20.0);
    let line = |text: String, size: f32, color: Color32| {
        painter.layout(text, FontId::proportional(size), color, width)
    };
    let asked = line(question.question.text.clone(), size * 0.78, theme::TEXT_WEAK);
    let said = line(answer, size, theme::TEXT);
    let content = vec2(asked.size().x.max(said.size().x), asked.size().y + said.size().y + 2.0);
    let plate = Rect::from_min_size(
        pos2(rect.center().x - content.x * 0.5 - 14.0, rect.bottom() - content.y - 26.0),
        content + vec2(28.0, 14.0),
    );
    painter.rect_filled(plate, 8.0, theme::BACKGROUND.gamma_multiply(0.82));
    let top = plate.top() + 7.0;
    let below = top + asked.size().y + 2.0;
    painter.galley(pos2(rect.center().x - asked.size().x * 0.5, top), asked, theme::TEXT_WEAK);
    painter.galley(pos2(rect.center().x - said.size().x * 0.5, below), said, theme::TEXT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_are_found_as_whole_words() {
        let words = " how many office chairs are behind the tv ";
        assert!(is_named(words, "office chair") && is_named(words, "tv"));
        assert!(!is_named(words, "chai") && !is_named(words, "air") && !is_named(words, "desk"));
    }
}
