//! From the dense head's output on a clip to camera poses, points and tokens.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::VarBuilder;
use glam::{Vec2, Vec3};

use super::AlignConfig;
use super::dense_head::{DenseHead, DenseOutput};
use super::matching::{Assignment, MatchSide, precision};
use super::planar::PointMatch;
use super::pose_code::{FramePose, pose_code};
use super::pose_graph::{FramePair, solve_track};
use super::view_fit::{View, fit_view};
use crate::geometry::{CameraPose, Orientation};
use crate::model::camera::ASSUMED_CAMERA_HEIGHT;

/// Camera encoder of kind `aligned`; see the module above.
#[derive(Debug, Clone)]
pub struct AlignedCamera {
    config: AlignConfig,
    head: DenseHead,
    token_dim: usize,
}

/// What the encoder finds out about the frames of a clip.
#[derive(Debug, Clone)]
pub struct AlignedFrames {
    /// Poses in the levelled space of the first frame.
    pub poses: Vec<FramePose>,
    /// Height of the floor in the anchor space, metres (negative).
    pub floor_height: f32,
    /// Per frame, per cell: point in the anchor space, metres.
    pub points: Vec<Vec<Vec3>>,
    /// Per frame, per cell: 0 (guess) to 1 (certain).
    pub confidence: Vec<Vec<f32>>,
}

impl AlignedFrames {
    /// Camera-to-anchor pose of a frame.
    pub fn camera_pose(&self, frame: usize) -> CameraPose {
        let pose = &self.poses[frame];
        CameraPose::looking(
            pose.planar.shift.extend(pose.height),
            Orientation::FORWARD.turned(pose.planar.yaw),
            pose.pitch,
            pose.roll,
        )
    }

    /// Camera tokens (F, width).
    pub fn tokens(&self, width: usize, device: &candle_core::Device) -> Result<Tensor> {
        let codes: Vec<f32> = self.poses.iter().flat_map(|pose| pose_code(pose, width)).collect();
        Tensor::from_vec(codes, (self.poses.len(), width), device)
    }
}

impl AlignedCamera {
    /// Loads or initialises the encoder for a tower of width `hidden`.
    pub fn new(config: &AlignConfig, hidden: usize, token_dim: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let head = DenseHead::new(&config.dense, hidden, vb.pp("dense"))?;
        Ok(Self { config: config.clone(), head, token_dim })
    }

    /// The head on single frames.
    pub fn head(&self) -> &DenseHead {
        &self.head
    }

    /// Width of a camera token.
    pub fn token_dim(&self) -> usize {
        self.token_dim
    }

    /// Solves the clip whose vision tokens are (F, N, D).
    pub fn align(&self, tokens: &Tensor) -> Result<AlignedFrames> {
        self.align_dense(&self.head.forward(&tokens.detach().to_dtype(DType::F32)?)?)
    }

    /// Solves the clip from the head's output on its frames.
    pub fn align_dense(&self, dense: &DenseOutput) -> Result<AlignedFrames> {
        let cells = FrameCells::read(dense)?;
        let pairs = self.match_pairs(dense, &cells)?;
        let track = solve_track(cells.len(), &pairs, self.config.match_scale);
        // Somebody carries the camera at one height: the median is better than any single fit.
        let mut heights: Vec<f32> = cells.iter().map(|frame| frame.view[0]).collect();
        heights.sort_by(f32::total_cmp);
        let height = heights.get(heights.len() / 2).copied().unwrap_or(ASSUMED_CAMERA_HEIGHT);
        let poses: Vec<FramePose> = cells
            .iter()
            .zip(track.poses.iter().zip(&track.support))
            .map(|(frame, (planar, support))| FramePose {
                planar: *planar,
                height: 0.0,
                pitch: frame.view[1],
                roll: frame.view[2],
                log_focal: [frame.view[3], frame.view[4]],
                support: *support,
            })
            .collect();
        let points = cells
            .iter()
            .zip(&poses)
            .map(|(frame, pose)| {
                frame.points.iter().map(|p| pose.planar.apply(p.truncate()).extend(p.z - height)).collect()
            })
            .collect();
        let confidence = cells.iter().map(FrameCells::confidence).collect();
        Ok(AlignedFrames { poses, floor_height: -height, points, confidence })
    }

    /// Mutual best matches of every pair of frames.
    fn match_pairs(&self, dense: &DenseOutput, cells: &[FrameCells]) -> Result<Vec<FramePair>> {
        let frames = cells.len();
        let mut pairs = Vec::new();
        for a in 0..frames {
            let others: Vec<u32> = (a + 1..frames).map(|b| b as u32).collect();
            if others.is_empty() {
                continue;
            }
            let device = dense.descriptor.device();
            let index_b = Tensor::new(others.as_slice(), device)?;
            let index_a = Tensor::full(a as u32, others.len(), device)?;
            let (side_a, side_b) =
                (MatchSide::of_frames(dense, &index_a)?, MatchSide::of_frames(dense, &index_b)?);
            let mutual = Assignment::new(&side_a, &side_b, self.head.descriptor_gain())?.mutual()?;
            let n = mutual.dim(D::Minus1)?;
            let flat: Vec<f32> = mutual.flatten_all()?.to_vec1()?;
            for (k, &b) in others.iter().enumerate() {
                let b = b as usize;
                let matches =
                    soft_partners(&flat[k * n * n..(k + 1) * n * n], n, self.config.min_probability)
                        .into_iter()
                        .map(|partner| partner.point_match(&cells[a], &cells[b]))
                        .collect();
                pairs.push(FramePair { a, b, matches });
            }
        }
        Ok(pairs)
    }
}

/// Precision of the difference of two points, scaled to about 1 for good cells.
fn harmonic(a: f32, b: f32) -> f32 {
    0.04 * a * b / (a + b).max(1e-6)
}

/// A cell of frame a and the patch of cells of frame b that shows the same place.
#[derive(Debug, Clone, PartialEq)]
struct SoftPartner {
    cell: usize,
    /// Cells of b with their share of the belief.
    partners: Vec<(usize, f32)>,
    /// The belief in the patch as a whole, 0 to 1.
    probability: f32,
}

impl SoftPartner {
    fn point_match(&self, a: &FrameCells, b: &FrameCells) -> PointMatch {
        let (mut point, mut precision) = (Vec2::ZERO, 0.0);
        for &(cell, share) in &self.partners {
            point += b.points[cell].truncate() * share;
            precision += b.precision[cell] * share;
        }
        PointMatch {
            a: a.points[self.cell].truncate(),
            b: point,
            weight: self.probability * harmonic(a.precision[self.cell], precision),
        }
    }
}

/// Partners of the rows of `mutual` (n x n probabilities of mutual partnership): the
/// best column with its neighbours on the grid, when that column's best row is the
/// row itself or a neighbour of it.
fn soft_partners(mutual: &[f32], n: usize, min_probability: f32) -> Vec<SoftPartner> {
    let side = (n as f64).sqrt().round() as usize;
    let mut best_row = vec![(0usize, 0.0f32); n];
    for i in 0..n {
        for (j, best) in best_row.iter_mut().enumerate() {
            let p = mutual[i * n + j];
            if p > best.1 {
                *best = (i, p);
            }
        }
    }
    let adjacent =
        |x: usize, y: usize| (x / side).abs_diff(y / side) <= 1 && (x % side).abs_diff(y % side) <= 1;
    (0..n)
        .filter_map(|i| {
            let row = &mutual[i * n..(i + 1) * n];
            let (best, _) = row.iter().copied().enumerate().max_by(|x, y| x.1.total_cmp(&y.1))?;
            if !adjacent(best_row[best].0, i) {
                return None;
            }
            // The root of the mutual probability is the mean belief of both sides.
            let beliefs: Vec<(usize, f32)> =
                (0..n).filter(|&j| adjacent(j, best)).map(|j| (j, row[j].sqrt())).collect();
            let probability: f32 = beliefs.iter().map(|(_, p)| p).sum();
            (probability >= min_probability).then(|| SoftPartner {
                cell: i,
                partners: beliefs.into_iter().map(|(j, p)| (j, p / probability)).collect(),
                probability: probability.min(1.0),
            })
        })
        .collect()
}

/// Plain numbers of one frame.
#[derive(Debug, Clone)]
struct FrameCells {
    points: Vec<Vec3>,
    precision: Vec<f32>,
    view: View,
}

impl FrameCells {
    fn read(dense: &DenseOutput) -> Result<Vec<Self>> {
        let points: Vec<Vec<Vec<f32>>> = dense.point.to_vec3()?;
        let precisions: Vec<Vec<f32>> = precision(&dense.log_scale)?.to_vec2()?;
        Ok(points
            .into_iter()
            .zip(precisions)
            .map(|(points, precision)| {
                let points: Vec<Vec3> = points.iter().map(|p| Vec3::new(p[0], p[1], p[2])).collect();
                let view = fit_view(&points, &precision);
                Self { points, precision, view }
            })
            .collect())
    }

    /// 1 at a spread of 0, one half at 0.4 m.
    fn confidence(&self) -> Vec<f32> {
        self.precision.iter().map(|p| 1.0 / (1.0 + p.recip().sqrt() / 0.4)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partners_gather_neighbours_and_must_be_mutual() {
        // 3 x 3 grid; cell 0 believes in cells 0 and 1, cell 8 in cell 0, which prefers cell 0.
        let mut mutual = vec![0.0; 81];
        mutual[0] = 0.36;
        mutual[1] = 0.04;
        mutual[8 * 9] = 0.25;
        let found = soft_partners(&mutual, 9, 0.1);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].cell, 0);
        assert!((found[0].probability - 0.8).abs() < 1e-6);
        assert!((found[0].partners.iter().find(|(j, _)| *j == 1).unwrap().1 - 0.25).abs() < 1e-6);
        assert!(soft_partners(&mutual, 9, 0.9).is_empty());
    }
}
