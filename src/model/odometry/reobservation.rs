//! Frames that see the same part of a room again, whenever that was: relative poses that
//! do not go through the frames between them, so that the path stops drifting.
//!
//! The path so far says where corners of one frame should appear in another one; they are
//! searched for there, and the motion is solved from what was found.

use glam::{DMat3, Vec2, Vec3};
use rayon::prelude::*;

use super::flow::follow;
use super::graph::Edge;
use super::linear::solve;
use super::motion::{Gait, Motion, Sighting, normal_equations, point_at, solve_motion};
use super::odometer::{AGREEMENT, Corner, FrameSight, level_axes, planar_step};
use super::planar::PlanarPose;
use crate::geometry::wrap_angle;

/// Corners that should be in both pictures before they are searched for.
const LEAST_EXPECTED: usize = 25;
/// Corners that must agree with the motion.
const LEAST_SUPPORT: usize = 12;
/// The share of the found ones that they must be.
const LEAST_SHARE: f64 = 0.4;
/// Views further apart look too different, metres and radians.
const FARTHEST: f32 = 1.5;
const WIDEST: f32 = 0.6;
/// How far a path may be off by the time a place is seen again, metres: weak belief.
const STRAY: f64 = 0.5;
const STRAY_LIFT: f64 = 0.1;
/// Frames that every one is compared with: the next ones, and some of all later ones.
const NEXT: usize = 6;
const LATER: usize = 6;
/// Followed corners share errors: the covariance is so many times larger.
const SHARED_ERROR: f64 = 4.0;
/// What no corner tells: spread of the turn (radians) and the shift (metres, share of
/// its length).
const YAW_SIGMA: f64 = 0.002;
const SHIFT_SIGMA: (f64, f64) = (0.01, 0.05);

/// A sampled frame.
pub struct KeyFrame<'a> {
    /// Its picture.
    pub sight: &'a FrameSight,
    /// Corners followed there.
    pub corners: &'a [Corner],
    /// Upwards, camera space.
    pub up: Vec3,
}

/// Measured poses between all pairs of frames that see the same, given the path so far.
pub fn reobservations(frames: &[KeyFrame<'_>], path: &[PlanarPose], focal: Vec2) -> Vec<Edge> {
    let pairs: Vec<(usize, usize)> = (0..frames.len())
        .flat_map(|from| partners(from, path).into_iter().map(move |to| (from, to)))
        .collect();
    pairs
        .into_par_iter()
        .filter_map(|(from, to)| {
            let expected = path[from].inverse().compose(&path[to]);
            let (pose, covariance) = measure(&frames[from], &frames[to], &expected, focal)?;
            Some(Edge { from, to, pose, covariance })
        })
        .collect()
}

/// Later frames that should see the same as `from`.
fn partners(from: usize, path: &[PlanarPose]) -> Vec<usize> {
    let near = |to: &usize| {
        let expected = path[from].inverse().compose(&path[*to]);
        expected.shift.length() < FARTHEST && expected.yaw.abs() < WIDEST
    };
    let end = path.len().min(from + 1 + NEXT);
    let again: Vec<usize> = (end..path.len()).filter(near).collect();
    let stride = again.len().div_ceil(LATER).max(1);
    (from + 1..end).filter(near).chain(again.into_iter().step_by(stride)).collect()
}

/// `from_from_to` with its covariance, measured near `expected`; `None` where too little is
/// found again.
fn measure(
    from: &KeyFrame<'_>,
    to: &KeyFrame<'_>,
    expected: &PlanarPose,
    focal: Vec2,
) -> Option<(PlanarPose, [[f64; 3]; 3])> {
    let start = motion_of(&expected.inverse(), from.up, to.up);
    let (corners, guesses): (Vec<&Corner>, Vec<Vec2>) = from
        .corners
        .iter()
        .filter_map(|corner| {
            let point = point_at(from.sight.place(corner.pixel), focal, corner.depth()).as_dvec3();
            let guess = to.sight.pixel(start.place_of(point, focal).as_vec2());
            let seen = start.apply(point).z > 0.2 && to.sight.pyramid.picture().holds(guess, 2.0);
            seen.then_some((corner, guess))
        })
        .unzip();
    if corners.len() < LEAST_EXPECTED {
        return None;
    }
    let places: Vec<Vec2> = corners.iter().map(|corner| corner.pixel).collect();
    let found = follow(&from.sight.pyramid, &to.sight.pyramid, &places, &guesses);
    let sightings: Vec<Sighting> = corners
        .iter()
        .zip(found)
        .filter_map(|(corner, place)| Some(corner.sighting(from.sight, to.sight, place?)))
        .collect();
    let stride = STRAY.max(f64::from(expected.shift.length()));
    let (up, later_up) = (from.up.as_dvec3(), to.up.as_dvec3());
    let gait = Gait { up, later_up, stride, lift: STRAY_LIFT };
    let (motion, weights) = solve_motion(&sightings, None, focal, &gait, start);
    let support = weights.iter().filter(|weight| **weight > AGREEMENT).count();
    let agreed = support as f64 >= LEAST_SHARE * sightings.len() as f64;
    if support < LEAST_SUPPORT || !agreed {
        return None;
    }
    let normal = normal_equations(&sightings, focal, &gait, &motion);
    Some((planar_step(&motion, from.up), covariance(&motion, &normal.matrix, from.up)?))
}

/// Covariance of the planar step of a motion whose own information is given.
fn covariance(motion: &Motion, information: &[[f64; 6]; 6], up: Vec3) -> Option<[[f64; 3]; 3]> {
    const STEP: f64 = 1e-3;
    let base = planar_step(motion, up);
    let slopes: [[f64; 6]; 3] = transposed(std::array::from_fn(|k| {
        let mut step = [0.0; 6];
        step[k] = STEP;
        let moved = planar_step(&motion.moved(step), up);
        let shift = (moved.shift - base.shift).as_dvec2() / STEP;
        [shift.x, shift.y, f64::from(wrap_angle(moved.yaw - base.yaw)) / STEP]
    }));
    let mut covariance = [[0.0; 3]; 3];
    for j in 0..3 {
        let spread = solve(*information, slopes[j])?;
        for i in 0..3 {
            covariance[i][j] = SHARED_ERROR * (0..6).map(|k| slopes[i][k] * spread[k]).sum::<f64>();
        }
    }
    let shift_sigma = SHIFT_SIGMA.0 + SHIFT_SIGMA.1 * f64::from(base.shift.length());
    covariance[0][0] += shift_sigma.powi(2);
    covariance[1][1] += shift_sigma.powi(2);
    covariance[2][2] += YAW_SIGMA.powi(2);
    Some(covariance)
}

fn transposed(columns: [[f64; 3]; 6]) -> [[f64; 6]; 3] {
    std::array::from_fn(|i| std::array::from_fn(|k| columns[k][i]))
}

/// `later_from_earlier` in camera space of the levelled `later_from_earlier`.
fn motion_of(planar: &PlanarPose, earlier_up: Vec3, later_up: Vec3) -> Motion {
    let (earlier, later) = (level_axes(earlier_up), level_axes(later_up));
    let turn = DMat3::from_rotation_z(f64::from(planar.yaw));
    let shift = planar.shift.extend(0.0).as_dvec3();
    Motion { rotation: later * turn * earlier.transpose(), shift: later * shift }
}

#[cfg(test)]
mod tests {
    use super::super::odometer::Odometer;
    use super::super::pyramid::{Plane, Pyramid};
    use super::*;

    const FOCAL: Vec2 = Vec2::splat(0.9);

    /// A patterned wall 3 m ahead of the start.
    fn view(pose: &PlanarPose) -> FrameSight {
        const WALL: f32 = 3.0;
        let ray = |place: Vec2| {
            let direction = Vec2::from_angle(pose.yaw).rotate(Vec2::new(place.x / FOCAL.x, 1.0));
            (direction, (WALL - pose.shift.y) / direction.y)
        };
        let place_of = |i: usize, side: usize| {
            (Vec2::new((i % side) as f32, (i / side) as f32) + 0.5) / side as f32 - 0.5
        };
        let grey = |i: usize| {
            let place = place_of(i, 128);
            let (direction, depth) = ray(place);
            let (x, z) = (pose.shift.x + depth * direction.x, -depth * place.y / FOCAL.y);
            let waves =
                (7.0 * x).sin() * (6.0 * z).cos() + (3.1 * x + 1.7 * z).sin() + (11.0 * z - 2.0 * x).sin();
            120.0 + 35.0 * waves
        };
        FrameSight {
            pyramid: Pyramid::new(Plane::new(128, (0..128 * 128).map(grey).collect())),
            depth: (0..256).map(|i| ray(place_of(i, 16)).1).collect(),
            spread: vec![0.1; 256],
            up: Vec3::NEG_Y,
            secs: 0.0,
        }
    }

    #[test]
    fn a_place_seen_again_is_measured_although_the_path_went_astray() {
        let truth = [PlanarPose::IDENTITY, PlanarPose { shift: Vec2::new(0.25, 0.2), yaw: 0.12 }];
        let sights = truth.map(|pose| view(&pose));
        let odometers = [0, 1].map(|k| Odometer::new(&sights[k], FOCAL));
        let frames: Vec<KeyFrame<'_>> = (0..2)
            .map(|k| KeyFrame { sight: &sights[k], corners: odometers[k].corners(), up: Vec3::NEG_Y })
            .collect();
        let astray = PlanarPose { shift: Vec2::new(0.1, 0.3), yaw: 0.07 };
        let found = reobservations(&frames, &[truth[0], astray], FOCAL);
        assert_eq!((found.len(), found[0].from, found[0].to), (1, 0, 1));
        let pose = found[0].pose;
        assert!(pose.shift.distance(truth[1].shift) < 0.04, "{pose:?}");
        assert!((pose.yaw - truth[1].yaw).abs() < 0.01, "{pose:?}");
        // Along a flat wall a shift looks like a turn: their errors go together.
        let [across, _, turn] = found[0].covariance;
        assert!(across[2] * across[2] > 0.25 * across[0] * turn[2], "{:?}", found[0].covariance);
    }

    #[test]
    fn views_of_different_places_are_not_compared() {
        let sights =
            [PlanarPose::IDENTITY, PlanarPose { shift: Vec2::ZERO, yaw: 2.0 }].map(|pose| view(&pose));
        let odometers = [0, 1].map(|k| Odometer::new(&sights[k], FOCAL));
        let frames: Vec<KeyFrame<'_>> = (0..2)
            .map(|k| KeyFrame { sight: &sights[k], corners: odometers[k].corners(), up: Vec3::NEG_Y })
            .collect();
        let apart = PlanarPose { shift: Vec2::ZERO, yaw: 2.0 };
        assert_eq!(reobservations(&frames, &[PlanarPose::IDENTITY, apart], FOCAL), []);
        // Told that they are near, it finds that they are not.
        let near = PlanarPose { shift: Vec2::ZERO, yaw: 0.1 };
        assert_eq!(reobservations(&frames, &[PlanarPose::IDENTITY, near], FOCAL), []);
    }
}
