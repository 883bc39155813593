//! What generated scenes are furnished with: categories, real-world sizes, usual colours.

use glam::Vec3;
use rand::Rng;

use crate::scene::Category;

/// Category names; the index is the category's class id.
pub const CATEGORIES: &[&str] = &[
    "sofa",
    "armchair",
    "bed",
    "desk",
    "table",
    "coffee table",
    "chair",
    "office chair",
    "stool",
    "bench",
    "ottoman",
    "lamp",
    "floor lamp",
    "ceiling lamp",
    "plant",
    "vase",
    "tv",
    "tv stand",
    "monitor",
    "laptop",
    "fridge",
    "stove",
    "microwave",
    "sink",
    "bathtub",
    "toilet",
    "washing machine",
    "towel",
    "wardrobe",
    "dresser",
    "cabinet",
    "bookshelf",
    "shelf",
    "nightstand",
    "rug",
    "picture",
    "curtain",
    "mirror",
    "clock",
    "whiteboard",
    "radiator",
    "bin",
    "pillow",
    "box",
    "backpack",
    "door",
    "doorway",
    "window",
];

/// Class id of a category; `None` for one the generator does not know.
pub fn category_index(category: &Category) -> Option<usize> {
    CATEGORIES.iter().position(|name| *name == category.as_str())
}

/// Smallest and largest depth (x), width (y), height (z) in metres and usual colours.
type Entry = ([f32; 2], [f32; 2], [f32; 2], &'static [&'static str]);

const CLOTH: &[&str] = &[
    "grey", "blue", "green", "beige", "red", "brown", "black", "yellow", "orange", "purple", "pink", "white",
];
const TIMBER: &[&str] = &["brown", "beige", "white", "black", "grey"];
const BRIGHT: &[&str] =
    &["red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black", "grey"];
const ENAMEL: &[&str] = &["white", "white", "white", "beige", "grey"];
const APPLIANCE: &[&str] = &["white", "grey", "black", "red", "white"];

#[expect(clippy::too_many_lines, reason = "a table: one line for each category")]
fn entry(category: &str) -> Option<Entry> {
    Some(match category {
        "sofa" => ([0.82, 0.98], [1.5, 2.4], [0.74, 0.88], CLOTH),
        "armchair" => ([0.74, 0.92], [0.74, 0.95], [0.76, 0.98], CLOTH),
        "bed" => ([1.98, 2.14], [0.95, 1.8], [0.82, 1.08], CLOTH),
        "desk" => ([0.6, 0.8], [1.1, 1.7], [0.71, 0.76], TIMBER),
        "table" => ([0.78, 1.0], [1.1, 1.9], [0.72, 0.77], TIMBER),
        "coffee table" => ([0.5, 0.7], [0.8, 1.2], [0.36, 0.46], TIMBER),
        "chair" => (
            [0.45, 0.54],
            [0.42, 0.5],
            [0.8, 0.98],
            &["brown", "beige", "white", "black", "red", "blue", "green", "yellow"],
        ),
        "office chair" => {
            ([0.58, 0.66], [0.58, 0.66], [0.95, 1.18], &["black", "grey", "blue", "red", "green", "orange"])
        }
        "stool" => (
            [0.34, 0.42],
            [0.34, 0.42],
            [0.44, 0.68],
            &["brown", "white", "black", "red", "yellow", "blue", "beige"],
        ),
        "bench" => ([0.36, 0.45], [0.95, 1.4], [0.43, 0.47], TIMBER),
        "ottoman" => ([0.46, 0.62], [0.46, 0.62], [0.38, 0.45], CLOTH),
        "lamp" => (
            [0.24, 0.34],
            [0.24, 0.34],
            [0.38, 0.56],
            &["white", "beige", "yellow", "red", "blue", "green", "black"],
        ),
        "floor lamp" => (
            [0.34, 0.46],
            [0.34, 0.46],
            [1.4, 1.72],
            &["white", "beige", "black", "yellow", "orange", "grey"],
        ),
        "ceiling lamp" => {
            ([0.38, 0.58], [0.38, 0.58], [0.28, 0.5], &["white", "beige", "black", "orange", "yellow"])
        }
        "plant" => ([0.4, 0.7], [0.4, 0.7], [0.6, 1.5], &["green"]),
        "vase" => ([0.14, 0.2], [0.14, 0.2], [0.24, 0.4], BRIGHT),
        "tv" => ([0.16, 0.22], [0.9, 1.45], [0.58, 0.86], &["black"]),
        "tv stand" => ([0.38, 0.46], [1.2, 1.9], [0.4, 0.54], TIMBER),
        "monitor" => ([0.17, 0.22], [0.5, 0.68], [0.4, 0.5], &["black", "grey", "white"]),
        "laptop" => ([0.24, 0.28], [0.32, 0.38], [0.21, 0.25], &["grey", "black", "white"]),
        "fridge" => ([0.6, 0.7], [0.58, 0.74], [1.5, 1.95], APPLIANCE),
        "stove" => ([0.58, 0.65], [0.55, 0.62], [0.86, 0.92], APPLIANCE),
        "microwave" => ([0.34, 0.4], [0.45, 0.52], [0.27, 0.31], &["white", "black", "grey", "red"]),
        "sink" => ([0.45, 0.58], [0.55, 0.9], [0.98, 1.1], ENAMEL),
        "bathtub" => ([0.7, 0.8], [1.5, 1.72], [0.52, 0.6], ENAMEL),
        "toilet" => ([0.64, 0.72], [0.36, 0.42], [0.76, 0.86], ENAMEL),
        "washing machine" => ([0.56, 0.62], [0.58, 0.62], [0.84, 0.88], &["white", "white", "grey"]),
        "towel" => ([0.06, 0.08], [0.4, 0.6], [0.6, 0.9], CLOTH),
        "wardrobe" => ([0.55, 0.64], [1.0, 1.9], [1.85, 2.15], TIMBER),
        "dresser" => ([0.44, 0.5], [0.8, 1.35], [0.74, 0.98], TIMBER),
        "cabinet" => (
            [0.4, 0.58],
            [0.6, 1.2],
            [0.82, 1.2],
            &["brown", "beige", "white", "black", "grey", "green", "blue"],
        ),
        "bookshelf" => ([0.28, 0.35], [0.7, 1.25], [1.5, 2.05], TIMBER),
        "shelf" => ([0.2, 0.27], [0.6, 1.1], [0.26, 0.4], TIMBER),
        "nightstand" => ([0.38, 0.44], [0.4, 0.5], [0.45, 0.58], TIMBER),
        "rug" => (
            [1.3, 2.0],
            [1.7, 2.8],
            [0.014, 0.018],
            &[
                "red", "blue", "grey", "beige", "green", "orange", "purple", "pink", "yellow", "black",
                "white",
            ],
        ),
        "picture" => ([0.03, 0.04], [0.42, 1.0], [0.4, 0.8], &["black", "brown", "white"]),
        "curtain" => ([0.1, 0.13], [0.32, 0.46], [2.05, 2.15], CLOTH),
        "mirror" => ([0.03, 0.04], [0.5, 0.9], [0.7, 1.3], &["black", "brown", "white", "grey"]),
        "clock" => ([0.04, 0.05], [0.28, 0.38], [0.28, 0.38], &["black", "white", "red", "brown", "blue"]),
        "whiteboard" => ([0.03, 0.05], [1.2, 1.9], [0.9, 1.1], &["white"]),
        "radiator" => ([0.1, 0.13], [0.6, 1.3], [0.52, 0.64], &["white"]),
        "bin" => ([0.25, 0.34], [0.25, 0.34], [0.32, 0.5], BRIGHT),
        "pillow" => ([0.36, 0.44], [0.46, 0.6], [0.13, 0.17], CLOTH),
        "box" => ([0.3, 0.48], [0.34, 0.58], [0.26, 0.44], &["brown", "beige", "white", "blue"]),
        "backpack" => ([0.22, 0.28], [0.3, 0.36], [0.42, 0.5], BRIGHT),
        "door" => {
            ([0.1, 0.12], [0.86, 0.98], [2.02, 2.12], &["white", "brown", "beige", "grey", "green", "blue"])
        }
        "doorway" => ([0.16, 0.18], [0.92, 1.1], [2.05, 2.15], &["white", "brown", "beige"]),
        "window" => ([0.12, 0.14], [0.9, 1.9], [1.1, 1.4], &["white", "white", "brown", "black"]),
        _ => return None,
    })
}

/// A size (depth, width, height; metres) drawn from the range of `category`;
/// half a metre each way for a category that is not in [`CATEGORIES`].
pub(super) fn draw_size(category: &str, rng: &mut impl Rng) -> Vec3 {
    let Some((x, y, z, _)) = entry(category) else { return Vec3::splat(0.5) };
    let mut draw = |range: [f32; 2]| rng.random_range(range[0]..=range[1]);
    let size = Vec3::new(draw(x), draw(y), draw(z));
    match category {
        // Round things are as deep as they are wide.
        "stool" | "office chair" | "lamp" | "floor lamp" | "ceiling lamp" | "plant" | "vase" | "bin" => {
            Vec3::new(size.x, size.x, size.z)
        }
        "clock" => Vec3::new(size.x, size.y, size.y),
        _ => size,
    }
}

/// A usual colour of `category`.
pub(super) fn draw_color(category: &str, rng: &mut impl Rng) -> &'static str {
    let colors = entry(category).map_or(CLOTH, |(_, _, _, colors)| colors);
    colors[rng.random_range(0..colors.len())]
}

/// Whether people and cameras pass over or under it: nothing to bump into.
pub(super) fn is_passable(category: &str) -> bool {
    matches!(category, "rug" | "ceiling lamp" | "doorway")
}

/// Whether it is part of the building and cuts an opening into the wall it stands in.
pub(super) fn is_opening(category: &str) -> bool {
    matches!(category, "door" | "doorway" | "window")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::palette::color_index;
    use crate::synth::seeding::{Purpose, stream};

    #[test]
    fn every_category_has_sizes_and_known_colours() {
        let mut rng = stream(1, Purpose::Furnish);
        for name in CATEGORIES {
            let (.., colors) = entry(name).unwrap();
            assert!(colors.iter().all(|color| color_index(color).is_some()), "{name}");
            assert!(draw_size(name, &mut rng).min_element() > 0.01, "{name}");
            assert_eq!(CATEGORIES.iter().filter(|other| *other == name).count(), 1);
        }
        assert!(CATEGORIES.len() >= 30);
        assert_eq!(category_index(&Category::new("Bed")), Some(2));
        assert_eq!(category_index(&Category::new("spaceship")), None);
    }
}
