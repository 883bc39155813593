//! Shapes of the scene in anchor space metres: ellipses, arrows, roses and frusta
//! as plain polylines.

use std::f32::consts::{FRAC_PI_2, TAU};

use glam::{Vec2, Vec3};

use crate::geometry::{BevPoint, BevSigma, OrientationHistogram};
use crate::scene::CameraEstimate;

/// A polyline, metres.
pub type Strip = Vec<[f32; 3]>;

/// Segments of an ellipse.
const ELLIPSE_SEGMENTS: usize = 24;
/// Radius of the circle that the rose stands on, metres.
const ROSE_INNER: f32 = 0.25;
/// Length of a bin of probability 1, metres.
const ROSE_SCALE: f32 = 1.0;
/// Distance of the frustum's base from the camera, metres.
const FRUSTUM_DEPTH: f32 = 0.2;

/// The one-sigma ellipse around `center` at height `z`.
pub fn ellipse(center: BevPoint, sigma: BevSigma, z: f32) -> Strip {
    (0..=ELLIPSE_SEGMENTS)
        .map(|k| {
            let (sin, cos) = (TAU * k as f32 / ELLIPSE_SEGMENTS as f32).sin_cos();
            [center.x + sigma.x * cos, center.y + sigma.y * sin, z]
        })
        .collect()
}

/// The heading distribution as an outline of wedges around `center`.
pub fn rose(center: BevPoint, histogram: &OrientationHistogram, z: f32) -> Strip {
    let bins = histogram.0.len();
    let half = 0.5 * TAU / bins.max(1) as f32;
    let mut strip: Strip = (0..bins)
        .flat_map(|bin| {
            let radius = ROSE_INNER + ROSE_SCALE * histogram.0[bin];
            let middle = OrientationHistogram::bin_center(bin, bins);
            [middle - half, middle + half].map(|angle| {
                let point = Vec2::from(center) + radius * Vec2::from_angle(angle);
                [point.x, point.y, z]
            })
        })
        .collect();
    strip.extend(strip.first().copied());
    strip
}

/// The outline of a camera's view, starting at its centre.
pub fn frustum(camera: &CameraEstimate) -> Strip {
    let size = Vec2::new(camera.intrinsics.size.width as f32, camera.intrinsics.size.height as f32);
    let corner = |x: f32, y: f32| {
        let in_camera = camera.intrinsics.unproject(size * Vec2::new(x, y), FRUSTUM_DEPTH);
        camera.pose.world_from_camera(in_camera)
    };
    let eye = camera.pose.position;
    let base = [corner(0.0, 0.0), corner(1.0, 0.0), corner(1.0, 1.0), corner(0.0, 1.0)];
    [eye, base[0], base[1], eye, base[2], base[3], eye, base[0], base[3], base[2], base[1]]
        .map(|point: Vec3| point.to_array())
        .to_vec()
}

/// From certain (blue) over green to unsure (red); `sigma` in metres, 1.5 m is fully red.
pub fn uncertainty_color(sigma: f32) -> [u8; 3] {
    let t = (sigma / 1.5).clamp(0.0, 1.0);
    let bump = |center: f32| ((1.0 - (2.0 * (t - center)).abs()).max(0.0) * FRAC_PI_2).sin();
    [bump(1.0), bump(0.5), bump(0.0)].map(|channel| (60.0 + 195.0 * channel) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{CameraPose, ImageSize, Intrinsics, Orientation};
    use crate::video::FrameIndex;

    #[test]
    fn an_ellipse_closes_and_has_the_sigma_as_half_axes() {
        let strip = ellipse(BevPoint::new(1.0, 2.0), BevSigma { x: 0.5, y: 0.25 }, -1.5);
        assert!((strip[0][0] - 1.5).abs() < 1e-6 && (strip[6][1] - 2.25).abs() < 1e-6);
        assert!((strip[24][0] - strip[0][0]).abs() < 1e-5 && (strip[3][2] + 1.5).abs() < 1e-6);
    }

    #[test]
    fn a_rose_points_where_the_probability_is() {
        let mut bins = vec![0.0; 36];
        bins[27] = 1.0; // centred at 95 degrees
        let strip = rose(BevPoint::default(), &OrientationHistogram(bins), 0.0);
        let farthest = strip.iter().max_by(|a, b| (a[0].hypot(a[1])).total_cmp(&b[0].hypot(b[1]))).unwrap();
        assert!(farthest[1] > 1.2, "{farthest:?}");
    }

    #[test]
    fn a_frustum_opens_in_viewing_direction() {
        let pose = CameraPose::looking(Vec3::ZERO, Orientation::FORWARD, 0.0, 0.0);
        let intrinsics = Intrinsics::from_horizontal_fov(ImageSize::new(64, 48), 1.0);
        let strip = frustum(&CameraEstimate { frame: FrameIndex(0), pose, intrinsics });
        assert!((strip[1][1] - FRUSTUM_DEPTH).abs() < 1e-5 && strip[1][2] > 0.0, "{:?}", strip[1]);
    }

    #[test]
    fn colours_run_from_blue_to_red() {
        let (sure, unsure) = (uncertainty_color(0.0), uncertainty_color(9.0));
        assert!(sure[2] > sure[0] && unsure[0] > unsure[2]);
    }
}
