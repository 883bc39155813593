//! Handheld walks: collision-free, smooth, looking around until the rooms are covered.
//!
//! A walk alternates between going to a new viewpoint and turning there; the gaze
//! follows objects that have not been seen yet. Positions and angles are then
//! smoothed and the tremor of a hand is added.

use std::f32::consts::TAU;

use glam::{Vec2, Vec3};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::free_space::FreeSpace;
use super::scene::SynthScene;
use super::seeding::{Purpose, stream};
use super::{SynthConfig, Walk};
use crate::geometry::{CameraPose, Intrinsics, Orientation, wrap_angle};
use crate::scene::CameraTrack;

/// Simulation rate of paths before resampling to frames, per second.
const RATE: f32 = 30.0;
/// Radius of a walking person with a camera, metres; the last fits anywhere.
const RADII: [f32; 4] = [0.26, 0.2, 0.14, 0.06];

/// A walk through `scene`; the same `seed` gives the same walk.
pub fn generate_walk(scene: &SynthScene, seed: u64, config: &SynthConfig) -> Walk {
    let mut rng = stream(seed, Purpose::Walk);
    let fov = rng.random_range(config.fov_degrees.0..=config.fov_degrees.1).to_radians();
    let seconds = rng.random_range(config.seconds.0..=config.seconds.1);
    let speed = rng.random_range(config.walking_speed.0..=config.walking_speed.1);
    let height =
        rng.random_range(config.camera_height.0..=config.camera_height.1).min(scene.lowest_ceiling() - 0.3);
    let steps = (seconds * RATE).ceil() as usize + 1;
    let path = footpath(scene, speed, steps, &mut rng);
    let gaze = gaze(scene, &path, fov, &mut rng);
    let hand = Hand::new(&mut rng);
    let frames = ((seconds * config.fps).round() as usize).max(1);
    let poses = (0..frames)
        .map(|frame| {
            let time = frame as f32 / config.fps;
            hand.pose(sample(&path, time), sample_gaze(&gaze, time), height, time)
        })
        .collect();
    Walk {
        fps: config.fps,
        intrinsics: Intrinsics::from_horizontal_fov(config.video_size, fov),
        track: CameraTrack { poses },
    }
}

/// Positions at [`RATE`], smoothed.
fn footpath(scene: &SynthScene, speed: f32, steps: usize, rng: &mut ChaCha8Rng) -> Vec<Vec2> {
    let space = RADII
        .into_iter()
        .map(|radius| FreeSpace::new(scene, radius))
        .find(|space| space.cells().nth(15).is_some());
    let Some(space) = space else {
        let middle = scene.rooms.first().map_or(Vec2::ZERO, super::scene::Room::center);
        return vec![middle; steps];
    };
    let mut itinerary = Itinerary::new(scene, &space, rng);
    let mut here = itinerary.start(rng);
    let mut path = vec![space.center(here)];
    while path.len() < steps {
        // Stand still for a moment, then go on.
        let pause = rng.random_range(0.6..2.2f32);
        let position = space.center(here);
        path.extend(std::iter::repeat_n(position, (pause * RATE) as usize));
        let next = itinerary.next(here, rng);
        for leg in space.path(here, next).windows(2) {
            let count = (leg[0].distance(leg[1]) / speed * RATE).ceil().max(1.0) as usize;
            path.extend((1..=count).map(|i| leg[0].lerp(leg[1], i as f32 / count as f32)));
        }
        here = next;
    }
    path.truncate(steps);
    smoothed(&path, 0.3, &space)
}

/// Which room to visit next, and where to stand in it.
struct Itinerary<'a> {
    scene: &'a SynthScene,
    space: &'a FreeSpace,
    cells: Vec<Vec<usize>>,
    visits: Vec<u32>,
    room: usize,
}

impl<'a> Itinerary<'a> {
    fn new(scene: &'a SynthScene, space: &'a FreeSpace, rng: &mut ChaCha8Rng) -> Self {
        let mut cells = vec![Vec::new(); scene.rooms.len()];
        for cell in space.cells() {
            if let Some(room) = scene.room_of(space.center(cell)) {
                cells[room].push(cell);
            }
        }
        let inhabited: Vec<usize> = (0..cells.len()).filter(|&room| !cells[room].is_empty()).collect();
        let room = inhabited[rng.random_range(0..inhabited.len())];
        Self { scene, space, visits: vec![0; cells.len()], cells, room }
    }

    fn start(&mut self, rng: &mut ChaCha8Rng) -> usize {
        self.visits[self.room] += 1;
        let cells = &self.cells[self.room];
        cells[rng.random_range(0..cells.len())]
    }

    fn next(&mut self, here: usize, rng: &mut ChaCha8Rng) -> usize {
        // Two or three viewpoints a room, then the room visited least.
        let enough = 2 + u32::from(self.scene.rooms[self.room].area() > 20.0);
        if self.visits[self.room].is_multiple_of(enough)
            && let Some(least) = (0..self.cells.len())
                .filter(|&room| !self.cells[room].is_empty())
                .min_by_key(|&room| (self.visits[room], room))
        {
            self.room = least;
        }
        self.visits[self.room] += 1;
        let cells = &self.cells[self.room];
        let from = self.space.center(here);
        // The candidate farthest from here among a few: walks cross the room.
        (0..4)
            .map(|_| cells[rng.random_range(0..cells.len())])
            .max_by(|&a, &b| {
                let distance = |cell| self.space.center(cell).distance(from).min(3.5);
                distance(a).total_cmp(&distance(b))
            })
            .unwrap_or(here)
    }
}

/// Gaussian smoothing over `sigma` seconds, kept on free floor.
fn smoothed(path: &[Vec2], sigma: f32, space: &FreeSpace) -> Vec<Vec2> {
    let reach = (sigma * RATE * 2.5) as i32;
    let weights: Vec<f32> =
        (-reach..=reach).map(|i| (-0.5 * (i as f32 / (sigma * RATE)).powi(2)).exp()).collect();
    let total: f32 = weights.iter().sum();
    (0..path.len() as i32)
        .map(|i| {
            let at = |k: i32| path[(i + k).clamp(0, path.len() as i32 - 1) as usize];
            let mean = (-reach..=reach).zip(&weights).map(|(k, w)| at(k) * *w).sum::<Vec2>() / total;
            if space.is_free(mean) { mean } else { mean.lerp(at(0), 0.5) }
        })
        .collect()
}

/// Heading and pitch at [`RATE`].
#[derive(Debug, Clone, Copy)]
struct Gaze {
    heading: f32,
    pitch: f32,
}

fn gaze(scene: &SynthScene, path: &[Vec2], fov: f32, rng: &mut ChaCha8Rng) -> Vec<Gaze> {
    let mut seen = vec![false; scene.objects.len()];
    let mut heading = rng.random_range(0.0..TAU);
    let (mut pitch, mut turn, mut nod) = (-0.12f32, 0.0f32, 0.0f32);
    let pace = rng.random_range(0.75..1.25f32);
    let mut target = None;
    let mut patience = 0.0f32;
    path.iter()
        .map(|&position| {
            patience -= 1.0 / RATE;
            if patience <= 0.0 {
                target = next_target(scene, position, heading, &mut seen, rng);
                patience = rng.random_range(1.2..2.8) / pace;
            }
            let (wanted, slope) = target.map_or((heading, -0.1), |t: Vec3| direction_to(position, t));
            // A critically damped spring with limited speed turns the camera.
            let step = 1.0 / RATE;
            turn += (5.0 * wrap_angle(wanted - heading) - 4.2 * turn) * step;
            turn = turn.clamp(-1.15 * pace, 1.15 * pace);
            heading += turn * step;
            nod += (4.0 * (slope - pitch) - 4.0 * nod) * step;
            pitch = (pitch + nod * step).clamp(-0.6, 0.3);
            mark_seen(scene, position, heading, fov, &mut seen);
            Gaze { heading, pitch }
        })
        .collect()
}

fn direction_to(position: Vec2, target: Vec3) -> (f32, f32) {
    let flat = target.truncate() - position;
    let heading = flat.y.atan2(flat.x);
    // Look at things, but not straight down at what lies close by.
    let slope = ((target.z - 1.5) / flat.length().max(1.2)).atan();
    (heading, (0.75 * slope - 0.03).clamp(-0.5, 0.12))
}

fn mark_seen(scene: &SynthScene, position: Vec2, heading: f32, fov: f32, seen: &mut [bool]) {
    let room = scene.room_of(position);
    for (index, object) in scene.objects.iter().enumerate() {
        let center = object.object.bounds.center;
        let (towards, _) = direction_to(position, center);
        let is_near = center.truncate().distance(position) < 6.0;
        let in_view = wrap_angle(towards - heading).abs() < fov * 0.4;
        if is_near && in_view && (room.is_none() || scene.room_of(center.truncate()) == room) {
            seen[index] = true;
        }
    }
}

/// Objects nearer than this are not looked at while others are left, metres.
const CLOSE: f32 = 1.4;

/// The unseen object of this room that needs the least turning (far ones are
/// preferred); when all have been seen, a random one, and all count as unseen again.
fn next_target(
    scene: &SynthScene,
    position: Vec2,
    heading: f32,
    seen: &mut [bool],
    rng: &mut ChaCha8Rng,
) -> Option<Vec3> {
    let room = scene.room_of(position);
    let here: Vec<usize> = (0..scene.objects.len())
        .filter(|&i| {
            let bounds = &scene.objects[i].object.bounds;
            let center = bounds.center.truncate();
            let is_here = room.is_none() || scene.room_of(center) == room;
            is_here && center.distance(position) > 0.7 && bounds.bottom() < 1.9
        })
        .collect();
    if here.is_empty() {
        return scene.rooms.get(room.unwrap_or(0)).map(|room| room.center().extend(1.2));
    }
    let cost = |i: usize| {
        let center = scene.objects[i].object.bounds.center;
        let turning = wrap_angle(direction_to(position, center).0 - heading).abs();
        let distance = center.truncate().distance(position);
        turning - 0.15 * distance.min(4.0) + if distance < CLOSE { 3.0 } else { 0.0 }
    };
    let unseen = here.iter().copied().filter(|&i| !seen[i]).min_by(|&a, &b| cost(a).total_cmp(&cost(b)));
    let chosen = unseen.unwrap_or_else(|| {
        for &i in &here {
            seen[i] = false;
        }
        here[rng.random_range(0..here.len())]
    });
    seen[chosen] = true;
    Some(scene.objects[chosen].object.bounds.center)
}

fn sample(path: &[Vec2], time: f32) -> Vec2 {
    let x = (time * RATE).min((path.len() - 1) as f32);
    let i = x.floor() as usize;
    path[i].lerp(path[(i + 1).min(path.len() - 1)], x - i as f32)
}

fn sample_gaze(gaze: &[Gaze], time: f32) -> Gaze {
    let x = (time * RATE).min((gaze.len() - 1) as f32);
    let i = x.floor() as usize;
    let (a, b, t) = (gaze[i], gaze[(i + 1).min(gaze.len() - 1)], x - i as f32);
    Gaze { heading: a.heading + (b.heading - a.heading) * t, pitch: a.pitch + (b.pitch - a.pitch) * t }
}

/// The tremor of a hand: a few slow waves for each of six motions.
struct Hand {
    waves: [[(f32, f32); 3]; 6],
    pitch: f32,
    roll: f32,
    strength: f32,
}

impl Hand {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        let mut wave = |band: (f32, f32)| (rng.random_range(band.0..band.1), rng.random_range(0.0..TAU));
        let waves = std::array::from_fn(|_| [wave((0.25, 0.5)), wave((0.7, 1.3)), wave((1.6, 2.6))]);
        Self {
            waves,
            pitch: rng.random_range(-0.12..0.02),
            roll: rng.random_range(-0.035..0.035),
            strength: rng.random_range(0.5..1.3),
        }
    }

    /// Between about -1 and 1.
    fn tremor(&self, motion: usize, time: f32) -> f32 {
        let [slow, middle, fast] =
            self.waves[motion].map(|(frequency, phase)| (TAU * frequency * time + phase).sin());
        self.strength * (0.6 * slow + 0.28 * middle + 0.12 * fast)
    }

    fn pose(&self, position: Vec2, gaze: Gaze, height: f32, time: f32) -> CameraPose {
        let sway = Vec2::new(self.tremor(0, time), self.tremor(1, time)) * 0.012;
        let bob = self.tremor(2, time) * 0.016;
        let heading = Orientation::from_radians(gaze.heading + 0.016 * self.tremor(3, time));
        let pitch = gaze.pitch + self.pitch * 0.5 + 0.014 * self.tremor(4, time);
        let roll = self.roll + 0.012 * self.tremor(5, time);
        CameraPose::looking((position + sway).extend(height + bob), heading, pitch, roll)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::generate_scene;

    #[test]
    fn walks_are_smooth_free_and_at_head_height() {
        let config = SynthConfig { fps: 10.0, seconds: (10.0, 14.0), ..SynthConfig::training() };
        for seed in 0..12 {
            let scene = generate_scene(seed, &config);
            let walk = generate_walk(&scene, seed, &config);
            for pose in &walk.track.poses {
                assert!((1.1..1.85).contains(&pose.position.z), "seed {seed}");
                assert!(pose.pitch().abs() < 0.75);
                assert!(scene.is_free(pose.position.truncate(), 0.04), "seed {seed} at {}", pose.position);
            }
            for pair in walk.track.poses.windows(2) {
                assert!(pair[0].position.distance(pair[1].position) < 0.15, "seed {seed}");
                assert!(pair[0].rotation_distance(&pair[1]) < 0.25, "seed {seed}");
            }
            let degrees = walk.intrinsics.horizontal_fov().to_degrees();
            assert!((49.9..80.1).contains(&degrees));
        }
    }

    #[test]
    fn a_long_walk_visits_every_room() {
        let config = SynthConfig { rooms: (2, 2), seconds: (50.0, 50.0), ..SynthConfig::training() };
        for seed in 20..26 {
            let scene = generate_scene(seed, &config);
            let walk = generate_walk(&scene, seed, &config);
            let visited =
                |room| walk.track.poses.iter().any(|p| scene.room_of(p.position.truncate()) == Some(room));
            assert!((0..2).all(visited), "seed {seed}");
        }
    }
}
