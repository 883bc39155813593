//! From a category, a size, a colour and a style number to shaped parts.
//!
//! Builders work in metres in the object's own axes with the origin in the middle
//! of its *underside*: x from back (-) to front (+), y from right (-) to left (+),
//! z up from the floor. Every part stays inside the object's box. The same four
//! inputs give the same parts, which is what makes scene files re-render alike.

mod bathroom;
mod decoration;
mod kitchen;
mod openings;
mod seating;
mod storage;
mod tables;

use glam::{Mat3, Vec3};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::catalogue::draw_color;
use super::material::{Material, Texture};
use super::palette::varied;
use super::seeding::{Purpose, stream};
use super::shape::{Part, Shape};

/// Parts of an object in its own axes, origin in the middle of its box.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Furniture {
    /// The solids.
    pub parts: Vec<Part>,
    /// Main colour by name.
    pub color: String,
    /// Whether the category is one that the catalogue builds from shaped parts.
    pub is_known: bool,
}

/// Height of the surface things are put on, above the object's underside, metres.
pub(super) fn support_height(category: &str, size: Vec3) -> f32 {
    match category {
        "bed" | "sofa" => size.z * 0.52,
        _ => size.z,
    }
}

/// Builds `category` into a box of `size` (depth, width, height).
pub(super) fn build(category: &str, size: Vec3, color: Option<&str>, style: u32) -> Furniture {
    let mut rng = stream(u64::from(style), Purpose::Style);
    let color = color.map_or_else(|| draw_color(category, &mut rng).to_owned(), str::to_owned);
    let mut piece = Piece::new(size, &color, style, rng);
    let is_known = seating::build(category, &mut piece)
        || tables::build(category, &mut piece)
        || storage::build(category, &mut piece)
        || kitchen::build(category, &mut piece)
        || bathroom::build(category, &mut piece)
        || decoration::build(category, &mut piece)
        || openings::build(category, &mut piece);
    if !is_known {
        let body = piece.main;
        piece.block(piece.whole(), body);
    }
    let lower = Vec3::Z * size.z * 0.5;
    let parts = piece.parts.into_iter().map(|part| Part { center: part.center - lower, ..part }).collect();
    Furniture { parts, color, is_known }
}

/// Ranges of x, y and z inside a piece, metres.
type Span = [(f32, f32); 3];

/// An object under construction.
struct Piece {
    size: Vec3,
    style: u32,
    rng: ChaCha8Rng,
    /// The named colour without a pattern.
    main: Material,
    parts: Vec<Part>,
}

impl Piece {
    fn new(size: Vec3, color: &str, style: u32, mut rng: ChaCha8Rng) -> Self {
        let main = Material::plain(varied(color, &mut rng)).with_seed(style);
        Self { size, style, rng, main, parts: Vec::new() }
    }

    /// Half depth and half width, and the height.
    fn reach(&self) -> (f32, f32, f32) {
        (self.size.x * 0.5, self.size.y * 0.5, self.size.z)
    }

    fn whole(&self) -> Span {
        let (x, y, z) = self.reach();
        [(-x, x), (-y, y), (0.0, z)]
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        self.rng.random_range(low..=high)
    }

    // --- surfaces ---

    fn cloth(&self) -> Material {
        self.main.with_texture(Texture::Fabric, self.main.color * 0.72, 1.0).with_gloss(0.0)
    }

    fn timber(&self) -> Material {
        let second = self.main.color * Vec3::new(0.66, 0.6, 0.56);
        self.main.with_texture(Texture::Wood, second, 1.0).with_gloss(0.12)
    }

    /// Timber for brown and beige things, lacquer for others.
    fn joinery(&self) -> Material {
        let c = self.main.color;
        if c.x > c.z * 1.35 { self.timber() } else { self.main.with_gloss(0.2) }
    }

    fn lacquer(&self) -> Material {
        self.main.with_gloss(0.3)
    }

    fn oak(&self) -> Material {
        Material::plain(Vec3::new(0.42, 0.27, 0.15))
            .with_texture(Texture::Wood, Vec3::new(0.27, 0.16, 0.08), 1.0)
            .with_gloss(0.12)
            .with_seed(self.style)
    }

    fn steel() -> Material {
        Material::plain(Vec3::splat(0.42)).with_gloss(0.7)
    }

    fn dark() -> Material {
        Material::plain(Vec3::splat(0.022)).with_gloss(0.25)
    }

    fn shaded(&self, factor: f32) -> Material {
        Material { color: self.main.color * factor, second: self.main.second * factor, ..self.main }
    }

    // --- solids ---

    fn push(&mut self, shape: Shape, [x, y, z]: Span, material: Material) {
        let (low, high) = (Vec3::new(x.0, y.0, z.0), Vec3::new(x.1, y.1, z.1));
        self.parts.push(Part::new(shape, (low + high) * 0.5, (high - low) * 0.5, material));
    }

    fn block(&mut self, span: Span, material: Material) {
        self.push(Shape::Box, span, material);
    }

    fn soft(&mut self, span: Span, radius: f32, material: Material) {
        self.push(Shape::Rounded(radius), span, material);
    }

    fn rod(&mut self, x: f32, y: f32, radius: f32, z: (f32, f32), material: Material) {
        self.push(Shape::Cylinder, [(x - radius, x + radius), (y - radius, y + radius), z], material);
    }

    fn cone(&mut self, x: f32, y: f32, radius: f32, top: f32, z: (f32, f32), material: Material) {
        self.push(Shape::Frustum(top), [(x - radius, x + radius), (y - radius, y + radius), z], material);
    }

    fn ball(&mut self, span: Span, material: Material) {
        self.push(Shape::Ellipsoid, span, material);
    }

    /// A cylinder lying along y.
    fn bar_y(&mut self, x: f32, z: f32, radius: f32, y: (f32, f32), material: Material) {
        let turn = Mat3::from_cols(Vec3::X, Vec3::NEG_Z, Vec3::Y);
        let half = Vec3::new(radius, radius, (y.1 - y.0) * 0.5);
        let center = Vec3::new(x, (y.0 + y.1) * 0.5, z);
        self.parts.push(Part::new(Shape::Cylinder, center, half, material).turned(turn));
    }

    /// A cylinder lying along x (a disc seen from the front when short).
    fn bar_x(&mut self, y: f32, z: f32, radius: f32, x: (f32, f32), material: Material) {
        let turn = Mat3::from_cols(Vec3::NEG_Z, Vec3::Y, Vec3::X);
        let half = Vec3::new(radius, radius, (x.1 - x.0) * 0.5);
        let center = Vec3::new((x.0 + x.1) * 0.5, y, z);
        self.parts.push(Part::new(Shape::Cylinder, center, half, material).turned(turn));
    }

    /// Four legs under a top of the whole footprint.
    fn legs(&mut self, radius: f32, inset: f32, height: f32, square: bool, material: Material) {
        let (x, y, _) = self.reach();
        for (sx, sy) in [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)] {
            let (cx, cy) = (sx * (x - inset - radius), sy * (y - inset - radius));
            if square {
                let span = [(cx - radius, cx + radius), (cy - radius, cy + radius), (0.0, height)];
                self.block(span, material);
            } else {
                self.cone(cx, cy, radius, 1.0, (0.0, height), material);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::catalogue::{CATEGORIES, draw_size};

    #[test]
    fn every_category_is_built_inside_its_box() {
        for (index, category) in CATEGORIES.iter().enumerate() {
            for style in 0..24u32 {
                let size =
                    draw_size(category, &mut stream(u64::from(style) * 64 + index as u64, Purpose::Furnish));
                let built = build(category, size, None, style);
                assert!(built.is_known && !built.parts.is_empty(), "{category}");
                for part in &built.parts {
                    let (low, high) = part.extent();
                    let beyond = (high - size * 0.5).max(-size * 0.5 - low).max_element();
                    assert!(beyond < 2e-3, "{category} {style}: {beyond} m outside, {part:?}");
                }
            }
        }
    }

    #[test]
    fn parts_depend_only_on_the_four_inputs() {
        let size = Vec3::new(0.9, 2.0, 0.8);
        assert_eq!(build("sofa", size, Some("blue"), 5), build("sofa", size, Some("blue"), 5));
        assert_ne!(build("sofa", size, Some("blue"), 5), build("sofa", size, Some("red"), 5));
    }

    #[test]
    fn unknown_categories_become_their_box() {
        let built = build("spaceship", Vec3::ONE, Some("red"), 0);
        assert!(!built.is_known);
        assert_eq!(built.parts.len(), 1);
        assert_eq!(built.parts[0].half, Vec3::splat(0.5));
    }
}
