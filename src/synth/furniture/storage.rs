//! Wardrobes, dressers, cabinets, shelves, boxes, bags.

use glam::Vec3;

use super::Piece;
use crate::synth::material::{Material, Texture};

pub(super) fn build(category: &str, piece: &mut Piece) -> bool {
    match category {
        "wardrobe" => wardrobe(piece),
        "dresser" => dresser(piece),
        "cabinet" => cabinet(piece),
        "bookshelf" => bookshelf(piece),
        "shelf" => shelf(piece),
        "bin" => bin(piece),
        "box" => carton(piece),
        "backpack" => backpack(piece),
        _ => return false,
    }
    true
}

fn wardrobe(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let (body, front, grip) = (p.joinery(), p.joinery(), Piece::steel());
    p.block([(-x, x - 0.025), (-y, y), (0.0, z)], body);
    let doors = (p.size.y / 0.5).round().max(2.0) as usize;
    let width = p.size.y / doors as f32;
    for i in 0..doors {
        let low = -y + width * i as f32;
        p.block([(x - 0.03, x - 0.01), (low + 0.004, low + width - 0.004), (0.07, z - 0.02)], front);
        let side = if i % 2 == 0 { low + width - 0.05 } else { low + 0.05 };
        p.block([(x - 0.01, x), (side - 0.008, side + 0.008), (z * 0.45, z * 0.45 + 0.16)], grip);
    }
}

fn drawers(p: &mut Piece, columns: usize, rows: usize, bottom: f32) {
    let (x, y, z) = p.reach();
    let (front, grip) = (p.shaded(0.9), Piece::steel());
    let (width, height) = (p.size.y / columns as f32, (z - 0.03 - bottom) / rows as f32);
    for column in 0..columns {
        for row in 0..rows {
            let (low_y, low_z) = (-y + width * column as f32, bottom + height * row as f32);
            let face = [
                (x - 0.02, x - 0.008),
                (low_y + 0.006, low_y + width - 0.006),
                (low_z + 0.006, low_z + height - 0.006),
            ];
            p.block(face, front);
            let (cy, cz) = (low_y + width * 0.5, low_z + height * 0.62);
            p.block([(x - 0.008, x), (cy - 0.05, cy + 0.05), (cz - 0.007, cz + 0.007)], grip);
        }
    }
}

fn dresser(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let wood = p.joinery();
    p.legs(0.022, 0.02, 0.1, true, wood);
    p.block([(-x, x - 0.02), (-y, y), (0.09, z)], wood);
    let columns = if p.size.y > 1.0 { 2 } else { 1 };
    drawers(p, columns, 3, 0.1);
}

fn cabinet(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let (body, top) = (p.joinery(), if p.chance(0.5) { p.oak() } else { p.joinery() });
    p.block([(-x, x - 0.03), (-y + 0.01, y - 0.01), (0.08, z - 0.03)], body);
    p.block([(-x, x - 0.08), (-y + 0.02, y - 0.02), (0.0, 0.08)], Piece::dark());
    p.block([(-x, x), (-y, y), (z - 0.035, z)], top);
    let (front, grip) = (p.shaded(0.92), Piece::steel());
    let doors = (p.size.y / 0.45).round().max(1.0) as usize;
    let width = (p.size.y - 0.02) / doors as f32;
    for i in 0..doors {
        let low = -y + 0.01 + width * i as f32;
        p.block([(x - 0.03, x - 0.012), (low + 0.005, low + width - 0.005), (0.09, z - 0.05)], front);
        let side = if i % 2 == 0 { low + width - 0.05 } else { low + 0.05 };
        p.block([(x - 0.012, x - 0.002), (side - 0.007, side + 0.007), (z * 0.68, z * 0.68 + 0.11)], grip);
    }
}

fn bookshelf(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let wood = p.joinery();
    for (low, high) in [(-y, -y + 0.025), (y - 0.025, y)] {
        p.block([(-x, x), (low, high), (0.0, z)], wood);
    }
    p.block([(-x, -x + 0.015), (-y + 0.02, y - 0.02), (0.0, z)], p.shaded(0.7));
    let rows = (z / 0.37).floor().max(2.0) as usize;
    let step = (z - 0.08) / rows as f32;
    for i in 0..=rows {
        let low = 0.05 + step * i as f32;
        p.block([(-x, x - 0.004), (-y + 0.02, y - 0.02), (low, low + 0.025)], wood);
    }
    for i in 0..rows {
        let low = 0.075 + step * i as f32;
        books(p, (-y + 0.035, y - 0.035), low, step - 0.03, i as u32);
    }
}

/// A row of books (or an ornament) on a board at height `low`, at most `room` high.
fn books(p: &mut Piece, (left, right): (f32, f32), low: f32, room: f32, row: u32) {
    let (x, ..) = p.reach();
    let paper = Material::plain(Vec3::new(0.55, 0.5, 0.42))
        .with_texture(Texture::Books, Vec3::ONE, 0.03)
        .with_seed(p.style.wrapping_mul(31).wrapping_add(row));
    let mut y = left;
    while right - y > 0.12 {
        let length = p.between(0.14, 0.42).min(right - y);
        let height = room * p.between(0.6, 0.86);
        let depth = p.between(0.04, 0.09);
        p.block([(-x + 0.02, x - depth), (y, y + length), (low, low + height)], paper);
        y += length;
        if p.chance(0.5) {
            y += p.between(0.03, 0.22);
        }
    }
}

fn shelf(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let wood = p.joinery();
    p.block([(-x, x), (-y, y), (0.0, 0.028)], wood);
    books(p, (-y + 0.04, y - 0.06), 0.028, z - 0.03, 3);
}

fn bin(p: &mut Piece) {
    let (x, _, z) = p.reach();
    let body = p.lacquer();
    // Standing on its narrow end: a cone whose wide end is up, turned over.
    let dark = Piece::dark();
    p.cone(0.0, 0.0, x * 0.9, 0.999, (0.0, z * 0.5), body);
    p.rod(0.0, 0.0, x * 0.95, (z * 0.5, z - 0.01), body);
    p.rod(0.0, 0.0, x, (z - 0.03, z - 0.002), body);
    p.rod(0.0, 0.0, x * 0.88, (z - 0.01, z), dark);
}

fn carton(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let board = p.main.with_texture(Texture::Plaster, p.main.color * 0.85, 1.0).with_gloss(0.0);
    p.block([(-x, x), (-y, y), (0.0, z - 0.003)], board);
    let tape = Material::plain(p.main.color.lerp(Vec3::new(0.6, 0.5, 0.35), 0.6));
    p.block([(-x, x), (-0.025, 0.025), (z - 0.004, z)], tape);
}

fn backpack(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let cloth = p.cloth();
    p.soft([(-x + 0.02, x - 0.06), (-y, y), (0.0, z - 0.04)], 0.08, cloth);
    let pocket = p.shaded(0.75);
    p.soft([(x - 0.1, x), (-y * 0.75, y * 0.75), (0.02, z * 0.48)], 0.04, pocket);
    let dark = Piece::dark();
    p.soft([(-0.03, 0.0), (-0.06, 0.06), (z - 0.06, z)], 0.012, dark);
    for side in [-1.0f32, 1.0] {
        let c = side * y * 0.5;
        p.soft([(-x, -x + 0.05), (c - 0.03, c + 0.03), (z * 0.2, z * 0.85)], 0.012, dark);
    }
}
