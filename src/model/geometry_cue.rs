//! The geometry cue: the 3D point of every vision token, embedded and added to it. Not
//! part of Loc3R-VLM but what it is compared with (position embeddings of Video-3D-LLM,
//! arXiv 2412.00493, section 3.2).

use std::f32::consts::PI;

use candle_core::{Device, Result, Tensor};
use glam::Vec3;

use crate::scene::pooled_cell;

/// Wave lengths of the code, metres.
const WAVE_LENGTHS: [f32; 4] = [16.0, 8.0, 4.0, 2.0];

/// Numbers in the code of a point: whether it is known, its coordinates, sines and cosines.
pub const CUE_CODE: usize = 4 + 6 * WAVE_LENGTHS.len();

/// Codes of anchor-space points (metres), `shape` (B, F, n) to (B, F, n, [`CUE_CODE`]);
/// all zero where nothing is known.
pub fn cue_codes(points: &[Option<Vec3>], shape: (usize, usize, usize), device: &Device) -> Result<Tensor> {
    let codes: Vec<f32> = points.iter().flat_map(|point| point.map_or([0.0; CUE_CODE], code)).collect();
    Tensor::from_vec(codes, (shape.0, shape.1, shape.2, CUE_CODE), device)
}

fn code(point: Vec3) -> [f32; CUE_CODE] {
    let mut code = [0.0; CUE_CODE];
    code[0] = 1.0;
    code[1..4].copy_from_slice(&(point * 0.25).to_array());
    for (k, wave) in WAVE_LENGTHS.into_iter().enumerate() {
        for (axis, coordinate) in point.to_array().into_iter().enumerate() {
            let (sin, cos) = (2.0 * PI * coordinate / wave).sin_cos();
            code[4 + 6 * k + 2 * axis] = sin;
            code[5 + 6 * k + 2 * axis] = cos;
        }
    }
    code
}

/// Points with confidences of `frames` frames, a square grid each, averaged over the
/// cells of a smaller square grid of `side` x `side`, frame-major; confident points count
/// more. All `None` when there are none.
pub fn pooled_points(
    points: impl ExactSizeIterator<Item = (Vec3, f32)>,
    frames: usize,
    side: usize,
) -> Vec<Option<Vec3>> {
    let per_frame = (points.len() / frames.max(1)).max(1);
    let grid = per_frame.isqrt();
    let mut sums = vec![(Vec3::ZERO, 0.0); frames * side * side];
    for (index, (point, confidence)) in points.enumerate() {
        let (frame, cell) = (index / per_frame, index % per_frame);
        let token = frame * side * side + pooled_cell(cell, grid, side);
        let Some((sum, weight)) = sums.get_mut(token) else { continue };
        if point.is_finite() && confidence > 0.0 {
            *sum += point * confidence;
            *weight += confidence;
        }
    }
    sums.into_iter().map(|(sum, weight)| (weight > 0.0).then(|| sum / weight)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(x: f32, confidence: f32) -> (Vec3, f32) {
        (Vec3::new(x, 0.0, 0.0), confidence)
    }

    #[test]
    fn confident_points_pull_the_mean_of_their_cell() {
        // Two frames of 2 x 2 points become two frames of one token.
        let first = [point(1.0, 1.0), point(1.0, 1.0), point(4.0, 2.0), point(9.0, 0.0)];
        let second = [point(f32::NAN, 1.0), point(0.0, 0.0), point(0.0, 0.0), point(0.0, 0.0)];
        let pooled = pooled_points([first, second].concat().into_iter(), 2, 1);
        assert_eq!(pooled, [Some(Vec3::new(2.5, 0.0, 0.0)), None]);
        assert_eq!(pooled_points(std::iter::empty(), 2, 2), [None; 8]);
    }

    #[test]
    fn unknown_points_have_the_empty_code() {
        let points = [None, Some(Vec3::new(2.0, 1.0, -1.0))];
        let codes = cue_codes(&points, (1, 1, 2), &Device::Cpu).unwrap();
        let codes = codes.reshape((2, CUE_CODE)).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(codes[0], [0.0; CUE_CODE]);
        assert_eq!(codes[1][..4], [1.0, 0.5, 0.25, -0.25]);
        // A quarter of the wave of 8 m.
        assert!((codes[1][10] - 1.0).abs() < 1e-6, "{:?}", codes[1]);
    }
}
