//! [`CameraRig`]: orbit, pan, zoom, follow and top view of the 3D view.
//!
//! Input moves the goal; the shown eye glides after it (time constant
//! [`GLIDE_SECS`]). A script jumps instead, so that its pictures do not depend on
//! timing.

use std::f32::consts::FRAC_PI_2;

use bevy::prelude::Resource;
use glam::{Vec2, Vec3};

use super::space::{Eye, View};
use super::workbench::CameraMode;
use crate::geometry::{BevBounds, CameraPose, Orientation, wrap_angle};

/// After this time two thirds of the way to the goal are done.
const GLIDE_SECS: f32 = 0.11;
/// Field of view of orbit and follow, radians.
const WIDE_FOV: f32 = 0.70;
/// Field of view of the top view: almost parallel, so that it can be measured.
const MAP_FOV: f32 = 0.07;
/// Steepest and flattest line of sight of the orbit.
const PITCH_RANGE: (f32, f32) = (-FRAC_PI_2, -0.06);
/// Nearest and farthest, metres from the target to the upper edge of the view.
const REACH_RANGE: (f32, f32) = (0.25, 60.0);
/// Share of the view that framing fills.
const FILLED: f32 = 0.9;
/// Framing leaves room for things up to this height above the floor, metres.
const FURNITURE_HEIGHT: f32 = 0.9;
/// Turn per point of pointer travel, radians.
const TURN_PER_POINT: f32 = 0.006;

/// The eye of the 3D view, where it is going, and how.
#[derive(Debug, Clone, Resource)]
pub struct CameraRig {
    mode: CameraMode,
    shown: Eye,
    goal: Eye,
    /// Somebody moved the eye since it was fitted.
    touched: bool,
    /// Heading and pitch to come back to from the top view.
    orbit: (Orientation, f32),
}

impl Default for CameraRig {
    fn default() -> Self {
        let orbit = (Orientation::from_degrees(58.0), -0.72);
        let eye = Eye {
            target: Vec3::new(0.0, 1.5, -1.2),
            heading: orbit.0,
            pitch: orbit.1,
            reach: 3.2,
            fov: WIDE_FOV,
        };
        Self { mode: CameraMode::Orbit, shown: eye, goal: eye, touched: false, orbit }
    }
}

impl CameraRig {
    /// The view on a rectangle of `size` points.
    pub fn view(&self, size: Vec2) -> View {
        View::new(self.shown, size)
    }

    /// Whether somebody moved the eye since it was fitted.
    pub(crate) fn is_touched(&self) -> bool {
        self.touched || self.mode == CameraMode::Follow
    }

    /// Switches the control; the eye glides to its new place.
    pub fn set_mode(&mut self, mode: CameraMode) {
        if self.mode == CameraMode::Orbit {
            self.orbit = (self.goal.heading, self.goal.pitch);
        }
        self.mode = mode;
        match mode {
            CameraMode::Orbit => {
                (self.goal.heading, self.goal.pitch) = self.orbit;
                self.goal.fov = WIDE_FOV;
            }
            CameraMode::Top => {
                self.goal.heading = Orientation::FORWARD;
                self.goal.pitch = -FRAC_PI_2;
                self.goal.fov = MAP_FOV;
            }
            CameraMode::Follow => {
                self.goal.fov = WIDE_FOV;
                self.goal.reach = 0.9;
            }
        }
    }

    /// Turns around the target by a pointer movement in points.
    pub fn turn(&mut self, movement: Vec2) {
        self.touched = true;
        match self.mode {
            CameraMode::Orbit => {
                self.goal.heading = self.goal.heading.turned(-movement.x * TURN_PER_POINT);
                self.goal.pitch =
                    (self.goal.pitch - movement.y * TURN_PER_POINT).clamp(PITCH_RANGE.0, PITCH_RANGE.1);
            }
            CameraMode::Top => self.goal.heading = self.goal.heading.turned(-movement.x * TURN_PER_POINT),
            CameraMode::Follow => {}
        }
    }

    /// Moves the target so that what is under the pointer follows it.
    pub fn pan(&mut self, movement: Vec2, view_height: f32) {
        if self.mode == CameraMode::Follow {
            return;
        }
        self.touched = true;
        let metres_per_point = 2.0 * self.goal.reach / view_height.max(1.0);
        let up_on_floor = self.goal.heading.direction().extend(0.0);
        // Along the line of sight a floor point moves slower on the screen, by the sine of the pitch.
        let depth = movement.y / self.goal.pitch.sin().abs().max(0.25);
        self.goal.target += (up_on_floor * depth - self.goal.right() * movement.x) * metres_per_point;
    }

    /// Comes nearer by `factor` above 1, keeping `anchor` (a point of the target's
    /// plane) under the pointer.
    pub fn zoom(&mut self, factor: f32, anchor: Option<Vec3>) {
        self.touched = true;
        let reach = (self.goal.reach / factor.max(1e-3)).clamp(REACH_RANGE.0, REACH_RANGE.1);
        if let Some(anchor) = anchor.filter(|_| self.mode != CameraMode::Follow) {
            let shift = (anchor - self.goal.target) * (1.0 - reach / self.goal.reach);
            self.goal.target += shift.truncate().extend(0.0);
        }
        self.goal.reach = reach;
    }

    /// Fits `bounds` on the floor at `floor` into a view of `aspect` (width over height).
    pub fn frame(&mut self, bounds: BevBounds, floor: f32, aspect: f32) {
        // The follower goes where the camera is.
        if self.mode == CameraMode::Follow {
            return;
        }
        self.touched = false;
        let (low, high): (Vec2, Vec2) = (bounds.min.into(), bounds.max.into());
        let corners: [Vec3; 8] = std::array::from_fn(|k| {
            let corner =
                Vec2::new(if k & 1 == 0 { low.x } else { high.x }, if k & 2 == 0 { low.y } else { high.y });
            corner.extend(floor + if k & 4 == 0 { 0.0 } else { FURNITURE_HEIGHT })
        });
        self.goal.target = Vec2::from(bounds.center()).extend(floor);
        self.goal.reach = bounds.size().max_element().clamp(REACH_RANGE.0, REACH_RANGE.1);
        let size = Vec2::new(aspect.max(0.1), 1.0) * 1000.0;
        // Size and middle depend on each other in perspective; a few rounds settle both.
        for _ in 0..8 {
            let view = View::new(self.goal, size);
            let screen = corners.map(|corner| view.project(corner));
            let Some(screen) = screen.into_iter().collect::<Option<Vec<Vec2>>>() else {
                self.goal.reach = (self.goal.reach * 1.5).min(REACH_RANGE.1);
                continue;
            };
            let min = screen.iter().copied().fold(Vec2::INFINITY, Vec2::min);
            let max = screen.iter().copied().fold(Vec2::NEG_INFINITY, Vec2::max);
            let off = (min + max - size) * 0.5;
            let metres_per_point = 2.0 * self.goal.reach / size.y;
            let along = self.goal.heading.direction().extend(0.0);
            let depth = off.y / self.goal.pitch.sin().abs().max(0.25);
            self.goal.target += (self.goal.right() * off.x - along * depth) * metres_per_point;
            let filled = ((max - min) / size).max_element() / FILLED;
            self.goal.reach = (self.goal.reach * filled).clamp(REACH_RANGE.0, REACH_RANGE.1);
        }
    }

    /// In follow mode: looks over the shoulder of `camera`.
    pub fn follow(&mut self, camera: &CameraPose) {
        if self.mode == CameraMode::Follow {
            self.goal.heading = camera.heading();
            self.goal.pitch = -0.42;
            self.goal.target = camera.position + camera.heading().direction().extend(-0.35) * 0.9;
        }
    }

    /// Lets `elapsed` seconds pass; returns whether the eye still moves.
    pub fn glide(&mut self, elapsed: f32) -> bool {
        let share = 1.0 - (-elapsed / GLIDE_SECS).exp();
        let (from, to) = (self.shown, self.goal);
        let turn = wrap_angle(to.heading.radians() - from.heading.radians());
        // Ratios, not differences, look even.
        let ratio = |from: f32, to: f32| from * (to / from).powf(share);
        self.shown = Eye {
            target: from.target.lerp(to.target, share),
            heading: from.heading.turned(turn * share),
            pitch: from.pitch + (to.pitch - from.pitch) * share,
            reach: ratio(from.reach, to.reach),
            fov: ratio(from.fov, to.fov),
        };
        let settled = self.shown.target.distance(to.target) < 1e-3 * to.reach
            && turn.abs() < 1e-3
            && (to.pitch - from.pitch).abs() < 1e-3
            && (to.reach / from.reach).ln().abs() < 1e-3
            && (to.fov / from.fov).ln().abs() < 1e-3;
        if settled {
            self.shown = self.goal;
        }
        !settled
    }

    /// Goes to the goal at once.
    pub fn jump(&mut self) {
        self.shown = self.goal;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::BevPoint;

    fn room() -> BevBounds {
        BevBounds { min: BevPoint::new(-2.0, -1.0), max: BevPoint::new(3.0, 5.0) }
    }

    #[test]
    fn framing_shows_every_corner_in_every_mode() {
        for mode in [CameraMode::Orbit, CameraMode::Top] {
            let mut rig = CameraRig::default();
            rig.set_mode(mode);
            rig.frame(room(), -1.4, 4.0 / 3.0);
            rig.jump();
            let view = rig.view(Vec2::new(800.0, 600.0));
            for (x, y) in [(-2.0, -1.0), (3.0, -1.0), (3.0, 5.0), (-2.0, 5.0)] {
                let screen = view.project(Vec3::new(x, y, -1.4)).unwrap();
                assert!(screen.cmpge(Vec2::ZERO).all() && screen.cmple(view.size).all(), "{mode:?} {screen}");
            }
        }
    }

    #[test]
    fn fitting_leaves_the_follower_at_its_camera() {
        let mut rig = CameraRig::default();
        rig.set_mode(CameraMode::Follow);
        rig.follow(&CameraPose::looking(Vec3::ZERO, Orientation::FORWARD, 0.0, 0.0));
        let before = rig.goal;
        rig.frame(room(), -1.4, 1.0);
        assert_eq!(rig.goal, before);
    }

    #[test]
    fn gliding_settles_on_the_goal_and_comes_back_from_the_map() {
        let mut rig = CameraRig::default();
        let before = rig.shown;
        rig.set_mode(CameraMode::Top);
        let frames = (0..200).take_while(|_| rig.glide(1.0 / 60.0)).count();
        assert!((10..120).contains(&frames));
        assert!((rig.shown.pitch + FRAC_PI_2).abs() < 1e-6);
        rig.set_mode(CameraMode::Orbit);
        rig.jump();
        assert_eq!(rig.shown, before);
    }

    #[test]
    fn panning_on_the_map_moves_the_floor_with_the_pointer() {
        let mut rig = CameraRig::default();
        rig.set_mode(CameraMode::Top);
        rig.jump();
        let size = Vec2::new(800.0, 600.0);
        let point = rig.goal.target;
        rig.pan(Vec2::new(30.0, 20.0), size.y);
        rig.jump();
        let moved = rig.view(size).project(point).unwrap() - size * 0.5;
        assert!(moved.distance(Vec2::new(30.0, 20.0)) < 0.5, "{moved}");
    }

    #[test]
    fn zooming_keeps_the_point_under_the_pointer() {
        let mut rig = CameraRig::default();
        rig.set_mode(CameraMode::Top);
        rig.jump();
        let size = Vec2::new(800.0, 600.0);
        let pointer = Vec2::new(600.0, 150.0);
        let anchor = rig.view(size).on_plane(pointer, rig.goal.target.z);
        rig.zoom(1.5, anchor);
        rig.jump();
        assert!(rig.view(size).project(anchor.unwrap()).unwrap().distance(pointer) < 0.5);
    }
}
