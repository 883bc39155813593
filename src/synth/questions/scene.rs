//! What the generator of questions knows about a scene and a walk through it.

use glam::Vec2;

use crate::geometry::{AnchorFrame, Orientation};
use crate::qa::{Bearing, Situation};
use crate::scene::SceneObject;
use crate::synth::RoomKind;

/// When a walk shows an object, in glances of half a second's distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// The first frame that shows it.
    pub first: u32,
    /// The last frame that shows it.
    pub last: u32,
    /// Glances that show it.
    pub glances: u32,
    /// Times it comes into view: runs of glances with others between them.
    pub visits: u32,
}

/// A scene as questions see it; world space, metres.
#[derive(Clone)]
pub struct QuestionScene<'a> {
    /// All objects, doors and windows included; the front of an object is its own +x.
    pub objects: Vec<SceneObject>,
    /// Floor polygons of the rooms.
    pub rooms: Vec<Vec<Vec2>>,
    /// Per room what it is for.
    pub kinds: Vec<RoomKind>,
    /// Frames of the walk.
    pub frames: u32,
    /// Per object when the walk shows it; `None` if it never does.
    pub sightings: Vec<Option<Sighting>>,
    /// Per object the largest share of a picture that it fills anywhere in the walk, 0 to 1.
    pub prominence: Vec<f32>,
    /// Per object the index of what it stands on; `None` for the floor, a wall, the ceiling.
    pub supports: Vec<Option<usize>>,
    /// Per object the word for its outline ("round"), where it is certain.
    pub outlines: Vec<Option<&'static str>>,
    /// The anchor space of the walk.
    pub anchor: AnchorFrame,
    /// Whether a person can stand at a point.
    pub free: &'a dyn Fn(Vec2) -> bool,
    /// Whether situations and their questions prefer fleeting objects.
    pub prefers_fleeting: bool,
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
        self.sighting(object).is_some()
    }

    /// When the walk shows the object.
    pub(in crate::synth) fn sighting(&self, object: usize) -> Option<Sighting> {
        self.sightings.get(object).copied().flatten()
    }

    /// Whether the walk shows the object once only and briefly, or not any more in its second
    /// half: what it takes memory to know of.
    pub(in crate::synth) fn is_fleeting(&self, object: usize) -> bool {
        /// Most glances that are still brief.
        const BRIEF: u32 = 3;
        self.sighting(object).is_some_and(|seen| {
            (seen.visits == 1 && seen.glances <= BRIEF) || seen.last.saturating_mul(2) < self.frames
        })
    }

    /// Whether the object comes before others that would do as well.
    pub(in crate::synth) fn prefers(&self, object: usize) -> bool {
        self.prefers_fleeting && self.is_fleeting(object)
    }

    /// How likely people are to name the object: what stands out helps others to find them.
    pub(in crate::synth) fn salience(&self, object: usize) -> f32 {
        /// Of all that is not preferred where something is.
        const PASSED_OVER: f32 = 0.05;
        let plain = self.prominence.get(object).copied().unwrap_or_default().sqrt();
        match (self.prefers_fleeting, self.is_fleeting(object)) {
            (false, _) => plain,
            (true, true) => 1.0,
            (true, false) => PASSED_OVER * plain,
        }
    }

    /// What the object stands on.
    pub(in crate::synth) fn support(&self, object: usize) -> Option<usize> {
        self.supports.get(object).copied().flatten()
    }

    /// What stands on the object.
    pub(in crate::synth) fn standing_on(&self, object: usize) -> Vec<usize> {
        (0..self.objects.len()).filter(|&i| self.support(i) == Some(object)).collect()
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
