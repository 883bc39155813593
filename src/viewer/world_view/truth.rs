//! What is true about the clip: objects as outlined boxes, rooms, the true camera path.

use bevy_egui::egui::Color32;
use glam::Vec3;

use crate::scene::SceneTruth;
use crate::viewer::render::{Geometry, Line, Rgba};
use crate::viewer::theme;
use crate::viewer::workbench::Layer;

/// Pairs of corners of an `OrientedBox` that are joined by an edge.
const EDGES: [(usize, usize); 12] =
    [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)];

/// Adds boxes, room outlines and the true path; `truth` is in the anchor space.
pub(super) fn add_truth(geometry: &mut Geometry, truth: &SceneTruth, floor: f32) {
    for object in &truth.objects {
        let corners = object.bounds.corners();
        let color = category_color(object.category.as_str());
        let rgba = |alpha: u8| -> Rgba { [color.r(), color.g(), color.b(), alpha] };
        for (k, (a, b)) in EDGES.into_iter().enumerate() {
            // The footprint is stronger: it is what the map is compared with.
            let alpha = if k < 4 { 230 } else { 110 };
            geometry.lines.push(Line::new(Layer::TrueObjects, [corners[a], corners[b]], 1.2, rgba(alpha)));
        }
    }
    for room in &truth.rooms {
        for (k, &corner) in room.iter().enumerate() {
            let next = room[(k + 1) % room.len()];
            let edge = [corner.extend(floor), next.extend(floor)];
            geometry.floor_lines.push(Line::new(Layer::TrueObjects, edge, 2.4, [150, 158, 172, 210]));
        }
    }
    let [r, g, b, _] = theme::TRUE.to_array();
    let step = (truth.track.poses.len() / 400).max(1);
    let path: Vec<Vec3> = truth.track.poses.iter().step_by(step).map(|pose| pose.position).collect();
    for pair in path.windows(2) {
        geometry.lines.push(Line::new(Layer::TrueSituation, [pair[0], pair[1]], 1.4, [r, g, b, 150]));
    }
}

/// A calm colour of its own for each category, the same in every run.
pub(super) fn category_color(category: &str) -> Color32 {
    // FNV-1a spreads short words well enough for a hue.
    let hash = category
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let hue = (hash >> 8) as f32 / (1 << 24) as f32;
    bevy_egui::egui::ecolor::Hsva::new(hue, 0.42, 0.92, 1.0).into()
}
