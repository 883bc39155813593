//! The ray caster: colour, metric depth and ids of a scene seen by a camera.
//!
//! Primary rays are cast in tiles of 8x8 pixels: the solids that a tile's pyramid
//! touches are collected once, nearest first, so that a ray meets only a few.
//! Rows of tiles run in parallel; every pixel depends on nothing but the scene and
//! the camera, so the number of threads does not change a byte.

use std::sync::OnceLock;

use glam::{Mat3, Vec2, Vec3};
use rayon::prelude::*;

use super::light::{RoomLight, ToneCurve, quick_irradiance, quick_mean, room_lights, sky, subpixels};
use super::lightmap::LightMap;
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
    quick_exposure: f32,
    /// Baked when the first fine picture is asked for.
    baked: OnceLock<Baked>,
}

/// Gathered light with the exposure that suits it.
struct Baked {
    map: LightMap,
    exposure: f32,
}

/// Mean light on the floor after exposure.
const FLOOR_LEVEL: f32 = 1.5;

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
        let lights = room_lights(scene);
        let lighting = scene.lighting;
        Self {
            stage: Stage::new(scene),
            quick_exposure: lighting.exposure * FLOOR_LEVEL / quick_mean(scene, &lights).max(1e-3),
            lights,
            lighting,
            tones: ToneCurve::new(),
            baked: OnceLock::new(),
        }
    }

    fn baked(&self) -> &Baked {
        self.baked.get_or_init(|| {
            let map = LightMap::bake(&self.stage, &self.lights, &self.lighting);
            let exposure = self.lighting.exposure * FLOOR_LEVEL / map.mean_on_floors().max(1e-3);
            Baked { map, exposure }
        })
    }

    /// The scene seen from `pose` (world space) through `intrinsics`.
    pub fn render(&self, pose: &CameraPose, intrinsics: &Intrinsics, quality: Quality) -> RenderedView {
        self.render_culled(pose, intrinsics, quality, true)
    }

    /// The same bytes as [`Self::render`], testing every solid for every ray: the
    /// reference that tests and benchmarks compare with.
    pub fn render_unculled(
        &self,
        pose: &CameraPose,
        intrinsics: &Intrinsics,
        quality: Quality,
    ) -> RenderedView {
        self.render_culled(pose, intrinsics, quality, false)
    }

    fn render_culled(
        &self,
        pose: &CameraPose,
        intrinsics: &Intrinsics,
        quality: Quality,
        is_culled: bool,
    ) -> RenderedView {
        let size = intrinsics.size;
        let mut view = RenderedView {
            size,
            rgb: vec![0; size.pixels() * 3],
            depth: vec![f32::INFINITY; size.pixels()],
            ids: vec![surface::NONE; size.pixels()],
        };
        let lens =
            Lens { origin: pose.position, turn: Mat3::from_quat(pose.rotation), intrinsics: *intrinsics };
        let (offsets, baked) = match quality {
            Quality::Fast => (subpixels(1), None),
            Quality::Fine { samples } => (subpixels(samples), Some(self.baked())),
        };
        let band = (size.width * TILE) as usize;
        if band == 0 {
            return view;
        }
        let bands = view.rgb.par_chunks_mut(band * 3);
        let bands = bands.zip(view.depth.par_chunks_mut(band)).zip(view.ids.par_chunks_mut(band));
        bands.enumerate().for_each(|(row, ((rgb, depth), ids))| {
            let band = Band { top: row as u32 * TILE, rgb, depth, ids };
            self.render_band(&lens, &offsets, baked, band, is_culled);
        });
        view
    }

    fn render_band(
        &self,
        lens: &Lens,
        offsets: &[Vec2],
        baked: Option<&Baked>,
        mut band: Band<'_>,
        is_culled: bool,
    ) {
        let width = lens.intrinsics.size.width;
        let height = band.depth.len() as u32 / width;
        let mut near = Vec::new();
        for left in (0..width).step_by(TILE as usize) {
            let right = (left + TILE).min(width);
            let low = Vec2::new(left as f32, band.top as f32);
            let high = Vec2::new(right as f32, (band.top + height) as f32);
            let pyramid = lens.pyramid(low, high);
            let planes = if is_culled { &pyramid[..] } else { &[] };
            self.stage.in_pyramid(lens.origin, planes, lens.turn.z_axis, &mut near);
            if !is_culled {
                for (depth, _) in &mut near {
                    *depth = f32::NEG_INFINITY;
                }
            }
            for y in 0..height {
                for x in left..right {
                    let pixel = Vec2::new(x as f32, (band.top + y) as f32);
                    self.render_pixel(
                        lens,
                        pixel,
                        offsets,
                        baked,
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
        baked: Option<&Baked>,
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
                |(t, target)| self.shade(lens.origin, direction, t, target, lens.intrinsics.focal.x, baked),
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

    /// Exposed light that comes back along a ray.
    fn shade(
        &self,
        origin: Vec3,
        direction: Vec3,
        t: f32,
        target: Target,
        focal: f32,
        baked: Option<&Baked>,
    ) -> Vec3 {
        let s = self.surface(origin + direction * t, target, t / focal);
        if s.material.texture == Texture::Outside {
            return sky(direction.normalize(), &self.lighting);
        }
        let Some(baked) = baked else {
            let room_height = self.stage.rooms[s.room].height;
            let irradiance = quick_irradiance(&self.lights[s.room], s.point, s.normal, room_height);
            return s.reflectance * (irradiance * self.quick_exposure + s.material.glow);
        };
        let irradiance = baked.map.irradiance(&self.stage, target, s.point);
        let own = s.reflectance * (irradiance * baked.exposure + s.material.glow);
        let share = reflected_share(&s, direction);
        if share < 0.01 {
            return own;
        }
        own * (1.0 - share) + self.reflection(&s, direction.normalize(), focal, baked) * share
    }

    /// What a glossy surface mirrors, without further mirrors in it.
    fn reflection(&self, s: &Surface, direction: Vec3, focal: f32, baked: &Baked) -> Vec3 {
        let away = direction - s.normal * (2.0 * direction.dot(s.normal));
        let origin = s.point + s.normal * 2e-3;
        let Some((t, target)) = self.stage.nearest(origin, away) else { return sky(away, &self.lighting) };
        let seen = self.surface(origin + away * t, target, t / focal);
        if seen.material.texture == Texture::Outside {
            return sky(away, &self.lighting);
        }
        let irradiance = baked.map.irradiance(&self.stage, target, seen.point);
        seen.reflectance * (irradiance * baked.exposure + seen.material.glow)
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

/// How much of what is seen on a surface is its mirror image.
fn reflected_share(s: &Surface, direction: Vec3) -> f32 {
    if s.material.texture == Texture::Mirror {
        return 0.92;
    }
    let facing = (-s.normal.dot(direction) / direction.length()).clamp(0.0, 1.0);
    let grazing = (1.0 - facing) * (1.0 - facing);
    s.material.gloss * (0.05 + 0.6 * grazing * grazing * (1.0 - facing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::ImageSize;
    use crate::synth::{SynthConfig, generate_scene, generate_walk};

    fn views(seed: u64, quality: Quality) -> Vec<(RenderedView, CameraPose, Intrinsics)> {
        let config = SynthConfig { seconds: (8.0, 8.0), ..SynthConfig::training() };
        let scene = generate_scene(seed, &config);
        let walk = generate_walk(&scene, seed, &config);
        let intrinsics = walk.intrinsics.resized(ImageSize::new(60, 44));
        let renderer = Renderer::new(&scene);
        let poses = walk.track.poses.iter().step_by(11);
        poses.map(|pose| (renderer.render(pose, &intrinsics, quality), *pose, intrinsics)).collect()
    }

    #[test]
    fn culling_changes_nothing() {
        for seed in 0..6 {
            let config = SynthConfig::training();
            let scene = generate_scene(seed, &config);
            let walk = generate_walk(&scene, seed, &config);
            let renderer = Renderer::new(&scene);
            let intrinsics = walk.intrinsics.resized(ImageSize::new(50, 50));
            let pose = &walk.track.poses[walk.track.poses.len() / 3];
            let culled = renderer.render(pose, &intrinsics, Quality::Fast);
            assert!(culled == renderer.render_unculled(pose, &intrinsics, Quality::Fast), "seed {seed}");
        }
    }

    #[test]
    fn every_pixel_of_a_closed_room_shows_something() {
        for seed in 0..8 {
            for (view, ..) in views(seed, Quality::Fast) {
                assert!(view.depth.iter().all(|d| (0.01..20.0).contains(d)), "seed {seed}");
                assert!(view.ids.iter().all(|&id| id != surface::NONE));
            }
        }
    }

    #[test]
    fn back_projected_pixels_lie_in_the_boxes_of_their_objects() {
        let config = SynthConfig { seconds: (8.0, 8.0), ..SynthConfig::training() };
        for seed in 0..6 {
            let scene = generate_scene(seed, &config);
            for (view, pose, intrinsics) in views(seed, Quality::Fast) {
                for (index, (&depth, &id)) in view.depth.iter().zip(&view.ids).enumerate() {
                    if id < FIRST_OBJECT {
                        continue;
                    }
                    let (x, y) = (index % view.size.width as usize, index / view.size.width as usize);
                    let uv = Vec2::new(x as f32 + 0.5, y as f32 + 0.5);
                    let point = pose.world_from_camera(intrinsics.unproject(uv, depth));
                    let bounds = &scene.objects[(id - FIRST_OBJECT) as usize].object.bounds;
                    assert!(bounds.distance_to_point(point) < 5e-3, "seed {seed}");
                }
            }
        }
    }

    #[test]
    fn a_squashed_picture_shows_the_same_things() {
        let config = SynthConfig::training();
        let scene = generate_scene(2, &config);
        let walk = generate_walk(&scene, 2, &config);
        let renderer = Renderer::new(&scene);
        let wide = renderer.render(&walk.track.poses[0], &walk.intrinsics, Quality::Fast);
        let square = walk.intrinsics.resized(ImageSize::new(128, 128));
        let squashed = renderer.render(&walk.track.poses[0], &square, Quality::Fast);
        let same = (0..128 * 128)
            .filter(|i| {
                let (x, y) = ((i % 128) as f32 + 0.5, (i / 128) as f32 + 0.5);
                let (u, v) = ((x * 5.0) as usize, (y * 3.75) as usize);
                wide.ids[v * 640 + u] == squashed.ids[*i]
            })
            .count();
        assert!(same > 128 * 128 * 97 / 100, "{same}");
    }
}
