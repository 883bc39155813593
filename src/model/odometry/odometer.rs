//! Visual odometry: follows the camera from picture to picture.
//!
//! Corners are followed through the video; every one carries the logarithm of its
//! depth with a variance. The depth that the vision tower reads off single frames
//! starts it and is fused into it in every further frame, so that the metric scale
//! is an average over many frames. From picture to picture the motion is solved
//! from all followed corners and the grey levels ([`super::motion`], [`super::shading`]);
//! upwards comes from single frames too, smoothed along the motion.

use glam::{DMat3, DVec3, Vec2, Vec3};

use super::corners::corners;
use super::flow::follow;
use super::focal::FocalPair;
use super::motion::{Gait, Motion, Sighting, point_at, solve_motion};
use super::planar::PlanarPose;
use super::pyramid::Pyramid;
use super::shading::Shading;

/// Corners followed at a time.
const CORNERS: usize = 250;
/// New corners are looked for when fewer than this share of them are left.
const REFILL: f32 = 0.8;
/// Fewer corners do not tell where to search.
const LEAST_CORNERS: usize = 5;
/// That many tell the motion so well that the finest levels of the pyramids refine it.
const ENOUGH_CORNERS: usize = 20;
const FINE_LEVELS: usize = 2;
/// Corners that agree less with the motion are dropped.
const LEAST_AGREEMENT: f64 = 0.1;
/// Corners that agree more count as support.
pub const AGREEMENT: f64 = 0.3;
/// Usual speeds of a walking person, metres per second: across the floor, up and down.
const PACE: f64 = 1.2;
const LIFT: f64 = 0.18;
/// Least seconds between pictures that speeds are multiplied with.
const LEAST_SECS: f64 = 0.02;
/// Depths read in successive frames share their errors: variances count this much more.
const SHARED_ERROR: f32 = 8.0;
/// Growth of a corner's variance from picture to picture (ln²).
const DRIFT: f32 = 1e-4;
/// Share of a single frame's tilt that is believed once many have been seen.
const TILT_GAIN: f32 = 0.03;
/// A single frame's tilt further off than this pulls no harder, radians.
const TILT_LIMIT: f32 = 0.1;

/// What one frame tells by itself.
#[derive(Debug, Clone)]
pub struct FrameSight {
    /// The grey picture.
    pub pyramid: Pyramid,
    /// Depth of every cell of a square grid, metres.
    pub depth: Vec<f32>,
    /// Spread of that depth over the depth.
    pub spread: Vec<f32>,
    /// Upwards, camera space.
    pub up: Vec3,
    /// Presentation time, seconds.
    pub secs: f64,
}

impl FrameSight {
    fn size(&self) -> Vec2 {
        let picture = self.pyramid.picture();
        Vec2::new(picture.width() as f32, picture.height() as f32)
    }

    /// Pixel indices to picture sides from the centre.
    pub fn place(&self, pixel: Vec2) -> Vec2 {
        (pixel + 0.5) / self.size() - 0.5
    }

    /// The way back.
    pub fn pixel(&self, place: Vec2) -> Vec2 {
        (place + 0.5) * self.size() - 0.5
    }

    /// Depth in metres and its relative spread at a pixel.
    pub fn depth_at(&self, pixel: Vec2) -> (f32, f32) {
        let side = self.depth.len().isqrt();
        let cell =
            ((self.place(pixel) + 0.5) * side as f32).as_uvec2().min(glam::UVec2::splat(side as u32 - 1));
        let index = cell.y as usize * side + cell.x as usize;
        (self.depth[index], self.spread[index])
    }
}

/// A followed corner.
#[derive(Debug, Clone, Copy)]
pub struct Corner {
    /// Where, pixel indices.
    pub pixel: Vec2,
    log_depth: f32,
    variance: f32,
}

impl Corner {
    fn new(sight: &FrameSight, pixel: Vec2) -> Self {
        let (depth, spread) = sight.depth_at(pixel);
        Self { pixel, log_depth: depth.ln(), variance: spread * spread }
    }

    /// Metres.
    pub fn depth(&self) -> f32 {
        self.log_depth.exp()
    }

    /// What is seen of it in another picture.
    pub fn sighting(&self, earlier: &FrameSight, later: &FrameSight, to: Vec2) -> Sighting {
        Sighting { from: earlier.place(self.pixel), depth: self.depth(), to: later.place(to) }
    }

    /// The corner in the later picture at `pixel`, `depth` metres away there.
    fn moved(&self, later: &FrameSight, pixel: Vec2, depth: f32) -> Self {
        let variance = self.variance + DRIFT;
        let (seen, spread) = later.depth_at(pixel);
        let gain = variance / (variance + SHARED_ERROR * spread * spread);
        Self {
            pixel,
            log_depth: depth.ln() + gain * (seen.ln() - depth.ln()),
            variance: (1.0 - gain) * variance,
        }
    }
}

/// The camera in one picture relative to the picture before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Levelled `earlier_from_later`.
    pub planar: PlanarPose,
    /// Upwards in the later camera.
    pub up: Vec3,
    /// Number of corners that agree with the motion.
    pub support: usize,
}

/// Follows the camera.
#[derive(Debug, Clone)]
pub struct Odometer {
    focal: Vec2,
    corners: Vec<Corner>,
    motion: Motion,
    up: Vec3,
    seen: usize,
}

impl Odometer {
    /// Starts at a picture; `focal` in picture sides.
    pub fn new(first: &FrameSight, focal: Vec2) -> Self {
        let mut odometer = Self { focal, corners: Vec::new(), motion: Motion::STILL, up: first.up, seen: 1 };
        odometer.refill(first);
        odometer
    }

    /// Corners followed in the picture it stands at.
    pub fn corners(&self) -> &[Corner] {
        &self.corners
    }

    /// Goes on from `earlier`, the picture it stands at, to `later`.
    pub fn advance(&mut self, earlier: &FrameSight, later: &FrameSight) -> Step {
        let followed = self.follow(earlier, later);
        let sightings: Vec<Sighting> =
            followed.iter().map(|(corner, to)| corner.sighting(earlier, later, *to)).collect();
        let weights = self.solve(&sightings, earlier, later);
        let planar = planar_step(&self.motion, self.up);
        self.level(later);
        self.corners = followed
            .iter()
            .zip(&sightings)
            .zip(&weights)
            .filter_map(|(((corner, to), sighting), weight)| {
                let point = point_at(sighting.from, self.focal, sighting.depth).as_dvec3();
                let depth = self.motion.apply(point).z as f32;
                (*weight > LEAST_AGREEMENT && depth > 0.1).then(|| corner.moved(later, *to, depth))
            })
            .collect();
        self.refill(later);
        Step { planar, up: self.up, support: weights.iter().filter(|weight| **weight > AGREEMENT).count() }
    }

    /// Finds the motion; the weight of every sighting.
    fn solve(&mut self, sightings: &[Sighting], earlier: &FrameSight, later: &FrameSight) -> Vec<f64> {
        let gait = gait(self.up, later.up, later.secs - earlier.secs);
        if sightings.len() >= LEAST_CORNERS {
            (self.motion, _) = solve_motion(sightings, None, self.focal, &gait, self.motion);
        }
        // Where hardly any corner was followed the grey levels alone have to find the motion.
        let all = earlier.pyramid.levels().len();
        let levels = if sightings.len() >= ENOUGH_CORNERS { all.min(FINE_LEVELS) } else { all };
        let mut weights = Vec::new();
        for level in (0..levels).rev() {
            let shading = Shading::new(earlier, later, level);
            (self.motion, weights) = solve_motion(sightings, Some(&shading), self.focal, &gait, self.motion);
        }
        weights
    }

    /// The corners found again, looked for where the last motion would bring them.
    fn follow(&self, earlier: &FrameSight, later: &FrameSight) -> Vec<(Corner, Vec2)> {
        let places: Vec<Vec2> = self.corners.iter().map(|corner| corner.pixel).collect();
        let guesses: Vec<Vec2> = self
            .corners
            .iter()
            .map(|corner| {
                let point = point_at(earlier.place(corner.pixel), self.focal, corner.depth());
                later.pixel(self.motion.place_of(point.as_dvec3(), self.focal).as_vec2())
            })
            .collect();
        let found = follow(&earlier.pyramid, &later.pyramid, &places, &guesses);
        self.corners.iter().zip(found).filter_map(|(corner, to)| Some((*corner, to?))).collect()
    }

    /// Carries the upward direction along and lets the new frame correct it.
    fn level(&mut self, later: &FrameSight) {
        self.seen += 1;
        let up = (self.motion.rotation * self.up.as_dvec3()).as_vec3();
        let gain = TILT_GAIN.max(1.0 / self.seen as f32);
        let correction = up.cross(later.up);
        let angle = correction.length();
        let limited = correction * (gain * (TILT_LIMIT / angle.max(1e-6)).min(1.0));
        self.up = (glam::Quat::from_scaled_axis(limited) * up).normalize();
    }

    fn refill(&mut self, sight: &FrameSight) {
        if (self.corners.len() as f32) < REFILL * CORNERS as f32 {
            let taken: Vec<Vec2> = self.corners.iter().map(|corner| corner.pixel).collect();
            let fresh = corners(sight.pyramid.picture(), &taken, CORNERS - taken.len());
            self.corners.extend(fresh.into_iter().map(|pixel| Corner::new(sight, pixel)));
        }
    }
}

fn gait(up: Vec3, later_up: Vec3, secs: f64) -> Gait {
    let secs = secs.max(LEAST_SECS);
    Gait { up: up.as_dvec3(), later_up: later_up.as_dvec3(), stride: PACE * secs, lift: LIFT * secs }
}

/// Right, forward and up of a camera's heading as columns, camera space.
pub fn level_axes(up: Vec3) -> DMat3 {
    let up = up.as_dvec3();
    let forward = (DVec3::Z - up * up.z).normalize_or(DVec3::Z);
    DMat3::from_cols(forward.cross(up), forward, up)
}

/// The levelled `earlier_from_later` of a motion; `up` in the earlier camera.
pub fn planar_step(motion: &Motion, up: Vec3) -> PlanarPose {
    let axes = level_axes(up);
    let back: DMat3 = motion.rotation.transpose();
    let level =
        |direction: DVec3| Vec2::new(direction.dot(axes.x_axis) as f32, direction.dot(axes.y_axis) as f32);
    let heading = level(back * DVec3::Z);
    PlanarPose { shift: level(-(back * motion.shift)), yaw: (-heading.x).atan2(heading.y) }
}

/// What neighbouring pictures tell about the focal length; `None` when the camera
/// hardly moved between them or too little was followed.
pub fn focal_pair(earlier: &FrameSight, later: &FrameSight) -> Option<FocalPair> {
    const MOST: usize = 100;
    const LEAST: usize = 20;
    /// Least median movement, picture sides.
    const LEAST_FLOW: f32 = 1.0 / 64.0;
    let places = corners(earlier.pyramid.picture(), &[], MOST);
    let found = follow(&earlier.pyramid, &later.pyramid, &places, &places);
    let sightings: Vec<Sighting> = places
        .iter()
        .zip(found)
        .filter_map(|(&pixel, to)| Some(Corner::new(earlier, pixel).sighting(earlier, later, to?)))
        .collect();
    let mut flows: Vec<f32> = sightings.iter().map(|s| s.from.distance(s.to)).collect();
    flows.sort_by(f32::total_cmp);
    let moves = flows.get(flows.len() / 2).is_some_and(|flow| *flow >= LEAST_FLOW);
    let gait = gait(earlier.up, later.up, later.secs - earlier.secs);
    (moves && sightings.len() >= LEAST).then_some(FocalPair { sightings, gait })
}
