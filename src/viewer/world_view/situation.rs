//! The situation as an arrow on the floor with its sigma ellipse and the rose of
//! heading probabilities (Loc3R-VLM, `<Pos>` and `<Ori>`).

use bevy_egui::egui::Color32;
use glam::{Vec2, Vec3};

use crate::geometry::{Orientation, OrientationHistogram};
use crate::qa::{Situation, SituationEstimate};
use crate::viewer::render::{Geometry, Line, Mark, Rgba};
use crate::viewer::workbench::Layer;

/// Radius of the disc at the arrow's foot, metres.
pub(super) const FOOT_RADIUS: f32 = 0.12;
/// From the foot to the tip, metres.
pub(super) const ARROW_LENGTH: f32 = 0.56;
/// Radius of the ring that turns the arrow, metres.
pub(super) const RING_RADIUS: f32 = 0.66;
/// Inner and outer radius of the rose, metres.
const ROSE: (f32, f32) = (0.70, 1.08);
/// Above floor and tokens.
const LIFT: f32 = 0.012;

/// Part of the arrow under the pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handle {
    /// Moves it.
    Foot,
    /// Turns it.
    Ring,
}

/// Whether an arrow can be grabbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grip {
    /// Only shown.
    Fixed,
    /// Shown with the ring that turns it; the part under the pointer is bright.
    Free(Option<Handle>),
}

/// What is under `point` on the floor; `reach` is the tolerance of the pointer in metres.
pub(super) fn handle_at(situation: &Situation, point: Vec2, reach: f32) -> Option<Handle> {
    let offset = point - Vec2::from(situation.position);
    let along = offset.dot(situation.orientation.direction());
    let across = offset.perp_dot(situation.orientation.direction()).abs();
    if (offset.length() - RING_RADIUS).abs() < reach.max(0.08) {
        Some(Handle::Ring)
    } else if (across < FOOT_RADIUS + reach && (-FOOT_RADIUS - reach..ARROW_LENGTH + reach).contains(&along))
        || offset.length() < FOOT_RADIUS + reach
    {
        Some(Handle::Foot)
    } else {
        None
    }
}

/// The part of the arrow under `pressed` on the floor, with the foot relative to it.
pub(super) fn grabbed(situation: &Situation, pressed: Vec2, reach: f32) -> Option<(Handle, Vec2)> {
    handle_at(situation, pressed, reach).map(|handle| (handle, Vec2::from(situation.position) - pressed))
}

/// Adds an arrow, with the handle to turn it when it can be grabbed.
pub(super) fn add_arrow(
    geometry: &mut Geometry,
    layer: Layer,
    situation: &Situation,
    floor: f32,
    color: Color32,
    grip: Grip,
) {
    let center = Vec2::from(situation.position).extend(floor + LIFT);
    let opaque = with_alpha(color, 255);
    if let Grip::Free(hovered) = grip {
        let (alpha, width) = if hovered == Some(Handle::Ring) { (255, 3.0) } else { (130, 1.5) };
        add_outline(geometry, layer, center, Vec2::splat(RING_RADIUS), width, with_alpha(color, alpha));
    }
    let forward = situation.orientation.direction();
    let across = forward.perp();
    let at = |along: f32, side: f32| center + (forward * along + across * side).extend(0.0);
    let dark: Rgba = [10, 12, 16, 210];
    // A dark rim keeps the arrow readable on any ground.
    for (grow, color) in [(0.022, dark), (0.0, opaque)] {
        let (tip, neck, wing, half) =
            (ARROW_LENGTH + grow * 2.2, 0.32 - grow, 0.14 + grow * 1.6, 0.04 + grow);
        geometry.front_marks.push(Mark::ellipse(layer, center, Vec2::splat(FOOT_RADIUS + grow), color));
        geometry.front_marks.push(Mark::triangle(
            layer,
            [at(neck, -wing), at(neck, wing), at(tip, 0.0)],
            color,
        ));
        geometry.front_marks.push(Mark::triangle(
            layer,
            [at(0.0, -half), at(0.0, half), at(neck + 0.03, half)],
            color,
        ));
        geometry.front_marks.push(Mark::triangle(
            layer,
            [at(0.0, -half), at(neck + 0.03, -half), at(neck + 0.03, half)],
            color,
        ));
    }
    let dot = if grip == Grip::Free(Some(Handle::Foot)) { [255, 255, 255, 255] } else { dark };
    geometry.front_marks.push(Mark::ellipse(layer, center, Vec2::splat(FOOT_RADIUS * 0.42), dot));
}

/// Adds the sigma ellipses (1σ filled, 2σ as a line) and the rose around the estimate.
pub(super) fn add_estimate(
    geometry: &mut Geometry,
    estimate: &SituationEstimate,
    floor: f32,
    color: Color32,
) {
    let center = Vec2::from(estimate.situation.position).extend(floor + LIFT);
    let sigma = Vec2::new(estimate.position_sigma.x, estimate.position_sigma.y);
    let layer = Layer::Situation;
    geometry.front_marks.push(Mark::ellipse(layer, center, sigma, with_alpha(color, 12)));
    add_outline(geometry, layer, center, sigma, 1.6, with_alpha(color, 190));
    add_outline(geometry, layer, center, sigma * 2.0, 1.0, with_alpha(color, 80));
    add_rose(geometry, &estimate.orientation, center, color);
}

/// An ellipse as a line of `width` interface points, however large it is.
fn add_outline(
    geometry: &mut Geometry,
    layer: Layer,
    center: Vec3,
    half_axes: Vec2,
    width: f32,
    color: Rgba,
) {
    const SIDES: u32 = 72;
    let at = |k: u32| {
        let turn = std::f32::consts::TAU * k as f32 / SIDES as f32;
        center + (Vec2::from_angle(turn) * half_axes).extend(0.0)
    };
    geometry
        .front_lines
        .extend((0..SIDES).map(|k| Line::new(layer, [at(k), at((k + 1) % SIDES)], width, color)));
}

fn add_rose(geometry: &mut Geometry, histogram: &OrientationHistogram, center: Vec3, color: Color32) {
    let bins = histogram.0.len();
    let peak = histogram.0.iter().copied().fold(1e-6, f32::max);
    let at = |angle: f32, radius: f32| center + (Vec2::from_angle(angle) * radius).extend(0.0);
    let half = std::f32::consts::PI / bins.max(1) as f32;
    for (bin, &probability) in histogram.0.iter().enumerate() {
        let angle = OrientationHistogram::bin_center(bin, bins);
        let share = (probability / peak).clamp(0.0, 1.0);
        // Area, not length, shows the probability.
        let outer = (ROSE.0 * ROSE.0 + share * (ROSE.1 * ROSE.1 - ROSE.0 * ROSE.0)).sqrt();
        let (low, high) = (angle - half * 0.86, angle + half * 0.86);
        let fill = with_alpha(color, 12 + (120.0 * share * share) as u8);
        if share > 0.01 {
            let corners = [at(low, ROSE.0), at(high, ROSE.0), at(high, outer), at(low, outer)];
            geometry.front_marks.push(Mark::triangle(
                Layer::Situation,
                [corners[0], corners[1], corners[2]],
                fill,
            ));
            geometry.front_marks.push(Mark::triangle(
                Layer::Situation,
                [corners[0], corners[2], corners[3]],
                fill,
            ));
        }
        let base = [at(angle - half, ROSE.0), at(angle + half, ROSE.0)];
        geometry.front_lines.push(Line::new(Layer::Situation, base, 1.0, with_alpha(color, 60)));
    }
}

/// The situation after dragging `handle` to `point` on the floor; `grip` is where the
/// foot was relative to the pointer when it was grabbed.
pub(super) fn dragged(situation: &Situation, handle: Handle, point: Vec2, grip: Vec2) -> Situation {
    match handle {
        Handle::Foot => Situation { position: (point + grip).into(), ..*situation },
        Handle::Ring => Situation {
            orientation: Orientation::from_direction(point - Vec2::from(situation.position))
                .unwrap_or(situation.orientation),
            ..*situation
        },
    }
}

fn with_alpha(color: Color32, alpha: u8) -> Rgba {
    [color.r(), color.g(), color.b(), alpha]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::BevPoint;

    const SITUATION: Situation =
        Situation { position: BevPoint { x: 1.0, y: 2.0 }, orientation: Orientation::FORWARD };

    #[test]
    fn handles_are_where_they_are_drawn() {
        let at = |x, y| handle_at(&SITUATION, Vec2::new(x, y), 0.05);
        assert_eq!(at(1.0, 2.0), Some(Handle::Foot));
        assert_eq!(at(1.0, 2.5), Some(Handle::Foot));
        assert_eq!(at(1.0 + RING_RADIUS, 2.0), Some(Handle::Ring));
        assert_eq!(at(1.3, 1.75), None);
        assert_eq!(at(4.0, 2.0), None);
    }

    #[test]
    fn what_is_grabbed_lies_under_the_press_and_does_not_jump() {
        let (handle, grip) = grabbed(&SITUATION, Vec2::new(1.05, 2.02), 0.05).unwrap();
        let moved = dragged(&SITUATION, handle, Vec2::new(3.05, 2.02), grip);
        assert!(moved.position.distance(BevPoint::new(3.0, 2.0)) < 1e-6);
        assert_eq!(grabbed(&SITUATION, Vec2::new(3.0, 3.0), 0.05), None);
    }

    #[test]
    fn dragging_the_foot_keeps_the_grip_and_the_ring_points_at_the_pointer() {
        let moved = dragged(&SITUATION, Handle::Foot, Vec2::new(3.0, 3.0), Vec2::new(0.1, 0.0));
        assert!(moved.position.distance(BevPoint::new(3.1, 3.0)) < 1e-6);
        assert_eq!(moved.orientation, SITUATION.orientation);
        let turned = dragged(&SITUATION, Handle::Ring, Vec2::new(5.0, 2.0), Vec2::ZERO);
        assert!(turned.orientation.degrees().abs() < 1e-4);
        assert_eq!(turned.position, SITUATION.position);
    }

    #[test]
    fn the_rose_draws_only_bins_with_probability() {
        let mut probabilities = vec![0.0; 36];
        probabilities[4] = 1.0;
        let mut geometry = Geometry::default();
        add_rose(&mut geometry, &OrientationHistogram(probabilities), Vec3::ZERO, Color32::WHITE);
        assert_eq!(geometry.front_marks.len(), 2);
        assert_eq!(geometry.front_lines.len(), 36);
    }
}
