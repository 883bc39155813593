//! Headings on the floor plane, in radians.

use std::f32::consts::{PI, TAU};

use glam::Vec2;
use serde::{Deserialize, Serialize};

/// Number of bins of the orientation head (10° each).
pub const ORIENTATION_BINS: usize = 36;

/// Maps an angle in radians to [-π, π).
pub fn wrap_angle(radians: f32) -> f32 {
    let wrapped = (radians + PI).rem_euclid(TAU) - PI;
    // `rem_euclid` may round up to the modulus itself.
    if wrapped >= PI { wrapped - TAU } else { wrapped }
}

/// A heading on the floor plane: radians in [-π, π), counter-clockwise from +x.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Orientation(f32);

impl Orientation {
    /// Where the first camera of a clip looks: along +y of the bev space.
    pub const FORWARD: Self = Self(std::f32::consts::FRAC_PI_2);

    /// Wraps `radians` into [-π, π).
    pub fn from_radians(radians: f32) -> Self {
        Self(wrap_angle(radians))
    }

    /// Wraps `degrees` into [-180, 180).
    pub fn from_degrees(degrees: f32) -> Self {
        Self::from_radians(degrees.to_radians())
    }

    /// The heading of a direction on the floor plane; `None` for a zero vector.
    pub fn from_direction(direction: Vec2) -> Option<Self> {
        direction.try_normalize().map(|unit| Self::from_radians(unit.y.atan2(unit.x)))
    }

    /// Radians in [-π, π).
    pub fn radians(self) -> f32 {
        self.0
    }

    /// Degrees in [-180, 180).
    pub fn degrees(self) -> f32 {
        self.0.to_degrees()
    }

    /// Unit vector along the heading.
    pub fn direction(self) -> Vec2 {
        Vec2::from_angle(self.0)
    }

    /// Turned counter-clockwise (to the left) by `radians`.
    #[must_use]
    pub fn turned(self, radians: f32) -> Self {
        Self::from_radians(self.0 + radians)
    }

    /// Unsigned difference to `other`, in [0, π].
    pub fn distance(self, other: Self) -> f32 {
        wrap_angle(self.0 - other.0).abs()
    }
}

/// Probabilities of the orientation head over [`ORIENTATION_BINS`] equal bins;
/// bin b is centred at -π + (b + ½)·10° (Loc3R-VLM, orientation head).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrientationHistogram(pub Vec<f32>);

impl OrientationHistogram {
    /// Centre of bin `bin` of `bins`, in radians.
    pub fn bin_center(bin: usize, bins: usize) -> f32 {
        -PI + (bin as f32 + 0.5) * TAU / bins as f32
    }

    /// Circular mean of the distribution and its resultant length in [0, 1]
    /// (the concentration: 1 is certain, 0 uniform).
    pub fn circular_mean(&self) -> (Orientation, f32) {
        let bins = self.0.len();
        let resultant: Vec2 =
            (0..bins).map(|bin| self.0[bin] * Vec2::from_angle(Self::bin_center(bin, bins))).sum();
        let mean = Orientation::from_direction(resultant).unwrap_or(Orientation::FORWARD);
        (mean, resultant.length().min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wraps_to_a_half_open_interval() {
        assert!((wrap_angle(PI) + PI).abs() < 1e-6);
        assert!((wrap_angle(-PI) + PI).abs() < 1e-6);
        assert!((wrap_angle(3.5 * PI) + 0.5 * PI).abs() < 1e-5);
    }

    #[test]
    fn one_hot_histogram_decodes_to_its_bin_center() {
        let mut probabilities = vec![0.0; ORIENTATION_BINS];
        probabilities[30] = 1.0;
        let (mean, concentration) = OrientationHistogram(probabilities).circular_mean();
        assert!((mean.degrees() - 125.0).abs() < 1e-3);
        assert!((concentration - 1.0).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn wrapping_keeps_the_direction(radians in -50.0f32..50.0) {
            let wrapped = wrap_angle(radians);
            prop_assert!((-PI..PI).contains(&wrapped));
            prop_assert!((wrapped.cos() - radians.cos()).abs() < 1e-4);
            prop_assert!((wrapped.sin() - radians.sin()).abs() < 1e-4);
        }

        #[test]
        fn distance_is_symmetric_and_bounded(a in -9.0f32..9.0, b in -9.0f32..9.0) {
            let (a, b) = (Orientation::from_radians(a), Orientation::from_radians(b));
            prop_assert!((a.distance(b) - b.distance(a)).abs() < 1e-5);
            prop_assert!(a.distance(b) <= PI + 1e-5);
        }
    }
}
