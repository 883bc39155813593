//! What the generator of questions knows about a scene and a walk through it.

use glam::Vec2;

use crate::geometry::{AnchorFrame, Orientation};
use crate::qa::{Bearing, Situation};
use crate::scene::SceneObject;

/// A scene as questions see it; world space, metres.
pub struct QuestionScene<'a> {
    /// All objects, doors and windows included; the front of an object is its own +x.
    pub objects: Vec<SceneObject>,
    /// Floor polygons of the rooms.
    pub rooms: Vec<Vec<Vec2>>,
    /// Per object the first frame of the walk that shows it; `None` if none does.
    pub first_seen: Vec<Option<u32>>,
    /// Per object the largest share of a picture that it fills anywhere in the walk, 0 to 1.
    pub prominence: Vec<f32>,
    /// The anchor space of the walk.
    pub anchor: AnchorFrame,
    /// Whether a person can stand at a point.
    pub free: &'a dyn Fn(Vec2) -> bool,
}

/// Where somebody stands and looks, world space.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::synth) struct Pose {
    /// Metres.
    pub(in crate::synth) position: Vec2,
    /// Heading on the floor plane.
    pub(in crate::synth) heading: Orientation,
}

impl Pose {
    /// The pose as people are asked for it: bev space of the walk.
    pub(in crate::synth) fn situation(self, anchor: &AnchorFrame) -> Situation {
        Situation {
            position: anchor.bev_from_world(self.position.extend(0.0)),
            orientation: anchor.bev_orientation(self.heading),
        }
    }
}

impl QuestionScene<'_> {
    /// Centre of an object on the floor plane.
    pub(in crate::synth) fn center(&self, object: usize) -> Vec2 {
        self.objects[object].bounds.center.truncate()
    }

    /// Distance on the floor plane from a point to the footprint of an object.
    pub(in crate::synth) fn gap(&self, point: Vec2, object: usize) -> f32 {
        let bounds = &self.objects[object].bounds;
        bounds.distance_to_point(point.extend(bounds.center.z))
    }

    /// Whether the walk shows the object.
    pub(in crate::synth) fn seen(&self, object: usize) -> bool {
        self.first_seen.get(object).copied().flatten().is_some()
    }

    /// How likely people are to name the object: what stands out helps others to find them.
    pub(in crate::synth) fn salience(&self, object: usize) -> f32 {
        self.prominence.get(object).copied().unwrap_or_default().sqrt()
    }

    /// How somebody sees the centre of an object.
    pub(in crate::synth) fn bearing(&self, pose: &Pose, object: usize) -> Bearing {
        Bearing::between(pose.position, pose.heading, self.center(object))
    }

    /// Index of the room around a point.
    pub(in crate::synth) fn room_of(&self, point: Vec2) -> Option<usize> {
        self.rooms.iter().position(|room| contains(room, point))
    }

    /// Whether an object stands in, or hangs on a wall of, a room.
    pub(in crate::synth) fn in_room(&self, object: usize, room: usize) -> bool {
        const WALL: f32 = 0.35;
        let (center, front) = (self.center(object), self.objects[object].bounds.yaw.direction());
        [center, center + front * WALL, center - front * WALL]
            .into_iter()
            .any(|point| contains(&self.rooms[room], point))
    }

    /// Whether an object is in the room of a point.
    pub(in crate::synth) fn same_room(&self, point: Vec2, object: usize) -> bool {
        self.room_of(point).is_some_and(|room| self.in_room(object, room))
    }

    /// Indices of the objects of one category.
    pub(in crate::synth) fn of_category(&self, category: &str) -> Vec<usize> {
        (0..self.objects.len()).filter(|&i| self.objects[i].category.as_str() == category).collect()
    }

    /// Whether no other object shares the category.
    pub(in crate::synth) fn is_single(&self, object: usize) -> bool {
        let category = &self.objects[object].category;
        self.objects.iter().filter(|other| &other.category == category).count() == 1
    }
}

/// Whether a simple polygon contains a point (even-odd rule).
fn contains(polygon: &[Vec2], point: Vec2) -> bool {
    let mut inside = false;
    for (i, a) in polygon.iter().enumerate() {
        let b = polygon[(i + 1) % polygon.len()];
        if (a.y > point.y) != (b.y > point.y) {
            let x = a.x + (point.y - a.y) / (b.y - a.y) * (b.x - a.x);
            inside ^= point.x < x;
        }
    }
    inside
}

/// Area of a simple polygon, square metres.
pub(in crate::synth) fn area(polygon: &[Vec2]) -> f32 {
    let doubled: f32 =
        polygon.iter().enumerate().map(|(i, a)| a.perp_dot(polygon[(i + 1) % polygon.len()])).sum();
    0.5 * doubled.abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_l_shaped_room_contains_its_arms_only() {
        let room: Vec<Vec2> =
            [(0.0, 0.0), (4.0, 0.0), (4.0, 2.0), (2.0, 2.0), (2.0, 4.0), (0.0, 4.0)].map(Vec2::from).to_vec();
        assert!(contains(&room, Vec2::new(1.0, 3.0)));
        assert!(contains(&room, Vec2::new(3.0, 1.0)));
        assert!(!contains(&room, Vec2::new(3.0, 3.0)));
        assert!((area(&room) - 12.0).abs() < 1e-5);
    }
}
