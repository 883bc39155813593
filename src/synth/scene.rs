//! The generated scene: rooms, openings, objects with their parts, light.
//!
//! World space: z up, metres, floor at z = 0.

use glam::{Vec2, Vec3};
use serde::{Deserialize, Serialize};

use super::catalogue::is_passable;
use super::material::Material;
use super::shape::Part;
use crate::geometry::OrientedBox;
use crate::scene::{ObjectId, SceneObject};

/// What a room is for; decides its furniture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomKind {
    /// Sofa, TV, coffee table.
    Living,
    /// Bed, wardrobe.
    Bedroom,
    /// Stove, fridge, dining table.
    Kitchen,
    /// Bathtub, toilet, sink.
    Bathroom,
    /// Desks, whiteboard.
    Office,
    /// A bit of everything.
    Studio,
}

/// A room.
#[derive(Debug, Clone, PartialEq)]
pub struct Room {
    /// Floor outline inside the walls, counter-clockwise, metres.
    pub polygon: Vec<Vec2>,
    /// Ceiling height, metres.
    pub height: f32,
    /// What it is for.
    pub kind: RoomKind,
    /// Floor surface.
    pub floor: Material,
    /// Wall surface.
    pub wall: Material,
    /// Ceiling surface.
    pub ceiling: Material,
}

impl Room {
    /// Whether the point lies inside the outline.
    pub fn contains(&self, p: Vec2) -> bool {
        let mut inside = false;
        for (a, b) in self.edges() {
            if (a.y > p.y) != (b.y > p.y) && p.x < a.x + (p.y - a.y) / (b.y - a.y) * (b.x - a.x) {
                inside = !inside;
            }
        }
        inside
    }

    /// The walls as segments, counter-clockwise (the room is on their left).
    pub fn edges(&self) -> impl Iterator<Item = (Vec2, Vec2)> + '_ {
        (0..self.polygon.len()).map(|i| (self.polygon[i], self.polygon[(i + 1) % self.polygon.len()]))
    }

    /// Distance from a point to the nearest wall, metres.
    pub fn wall_distance(&self, p: Vec2) -> f32 {
        self.edges().map(|(a, b)| segment_distance(p, a, b)).fold(f32::INFINITY, f32::min)
    }

    /// Floor area, square metres.
    pub fn area(&self) -> f32 {
        0.5 * self.edges().map(|(a, b)| a.perp_dot(b)).sum::<f32>().abs()
    }

    /// Smallest and largest corner of the outline.
    pub fn bounds(&self) -> (Vec2, Vec2) {
        self.polygon
            .iter()
            .fold((Vec2::INFINITY, Vec2::NEG_INFINITY), |(low, high), &p| (low.min(p), high.max(p)))
    }

    /// Middle of the bounds.
    pub fn center(&self) -> Vec2 {
        let (low, high) = self.bounds();
        (low + high) * 0.5
    }
}

/// A passage or an entrance.
#[derive(Debug, Clone, PartialEq)]
pub struct Door {
    /// The object, of category "door" (closed) or "doorway" (open).
    pub object: ObjectId,
    /// The rooms it joins; the second is `None` when it leads outside.
    pub rooms: (usize, Option<usize>),
}

/// An object with its solids.
#[derive(Debug, Clone, PartialEq)]
pub struct SynthObject {
    /// Identity, category, box, colour.
    pub object: SceneObject,
    /// Varies design and material details.
    pub style: u32,
    /// Solids in the object's own axes, origin in the middle of its box.
    pub parts: Vec<Part>,
    /// What it stands on, when that is not the floor, a wall or the ceiling.
    pub support: Option<ObjectId>,
    /// Whether the generator has a design for the category.
    pub is_known: bool,
}

/// Light of a scene; lamps are objects.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lighting {
    /// Direction towards the sun, degrees counter-clockwise from +x.
    pub sun_azimuth: f32,
    /// Height of the sun above the horizon, degrees.
    pub sun_elevation: f32,
    /// Strength of the sun, 0 (overcast) to about 6.
    pub sun: f32,
    /// Strength of the sky seen through windows.
    pub sky: f32,
    /// Strength of lamps.
    pub lamps: f32,
    /// Colour of lamps, 0 (neutral) to 1 (warm).
    pub warmth: f32,
    /// Factor of the exposure.
    pub exposure: f32,
}

impl Default for Lighting {
    fn default() -> Self {
        Self {
            sun_azimuth: 40.0,
            sun_elevation: 38.0,
            sun: 3.0,
            sky: 1.2,
            lamps: 1.0,
            warmth: 0.4,
            exposure: 1.0,
        }
    }
}

impl Lighting {
    /// Unit vector towards the sun.
    pub(super) fn sun_direction(&self) -> Vec3 {
        let (azimuth, elevation) = (self.sun_azimuth.to_radians(), self.sun_elevation.to_radians());
        (Vec2::from_angle(azimuth) * elevation.cos()).extend(elevation.sin())
    }
}

/// A furnished scene with exact truth.
#[derive(Debug, Clone, PartialEq)]
pub struct SynthScene {
    /// The seed it was generated from; 0 for a scene read from a file.
    pub seed: u64,
    /// Rooms; they do not overlap.
    pub rooms: Vec<Room>,
    /// Doors and doorways.
    pub doors: Vec<Door>,
    /// All objects, doors and windows among them; `ObjectId(k)` is at index k.
    pub objects: Vec<SynthObject>,
    /// Light.
    pub lighting: Lighting,
}

impl SynthScene {
    /// All objects, doors and windows among them.
    pub fn objects(&self) -> impl Iterator<Item = &SceneObject> {
        self.objects.iter().map(|object| &object.object)
    }

    /// The room whose floor is at `p`.
    pub fn room_of(&self, p: Vec2) -> Option<usize> {
        self.rooms.iter().position(|room| room.contains(p))
    }

    /// Whether a person of `radius` metres can stand at `p`: no wall and no furniture in the way.
    pub fn is_free(&self, p: Vec2, radius: f32) -> bool {
        self.is_floor(p, radius) && !self.objects.iter().any(|object| is_obstacle(&object.object, p, radius))
    }

    /// Whether `p` is at least `radius` from every wall, or inside a doorway.
    fn is_floor(&self, p: Vec2, radius: f32) -> bool {
        self.rooms.iter().any(|room| room.contains(p) && room.wall_distance(p) >= radius)
            || self.doors.iter().any(|door| self.is_in_doorway(door, p, radius))
    }

    fn is_in_doorway(&self, door: &Door, p: Vec2, radius: f32) -> bool {
        let Some(object) = self.objects.get(door.object.0 as usize) else { return false };
        let bounds = &object.object.bounds;
        let local = bounds.local(p.extend(bounds.center.z));
        object.object.category.as_str() == "doorway"
            && local.y.abs() <= bounds.size.y * 0.5 - 0.05 - radius.min(bounds.size.y * 0.5 - 0.06)
            && local.x.abs() <= radius + 0.15
    }

    /// The lowest ceiling, metres.
    pub fn lowest_ceiling(&self) -> f32 {
        self.rooms.iter().map(|room| room.height).fold(f32::INFINITY, f32::min)
    }
}

/// Highest point of a standing person, metres.
const HEAD_HEIGHT: f32 = 1.85;

fn is_obstacle(object: &SceneObject, p: Vec2, radius: f32) -> bool {
    let bounds = &object.bounds;
    if is_passable(object.category.as_str()) || bounds.bottom() > HEAD_HEIGHT || bounds.top() < 0.05 {
        return false;
    }
    let local = bounds.local(p.extend(bounds.center.z)).truncate();
    (local.abs() - bounds.size.truncate() * 0.5).max(Vec2::ZERO).length() < radius
}

/// Distance from a point to a segment, metres.
pub(super) fn segment_distance(p: Vec2, a: Vec2, b: Vec2) -> f32 {
    let along = b - a;
    let t = ((p - a).dot(along) / along.length_squared().max(1e-12)).clamp(0.0, 1.0);
    p.distance(a + along * t)
}

/// The box of an upright thing standing with its underside at `bottom`.
pub(super) fn standing(center: Vec2, bottom: f32, size: Vec3, facing: Vec2) -> OrientedBox {
    OrientedBox {
        center: center.extend(bottom + size.z * 0.5),
        size,
        yaw: crate::geometry::Orientation::from_direction(facing)
            .unwrap_or(crate::geometry::Orientation::from_radians(0.0)),
    }
}
