//! Fridges, stoves, microwaves, washing machines and screens: things with a plug.

use glam::Vec3;

use super::Piece;
use crate::synth::material::{Material, Texture};

pub(super) fn build(category: &str, piece: &mut Piece) -> bool {
    match category {
        "fridge" => fridge(piece),
        "stove" => stove(piece),
        "microwave" => microwave(piece),
        "washing machine" => washing_machine(piece),
        "tv" => screen(piece, 0.06),
        "monitor" => screen(piece, 0.1),
        "laptop" => laptop(piece),
        _ => return false,
    }
    true
}

fn display(p: &mut Piece) -> Material {
    let hue = p.between(0.0, 1.0);
    let first = Vec3::new(0.04 + 0.1 * hue, 0.08, 0.2 - 0.1 * hue);
    let second = Vec3::new(0.25, 0.4 - 0.2 * hue, 0.55 * hue + 0.1);
    Material::plain(first)
        .with_texture(Texture::Screen, second, 1.0)
        .with_glow(0.5)
        .with_gloss(0.5)
        .with_seed(p.style)
}

fn fridge(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let (body, grip) = (p.lacquer(), Piece::steel());
    p.block([(-x, x - 0.07), (-y, y), (0.03, z)], body);
    p.block([(-x + 0.05, x - 0.1), (-y + 0.04, y - 0.04), (0.0, 0.03)], Piece::dark());
    let split = z * p.between(0.3, 0.66);
    for (low, high) in [(0.05, split - 0.004), (split + 0.004, z)] {
        p.soft([(x - 0.075, x - 0.03), (-y, y), (low, high)], 0.012, body);
        let middle = if low < 0.1 { high - 0.22 } else { low + 0.22 };
        p.block([(x - 0.03, x), (y - 0.075, y - 0.05), (middle - 0.16, middle + 0.16)], grip);
    }
}

fn stove(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let (body, dark, steel) = (p.lacquer(), Piece::dark(), Piece::steel());
    p.block([(-x, x - 0.04), (-y, y), (0.04, z - 0.025)], body);
    p.block([(-x + 0.05, x - 0.1), (-y + 0.03, y - 0.03), (0.0, 0.04)], dark);
    p.block([(-x, x - 0.03), (-y, y), (z - 0.03, z - 0.012)], dark);
    for (cx, cy, r) in [(-0.12, -0.14, 0.09), (-0.12, 0.14, 0.075), (0.12, -0.14, 0.075), (0.12, 0.14, 0.09)]
    {
        p.rod(cx, cy, r, (z - 0.014, z), steel);
        p.rod(cx, cy, r * 0.7, (z - 0.013, z - 0.0005), dark);
    }
    p.block([(x - 0.04, x - 0.025), (-y + 0.03, y - 0.03), (0.16, z * 0.78)], dark);
    p.bar_y(x - 0.015, z * 0.78, 0.012, (-y + 0.06, y - 0.06), steel);
    for i in 0..5 {
        let cy = (i as f32 - 2.0) * y * 0.36;
        p.bar_x(cy, z - 0.08, 0.02, (x - 0.042, x - 0.01), steel);
    }
}

fn microwave(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let (body, dark, steel) = (p.lacquer(), Piece::dark(), Piece::steel());
    p.block([(-x, x - 0.025), (-y, y), (0.0, z)], body);
    p.block([(x - 0.03, x - 0.015), (-y + 0.13, y - 0.02), (0.03, z - 0.03)], dark);
    p.block([(x - 0.018, x), (-y + 0.12, -y + 0.135), (0.04, z - 0.04)], steel);
    p.bar_x(-y + 0.06, z * 0.35, 0.025, (x - 0.026, x - 0.005), steel);
    let panel = display(p);
    p.block([(x - 0.026, x - 0.02), (-y + 0.03, -y + 0.09), (z * 0.7, z * 0.85)], panel);
}

fn washing_machine(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let (body, dark, steel) = (p.lacquer(), Piece::dark(), Piece::steel());
    p.soft([(-x, x - 0.035), (-y, y), (0.0, z)], 0.015, body);
    let c = z * 0.46;
    p.bar_x(0.0, c, y * 0.62, (x - 0.05, x - 0.015), steel);
    p.bar_x(0.0, c, y * 0.47, (x - 0.03, x), dark);
    p.block([(x - 0.036, x - 0.025), (-y + 0.03, y - 0.03), (z - 0.13, z - 0.03)], p.shaded(0.8));
    p.bar_x(-y * 0.3, z - 0.08, 0.03, (x - 0.036, x - 0.005), steel);
}

fn screen(p: &mut Piece, foot: f32) {
    let (x, y, z) = p.reach();
    let (frame, picture) = (p.lacquer(), display(p));
    let thin = 0.022;
    p.block([(-thin, thin - 0.006), (-y, y), (foot, z)], frame);
    p.block([(thin - 0.01, thin), (-y + 0.015, y - 0.015), (foot + 0.02, z - 0.015)], picture);
    let dark = Piece::dark();
    if p.size.y > 0.8 {
        for side in [-1.0f32, 1.0] {
            let c = side * y * 0.6;
            p.block([(-x, x), (c - 0.02, c + 0.02), (0.0, 0.015)], dark);
            p.block([(-0.015, 0.015), (c - 0.015, c + 0.015), (0.01, foot + 0.02)], dark);
        }
    } else {
        p.soft([(-x, x), (-y * 0.4, y * 0.4), (0.0, 0.015)], 0.006, dark);
        p.block([(-0.04, -0.015), (-0.03, 0.03), (0.01, z * 0.5)], dark);
    }
}

fn laptop(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let (shell, keys, picture) = (p.lacquer(), Piece::dark(), display(p));
    p.block([(-x + 0.03, x), (-y, y), (0.0, 0.016)], shell);
    p.block([(-x + 0.06, x - 0.09), (-y + 0.02, y - 0.02), (0.015, 0.018)], keys);
    p.block([(-x, -x + 0.012), (-y, y), (0.01, z)], shell);
    p.block([(-x + 0.01, -x + 0.015), (-y + 0.012, y - 0.012), (0.025, z - 0.012)], picture);
}
