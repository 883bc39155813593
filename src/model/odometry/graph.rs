//! Pose graph: planar poses that agree best with many relative measurements.
//!
//! Gauss-Newton on the errors of all edges, with Cauchy weights so that a wrong match
//! does not bend the path (Grisetti et al., "A Tutorial on Graph-Based SLAM", 2010).

use glam::Vec2;

use super::linear::{solve, solve_dense};
use super::planar::PlanarPose;

const STEPS: usize = 10;
/// Squared error in sigmas at which an edge counts half.
const HALF_WEIGHT: f64 = 4.0;

/// A measured `from_from_to`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edge {
    /// Node whose space the pose is in.
    pub from: usize,
    /// Node whose pose it is.
    pub to: usize,
    /// The measurement.
    pub pose: PlanarPose,
    /// Covariance of its error: shift (2), turn; metres and radians.
    pub covariance: [[f64; 3]; 3],
}

impl Edge {
    /// Independent errors.
    pub fn covariance_of(shift_sigma: f32, yaw_sigma: f32) -> [[f64; 3]; 3] {
        let (shift, yaw) = (f64::from(shift_sigma).powi(2), f64::from(yaw_sigma).powi(2));
        [[shift, 0.0, 0.0], [0.0, shift, 0.0], [0.0, 0.0, yaw]]
    }

    /// Error of the poses in the space of `from`: shift and turn.
    fn error(&self, from: &PlanarPose, to: &PlanarPose) -> [f64; 3] {
        let seen = from.inverse().compose(to);
        let shift = seen.shift - self.pose.shift;
        let yaw = crate::geometry::wrap_angle(seen.yaw - self.pose.yaw);
        [f64::from(shift.x), f64::from(shift.y), f64::from(yaw)]
    }
}

/// Poses near `start` that agree best with `edges`; the first one stays.
pub fn optimise(start: &[PlanarPose], edges: &[Edge]) -> Vec<PlanarPose> {
    let mut poses = start.to_vec();
    let unknowns = 3 * poses.len().saturating_sub(1);
    for _ in 0..STEPS {
        let mut matrix = vec![vec![0.0; unknowns]; unknowns];
        let mut gradient = vec![0.0; unknowns];
        for edge in edges {
            add(edge, &poses, &mut matrix, &mut gradient);
        }
        let Some(step) = solve_dense(matrix, gradient) else { break };
        for (pose, step) in poses[1..].iter_mut().zip(step.chunks_exact(3)) {
            *pose = moved(pose, [-step[0], -step[1], -step[2]]);
        }
        if step.iter().all(|component| component.abs() < 1e-6) {
            break;
        }
    }
    poses
}

/// Adds an edge to the normal equations.
fn add(edge: &Edge, poses: &[PlanarPose], matrix: &mut [Vec<f64>], gradient: &mut [f64]) {
    let error = edge.error(&poses[edge.from], &poses[edge.to]);
    // Information times a vector; an edge without information says nothing.
    let weigh = |vector: [f64; 3]| solve(edge.covariance, vector).unwrap_or_default();
    let weighed_error = weigh(error);
    let weight = 1.0 / (1.0 + dot(&error, &weighed_error) / HALF_WEIGHT);
    let nodes = [edge.from, edge.to];
    let ends = nodes.map(|node| slopes(edge, poses, node));
    let weighed_ends = ends.map(|slopes| slopes.map(weigh));
    for (a, slope_a) in nodes.into_iter().zip(&ends) {
        let Some(row) = a.checked_sub(1) else { continue };
        for i in 0..3 {
            gradient[3 * row + i] += weight * dot(&slope_a[i], &weighed_error);
            for (b, weighed_b) in nodes.into_iter().zip(&weighed_ends) {
                let Some(column) = b.checked_sub(1) else { continue };
                for j in 0..3 {
                    matrix[3 * row + i][3 * column + j] += weight * dot(&slope_a[i], &weighed_b[j]);
                }
            }
        }
    }
}

/// Slopes of the error by the three components of a node, by central differences.
fn slopes(edge: &Edge, poses: &[PlanarPose], node: usize) -> [[f64; 3]; 3] {
    const STEP: f64 = 1e-2;
    let at = |component: usize, by: f64| {
        let mut step = [0.0; 3];
        step[component] = by;
        let mut ends = [poses[edge.from], poses[edge.to]];
        let end = usize::from(node == edge.to);
        ends[end] = moved(&ends[end], step);
        edge.error(&ends[0], &ends[1])
    };
    std::array::from_fn(|component| {
        let (more, less) = (at(component, STEP), at(component, -STEP));
        std::array::from_fn(|k| (more[k] - less[k]) / (2.0 * STEP))
    })
}

fn moved(pose: &PlanarPose, step: [f64; 3]) -> PlanarPose {
    PlanarPose {
        shift: pose.shift + Vec2::new(step[0] as f32, step[1] as f32),
        yaw: crate::geometry::wrap_angle(pose.yaw + step[2] as f32),
    }
}

fn dot(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A walk around a square, one turn a corner.
    fn square() -> Vec<PlanarPose> {
        let step = PlanarPose { shift: Vec2::new(0.0, 1.0), yaw: std::f32::consts::FRAC_PI_8 };
        let mut poses = vec![PlanarPose::IDENTITY];
        for k in 0..15 {
            poses.push(poses[k].compose(&step));
        }
        poses
    }

    fn edge(poses: &[PlanarPose], from: usize, to: usize, off: PlanarPose) -> Edge {
        let pose = poses[from].inverse().compose(&poses[to]).compose(&off);
        Edge { from, to, pose, covariance: Edge::covariance_of(0.05, 0.02) }
    }

    #[test]
    fn a_closed_loop_takes_the_drift_out_and_a_wrong_match_does_not() {
        let truth = square();
        let drift = PlanarPose { shift: Vec2::new(0.01, -0.02), yaw: 0.02 };
        let mut edges: Vec<Edge> = (1..16).map(|k| edge(&truth, k - 1, k, drift)).collect();
        let mut drifted = vec![truth[0]];
        for edge in &edges {
            drifted.push(drifted[edge.from].compose(&edge.pose));
        }
        let error = |poses: &[PlanarPose]| poses[12].shift.distance(truth[12].shift);
        assert_eq!(optimise(&drifted, &[]), drifted);
        for (from, to) in [(0, 14), (0, 15), (1, 15)] {
            let covariance = Edge::covariance_of(0.01, 0.004);
            edges.push(Edge { covariance, ..edge(&truth, from, to, PlanarPose::IDENTITY) });
        }
        let closed = optimise(&drifted, &edges);
        assert!(error(&closed) < 0.4 * error(&drifted), "{} {}", error(&closed), error(&drifted));
        edges.push(edge(&truth, 2, 9, PlanarPose { shift: Vec2::new(2.0, 1.0), yaw: 1.0 }));
        let misled = optimise(&drifted, &edges);
        assert!(error(&misled) < error(&closed) + 0.05, "{}", error(&misled));
    }
}
