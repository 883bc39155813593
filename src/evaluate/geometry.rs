//! Geometry: layout tokens against the true points, camera tracks against the true poses.

use std::collections::BTreeMap;

use crate::geometry::{BevPoint, BevSigma, CameraPose};
use crate::scene::{CameraEstimate, Layout};
use crate::video::FrameIndex;

/// Error of one predicted point and how it compares with its own uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PointError {
    /// Distance, metres.
    pub metres: f64,
    /// Length of the error in standard deviations: ((dx/σx)² + (dy/σy)²)^½.
    pub sigmas: f64,
}

impl PointError {
    /// Error of `point` with `sigma`.
    pub fn of(point: BevPoint, sigma: BevSigma, truth: BevPoint) -> Self {
        let (dx, dy) = (f64::from(point.x - truth.x), f64::from(point.y - truth.y));
        let scaled = |d: f64, s: f32| d / f64::from(s).max(1e-6);
        Self { metres: dx.hypot(dy), sigmas: scaled(dx, sigma.x).hypot(scaled(dy, sigma.y)) }
    }
}

/// Errors of all layout tokens that have a target. `targets` holds, per frame, one
/// entry per cell of the layout's grid in raster order.
pub fn layout_errors(
    layout: &Layout,
    targets: &BTreeMap<FrameIndex, Vec<Option<BevPoint>>>,
) -> Vec<PointError> {
    let columns = usize::from(layout.grid.1);
    layout
        .tokens
        .iter()
        .filter_map(|token| {
            let cell = usize::from(token.row) * columns + usize::from(token.column);
            let truth = targets.get(&token.frame)?.get(cell).copied().flatten()?;
            Some(PointError::of(token.position, token.sigma, truth))
        })
        .collect()
}

/// Errors of the cameras of one clip, one entry per frame behind the first (the
/// first is the origin by definition).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CameraErrors {
    /// Position error over the length of the true path, percent; empty for a path
    /// shorter than 10 cm.
    pub position_pct: Vec<f64>,
    /// Angle between the rotations, degrees.
    pub rotation_deg: Vec<f64>,
    /// Error of the change of heading since the frame before, degrees.
    pub step_yaw_deg: Vec<f64>,
}

/// Compares estimates with the true poses of the same frames, all in the anchor
/// space; frames without truth are left out.
pub fn camera_errors(estimates: &[CameraEstimate], truth: &BTreeMap<FrameIndex, CameraPose>) -> CameraErrors {
    const SHORTEST_PATH: f32 = 0.1;
    let pairs: Vec<(CameraPose, CameraPose)> =
        estimates.iter().filter_map(|e| truth.get(&e.frame).map(|t| (e.pose, *t))).collect();
    let path: f32 = pairs.windows(2).map(|w| w[0].1.position.distance(w[1].1.position)).sum();
    let mut errors = CameraErrors::default();
    for (estimate, truth) in pairs.iter().skip(1) {
        if path >= SHORTEST_PATH {
            let metres = estimate.position.distance(truth.position);
            errors.position_pct.push(f64::from(100.0 * metres / path));
        }
        let turn = estimate.rotation.inverse() * truth.rotation;
        // Exact for small angles, unlike the arc cosine of the scalar part.
        let angle = 2.0 * turn.xyz().length().atan2(turn.w.abs());
        errors.rotation_deg.push(f64::from(angle.to_degrees()));
    }
    for step in pairs.windows(2) {
        let turn = |a: &CameraPose, b: &CameraPose| b.heading().radians() - a.heading().radians();
        let difference = turn(&step[0].0, &step[1].0) - turn(&step[0].1, &step[1].1);
        let wrapped = crate::geometry::wrap_angle(difference).abs();
        errors.step_yaw_deg.push(f64::from(wrapped.to_degrees()));
    }
    errors
}

#[cfg(test)]
mod tests {
    use glam::Vec3;

    use super::*;
    use crate::geometry::{ImageSize, Intrinsics, Orientation};
    use crate::scene::LayoutToken;

    fn pose(x: f32, degrees: f32) -> CameraPose {
        CameraPose::looking(Vec3::new(x, 0.0, 0.0), Orientation::from_degrees(degrees), 0.0, 0.0)
    }

    fn estimate(frame: u32, pose: CameraPose) -> CameraEstimate {
        let intrinsics = Intrinsics::from_horizontal_fov(ImageSize::new(8, 8), 1.0);
        CameraEstimate { frame: FrameIndex(frame), pose, intrinsics }
    }

    #[test]
    fn camera_errors_are_relative_to_the_path() {
        let truth: BTreeMap<_, _> = [(0, 0.0, 90.0), (5, 2.0, 90.0), (9, 4.0, 120.0)]
            .map(|(frame, x, degrees)| (FrameIndex(frame), pose(x, degrees)))
            .into();
        let estimates = [
            estimate(0, pose(0.0, 90.0)),
            estimate(5, pose(2.4, 95.0)),
            estimate(9, pose(4.0, 120.0)),
            estimate(11, pose(9.0, 0.0)),
        ];
        let errors = camera_errors(&estimates, &truth);
        assert!((errors.position_pct[0] - 10.0).abs() < 1e-3);
        assert!(errors.position_pct[1].abs() < 1e-3);
        assert!((errors.rotation_deg[0] - 5.0).abs() < 1e-2);
        assert!((errors.step_yaw_deg[1] - 5.0).abs() < 1e-2);
        assert_eq!(errors.step_yaw_deg.len(), 2);
    }

    #[test]
    fn tokens_without_a_target_do_not_count() {
        let token = |row, x| LayoutToken {
            frame: FrameIndex(3),
            row,
            column: 0,
            position: BevPoint::new(x, 0.0),
            sigma: BevSigma { x: 0.5, y: 1.0 },
            color: [0; 3],
        };
        let layout = Layout { grid: (2, 1), tokens: vec![token(0, 1.0), token(1, 1.0)], floor_height: -1.5 };
        let targets = [(FrameIndex(3), vec![Some(BevPoint::new(0.0, 0.0)), None])].into();
        let errors = layout_errors(&layout, &targets);
        assert_eq!(errors.len(), 1);
        assert!((errors[0].metres - 1.0).abs() < 1e-6);
        assert!((errors[0].sigmas - 2.0).abs() < 1e-6);
    }
}
