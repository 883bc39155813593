//! Mean, whitening and limit of what a tower sees in generated rooms; see
//! [`crate::model::familiarity`].

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::TrainError;
use super::clip::{ClipMaker, ViewChoice};
use super::config::{DataConfig, TrainConfig};
use super::pipeline::TrainedModel;
use super::pixels::pixel_tensor;
use crate::model::familiarity::{FamiliarityConfig, frame_features};

/// Frames of a clip that are looked at.
const VIEWS: usize = 8;
/// Held-out clips that the limit comes from, behind those of the validation figures.
pub(super) const HELD_OUT: u64 = 60;
/// How far the limit lies above the strangest of them.
const MARGIN: f32 = 1.15;
/// Share of the mean variance added to every variance: directions that training frames
/// hardly vary in do not decide alone.
const SHRINKAGE: f64 = 0.01;

/// The configuration entry and the tensors `mean` (D) and `whitening` (D, D).
///
/// # Errors
/// When the tower fails.
pub fn fit(
    config: &TrainConfig,
    model: &TrainedModel,
) -> Result<(FamiliarityConfig, Tensor, Tensor), TrainError> {
    let width = model.config.vision.hidden_size;
    // As many clips as dimensions: enough frames for their covariance.
    let trained = frames_of(config, model, 1..1 + width as u64, true)?.concat();
    let mean = mean_of(&trained, width);
    let whitening = whitening(&covariance(&trained, &mean), width)?;
    let first = config.validation.first_seed + config.validation.clips;
    let held_out = frames_of(config, model, first..first + HELD_OUT, false)?;
    let distance = |frame: &Vec<f32>| {
        let away = away(frame, &mean);
        let squared: f64 = whitening.iter().map(|row| dot(row, &away).powi(2)).sum();
        (squared / width as f64).sqrt()
    };
    let strangest = held_out
        .iter()
        .map(|clip| clip.iter().map(distance).sum::<f64>() / clip.len().max(1) as f64)
        .fold(0.0, f64::max);
    let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect::<Vec<_>>();
    Ok((
        FamiliarityConfig { limit: MARGIN * strangest as f32 },
        Tensor::from_vec(narrow(mean), width, &Device::Cpu)?,
        Tensor::from_vec(narrow(whitening.concat()), (width, width), &Device::Cpu)?,
    ))
}

/// Frame features of clips of scene seeds.
fn frames_of(
    config: &TrainConfig,
    model: &TrainedModel,
    seeds: std::ops::Range<u64>,
    augment: bool,
) -> Result<Vec<Vec<Vec<f32>>>, TrainError> {
    let data = DataConfig { seconds: config.joint.seconds, ..config.data };
    let maker = ClipMaker::new(&model.config, data, ViewChoice::Spread { views: VIEWS });
    let side = model.config.vision.image_size;
    seeds
        .into_par_iter()
        .map(|seed| {
            let clip = maker.make(seed);
            let pictures: Vec<&[u8]> = clip.views.iter().map(|view| view.rgb.as_slice()).collect();
            let varied = (augment && config.data.augment).then_some(seed);
            let pixels = pixel_tensor(&pictures, side, varied, model.network.device())?;
            let features = model.network.vision.forward_in_chunks(&pixels)?;
            Ok(frame_features(&features)?.to_vec2::<f32>()?)
        })
        .collect()
}

fn mean_of(frames: &[Vec<f32>], width: usize) -> Vec<f64> {
    let mut mean = vec![0.0; width];
    for frame in frames {
        mean.iter_mut().zip(frame).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    for sum in &mut mean {
        *sum /= frames.len().max(1) as f64;
    }
    mean
}

fn away(frame: &[f32], mean: &[f64]) -> Vec<f64> {
    frame.iter().zip(mean).map(|(x, mean)| f64::from(*x) - mean).collect()
}

fn covariance(frames: &[Vec<f32>], mean: &[f64]) -> Vec<Vec<f64>> {
    let width = mean.len();
    let mut covariance = vec![vec![0.0; width]; width];
    for frame in frames {
        let away = away(frame, mean);
        for (row, a) in covariance.iter_mut().zip(&away) {
            row.iter_mut().zip(&away).for_each(|(sum, b)| *sum += a * b);
        }
    }
    covariance.iter_mut().flatten().for_each(|sum| *sum /= frames.len().max(1) as f64);
    let variance = (0..width).map(|k| covariance[k][k]).sum::<f64>() / width.max(1) as f64;
    for (k, row) in covariance.iter_mut().enumerate() {
        row[k] += SHRINKAGE * variance;
    }
    covariance
}

/// The inverse of the lower Cholesky factor of `covariance`.
fn whitening(covariance: &[Vec<f64>], width: usize) -> Result<Vec<Vec<f64>>, TrainError> {
    let mut lower = vec![vec![0.0; width]; width];
    for i in 0..width {
        for j in 0..=i {
            let rest = covariance[i][j] - dot(&lower[i][..j], &lower[j][..j]);
            if i != j {
                lower[i][j] = rest / lower[j][j];
            } else if rest > 0.0 {
                lower[i][i] = rest.sqrt();
            } else {
                return Err(TrainError::Data {
                    reason: "the vision tower gives the same features for all rooms".to_owned(),
                });
            }
        }
    }
    // Row by row: the inverse of a lower triangle is one, too.
    let mut inverse: Vec<Vec<f64>> = Vec::with_capacity(width);
    for (at, row) in lower.iter().enumerate() {
        let known = |column: usize| (column..at).map(|k| row[k] * inverse[k][column]).sum::<f64>();
        let unit = |column: usize| if column == at { 1.0 } else { 0.0 };
        let solved =
            (0..width).map(|column| if column > at { 0.0 } else { (unit(column) - known(column)) / row[at] });
        let solved = solved.collect();
        inverse.push(solved);
    }
    Ok(inverse)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitened_frames_have_unit_spread() {
        let frames: Vec<Vec<f32>> = (0..400)
            .map(|k| (k as f32 * 0.7).sin_cos())
            .map(|(a, b)| vec![3.0 * a + b, 0.5 * b + 2.0])
            .collect();
        let mean = mean_of(&frames, 2);
        let white = whitening(&covariance(&frames, &mean), 2).unwrap();
        let distances = frames.iter().map(|frame| {
            let away = away(frame, &mean);
            white.iter().map(|row| dot(row, &away).powi(2)).sum::<f64>() / 2.0
        });
        let spread = distances.sum::<f64>() / 400.0;
        assert!((0.85..=1.0).contains(&spread), "{spread}");
    }

    #[test]
    fn features_that_never_change_are_an_error() {
        let frames = vec![vec![1.0f32, 2.0]; 10];
        let message = whitening(&covariance(&frames, &mean_of(&frames, 2)), 2).unwrap_err().to_string();
        assert!(message.contains("same features"), "{message}");
    }
}
