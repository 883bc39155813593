//! Sinks, bathtubs, toilets, towels, mirrors.

use glam::Vec3;

use super::Piece;
use crate::synth::material::{Material, Texture};
use crate::synth::shape::Shape;

pub(super) fn build(category: &str, piece: &mut Piece) -> bool {
    match category {
        "sink" => sink(piece),
        "bathtub" => bathtub(piece),
        "toilet" => toilet(piece),
        "towel" => towel(piece),
        "mirror" => mirror(piece),
        _ => return false,
    }
    true
}

fn sink(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let rim = z * 0.83;
    let (white, steel) = (p.main.with_gloss(0.5), Piece::steel());
    let body = if p.chance(0.5) { p.oak() } else { p.shaded(0.9) };
    p.block([(-x, x - 0.06), (-y + 0.03, y - 0.03), (0.08, rim - 0.14)], body);
    p.block([(-x, x - 0.1), (-y + 0.05, y - 0.05), (0.0, 0.08)], Piece::dark());
    p.block([(x - 0.065, x - 0.05), (-0.004, 0.004), (0.1, rim - 0.16)], Piece::dark());
    // The basin: four walls and a bottom, so that it can be looked into.
    let low = rim - 0.15;
    p.block([(-x, x), (-y, y), (low, low + 0.03)], white);
    for side in [-1.0f32, 1.0] {
        let c = side * (y - 0.025);
        p.soft([(-x, x), (c - 0.025, c + 0.025), (low, rim)], 0.015, white);
    }
    p.soft([(-x, -x + 0.14), (-y, y), (low, rim)], 0.015, white);
    p.soft([(x - 0.05, x), (-y, y), (low, rim)], 0.015, white);
    p.rod(-x + 0.07, 0.0, 0.02, (rim, z), steel);
    p.block([(-x + 0.07, -x + 0.22), (-0.014, 0.014), (z - 0.03, z - 0.005)], steel);
}

fn bathtub(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let white = p.main.with_gloss(0.5);
    p.block([(-x + 0.02, x - 0.02), (-y + 0.02, y - 0.02), (0.0, 0.16)], white);
    let wall = 0.085;
    for side in [-1.0f32, 1.0] {
        let (cx, cy) = (side * (x - wall * 0.5), side * (y - wall * 0.5));
        p.soft([(cx - wall * 0.5, cx + wall * 0.5), (-y, y), (0.0, z)], 0.035, white);
        p.soft([(-x, x), (cy - wall * 0.5, cy + wall * 0.5), (0.0, z)], 0.035, white);
    }
    let water = Material::plain(Vec3::new(0.42, 0.6, 0.62)).with_gloss(0.8);
    p.block([(-x + wall, x - wall), (-y + wall, y - wall), (0.15, z * 0.55)], water);
    p.block([(-0.02, 0.02), (-y + 0.02, -y + 0.12), (z - 0.03, z)], Piece::steel());
}

fn toilet(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let white = p.main.with_gloss(0.5);
    let seat = 0.42f32.min(z * 0.55);
    p.soft([(-x, -x + 0.19), (-y, y), (seat - 0.02, z - 0.02)], 0.03, white);
    p.soft([(-x, -x + 0.2), (-y, y), (z - 0.035, z)], 0.012, white);
    p.push(Shape::Frustum(0.999), [(-x + 0.12, x - 0.12), (-y * 0.62, y * 0.62), (0.0, seat - 0.05)], white);
    p.ball([(-x + 0.1, x), (-y * 0.96, y * 0.96), (seat - 0.3, seat + 0.02)], white);
    p.push(Shape::Cylinder, [(-x + 0.17, x), (-y * 0.97, y * 0.97), (seat - 0.03, seat + 0.012)], white);
    let lid = p.shaded(0.9);
    p.push(Shape::Cylinder, [(-x + 0.2, x - 0.02), (-y * 0.92, y * 0.92), (seat + 0.01, seat + 0.03)], lid);
}

fn towel(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let steel = Piece::steel();
    p.bar_y(0.0, z - 0.015, 0.012, (-y, y), steel);
    p.block([(-x, 0.0), (-y, -y + 0.02), (z - 0.025, z - 0.005)], steel);
    p.block([(-x, 0.0), (y - 0.02, y), (z - 0.025, z - 0.005)], steel);
    let cloth =
        if p.chance(0.5) { p.main.with_texture(Texture::Stripes, Vec3::splat(0.7), 0.05) } else { p.cloth() };
    p.soft([(0.0, x), (-y + 0.05, y - 0.05), (0.0, z)], 0.01, cloth);
}

fn mirror(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let frame = p.joinery();
    let glass = Material::plain(Vec3::new(0.5, 0.56, 0.6))
        .with_texture(Texture::Mirror, Vec3::splat(0.85), 1.0)
        .with_gloss(1.0);
    p.block([(-x, x - 0.006), (-y, y), (0.0, z)], frame);
    p.block([(x - 0.01, x), (-y + 0.03, y - 0.03), (0.03, z - 0.03)], glass);
}
