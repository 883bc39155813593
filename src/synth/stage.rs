//! A scene as things that rays meet: solids in a hierarchy, floors and ceilings.

use glam::{Vec2, Vec3};

use super::bvh::{Bvh, Extent};
use super::material::Texture;
use super::scene::{Room, SynthScene};
use super::shape::Part;
use super::walls;
use crate::scene::ObjectId;

/// Nearest distance at which something is seen, metres.
const NEAR: f32 = 1e-3;
/// Farthest distance, metres.
const FAR: f32 = 1e4;

/// A part in the world space.
#[derive(Debug, Clone, Copy)]
pub(super) struct Solid {
    pub part: Part,
    /// The object it belongs to; `None` for walls.
    pub object: Option<ObjectId>,
    /// The room whose light falls on it.
    pub room: usize,
    /// Added to part coordinates before the texture is looked up.
    pub texture_shift: Vec3,
    /// Window panes and lamps let light through.
    pub blocks_light: bool,
}

/// What a ray meets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Target {
    /// Index of a solid.
    Solid(u32),
    /// Floor of a room.
    Floor(usize),
    /// Ceiling of a room.
    Ceiling(usize),
}

/// Everything that rays can meet.
pub(super) struct Stage {
    pub solids: Vec<Solid>,
    pub rooms: Vec<Room>,
    extents: Vec<Extent>,
    bounds: Vec<(Vec2, Vec2)>,
    bvh: Bvh,
}

impl Stage {
    pub(super) fn new(scene: &SynthScene) -> Self {
        let mut solids: Vec<Solid> = walls::build(scene)
            .into_iter()
            .map(|(room, part)| Solid {
                part,
                object: None,
                room,
                texture_shift: Vec3::new(part.center.dot(part.axes.x_axis), 0.0, part.center.z),
                blocks_light: true,
            })
            .collect();
        for object in &scene.objects {
            let bounds = &object.object.bounds;
            let room = room_of(scene, bounds);
            let is_lamp = matches!(object.object.category.as_str(), "lamp" | "floor lamp" | "ceiling lamp");
            solids.extend(object.parts.iter().map(|part| Solid {
                part: part.placed(bounds),
                object: Some(object.object.id),
                room,
                texture_shift: part.center,
                blocks_light: !is_lamp && part.material.texture != Texture::Outside,
            }));
        }
        let extents: Vec<Extent> = solids
            .iter()
            .map(|solid| {
                let (low, high) = solid.part.extent();
                Extent { low, high }
            })
            .collect();
        let bvh = Bvh::new(&extents);
        let bounds = scene.rooms.iter().map(Room::bounds).collect();
        Self { solids, rooms: scene.rooms.clone(), extents, bounds, bvh }
    }

    /// Solids inside a pyramid with their least depth along `forward`, nearest first.
    pub(super) fn in_pyramid(&self, apex: Vec3, inward: &[Vec3], forward: Vec3, near: &mut Vec<(f32, u32)>) {
        near.clear();
        self.bvh.in_pyramid(apex, inward, |solid| {
            let depth = (self.extents[solid as usize].nearest(forward) - apex).dot(forward);
            near.push((depth, solid));
        });
        near.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    }

    /// The nearest thing among `candidates` (from [`Self::in_pyramid`]), floors and ceilings.
    pub(super) fn nearest_of(
        &self,
        candidates: &[(f32, u32)],
        origin: Vec3,
        direction: Vec3,
    ) -> Option<(f32, Target)> {
        let mut best = self.flat(origin, direction);
        let mut far = best.map_or(FAR, |(t, _)| t);
        for &(depth, index) in candidates {
            if depth > far {
                break;
            }
            if let Some(t) = self.solids[index as usize].part.enter(origin, direction, NEAR, far) {
                far = t;
                best = Some((t, Target::Solid(index)));
            }
        }
        best
    }

    /// The nearest thing along any ray.
    pub(super) fn nearest(&self, origin: Vec3, direction: Vec3) -> Option<(f32, Target)> {
        let mut best = self.flat(origin, direction);
        let far = best.map_or(FAR, |(t, _)| t);
        self.bvh.along_ray(origin, direction, far, |index, far| {
            let Some(t) = self.solids[index as usize].part.enter(origin, direction, NEAR, far) else {
                return far;
            };
            best = Some((t, Target::Solid(index)));
            t
        });
        best
    }

    /// Whether something stands between `origin` and `origin + far * direction`.
    pub(super) fn is_blocked(&self, origin: Vec3, direction: Vec3, far: f32) -> bool {
        let mut blocked = false;
        self.bvh.along_ray(origin, direction, far, |index, far| {
            let solid = &self.solids[index as usize];
            blocked |= solid.blocks_light && solid.part.enter(origin, direction, NEAR, far).is_some();
            // Nothing is nearer than this: the search ends.
            if blocked { 0.0 } else { far }
        });
        blocked || self.is_above_ceiling(origin, direction, far)
    }

    /// Whether the end of the segment lies above the ceiling of the room it starts in.
    fn is_above_ceiling(&self, origin: Vec3, direction: Vec3, far: f32) -> bool {
        direction.z > 0.0
            && (0..self.rooms.len()).any(|room| {
                let t = (self.rooms[room].height - origin.z) / direction.z;
                t > NEAR && t < far && self.is_under(room, (origin + direction * t).truncate(), 0.0)
            })
    }

    /// Whether a point is inside a solid other than `skip`.
    pub(super) fn is_inside_solid(&self, point: Vec3, skip: Option<u32>) -> bool {
        let mut inside = false;
        self.bvh.at_point(point, |index| {
            inside |= Some(index) != skip && self.solids[index as usize].part.contains(point);
        });
        inside
    }

    /// Mean colour of what a ray has met.
    pub(super) fn mean_reflectance(&self, target: Target) -> Vec3 {
        let material = match target {
            Target::Solid(index) => &self.solids[index as usize].part.material,
            Target::Floor(room) => &self.rooms[room].floor,
            Target::Ceiling(room) => &self.rooms[room].ceiling,
        };
        material.mean_reflectance()
    }

    /// Position inside the bounds of a room, 0 to 1 each way.
    pub(super) fn share_of_room(&self, room: usize, point: Vec3) -> Vec2 {
        let (low, high) = self.bounds[room];
        (point.truncate() - low) / (high - low)
    }

    /// Floor or ceiling along a ray.
    fn flat(&self, origin: Vec3, direction: Vec3) -> Option<(f32, Target)> {
        if direction.z < 0.0 {
            let t = -origin.z / direction.z;
            let room = self.room_near((origin + direction * t).truncate())?;
            return (t > NEAR).then_some((t, Target::Floor(room)));
        }
        (0..self.rooms.len())
            .filter_map(|room| {
                let t = (self.rooms[room].height - origin.z) / direction.z;
                let is_inside = t > NEAR && self.is_under(room, (origin + direction * t).truncate(), 0.0);
                is_inside.then_some((t, Target::Ceiling(room)))
            })
            .min_by(|a, b| a.0.total_cmp(&b.0))
    }

    fn is_under(&self, room: usize, p: Vec2, margin: f32) -> bool {
        let (low, high) = self.bounds[room];
        let in_bounds = p.cmpge(low - margin).all() && p.cmple(high + margin).all();
        let outline = &self.rooms[room];
        in_bounds
            && (outline.polygon.len() == 4 && is_rectangle(&outline.polygon)
                || outline.contains(p)
                || (margin > 0.0 && outline.wall_distance(p) <= margin))
    }

    /// The room of a floor point; the gap in a doorway belongs to the nearest room.
    fn room_near(&self, p: Vec2) -> Option<usize> {
        (0..self.rooms.len())
            .find(|&room| self.is_under(room, p, 0.0))
            .or_else(|| (0..self.rooms.len()).find(|&room| self.is_under(room, p, 0.1)))
    }
}

fn is_rectangle(polygon: &[Vec2]) -> bool {
    (0..4).all(|i| {
        let side = polygon[(i + 1) % 4] - polygon[i];
        side.x == 0.0 || side.y == 0.0
    })
}

/// The room that an object stands in or, for things in walls, faces.
fn room_of(scene: &SynthScene, bounds: &crate::geometry::OrientedBox) -> usize {
    let middle = bounds.center.truncate();
    let ahead = middle + bounds.yaw.direction() * (bounds.size.x * 0.5 + 0.1);
    scene.room_of(ahead).or_else(|| scene.room_of(middle)).unwrap_or(0)
}
