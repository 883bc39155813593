//! Pictures to network input, varied in light, sharpness and noise for training.

use candle_core::{Device, Result, Tensor};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// (F, 3, S, S) in [-1, 1] from row-major RGB pictures of side `side`. With a seed,
/// every picture is varied in its own way.
pub fn pixel_tensor(
    pictures: &[&[u8]],
    side: usize,
    augment: Option<u64>,
    device: &Device,
) -> Result<Tensor> {
    let planes: Vec<Vec<f32>> = pictures
        .par_iter()
        .enumerate()
        .map(|(k, rgb)| {
            let mut planes = planes_of(rgb, side);
            if let Some(seed) = augment {
                vary(&mut planes, side, &mut ChaCha8Rng::seed_from_u64(seed.wrapping_add(k as u64)));
            }
            planes
        })
        .collect();
    Tensor::from_vec(planes.concat(), (pictures.len(), 3, side, side), device)
}

/// Interleaved bytes to planes in [-1, 1].
fn planes_of(rgb: &[u8], side: usize) -> Vec<f32> {
    let pixels = side * side;
    let mut planes = vec![0.0; 3 * pixels];
    for (pixel, color) in rgb.chunks_exact(3).enumerate() {
        for (channel, value) in color.iter().enumerate() {
            planes[channel * pixels + pixel] = f32::from(*value) / 127.5 - 1.0;
        }
    }
    planes
}

fn vary(planes: &mut [f32], side: usize, rng: &mut ChaCha8Rng) {
    let pixels = side * side;
    if rng.random_bool(0.6) {
        let strength = rng.random_range(0.2..1.0);
        for plane in planes.chunks_exact_mut(pixels) {
            soften(plane, side, strength);
        }
    }
    let contrast = rng.random_range(0.85..1.15);
    let brightness = rng.random_range(-0.12..0.12f32);
    let noise = if rng.random_bool(0.5) { rng.random_range(0.0..0.05f32) } else { 0.0 };
    for plane in planes.chunks_exact_mut(pixels) {
        let gain = contrast * rng.random_range(0.95..1.05f32);
        for value in plane.iter_mut() {
            let grain =
                if noise > 0.0 { noise * (rng.random::<f32>() + rng.random::<f32>() - 1.0) } else { 0.0 };
            *value = (*value * gain + brightness + grain).clamp(-1.0, 1.0);
        }
    }
}

/// Blends every pixel with the (1, 2, 1) x (1, 2, 1) mean around it.
fn soften(plane: &mut [f32], side: usize, strength: f32) {
    let mut across = plane.to_vec();
    for v in 0..side {
        for u in 0..side {
            let row = v * side;
            let (left, right) = (plane[row + u.saturating_sub(1)], plane[row + (u + 1).min(side - 1)]);
            across[row + u] = 0.25 * left + 0.5 * plane[row + u] + 0.25 * right;
        }
    }
    for v in 0..side {
        for u in 0..side {
            let (above, below) =
                (across[v.saturating_sub(1) * side + u], across[(v + 1).min(side - 1) * side + u]);
            let mean = 0.25 * above + 0.5 * across[v * side + u] + 0.25 * below;
            plane[v * side + u] += strength * (mean - plane[v * side + u]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_in_range_and_variation_follows_the_seed() {
        let side = 8;
        let rgb: Vec<u8> = (0..side * side * 3).map(|k| (k % 251) as u8).collect();
        let make = |seed| -> Vec<f32> {
            let tensor = pixel_tensor(&[&rgb, &rgb], side, seed, &Device::Cpu).unwrap();
            assert_eq!(tensor.dims(), [2, 3, side, side]);
            tensor.flatten_all().unwrap().to_vec1().unwrap()
        };
        let plain = make(None);
        assert!((plain[0] + 1.0).abs() < 1e-6);
        assert!((plain[side * side] - (1.0 / 127.5 - 1.0)).abs() < 1e-6);
        assert_eq!(make(Some(1)), make(Some(1)));
        assert_ne!(make(Some(1)), make(Some(2)));
        assert!(make(Some(1)).iter().all(|value| (-1.0..=1.0).contains(value)));
    }
}
