//! The focal length of a video from its own motion.
//!
//! A turning camera moves the edges of its picture farther than the middle; by how
//! much tells the focal length. All pairs of pictures are adjusted together: the
//! motion of each is eliminated, what is left is one number. The belief from single
//! frames is the prior.

use glam::{DVec3, Vec2};

use super::linear::solve;
use super::motion::{Gait, Motion, PLACE_SIGMA, Sighting, normal_equations, point_at, slopes, solve_motion};

/// How far the single-frame belief usually is from the truth, ln.
const PRIOR_SIGMA: f64 = 0.25;
/// Places of a pair share errors: each counts as so much of an independent one.
const INDEPENDENT_SHARE: f64 = 0.3;
const ROUNDS: usize = 4;
const LARGEST_STEP: f64 = 0.2;

/// Two pictures with what was followed between them.
#[derive(Debug, Clone, PartialEq)]
pub struct FocalPair {
    /// Followed places.
    pub sightings: Vec<Sighting>,
    /// How the camera usually moves.
    pub gait: Gait,
}

/// Refines `focal` (picture sides); the ratio of both numbers is kept.
pub fn calibrate(pairs: &[FocalPair], focal: Vec2) -> Vec2 {
    let mut change = 0.0f64;
    let mut motions = vec![Motion::STILL; pairs.len()];
    for _ in 0..ROUNDS {
        let now = focal * (change.exp() as f32);
        let (mut gradient, mut information) = (change / PRIOR_SIGMA.powi(2), PRIOR_SIGMA.powi(-2));
        for (pair, motion) in pairs.iter().zip(&mut motions) {
            *motion = solve_motion(&pair.sightings, None, now, &pair.gait, *motion).0;
            if let Some((slope, curvature)) = reduced(pair, now, motion) {
                gradient += INDEPENDENT_SHARE * slope;
                information += INDEPENDENT_SHARE * curvature;
            }
        }
        let step = (-gradient / information).clamp(-LARGEST_STEP, LARGEST_STEP);
        change += step;
        if step.abs() < 1e-3 {
            break;
        }
    }
    focal * (change.exp() as f32)
}

/// Gradient and information of the logarithm of the focal length, motion eliminated.
fn reduced(pair: &FocalPair, focal: Vec2, motion: &Motion) -> Option<(f64, f64)> {
    const STEP: f32 = 1e-3;
    let normal = normal_equations(&pair.sightings, focal, &pair.gait, motion);
    let wider = focal * STEP.exp();
    let (mut gradient, mut information, mut mixed) = (0.0, 0.0, [0.0; 6]);
    for (sighting, weight) in pair.sightings.iter().zip(&normal.weights) {
        let weight = weight / (PLACE_SIGMA * PLACE_SIGMA);
        let point_for = |focal| point_at(sighting.from, focal, sighting.depth).as_dvec3();
        let point: DVec3 = point_for(focal);
        let place = motion.place_of(point, focal);
        let residual = place - sighting.to.as_dvec2();
        let by_focal = (motion.place_of(point_for(wider), wider) - place) / f64::from(STEP);
        gradient += weight * by_focal.dot(residual);
        information += weight * by_focal.length_squared();
        for (axis, slope) in slopes(motion.apply(point), focal).iter().enumerate() {
            (0..6).for_each(|k| mixed[k] += weight * slope[k] * by_focal[axis]);
        }
    }
    let eliminated = solve(normal.matrix, mixed)?;
    let dot = |a: &[f64; 6], b: &[f64; 6]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    Some((gradient - dot(&eliminated, &normal.gradient), information - dot(&eliminated, &mixed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use glam::DMat3;

    /// Places seen by a turning camera of focal length `truth`, depths as believed.
    fn pairs(truth: Vec2) -> Vec<FocalPair> {
        let gait = Gait { up: DVec3::NEG_Y, later_up: DVec3::NEG_Y, stride: 0.1, lift: 0.015 };
        (0..30)
            .map(|k| {
                let motion = Motion {
                    rotation: DMat3::from_rotation_y(0.1 * (k as f64).sin()),
                    shift: DVec3::new(0.02, 0.0, 0.03),
                };
                let sightings = (0..50)
                    .map(|i| {
                        let from = Vec2::new((i % 10) as f32 / 10.0 - 0.45, (i / 10) as f32 / 5.0 - 0.4);
                        let depth = 2.5 + (i as f32 * 1.3 + k as f32).sin();
                        let to = motion.place_of(point_at(from, truth, depth).as_dvec3(), truth).as_vec2();
                        Sighting { from, depth, to }
                    })
                    .collect();
                FocalPair { sightings, gait }
            })
            .collect()
    }

    #[test]
    fn turning_tells_the_focal_length() {
        let truth = Vec2::new(0.8, 0.8 * 4.0 / 3.0);
        for wrong in [0.75, 1.3] {
            let found = calibrate(&pairs(truth), truth * wrong);
            assert!((found / truth - 1.0).abs().max_element() < 0.02, "{found} from {wrong}");
        }
    }

    #[test]
    fn without_motion_the_belief_stays() {
        assert_eq!(calibrate(&[], Vec2::new(0.8, 1.1)), Vec2::new(0.8, 1.1));
    }
}
