//! Habits: what stands in which room and how things stand to each other.

use glam::{Vec2, Vec3};
use rand::Rng as _;

use super::catalogue::draw_color;
use super::furnish::{Furnisher, WallSpot};
use super::scene::{RoomKind, standing};
use crate::scene::ObjectId;

/// Furnishes one room with `share` objects if there is space for them.
pub(super) fn furnish(f: &mut Furnisher<'_>, room: usize, share: usize) {
    f.allow(share);
    match f.rooms[room].kind {
        RoomKind::Living => living(f, room),
        RoomKind::Bedroom => bedroom(f, room),
        RoomKind::Kitchen => kitchen(f, room),
        RoomKind::Bathroom => bathroom(f, room),
        RoomKind::Office => office(f, room),
        RoomKind::Studio => studio(f, room),
    }
    windows(f, room);
    if f.chance(0.7) {
        ceiling_lamp(f, room);
    }
    let mut attempts = 0;
    while f.room_left() > 0 && attempts < 40 {
        extra(f, room);
        attempts += 1;
    }
}

fn living(f: &mut Furnisher<'_>, room: usize) {
    seating_group(f, room);
    if f.chance(0.7) {
        f.against_wall(room, "bookshelf", 0.5);
    }
    if f.chance(0.6) {
        corner(f, room, "plant");
    }
    if f.chance(0.6) {
        corner(f, room, "floor lamp");
    }
    if f.rooms[room].area() > 24.0 && f.chance(0.7) {
        dining(f, room);
    }
    wall_art(f, room);
}

fn bedroom(f: &mut Furnisher<'_>, room: usize) {
    sleeping(f, room);
    f.against_wall(room, "wardrobe", 0.7);
    if f.chance(0.6)
        && let Some(dresser) = f.against_wall(room, "dresser", 0.5)
    {
        ornament(f, room, dresser);
    }
    if f.chance(0.4) {
        f.on_wall(room, "mirror", 1.4);
    }
    if f.chance(0.4) {
        desk(f, room);
    }
    if f.chance(0.4) {
        f.against_wall(room, "armchair", 0.4);
    }
    wall_art(f, room);
}

fn kitchen(f: &mut Furnisher<'_>, room: usize) {
    counter(f, room);
    dining(f, room);
    if f.chance(0.6) {
        corner(f, room, "bin");
    }
    if f.chance(0.5) {
        f.on_wall(room, "clock", 1.9);
    }
    if f.chance(0.4) {
        f.on_wall(room, "shelf", 1.55);
    }
}

fn bathroom(f: &mut Furnisher<'_>, room: usize) {
    f.against_wall(room, "bathtub", 0.5);
    if let Some(sink) = f.against_wall(room, "sink", 0.6) {
        let bounds = f.bounds(sink);
        let size = f.size("mirror").min(Vec3::new(1.0, 0.9, 0.8));
        let back = bounds.center.truncate() - bounds.yaw.direction() * (bounds.size.x * 0.5 + 0.005);
        let center = back + bounds.yaw.direction() * (size.x * 0.5);
        f.place(room, "mirror", standing(center, 1.18, size, bounds.yaw.direction()), 0.0);
    }
    f.against_wall(room, "toilet", 0.5);
    if f.chance(0.7) {
        f.against_wall(room, "washing machine", 0.5);
    }
    f.on_wall(room, "towel", 1.2);
    if f.chance(0.5) {
        corner(f, room, "bin");
    }
    if f.chance(0.4) {
        f.on_wall(room, "shelf", 1.5);
    }
}

fn office(f: &mut Furnisher<'_>, room: usize) {
    let desks =
        if f.rooms[room].area() > 20.0 { f.rng.random_range(2..=4) } else { f.rng.random_range(1..=2) };
    for _ in 0..desks {
        desk(f, room);
    }
    if f.chance(0.7) {
        f.on_wall(room, "whiteboard", 1.5);
    }
    f.against_wall(room, "bookshelf", 0.5);
    if f.chance(0.7)
        && let Some(cabinet) = f.against_wall(room, "cabinet", 0.5)
    {
        ornament(f, room, cabinet);
    }
    if f.rooms[room].area() > 26.0 {
        dining(f, room);
    }
    corner(f, room, "bin");
    if f.chance(0.6) {
        corner(f, room, "plant");
    }
    if f.chance(0.6) {
        f.on_wall(room, "clock", 1.95);
    }
    wall_art(f, room);
}

fn studio(f: &mut Furnisher<'_>, room: usize) {
    sleeping(f, room);
    seating_group(f, room);
    if f.chance(0.6) {
        desk(f, room);
    }
    if f.rooms[room].area() > 20.0 {
        counter(f, room);
        dining(f, room);
    }
    f.against_wall(room, "wardrobe", 0.6);
    if f.chance(0.5) {
        corner(f, room, "plant");
    }
    wall_art(f, room);
}

/// A sofa, opposite it a television, between them a coffee table on a rug.
fn seating_group(f: &mut Furnisher<'_>, room: usize) {
    let Some(sofa) = f.against_wall(room, "sofa", 0.9) else { return };
    let bounds = f.bounds(sofa);
    let (facing, middle) = (bounds.yaw.direction(), bounds.center.truncate());
    let front = middle + facing * bounds.size.x * 0.5;
    if let Some(spot) = f.opposite_wall(room, middle, facing)
        && spot.point.distance(front) > 1.6
    {
        let size = f.size("tv stand");
        let jitter = f.between(-0.25, 0.25);
        let shifted = WallSpot { point: spot.point + facing.perp() * jitter, ..spot };
        if let Some(stand) = f.at_wall(room, "tv stand", size, shifted, 0.3) {
            let tv = f.size("tv").min(Vec3::new(1.0, size.y, 1.0));
            f.on_top(room, "tv", stand, Vec2::ZERO, tv);
        }
    }
    let table = f.size("coffee table");
    let gap = f.between(0.38, 0.5);
    let center = front + facing * (gap + table.x * 0.5);
    if f.chance(0.8) {
        // The zone in front of the sofa is kept for exactly this.
        f.release_front(sofa);
        if let Some(table) = f.place(room, "coffee table", standing(center, 0.0, table, facing), 0.2)
            && f.chance(0.5)
        {
            ornament(f, room, table);
        }
    }
    if f.chance(0.75) {
        let size = f.size("rug");
        let size = Vec3::new(size.x.min(size.y), size.x.max(size.y), size.z);
        f.place(room, "rug", standing(front + facing * (size.x * 0.5 + 0.1), 0.0, size, facing), 0.0);
    }
    cushions(f, room, sofa);
    if f.chance(0.6) {
        armchair_beside(f, room, front, facing);
    }
}

fn armchair_beside(f: &mut Furnisher<'_>, room: usize, front: Vec2, facing: Vec2) {
    for side in [1.0f32, -1.0] {
        let size = f.size("armchair");
        let (ahead, aside) = (f.between(0.6, 1.1), f.between(1.35, 1.9));
        let center = front + facing * ahead + facing.perp() * aside * side;
        let look = (front + facing * 0.8 - center).normalize_or(facing);
        if f.place(room, "armchair", standing(center, 0.0, size, look), 0.25).is_some() {
            return;
        }
    }
}

fn cushions(f: &mut Furnisher<'_>, room: usize, sofa: ObjectId) {
    let bounds = f.bounds(sofa);
    for side in [-1.0f32, 1.0] {
        if f.chance(0.55) {
            let size = Vec3::new(0.15, f.between(0.38, 0.46), f.between(0.3, 0.36));
            let offset = Vec2::new(0.03, side * (bounds.size.y * 0.5 - 0.2 - size.y * 0.5));
            f.on_top(room, "pillow", sofa, offset, size);
        }
    }
}

/// A bed with its head to the wall, nightstands and lamps at its sides.
fn sleeping(f: &mut Furnisher<'_>, room: usize) {
    let Some(bed) = f.against_wall(room, "bed", 0.5) else { return };
    let bounds = f.bounds(bed);
    let (facing, side) = (bounds.yaw.direction(), bounds.yaw.direction().perp());
    let head = bounds.center.truncate() - facing * bounds.size.x * 0.5;
    for sign in [-1.0f32, 1.0] {
        if f.chance(0.75) {
            let size = f.size("nightstand");
            let center =
                head + facing * size.x * 0.5 + side * sign * (bounds.size.y * 0.5 + size.y * 0.5 + 0.05);
            if let Some(stand) = f.place(room, "nightstand", standing(center, 0.0, size, facing), 0.02)
                && f.chance(0.7)
            {
                let lamp = f.size("lamp");
                f.on_top(room, "lamp", stand, Vec2::ZERO, lamp);
            }
        }
    }
    let pillows = if bounds.size.y > 1.3 { 2 } else { 1 };
    for i in 0..pillows {
        let size = f.size("pillow");
        let across = if pillows == 1 { 0.0 } else { (i as f32 - 0.5) * bounds.size.y * 0.48 };
        f.on_top(room, "pillow", bed, Vec2::new(-bounds.size.x * 0.5 + 0.34, across), size);
    }
    if f.chance(0.4) {
        let size = f.size("rug");
        let center = bounds.center.truncate() + facing * 0.4;
        f.place(room, "rug", standing(center, 0.0, size, side), 0.0);
    }
}

/// A desk with a chair, and a monitor or laptop on it.
fn desk(f: &mut Furnisher<'_>, room: usize) {
    let Some(desk) = f.against_wall(room, "desk", 0.75) else { return };
    let bounds = f.bounds(desk);
    f.release_front(desk);
    let facing = bounds.yaw.direction();
    let category = if f.chance(0.7) { "office chair" } else { "chair" };
    let size = f.size(category);
    let (gap, aside, turn) = (f.between(0.04, 0.2), f.between(-0.2, 0.2), f.between(-0.35, 0.35));
    let center = bounds.center.truncate()
        + facing * (bounds.size.x * 0.5 + size.x * 0.5 + gap)
        + facing.perp() * aside;
    let look = Vec2::from_angle(turn).rotate(-facing);
    f.place(room, category, standing(center, 0.0, size, look), 0.02);
    let screen = if f.chance(0.7) { "monitor" } else { "laptop" };
    let size = f.size(screen);
    let back = if screen == "monitor" { -bounds.size.x * 0.5 + 0.16 } else { 0.05 };
    f.on_top(room, screen, desk, Vec2::new(back, 0.0), size);
    if f.chance(0.4) {
        let lamp = f.size("lamp");
        let side = if f.chance(0.5) { 1.0 } else { -1.0 };
        f.on_top(
            room,
            "lamp",
            desk,
            Vec2::new(-bounds.size.x * 0.5 + 0.2, side * (bounds.size.y * 0.5 - 0.2)),
            lamp,
        );
    }
}

/// A table with chairs that face it.
fn dining(f: &mut Furnisher<'_>, room: usize) {
    let (low, high) = f.rooms[room].bounds();
    for _ in 0..30 {
        let size = f.size("table");
        let center = Vec2::new(f.between(low.x + 0.8, high.x - 0.8), f.between(low.y + 0.8, high.y - 0.8));
        let facing = if f.chance(0.5) { Vec2::X } else { Vec2::Y };
        if let Some(table) = f.place(room, "table", standing(center, 0.0, size, facing), 0.55) {
            chairs(f, room, table);
            if f.chance(0.5) {
                ornament(f, room, table);
            }
            return;
        }
    }
}

fn chairs(f: &mut Furnisher<'_>, room: usize, table: ObjectId) {
    let bounds = f.bounds(table);
    let size = f.size("chair");
    let color = draw_color("chair", &mut f.rng).to_owned();
    let [x, y] = bounds.axes();
    let per_side = if bounds.size.y > 1.35 { 2 } else { 1 };
    for (axis, reach, slots) in [
        (x, bounds.size.x, per_side),
        (-x, bounds.size.x, per_side),
        (y, bounds.size.y, 1),
        (-y, bounds.size.y, 1),
    ] {
        for slot in 0..slots {
            if !f.chance(if slots == 1 && reach > 1.2 { 0.35 } else { 0.85 }) {
                continue;
            }
            let aside = if slots == 2 { (slot as f32 - 0.5) * bounds.size.y * 0.48 } else { 0.0 };
            let (gap, turn) = (f.between(0.03, 0.16), f.between(-0.12, 0.12));
            let center =
                bounds.center.truncate() + axis * (reach * 0.5 + size.x * 0.5 + gap) + axis.perp() * aside;
            let look = Vec2::from_angle(turn).rotate(-axis);
            let chair = standing(center, 0.0, size, look);
            f.place_colored(room, "chair", chair, 0.01, color.clone());
        }
    }
}

/// Kitchen things in a row along one wall.
fn counter(f: &mut Furnisher<'_>, room: usize) {
    let mut row = vec!["fridge", "cabinet", "sink", "stove"];
    if f.chance(0.4) {
        row.push("washing machine");
    }
    if f.chance(0.5) {
        row.reverse();
    }
    let edges: Vec<_> = f.rooms[room].edges().collect();
    let first = f.rng.random_range(0..edges.len());
    for turn in 0..edges.len() {
        let (a, b) = edges[(first + turn) % edges.len()];
        let along = (b - a).normalize_or_zero();
        let mut position = 0.04;
        let mut count = 0;
        for category in &row {
            let mut size = f.size(category);
            if *category == "cabinet" {
                size = Vec3::new(0.58, size.y, 0.9);
            }
            let spot = WallSpot { point: a + along * (position + size.y * 0.5), inward: along.perp() };
            if position + size.y < a.distance(b)
                && let Some(id) = f.at_wall(room, category, size, spot, 0.7)
            {
                count += 1;
                if *category == "cabinet" && f.chance(0.6) {
                    let oven = f.size("microwave");
                    f.on_top(room, "microwave", id, Vec2::new(-0.05, 0.0), oven);
                }
            }
            position += size.y + 0.045;
        }
        if count >= 2 {
            return;
        }
    }
}

/// Something small on top of something else.
fn ornament(f: &mut Furnisher<'_>, room: usize, below: ObjectId) {
    let category = ["vase", "lamp", "vase", "laptop"][f.rng.random_range(0..4)];
    let size = f.size(category);
    let across = f.bounds(below).size.y * 0.5 - size.y * 0.5 - 0.04;
    let offset = Vec2::new(0.0, f.between(-across.max(0.0), across.max(0.0)));
    f.on_top(room, category, below, offset, size);
}

fn wall_art(f: &mut Furnisher<'_>, room: usize) {
    for _ in 0..f.rng.random_range(0..3) {
        f.on_wall(room, "picture", 1.55);
    }
}

/// Stands something in a corner or beside a wall.
fn corner(f: &mut Furnisher<'_>, room: usize, category: &str) {
    f.against_wall(room, category, 0.0);
}

fn ceiling_lamp(f: &mut Furnisher<'_>, room: usize) {
    let size = f.size("ceiling lamp");
    let (center, height) = (f.rooms[room].center(), f.rooms[room].height);
    let jitter = Vec2::new(f.between(-0.4, 0.4), f.between(-0.4, 0.4));
    f.place(room, "ceiling lamp", standing(center + jitter, height - size.z, size, Vec2::X), 0.0);
}

/// Curtains beside and radiators under windows.
fn windows(f: &mut Furnisher<'_>, room: usize) {
    let windows: Vec<_> = f
        .placed
        .iter()
        .filter(|object| object.object.category.as_str() == "window")
        .map(|object| object.object.bounds)
        .filter(|bounds| {
            f.rooms[room]
                .contains(bounds.center.truncate() + bounds.yaw.direction() * (bounds.size.x * 0.5 + 0.2))
        })
        .collect();
    for window in windows {
        let (inward, side) = (window.yaw.direction(), window.yaw.direction().perp());
        let face = window.center.truncate() + inward * (window.size.x * 0.5);
        if f.chance(0.45) {
            let size = f.size("curtain");
            let color = draw_color("curtain", &mut f.rng).to_owned();
            let bottom = (window.top() + 0.12 - size.z).max(0.01);
            for sign in [-1.0f32, 1.0] {
                let center = face
                    + inward * (size.x * 0.5 + 0.01)
                    + side * sign * (window.size.y * 0.5 + size.y * 0.5 - 0.06);
                f.place_colored(room, "curtain", standing(center, bottom, size, inward), 0.0, color.clone());
            }
        }
        if f.chance(0.4) {
            let size = f.size("radiator");
            let size = Vec3::new(size.x, size.y.min(window.size.y), size.z.min(window.bottom() - 0.1));
            let center = face + inward * (size.x * 0.5 + 0.01);
            f.place(room, "radiator", standing(center, 0.0, size, inward), 0.0);
        }
    }
}

/// One more thing of the kind that fits the room.
fn extra(f: &mut Furnisher<'_>, room: usize) {
    match f.rng.random_range(0..15) {
        0 => {
            f.against_wall(room, "cabinet", 0.4);
        }
        1 => corner(f, room, "plant"),
        2 => corner(f, room, "bin"),
        3 => corner(f, room, "box"),
        4 => {
            f.on_floor(room, "backpack", 0.15);
        }
        5 => {
            f.on_floor(room, "stool", 0.3);
        }
        6 => corner(f, room, "floor lamp"),
        7 => {
            f.on_wall(room, "picture", 1.55);
        }
        8 => {
            f.on_wall(room, "clock", 1.9);
        }
        9 => {
            f.against_wall(room, "bookshelf", 0.4);
        }
        10 => {
            f.on_floor(room, "ottoman", 0.35);
        }
        11 => {
            f.against_wall(room, "bench", 0.4);
        }
        12 => {
            f.on_wall(room, "shelf", 1.5);
        }
        13 => {
            f.on_floor(room, "rug", 0.1);
        }
        _ => {
            f.against_wall(room, "chair", 0.3);
        }
    }
}
