//! The twelve colour names of generated objects and what they look like.

use glam::Vec3;
use rand::Rng;

/// Colour names; the index is the colour's class id.
pub const COLORS: &[&str] = &[
    "black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "beige",
];

/// sRGB of [`COLORS`]: muted interior tones rather than primaries.
const SRGB: [[u8; 3]; 12] = [
    [38, 38, 42],
    [236, 234, 228],
    [134, 137, 140],
    [178, 52, 46],
    [217, 121, 44],
    [229, 187, 66],
    [82, 128, 84],
    [52, 92, 148],
    [112, 78, 138],
    [221, 148, 162],
    [112, 74, 48],
    [212, 190, 156],
];

/// Class id of a colour name.
pub fn color_index(name: &str) -> Option<usize> {
    COLORS.iter().position(|color| *color == name)
}

/// Linear RGB of a colour name; mid grey for a name that is not in [`COLORS`].
pub fn color_linear(name: &str) -> Vec3 {
    let [r, g, b] = color_index(name).map_or([134, 134, 134], |index| SRGB[index]);
    linear_from_srgb(r, g, b)
}

/// Linear RGB of 8-bit sRGB.
pub(super) fn linear_from_srgb(r: u8, g: u8, b: u8) -> Vec3 {
    let linear = |c: u8| (f32::from(c) / 255.0).powf(2.2);
    Vec3::new(linear(r), linear(g), linear(b))
}

/// The colour `name`, varied a little in lightness and warmth.
pub(super) fn varied(name: &str, rng: &mut impl Rng) -> Vec3 {
    let lightness = rng.random_range(0.86..1.12);
    let warmth = rng.random_range(-0.05..0.05f32);
    let tint = Vec3::new(1.0 + warmth, 1.0, 1.0 - warmth);
    (color_linear(name) * lightness * tint).min(Vec3::splat(0.86))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_told_apart() {
        assert_eq!(COLORS.len(), SRGB.len());
        for (i, a) in COLORS.iter().enumerate() {
            assert_eq!(color_index(a), Some(i));
            for b in &COLORS[i + 1..] {
                let gap = color_linear(a).powf(1.0 / 2.2).distance(color_linear(b).powf(1.0 / 2.2));
                assert!(gap > 0.1, "{a} and {b} are {gap} apart");
            }
        }
    }
}
