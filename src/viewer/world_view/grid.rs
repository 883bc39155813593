//! The metric grid on the floor and the length of the scale bar.

use glam::Vec3;

use crate::geometry::BevBounds;
use crate::viewer::render::{Geometry, Line, Rgba};
use crate::viewer::theme;
use crate::viewer::workbench::Layer;

/// Metres of grid around what is shown.
const MARGIN: f32 = 1.0;
/// Largest number of grid lines per direction; farther apart when the scene is larger.
const MAX_LINES: f32 = 40.0;

/// One line per metre on the floor under `bounds`, the axes of the first camera a bit brighter.
pub(super) fn add_grid(geometry: &mut Geometry, bounds: BevBounds, floor: f32) {
    let bounds = bounds.grown(MARGIN);
    let size = bounds.size().max_element();
    let step = if size > MAX_LINES { (size / MAX_LINES).ceil() } else { 1.0 };
    let snap =
        |value: f32, up: bool| if up { (value / step).ceil() * step } else { (value / step).floor() * step };
    let (x0, x1) = (snap(bounds.min.x, false), snap(bounds.max.x, true));
    let (y0, y1) = (snap(bounds.min.y, false), snap(bounds.max.y, true));
    let mut line = |a: Vec3, b: Vec3, value: f32| {
        let alpha = if value.abs() < 1e-3 { 220 } else { 110 };
        let [r, g, b8, _] = theme::GRID.to_array();
        let color: Rgba = [r, g, b8, alpha];
        geometry.floor_lines.push(Line::new(Layer::Grid, [a, b], 1.0, color));
    };
    for k in 0..=((x1 - x0) / step) as u32 {
        let x = x0 + k as f32 * step;
        line(Vec3::new(x, y0, floor), Vec3::new(x, y1, floor), x);
    }
    for k in 0..=((y1 - y0) / step) as u32 {
        let y = y0 + k as f32 * step;
        line(Vec3::new(x0, y, floor), Vec3::new(x1, y, floor), y);
    }
}

/// A round length in metres whose bar is at most `max_points` long at `points_per_metre`.
pub(super) fn scale_bar_metres(points_per_metre: f32, max_points: f32) -> f32 {
    let longest = max_points / points_per_metre.max(1e-6);
    let decade = 10f32.powf(longest.max(1e-6).log10().floor());
    [5.0, 2.0, 1.0]
        .into_iter()
        .map(|digit| digit * decade)
        .find(|&metres| metres <= longest)
        .unwrap_or(decade)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::BevPoint;

    #[test]
    fn scale_bar_takes_the_longest_round_length_that_fits() {
        assert!((scale_bar_metres(100.0, 120.0) - 1.0).abs() < 1e-6);
        assert!((scale_bar_metres(50.0, 120.0) - 2.0).abs() < 1e-6);
        assert!((scale_bar_metres(1000.0, 60.0) - 0.05).abs() < 1e-6);
    }

    #[test]
    fn huge_scenes_get_a_coarser_grid() {
        let bounds = BevBounds { min: BevPoint::new(-500.0, -500.0), max: BevPoint::new(500.0, 500.0) };
        let mut geometry = Geometry::default();
        add_grid(&mut geometry, bounds, 0.0);
        assert!(geometry.floor_lines.len() < 100);
    }
}
