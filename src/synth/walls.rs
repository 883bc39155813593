//! Walls as boxes around the openings of doors, doorways and windows.

use glam::{Mat3, Vec2, Vec3};

use super::catalogue::is_opening;
use super::scene::SynthScene;
use super::shape::{Part, Shape};
use crate::geometry::OrientedBox;

/// Thickness of a wall that the next room also has one against, metres.
const SHARED_THICKNESS: f32 = 0.055;
/// Thickness of an outer wall, metres.
const OUTER_THICKNESS: f32 = 0.18;
/// Walls reach this much past corners, floor and ceiling so that no light leaks, metres.
const OVERLAP: f32 = 0.05;

/// A hole in one wall: from and to along the wall and in height, metres.
#[derive(Debug, Clone, Copy)]
struct Hole {
    along: (f32, f32),
    height: (f32, f32),
}

/// Solid wall pieces of all rooms in the world space, each with its room.
pub(super) fn build(scene: &SynthScene) -> Vec<(usize, Part)> {
    let mut pieces = Vec::new();
    for (index, room) in scene.rooms.iter().enumerate() {
        for (a, b) in room.edges() {
            let wall = Wall::new(scene, index, a, b);
            let holes = wall.holes(scene);
            wall.pieces(room.height, &holes, |part| {
                pieces.push((index, Part { material: room.wall, ..part }));
            });
        }
    }
    pieces
}

struct Wall {
    start: Vec2,
    along: Vec2,
    length: f32,
    thickness: f32,
}

impl Wall {
    fn new(scene: &SynthScene, room: usize, a: Vec2, b: Vec2) -> Self {
        let along = (b - a).normalize_or(Vec2::X);
        let length = a.distance(b);
        let steps = (length / 0.2).ceil().max(1.0) as usize;
        let is_shared = (0..=steps).any(|i| {
            let outside = a + along * (length * i as f32 / steps as f32) - along.perp() * 0.3;
            scene.rooms.iter().enumerate().any(|(other, r)| other != room && r.contains(outside))
        });
        let thickness = if is_shared { SHARED_THICKNESS } else { OUTER_THICKNESS };
        Self { start: a, along, length, thickness }
    }

    fn holes(&self, scene: &SynthScene) -> Vec<Hole> {
        let mut holes: Vec<Hole> = scene
            .objects
            .iter()
            .filter(|object| is_opening(object.object.category.as_str()))
            .filter_map(|object| self.hole(&object.object.bounds))
            .collect();
        holes.sort_by(|a, b| a.along.0.total_cmp(&b.along.0));
        holes
    }

    /// The hole that `bounds` cuts; frames overlap the rim of their hole a little.
    fn hole(&self, bounds: &OrientedBox) -> Option<Hole> {
        let rim = 0.02;
        let offset = bounds.center.truncate() - self.start;
        let (position, distance) = (offset.dot(self.along), offset.dot(self.along.perp()));
        let half = bounds.size.y * 0.5 - rim;
        let is_parallel = bounds.yaw.direction().dot(self.along.perp()).abs() > 0.9;
        let is_here = distance.abs() < 0.15 + bounds.size.x * 0.5 && position > 0.0 && position < self.length;
        let bottom = if bounds.bottom() < 0.05 { -OVERLAP } else { bounds.bottom() + rim };
        (is_parallel && is_here && half > 0.0).then_some(Hole {
            along: (position - half, position + half),
            height: (bottom, bounds.top() - rim),
        })
    }

    fn pieces(&self, room_height: f32, holes: &[Hole], mut push: impl FnMut(Part)) {
        let top = room_height + OVERLAP;
        let mut from = -OVERLAP;
        let mut piece = |along: (f32, f32), height: (f32, f32)| {
            if along.1 - along.0 > 1e-3 && height.1 - height.0 > 1e-3 {
                push(self.piece(along, height));
            }
        };
        for hole in holes {
            let start = hole.along.0.max(from);
            piece((from, start), (-OVERLAP, top));
            piece((start, hole.along.1), (-OVERLAP, hole.height.0));
            piece((start, hole.along.1), (hole.height.1, top));
            from = from.max(hole.along.1);
        }
        piece((from, self.length + OVERLAP), (-OVERLAP, top));
    }

    fn piece(&self, along: (f32, f32), height: (f32, f32)) -> Part {
        let inward = self.along.perp();
        let middle = self.start + self.along * (along.0 + along.1) * 0.5 - inward * self.thickness * 0.5;
        let half = Vec3::new(along.1 - along.0, self.thickness, height.1 - height.0) * 0.5;
        let center = middle.extend((height.0 + height.1) * 0.5);
        let axes = Mat3::from_cols(self.along.extend(0.0), inward.extend(0.0), Vec3::Z);
        Part { axes, ..Part::new(Shape::Box, center, half, super::material::Material::plain(Vec3::ONE)) }
    }
}
