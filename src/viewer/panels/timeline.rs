//! Transport and timeline: where playback is, what the model saw, how the camera
//! moved, where the answer is best looked at.

use bevy_egui::egui::{
    Align2, Button, ComboBox, CornerRadius, FontId, Label, Painter, Pos2, Rect, Response, RichText, Sense,
    Stroke, Ui, pos2, vec2,
};
use glam::Vec3;

use crate::scene::CameraEstimate;
use crate::session::SessionState;
use crate::video::{FrameIndex, VideoInfo};
use crate::viewer::action::ViewerAction;
use crate::viewer::playback::PlaybackClock;
use crate::viewer::theme;
use crate::viewer::views::TimelineView;

/// Speeds offered.
const RATES: [f32; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];

/// Draws transport and timeline.
pub(in crate::viewer) fn timeline_ui(ui: &mut Ui, view: TimelineView<'_>, actions: &mut Vec<ViewerAction>) {
    let Some(video) = view.clock.video() else {
        ui.centered_and_justified(|ui| ui.label(theme::weak("The timeline appears with a video")));
        return;
    };
    ui.horizontal(|ui| {
        transport(ui, view.clock, video, actions);
        warnings(ui, video, view.session);
    });
    let size = vec2(ui.available_width(), ui.available_height().max(24.0));
    let (rect, response) = ui.allocate_exact_size(size, Sense::click_and_drag());
    let track = Track { rect: rect.shrink2(vec2(6.0, 0.0)), duration: video.duration_secs().max(1e-6) };
    if let Some(frame) = scrubbed(&response, &track, video) {
        actions.push(ViewerAction::SeekTo(frame));
    }
    let painter = ui.painter_at(rect);
    paint_track(&painter, &track);
    paint_motion(&painter, &track, video, view.session.shown_cameras());
    paint_samples(&painter, &track, video, view.session);
    paint_answer(&painter, &track, video, view.session);
    paint_cursor(&painter, &track, view.clock);
    hover_text(&response, &track, video);
}

/// Where a moment lies on screen.
struct Track {
    rect: Rect,
    duration: f64,
}

impl Track {
    fn x(&self, secs: f64) -> f32 {
        self.rect.left() + (secs / self.duration).clamp(0.0, 1.0) as f32 * self.rect.width()
    }

    fn secs(&self, position: Pos2) -> f64 {
        f64::from(((position.x - self.rect.left()) / self.rect.width().max(1.0)).clamp(0.0, 1.0))
            * self.duration
    }
}

fn transport(ui: &mut Ui, clock: &PlaybackClock, video: &VideoInfo, actions: &mut Vec<ViewerAction>) {
    let mut button = |ui: &mut Ui, text: &str, hint: &str, action: ViewerAction| {
        if ui.add(Button::new(text).min_size(vec2(32.0, 26.0))).on_hover_text(hint).clicked() {
            actions.push(action);
        }
    };
    button(ui, "⏮", "First frame (Home)", ViewerAction::SeekTo(FrameIndex(0)));
    button(ui, "◀", "One frame back (←)", ViewerAction::Step(-1));
    let play = if clock.is_playing() { "⏸" } else { "▶" };
    button(ui, play, "Play or pause (Space)", ViewerAction::TogglePlay);
    button(ui, "▶|", "One frame on (→)", ViewerAction::Step(1));
    ComboBox::from_id_salt("rate").width(64.0).selected_text(format!("{}×", clock.rate())).show_ui(
        ui,
        |ui| {
            for rate in RATES {
                if ui.selectable_label((clock.rate() - rate).abs() < 1e-3, format!("{rate}×")).clicked() {
                    actions.push(ViewerAction::SetRate(rate));
                }
            }
        },
    );
    if ui.selectable_label(clock.is_looping(), "Loop").clicked() {
        actions.push(ViewerAction::SetLooping(!clock.is_looping()));
    }
    ui.add_space(theme::GAP);
    ui.monospace(format!("{} / {}", clock_text(clock.position_secs()), clock_text(video.duration_secs())));
    ui.label(theme::weak(format!("frame {} of {}", clock.frame().0 + 1, video.frame_count())));
}

/// What is odd about the clip: what the player found, and what the model found.
fn warnings(ui: &mut Ui, video: &VideoInfo, session: &SessionState) {
    // The model opened the same file and met the player's warnings too.
    let found = session.video.as_ref().filter(|seen| seen.path == video.path);
    let found = found.map_or(&video.warnings, |seen| &seen.warnings);
    if !found.is_empty() {
        let text = RichText::new(format!("⚠ {}", found.join("; "))).color(theme::PREDICTED);
        ui.add(Label::new(text).truncate()).on_hover_text(found.join("\n"));
    }
}

fn clock_text(secs: f64) -> String {
    let minutes = (secs / 60.0).floor();
    format!("{minutes:02.0}:{:05.2}", secs - minutes * 60.0)
}

fn scrubbed(response: &Response, track: &Track, video: &VideoInfo) -> Option<FrameIndex> {
    let moved = response.clicked() || response.dragged();
    response.interact_pointer_pos().filter(|_| moved).map(|position| video.frame_at(track.secs(position)))
}

fn paint_track(painter: &Painter, track: &Track) {
    let bar = Rect::from_center_size(track.rect.center(), vec2(track.rect.width(), 14.0));
    painter.rect_filled(bar, CornerRadius::same(4), theme::FIELD);
}

/// Brightness follows how far the camera moved and turned between two sampled frames.
fn paint_motion(painter: &Painter, track: &Track, video: &VideoInfo, cameras: &[CameraEstimate]) {
    let moved: Vec<f32> = cameras
        .windows(2)
        .map(|pair| {
            pair[0].pose.position.distance(pair[1].pose.position)
                + pair[0].pose.rotation_distance(&pair[1].pose)
        })
        .collect();
    let most = moved.iter().copied().fold(1e-3, f32::max);
    for (pair, moved) in cameras.windows(2).zip(moved) {
        let (Some(from), Some(to)) = (pts(video, pair[0].frame), pts(video, pair[1].frame)) else { continue };
        let center = track.rect.center().y;
        let half = 1.0 + 6.0 * moved / most;
        let bar = Rect::from_min_max(pos2(track.x(from), center - half), pos2(track.x(to), center + half));
        painter.rect_filled(
            bar,
            CornerRadius::ZERO,
            theme::CAMERA.gamma_multiply(0.22 + 0.35 * moved / most),
        );
    }
}

/// A tick per frame that the model saw.
fn paint_samples(painter: &Painter, track: &Track, video: &VideoInfo, session: &SessionState) {
    let Some(sight) = &session.sight else { return };
    let center = track.rect.center().y;
    for secs in sight.frames.iter().filter_map(|&frame| pts(video, frame)) {
        let x = track.x(secs);
        painter
            .line_segment([pos2(x, center - 11.0), pos2(x, center + 11.0)], Stroke::new(2.0, theme::CAMERA));
    }
}

/// A mark at the sampled frame that shows the predicted position best.
fn paint_answer(painter: &Painter, track: &Track, video: &VideoInfo, session: &SessionState) {
    let Some(estimate) = session.current_question().and_then(|asked| asked.estimate.as_ref()) else { return };
    let floor = session.layout.as_ref().map_or(-1.4, |layout| layout.floor_height);
    let place = Vec3::new(estimate.situation.position.x, estimate.situation.position.y, floor);
    let Some(secs) = best_view(&session.cameras, place).and_then(|frame| pts(video, frame)) else { return };
    let tip = pos2(track.x(secs), track.rect.center().y - 13.0);
    let corners = vec![tip, tip + vec2(-6.0, -9.0), tip + vec2(6.0, -9.0)];
    painter.add(bevy_egui::egui::Shape::convex_polygon(corners, theme::PREDICTED, Stroke::NONE));
}

/// The frame whose camera sees `place` closest to the middle of its picture.
fn best_view(cameras: &[CameraEstimate], place: Vec3) -> Option<FrameIndex> {
    let off_axis = |camera: &CameraEstimate| {
        let seen = camera.pose.camera_from_world(place);
        (seen.z > 0.2).then(|| seen.truncate().length() / seen.z)
    };
    cameras
        .iter()
        .filter_map(|camera| Some((off_axis(camera)?, camera.frame)))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, frame)| frame)
}

fn paint_cursor(painter: &Painter, track: &Track, clock: &PlaybackClock) {
    let x = track.x(clock.position_secs());
    let (top, bottom) = (track.rect.center().y - 16.0, track.rect.center().y + 16.0);
    painter.line_segment([pos2(x, top), pos2(x, bottom)], Stroke::new(2.0, theme::TEXT));
    painter.circle_filled(pos2(x, bottom), 4.0, theme::TEXT);
}

fn hover_text(response: &Response, track: &Track, video: &VideoInfo) {
    let Some(position) = response.hover_pos() else { return };
    let frame = video.frame_at(track.secs(position));
    let text = format!("{}  ·  frame {}", clock_text(track.secs(position)), frame.0 + 1);
    let painter = response.ctx.layer_painter(response.layer_id);
    // Beside the cursor line, which follows the pointer while it scrubs.
    let (align, gap) =
        if position.x < track.rect.center().x { (Align2::LEFT_TOP, 8.0) } else { (Align2::RIGHT_TOP, -8.0) };
    let place = pos2(position.x + gap, track.rect.top());
    painter.text(place, align, text, FontId::proportional(12.0), theme::TEXT_WEAK);
}

fn pts(video: &VideoInfo, frame: FrameIndex) -> Option<f64> {
    video.pts_secs.get(frame.0 as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{CameraPose, ImageSize, Intrinsics, Orientation};

    #[test]
    fn moments_and_places_on_the_track_agree() {
        let rect = Rect::from_min_size(pos2(10.0, 0.0), vec2(200.0, 20.0));
        let track = Track { rect, duration: 8.0 };
        assert!((track.secs(pos2(track.x(3.0), 0.0)) - 3.0).abs() < 1e-4);
        assert!(track.secs(pos2(-50.0, 0.0)).abs() < 1e-9);
        assert!((track.secs(pos2(900.0, 0.0)) - 8.0).abs() < 1e-9);
    }

    #[test]
    fn the_best_view_looks_at_the_place() {
        let camera = |frame: u32, degrees: f32| CameraEstimate {
            frame: FrameIndex(frame),
            pose: CameraPose::looking(Vec3::ZERO, Orientation::from_degrees(degrees), 0.0, 0.0),
            intrinsics: Intrinsics::from_horizontal_fov(ImageSize::new(64, 48), 1.0),
        };
        let cameras = [camera(0, 90.0), camera(5, 30.0), camera(9, -90.0)];
        assert_eq!(best_view(&cameras, Vec3::new(2.0, 1.2, -1.0)), Some(FrameIndex(5)));
        assert_eq!(best_view(&[], Vec3::X), None);
    }

    #[test]
    fn times_read_like_a_clock() {
        assert_eq!(clock_text(63.5), "01:03.50");
        assert_eq!(clock_text(0.0), "00:00.00");
    }
}
