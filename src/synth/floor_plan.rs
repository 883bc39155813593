//! Rooms, doors and windows: rectangles that share walls, joined by doorways.

use glam::{Vec2, Vec3};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::SynthConfig;
use super::catalogue::draw_size;
use super::material::{Material, Texture};
use super::palette::linear_from_srgb;
use super::scene::{Room, RoomKind, standing};
use super::seeding::{Purpose, stream};
use crate::geometry::OrientedBox;

/// Gap between the inner faces of two neighbouring rooms, metres.
const SHARED_WALL: f32 = 0.12;

/// A door, doorway or window in a wall.
#[derive(Debug, Clone)]
pub(super) struct Opening {
    pub category: &'static str,
    pub bounds: OrientedBox,
    /// Rooms on both sides.
    pub rooms: (usize, Option<usize>),
}

/// Rooms and openings of a scene.
#[derive(Debug, Clone)]
pub(super) struct FloorPlan {
    pub rooms: Vec<Room>,
    pub openings: Vec<Opening>,
}

/// Draws a plan of `config.rooms` connected rooms.
pub(super) fn draw(seed: u64, config: &SynthConfig) -> FloorPlan {
    let mut rng = stream(seed, Purpose::FloorPlan);
    let count = rng.random_range(config.rooms.0..=config.rooms.1).max(1) as usize;
    let mut kinds = room_kinds(count, &mut rng);
    for (kind, &wanted) in kinds.iter_mut().zip(&config.kinds) {
        *kind = wanted;
    }
    let height = rng.random_range(config.room_height.0..=config.room_height.1);
    let mut plan = FloorPlan { rooms: Vec::new(), openings: Vec::new() };
    let mut appearance = stream(seed, Purpose::Appearance);
    for kind in kinds {
        let size = room_size(kind, config, &mut rng);
        if plan.rooms.is_empty() {
            plan.rooms.push(room(Vec2::ZERO, size, kind, height, &mut appearance));
        } else {
            plan.attach(kind, size, height, &mut rng, &mut appearance);
        }
    }
    plan.add_entrance(&mut rng);
    plan.add_windows(&mut rng);
    plan
}

fn room_kinds(count: usize, rng: &mut ChaCha8Rng) -> Vec<RoomKind> {
    use RoomKind::{Bathroom, Bedroom, Kitchen, Living, Office, Studio};
    let pick = |options: &[RoomKind], rng: &mut ChaCha8Rng| options[rng.random_range(0..options.len())];
    let first = pick(
        if count == 1 {
            &[Living, Bedroom, Studio, Office, Kitchen, Living, Studio, Bathroom]
        } else {
            &[Living, Living, Studio, Office, Kitchen]
        },
        rng,
    );
    let mut kinds = vec![first];
    while kinds.len() < count {
        let next = pick(&[Bedroom, Kitchen, Bathroom, Office, Bedroom], rng);
        if !kinds.contains(&next) {
            kinds.push(next);
        }
    }
    kinds
}

fn room_size(kind: RoomKind, config: &SynthConfig, rng: &mut ChaCha8Rng) -> Vec2 {
    let (low, high) = config.room_side;
    let largest = match kind {
        RoomKind::Bathroom => high.min(low + 1.2),
        RoomKind::Kitchen | RoomKind::Bedroom => high.min(low + 3.0),
        _ => high,
    };
    // Favour the lower half: most rooms are small, a few are halls.
    let mut side = || {
        let share: f32 = rng.random_range(0.0f32..1.0);
        low + (largest - low) * share.powf(1.4)
    };
    Vec2::new(side(), side())
}

fn room(low: Vec2, size: Vec2, kind: RoomKind, height: f32, rng: &mut ChaCha8Rng) -> Room {
    let high = low + size;
    let polygon = vec![low, Vec2::new(high.x, low.y), high, Vec2::new(low.x, high.y)];
    let (floor, wall) = (floor_material(kind, rng), wall_material(kind, rng));
    let ceiling = Material::plain(Vec3::splat(rng.random_range(0.68..0.8)));
    Room { polygon, height, kind, floor, wall, ceiling }
}

fn floor_material(kind: RoomKind, rng: &mut ChaCha8Rng) -> Material {
    let seed = rng.random_range(0..1000);
    let tiled = match kind {
        RoomKind::Bathroom => true,
        RoomKind::Kitchen => rng.random_bool(0.5),
        _ => rng.random_bool(0.1),
    };
    let base = if tiled {
        let tones = [[206, 204, 198], [150, 152, 154], [196, 178, 152], [92, 96, 102], [168, 186, 186]];
        let [r, g, b] = tones[rng.random_range(0..tones.len())];
        let color = linear_from_srgb(r, g, b);
        let side = rng.random_range(0.25..0.6);
        if rng.random_bool(0.2) {
            Material::plain(color).with_texture(Texture::Checker, color * 0.45, side)
        } else {
            Material::plain(color).with_texture(Texture::Tiles, color * 0.6, side)
        }
        .with_gloss(0.25)
    } else if rng.random_bool(0.2) {
        let tones = [[150, 148, 146], [128, 120, 110], [96, 104, 116], [170, 158, 138]];
        let [r, g, b] = tones[rng.random_range(0..tones.len())];
        let color = linear_from_srgb(r, g, b);
        Material::plain(color).with_texture(Texture::Fabric, color * 0.82, 1.0).with_gloss(0.0)
    } else {
        let tones = [[186, 146, 102], [158, 116, 78], [206, 176, 136], [122, 84, 58], [172, 150, 126]];
        let [r, g, b] = tones[rng.random_range(0..tones.len())];
        let color = linear_from_srgb(r, g, b);
        let width = rng.random_range(0.09..0.2);
        Material::plain(color).with_texture(Texture::Planks, color * 0.66, width).with_gloss(0.2)
    };
    base.with_seed(seed)
}

fn wall_material(kind: RoomKind, rng: &mut ChaCha8Rng) -> Material {
    let seed = rng.random_range(0..1000);
    if kind == RoomKind::Bathroom && rng.random_bool(0.7) {
        let tones = [[222, 224, 222], [186, 204, 208], [206, 214, 200]];
        let [r, g, b] = tones[rng.random_range(0..tones.len())];
        let color = linear_from_srgb(r, g, b);
        let side = rng.random_range(0.12..0.3);
        return Material::plain(color)
            .with_texture(Texture::Tiles, color * 0.7, side)
            .with_gloss(0.3)
            .with_seed(seed);
    }
    let tones = [
        [232, 228, 220],
        [226, 218, 204],
        [214, 218, 216],
        [206, 214, 222],
        [212, 218, 204],
        [226, 208, 196],
        [196, 204, 200],
        [222, 214, 188],
        [188, 198, 210],
    ];
    let [r, g, b] = tones[rng.random_range(0..tones.len())];
    let color = linear_from_srgb(r, g, b);
    if rng.random_bool(0.1) {
        let width = rng.random_range(0.08..0.25);
        return Material::plain(color).with_texture(Texture::Stripes, color * 0.86, width).with_seed(seed);
    }
    Material::plain(color).with_texture(Texture::Plaster, color * 0.975, 1.0).with_gloss(0.0).with_seed(seed)
}

/// Floor, wall and ceiling of a room whose surfaces nobody has chosen.
pub(super) fn default_finish(kind: RoomKind, variant: u64) -> (Material, Material, Material) {
    let mut rng = stream(variant, Purpose::Appearance);
    (floor_material(kind, &mut rng), wall_material(kind, &mut rng), Material::plain(Vec3::splat(0.76)))
}

impl FloorPlan {
    /// Adds a room beside an existing one, with a doorway; tries many places and
    /// leaves the room out when none fits.
    fn attach(
        &mut self,
        kind: RoomKind,
        size: Vec2,
        height: f32,
        rng: &mut ChaCha8Rng,
        appearance: &mut ChaCha8Rng,
    ) {
        for _ in 0..60 {
            let host = rng.random_range(0..self.rooms.len());
            let (low, high) = self.rooms[host].bounds();
            let side = rng.random_range(0..4u32);
            // Along the shared wall the new room may stick out but must overlap by a doorway.
            let along = usize::from(side.is_multiple_of(2));
            let (from, to) = (low[along] - size[along] + 1.75, high[along] - 1.75);
            let start = rng.random_range(from..to);
            let mut corner = Vec2::ZERO;
            corner[along] = start;
            corner[1 - along] = match side {
                0 | 1 => high[1 - along] + SHARED_WALL,
                _ => low[1 - along] - SHARED_WALL - size[1 - along],
            };
            if self.overlaps(corner, size) {
                continue;
            }
            let shared = (low[along].max(start), high[along].min(start + size[along]));
            let opening = draw_size("doorway", rng);
            let half = opening.y * 0.5 + 0.25;
            let mut middle = Vec2::ZERO;
            middle[along] = rng.random_range(shared.0 + half..=shared.1 - half);
            middle[1 - along] =
                if side < 2 { high[1 - along] } else { low[1 - along] } + if side < 2 { 0.06 } else { -0.06 };
            let mut facing = Vec2::ZERO;
            facing[1 - along] = if side < 2 { -1.0 } else { 1.0 };
            let index = self.rooms.len();
            self.rooms.push(room(corner, size, kind, height, appearance));
            let bounds = standing(middle, 0.0, opening, facing);
            self.openings.push(Opening { category: "doorway", bounds, rooms: (host, Some(index)) });
            return;
        }
    }

    fn overlaps(&self, corner: Vec2, size: Vec2) -> bool {
        let margin = Vec2::splat(SHARED_WALL - 0.01);
        self.rooms.iter().any(|room| {
            let (low, high) = room.bounds();
            (corner - margin).cmplt(high).all() && (corner + size + margin).cmpgt(low).all()
        })
    }

    fn add_entrance(&mut self, rng: &mut ChaCha8Rng) {
        let size = draw_size("door", rng);
        if let Some(bounds) = self.outer_spot(0, size, 0.0, rng) {
            self.openings.push(Opening { category: "door", bounds, rooms: (0, None) });
        }
    }

    fn add_windows(&mut self, rng: &mut ChaCha8Rng) {
        for index in 0..self.rooms.len() {
            let wanted = match self.rooms[index].kind {
                RoomKind::Bathroom => usize::from(rng.random_bool(0.4)),
                _ if self.rooms[index].area() > 22.0 => rng.random_range(1..=3),
                _ => rng.random_range(1..=2),
            };
            for _ in 0..wanted {
                let size = draw_size("window", rng);
                let sill = rng.random_range(0.78..0.95f32).min(self.rooms[index].height - size.z - 0.12);
                if let Some(bounds) = self.outer_spot(index, size, sill, rng) {
                    self.openings.push(Opening { category: "window", bounds, rooms: (index, None) });
                }
            }
        }
    }

    /// A place in an outer wall of a room, away from its other openings. The box
    /// sits in the wall and faces the room.
    fn outer_spot(&self, room: usize, size: Vec3, bottom: f32, rng: &mut ChaCha8Rng) -> Option<OrientedBox> {
        let edges: Vec<_> = self.rooms[room].edges().collect();
        for _ in 0..40 {
            let (a, b) = edges[rng.random_range(0..edges.len())];
            let (along, length) = ((b - a).normalize_or_zero(), a.distance(b));
            let half = size.y * 0.5 + 0.3;
            if length < 2.0 * half {
                continue;
            }
            let middle = a + along * rng.random_range(half..=length - half);
            let inward = along.perp();
            let is_outer = [-half, 0.0, half].into_iter().all(|shift| {
                let outside = middle + along * shift - inward * 0.5;
                !self.rooms.iter().any(|other| other.contains(outside))
            });
            // A little of the frame stands out into the room.
            let bounds = standing(middle - inward * (size.x * 0.5 - 0.02), bottom, size, inward);
            let is_clear = self.openings.iter().all(|other| !other.bounds.footprint_overlaps(&bounds, 0.5));
            if is_outer && is_clear {
                return Some(bounds);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_have_the_asked_number_of_connected_rooms() {
        let config = SynthConfig { rooms: (3, 3), ..SynthConfig::training() };
        for seed in 0..60 {
            let plan = draw(seed, &config);
            assert_eq!(plan.rooms.len(), 3, "seed {seed}");
            let joined = plan.openings.iter().filter(|o| o.rooms.1.is_some()).count();
            assert_eq!(joined, 2);
            for (i, a) in plan.rooms.iter().enumerate() {
                let (low, high) = a.bounds();
                assert!((high - low).min_element() >= 3.0 - 1e-4 && (high - low).max_element() <= 9.0);
                for b in &plan.rooms[i + 1..] {
                    assert!(a.polygon.iter().all(|&p| !b.contains(p)));
                }
            }
        }
    }

    #[test]
    fn doorways_stand_between_their_rooms() {
        let config = SynthConfig { rooms: (2, 3), ..SynthConfig::training() };
        for seed in 0..40 {
            let plan = draw(seed, &config);
            for opening in plan.openings.iter().filter(|o| o.category == "doorway") {
                let (front, back) = (opening.rooms.0, opening.rooms.1.unwrap());
                let facing = opening.bounds.yaw.direction() * 0.5;
                let middle = opening.bounds.center.truncate();
                assert!(plan.rooms[front].contains(middle + facing), "seed {seed}");
                assert!(plan.rooms[back].contains(middle - facing), "seed {seed}");
            }
        }
    }
}
