//! Placement: no overlap, clearance, nothing in front of doors.
//!
//! [`Furnisher`] knows *whether* something fits; the habits of each kind of room
//! are in [`super::room_programs`].

use std::collections::HashMap;

use glam::{Vec2, Vec3};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::catalogue::{draw_color, draw_size, is_opening, is_passable};
use super::floor_plan::FloorPlan;
use super::furniture::{build, support_height};
use super::scene::{Room, SynthObject, standing};
use super::seeding::{Purpose, stream};
use crate::geometry::OrientedBox;
use crate::scene::{Category, ObjectId, SceneObject};

/// Free floor kept in front of doors and doorways, metres.
const DOOR_CLEARANCE: f32 = 0.95;

/// A place on a wall.
#[derive(Debug, Clone, Copy)]
pub(super) struct WallSpot {
    /// On the inner face of the wall, floor level.
    pub point: Vec2,
    /// Into the room.
    pub inward: Vec2,
}

/// Places objects one after the other.
pub(super) struct Furnisher<'a> {
    pub rng: ChaCha8Rng,
    pub rooms: &'a [Room],
    pub placed: Vec<SynthObject>,
    /// How many objects that are not part of the building there may be so far.
    limit: usize,
    furniture: usize,
    /// Floor that must stay free of furniture.
    zones: Vec<Zone>,
}

/// Floor that must stay free, and for whose sake.
#[derive(Debug, Clone, Copy)]
struct Zone {
    bounds: OrientedBox,
    owner: ObjectId,
}

impl<'a> Furnisher<'a> {
    pub(super) fn new(seed: u64, plan: &'a FloorPlan) -> Self {
        let rng = stream(seed, Purpose::Furnish);
        let mut furnisher =
            Self { rng, rooms: &plan.rooms, placed: Vec::new(), limit: 0, furniture: 0, zones: Vec::new() };
        for opening in &plan.openings {
            let color = draw_color(opening.category, &mut furnisher.rng).to_owned();
            let owner = furnisher.add(opening.category, opening.bounds, color, None);
            if opening.category != "window" {
                let size = Vec3::new(2.0 * DOOR_CLEARANCE, opening.bounds.size.y, 2.0);
                furnisher.zones.push(Zone { bounds: OrientedBox { size, ..opening.bounds }, owner });
            }
        }
        furnisher
    }

    /// Allows `count` more objects (none from earlier allowances).
    pub(super) fn allow(&mut self, count: usize) {
        self.limit = self.furniture + count;
    }

    /// Number of objects that may still be placed.
    pub(super) fn room_left(&self) -> usize {
        self.limit.saturating_sub(self.furniture)
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        if high > low { self.rng.random_range(low..=high) } else { low }
    }

    pub(super) fn size(&mut self, category: &str) -> Vec3 {
        draw_size(category, &mut self.rng)
    }

    pub(super) fn bounds(&self, id: ObjectId) -> OrientedBox {
        self.placed[id.0 as usize].object.bounds
    }

    fn add(
        &mut self,
        category: &str,
        bounds: OrientedBox,
        color: String,
        support: Option<ObjectId>,
    ) -> ObjectId {
        let style = self.rng.random_range(0..1_000_000);
        self.add_styled(category, bounds, color, support, style)
    }

    fn add_styled(
        &mut self,
        category: &str,
        bounds: OrientedBox,
        color: String,
        support: Option<ObjectId>,
        style: u32,
    ) -> ObjectId {
        let id = ObjectId(self.placed.len() as u32);
        let built = build(category, bounds.size, Some(&color), style);
        let object =
            SceneObject { id, category: Category::new(category), bounds, color: Some(built.color.clone()) };
        self.placed.push(SynthObject {
            object,
            style,
            parts: built.parts,
            support,
            is_known: built.is_known,
        });
        if !is_opening(category) {
            self.furniture += 1;
        }
        id
    }

    /// Places `category` at `bounds` if it fits in `room`.
    pub(super) fn place(
        &mut self,
        room: usize,
        category: &str,
        bounds: OrientedBox,
        clearance: f32,
    ) -> Option<ObjectId> {
        let color = draw_color(category, &mut self.rng).to_owned();
        self.place_colored(room, category, bounds, clearance, color)
    }

    /// [`Self::place`] with a given colour (chairs of one set look alike).
    pub(super) fn place_colored(
        &mut self,
        room: usize,
        category: &str,
        bounds: OrientedBox,
        clearance: f32,
        color: String,
    ) -> Option<ObjectId> {
        (self.room_left() > 0 && self.fits(room, category, &bounds, clearance))
            .then(|| self.add(category, bounds, color, None))
    }

    fn fits(&self, room: usize, category: &str, bounds: &OrientedBox, clearance: f32) -> bool {
        let outline = &self.rooms[room];
        let is_inside =
            bounds.footprint().into_iter().all(|p| outline.contains(p) && outline.wall_distance(p) >= 0.008)
                && bounds.top() <= outline.height + 1e-3;
        let is_flat = is_passable(category) && bounds.top() < 0.1;
        let stands_low = bounds.bottom() < 1.9 && !is_flat;
        let blocks_way = stands_low
            && bounds.bottom() < 0.1
            && self.zones.iter().any(|zone| zone.bounds.footprint_overlaps(bounds, 0.0));
        is_inside
            && !blocks_way
            && !self.placed.iter().any(|other| collides(&other.object, bounds, is_flat, clearance))
    }

    /// Repeats what was placed from number `first` on across the middle of the room, turned by
    /// half a circle, wherever it fits: both sides look alike.
    pub(super) fn repeat_across(&mut self, room: usize, first: usize) {
        let (low, high) = self.rooms[room].bounds();
        let originals = self.placed[first..].to_vec();
        self.allow(originals.len());
        let mut twins: HashMap<ObjectId, ObjectId> = HashMap::new();
        for SynthObject { object, style, support, .. } in originals {
            let center = (low + high - object.bounds.center.truncate()).extend(object.bounds.center.z);
            let bounds =
                OrientedBox { center, yaw: object.bounds.yaw.turned(std::f32::consts::PI), ..object.bounds };
            let category = object.category.as_str();
            let below = support.map(|below| twins.get(&below).copied());
            let stands = match below {
                None => self.fits(room, category, &bounds, 0.0),
                // On a twin there is as much room as on its original.
                Some(below) => below.is_some(),
            };
            if stands && self.room_left() > 0 {
                let color = object.color.clone().unwrap_or_default();
                let twin = self.add_styled(category, bounds, color, below.flatten(), style);
                twins.insert(object.id, twin);
            }
        }
    }

    /// Keeps the floor in front of an object free, `depth` metres deep.
    pub(super) fn keep_front_free(&mut self, id: ObjectId, depth: f32) {
        let bounds = self.bounds(id);
        let shift = bounds.yaw.direction() * (bounds.size.x + depth) * 0.5;
        let size = Vec3::new(depth, bounds.size.y * 0.8, 2.0);
        let zone = OrientedBox { center: bounds.center + shift.extend(0.0), size, yaw: bounds.yaw };
        self.zones.push(Zone { bounds: zone, owner: id });
    }

    /// Gives the floor in front of an object free for what belongs to it.
    pub(super) fn release_front(&mut self, id: ObjectId) {
        self.zones.retain(|zone| zone.owner != id);
    }

    /// Where a ray from `from` along `facing` meets the wall of the room.
    pub(super) fn opposite_wall(&self, room: usize, from: Vec2, facing: Vec2) -> Option<WallSpot> {
        self.rooms[room]
            .edges()
            .filter_map(|(a, b)| {
                let along = b - a;
                let inward = along.normalize_or_zero().perp();
                let speed = -facing.dot(inward);
                let distance = (from - a).dot(inward) / speed;
                let point = from + facing * distance;
                let share = (point - a).dot(along) / along.length_squared();
                (speed > 0.5 && distance > 0.0 && (0.0..=1.0).contains(&share))
                    .then_some((distance, WallSpot { point, inward }))
            })
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, spot)| spot)
    }

    /// A random place on a wall with room for `width` metres.
    pub(super) fn wall_spot(&mut self, room: usize, width: f32) -> Option<WallSpot> {
        let edges: Vec<_> = self.rooms[room].edges().collect();
        let (a, b) = edges[self.rng.random_range(0..edges.len())];
        let (along, length) = ((b - a).normalize_or_zero(), a.distance(b));
        let half = width * 0.5 + 0.03;
        if length < 2.0 * half {
            return None;
        }
        // Things stand in corners more often than chance puts them there.
        let position = match self.rng.random_range(0..4) {
            0 => half,
            1 => length - half,
            _ => self.rng.random_range(half..=length - half),
        };
        Some(WallSpot { point: a + along * position, inward: along.perp() })
    }

    /// Puts `category` with its back to a wall, its front free for `front` metres.
    pub(super) fn against_wall(&mut self, room: usize, category: &str, front: f32) -> Option<ObjectId> {
        for _ in 0..40 {
            let size = self.size(category);
            let Some(spot) = self.wall_spot(room, size.y) else { continue };
            if let Some(id) = self.at_wall(room, category, size, spot, front) {
                return Some(id);
            }
        }
        None
    }

    /// Puts `category` with its back to `spot`.
    pub(super) fn at_wall(
        &mut self,
        room: usize,
        category: &str,
        size: Vec3,
        spot: WallSpot,
        front: f32,
    ) -> Option<ObjectId> {
        let gap = self.between(0.015, 0.05);
        let center = spot.point + spot.inward * (size.x * 0.5 + gap);
        let bounds = standing(center, 0.0, size, spot.inward);
        let ahead = OrientedBox {
            center: bounds.center + (spot.inward * front * 0.5).extend(0.0),
            size: size + Vec3::X * front,
            ..bounds
        };
        if front > 0.0 && !self.fits(room, category, &ahead, 0.0) {
            return None;
        }
        let id = self.place(room, category, bounds, 0.04)?;
        if front > 0.0 {
            self.keep_front_free(id, front);
        }
        Some(id)
    }

    /// Hangs `category` on a wall with its middle at about `height` metres.
    pub(super) fn on_wall(&mut self, room: usize, category: &str, height: f32) -> Option<ObjectId> {
        for _ in 0..30 {
            let size = self.size(category);
            let Some(spot) = self.wall_spot(room, size.y + 0.3) else { continue };
            let bottom = height - size.z * 0.5 + self.between(-0.08, 0.12);
            let center = spot.point + spot.inward * (size.x * 0.5 + 0.01);
            if let Some(id) = self.place(room, category, standing(center, bottom, size, spot.inward), 0.06) {
                return Some(id);
            }
        }
        None
    }

    /// Puts `category` somewhere on the floor, turned at random unless `facing` is given.
    #[expect(clippy::approx_constant, reason = "a seed gives the same bytes for ever")]
    pub(super) fn on_floor(&mut self, room: usize, category: &str, clearance: f32) -> Option<ObjectId> {
        let (low, high) = self.rooms[room].bounds();
        for _ in 0..40 {
            let size = self.size(category);
            let center = Vec2::new(self.between(low.x, high.x), self.between(low.y, high.y));
            let facing = Vec2::from_angle(self.between(-3.14, 3.14));
            if let Some(id) = self.place(room, category, standing(center, 0.0, size, facing), clearance) {
                return Some(id);
            }
        }
        None
    }

    /// Stands `category` on another object at `offset` (its own axes, metres from its middle).
    pub(super) fn on_top(
        &mut self,
        room: usize,
        category: &str,
        below: ObjectId,
        offset: Vec2,
        size: Vec3,
    ) -> Option<ObjectId> {
        let host = &self.placed[below.0 as usize].object;
        let (bounds, category_below) = (host.bounds, host.category.as_str().to_owned());
        let [x, y] = bounds.axes();
        let center = bounds.center.truncate() + x * offset.x + y * offset.y;
        let height = bounds.bottom() + support_height(&category_below, bounds.size);
        let stacked = standing(center, height, size, x);
        let reaches_out = stacked
            .footprint()
            .into_iter()
            .any(|p| bounds.distance_to_point(p.extend(bounds.center.z)) > 0.02);
        let is_taken = self
            .placed
            .iter()
            .any(|other| other.object.id != below && collides(&other.object, &stacked, false, 0.01));
        if reaches_out || is_taken || self.room_left() == 0 || stacked.top() > self.rooms[room].height {
            return None;
        }
        let color = draw_color(category, &mut self.rng).to_owned();
        Some(self.add(category, stacked, color, Some(below)))
    }
}

fn collides(other: &SceneObject, bounds: &OrientedBox, is_flat: bool, clearance: f32) -> bool {
    let other_is_flat = other.category.as_str() == "rug";
    if is_flat != other_is_flat {
        return false;
    }
    let overlaps_in_height = other.bounds.bottom() < bounds.top() && bounds.bottom() < other.bounds.top();
    overlaps_in_height && other.bounds.footprint_overlaps(bounds, clearance)
}
