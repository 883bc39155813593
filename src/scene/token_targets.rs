//! Where the pixels under every vision token truly lie on the bird's-eye map:
//! the target of the layout head, from depth and pose (Loc3R-VLM, section 3.2).
//!
//! A token's target is the per-axis median of the unprojected pixels of its grid
//! cell; far, near and missing depths are left out, and a cell with too few
//! usable pixels has no target. The paper leaves that open: [`TargetRule`] says it
//! in other ways.

use glam::{Vec2, Vec3};
use serde::{Deserialize, Serialize};

use crate::geometry::{BevPoint, CameraPose, ImageSize, Intrinsics};

/// How the usable pixels of a cell become one point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetStatistic {
    /// The median along every axis.
    #[default]
    Median,
    /// Their mean.
    Mean,
}

/// How the target of a token is made from the pixels of its cell (open).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TargetRule {
    /// How pixels become one point (open: median).
    pub statistic: TargetStatistic,
    /// Nearest usable depth, metres (open: 0.1).
    pub nearest: f32,
    /// Depths from here on are not usable, metres (open: 10).
    pub farthest: f32,
    /// Smallest share of usable pixels in a cell (open: 0.2).
    pub least_usable_share: f32,
}

impl Default for TargetRule {
    fn default() -> Self {
        Self { statistic: TargetStatistic::Median, nearest: 0.1, farthest: 10.0, least_usable_share: 0.2 }
    }
}

/// Bev position of every cell of the pooled token grid, row-major; `None` where
/// less than a fifth of the pixels has a usable depth.
///
/// `depth` is row-major, `size.pixels()` long, metres along the optical axis,
/// not finite or 0 where unknown. `intrinsics` may be of another image size (the
/// picture was then squashed to `size`). `pose_in_anchor` is camera-to-anchor.
/// `grid` is (rows, columns); pixel (u, v) belongs to cell
/// (v · rows / height, u · columns / width). All cells are `None` when `depth`
/// is shorter than the image.
pub fn token_targets(
    depth: &[f32],
    size: ImageSize,
    intrinsics: &Intrinsics,
    pose_in_anchor: &CameraPose,
    grid: (usize, usize),
) -> Vec<Option<BevPoint>> {
    let points = token_points(depth, size, intrinsics, pose_in_anchor, grid);
    points.into_iter().map(|point| point.map(|point| BevPoint::from(point.truncate()))).collect()
}

/// The same in three dimensions: anchor-space points, the median along every axis.
pub fn token_points(
    depth: &[f32],
    size: ImageSize,
    intrinsics: &Intrinsics,
    pose_in_anchor: &CameraPose,
    grid: (usize, usize),
) -> Vec<Option<Vec3>> {
    TargetRule::default().points(depth, size, intrinsics, pose_in_anchor, grid)
}

impl TargetRule {
    /// Anchor-space point of every cell, row-major; arguments as for [`token_targets`].
    pub fn points(
        &self,
        depth: &[f32],
        size: ImageSize,
        intrinsics: &Intrinsics,
        pose_in_anchor: &CameraPose,
        grid: (usize, usize),
    ) -> Vec<Option<Vec3>> {
        let (rows, columns) = grid;
        let camera = intrinsics.resized(size);
        let (width, height) = (size.width as usize, size.height as usize);
        let mut points = Vec::with_capacity(rows * columns);
        let mut axes: [Vec<f32>; 3] = std::array::from_fn(|_| Vec::new());
        for row in 0..rows {
            for column in 0..columns {
                axes.iter_mut().for_each(Vec::clear);
                let (us, vs) = (cell(column, columns, width), cell(row, rows, height));
                let pixels = us.len() * vs.len();
                for v in vs {
                    for u in us.clone() {
                        let Some(&metres) = depth.get(v * width + u) else { continue };
                        if !(self.nearest..self.farthest).contains(&metres) {
                            continue;
                        }
                        let uv = Vec2::new(u as f32 + 0.5, v as f32 + 0.5);
                        let point = pose_in_anchor.world_from_camera(camera.unproject(uv, metres));
                        axes.iter_mut().zip(point.to_array()).for_each(|(axis, value)| axis.push(value));
                    }
                }
                points.push(self.point(&mut axes, pixels));
            }
        }
        points
    }

    /// The point of a cell of so many pixels from the coordinates of its usable ones, by axis.
    fn point(&self, axes: &mut [Vec<f32>; 3], pixels: usize) -> Option<Vec3> {
        let enough = pixels > 0 && axes[0].len() as f32 >= self.least_usable_share * pixels as f32;
        let [x, y, z] = axes.each_mut().map(|axis| match self.statistic {
            TargetStatistic::Median => median(axis),
            TargetStatistic::Mean => mean(axis),
        });
        match (enough, x, y, z) {
            (true, Some(x), Some(y), Some(z)) => Some(Vec3::new(x, y, z)),
            _ => None,
        }
    }
}

/// The cell of a `pooled` x `pooled` grid over cell `index` of a `side` x `side` grid.
pub fn pooled_cell(index: usize, side: usize, pooled: usize) -> usize {
    let (row, column) = (index / side, index % side);
    row * pooled / side * pooled + column * pooled / side
}

/// Pixels of one axis that belong to cell `index` of `cells`.
fn cell(index: usize, cells: usize, pixels: usize) -> std::ops::Range<usize> {
    (index * pixels).div_ceil(cells)..((index + 1) * pixels).div_ceil(cells)
}

/// `None` when empty.
fn mean(values: &[f32]) -> Option<f32> {
    (!values.is_empty()).then(|| values.iter().sum::<f32>() / values.len() as f32)
}

/// Middle value, the mean of both for an even count; `None` when empty.
fn median(values: &mut [f32]) -> Option<f32> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let even = values.len().is_multiple_of(2);
    let (lower, upper, _) = values.select_nth_unstable_by(middle, f32::total_cmp);
    let upper = *upper;
    let below = lower.iter().copied().max_by(f32::total_cmp);
    Some(match below {
        Some(below) if even => 0.5 * (below + upper),
        _ => upper,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Orientation;

    fn camera() -> Intrinsics {
        Intrinsics::from_horizontal_fov(ImageSize::new(16, 16), std::f32::consts::FRAC_PI_2)
    }

    fn level() -> CameraPose {
        CameraPose::looking(Vec3::ZERO, Orientation::FORWARD, 0.0, 0.0)
    }

    #[test]
    fn a_wall_ahead_lies_at_its_distance() {
        let size = ImageSize::new(16, 16);
        let targets = token_targets(&[2.0; 256], size, &camera(), &level(), (4, 4));
        let at = |row: usize, column: usize| targets[row * 4 + column].unwrap();
        assert!(at(0, 0).distance(BevPoint::new(-1.5, 2.0)) < 1e-4);
        assert!(at(3, 2).distance(BevPoint::new(0.5, 2.0)) < 1e-4);
    }

    #[test]
    fn pose_moves_and_turns_the_targets() {
        let pose = CameraPose::looking(Vec3::new(1.0, 1.0, 0.0), Orientation::from_degrees(0.0), 0.0, 0.0);
        let size = ImageSize::new(16, 16);
        let targets = token_targets(&[2.0; 256], size, &camera(), &pose, (2, 2));
        assert!(targets[0].unwrap().distance(BevPoint::new(3.0, 2.0)) < 1e-4);
        assert!(targets[1].unwrap().distance(BevPoint::new(3.0, 0.0)) < 1e-4);
    }

    #[test]
    fn a_squashed_picture_keeps_its_rays() {
        let wide = Intrinsics::from_horizontal_fov(ImageSize::new(32, 16), std::f32::consts::FRAC_PI_2);
        let size = ImageSize::new(16, 16);
        let targets = token_targets(&[2.0; 256], size, &wide, &level(), (1, 2));
        assert!(targets[1].unwrap().distance(BevPoint::new(1.0, 2.0)) < 1e-4);
    }

    #[test]
    fn cells_without_enough_depth_have_no_target() {
        let size = ImageSize::new(10, 10);
        let mut depth = vec![f32::INFINITY; 100];
        depth[..19].fill(1.0);
        let one_cell = |depth: &[f32]| token_targets(depth, size, &camera(), &level(), (1, 1))[0];
        assert_eq!(one_cell(&depth), None);
        depth[19] = 1.0;
        assert!(one_cell(&depth).is_some());
        depth[19] = 10.5;
        assert_eq!(one_cell(&depth), None);
        assert_eq!(one_cell(&[]), None);
    }

    #[test]
    fn the_median_ignores_a_minority_of_far_pixels() {
        let size = ImageSize::new(16, 16);
        let depth: Vec<f32> = (0..256).map(|i| if i % 4 == 0 { 9.0 } else { 2.0 }).collect();
        let target = token_targets(&depth, size, &camera(), &level(), (1, 1))[0].unwrap();
        assert!((target.y - 2.0).abs() < 1e-4);
    }

    #[test]
    fn another_rule_gives_other_targets() {
        let size = ImageSize::new(16, 16);
        let depth: Vec<f32> = (0..256).map(|i| if i % 4 == 0 { 9.0 } else { 2.0 }).collect();
        let ahead = |rule: TargetRule| {
            let points = rule.points(&depth, size, &camera(), &level(), (1, 1));
            points[0].map(|point| point.y)
        };
        let mean = TargetRule { statistic: TargetStatistic::Mean, ..TargetRule::default() };
        assert!((ahead(mean).unwrap() - 3.75).abs() < 1e-4);
        assert!((ahead(TargetRule { farthest: 5.0, ..mean }).unwrap() - 2.0).abs() < 1e-4);
        assert!((ahead(TargetRule { nearest: 5.0, ..mean }).unwrap() - 9.0).abs() < 1e-4);
        assert_eq!(ahead(TargetRule { nearest: 5.0, least_usable_share: 0.3, ..mean }), None);
    }

    #[test]
    fn grids_that_do_not_divide_the_image_use_every_pixel_once() {
        let total: usize = (0..7).map(|i| cell(i, 7, 112 + 3).len()).sum();
        assert_eq!(total, 115);
        assert_eq!(token_targets(&[1.0; 9], ImageSize::new(3, 3), &camera(), &level(), (5, 5)).len(), 25);
    }
}
