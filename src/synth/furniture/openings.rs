//! Doors, doorways, windows and radiators: what belongs to the wall.

use glam::Vec3;

use super::Piece;
use crate::synth::material::{Material, Texture};

pub(super) fn build(category: &str, piece: &mut Piece) -> bool {
    match category {
        "door" => door(piece),
        "doorway" => doorway(piece),
        "window" => window(piece),
        "radiator" => radiator(piece),
        _ => return false,
    }
    true
}

fn frame(p: &mut Piece, width: f32, material: Material) {
    let (x, y, z) = p.reach();
    p.block([(-x, x), (-y, -y + width), (0.0, z)], material);
    p.block([(-x, x), (y - width, y), (0.0, z)], material);
    p.block([(-x, x), (-y + width, y - width), (z - width, z)], material);
}

fn door(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let (leaf, steel) = (p.joinery(), Piece::steel());
    frame(p, 0.05, p.shaded(0.85));
    p.block([(-x, x - 0.045), (-y + 0.05, y - 0.05), (0.0, z - 0.05)], leaf);
    let panel = p.shaded(0.88);
    let rows = if p.chance(0.5) { vec![(0.18, 0.92), (1.05, z - 0.2)] } else { vec![(0.2, z - 0.22)] };
    for (low, high) in rows {
        p.block([(x - 0.05, x - 0.037), (-y + 0.18, y - 0.18), (low, high)], panel);
    }
    let hinge_side = if p.chance(0.5) { 1.0 } else { -1.0 };
    let c = hinge_side * (y - 0.12);
    p.bar_x(c, 1.02, 0.014, (x - 0.045, x - 0.005), steel);
    let (low, high) = if hinge_side > 0.0 { (c - 0.1, c) } else { (c, c + 0.1) };
    p.block([(x - 0.022, x - 0.004), (low, high), (1.01, 1.03)], steel);
}

fn doorway(p: &mut Piece) {
    let trim = p.joinery();
    frame(p, 0.045, trim);
}

fn window(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let trim = p.lacquer();
    let view = Material::plain(Vec3::new(0.72, 0.85, 1.0))
        .with_texture(Texture::Outside, Vec3::new(0.72, 0.85, 1.0), 1.0)
        .with_glow(1.0)
        .with_gloss(0.6)
        .with_seed(p.style);
    frame(p, 0.05, trim);
    p.block([(-x, x), (-y, y), (0.0, 0.04)], trim);
    p.block([(-x, -x + 0.03), (-y + 0.05, y - 0.05), (0.04, z - 0.05)], view);
    let bars = (p.size.y / 0.75).round().max(1.0) as usize;
    for i in 1..bars {
        let c = -y + p.size.y * i as f32 / bars as f32;
        p.block([(-x + 0.01, -x + 0.06), (c - 0.022, c + 0.022), (0.04, z - 0.05)], trim);
    }
    if p.chance(0.4) {
        let c = z * 0.66;
        p.block([(-x + 0.01, -x + 0.055), (-y + 0.05, y - 0.05), (c - 0.016, c + 0.016)], trim);
    }
}

fn radiator(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let white = p.lacquer();
    p.block([(-x, x - 0.02), (-y, y), (0.08, 0.12)], white);
    p.block([(-x, x - 0.02), (-y, y), (z - 0.04, z - 0.01)], white);
    let ribs = (p.size.y / 0.065).floor().max(3.0) as usize;
    let step = p.size.y / ribs as f32;
    for i in 0..ribs {
        let c = -y + step * (i as f32 + 0.5);
        p.soft([(-x + 0.02, x), (c - step * 0.36, c + step * 0.36), (0.06, z)], 0.015, white);
    }
    for side in [-1.0f32, 1.0] {
        let c = side * (y - 0.06);
        p.block([(-x, x - 0.05), (c - 0.015, c + 0.015), (0.0, 0.1)], white);
    }
}
