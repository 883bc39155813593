//! Rigid motions of the floor plane and the weighted Procrustes fit.
//!
//! Points of a frame are *levelled*: (right, forward) of the camera's heading,
//! metres, gravity removed. What is left between two frames is a turn about the
//! vertical and a shift on the floor: [`PlanarPose`].

use glam::Vec2;

use crate::geometry::wrap_angle;

/// A turn by `yaw` (counter-clockwise, radians) followed by a shift (metres):
/// `a_from_b` maps levelled points of frame b into those of frame a.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlanarPose {
    /// Shift in metres.
    pub shift: Vec2,
    /// Turn in radians, counter-clockwise seen from above.
    pub yaw: f32,
}

impl PlanarPose {
    /// No motion.
    pub const IDENTITY: Self = Self { shift: Vec2::ZERO, yaw: 0.0 };

    /// Maps a point.
    pub fn apply(&self, point: Vec2) -> Vec2 {
        Vec2::from_angle(self.yaw).rotate(point) + self.shift
    }

    /// The motion back.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Self { shift: -Vec2::from_angle(-self.yaw).rotate(self.shift), yaw: -self.yaw }
    }

    /// `self` after `other`: a_from_c = a_from_b ∘ b_from_c.
    #[must_use]
    pub fn compose(&self, other: &Self) -> Self {
        Self { shift: self.apply(other.shift), yaw: wrap_angle(self.yaw + other.yaw) }
    }
}

/// Two levelled points held to be the same place, with the weight of that belief.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PointMatch {
    /// In frame a, metres.
    pub a: Vec2,
    /// In frame b, metres.
    pub b: Vec2,
    /// Weight, not negative.
    pub weight: f32,
}

impl PointMatch {
    /// Distance of both points after mapping b into frame a, metres.
    pub fn residual(&self, a_from_b: &PlanarPose) -> f32 {
        self.a.distance(a_from_b.apply(self.b))
    }
}

/// The `a_from_b` that minimises Σ w |a - (R b + t)|²; `None` without weight.
pub fn weighted_procrustes(matches: &[PointMatch]) -> Option<PlanarPose> {
    let total: f32 = matches.iter().map(|m| m.weight).sum();
    if total <= 1e-9 || !total.is_finite() {
        return None;
    }
    let mean_a = matches.iter().map(|m| m.a * m.weight).sum::<Vec2>() / total;
    let mean_b = matches.iter().map(|m| m.b * m.weight).sum::<Vec2>() / total;
    let (cosine, sine) = matches.iter().fold((0.0, 0.0), |(cosine, sine), m| {
        let (a, b) = (m.a - mean_a, m.b - mean_b);
        (cosine + m.weight * b.dot(a), sine + m.weight * b.perp_dot(a))
    });
    let yaw = sine.atan2(cosine);
    Some(PlanarPose { shift: mean_a - Vec2::from_angle(yaw).rotate(mean_b), yaw })
}

/// A fit that survives wrong matches: the best of many two-match hypotheses
/// (every i-th pair of matches, no randomness), then reweighted least squares
/// with a Cauchy weight of `scale` metres. Also returns the weight of matches
/// within two scales. `None` when fewer than three matches agree.
pub fn robust_procrustes(matches: &[PointMatch], scale: f32) -> Option<(PlanarPose, f32)> {
    const HYPOTHESES: usize = 96;
    let n = matches.len();
    if n < 3 {
        return None;
    }
    let score = |pose: &PlanarPose| -> f32 {
        matches.iter().map(|m| m.weight / (1.0 + (m.residual(pose) / scale).powi(2))).sum()
    };
    let mut best = weighted_procrustes(matches)?;
    let mut best_score = score(&best);
    for k in 0..HYPOTHESES {
        // Two different strides visit pairs spread over the list.
        let (i, j) = ((k * 7919) % n, (k * 104_729 + n / 2) % n);
        let pair = [matches[i], matches[j]];
        if pair[0].a.distance(pair[1].a) < 4.0 * scale || pair[0].b.distance(pair[1].b) < 4.0 * scale {
            continue;
        }
        if let Some(pose) = weighted_procrustes(&pair) {
            let pair_score = score(&pose);
            if pair_score > best_score {
                (best, best_score) = (pose, pair_score);
            }
        }
    }
    let mut reweighted = matches.to_vec();
    for _ in 0..8 {
        for (m, original) in reweighted.iter_mut().zip(matches) {
            m.weight = original.weight / (1.0 + (original.residual(&best) / scale).powi(2));
        }
        best = weighted_procrustes(&reweighted)?;
    }
    let inliers: Vec<&PointMatch> = matches.iter().filter(|m| m.residual(&best) < 2.0 * scale).collect();
    (inliers.len() >= 3).then(|| (best, inliers.iter().map(|m| m.weight).sum()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in crate::model::align) fn grid_of_points() -> Vec<Vec2> {
        (0..40).map(|k| Vec2::new((k % 8) as f32 * 0.45 - 1.6, (k / 8) as f32 * 0.7 + 0.8)).collect()
    }

    fn matches_under(pose: &PlanarPose) -> Vec<PointMatch> {
        grid_of_points().into_iter().map(|b| PointMatch { a: pose.apply(b), b, weight: 1.0 }).collect()
    }

    proptest! {
        #[test]
        fn exact_matches_give_the_exact_motion(x in -3.0f32..3.0, y in -3.0f32..3.0, yaw in -3.1f32..3.1) {
            let pose = PlanarPose { shift: Vec2::new(x, y), yaw };
            let found = weighted_procrustes(&matches_under(&pose)).unwrap();
            prop_assert!(found.shift.distance(pose.shift) < 1e-3);
            prop_assert!(wrap_angle(found.yaw - pose.yaw).abs() < 1e-4);
        }

        #[test]
        fn composing_with_the_inverse_is_no_motion(x in -3.0f32..3.0, y in -3.0f32..3.0, yaw in -3.1f32..3.1) {
            let pose = PlanarPose { shift: Vec2::new(x, y), yaw };
            let back = pose.compose(&pose.inverse());
            prop_assert!(back.shift.length() < 1e-5 && wrap_angle(back.yaw).abs() < 1e-5);
        }
    }

    #[test]
    fn noise_averages_out_and_wrong_matches_are_left_aside() {
        let pose = PlanarPose { shift: Vec2::new(0.3, -0.2), yaw: 0.4 };
        let mut matches = matches_under(&pose);
        for (k, m) in matches.iter_mut().enumerate() {
            m.a += Vec2::new((k as f32 * 1.7).sin(), (k as f32 * 2.3).cos()) * 0.08;
            if k % 3 == 0 {
                m.a = Vec2::new((k as f32).sin() * 2.0, 3.0 - m.a.y);
            }
        }
        let (found, inliers) = robust_procrustes(&matches, 0.15).unwrap();
        assert!(found.shift.distance(pose.shift) < 0.08, "{found:?}");
        assert!((found.yaw - pose.yaw).abs() < 0.05, "{found:?}");
        assert!(inliers < 36.0);
    }

    #[test]
    fn no_weight_is_no_pose() {
        assert!(weighted_procrustes(&[PointMatch { a: Vec2::X, b: Vec2::Y, weight: 0.0 }]).is_none());
        assert!(robust_procrustes(&[], 0.1).is_none());
    }
}
