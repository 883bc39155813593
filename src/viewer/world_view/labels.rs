//! Text over the 3D view, drawn by egui at projected positions.

use bevy_egui::egui::{Align2, Color32, FontId, Painter, Pos2, Rect, pos2, vec2};
use glam::Vec3;

use super::grid::scale_bar_metres;
use super::truth::category_color;
use crate::scene::SceneTruth;
use crate::viewer::space::View;
use crate::viewer::theme;

/// Places labels so that none covers another; nearer ones come first.
#[derive(Default)]
pub(super) struct Labels {
    taken: Vec<Rect>,
}

impl Labels {
    /// Draws `text` centred at `position` on a dark plate, unless another label is there.
    pub(crate) fn add(
        &mut self,
        painter: &Painter,
        position: Pos2,
        text: &str,
        color: Color32,
        size: f32,
    ) -> bool {
        let galley = painter.layout_no_wrap(text.to_owned(), FontId::proportional(size), color);
        let plate = Rect::from_center_size(position, galley.size() + vec2(10.0, 4.0));
        if self.taken.iter().any(|taken| taken.intersects(plate)) || !painter.clip_rect().contains_rect(plate)
        {
            return false;
        }
        painter.rect_filled(plate, 4.0, theme::BACKGROUND.gamma_multiply(0.72));
        painter.galley(plate.center() - galley.size() * 0.5, galley, color);
        self.taken.push(plate);
        true
    }

    /// Names of the true objects over their boxes, the nearest first.
    pub(crate) fn add_objects(&mut self, painter: &Painter, view: &View, origin: Pos2, truth: &SceneTruth) {
        let eye = view.eye.position();
        let mut objects: Vec<_> = truth.objects.iter().collect();
        objects.sort_by(|a, b| {
            a.bounds.center.distance_squared(eye).total_cmp(&b.bounds.center.distance_squared(eye))
        });
        for object in objects {
            let top = object.bounds.center.truncate().extend(object.bounds.top());
            if let Some(position) = project(view, origin, top) {
                let color = category_color(object.category.as_str());
                self.add(painter, position - vec2(0.0, 9.0), object.category.as_str(), color, 11.0);
            }
        }
    }
}

/// Where an anchor point is on the window.
pub(super) fn project(view: &View, origin: Pos2, point: Vec3) -> Option<Pos2> {
    view.project(point).map(|screen| pos2(origin.x + screen.x, origin.y + screen.y))
}

/// The scale bar at the lower left corner, true at the distance of the target.
pub(super) fn scale_bar(painter: &Painter, view: &View, rect: Rect) {
    let points_per_metre = view.points_per_metre() / view.eye.distance();
    let metres = scale_bar_metres(points_per_metre, 110.0);
    let start = rect.left_bottom() + vec2(16.0, -16.0);
    let end = start + vec2(metres * points_per_metre, 0.0);
    let stroke = bevy_egui::egui::Stroke::new(1.5, theme::TEXT);
    painter.line_segment([start, end], stroke);
    for tick in [start, end] {
        painter.line_segment([tick - vec2(0.0, 4.0), tick + vec2(0.0, 4.0)], stroke);
    }
    let text = if metres < 1.0 { format!("{:.0} cm", metres * 100.0) } else { format!("{metres:.0} m") };
    let middle = pos2((start.x + end.x) * 0.5, start.y - 5.0);
    painter.text(middle, Align2::CENTER_BOTTOM, text, FontId::proportional(12.0), theme::TEXT);
}

/// What the colours mean, at the lower right corner; the ramp of certainty above it
/// when tokens are coloured so.
pub(super) fn legend(painter: &Painter, rect: Rect, entries: &[(Color32, &str)], ramp: bool) {
    const ROW: f32 = 18.0;
    const STEPS: u8 = 24;
    let font = || FontId::proportional(11.5);
    let corner = rect.right_bottom() - vec2(14.0, 12.0);
    let galleys: Vec<_> = entries
        .iter()
        .map(|&(color, text)| (color, painter.layout_no_wrap(text.to_owned(), font(), theme::TEXT_WEAK)))
        .collect();
    let rows = galleys.len() as f32 + if ramp { 1.0 } else { 0.0 };
    let width = galleys.iter().map(|(_, galley)| galley.size().x + 20.0).fold(0.0, f32::max);
    let width = if ramp { width.max(190.0) } else { width };
    if rows < 0.5 || width + 60.0 > rect.width() {
        return;
    }
    let plate = Rect::from_min_max(corner - vec2(width + 20.0, rows * ROW + 10.0), corner);
    painter.rect_filled(plate, 6.0, theme::BACKGROUND.gamma_multiply(0.8));
    let left = plate.left() + 10.0;
    let mut y = plate.top() + 5.0 + ROW * 0.5;
    for (color, galley) in galleys {
        let swatch = Rect::from_center_size(pos2(left + 5.0, y), vec2(10.0, 3.0));
        painter.rect_filled(swatch, 1.0, color);
        painter.galley(pos2(left + 20.0, y - galley.size().y * 0.5), galley, theme::TEXT_WEAK);
        y += ROW;
    }
    if ramp {
        let first = painter.text(pos2(left, y), Align2::LEFT_CENTER, "certain", font(), theme::TEXT_WEAK);
        let right = pos2(plate.right() - 10.0, y);
        let last = painter.text(right, Align2::RIGHT_CENTER, "uncertain", font(), theme::TEXT_WEAK);
        let (from, to) = (first.right() + 8.0, last.left() - 8.0);
        for k in 0..STEPS {
            let at = |k: u8| from + (to - from) * f32::from(k) / f32::from(STEPS);
            let bar = Rect::from_min_max(pos2(at(k), y - 3.0), pos2(at(k + 1), y + 3.0));
            painter.rect_filled(bar, 0.0, theme::uncertainty(f32::from(k) / f32::from(STEPS - 1)));
        }
    }
}
