//! A batch of the stages on frames and pairs of frames: pictures and their truth
//! as tensors, and which pairs of frames are compared.
//!
//! Shapes: F frames, n cells a frame, P pairs.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use glam::Vec3;
use rayon::prelude::*;

use super::TrainError;
use super::clip::{Clip, ClipView, NO_CLASS};
use super::feed::BatchSource;
use super::loss::IGNORED_LABEL;
use super::pixels::pixel_tensor;
use super::pool::ClipPool;
use crate::model::align::planar::PlanarPose;

/// Cells whose points are closer than this show the same place, metres.
const MATCH_RADIUS: f32 = 0.25;
/// Pairs with fewer partners have no supervised motion.
const LEAST_PARTNERS: usize = 16;

/// What one step trains on.
#[derive(Debug, Clone)]
pub struct DenseBatch {
    /// (F, 3, S, S) in [-1, 1].
    pub pixels: Tensor,
    /// Category class per cell, (F n) i64.
    pub category: Tensor,
    /// Colour class per cell, (F n) i64; [`IGNORED_LABEL`] where none applies.
    pub color: Tensor,
    /// Levelled points (F, n, 3), 0 where unknown.
    pub point: Tensor,
    /// 1 where the point is known, (F, n, 1).
    pub point_known: Tensor,
    /// The pairs.
    pub pairs: PairBatch,
}

/// Pairs of frames of a batch.
#[derive(Debug, Clone)]
pub struct PairBatch {
    /// Frame a of every pair, (P) u32.
    pub a: Tensor,
    /// Frame b of every pair, (P) u32.
    pub b: Tensor,
    /// Partner in b of every cell of a, (P, n) u32; n stands for none.
    pub b_of_a: Tensor,
    /// Partner in a of every cell of b, (P, n) u32.
    pub a_of_b: Tensor,
    /// a_from_b as cosine and sine of the turn, (P, 2).
    pub turn: Tensor,
    /// Shift of a_from_b in metres, (P, 2).
    pub shift: Tensor,
    /// 1 for pairs with enough partners, (P, 1).
    pub overlaps: Tensor,
}

/// Which frames of a clip are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairChoice {
    /// Every frame with the next one.
    Neighbours,
    /// Every frame with every later one.
    All,
}

/// Builds batches from a pool of clips.
#[derive(Debug)]
pub struct DenseSource {
    /// Where clips come from.
    pub pool: ClipPool<Clip>,
    /// Which pairs.
    pub pairs: PairChoice,
    /// Side of the pictures.
    pub image_size: usize,
    /// Varies and mirrors the pictures when set.
    pub augment: Option<u64>,
}

impl BatchSource for DenseSource {
    type Batch = DenseBatch;

    fn batch(&mut self, step: u64) -> Result<DenseBatch, TrainError> {
        let clips = self.pool.clips(step)?;
        let augment = self.augment.map(|seed| seed.wrapping_add(step.wrapping_mul(0x5851_f42d_4c95_7f2d)));
        let clips: Vec<Arc<Clip>> = clips
            .into_iter()
            .enumerate()
            .map(|(k, clip)| {
                // Every second clip, another half in every step, is seen in the mirror.
                let mirrored = augment.is_some() && (k as u64 + step / 2) % 2 == 1;
                if mirrored { Arc::new(mirrored_clip(&clip)) } else { clip }
            })
            .collect();
        Ok(dense_batch(&clips, self.pairs, self.image_size, augment)?)
    }
}

fn mirrored_clip(clip: &Clip) -> Clip {
    Clip {
        views: clip.views.iter().map(ClipView::mirrored).collect(),
        questions: Vec::new(),
        objects: Vec::new(),
    }
}

/// The batch of some clips, views of all clips one behind the other.
pub fn dense_batch(
    clips: &[Arc<Clip>],
    choice: PairChoice,
    image_size: usize,
    augment: Option<u64>,
) -> candle_core::Result<DenseBatch> {
    let device = Device::Cpu;
    let views: Vec<&ClipView> = clips.iter().flat_map(|clip| &clip.views).collect();
    let cells = views.first().map_or(0, |view| view.category.len());
    let frames = views.len();
    let pictures: Vec<&[u8]> = views.iter().map(|view| view.rgb.as_slice()).collect();
    let category: Vec<i64> = views.iter().flat_map(|view| &view.category).map(|&c| i64::from(c)).collect();
    let color: Vec<i64> = views
        .iter()
        .flat_map(|view| &view.color)
        .map(|&c| if c == NO_CLASS { IGNORED_LABEL } else { i64::from(c) })
        .collect();
    let points = views.iter().flat_map(|view| &view.point);
    let known: Vec<f32> = points.clone().map(|p| f32::from(u8::from(p.is_finite()))).collect();
    let point: Vec<f32> = points.flat_map(|p| if p.is_finite() { p.to_array() } else { [0.0; 3] }).collect();
    Ok(DenseBatch {
        pixels: pixel_tensor(&pictures, image_size, augment, &device)?,
        category: Tensor::from_vec(category, frames * cells, &device)?,
        color: Tensor::from_vec(color, frames * cells, &device)?,
        point: Tensor::from_vec(point, (frames, cells, 3), &device)?,
        point_known: Tensor::from_vec(known, (frames, cells, 1), &device)?,
        pairs: pair_batch(&views, &pair_indices(clips, choice), &device)?,
    })
}

/// Indices over all views of the clips.
fn pair_indices(clips: &[Arc<Clip>], choice: PairChoice) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let mut first = 0;
    for clip in clips {
        let count = clip.views.len();
        for a in 0..count {
            let last = match choice {
                PairChoice::Neighbours => (a + 2).min(count),
                PairChoice::All => count,
            };
            pairs.extend((a + 1..last).map(|b| (first + a, first + b)));
        }
        first += count;
    }
    pairs
}

fn pair_batch(
    views: &[&ClipView],
    pairs: &[(usize, usize)],
    device: &Device,
) -> candle_core::Result<PairBatch> {
    let truths: Vec<PairTruth> = pairs.par_iter().map(|&(a, b)| PairTruth::of(views[a], views[b])).collect();
    let count = pairs.len();
    let cells = truths.first().map_or(0, |truth| truth.b_of_a.len());
    let indices = |pick: fn(&(usize, usize)) -> usize| {
        Tensor::from_vec(pairs.iter().map(|pair| pick(pair) as u32).collect(), count, device)
    };
    let partners = |pick: fn(&PairTruth) -> &Vec<u32>| {
        let flat: Vec<u32> = truths.iter().flat_map(|truth| pick(truth).iter().copied()).collect();
        Tensor::from_vec(flat, (count, cells), device)
    };
    let numbers = |pick: fn(&PairTruth) -> Vec<f32>, width: usize| {
        Tensor::from_vec(truths.iter().flat_map(pick).collect(), (count, width), device)
    };
    Ok(PairBatch {
        a: indices(|pair| pair.0)?,
        b: indices(|pair| pair.1)?,
        b_of_a: partners(|truth| &truth.b_of_a)?,
        a_of_b: partners(|truth| &truth.a_of_b)?,
        turn: numbers(|truth| vec![truth.motion.yaw.cos(), truth.motion.yaw.sin()], 2)?,
        shift: numbers(|truth| truth.motion.shift.to_array().to_vec(), 2)?,
        overlaps: numbers(|truth| vec![f32::from(u8::from(truth.overlaps))], 1)?,
    })
}

/// True partners and motion of one pair.
struct PairTruth {
    b_of_a: Vec<u32>,
    a_of_b: Vec<u32>,
    motion: PlanarPose,
    overlaps: bool,
}

impl PairTruth {
    fn of(a: &ClipView, b: &ClipView) -> Self {
        let motion = a.planar.inverse().compose(&b.planar);
        let points_b: Vec<Vec3> = b.point.iter().map(|p| motion.apply(p.truncate()).extend(p.z)).collect();
        let b_of_a = nearest(&a.point, &points_b);
        let a_of_b = nearest(&points_b, &a.point);
        let partners = b_of_a.iter().filter(|&&j| (j as usize) < points_b.len()).count();
        Self { b_of_a, a_of_b, motion, overlaps: partners >= LEAST_PARTNERS }
    }
}

/// For every point the index of the nearest of `others` within the match radius, else their number.
fn nearest(points: &[Vec3], others: &[Vec3]) -> Vec<u32> {
    points
        .iter()
        .map(|p| {
            let best = others
                .iter()
                .enumerate()
                .map(|(j, other)| (j, p.distance_squared(*other)))
                .filter(|(_, distance)| *distance < MATCH_RADIUS * MATCH_RADIUS)
                .min_by(|x, y| x.1.total_cmp(&y.1));
            best.map_or(others.len() as u32, |(j, _)| j as u32)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use glam::Vec2;

    fn view(planar: PlanarPose, world: &[Vec3]) -> ClipView {
        let point =
            world.iter().map(|p| planar.inverse().apply(p.truncate()).extend(p.z)).collect::<Vec<_>>();
        ClipView {
            rgb: vec![100; 3 * 16],
            category: vec![1; point.len()],
            color: vec![NO_CLASS; point.len()],
            point,
            planar,
            view: [1.5, 0.0, 0.0, 0.0, 0.0],
            targets: Vec::new(),
        }
    }

    #[test]
    fn partners_and_motion_follow_the_poses() {
        let world: Vec<Vec3> = (0..4).map(|k| Vec3::new(k as f32, 2.0, 0.5)).collect();
        let shifted: Vec<Vec3> = world.iter().map(|p| *p + Vec3::X).collect();
        let motion = PlanarPose { shift: Vec2::new(0.5, 0.2), yaw: 0.3 };
        let clip = Clip {
            views: vec![view(PlanarPose::IDENTITY, &world), view(motion, &shifted)],
            questions: Vec::new(),
            objects: Vec::new(),
        };
        let batch = dense_batch(&[Arc::new(clip)], PairChoice::All, 4, None).unwrap();
        let partners: Vec<Vec<u32>> = batch.pairs.b_of_a.to_vec2().unwrap();
        // World point k of view a is point k - 1 of view b; the first is not seen there.
        assert_eq!(partners, [[4, 0, 1, 2]]);
        let shift: Vec<Vec<f32>> = batch.pairs.shift.to_vec2().unwrap();
        assert!((shift[0][0] - 0.5).abs() < 1e-6 && (shift[0][1] - 0.2).abs() < 1e-6);
    }

    #[test]
    fn a_mirrored_clip_keeps_its_partners() {
        let world: Vec<Vec3> =
            (0..16).map(|k| Vec3::new((k % 4) as f32, 1.0 + (k / 4) as f32, 0.5)).collect();
        let motion = PlanarPose { shift: Vec2::new(0.5, 0.2), yaw: 0.3 };
        let clip = Clip {
            views: vec![view(PlanarPose::IDENTITY, &world), view(motion, &world)],
            questions: Vec::new(),
            objects: Vec::new(),
        };
        let mirrored = mirrored_clip(&clip);
        let truth = PairTruth::of(&mirrored.views[0], &mirrored.views[1]);
        // Cell order is mirrored in both views alike, so cell k still is cell k.
        assert_eq!(truth.b_of_a, (0..16).collect::<Vec<u32>>());
        assert!((truth.motion.yaw + 0.3).abs() < 1e-6);
    }
}
