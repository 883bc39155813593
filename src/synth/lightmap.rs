//! Baked light: how much light arrives at every place of every surface.
//!
//! Scenes stand still, so light is gathered once per scene and not per picture:
//! soft shadows cost nothing per frame and do not flicker. Each solid has six
//! charts, one for each side that a box around it has; a place on the surface
//! belongs to the chart its normal points to. Direct light comes from windows,
//! lamps and the sun with shadow rays, bounced light from one round of gathering.

use glam::{Vec2, Vec3};
use rayon::prelude::*;

use super::light::{Emitter, RoomLight};
use super::scene::Lighting;
use super::shape::Part;
use super::stage::{Solid, Stage, Target};

/// Side of a light texel, metres.
const TEXEL: f32 = 0.05;
/// Most texels along one side of a chart.
const MAX_TEXELS: f32 = 256.0;
/// Shadow rays to a window, to a lamp, to the sun.
const WINDOW_RAYS: u32 = 12;
const LAMP_RAYS: u32 = 5;
const SUN_RAYS: u32 = 4;
/// Rays that gather bounced light.
const GATHER_RAYS: u32 = 60;
/// Light that bounces more than once, as a factor on the first bounce.
const MORE_BOUNCES: f32 = 1.7;
/// Shadow rays start this far above the surface, metres.
const LIFT: f32 = 3e-3;

/// A rectangle of texels.
#[derive(Debug, Clone, Copy)]
struct Chart {
    first: u32,
    width: u32,
    height: u32,
}

/// A texel on its surface.
#[derive(Debug, Clone, Copy)]
struct Site {
    point: Vec3,
    normal: Vec3,
    /// Shift of the sample patterns: nine kinds, each once in every 3x3 texels, so
    /// that a 3x3 mean is as good as nine times the rays and free of grain.
    turn: Vec2,
}

/// Light on all surfaces of a stage.
pub(super) struct LightMap {
    /// Six per solid, then floor and ceiling of every room.
    charts: Vec<Chart>,
    texels: Vec<Vec3>,
    rooms: usize,
    solids: usize,
}

impl LightMap {
    /// Gathers the light of `lights` and the sun on `stage`.
    pub(super) fn bake(stage: &Stage, lights: &[RoomLight], lighting: &Lighting) -> Self {
        let mut map = Self::lay_out(stage);
        let sites = map.sites(stage);
        let lamps = Lamps::new(stage, lights, lighting);
        let direct: Vec<Vec3> =
            sites.par_iter().map(|site| site.map_or(Vec3::ZERO, |site| lamps.direct(stage, &site))).collect();
        map.texels = direct;
        map.settle(&sites);
        let bounced: Vec<Vec3> =
            sites.par_iter().map(|site| site.map_or(Vec3::ZERO, |site| map.gather(stage, &site))).collect();
        let direct = std::mem::replace(&mut map.texels, bounced);
        // Bounced light changes slowly: more passes take what is left of the pattern.
        for _ in 0..4 {
            map.settle(&sites);
        }
        for (texel, direct) in map.texels.iter_mut().zip(direct) {
            *texel = *texel * MORE_BOUNCES + direct;
        }
        map
    }

    /// Light arriving at a surface point, in units in which a white surface shows it.
    pub(super) fn irradiance(&self, stage: &Stage, target: Target, point: Vec3) -> Vec3 {
        let (chart, uv) = match target {
            Target::Solid(index) => {
                let part = &stage.solids[index as usize].part;
                let local = part.local(point);
                let (face, uv) = face_of(part, local);
                (index as usize * 6 + face, uv)
            }
            Target::Floor(room) => (self.solids * 6 + room * 2, stage.share_of_room(room, point)),
            Target::Ceiling(room) => (self.solids * 6 + room * 2 + 1, stage.share_of_room(room, point)),
        };
        self.sample(self.charts[chart], uv)
    }

    /// Mean light on floors, and thereby the brightness of the scene.
    pub(super) fn mean_on_floors(&self) -> f32 {
        let texels = (0..self.rooms).flat_map(|room| {
            let chart = self.charts[self.solids * 6 + room * 2];
            &self.texels[chart.first as usize..(chart.first + chart.width * chart.height) as usize]
        });
        let (sum, count) = texels.fold((Vec3::ZERO, 0u32), |(sum, count), t| (sum + *t, count + 1));
        sum.element_sum() / (3.0 * count.max(1) as f32)
    }

    fn lay_out(stage: &Stage) -> Self {
        let mut map = Self {
            charts: Vec::new(),
            texels: Vec::new(),
            rooms: stage.rooms.len(),
            solids: stage.solids.len(),
        };
        let mut first = 0u32;
        let mut push = |size: Vec2| {
            let texels = (size / TEXEL).ceil().clamp(Vec2::ONE, Vec2::splat(MAX_TEXELS));
            let chart = Chart { first, width: texels.x as u32, height: texels.y as u32 };
            first += chart.width * chart.height;
            map.charts.push(chart);
        };
        for solid in &stage.solids {
            let size = solid.part.half * 2.0;
            for face in 0..6 {
                let (_, b, c) = face_axes(face);
                // Nobody sees walls from outside.
                let is_outside = solid.object.is_none() && face == 3;
                push(if is_outside { Vec2::ZERO } else { Vec2::new(size[b], size[c]) });
            }
        }
        for room in &stage.rooms {
            let (low, high) = room.bounds();
            push(high - low);
            push(high - low);
        }
        map.texels = vec![Vec3::ZERO; first as usize];
        map
    }

    /// Where each texel lies; `None` where it is off the surface or inside another solid.
    fn sites(&self, stage: &Stage) -> Vec<Option<Site>> {
        let per_chart: Vec<Vec<Option<Site>>> = (0..self.charts.len())
            .into_par_iter()
            .map(|index| {
                let chart = self.charts[index];
                (0..chart.width * chart.height)
                    .map(|texel| {
                        let uv = Vec2::new(
                            ((texel % chart.width) as f32 + 0.5) / chart.width as f32,
                            ((texel / chart.width) as f32 + 0.5) / chart.height as f32,
                        );
                        let kind = texel % chart.width % 3 + texel / chart.width % 3 * 3;
                        let site = Site { turn: r2(kind) * 7.0, ..self.site(stage, index, uv)? };
                        let skip = (index < self.solids * 6).then_some((index / 6) as u32);
                        (!stage.is_inside_solid(site.point + site.normal * LIFT, skip)).then_some(site)
                    })
                    .collect()
            })
            .collect();
        per_chart.into_iter().flatten().collect()
    }

    fn site(&self, stage: &Stage, chart: usize, uv: Vec2) -> Option<Site> {
        if chart >= self.solids * 6 {
            let (room, is_floor) = ((chart - self.solids * 6) / 2, chart.is_multiple_of(2));
            let (low, high) = stage.rooms[room].bounds();
            let height = if is_floor { 0.0 } else { stage.rooms[room].height };
            let point = (low + (high - low) * uv).extend(height);
            let normal = if is_floor { Vec3::Z } else { -Vec3::Z };
            return Some(Site { point, normal, turn: Vec2::ZERO });
        }
        let Solid { part, object, room, .. } = &stage.solids[chart / 6];
        let (axis, b, c) = face_axes(chart % 6);
        let sign = if chart.is_multiple_of(2) { 1.0 } else { -1.0 };
        let mut local = Vec3::ZERO;
        (local[b], local[c]) = ((uv.x * 2.0 - 1.0) * part.half[b], (uv.y * 2.0 - 1.0) * part.half[c]);
        local[axis] = sign * (part.half[axis] + 1.0);
        let mut inward = Vec3::ZERO;
        inward[axis] = -sign;
        let (origin, direction) = (part.center + part.axes * local, part.axes * inward);
        let t = part.enter(origin, direction, 0.0, 1e3)?;
        let point = origin + direction * t;
        // Walls reach past floor and ceiling, where there is no light to know.
        let is_hidden = object.is_none() && !(0.0..stage.rooms[*room].height).contains(&point.z);
        let normal = part.axes * part.local_normal(part.local(point));
        (!is_hidden).then_some(Site { point, normal, turn: Vec2::ZERO })
    }

    fn gather(&self, stage: &Stage, site: &Site) -> Vec3 {
        let (tangent, bitangent) = site.normal.any_orthonormal_pair();
        let origin = site.point + site.normal * LIFT;
        let mut sum = Vec3::ZERO;
        for k in 0..GATHER_RAYS {
            let r = (r2(k) + site.turn).fract();
            let disc = Vec2::from_angle(r.x * std::f32::consts::TAU) * r.y.sqrt();
            let up = (1.0 - r.y).max(0.0).sqrt();
            let direction = tangent * disc.x + bitangent * disc.y + site.normal * up;
            if let Some((t, target)) = stage.nearest(origin, direction) {
                let point = origin + direction * t;
                sum += stage.mean_reflectance(target) * self.irradiance(stage, target, point);
            }
        }
        sum / GATHER_RAYS as f32
    }

    /// Fills texels without a site from their neighbours and smooths all charts.
    fn settle(&mut self, sites: &[Option<Site>]) {
        let charts = &self.charts;
        let texels = &self.texels;
        let settled: Vec<Vec<Vec3>> = charts
            .par_iter()
            .map(|chart| {
                let range = chart.first as usize..(chart.first + chart.width * chart.height) as usize;
                let known: Vec<bool> = sites[range.clone()].iter().map(Option::is_some).collect();
                let mut values = texels[range].to_vec();
                fill(&mut values, known, *chart);
                smooth(&values, *chart)
            })
            .collect();
        self.texels = settled.into_iter().flatten().collect();
    }

    fn sample(&self, chart: Chart, uv: Vec2) -> Vec3 {
        let size = Vec2::new(chart.width as f32, chart.height as f32);
        let at = (uv * size - 0.5).clamp(Vec2::ZERO, size - 1.0);
        let (low, share) = (at.floor(), at.fract());
        let (x, y) = (low.x as u32, low.y as u32);
        let (right, above) = ((x + 1).min(chart.width - 1), (y + 1).min(chart.height - 1));
        let texel = |x: u32, y: u32| self.texels[(chart.first + y * chart.width + x) as usize];
        let lower = texel(x, y).lerp(texel(right, y), share.x);
        let upper = texel(x, above).lerp(texel(right, above), share.x);
        lower.lerp(upper, share.y)
    }
}

/// Axis of a face and the two axes of its chart. Even faces look along +axis.
fn face_axes(face: usize) -> (usize, usize, usize) {
    match face / 2 {
        0 => (0, 1, 2),
        1 => (1, 0, 2),
        _ => (2, 0, 1),
    }
}

/// Face and chart position of a surface point in part axes.
fn face_of(part: &Part, local: Vec3) -> (usize, Vec2) {
    let normal = part.local_normal(local);
    let a = normal.abs();
    let axis = if a.x >= a.y && a.x >= a.z {
        0
    } else if a.y >= a.z {
        1
    } else {
        2
    };
    let face = axis * 2 + usize::from(normal[axis] < 0.0);
    let (_, b, c) = face_axes(face);
    let q = local / part.half * 0.5 + 0.5;
    (face, Vec2::new(q[b], q[c]))
}

/// Point `k` of a sequence that fills the unit square evenly.
fn r2(k: u32) -> Vec2 {
    Vec2::new((k as f32 * 0.754_877_7).fract(), (k as f32 * 0.569_840_3).fract())
}

/// Everything that gives light directly.
struct Lamps {
    emitters: Vec<Emitter>,
    sun: Option<(Vec3, Vec3)>,
}

impl Lamps {
    fn new(stage: &Stage, lights: &[RoomLight], lighting: &Lighting) -> Self {
        let emitters = lights.iter().flat_map(|light| light.emitters.iter().copied()).collect();
        let color = Vec3::new(1.0, 0.9, 0.74) * lighting.sun;
        let has_windows = stage.solids.iter().any(|solid| !solid.blocks_light);
        let sun = (lighting.sun > 0.0 && has_windows).then(|| (lighting.sun_direction(), color));
        Self { emitters, sun }
    }

    fn direct(&self, stage: &Stage, site: &Site) -> Vec3 {
        let origin = site.point + site.normal * LIFT;
        let mut sum: Vec3 =
            self.emitters.iter().map(|emitter| from_emitter(stage, site, origin, emitter)).sum();
        if let Some((towards, color)) = self.sun
            && towards.dot(site.normal) > 0.0
        {
            let (a, b) = towards.any_orthonormal_pair();
            let lit = (0..SUN_RAYS)
                .filter(|&k| {
                    let r = (r2(k) + site.turn).fract() - 0.5;
                    !stage.is_blocked(origin, towards + (a * r.x + b * r.y) * 0.03, 60.0)
                })
                .count();
            sum += color * (towards.dot(site.normal) * lit as f32 / SUN_RAYS as f32);
        }
        sum
    }
}

fn from_emitter(stage: &Stage, site: &Site, origin: Vec3, emitter: &Emitter) -> Vec3 {
    if (emitter.position - site.point).dot(site.normal) < -emitter.radius * 2.0 {
        return Vec3::ZERO;
    }
    let is_flat = emitter.normal != Vec3::ZERO;
    let rays = if is_flat { WINDOW_RAYS } else { LAMP_RAYS };
    let side = emitter.normal.cross(Vec3::Z);
    let mut sum = 0.0;
    for k in 0..rays {
        let r = ((r2(k) + site.turn).fract() - 0.5) * 2.0;
        let spot = if is_flat {
            emitter.position + side * (r.x * emitter.extent.x) + Vec3::Z * (r.y * emitter.extent.y)
        } else {
            let third = (r.x * 1.7 + r.y * 2.3).fract();
            emitter.position + Vec3::new(r.x, r.y, third) * (emitter.radius * 0.6)
        };
        let towards = spot - origin;
        let squared = towards.length_squared().max(0.02);
        let direction = towards / squared.sqrt();
        let facing = site.normal.dot(direction);
        let leaving = if is_flat { -emitter.normal.dot(direction) } else { 0.7 };
        if facing > 0.0 && leaving > 0.0 && !stage.is_blocked(origin, towards, 0.995) {
            sum += facing * leaving / (squared + 0.05);
        }
    }
    emitter.power * (sum / rays as f32)
}

/// Gives texels without light the mean of their known neighbours, ring by ring.
fn fill(values: &mut [Vec3], mut known: Vec<bool>, chart: Chart) {
    let (width, height) = (chart.width as i32, chart.height as i32);
    for _ in 0..width.max(height) {
        let before = known.clone();
        if before.iter().all(|&k| k) || !before.iter().any(|&k| k) {
            return;
        }
        for y in 0..height {
            for x in 0..width {
                let index = (y * width + x) as usize;
                if before[index] {
                    continue;
                }
                let (mut sum, mut count) = (Vec3::ZERO, 0.0);
                for (dx, dy) in [(1, 0), (-1, 0), (0, 1), (0, -1)] {
                    let (nx, ny) = (x + dx, y + dy);
                    if nx >= 0 && ny >= 0 && nx < width && ny < height && before[(ny * width + nx) as usize] {
                        sum += values[(ny * width + nx) as usize];
                        count += 1.0;
                    }
                }
                if count > 0.0 {
                    values[index] = sum / count;
                    known[index] = true;
                }
            }
        }
    }
}

/// The mean over 3x3 texels.
fn smooth(values: &[Vec3], chart: Chart) -> Vec<Vec3> {
    let (width, height) = (chart.width as i32, chart.height as i32);
    let at = |x: i32, y: i32| values[(y.clamp(0, height - 1) * width + x.clamp(0, width - 1)) as usize];
    let row = |x: i32, y: i32| at(x - 1, y) + at(x, y) + at(x + 1, y);
    (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .map(|(x, y)| (row(x, y - 1) + row(x, y) + row(x, y + 1)) / 9.0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::light::room_lights;
    use crate::synth::{SynthConfig, generate_scene};

    #[test]
    fn light_is_finite_and_shaded_under_furniture() {
        let scene = generate_scene(
            4,
            &SynthConfig { rooms: (1, 1), room_side: (3.0, 3.5), ..SynthConfig::training() },
        );
        let stage = Stage::new(&scene);
        let map = LightMap::bake(&stage, &room_lights(&scene), &scene.lighting);
        assert!(map.texels.iter().all(|t| t.is_finite() && t.min_element() >= 0.0));
        assert!(map.mean_on_floors() > 0.01);
    }

    #[test]
    fn a_face_is_found_again_from_its_points() {
        let scene = generate_scene(4, &SynthConfig::training());
        let stage = Stage::new(&scene);
        let map = LightMap::lay_out(&stage);
        for chart in 0..stage.solids.len() * 6 {
            let Some(site) = map.site(&stage, chart, Vec2::splat(0.5)) else { continue };
            let part = &stage.solids[chart / 6].part;
            let (face, uv) = face_of(part, part.local(site.point));
            assert_eq!(face, chart % 6, "{:?}", part.shape);
            assert!(uv.distance(Vec2::splat(0.5)) < 1e-2);
        }
    }
}
