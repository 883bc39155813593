//! A batch of the stages on single frames: pictures and their truth as tensors.
//!
//! Shapes: F frames, n cells a frame.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::TrainError;
use super::clip::{Clip, ClipView, NO_CLASS};
use super::feed::BatchSource;
use super::loss::IGNORED_LABEL;
use super::pixels::pixel_tensor;
use super::pool::ClipPool;

/// What one step trains on.
#[derive(Debug, Clone)]
pub struct DenseBatch {
    /// (F, 3, S, S) in [-1, 1].
    pub pixels: Tensor,
    /// Category class per cell, (F n) i64.
    pub category: Tensor,
    /// How much the category of a cell counts, (F n); see `cell_weights`.
    pub category_weight: Tensor,
    /// Colour class per cell, (F n) i64; [`IGNORED_LABEL`] where none applies.
    pub color: Tensor,
    /// Levelled points (F, n, 3), 0 where unknown.
    pub point: Tensor,
    /// 1 where the point is known, (F, n, 1).
    pub point_known: Tensor,
}

/// Builds batches from a pool of clips.
#[derive(Debug)]
pub struct DenseSource {
    /// Where clips come from.
    pub pool: ClipPool<Clip>,
    /// Side of the pictures.
    pub image_size: usize,
    /// Varies and mirrors the pictures when set.
    pub augment: Option<u64>,
    /// Where batches are wanted.
    pub device: Device,
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
        Ok(dense_batch(&clips, self.image_size, augment, &self.device)?)
    }
}

fn mirrored_clip(clip: &Clip) -> Clip {
    Clip { views: clip.views.iter().map(ClipView::mirrored).collect(), ..Clip::default() }
}

/// The batch of some clips, views of all clips one behind the other.
pub fn dense_batch(
    clips: &[Arc<Clip>],
    image_size: usize,
    augment: Option<u64>,
    device: &Device,
) -> candle_core::Result<DenseBatch> {
    let views: Vec<&ClipView> = clips.iter().flat_map(|clip| &clip.views).collect();
    let cells = views.first().map_or(0, |view| view.category.len());
    let frames = views.len();
    let pictures: Vec<&[u8]> = views.iter().map(|view| view.rgb.as_slice()).collect();
    let category: Vec<i64> = views.iter().flat_map(|view| &view.category).map(|&c| i64::from(c)).collect();
    let weights: Vec<f32> = views.iter().flat_map(|view| cell_weights(view)).collect();
    let color: Vec<i64> = views
        .iter()
        .flat_map(|view| &view.color)
        .map(|&c| if c == NO_CLASS { IGNORED_LABEL } else { i64::from(c) })
        .collect();
    let points = views.iter().flat_map(|view| &view.point);
    let known: Vec<f32> = points.clone().map(|p| f32::from(u8::from(p.is_finite()))).collect();
    let point: Vec<f32> = points.flat_map(|p| if p.is_finite() { p.to_array() } else { [0.0; 3] }).collect();
    Ok(DenseBatch {
        pixels: pixel_tensor(&pictures, image_size, augment, device)?,
        category: Tensor::from_vec(category, frames * cells, device)?,
        category_weight: Tensor::from_vec(weights, frames * cells, device)?,
        color: Tensor::from_vec(color, frames * cells, device)?,
        point: Tensor::from_vec(point, (frames, cells, 3), device)?,
        point_known: Tensor::from_vec(known, (frames, cells, 1), device)?,
    })
}

/// One over the root of the number of cells of the same thing in the view: walls and near
/// furniture fill most of a picture, and what people name are things, not cells.
fn cell_weights(view: &ClipView) -> Vec<f32> {
    let things = || view.object.iter().zip(&view.category);
    let mut counts: HashMap<(u16, u8), f32> = HashMap::new();
    for (&object, &category) in things() {
        *counts.entry((object, category)).or_default() += 1.0;
    }
    things().map(|(&object, &category)| 1.0 / counts[&(object, category)].sqrt()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::odometry::planar::PlanarPose;
    use crate::train::clip::NO_OBJECT;
    use glam::Vec3;

    #[test]
    fn unknown_points_and_colours_are_not_supervised() {
        let view = ClipView {
            rgb: vec![100; 3 * 16],
            category: vec![1, 5],
            color: vec![NO_CLASS, 3],
            object: vec![NO_OBJECT, 0],
            point: vec![Vec3::NAN, Vec3::new(0.5, 2.0, 1.0)],
            planar: PlanarPose::IDENTITY,
            view: [1.5, 0.0, 0.0, 0.0, 0.0],
            token_points: Vec::new(),
        };
        let clip = Clip { views: vec![view.clone(), view], ..Clip::default() };
        let batch = dense_batch(&[Arc::new(clip)], 4, None, &Device::Cpu).unwrap();
        assert_eq!(batch.pixels.dims(), [2, 3, 4, 4]);
        assert_eq!(batch.category.to_vec1::<i64>().unwrap(), [1, 5, 1, 5]);
        assert_eq!(batch.color.to_vec1::<i64>().unwrap(), [IGNORED_LABEL, 3, IGNORED_LABEL, 3]);
        let known: Vec<f32> = batch.point_known.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(known, [0.0, 1.0, 0.0, 1.0]);
        let points: Vec<f32> = batch.point.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(points[..6], [0.0, 0.0, 0.0, 0.5, 2.0, 1.0]);
    }

    #[test]
    fn a_thing_counts_by_the_root_of_its_size() {
        let view = ClipView {
            rgb: Vec::new(),
            category: vec![1, 1, 1, 1, 5, 6],
            color: vec![NO_CLASS; 6],
            object: vec![NO_OBJECT, NO_OBJECT, NO_OBJECT, NO_OBJECT, 0, 1],
            point: Vec::new(),
            planar: PlanarPose::IDENTITY,
            view: [0.0; 5],
            token_points: Vec::new(),
        };
        assert_eq!(cell_weights(&view), [0.5, 0.5, 0.5, 0.5, 1.0, 1.0]);
    }
}
