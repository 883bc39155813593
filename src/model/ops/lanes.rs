//! f32 arithmetic that the compiler turns into vector instructions: reductions
//! over independent lanes, and an exponential without branches or calls.

#![expect(clippy::inline_always, reason = "a call in the inner loops would stop vectorisation")]

const LANES: usize = 16;

/// a * b + c, in one instruction where the target has it.
#[inline(always)]
pub(super) fn fma(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) { a.mul_add(b, c) } else { a * b + c }
}

/// eˣ with a relative error below 3e-7; 0 below -87, where f32 loses its
/// normal numbers, and at most e⁸⁸.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// 1.5 · 2²³: adding it leaves the nearest integer in the low mantissa bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let bounded = x.clamp(-88.0, 88.0);
    let rounded = fma(bounded, std::f32::consts::LOG2_E, ROUND);
    let power = rounded - ROUND;
    let r = fma(power, -LN2_LOW, fma(power, -LN2_HIGH, bounded));
    // Taylor series; |r| ≤ ln 2 / 2, so the first term left out is below 2e-7.
    let p = fma(r, 1.0 / 720.0, 1.0 / 120.0);
    let p = fma(p, r, 1.0 / 24.0);
    let p = fma(p, r, 1.0 / 6.0);
    let p = fma(p, r, 0.5);
    let p = fma(p, r, 1.0);
    let p = fma(p, r, 1.0);
    let scale = f32::from_bits((rounded.to_bits() << 23).wrapping_add(0x3f80_0000));
    if x < -87.0 { 0.0 } else { p * scale }
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Error function with an absolute error below 5e-7 (Abramowitz and Stegun
/// 7.1.26); also gives e^(-x²).
#[inline(always)]
pub(super) fn erf(x: f32) -> (f32, f32) {
    let magnitude = x.abs();
    let t = 1.0 / fma(magnitude, 0.327_591_1, 1.0);
    let p = fma(t, 1.061_405_4, -1.453_152_1);
    let p = fma(p, t, 1.421_413_8);
    let p = fma(p, t, -0.284_496_72);
    let p = fma(p, t, 0.254_829_6);
    let gaussian = exp(-x * x);
    (fma(-p * t, gaussian, 1.0).copysign(x), gaussian)
}

#[inline(always)]
fn reduce(values: &[f32], start: f32, step: impl Fn(f32, f32) -> f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = step(*lane, value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = step(*lane, value);
    }
    lanes.into_iter().fold(start, join)
}

#[inline(always)]
pub(super) fn sum(values: &[f32]) -> f32 {
    reduce(values, 0.0, |a, b| a + b, |a, b| a + b)
}

/// Σ (v - centre)².
#[inline(always)]
pub(super) fn sum_squares(values: &[f32], centre: f32) -> f32 {
    reduce(values, 0.0, |a, b| fma(b - centre, b - centre, a), |a, b| a + b)
}

#[inline(always)]
pub(super) fn max(values: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    reduce(values, f32::NEG_INFINITY, greater, greater)
}

#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
            *lane = fma(a, b, *lane);
        }
    }
    lanes.into_iter().sum::<f32>() + rest.map(|(a, b)| a * b).sum::<f32>()
}

/// Replaces `row` by exp(row - max) and returns (max, sum).
#[inline(always)]
pub(super) fn exp_shifted(row: &mut [f32]) -> (f32, f32) {
    let shift = max(row);
    for value in row.iter_mut() {
        *value = exp(*value - shift);
    }
    (shift, sum(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_is_close_everywhere() {
        for step in -8_700..8_800 {
            let x = step as f32 * 0.01;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 3e-7, "{x}: {error}");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn error_function_hits_known_values() {
        for (x, expected) in
            [(0.0, 0.0), (0.25, 0.276_326_4), (1.0, 0.842_700_8), (-1.5, -0.966_105_1), (4.0, 1.0)]
        {
            assert!((erf(x).0 - expected).abs() < 5e-7, "{x}: {}", erf(x).0);
        }
    }

    #[test]
    fn reductions_take_ragged_lengths() {
        let values: Vec<f32> = (1..=37).map(|v| v as f32).collect();
        assert_eq!(sum(&values), 703.0);
        assert_eq!(dot(&values, &values), 17_575.0);
        assert_eq!(sum_squares(&values, 19.0), 4_218.0);
        assert_eq!(max(&values), 37.0);
        assert_eq!(max(&[]), f32::NEG_INFINITY);
    }
}
