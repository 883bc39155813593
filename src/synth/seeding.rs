//! Random streams: every consumer draws from its own generator, made from the
//! seed and a constant naming its purpose, so that changing one part of the
//! generator leaves the draws of the others as they were.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// What a random stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Rooms, doors, windows.
    FloorPlan = 0x51,
    /// Choice and placement of objects.
    Furnish = 0x52,
    /// Floor, wall and light appearance.
    Appearance = 0x53,
    /// The camera walk.
    Walk = 0x54,
    /// Details of one object (its style number is the seed).
    Style = 0x55,
    /// Whether the two sides of rooms look alike.
    Symmetry = 0x56,
    /// Sample questions of an exported clip.
    Questions = 0x57,
}

/// The generator for `purpose` under `seed`.
pub(super) fn stream(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed ^ (purpose as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// A well-mixed 32 bit hash of three lattice coordinates and a seed.
pub(super) fn lattice_hash(x: i32, y: i32, z: i32, seed: u32) -> u32 {
    let mut h = seed ^ 0x9e37_79b9;
    for c in [x, y, z] {
        h = (h ^ c as u32).wrapping_mul(0x85eb_ca6b);
        h ^= h >> 15;
    }
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

/// [`lattice_hash`] as a number in [0, 1).
pub(super) fn lattice_unit(x: i32, y: i32, z: i32, seed: u32) -> f32 {
    (lattice_hash(x, y, z, seed) >> 8) as f32 / 16_777_216.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng as _;

    #[test]
    fn streams_differ_by_purpose_and_repeat_by_seed() {
        let draw = |seed, purpose| stream(seed, purpose).random::<u64>();
        assert_eq!(draw(3, Purpose::Walk), draw(3, Purpose::Walk));
        assert_ne!(draw(3, Purpose::Walk), draw(3, Purpose::Furnish));
        assert_ne!(draw(3, Purpose::Walk), draw(4, Purpose::Walk));
    }

    #[test]
    fn lattice_numbers_are_spread_evenly() {
        let mean = (0..10_000).map(|i| lattice_unit(i % 100, i / 100, 7, 1)).sum::<f32>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }
}
