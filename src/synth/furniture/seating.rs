//! Sofas, armchairs, chairs, stools, beds.

use glam::{Mat3, Vec3};

use super::Piece;
use crate::synth::material::Material;
use crate::synth::shape::{Part, Shape};

pub(super) fn build(category: &str, piece: &mut Piece) -> bool {
    match category {
        "sofa" | "armchair" => sofa(piece),
        "bed" => bed(piece),
        "chair" => chair(piece),
        "office chair" => office_chair(piece),
        "stool" => stool(piece),
        "bench" => bench(piece),
        "ottoman" => ottoman(piece),
        _ => return false,
    }
    true
}

fn sofa(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let cloth = p.cloth();
    let arm = p.between(0.12, 0.19).min(y * 0.3);
    let back = p.between(0.18, 0.24);
    let seat = z * 0.52;
    let arm_top = z * p.between(0.66, 0.78);
    let foot = 0.07;
    let legs = if p.chance(0.5) { p.oak() } else { Piece::dark() };
    p.legs(0.022, 0.05, foot, false, legs);
    p.soft([(-x, x - 0.03), (-y, y), (foot, seat - 0.14)], 0.03, cloth);
    p.soft([(-x, -x + back), (-y + 0.02, y - 0.02), (foot, z - 0.05)], 0.06, cloth);
    for (low, high) in [(-y, -y + arm), (y - arm, y)] {
        p.soft([(-x, x - 0.02), (low, high), (foot, arm_top)], 0.05, cloth);
    }
    let seats = ((2.0 * (y - arm)) / 0.68).round().max(1.0) as usize;
    let width = 2.0 * (y - arm) / seats as f32;
    for i in 0..seats {
        let (low, high) = (-y + arm + width * i as f32 + 0.004, -y + arm + width * (i + 1) as f32 - 0.004);
        p.soft([(-x + back - 0.02, x), (low, high), (seat - 0.15, seat)], 0.05, cloth);
        p.soft([(-x + 0.09, -x + back + 0.1), (low + 0.01, high - 0.01), (seat - 0.02, z)], 0.08, cloth);
    }
}

fn bed(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let top = z * 0.52;
    let frame = if p.chance(0.6) { p.oak() } else { Material::plain(Vec3::splat(0.72)) };
    let cloth = p.cloth();
    let sheet = Material::plain(Vec3::new(0.78, 0.76, 0.72));
    if p.chance(0.4) {
        p.soft([(-x, -x + 0.1), (-y, y), (0.1, z)], 0.04, cloth);
    } else {
        p.block([(-x, -x + 0.05), (-y, y), (0.0, z)], frame);
    }
    p.block([(-x + 0.03, x - 0.01), (-y + 0.01, y - 0.01), (0.1, top - 0.2)], frame);
    p.legs(0.03, 0.04, 0.12, true, frame);
    p.soft([(-x + 0.06, x - 0.03), (-y + 0.03, y - 0.03), (top - 0.22, top - 0.03)], 0.05, sheet);
    p.soft([(-x + 0.55, x), (-y, y), (top - 0.2, top)], 0.06, cloth);
    p.soft([(-x + 0.5, -x + 0.72), (-y + 0.005, y - 0.005), (top - 0.17, top + 0.006)], 0.05, sheet);
}

fn chair(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let wood = p.joinery();
    let seat = 0.46f32.min(z * 0.55);
    let leg = 0.017;
    p.soft([(-x, x), (-y, y), (seat - 0.04, seat)], 0.015, wood);
    let square = p.chance(0.5);
    p.legs(leg, 0.015, seat - 0.03, square, wood);
    if p.chance(0.55) {
        for side in [-1.0f32, 1.0] {
            let c = side * (y - 0.03);
            p.block([(-x, -x + 0.03), (c - 0.018, c + 0.018), (seat, z)], wood);
        }
        let rails = if p.chance(0.5) { 2 } else { 3 };
        for i in 0..rails {
            let top = z - i as f32 * 0.13;
            p.soft([(-x + 0.004, -x + 0.024), (-y + 0.03, y - 0.03), (top - 0.075, top)], 0.01, wood);
        }
    } else {
        p.soft([(-x, -x + 0.035), (-y + 0.01, y - 0.01), (seat + 0.1, z)], 0.016, wood);
        for side in [-1.0f32, 1.0] {
            let c = side * (y - 0.05);
            p.block([(-x + 0.005, -x + 0.025), (c - 0.015, c + 0.015), (seat - 0.02, seat + 0.16)], wood);
        }
    }
}

fn office_chair(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let (cloth, metal, dark) = (p.cloth(), Piece::steel(), Piece::dark());
    let seat = 0.48f32.min(z * 0.5);
    for i in 0..5 {
        let angle = i as f32 * std::f32::consts::TAU / 5.0;
        let turn = Mat3::from_rotation_z(angle);
        let reach = x.min(y) * 0.86;
        let spoke = Part::new(
            Shape::Box,
            turn * Vec3::new(reach * 0.5, 0.0, 0.085),
            Vec3::new(reach * 0.5, 0.02, 0.015),
            dark,
        );
        p.parts.push(spoke.turned(turn));
        let wheel = turn * Vec3::new(reach, 0.0, 0.035);
        p.ball([(wheel.x - 0.03, wheel.x + 0.03), (wheel.y - 0.03, wheel.y + 0.03), (0.0, 0.07)], dark);
    }
    p.rod(0.0, 0.0, 0.028, (0.08, seat - 0.05), metal);
    p.soft([(-x * 0.8, x * 0.86), (-y * 0.82, y * 0.82), (seat - 0.08, seat)], 0.04, cloth);
    p.soft([(-x * 0.95, -x * 0.95 + 0.08), (-y * 0.74, y * 0.74), (seat + 0.12, z)], 0.04, cloth);
    p.block([(-x * 0.93, -x * 0.82), (-0.03, 0.03), (seat - 0.06, seat + 0.2)], dark);
    for side in [-1.0f32, 1.0] {
        let c = side * y * 0.9;
        p.block([(-0.05, -0.01), (c - 0.012, c + 0.012), (seat - 0.05, seat + 0.2)], dark);
        p.soft([(-0.15, 0.14), (c - 0.03, c + 0.03), (seat + 0.19, seat + 0.22)], 0.012, dark);
    }
}

fn stool(p: &mut Piece) {
    let (x, _, z) = p.reach();
    let wood = p.joinery();
    if p.chance(0.5) {
        p.rod(0.0, 0.0, x, (z - 0.045, z), wood);
        let metal = Piece::steel();
        p.rod(0.0, 0.0, 0.025, (0.02, z - 0.04), metal);
        p.cone(0.0, 0.0, x * 0.9, 0.3, (0.0, 0.035), metal);
    } else {
        p.rod(0.0, 0.0, x, (z - 0.045, z), wood);
        p.legs(0.017, x * 0.32, z - 0.04, false, wood);
    }
}

fn bench(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let wood = p.joinery();
    p.soft([(-x, x), (-y, y), (z - 0.05, z)], 0.012, wood);
    for side in [-1.0f32, 1.0] {
        let c = side * (y - 0.12);
        p.block([(-x + 0.03, x - 0.03), (c - 0.025, c + 0.025), (0.0, z - 0.05)], wood);
    }
    p.block([(-0.02, 0.02), (-y + 0.12, y - 0.12), (z * 0.4, z * 0.4 + 0.06)], wood);
}

fn ottoman(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let cloth = p.cloth();
    if p.chance(0.5) {
        p.rod(0.0, 0.0, x.min(y), (0.04, z - 0.06), cloth);
        p.soft([(-x, x), (-y, y), (z - 0.12, z)], 0.06, cloth);
    } else {
        p.soft([(-x, x), (-y, y), (0.05, z)], 0.05, cloth);
    }
    let oak = p.oak();
    p.legs(0.02, 0.07, 0.06, false, oak);
}
