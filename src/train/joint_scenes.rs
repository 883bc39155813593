//! The scenes of a validation of the joint stage: what the heads say of the first
//! held-out rooms, with what is true about them.

use std::sync::Arc;

use candle_core::Tensor;

use super::clip::{ClipMaker, ClipView};
use super::config::CameraSource;
use super::joint_batch::JointBatch;
use super::joint_sample::{JointSample, Suffix};
use super::scenes::{MOST_SITUATIONS, SceneSituation, ValidationScene, to_millimetres};
use crate::geometry::{CameraPose, OrientationHistogram};
use crate::model::heads::{GaussianOutput, Heads};
use crate::model::odometry::pose_code::FramePose;
use crate::scene::{SceneTruth, pooled_cell};

/// What the heads read off a batch.
pub(super) struct HeadReadings<'a> {
    /// Layout of the patch tokens, (B, M, 2) each.
    pub layout: &'a GaussianOutput,
    /// Positions of the described situations, (n, 2) each, and heading logits (n, 36), in
    /// the order of [`super::joint_batch::SuffixRows::position`]; `None` without any.
    pub situations: Option<(GaussianOutput, Tensor)>,
}

/// The held-out rooms that are shown, and how the model was given their cameras.
pub(super) struct ShownRooms<'a> {
    pub clips: &'a ClipMaker,
    pub first_seed: u64,
    pub source: CameraSource,
}

impl ShownRooms<'_> {
    /// The scenes of a batch of `samples`, the first of which is held-out room `first`.
    pub(super) fn scenes(
        &self,
        samples: &[Arc<JointSample>],
        first: usize,
        batch: &JointBatch,
        heads: &Heads,
        readings: &HeadReadings<'_>,
    ) -> candle_core::Result<Vec<ValidationScene>> {
        let mut row = 0;
        let mut scenes = Vec::new();
        for (clip, sample) in samples.iter().enumerate() {
            let seed = self.first_seed + (first + clip) as u64;
            let described: Vec<&Suffix> = (0..batch.copies)
                .filter_map(|k| sample.suffixes.get(k % sample.suffixes.len().max(1)))
                .filter(|suffix| suffix.situation.is_some())
                .collect();
            let rows = row..row + described.len();
            row = rows.end;
            let situations = match &readings.situations {
                Some(found) => read_situations(&described, rows.start, found, heads)?,
                None => Vec::new(),
            };
            let layout =
                GaussianOutput { mean: readings.layout.mean.get(clip)?, raw: readings.layout.raw.get(clip)? };
            let Some(truth) = self.clips.truth(seed).in_anchor_space() else { continue };
            scenes.push(self.scene(sample, seed, truth, heads, &layout, situations)?);
        }
        Ok(scenes)
    }

    /// `layout`: (M, 2) each.
    fn scene(
        &self,
        sample: &JointSample,
        seed: u64,
        truth: SceneTruth,
        heads: &Heads,
        layout: &GaussianOutput,
        situations: Vec<SceneSituation>,
    ) -> candle_core::Result<ValidationScene> {
        let grid = self.clips.pooled_grid as u16;
        let poses = match self.source {
            CameraSource::None => &[],
            CameraSource::Truth => sample.true_poses.as_slice(),
            CameraSource::Estimated => sample.estimated_poses.as_deref().unwrap_or_default(),
        };
        let predicted = heads
            .decode_points(layout)?
            .into_iter()
            .map(|(p, sigma)| [p.x, p.y, sigma.x, sigma.y].map(to_millimetres))
            .collect();
        let targets = sample.true_points.iter().map(|target| target.map(|p| [p.x, p.y].map(to_millimetres)));
        let floor_height = -sample.first_height;
        Ok(ValidationScene {
            seed,
            grid: (grid, grid),
            floor_height: to_millimetres(floor_height),
            predicted,
            targets: targets.collect(),
            colors: sample.colors.clone(),
            cameras: poses.iter().map(FramePose::camera_pose).map(rounded).collect(),
            truth,
            situations,
        })
    }
}

fn read_situations(
    described: &[&Suffix],
    first: usize,
    (position, logits): &(GaussianOutput, Tensor),
    heads: &Heads,
) -> candle_core::Result<Vec<SceneSituation>> {
    let rows = |x: &Tensor, row: usize| x.narrow(0, row, 1);
    let mut situations = Vec::new();
    for (k, suffix) in described.iter().enumerate() {
        let (Some(truth), Some(text)) = (suffix.situation, &suffix.text) else { continue };
        if situations.len() == MOST_SITUATIONS {
            break;
        }
        let place =
            GaussianOutput { mean: rows(&position.mean, first + k)?, raw: rows(&position.raw, first + k)? };
        let mut estimate = heads.decode_situation(&place, &rows(logits, first + k)?)?;
        let bins = estimate.orientation.0.iter().map(|share| to_millimetres(*share));
        estimate.orientation = OrientationHistogram(bins.collect());
        situations.push(SceneSituation { text: text.clone(), truth, estimate });
    }
    Ok(situations)
}

fn rounded(pose: CameraPose) -> CameraPose {
    CameraPose { position: pose.position.to_array().map(to_millimetres).into(), ..pose }
}

/// Mean colour of the picture under each token of a `grid` x `grid` raster, row-major.
pub(super) fn token_colors(view: &ClipView, grid: usize) -> Vec<[u8; 3]> {
    let side = (view.rgb.len() / 3).isqrt();
    let mut sums = vec![([0u32; 3], 0u32); grid * grid];
    for (pixel, rgb) in view.rgb.chunks_exact(3).enumerate() {
        let (sum, count) = &mut sums[pooled_cell(pixel, side, grid)];
        *count += 1;
        for (total, &level) in sum.iter_mut().zip(rgb) {
            *total += u32::from(level);
        }
    }
    sums.iter().map(|(sum, count)| sum.map(|total| (total / (*count).max(1)) as u8)).collect()
}

/// The rows named first in `targets`, (n, h).
pub(super) fn pick<T>(rows: &Tensor, targets: &[(u32, T)]) -> candle_core::Result<Tensor> {
    rows.index_select(&Tensor::from_iter(targets.iter().map(|(row, _)| *row), rows.device())?, 0)
}
