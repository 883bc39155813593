//! Direct alignment: the grey levels of one picture, carried along by a motion, must be
//! found in the next one. Uses edges and shading that no corner can be followed on
//! (Engel et al., "Direct Sparse Odometry", PAMI 2018, for one pair of pictures).

use glam::Vec2;

use super::motion::{Motion, Normal, point_at, slopes};
use super::odometer::FrameSight;

/// Expected error of a grey level.
const GREY_SIGMA: f64 = 3.0;
/// Neighbouring pixels share errors: each counts as so much of an independent one.
const INDEPENDENT_SHARE: f64 = 0.1;
/// Pixels on less slope tell nothing, grey levels per pixel.
const LEAST_SLOPE: f32 = 0.4;
/// The pixel on the steepest slope of every block of this side is used.
const BLOCK: usize = 4;

/// A pixel of the earlier picture.
#[derive(Debug, Clone, Copy)]
struct Shade {
    place: Vec2,
    depth: f32,
    grey: f32,
}

/// Pixels of an earlier picture and the later one, at one level of the pyramids.
#[derive(Debug)]
pub struct Shading<'a> {
    shades: Vec<Shade>,
    later: &'a FrameSight,
    level: usize,
}

impl<'a> Shading<'a> {
    /// The telling pixels at a level.
    pub fn new(earlier: &FrameSight, later: &'a FrameSight, level: usize) -> Self {
        let plane = &earlier.pyramid.levels()[level];
        let (width, height) = (plane.width(), plane.height());
        let block = (BLOCK >> level).max(1);
        let scale = (1 << level) as f32;
        let slope = |x: i32, y: i32| {
            0.5 * Vec2::new(plane.at(x + 1, y) - plane.at(x - 1, y), plane.at(x, y + 1) - plane.at(x, y - 1))
                .length()
        };
        let mut shades = Vec::new();
        for top in (0..height).step_by(block) {
            for left in (0..width).step_by(block) {
                let inside = (top..(top + block).min(height))
                    .flat_map(|y| (left..(left + block).min(width)).map(move |x| (x as i32, y as i32)));
                let steepest = inside.map(|(x, y)| (slope(x, y), x, y)).max_by(|a, b| a.0.total_cmp(&b.0));
                if let Some((steep, x, y)) = steepest
                    && steep >= LEAST_SLOPE
                {
                    let pixel = Vec2::new(x as f32, y as f32) * scale;
                    let place = earlier.place(pixel);
                    shades.push(Shade { place, depth: earlier.depth_at(pixel).0, grey: plane.at(x, y) });
                }
            }
        }
        Self { shades, later, level }
    }

    /// Adds the error of the grey levels at `motion` to the normal equations.
    pub fn add(&self, normal: &mut Normal, motion: &Motion, focal: Vec2) {
        let later = &self.later.pyramid.levels()[self.level];
        let scale = (1 << self.level) as f32;
        let size = Vec2::new(later.width() as f32, later.height() as f32);
        let seen: Vec<_> = self
            .shades
            .iter()
            .filter_map(|shade| {
                let point = point_at(shade.place, focal, shade.depth).as_dvec3();
                // Halving keeps the first pixel where it is.
                let pixel = self.later.pixel(motion.place_of(point, focal).as_vec2()) / scale;
                if !later.holds(pixel, 1.5) {
                    return None;
                }
                let patch = later.patch::<3>(pixel);
                let slope = 0.5 * Vec2::new(patch[1][2] - patch[1][0], patch[2][1] - patch[0][1]);
                Some((motion.apply(point), slope * size, patch[1][1] - shade.grey))
            })
            .collect();
        let mut errors: Vec<f32> = seen.iter().map(|(_, _, error)| *error).collect();
        if errors.is_empty() {
            return;
        }
        // The exposure may have changed.
        let middle = errors.len() / 2;
        let brighter = *errors.select_nth_unstable_by(middle, f32::total_cmp).1;
        for (point, slope, error) in seen {
            let error = f64::from(error - brighter);
            let weight = INDEPENDENT_SHARE / (GREY_SIGMA * GREY_SIGMA + error * error);
            let [across, down] = slopes(point, focal);
            let slope = slope.as_dvec2();
            let by: [f64; 6] = std::array::from_fn(|k| slope.x * across[k] + slope.y * down[k]);
            for i in 0..6 {
                normal.gradient[i] += weight * by[i] * error;
                for j in 0..6 {
                    normal.matrix[i][j] += weight * by[i] * by[j];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use glam::{DMat3, DVec3, Vec3};

    use super::super::motion::{Gait, solve_motion};
    use super::super::pyramid::{Plane, Pyramid};
    use super::*;

    /// Upright stripes at infinity seen by a camera turned by `yaw`: no corner anywhere.
    fn stripes(focal: f32, yaw: f32, brighter: f32) -> FrameSight {
        let grey = |i: usize| {
            let x = ((i % 128) as f32 + 0.5) / 128.0 - 0.5;
            let direction = (x / focal).atan() + yaw;
            brighter + 120.0 + 60.0 * (direction * 9.0).sin() + 30.0 * (direction * 23.0).cos()
        };
        FrameSight {
            pyramid: Pyramid::new(Plane::new(128, (0..128 * 128).map(grey).collect())),
            depth: vec![1000.0; 256],
            spread: vec![0.1; 256],
            up: Vec3::NEG_Y,
            secs: 0.0,
        }
    }

    #[test]
    fn a_turn_shows_where_no_corner_does_and_in_other_light() {
        let focal = Vec2::splat(0.9);
        let (earlier, later) = (stripes(0.9, 0.0, 0.0), stripes(0.9, 0.06, 12.0));
        let up = DVec3::NEG_Y;
        let gait = Gait { up, later_up: up, stride: 0.1, lift: 0.02 };
        let mut motion = Motion::STILL;
        for level in (0..4).rev() {
            let shading = Shading::new(&earlier, &later, level);
            (motion, _) = solve_motion(&[], Some(&shading), focal, &gait, motion);
        }
        // What was ahead moves to the left when the camera turns right.
        let truth = DMat3::from_rotation_y(-0.06);
        let off = (motion.rotation - truth).to_cols_array().iter().fold(0.0f64, |most, d| most.max(d.abs()));
        assert!(off < 2e-3, "{off} {:?}", motion.rotation);
    }
}
