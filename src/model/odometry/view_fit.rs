//! Camera height, tilt and focal lengths of one frame from its levelled points:
//! every cell's point must lie on the ray of its place in the picture.
//!
//! With height H, pitch and roll known, a levelled point (x, y, height) has camera
//! coordinates c; a cell at (u, v) from the picture's centre, in picture sides,
//! must fulfil c.x = c.z u / fx and c.y = c.z v / fy. Both residuals, in metres,
//! are minimised by a few Gauss-Newton steps with Cauchy weights and a weak prior.

use glam::{Vec2, Vec3};

use super::linear::solve;

/// Camera height (m), pitch, roll (radians), ln(fx / width), ln(fy / height).
pub type View = [f32; 5];

/// Where the fit starts, and what it falls back to.
const USUAL: View = [1.5, -0.1, 0.0, -0.2, 0.0];
/// How far views usually are from [`USUAL`].
const SPREAD: View = [0.15, 0.15, 0.04, 0.25, 0.3];
/// Residual beyond which a point counts less, metres.
const SCALE: f32 = 0.2;
const STEPS: usize = 12;

/// Fits the view to the points of a square grid of cells in raster order.
/// `weights` are inverse variances of the points in 1 / m².
pub fn fit_view(points: &[Vec3], weights: &[f32]) -> View {
    let side = (points.len() as f64).sqrt().round().max(1.0) as usize;
    let mut view = USUAL;
    for _ in 0..STEPS {
        let mut normal = [[0.0f64; 5]; 5];
        let mut gradient = [0.0f64; 5];
        for k in 0..5 {
            let precision = f64::from(SPREAD[k].powi(-2));
            normal[k][k] += precision;
            gradient[k] += precision * f64::from(view[k] - USUAL[k]);
        }
        for (cell, (point, weight)) in points.iter().zip(weights).enumerate() {
            let uv = Vec2::new((cell % side) as f32, (cell / side) as f32);
            let uv = (uv + 0.5) / side as f32 - 0.5;
            let (residual, slopes) = linearised(&view, *point, uv);
            let robust = weight / (1.0 + (residual.length() / SCALE).powi(2));
            for axis in 0..2 {
                for p in 0..5 {
                    let slope = f64::from(robust * slopes[p][axis]);
                    gradient[p] += slope * f64::from(residual[axis]);
                    for q in 0..5 {
                        normal[p][q] += slope * f64::from(slopes[q][axis]);
                    }
                }
            }
        }
        let Some(step) = solve(normal, gradient) else { break };
        for k in 0..5 {
            let limit = f64::from(SPREAD[k]);
            view[k] -= step[k].clamp(-limit, limit) as f32;
        }
    }
    view
}

/// A levelled point in camera space (x right, y down, z forward), metres.
pub fn camera_point(view: &View, point: Vec3) -> Vec3 {
    let [height, pitch, roll, ..] = *view;
    let (sin, cos) = pitch.sin_cos();
    let rise = point.z - height;
    let forward = point.y * cos + rise * sin;
    let down = point.y * sin - rise * cos;
    // A camera rolled clockwise sees the level world turned counter-clockwise.
    Vec2::from_angle(-roll).rotate(Vec2::new(point.x, down)).extend(forward)
}

/// Upwards in camera space.
pub fn up(view: &View) -> Vec3 {
    let high = view[0] + 1.0;
    camera_point(view, Vec3::new(0.0, 0.0, high))
}

/// Distance in metres of a point from its ray, across and down the picture.
fn residual(view: &View, point: Vec3, uv: Vec2) -> Vec2 {
    let camera = camera_point(view, point);
    camera.truncate() - camera.z * uv * Vec2::new((-view[3]).exp(), (-view[4]).exp())
}

/// The residual with its slopes by central differences.
fn linearised(view: &View, point: Vec3, uv: Vec2) -> (Vec2, [Vec2; 5]) {
    const STEP: f32 = 1e-2;
    let slopes = std::array::from_fn(|k| {
        let (mut more, mut less) = (*view, *view);
        more[k] += STEP;
        less[k] -= STEP;
        (residual(&more, point, uv) - residual(&less, point, uv)) / (2.0 * STEP)
    });
    (residual(view, point, uv), slopes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{AnchorFrame, CameraPose, ImageSize, Intrinsics, Orientation};

    fn points_of(view: &View, noise: f32) -> Vec<Vec3> {
        let size = ImageSize::new(16, 16);
        let intrinsics = Intrinsics {
            focal: Vec2::new(view[3].exp(), view[4].exp()) * 16.0,
            principal: Vec2::splat(8.0),
            size,
        };
        let pose = CameraPose::looking(Vec3::Z * view[0], Orientation::FORWARD, view[1], view[2]);
        let level = AnchorFrame::from_first_camera(&pose);
        (0..256)
            .map(|cell| {
                let uv = Vec2::new((cell % 16) as f32, (cell / 16) as f32) + 0.5;
                let depth = 2.0 + 0.8 * (cell as f32 * 0.37).sin();
                let point = level.anchor_from_world(pose.world_from_camera(intrinsics.unproject(uv, depth)));
                let wobble =
                    Vec3::new((cell as f32).sin(), (cell as f32 * 1.3).cos(), (cell as f32 * 2.1).sin());
                point + Vec3::Z * view[0] + noise * wobble
            })
            .collect()
    }

    #[test]
    fn exact_points_give_the_view() {
        let truth = [1.35, -0.25, 0.05, -0.35, 0.12];
        let found = fit_view(&points_of(&truth, 0.0), &[400.0; 256]);
        for (found, truth) in found.iter().zip(truth) {
            assert!((found - truth).abs() < 0.01, "{found} {truth}");
        }
    }

    #[test]
    fn noise_averages_out() {
        let truth = [1.65, 0.1, -0.03, -0.1, 0.2];
        let found = fit_view(&points_of(&truth, 0.15), &[40.0; 256]);
        for (k, (found, truth)) in found.iter().zip(truth).enumerate() {
            assert!((found - truth).abs() < [0.06, 0.03, 0.03, 0.06, 0.06][k], "{k}: {found} {truth}");
        }
    }

    #[test]
    fn without_points_the_usual_view_comes_back() {
        assert_eq!(fit_view(&[], &[]), USUAL);
    }
}
