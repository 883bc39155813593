//! Surfaces: colours and procedural textures in metric scale.
//!
//! Textures are evaluated in the part's own axes (metres), so that a plank is as
//! wide on a desk as on a wardrobe. `footprint` is the width of a pixel on the
//! surface in metres: detail finer than it fades to its mean instead of aliasing.

use glam::{Vec2, Vec3};
use serde::{Deserialize, Serialize};

use super::seeding::{lattice_hash, lattice_unit};

/// A procedural pattern between two colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Texture {
    /// One colour.
    Plain,
    /// Grain along the longest direction.
    Wood,
    /// Woven cloth.
    Fabric,
    /// Parallel stripes of width `scale`.
    Stripes,
    /// Squares of side `scale`.
    Checker,
    /// Square tiles of side `scale` with joints.
    Tiles,
    /// Rough plaster.
    Plaster,
    /// Floor boards of width `scale`.
    Planks,
    /// Backs of books.
    Books,
    /// A display that is on.
    Screen,
    /// An abstract painting.
    Painting,
    /// Leaves.
    Foliage,
    /// The view out of a window.
    Outside,
    /// A looking-glass.
    Mirror,
}

/// How a surface looks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Material {
    /// Main colour, linear RGB reflectance.
    pub color: Vec3,
    /// Second colour of the pattern.
    pub second: Vec3,
    /// The pattern.
    pub texture: Texture,
    /// Size of the pattern, metres.
    pub scale: f32,
    /// Light given off, in units of its colour.
    pub glow: f32,
    /// Strength of highlights, 0 (cloth) to 1 (polished).
    pub gloss: f32,
    /// Varies the pattern.
    pub seed: u32,
}

impl Material {
    /// One colour without a pattern.
    pub fn plain(color: Vec3) -> Self {
        Self { color, second: color, texture: Texture::Plain, scale: 1.0, glow: 0.0, gloss: 0.05, seed: 0 }
    }

    /// With a pattern of `scale` metres between its colour and `second`.
    #[must_use]
    pub fn with_texture(mut self, texture: Texture, second: Vec3, scale: f32) -> Self {
        (self.texture, self.second, self.scale) = (texture, second, scale);
        self
    }

    /// With highlights.
    #[must_use]
    pub fn with_gloss(mut self, gloss: f32) -> Self {
        self.gloss = gloss;
        self
    }

    /// Giving off light.
    #[must_use]
    pub fn with_glow(mut self, glow: f32) -> Self {
        self.glow = glow;
        self
    }

    /// With another variation of the pattern.
    #[must_use]
    pub fn with_seed(mut self, seed: u32) -> Self {
        self.seed = seed;
        self
    }

    /// Mean colour over the pattern.
    pub(super) fn mean_reflectance(&self) -> Vec3 {
        match self.texture {
            Texture::Plain | Texture::Tiles | Texture::Mirror => self.color,
            Texture::Outside => Vec3::ZERO,
            _ => (self.color + self.second) * 0.5,
        }
    }

    /// Whether colours and scale are such that it can be rendered.
    pub(super) fn is_valid(&self) -> bool {
        let is_color = |c: Vec3| c.min_element() >= 0.0 && c.max_element() <= 1.0 && c.is_finite();
        is_color(self.color)
            && is_color(self.second)
            && (1e-3..=100.0).contains(&self.scale)
            && (0.0..=100.0).contains(&self.glow)
            && (0.0..=1.0).contains(&self.gloss)
    }

    /// Reflectance at `p` (part axes, metres) of a face with normal `n`.
    pub(super) fn reflectance(&self, p: Vec3, n: Vec3, footprint: f32) -> Vec3 {
        if self.texture == Texture::Plain {
            return self.color;
        }
        let uv = face_coordinates(p, n);
        let mixed = |share: f32| self.color.lerp(self.second, share);
        match self.texture {
            Texture::Plain | Texture::Mirror => self.color,
            Texture::Wood => mixed(self.wood(p, footprint)),
            Texture::Fabric => mixed(self.fabric(uv, footprint)),
            Texture::Stripes => mixed(band(uv.x / self.scale, footprint / self.scale)),
            Texture::Checker => mixed(self.checker(uv, footprint)),
            Texture::Tiles => self.tiles(uv, footprint),
            Texture::Plaster => mixed(fade(noise(p * 14.0, self.seed), 0.5, footprint, 0.05)),
            Texture::Planks => self.planks(uv, footprint),
            Texture::Books => self.books(uv, n),
            Texture::Screen => self.screen(uv),
            Texture::Painting => self.painting(uv),
            Texture::Foliage => mixed(noise(p * 22.0, self.seed)),
            Texture::Outside => self.second,
        }
    }

    fn wood(&self, p: Vec3, footprint: f32) -> f32 {
        let stretched = p * Vec3::new(9.0, 1.3, 9.0) / self.scale;
        let warp = noise(stretched * 0.5, self.seed) * 6.0;
        let rings = 0.5 + 0.5 * triangle((p.x + p.z) * 7.0 / self.scale + warp);
        let fine = noise(stretched * 5.0, self.seed ^ 7);
        0.6 * fade(rings, 0.5, footprint, 0.06 * self.scale) + 0.4 * fade(fine, 0.5, footprint, 0.02)
    }

    fn fabric(&self, uv: Vec2, footprint: f32) -> f32 {
        let cells = uv / 0.004;
        let weave = lattice_unit(cells.x.floor() as i32, cells.y.floor() as i32, 0, self.seed);
        let cloud = noise((uv * 9.0).extend(0.5), self.seed);
        0.5 * fade(weave, 0.5, footprint, 0.004) + 0.5 * cloud
    }

    fn checker(&self, uv: Vec2, footprint: f32) -> f32 {
        let cell = (uv / self.scale).floor();
        let share = (cell.x as i32 + cell.y as i32).rem_euclid(2) as f32;
        fade(share, 0.5, footprint, self.scale)
    }

    fn tiles(&self, uv: Vec2, footprint: f32) -> Vec3 {
        let cell = (uv / self.scale).floor();
        let inside = uv / self.scale - cell;
        let joint_width = (0.006f32).max(footprint * 0.7) / self.scale;
        let to_joint = inside.min(Vec2::ONE - inside).min_element();
        let joint =
            (1.0 - to_joint / joint_width).clamp(0.0, 1.0) * (0.006 / (joint_width * self.scale)).min(1.0);
        let shade = 0.93 + 0.1 * lattice_unit(cell.x as i32, cell.y as i32, 1, self.seed);
        (self.color * shade).lerp(self.second, joint.sqrt().min(1.0) * if joint > 0.0 { 1.0 } else { 0.0 })
    }

    fn planks(&self, uv: Vec2, footprint: f32) -> Vec3 {
        let row = (uv.y / self.scale).floor();
        let length = self.scale * 9.0;
        let shift = lattice_unit(row as i32, 3, 0, self.seed) * length;
        let board = ((uv.x + shift) / length).floor();
        let tone = lattice_unit(row as i32, board as i32, 1, self.seed);
        let grain = noise(Vec3::new(uv.x * 2.5, uv.y * 45.0, tone * 40.0), self.seed);
        let to_row = (uv.y / self.scale - row).min(1.0 - (uv.y / self.scale - row)) * self.scale;
        let to_end = ((uv.x + shift) / length - board) * length;
        let joint = 1.0 - (to_row.min(to_end) / (0.003f32).max(footprint * 0.6)).clamp(0.0, 1.0);
        let joint = joint * (0.003 / (footprint * 0.6).max(0.003)).min(1.0);
        let share = 0.55 * tone + 0.45 * fade(grain, 0.5, footprint, 0.03);
        self.color.lerp(self.second, share) * (1.0 - 0.45 * joint)
    }

    fn books(&self, uv: Vec2, n: Vec3) -> Vec3 {
        if n.x.abs() < 0.7 {
            return self.color;
        }
        let back = (uv.x / 0.034).floor() as i32;
        let hash = lattice_hash(back, 0, 0, self.seed);
        let tone = 0.05 + 0.5 * lattice_unit(back, 1, 0, self.seed);
        let hue = [
            Vec3::new(0.9, 0.35, 0.25),
            Vec3::new(0.3, 0.5, 0.8),
            Vec3::new(0.85, 0.75, 0.5),
            Vec3::new(0.35, 0.6, 0.45),
            Vec3::new(0.8, 0.8, 0.78),
            Vec3::new(0.5, 0.35, 0.3),
        ][hash as usize % 6];
        let edge = (uv.x / 0.034 - back as f32 - 0.5).abs() * 2.0;
        let label = if (uv.y.abs() - 0.03).abs() < 0.012 && hash.is_multiple_of(3) { 1.3 } else { 1.0 };
        hue * tone * label * (1.0 - 0.6 * (edge - 0.75).max(0.0) * 4.0)
    }

    fn screen(&self, uv: Vec2) -> Vec3 {
        let glow = noise((uv * 4.0).extend(0.3), self.seed);
        let window = lattice_unit((uv.x * 7.0).floor() as i32, (uv.y * 6.0).floor() as i32, 2, self.seed);
        self.color.lerp(self.second, 0.6 * glow + 0.4 * window)
    }

    fn painting(&self, uv: Vec2) -> Vec3 {
        let broad = noise((uv * 3.5).extend(0.1), self.seed);
        let fields = noise((uv * 7.0 + broad * 1.5).extend(4.0), self.seed ^ 0xb);
        let third = Vec3::new(self.second.z, self.color.x, self.second.y);
        let base = if broad > 0.55 { self.color } else { self.second };
        if fields > 0.62 { third } else { base * (0.8 + 0.4 * fields) }
    }
}

/// The two coordinates of a face, vertical second on upright faces.
fn face_coordinates(p: Vec3, n: Vec3) -> Vec2 {
    let a = n.abs();
    if a.z >= a.x && a.z >= a.y {
        Vec2::new(p.x, p.y)
    } else if a.x >= a.y {
        Vec2::new(p.y, p.z)
    } else {
        Vec2::new(p.x, p.z)
    }
}

/// Pulls `value` to `mean` when the pixel is wider than the detail.
fn fade(value: f32, mean: f32, footprint: f32, detail: f32) -> f32 {
    mean + (value - mean) * (1.5 - 1.5 * footprint / detail).clamp(0.0, 1.0)
}

/// A soft-edged stripe pattern of period 2, edges as wide as `footprint`.
fn band(x: f32, footprint: f32) -> f32 {
    let edge = footprint.max(0.02);
    let fold = (x.rem_euclid(2.0) - 1.0).abs();
    let share = ((fold - 0.5) / edge + 0.5).clamp(0.0, 1.0);
    fade(share, 0.5, footprint, 1.0)
}

/// A triangle wave of period 1 between -1 and 1.
fn triangle(x: f32) -> f32 {
    4.0 * (x - (x + 0.5).floor()).abs() - 1.0
}

/// Smooth value noise in [0, 1], one cell per unit.
pub(super) fn noise(p: Vec3, seed: u32) -> f32 {
    let base = p.floor();
    let f = p - base;
    let s = f * f * (3.0 - 2.0 * f);
    let (x, y, z) = (base.x as i32, base.y as i32, base.z as i32);
    let corner = |i: i32, j: i32, k: i32| lattice_unit(x + i, y + j, z + k, seed);
    let row = |j: i32, k: i32| corner(0, j, k) + (corner(1, j, k) - corner(0, j, k)) * s.x;
    let sheet = |k: i32| row(0, k) + (row(1, k) - row(0, k)) * s.y;
    sheet(0) + (sheet(1) - sheet(0)) * s.z
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Texture; 14] = [
        Texture::Plain,
        Texture::Wood,
        Texture::Fabric,
        Texture::Stripes,
        Texture::Checker,
        Texture::Tiles,
        Texture::Plaster,
        Texture::Planks,
        Texture::Books,
        Texture::Screen,
        Texture::Painting,
        Texture::Foliage,
        Texture::Outside,
        Texture::Mirror,
    ];

    #[test]
    fn reflectance_is_between_black_and_white() {
        for texture in ALL {
            let material = Material::plain(Vec3::splat(0.2)).with_texture(texture, Vec3::splat(0.7), 0.2);
            for i in 0..400 {
                let p = Vec3::new(i as f32 * 0.037, (i % 17) as f32 * 0.11, (i % 5) as f32 * 0.3);
                let c = material.reflectance(p, Vec3::X, 0.002);
                assert!(c.min_element() >= 0.0 && c.max_element() <= 1.0, "{texture:?} {c}");
            }
        }
    }

    #[test]
    fn fine_detail_fades_when_far_away() {
        let cloth = Material::plain(Vec3::ZERO).with_texture(Texture::Checker, Vec3::ONE, 0.05);
        let near = cloth.reflectance(Vec3::new(0.01, 0.01, 0.0), Vec3::Z, 0.001);
        let far = cloth.reflectance(Vec3::new(0.01, 0.01, 0.0), Vec3::Z, 0.1);
        assert_eq!(near.x, 0.0);
        assert_eq!(far.x, 0.5);
    }
}
