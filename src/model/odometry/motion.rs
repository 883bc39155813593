//! The rigid motion between two pictures from followed places with known depth:
//! Gauss-Newton on the distance in the picture, with Cauchy weights, a weak belief about
//! how people move, and what a single picture tells about upwards.
//!
//! Spaces: camera (x right, y down, z forward, metres); picture places are measured
//! from the centre in picture sides, so a focal length is in picture sides, too.

use glam::{DMat3, DQuat, DVec2, DVec3, Vec2, Vec3};

use super::linear::solve;
use super::shading::Shading;

/// Expected error of a followed place, picture sides (0.3 pixels of 128).
pub const PLACE_SIGMA: f64 = 0.3 / 128.0;
/// Nearest depth that is believed, metres.
const LEAST_DEPTH: f64 = 0.05;
/// Weight of "no turn", 1 / rad²: only decides where nothing else does.
const STILL_TURN: f64 = 1.0;
/// Usual error of the upwards direction of a single picture, radians.
const TILT_SIGMA: f64 = 0.05;
const STEPS: usize = 12;
/// Steps shorter than this, in radians and metres, end the search: a tenth of a millimetre.
const CLOSE: f64 = 1e-4;

/// A place of the earlier picture that was found again in the later one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sighting {
    /// Where it was, picture sides.
    pub from: Vec2,
    /// Its depth there, metres.
    pub depth: f32,
    /// Where it is, picture sides.
    pub to: Vec2,
}

impl Sighting {
    /// The point in the earlier camera.
    fn point(&self, focal: Vec2) -> DVec3 {
        point_at(self.from, focal, self.depth).as_dvec3()
    }
}

/// The point of a picture place at a depth, camera space.
pub fn point_at(place: Vec2, focal: Vec2, depth: f32) -> Vec3 {
    (place / focal).extend(1.0) * depth
}

/// `later_from_earlier`: maps camera points of the earlier picture to the later one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Motion {
    /// Turn.
    pub rotation: DMat3,
    /// Shift, metres.
    pub shift: DVec3,
}

impl Motion {
    /// No motion.
    pub const STILL: Self = Self { rotation: DMat3::IDENTITY, shift: DVec3::ZERO };

    /// Maps a point.
    pub fn apply(&self, point: DVec3) -> DVec3 {
        self.rotation * point + self.shift
    }

    /// Where a camera point appears after the motion, picture sides.
    pub fn place_of(&self, point: DVec3, focal: Vec2) -> DVec2 {
        let seen = self.apply(point);
        seen.truncate() / seen.z.max(LEAST_DEPTH) * focal.as_dvec2()
    }

    /// The motion followed by a small turn (rotation vector) and shift.
    #[must_use]
    pub fn moved(&self, step: [f64; 6]) -> Self {
        let turn = DMat3::from_quat(DQuat::from_scaled_axis(DVec3::new(step[0], step[1], step[2])));
        Self {
            rotation: turn * self.rotation,
            shift: turn * self.shift + DVec3::new(step[3], step[4], step[5]),
        }
    }
}

/// How people move between the two pictures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gait {
    /// Upwards in the earlier camera.
    pub up: DVec3,
    /// Upwards in the later camera, as that picture alone tells.
    pub later_up: DVec3,
    /// Usual distance, metres.
    pub stride: f64,
    /// Usual distance up or down, metres.
    pub lift: f64,
}

impl Gait {
    /// Information on the shift, 1 / m².
    fn precision(&self) -> DMat3 {
        let up = self.up;
        let outer = DMat3::from_cols(up * up.x, up * up.y, up * up.z);
        DMat3::from_diagonal(DVec3::splat(self.stride.powi(-2))) + outer * self.lift.powi(-2)
    }
}

/// Normal equations at one motion.
pub struct Normal {
    /// Information.
    pub matrix: [[f64; 6]; 6],
    /// Gradient.
    pub gradient: [f64; 6],
    /// Weight of every sighting relative to a perfect one, 0 to 1.
    pub weights: Vec<f64>,
}

/// Slopes of a picture place by turn and shift of the camera point `seen`.
pub fn slopes(seen: DVec3, focal: Vec2) -> [[f64; 6]; 2] {
    let z = seen.z.max(LEAST_DEPTH);
    let (fx, fy) = (f64::from(focal.x), f64::from(focal.y));
    [DVec3::new(fx / z, 0.0, -fx * seen.x / (z * z)), DVec3::new(0.0, fy / z, -fy * seen.y / (z * z))].map(
        |by_shift| {
            // A turn w moves the point by w x seen.
            let by_turn = seen.cross(by_shift);
            [by_turn.x, by_turn.y, by_turn.z, by_shift.x, by_shift.y, by_shift.z]
        },
    )
}

/// Builds the normal equations of `sightings` at `motion`.
pub fn normal_equations(sightings: &[Sighting], focal: Vec2, gait: &Gait, motion: &Motion) -> Normal {
    let mut normal = Normal { matrix: [[0.0; 6]; 6], gradient: [0.0; 6], weights: Vec::new() };
    let precision = gait.precision();
    let pull = precision * motion.shift;
    for i in 0..3 {
        normal.matrix[i][i] += STILL_TURN;
        normal.gradient[3 + i] += pull[i];
        for j in 0..3 {
            normal.matrix[3 + i][3 + j] += precision.col(j)[i];
        }
    }
    level(&mut normal, gait, motion);
    for sighting in sightings {
        let point = sighting.point(focal);
        let residual = motion.place_of(point, focal) - sighting.to.as_dvec2();
        let weight = 1.0 / (1.0 + residual.length_squared() / (PLACE_SIGMA * PLACE_SIGMA));
        normal.weights.push(weight);
        let weight = weight / (PLACE_SIGMA * PLACE_SIGMA);
        for (axis, slope) in slopes(motion.apply(point), focal).iter().enumerate() {
            for i in 0..6 {
                normal.gradient[i] += weight * slope[i] * residual[axis];
                for j in 0..6 {
                    normal.matrix[i][j] += weight * slope[i] * slope[j];
                }
            }
        }
    }
    normal
}

/// What the later picture alone tells about upwards.
fn level(normal: &mut Normal, gait: &Gait, motion: &Motion) {
    let up = motion.rotation * gait.up;
    let error = up - gait.later_up;
    let weight = 1.0 / (TILT_SIGMA * TILT_SIGMA + error.length_squared());
    // A turn w moves it by w x up.
    let by_turn = [DVec3::X, DVec3::Y, DVec3::Z].map(|axis| axis.cross(up));
    for i in 0..3 {
        normal.gradient[i] += weight * by_turn[i].dot(error);
        for j in 0..3 {
            normal.matrix[i][j] += weight * by_turn[i].dot(by_turn[j]);
        }
    }
}

/// The likeliest motion, searched from `start`, and the weight of every sighting. What
/// corners do not tell, `shading` may.
pub fn solve_motion(
    sightings: &[Sighting],
    shading: Option<&Shading<'_>>,
    focal: Vec2,
    gait: &Gait,
    start: Motion,
) -> (Motion, Vec<f64>) {
    let mut motion = start;
    for _ in 0..STEPS {
        let mut normal = normal_equations(sightings, focal, gait, &motion);
        if let Some(shading) = shading {
            shading.add(&mut normal, &motion, focal);
        }
        let Some(step) = solve(normal.matrix, normal.gradient) else { break };
        motion = motion.moved(step.map(|component| -component.clamp(-0.5, 0.5)));
        if step.iter().all(|component| component.abs() < CLOSE) {
            break;
        }
    }
    (motion, normal_equations(sightings, focal, gait, &motion).weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn sightings(motion: &Motion, focal: Vec2) -> Vec<Sighting> {
        (0..60)
            .map(|k| {
                let from = Vec2::new((k % 10) as f32, (k / 10) as f32) / 10.0 - Vec2::new(0.45, 0.25);
                let depth = 2.0 + (k as f32 * 1.7).sin();
                let to = motion.place_of(point_at(from, focal, depth).as_dvec3(), focal).as_vec2();
                Sighting { from, depth, to }
            })
            .collect()
    }

    fn turned() -> Motion {
        Motion {
            rotation: DMat3::from_rotation_y(0.1) * DMat3::from_rotation_x(-0.02),
            shift: DVec3::new(0.05, 0.0, -0.08),
        }
    }

    const GAIT: Gait = Gait { up: DVec3::NEG_Y, later_up: DVec3::NEG_Y, stride: 0.1, lift: 0.015 };

    #[test]
    fn the_motion_is_found_among_outliers() {
        let focal = Vec2::new(0.9, 1.2);
        let mut sightings = sightings(&turned(), focal);
        for wrong in sightings.iter_mut().step_by(5) {
            wrong.to.x += 0.2;
        }
        let (found, weights) = solve_motion(&sightings, None, focal, &GAIT, Motion::STILL);
        assert!((found.rotation - turned().rotation).to_cols_array().iter().all(|d| d.abs() < 2e-3));
        assert!(found.shift.distance(turned().shift) < 0.01, "{}", found.shift);
        assert!(weights.iter().step_by(5).all(|w| *w < 0.05) && weights[1] > 0.5);
    }

    #[test]
    fn without_sightings_nothing_moves() {
        let (found, weights) = solve_motion(&[], None, Vec2::ONE, &GAIT, Motion::STILL);
        assert_eq!(found, Motion::STILL);
        assert!(weights.is_empty());
    }
}
