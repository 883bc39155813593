//! From video frames to what the towers see: Pillow's 8-bit resize, bit for bit, and
//! normalisation to [-1, 1].
//!
//! Pillow resizes in two passes with coefficients of 22 fractional bits; each pass
//! rounds to 8 bits, so their order shows: columns come first, unless the height
//! shrinks by more than twice as many pixels as the width (since Pillow 13).
//! Shrinking widens the filter (antialiasing).
//! Images are row-major RGB bytes (height, width, 3).

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

use super::config::FrameFit;
use super::projector::bilinear_matrix;
use crate::geometry::ImageSize;

/// Fractional bits of Pillow's coefficients.
const PRECISION_BITS: u32 = 22;

/// Resampling kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Cubic convolution with a = -0.5, support 2.
    Bicubic,
    /// Windowed sinc, support 3.
    Lanczos,
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Bicubic => bicubic(x.abs()),
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
        }
    }
}

fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * std::f64::consts::PI).sin() / (x * std::f64::consts::PI) }
}

/// Weights of one output sample: inputs `first..first + weights.len()`.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// The taps of one axis, as Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc`.
fn taps(filter: Filter, inputs: usize, outputs: usize) -> Vec<Taps> {
    let scale = inputs as f64 / outputs as f64;
    let filter_scale = scale.max(1.0);
    // Multiplied, as Pillow does: dividing rounds differently.
    let inverse_scale = 1.0 / filter_scale;
    let support = filter.support() * filter_scale;
    (0..outputs)
        .map(|output| {
            let center = (output as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(inputs);
            let weights: Vec<f64> = (first..end)
                .map(|input| filter.weight((input as f64 - center + 0.5) * inverse_scale))
                .collect();
            let sum: f64 = weights.iter().sum();
            let fixed = |weight: f64| {
                let scaled = if sum == 0.0 { weight } else { weight / sum } * f64::from(1 << PRECISION_BITS);
                (scaled + 0.5f64.copysign(scaled)) as i32
            };
            Taps { first, weights: weights.into_iter().map(fixed).collect() }
        })
        .collect()
}

/// Sums in fixed point and rounds to 8 bits.
fn convolve(taps: &Taps, sample: impl Fn(usize) -> u8) -> u8 {
    let start = 1i32 << (PRECISION_BITS - 1);
    let sum = taps.weights.iter().enumerate().fold(start, |sum, (k, weight)| {
        sum.wrapping_add(weight.wrapping_mul(i32::from(sample(taps.first + k))))
    });
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Resizes an image; equal to `PIL.Image.resize` of Pillow 13 with the same filter.
pub fn resize(rgb: &[u8], from: ImageSize, to: ImageSize, filter: Filter) -> Vec<u8> {
    let (from_width, from_height) = (from.width as usize, from.height as usize);
    let (to_width, to_height) = (to.width as usize, to.height as usize);
    let columns = |rgb: Vec<u8>| {
        if from_width == to_width { rgb } else { resize_columns(&rgb, from_width, to_width, filter) }
    };
    let rows = |rgb: Vec<u8>, width: usize| {
        if from_height == to_height { rgb } else { resize_rows(&rgb, width, from_height, to_height, filter) }
    };
    let lost_rows = i64::from(from.height) - i64::from(to.height);
    let lost_columns = i64::from(from.width) - i64::from(to.width);
    if lost_rows > 0 && lost_rows > 2 * lost_columns {
        columns(rows(rgb.to_vec(), from_width))
    } else {
        rows(columns(rgb.to_vec()), to_width)
    }
}

fn resize_rows(rgb: &[u8], width: usize, from: usize, to: usize, filter: Filter) -> Vec<u8> {
    let row_len = 3 * width;
    taps(filter, from, to)
        .iter()
        .flat_map(|taps| (0..row_len).map(move |at| convolve(taps, |row| rgb[row * row_len + at])))
        .collect()
}

fn resize_columns(rgb: &[u8], from: usize, to: usize, filter: Filter) -> Vec<u8> {
    let taps = taps(filter, from, to);
    rgb.chunks_exact(3 * from)
        .flat_map(|row| {
            taps.iter().flat_map(move |taps| {
                (0..3).map(move |channel| convolve(taps, |column| row[3 * column + channel]))
            })
        })
        .collect()
}

/// The rectangle of `size` whose top left corner is (`left`, `top`).
fn crop(rgb: &[u8], from: ImageSize, left: u32, top: u32, size: ImageSize) -> Vec<u8> {
    let (row_len, start, len) = (3 * from.width as usize, 3 * left as usize, 3 * size.width as usize);
    rgb.chunks_exact(row_len)
        .skip(top as usize)
        .take(size.height as usize)
        .flat_map(|row| row[start..start + len].iter().copied())
        .collect()
}

/// A square image of `side` pixels for the vision tower.
pub fn square(rgb: &[u8], size: ImageSize, side: u32, fit: FrameFit) -> Vec<u8> {
    let target = ImageSize::new(side, side);
    match fit {
        FrameFit::Squash => resize(rgb, size, target, Filter::Bicubic),
        FrameFit::Crop => {
            let edge = size.width.min(size.height);
            let cut = ImageSize::new(edge, edge);
            let cropped = crop(rgb, size, (size.width - edge) / 2, (size.height - edge) / 2, cut);
            resize(&cropped, cut, target, Filter::Bicubic)
        }
    }
}

/// Squares of all images at once; see [`square`].
pub fn squares(images: &[(&[u8], ImageSize)], side: u32, fit: FrameFit) -> Vec<Vec<u8>> {
    images.par_iter().map(|(rgb, size)| square(rgb, *size, side, fit)).collect()
}

/// Image of CUT3R's own demo: long side 512, centre crop to multiples of 16, 4:3 for
/// square images unless `square_ok`; with `side` 224 a centred square of the short side.
/// Gives the bytes and their size.
pub fn cut3r_view(rgb: &[u8], size: ImageSize, side: u32, square_ok: bool) -> (Vec<u8>, ImageSize) {
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    let long = f64::from(size.width.max(size.height));
    let target = match side {
        224 => (224.0 * (width / height).max(height / width)).round_ties_even(),
        other => f64::from(other),
    };
    let filter = if long > target { Filter::Lanczos } else { Filter::Bicubic };
    let scaled = |extent: f64| (extent * target / long).round_ties_even().max(1.0) as u32;
    let resized_size = ImageSize::new(scaled(width), scaled(height));
    let resized = resize(rgb, size, resized_size, filter);
    let (center_x, center_y) = (resized_size.width / 2, resized_size.height / 2);
    let (half_width, half_height) = if side == 224 {
        let half = center_x.min(center_y);
        (half, half)
    } else {
        let (half_width, half_height) = (2 * center_x / 16 * 8, 2 * center_y / 16 * 8);
        let wide = resized_size.width == resized_size.height && !square_ok;
        (half_width, if wide { 3 * half_width / 4 } else { half_height })
    };
    let cut = ImageSize::new(2 * half_width, 2 * half_height);
    (crop(&resized, resized_size, center_x - half_width, center_y - half_height, cut), cut)
}

/// Value of an 8-bit level after rescaling and normalisation: [-1, 1].
pub fn level(byte: u8) -> f32 {
    ((f64::from(byte) * (1.0 / 255.0)) as f32 - 0.5) / 0.5
}

/// Images of one size to (F, 3, H, W) in [-1, 1].
pub fn pixels(images: &[impl AsRef<[u8]>], size: ImageSize, dtype: DType, device: &Device) -> Result<Tensor> {
    let (height, width) = (size.height as usize, size.width as usize);
    let values: Vec<f32> =
        images.iter().flat_map(|image| image.as_ref().iter().map(|&byte| level(byte))).collect();
    Tensor::from_vec(values, (images.len(), height, width, 3), device)?
        .permute((0, 3, 1, 2))?
        .contiguous()?
        .to_dtype(dtype)
}

/// Linear resampling of (F, C, H, W) floats without antialiasing, half-pixel centres:
/// how VLM-3R brings SigLIP's input to CUT3R's size. Differentiable.
pub fn interpolate(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (_, _, from_height, from_width) = x.dims4()?;
    let matrix = |inputs: usize, outputs: usize| {
        let values: Vec<f32> = bilinear_matrix(inputs, outputs).into_iter().flatten().collect();
        Tensor::from_vec(values, (outputs, inputs), x.device())?.to_dtype(x.dtype())
    };
    let (rows, columns) = (matrix(from_height, height)?, matrix(from_width, width)?);
    rows.broadcast_matmul(&x.broadcast_matmul(&columns.t()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_surface_stays_even_at_any_size() {
        let size = ImageSize::new(13, 7);
        let rgb = [10u8, 200, 255].repeat(size.pixels());
        for (width, height) in [(1, 1), (13, 7), (40, 3), (128, 128)] {
            for filter in [Filter::Bicubic, Filter::Lanczos] {
                let out = resize(&rgb, size, ImageSize::new(width, height), filter);
                assert_eq!(out, [10u8, 200, 255].repeat((width * height) as usize));
            }
        }
    }

    #[test]
    fn cropping_keeps_the_centre_square() {
        // Three columns: red, green, blue.
        let rgb = [255u8, 0, 0, 0, 255, 0, 0, 0, 255];
        let out = square(&rgb, ImageSize::new(3, 1), 1, FrameFit::Crop);
        assert_eq!(out, [0, 255, 0]);
    }

    #[test]
    fn levels_span_minus_one_to_one() {
        assert!((level(0) + 1.0).abs() < 1e-7 && (level(255) - 1.0).abs() < 1e-6);
    }
}
