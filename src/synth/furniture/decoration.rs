//! Lamps, plants, rugs, pictures, cushions, clocks.

use glam::{Mat3, Vec3};

use super::Piece;
use crate::synth::material::{Material, Texture};
use crate::synth::palette::{COLORS, color_linear};
use crate::synth::shape::{Part, Shape};

pub(super) fn build(category: &str, piece: &mut Piece) -> bool {
    match category {
        "lamp" => lamp(piece),
        "floor lamp" => floor_lamp(piece),
        "ceiling lamp" => ceiling_lamp(piece),
        "plant" => plant(piece),
        "vase" => vase(piece),
        "rug" => rug(piece),
        "picture" => picture(piece),
        "curtain" => curtain(piece),
        "clock" => clock(piece),
        "whiteboard" => whiteboard(piece),
        "pillow" => pillow(piece),
        _ => return false,
    }
    true
}

fn shade(p: &Piece) -> Material {
    p.main.with_glow(0.55).with_gloss(0.0)
}

fn lamp(p: &mut Piece) {
    let (x, _, z) = p.reach();
    let base = if p.chance(0.5) { Piece::steel() } else { p.oak() };
    let split = z * 0.52;
    p.cone(0.0, 0.0, x * 0.55, 0.4, (0.0, 0.03), base);
    if p.chance(0.5) {
        p.ball([(-x * 0.5, x * 0.5), (-x * 0.5, x * 0.5), (0.02, split * 0.85)], base);
    }
    p.rod(0.0, 0.0, 0.012, (0.02, split + 0.03), base);
    let top = p.between(0.55, 0.8);
    p.cone(0.0, 0.0, x, top, (split, z), shade(p));
}

fn floor_lamp(p: &mut Piece) {
    let (x, _, z) = p.reach();
    let base = if p.chance(0.6) { Piece::dark() } else { Piece::steel() };
    p.rod(0.0, 0.0, x * 0.72, (0.0, 0.025), base);
    p.rod(0.0, 0.0, 0.014, (0.02, z - 0.2), base);
    let (top, height) = (p.between(0.55, 0.95), p.between(0.26, 0.36));
    p.cone(0.0, 0.0, x, top, (z - height, z), shade(p));
}

fn ceiling_lamp(p: &mut Piece) {
    let (x, _, z) = p.reach();
    let wire = Piece::dark();
    p.rod(0.0, 0.0, 0.05, (z - 0.03, z), wire);
    p.rod(0.0, 0.0, 0.006, (z * 0.4, z - 0.02), wire);
    if p.chance(0.5) {
        let height = (x * 1.7).min(z * 0.6);
        p.ball([(-x, x), (-x, x), (0.0, height)], shade(p));
    } else {
        p.cone(0.0, 0.0, x, 0.35, (0.0, z * 0.45), shade(p));
    }
}

fn plant(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let pot_color = COLORS[(p.style % COLORS.len() as u32) as usize];
    let pot = Material::plain(color_linear(pot_color) * 0.9).with_gloss(0.1);
    let earth = Material::plain(Vec3::new(0.06, 0.04, 0.025));
    let pot_top = (z * 0.3).min(0.36);
    let r = x * 0.55;
    p.cone(0.0, 0.0, r * 0.8, 1.0, (0.0, pot_top * 0.5), pot);
    p.rod(0.0, 0.0, r * 0.9, (pot_top * 0.5, pot_top), pot);
    p.rod(0.0, 0.0, r * 0.8, (pot_top - 0.02, pot_top + 0.004), earth);
    let green = p.main.with_texture(Texture::Foliage, p.main.color * Vec3::new(0.45, 0.6, 0.4), 1.0);
    let crown = z - pot_top;
    if p.chance(0.5) {
        p.rod(0.0, 0.0, 0.02, (pot_top, pot_top + crown * 0.5), p.oak());
        p.ball([(-x * 0.7, x * 0.7), (-y * 0.7, y * 0.7), (pot_top + crown * 0.3, z)], green);
        for i in 0..5 {
            let turn = Mat3::from_rotation_z(i as f32 * 1.257 + 0.3);
            let c = turn * Vec3::new(x * 0.55, 0.0, pot_top + crown * (0.35 + 0.09 * (i % 3) as f32));
            let r = x * 0.42;
            p.ball([(c.x - r, c.x + r), (c.y - r, c.y + r), (c.z - r * 0.8, c.z + r * 0.8)], green);
        }
    } else {
        for i in 0..11 {
            let lean = 0.2 + 0.62 * ((i * 7) % 11) as f32 / 11.0;
            let length = crown * (0.92 - 0.35 * lean);
            let reach = (x - 0.02) / lean.sin().max(0.2);
            let half = (length.min(reach * 0.95)) * 0.5;
            let turn = Mat3::from_rotation_z(i as f32 * 2.4) * Mat3::from_rotation_y(lean);
            let leaf = Vec3::new(0.012, 0.05f32.min(x * 0.2), half * 0.98);
            let center = Vec3::Z * (pot_top - 0.01) + turn * Vec3::Z * half;
            p.parts.push(Part::new(Shape::Ellipsoid, center, leaf, green).turned(turn));
        }
    }
    keep_inside(p);
}

/// Shrinks tilted parts that reach out of the box.
fn keep_inside(p: &mut Piece) {
    let (x, y, z) = p.reach();
    for part in &mut p.parts {
        let (low, high) = part.extent();
        part.center.x += (-x - low.x).max(0.0) - (high.x - x).max(0.0);
        part.center.y += (-y - low.y).max(0.0) - (high.y - y).max(0.0);
        part.center.z += (-low.z).max(0.0) - (high.z - z).max(0.0);
    }
}

fn vase(p: &mut Piece) {
    let (x, _, z) = p.reach();
    let clay = p.lacquer();
    p.ball([(-x, x), (-x, x), (0.0, z * 0.6)], clay);
    p.rod(0.0, 0.0, x * 0.5, (0.0, 0.02), clay);
    p.cone(0.0, 0.0, x * 0.55, 0.6, (z * 0.4, z * 0.66), clay);
    let green = Material::plain(color_linear("green"));
    for i in 0..5 {
        let turn = Mat3::from_rotation_z(i as f32 * 1.3) * Mat3::from_rotation_y(0.22);
        let center = Vec3::Z * z * 0.75 + turn * Vec3::X * 0.01;
        let stalk = Part::new(Shape::Ellipsoid, center, Vec3::new(0.01, 0.02, z * 0.24), green);
        p.parts.push(stalk.turned(turn));
    }
    keep_inside(p);
}

fn rug(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let contrast = if p.main.color.element_sum() > 1.0 { 0.5 } else { 1.9 };
    let second = (p.main.color * contrast).lerp(Vec3::splat(0.4), 0.25).min(Vec3::splat(0.8));
    let kind = p.between(0.0, 4.0);
    let cloth = p.cloth();
    if kind < 1.0 {
        p.push(Shape::Cylinder, [(-x, x), (-y, y), (0.0, z)], cloth);
        let inner = p.main.with_texture(Texture::Fabric, second, 1.0);
        p.push(Shape::Cylinder, [(-x * 0.8, x * 0.8), (-y * 0.8, y * 0.8), (0.0, z)], inner);
        return;
    }
    let field = match kind {
        k if k < 2.0 => p.main.with_texture(Texture::Stripes, second, 0.12),
        k if k < 2.6 => p.main.with_texture(Texture::Checker, second, 0.22),
        _ => cloth,
    };
    let border = Material { color: second, ..cloth };
    p.block([(-x, x), (-y, y), (0.0, z - 0.003)], border);
    p.block([(-x + 0.09, x - 0.09), (-y + 0.09, y - 0.09), (0.0, z)], field.with_gloss(0.0));
}

fn picture(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let frame = p.joinery();
    let card = Material::plain(Vec3::splat(0.75));
    let hues: Vec<Vec3> = (0..2)
        .map(|i| color_linear(COLORS[(p.style.wrapping_mul(7) as usize + i * 5) % COLORS.len()]))
        .collect();
    let art = Material::plain(hues[0]).with_texture(Texture::Painting, hues[1], 1.0).with_seed(p.style);
    p.block([(-x, x - 0.008), (-y, y), (0.0, z)], frame);
    p.block([(x - 0.012, x - 0.004), (-y + 0.025, y - 0.025), (0.025, z - 0.025)], card);
    let mat = if p.chance(0.5) { 0.09 } else { 0.03 };
    p.block([(x - 0.008, x - 0.001), (-y + mat, y - mat), (mat, z - mat)], art);
}

fn curtain(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let cloth = p.cloth();
    let folds = (p.size.y / 0.075).round().max(3.0) as usize;
    let step = p.size.y / folds as f32;
    for i in 0..folds {
        let c = -y + step * (i as f32 + 0.5);
        let depth = if i % 2 == 0 { x } else { x * 0.6 };
        p.push(
            Shape::Cylinder,
            [(-depth, depth), (c - step * 0.58, c + step * 0.58), (0.02, z - 0.05)],
            cloth,
        );
    }
    let dark = Piece::dark();
    p.bar_y(0.0, z - 0.03, 0.014, (-y, y), dark);
    keep_inside(p);
}

#[expect(clippy::approx_constant, reason = "a seed gives the same bytes for ever")]
fn clock(p: &mut Piece) {
    let (x, y, _) = p.reach();
    let (rim, dark) = (p.lacquer(), Piece::dark());
    let face = Material::plain(Vec3::splat(0.82));
    p.bar_x(0.0, y, y, (-x, x - 0.008), rim);
    p.bar_x(0.0, y, y * 0.86, (-x, x - 0.004), face);
    let minute = p.between(0.0, 6.28);
    for (length, width, angle) in [(0.72, 0.008, minute), (0.45, 0.011, minute / 12.0 + 2.0)] {
        let turn = Mat3::from_rotation_x(angle);
        let half = Vec3::new(0.002, width, y * length * 0.5);
        let center = Vec3::new(x - 0.002, 0.0, y) + turn * Vec3::Z * half.z;
        p.parts.push(Part::new(Shape::Box, center, half, dark).turned(turn));
    }
}

fn whiteboard(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let white = Material::plain(Vec3::splat(0.82)).with_gloss(0.3);
    let steel = Piece::steel();
    p.block([(-x, x - 0.012), (-y, y), (0.0, z)], steel);
    p.block([(-x, x - 0.008), (-y + 0.02, y - 0.02), (0.03, z - 0.02)], white);
    for i in 0..6 {
        let (length, row) = (p.between(0.2, 0.8), z * (0.85 - 0.1 * i as f32));
        let pen = Material::plain(color_linear(["blue", "red", "black"][i % 3]));
        let start = -y * 0.85;
        p.block([(-x, x - 0.007), (start, start + y * length), (row - 0.008, row + 0.008)], pen);
    }
    p.block([(-x, x), (-y * 0.5, y * 0.5), (0.0, 0.02)], steel);
}

fn pillow(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let second = (p.main.color * 1.6).lerp(Vec3::splat(0.5), 0.4).min(Vec3::splat(0.8));
    let cloth = if p.chance(0.25) { p.main.with_texture(Texture::Stripes, second, 0.04) } else { p.cloth() };
    let radius = x.min(y).min(z * 0.5) * 0.98;
    p.soft([(-x, x), (-y, y), (0.0, z)], radius, cloth);
}
