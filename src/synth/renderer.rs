//! The ray caster: colour, metric depth and ids of a scene seen by a camera.
//!
//! Primary rays are cast in tiles of 8x8 pixels: the solids that a tile's pyramid
//! touches are collected once, nearest first, so that a ray meets only a few.
//! Rows of tiles run in parallel; every pixel depends on nothing but the scene and
//! the camera, so the number of threads does not change a byte.

use glam::{Mat3, Vec2, Vec3};
use rayon::prelude::*;

use super::light::{RoomLight, ToneCurve, quick_irradiance, room_lights, sky, subpixels};
use super::material::{Material, Texture};
use super::stage::{Stage, Target};
use super::{FIRST_OBJECT, RenderedView, SynthScene, surface};
use crate::geometry::{CameraPose, Intrinsics};

/// Side of a tile, pixels.
const TILE: u32 = 8;

/// How carefully to render.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// One ray a pixel, light without shadows: for training.
    Fast,
    /// Soft shadows, bounced light, mirrors: for people.
    Fine {
        /// Rays a pixel.
        samples: u32,
    },
}

/// A scene prepared for rendering; shared freely between threads.
pub struct Renderer {
    stage: Stage,
    lights: Vec<RoomLight>,
    lighting: super::Lighting,
    tones: ToneCurve,
}

/// The surface a ray has met.
struct Surface {
    point: Vec3,
    normal: Vec3,
    reflectance: Vec3,
    material: Material,
    room: usize,
}

/// A camera as rays: `world_from_camera` and the pixel grid.
struct Lens {
    origin: Vec3,
    turn: Mat3,
    intrinsics: Intrinsics,
}

impl Lens {
    /// World direction through image coordinates; its length is such that the ray
    /// parameter is the depth along the optical axis.
    fn direction(&self, uv: Vec2) -> Vec3 {
        self.turn * ((uv - self.intrinsics.principal) / self.intrinsics.focal).extend(1.0)
    }

    /// Inward normals of the planes around a tile.
    fn pyramid(&self, low: Vec2, high: Vec2) -> [Vec3; 4] {
        let corner = |x: f32, y: f32| self.direction(Vec2::new(x, y));
        let (a, b) = (corner(low.x, low.y), corner(high.x, low.y));
        let (c, d) = (corner(high.x, high.y), corner(low.x, high.y));
        [a.cross(b), b.cross(c), c.cross(d), d.cross(a)].map(|n| if n.dot(a + c) >= 0.0 { n } else { -n })
    }
}

/// One row of tiles of the output.
struct Band<'a> {
    top: u32,
    rgb: &'a mut [u8],
    depth: &'a mut [f32],
    ids: &'a mut [u16],
}

impl Renderer {
    /// Prepares `scene`.
    pub fn new(scene: &SynthScene) -> Self {
        Self {
            stage: Stage::new(scene),
            lights: room_lights(scene),
            lighting: scene.lighting,
            tones: ToneCurve::new(scene.lighting.exposure),
        }
    }

    /// The scene seen from `pose` (world space) through `intrinsics`.
    pub fn render(&self, pose: &CameraPose, intrinsics: &Intrinsics, quality: Quality) -> RenderedView {
        let size = intrinsics.size;
        let mut view = RenderedView {
            size,
            rgb: vec![0; size.pixels() * 3],
            depth: vec![f32::INFINITY; size.pixels()],
            ids: vec![surface::NONE; size.pixels()],
        };
        let lens =
            Lens { origin: pose.position, turn: Mat3::from_quat(pose.rotation), intrinsics: *intrinsics };
        let offsets = match quality {
            Quality::Fast => subpixels(1),
            Quality::Fine { samples } => subpixels(samples),
        };
        let band = (size.width * TILE) as usize;
        if band == 0 {
            return view;
        }
        let bands = view.rgb.par_chunks_mut(band * 3);
        let bands = bands.zip(view.depth.par_chunks_mut(band)).zip(view.ids.par_chunks_mut(band));
        bands.enumerate().for_each(|(row, ((rgb, depth), ids))| {
            let band = Band { top: row as u32 * TILE, rgb, depth, ids };
            self.render_band(&lens, &offsets, quality, band);
        });
        view
    }

    fn render_band(&self, lens: &Lens, offsets: &[Vec2], quality: Quality, mut band: Band<'_>) {
        let width = lens.intrinsics.size.width;
        let height = band.depth.len() as u32 / width;
        let mut near = Vec::new();
        for left in (0..width).step_by(TILE as usize) {
            let right = (left + TILE).min(width);
            let low = Vec2::new(left as f32, band.top as f32);
            let high = Vec2::new(right as f32, (band.top + height) as f32);
            let pyramid = lens.pyramid(low, high);
            self.stage.in_pyramid(lens.origin, &pyramid, lens.turn.z_axis, &mut near);
            for y in 0..height {
                for x in left..right {
                    let pixel = Vec2::new(x as f32, (band.top + y) as f32);
                    self.render_pixel(
                        lens,
                        pixel,
                        offsets,
                        quality,
                        &near,
                        (y * width + x) as usize,
                        &mut band,
                    );
                }
            }
        }
    }

    fn render_pixel(
        &self,
        lens: &Lens,
        pixel: Vec2,
        offsets: &[Vec2],
        quality: Quality,
        near: &[(f32, u32)],
        index: usize,
        band: &mut Band<'_>,
    ) {
        let mut sum = [0.0f32; 3];
        for (i, &offset) in offsets.iter().enumerate() {
            let direction = lens.direction(pixel + offset);
            let hit = self.stage.nearest_of(near, lens.origin, direction);
            if i == 0
                && let Some((t, target)) = hit
            {
                band.depth[index] = t;
                band.ids[index] = self.id(target);
            }
            let light = hit.map_or_else(
                || sky(direction.normalize(), &self.lighting),
                |(t, target)| self.shade(lens.origin, direction, t, target, lens.intrinsics.focal.x, quality),
            );
            // Averaging on the screen's scale keeps bright edges smooth.
            let color = self.tones.pixel(light);
            for (sum, channel) in sum.iter_mut().zip(color) {
                *sum += f32::from(channel);
            }
        }
        let scale = 1.0 / offsets.len() as f32;
        for (out, sum) in band.rgb[index * 3..index * 3 + 3].iter_mut().zip(sum) {
            *out = (sum * scale + 0.5) as u8;
        }
    }

    fn id(&self, target: Target) -> u16 {
        match target {
            Target::Floor(_) => surface::FLOOR,
            Target::Ceiling(_) => surface::CEILING,
            Target::Solid(index) => self.stage.solids[index as usize]
                .object
                .map_or(surface::WALL, |id| FIRST_OBJECT + id.0 as u16),
        }
    }

    /// Light that comes back along a ray.
    fn shade(
        &self,
        origin: Vec3,
        direction: Vec3,
        t: f32,
        target: Target,
        focal: f32,
        quality: Quality,
    ) -> Vec3 {
        let footprint = t / focal;
        let s = self.surface(origin + direction * t, target, footprint);
        if s.material.texture == Texture::Outside {
            return sky(direction.normalize(), &self.lighting);
        }
        let _ = quality;
        let room_height = self.stage.rooms[s.room].height;
        let irradiance = quick_irradiance(&self.lights[s.room], s.point, s.normal, room_height);
        s.reflectance * irradiance + s.reflectance * s.material.glow * 1.6
    }

    fn surface(&self, point: Vec3, target: Target, footprint: f32) -> Surface {
        match target {
            Target::Solid(index) => {
                let solid = &self.stage.solids[index as usize];
                let local = solid.part.local(point);
                let normal = solid.part.local_normal(local);
                let material = solid.part.material;
                Surface {
                    point,
                    normal: solid.part.axes * normal,
                    reflectance: material.reflectance(local + solid.texture_shift, normal, footprint),
                    material,
                    room: solid.room,
                }
            }
            Target::Floor(room) | Target::Ceiling(room) => {
                let is_floor = matches!(target, Target::Floor(_));
                let (normal, material) = if is_floor {
                    (Vec3::Z, self.stage.rooms[room].floor)
                } else {
                    (-Vec3::Z, self.stage.rooms[room].ceiling)
                };
                let reflectance = material.reflectance(point, normal, footprint);
                Surface { point, normal, reflectance, material, room }
            }
        }
    }
}
