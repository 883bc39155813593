//! Tables, desks and the stands between them.

use super::Piece;
use crate::synth::shape::Shape;

pub(super) fn build(category: &str, piece: &mut Piece) -> bool {
    match category {
        "desk" => desk(piece),
        "table" => table(piece),
        "coffee table" => coffee_table(piece),
        "tv stand" => tv_stand(piece),
        "nightstand" => nightstand(piece),
        _ => return false,
    }
    true
}

fn desk(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let wood = p.joinery();
    p.block([(-x, x), (-y, y), (z - 0.03, z)], wood);
    if p.chance(0.5) {
        let metal = Piece::dark();
        p.legs(0.02, 0.03, z - 0.03, true, metal);
    } else {
        p.block([(-x + 0.02, x - 0.02), (-y, -y + 0.03), (0.0, z - 0.03)], wood);
        p.block([(-x + 0.02, x - 0.02), (y - 0.03, y), (0.0, z - 0.03)], wood);
    }
    p.block([(-x, -x + 0.02), (-y + 0.03, y - 0.03), (z * 0.5, z - 0.03)], wood);
    let drawers = [(-x + 0.03, x - 0.03), (y - 0.44, y - 0.05), (0.14, z - 0.04)];
    p.block(drawers, wood);
    let front = p.shaded(0.86);
    let grip = Piece::steel();
    for i in 0..3 {
        let step = (z - 0.2) / 3.0;
        let low = 0.15 + step * i as f32;
        p.block([(x - 0.03, x - 0.018), (y - 0.43, y - 0.06), (low + 0.008, low + step - 0.008)], front);
        p.block([(x - 0.018, x - 0.004), (y - 0.3, y - 0.19), (low + step - 0.06, low + step - 0.045)], grip);
    }
}

fn table(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let wood = p.joinery();
    let kind = p.between(0.0, 3.0);
    if kind < 0.8 {
        p.push(Shape::Cylinder, [(-x, x), (-y, y), (z - 0.035, z)], wood);
        p.rod(0.0, 0.0, 0.05, (0.03, z - 0.03), wood);
        p.cone(0.0, 0.0, x * 0.55, 0.4, (0.0, 0.06), wood);
        return;
    }
    p.soft([(-x, x), (-y, y), (z - 0.04, z)], 0.012, wood);
    let square = kind < 2.0;
    p.legs(0.032, 0.03, z - 0.03, square, wood);
    if square {
        p.block([(-x + 0.06, x - 0.06), (-y + 0.06, -y + 0.08), (z - 0.12, z - 0.04)], wood);
        p.block([(-x + 0.06, x - 0.06), (y - 0.08, y - 0.06), (z - 0.12, z - 0.04)], wood);
        p.block([(-x + 0.06, -x + 0.08), (-y + 0.06, y - 0.06), (z - 0.12, z - 0.04)], wood);
        p.block([(x - 0.08, x - 0.06), (-y + 0.06, y - 0.06), (z - 0.12, z - 0.04)], wood);
    }
}

fn coffee_table(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let wood = p.joinery();
    if p.chance(0.35) {
        p.push(Shape::Cylinder, [(-x, x), (-y, y), (z - 0.035, z)], wood);
        p.legs(0.02, 0.12, z - 0.03, false, wood);
    } else {
        p.soft([(-x, x), (-y, y), (z - 0.045, z)], 0.012, wood);
        p.legs(0.025, 0.03, z - 0.04, true, wood);
        p.block([(-x + 0.05, x - 0.05), (-y + 0.05, y - 0.05), (0.1, 0.125)], wood);
    }
}

fn tv_stand(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let wood = p.joinery();
    p.legs(0.02, 0.04, 0.1, true, wood);
    p.block([(-x, x - 0.015), (-y, y), (0.09, z)], wood);
    let front = p.shaded(0.82);
    let thirds = [-1.0f32, -0.34, 0.34, 1.0];
    for pair in thirds.windows(2) {
        p.block([(x - 0.015, x), (y * pair[0] + 0.008, y * pair[1] - 0.008), (0.105, z - 0.03)], front);
    }
}

fn nightstand(p: &mut Piece) {
    let (x, y, z) = p.reach();
    let wood = p.joinery();
    p.legs(0.018, 0.02, 0.13, false, wood);
    p.block([(-x, x - 0.018), (-y, y), (0.12, z)], wood);
    let front = p.shaded(0.85);
    let grip = Piece::steel();
    let middle = (0.12 + z) * 0.5;
    for (low, high) in [(0.13, middle - 0.005), (middle + 0.005, z - 0.02)] {
        p.block([(x - 0.018, x - 0.008), (-y + 0.01, y - 0.01), (low, high)], front);
        let c = (low + high) * 0.5;
        p.bar_x(0.0, c, 0.015, (x - 0.01, x), grip);
    }
}
