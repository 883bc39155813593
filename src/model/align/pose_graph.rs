//! Absolute planar poses of all frames from matches between pairs of frames.
//!
//! Pairs are first fitted one by one ([`super::planar::robust_procrustes`]) and
//! chained along the most certain pairs; then all matches of all pairs are
//! adjusted at once: Gauss-Newton on Σ w ρ(|T_i a - T_j b|) with Cauchy weights.
//! Frame 0 is the origin.

use glam::Vec2;

use super::planar::{PlanarPose, PointMatch, robust_procrustes};

/// Matches between two frames.
#[derive(Debug, Clone, PartialEq)]
pub struct FramePair {
    /// Index of frame a.
    pub a: usize,
    /// Index of frame b.
    pub b: usize,
    /// Levelled points of both.
    pub matches: Vec<PointMatch>,
}

/// Poses of all frames in the levelled space of frame 0.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanarTrack {
    /// `anchor_from_frame` of every frame; the first is the identity.
    pub poses: Vec<PlanarPose>,
    /// Weight of the agreeing matches that tie each frame to others (0: not tied,
    /// its pose is that of the nearest tied frame).
    pub support: Vec<f32>,
}

/// Solves for the poses of `frames` frames. `scale` is the expected distance of
/// matched points in metres.
pub fn solve_track(frames: usize, pairs: &[FramePair], scale: f32) -> PlanarTrack {
    let fits: Vec<(usize, PlanarPose, f32)> = pairs
        .iter()
        .enumerate()
        .filter_map(|(k, pair)| {
            robust_procrustes(&pair.matches, scale).map(|(pose, weight)| (k, pose, weight))
        })
        .collect();
    let (mut poses, tied) = chain(frames, pairs, &fits);
    let used: Vec<&FramePair> =
        fits.iter().map(|&(k, _, _)| &pairs[k]).filter(|pair| tied[pair.a] && tied[pair.b]).collect();
    for scale in [2.0 * scale, scale, scale, scale, scale, scale] {
        adjust(&mut poses, &used, scale);
    }
    let support = support_of(&poses, &used, scale);
    PlanarTrack { poses, support }
}

/// Chains pair fits from frame 0 along the heaviest pairs (Prim's tree).
fn chain(
    frames: usize,
    pairs: &[FramePair],
    fits: &[(usize, PlanarPose, f32)],
) -> (Vec<PlanarPose>, Vec<bool>) {
    let mut poses = vec![PlanarPose::IDENTITY; frames];
    let mut tied = vec![false; frames];
    if frames > 0 {
        tied[0] = true;
    }
    loop {
        let next = fits
            .iter()
            .filter(|(k, _, _)| tied[pairs[*k].a] != tied[pairs[*k].b])
            .max_by(|x, y| x.2.total_cmp(&y.2));
        let Some((k, a_from_b, _)) = next else { break };
        let (a, b) = (pairs[*k].a, pairs[*k].b);
        if tied[a] {
            poses[b] = poses[a].compose(a_from_b);
            tied[b] = true;
        } else {
            poses[a] = poses[b].compose(&a_from_b.inverse());
            tied[a] = true;
        }
    }
    for frame in 0..frames {
        if !tied[frame] {
            let nearest = (0..frames).filter(|&f| tied[f]).min_by_key(|f| f.abs_diff(frame));
            poses[frame] = nearest.map_or(PlanarPose::IDENTITY, |f| poses[f]);
        }
    }
    (poses, tied)
}

/// One damped Gauss-Newton step over all matches; frame 0 stays.
fn adjust(poses: &mut [PlanarPose], pairs: &[&FramePair], scale: f32) {
    let n = 3 * poses.len();
    let mut normal = vec![0.0f64; n * n];
    let mut gradient = vec![0.0f64; n];
    for pair in pairs {
        let (pose_a, pose_b) = (poses[pair.a], poses[pair.b]);
        for m in &pair.matches {
            let (ra, rb) =
                (Vec2::from_angle(pose_a.yaw).rotate(m.a), Vec2::from_angle(pose_b.yaw).rotate(m.b));
            let residual = ra + pose_a.shift - rb - pose_b.shift;
            let weight = f64::from(m.weight / (1.0 + residual.length_squared() / (scale * scale)));
            // d residual / d (xa, ya, yaw_a, xb, yb, yaw_b), both rows.
            let columns =
                [3 * pair.a, 3 * pair.a + 1, 3 * pair.a + 2, 3 * pair.b, 3 * pair.b + 1, 3 * pair.b + 2];
            let rows = [
                (f64::from(residual.x), [1.0, 0.0, f64::from(-ra.y), -1.0, 0.0, f64::from(rb.y)]),
                (f64::from(residual.y), [0.0, 1.0, f64::from(ra.x), 0.0, -1.0, f64::from(-rb.x)]),
            ];
            for (value, row) in rows {
                for (p, &i) in columns.iter().enumerate() {
                    gradient[i] += weight * row[p] * value;
                    for (q, &j) in columns.iter().enumerate() {
                        normal[i * n + j] += weight * row[p] * row[q];
                    }
                }
            }
        }
    }
    for i in 0..n {
        // Frame 0 is held; the rest gets a little damping so that untied frames stay put.
        normal[i * n + i] += if i < 3 { 1e9 } else { 1e-4 };
    }
    let Some(step) = solve_symmetric(&mut normal, &gradient) else { return };
    for (frame, pose) in poses.iter_mut().enumerate().skip(1) {
        pose.shift -= Vec2::new(step[3 * frame] as f32, step[3 * frame + 1] as f32);
        pose.yaw = crate::geometry::wrap_angle(pose.yaw - step[3 * frame + 2] as f32);
    }
}

/// Cholesky solution of `matrix` x = `rhs` (row-major, symmetric positive
/// definite); `None` when it is not positive definite.
fn solve_symmetric(matrix: &mut [f64], rhs: &[f64]) -> Option<Vec<f64>> {
    let n = rhs.len();
    for j in 0..n {
        for k in 0..j {
            let ljk = matrix[j * n + k];
            for i in j..n {
                matrix[i * n + j] -= matrix[i * n + k] * ljk;
            }
        }
        let pivot = matrix[j * n + j];
        if pivot <= 0.0 || !pivot.is_finite() {
            return None;
        }
        let root = pivot.sqrt();
        for i in j..n {
            matrix[i * n + j] /= root;
        }
    }
    let mut x = rhs.to_vec();
    for i in 0..n {
        for k in 0..i {
            x[i] -= matrix[i * n + k] * x[k];
        }
        x[i] /= matrix[i * n + i];
    }
    for i in (0..n).rev() {
        for k in i + 1..n {
            x[i] -= matrix[k * n + i] * x[k];
        }
        x[i] /= matrix[i * n + i];
    }
    Some(x)
}

fn support_of(poses: &[PlanarPose], pairs: &[&FramePair], scale: f32) -> Vec<f32> {
    let mut support = vec![0.0; poses.len()];
    for pair in pairs {
        let a_from_b = poses[pair.a].inverse().compose(&poses[pair.b]);
        let weight: f32 =
            pair.matches.iter().filter(|m| m.residual(&a_from_b) < 2.0 * scale).map(|m| m.weight).sum();
        support[pair.a] += weight;
        support[pair.b] += weight;
    }
    support
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::wrap_angle;
    use crate::model::align::planar::tests::grid_of_points;

    fn walk(frames: usize) -> Vec<PlanarPose> {
        (0..frames)
            .map(|k| PlanarPose {
                shift: Vec2::new(0.2 * k as f32, 0.1 * (k as f32).sin()),
                yaw: wrap_angle(0.35 * k as f32),
            })
            .collect()
    }

    /// Matches of world points; every `bad`-th match is wrong.
    fn pairs_of(truth: &[PlanarPose], noise: f32, bad: usize) -> Vec<FramePair> {
        let mut pairs = Vec::new();
        for a in 0..truth.len() {
            for b in a + 1..truth.len().min(a + 4) {
                let matches = grid_of_points()
                    .into_iter()
                    .enumerate()
                    .map(|(k, world)| {
                        let jitter =
                            Vec2::new(((k + 3 * a) as f32 * 1.7).sin(), ((k + 5 * b) as f32 * 2.3).cos());
                        let wrong = if k % bad == 0 { Vec2::new(1.0, -1.5) } else { Vec2::ZERO };
                        PointMatch {
                            a: truth[a].inverse().apply(world) + jitter * noise + wrong,
                            b: truth[b].inverse().apply(world),
                            weight: 1.0,
                        }
                    })
                    .collect();
                pairs.push(FramePair { a, b, matches });
            }
        }
        pairs
    }

    #[test]
    fn exact_matches_give_the_exact_track() {
        let truth = walk(8);
        let track = solve_track(8, &pairs_of(&truth, 0.0, usize::MAX), 0.15);
        for (found, want) in track.poses.iter().zip(&truth) {
            assert!(found.shift.distance(want.shift) < 0.02, "{found:?} {want:?}");
            assert!(wrap_angle(found.yaw - want.yaw).abs() < 0.01);
        }
    }

    #[test]
    fn noise_and_wrong_matches_are_survived() {
        let truth = walk(10);
        let track = solve_track(10, &pairs_of(&truth, 0.15, 5), 0.15);
        for (found, want) in track.poses.iter().zip(&truth) {
            assert!(found.shift.distance(want.shift) < 0.15, "{found:?} {want:?}");
            assert!(wrap_angle(found.yaw - want.yaw).abs() < 0.06);
        }
    }

    #[test]
    fn an_untied_frame_stays_with_its_neighbour_and_says_so() {
        let truth = walk(4);
        let mut pairs = pairs_of(&truth, 0.0, usize::MAX);
        pairs.retain(|pair| pair.a != 3 && pair.b != 3);
        let track = solve_track(4, &pairs, 0.15);
        assert_eq!(track.support[3], 0.0);
        assert!(track.poses[3].shift.distance(track.poses[2].shift) < 0.05);
        assert!(track.support[1] > 0.0);
    }
}
