//! From the dense head's output on a clip to camera poses, points and tokens.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::VarBuilder;
use glam::Vec3;

use super::AlignConfig;
use super::dense_head::{DenseHead, DenseOutput, VIEW};
use super::matching::{Assignment, MatchSide, precision};
use super::planar::PointMatch;
use super::pose_code::{FramePose, pose_code};
use super::pose_graph::{FramePair, solve_track};
use crate::geometry::{CameraPose, Orientation};

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
        let first_height = cells.first().map_or(1.5, |frame| frame.view[0]);
        let poses: Vec<FramePose> = cells
            .iter()
            .zip(track.poses.iter().zip(&track.support))
            .map(|(frame, (planar, support))| FramePose {
                planar: *planar,
                height: frame.view[0] - first_height,
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
                frame
                    .points
                    .iter()
                    .map(|p| pose.planar.apply(p.truncate()).extend(p.z - first_height))
                    .collect()
            })
            .collect();
        let confidence = cells.iter().map(FrameCells::confidence).collect();
        Ok(AlignedFrames { poses, floor_height: -first_height, points, confidence })
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
                let matches = mutual_best(&flat[k * n * n..(k + 1) * n * n], n, self.config.min_probability)
                    .map(|(i, j, probability)| PointMatch {
                        a: cells[a].points[i].truncate(),
                        b: cells[b].points[j].truncate(),
                        weight: probability * harmonic(cells[a].precision[i], cells[b].precision[j]),
                    })
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

/// (row, column, probability) of entries that are the best of both their row and
/// their column and at least `min_probability`.
fn mutual_best(
    probabilities: &[f32],
    n: usize,
    min_probability: f32,
) -> impl Iterator<Item = (usize, usize, f32)> + '_ {
    let mut best_row = vec![(0usize, 0.0f32); n];
    for i in 0..n {
        for j in 0..n {
            let p = probabilities[i * n + j];
            if p > best_row[j].1 {
                best_row[j] = (i, p);
            }
        }
    }
    (0..n).filter_map(move |i| {
        let row = &probabilities[i * n..(i + 1) * n];
        let (j, p) = row.iter().copied().enumerate().max_by(|x, y| x.1.total_cmp(&y.1))?;
        (p >= min_probability && best_row[j].0 == i).then_some((i, j, p))
    })
}

/// Plain numbers of one frame.
#[derive(Debug, Clone)]
struct FrameCells {
    points: Vec<Vec3>,
    precision: Vec<f32>,
    view: [f32; VIEW],
}

impl FrameCells {
    fn read(dense: &DenseOutput) -> Result<Vec<Self>> {
        let points: Vec<Vec<Vec<f32>>> = dense.point.to_vec3()?;
        let precisions: Vec<Vec<f32>> = precision(&dense.log_scale)?.to_vec2()?;
        let views: Vec<Vec<f32>> = dense.view.to_vec2()?;
        Ok(points
            .into_iter()
            .zip(precisions)
            .zip(views)
            .map(|((points, precision), view)| Self {
                points: points.iter().map(|p| Vec3::new(p[0], p[1], p[2])).collect(),
                precision,
                view: std::array::from_fn(|k| view[k]),
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
    fn only_mutual_best_matches_pass() {
        let p = [0.9, 0.0, 0.2, 0.8, 0.3, 0.0, 0.0, 0.01, 0.02];
        let found: Vec<(usize, usize)> = mutual_best(&p, 3, 0.05).map(|(i, j, _)| (i, j)).collect();
        // Row 1's best column 0 prefers row 0; row 2 is too uncertain.
        assert_eq!(found, [(0, 0)]);
    }
}
