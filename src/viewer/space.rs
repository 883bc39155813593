//! From the anchor space to the screen and back: the only place that knows how the
//! 3D view is projected.
//!
//! The app draws with its own pipelines, so nothing is converted to Bevy's y-up
//! world: cameras, layout, objects and the eye of the 3D view all live in the
//! anchor space (x right, y forward, z up, metres). Screen positions are points of
//! the user interface, relative to the top left corner of the view.

use glam::{Mat4, Vec2, Vec3};

use crate::geometry::Orientation;

/// The eye of the 3D view.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Eye {
    /// The point looked at, anchor space.
    pub target: Vec3,
    /// Heading of the line of sight.
    pub heading: Orientation,
    /// Angle of the line of sight above the floor plane, radians; -π/2 looks straight down.
    pub pitch: f32,
    /// Metres from the target to the upper edge of the view.
    pub reach: f32,
    /// Vertical field of view, radians.
    pub fov: f32,
}

impl Eye {
    /// Metres from the eye to the target.
    pub fn distance(&self) -> f32 {
        self.reach / (0.5 * self.fov).tan()
    }

    /// Direction of the line of sight.
    pub fn forward(&self) -> Vec3 {
        (self.heading.direction() * self.pitch.cos()).extend(self.pitch.sin())
    }

    /// Direction to the right of the screen.
    pub fn right(&self) -> Vec3 {
        self.heading.direction().extend(0.0).cross(Vec3::Z)
    }

    /// Direction to the top of the screen.
    pub fn up(&self) -> Vec3 {
        self.right().cross(self.forward())
    }

    /// Where the eye is.
    pub fn position(&self) -> Vec3 {
        self.target - self.forward() * self.distance()
    }
}

/// A view of the anchor space on a screen rectangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// Where from.
    pub eye: Eye,
    /// Size of the rectangle, points.
    pub size: Vec2,
    clip_from_anchor: Mat4,
}

impl View {
    const NEAR: f32 = 0.02;

    /// The view of `eye` on a rectangle of `size` points.
    pub fn new(eye: Eye, size: Vec2) -> Self {
        let size = size.max(Vec2::ONE);
        let far = 10.0 * eye.distance() + 200.0;
        let projection = Mat4::perspective_rh(eye.fov, size.x / size.y, Self::NEAR, far);
        let camera = Mat4::look_to_rh(eye.position(), eye.forward(), eye.up());
        Self { eye, size, clip_from_anchor: projection * camera }
    }

    /// For the shaders.
    pub fn clip_from_anchor(&self) -> Mat4 {
        self.clip_from_anchor
    }

    /// Points of the screen per metre at distance 1 from the eye.
    pub fn points_per_metre(&self) -> f32 {
        0.5 * self.size.y / (0.5 * self.eye.fov).tan()
    }

    /// Where an anchor point is on the screen; `None` behind the eye.
    pub fn project(&self, point: Vec3) -> Option<Vec2> {
        let clip = self.clip_from_anchor * point.extend(1.0);
        (clip.w > Self::NEAR).then(|| {
            let ndc = clip.truncate().truncate() / clip.w;
            Vec2::new(0.5 + 0.5 * ndc.x, 0.5 - 0.5 * ndc.y) * self.size
        })
    }

    /// Direction of the ray through a screen position.
    pub fn ray(&self, screen: Vec2) -> Vec3 {
        let half_height = (0.5 * self.eye.fov).tan();
        let x = (screen.x / self.size.x * 2.0 - 1.0) * half_height * self.size.x / self.size.y;
        let y = (1.0 - screen.y / self.size.y * 2.0) * half_height;
        (self.eye.forward() + self.eye.right() * x + self.eye.up() * y).normalize()
    }

    /// Where the ray through a screen position meets the horizontal plane at `height`;
    /// `None` when it does not, or only beyond the horizon.
    pub fn on_plane(&self, screen: Vec2, height: f32) -> Option<Vec3> {
        let (origin, direction) = (self.eye.position(), self.ray(screen));
        let distance = (height - origin.z) / direction.z;
        (direction.z.abs() > 1e-4 && distance > 0.0 && distance < 1e3).then(|| origin + direction * distance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn view(pitch_degrees: f32) -> View {
        let eye = Eye {
            target: Vec3::new(1.0, 2.0, -1.4),
            heading: Orientation::FORWARD,
            pitch: pitch_degrees.to_radians(),
            reach: 3.0,
            fov: 0.8,
        };
        View::new(eye, Vec2::new(800.0, 600.0))
    }

    #[test]
    fn the_target_is_in_the_middle_and_reach_is_the_upper_edge() {
        let view = view(-35.0);
        assert!(view.project(view.eye.target).unwrap().distance(Vec2::new(400.0, 300.0)) < 1e-2);
        let edge = view.eye.target + view.eye.up() * 3.0;
        assert!(view.project(edge).unwrap().y.abs() < 0.1);
    }

    #[test]
    fn seen_from_above_right_is_right_and_forward_is_up() {
        let view = view(-90.0);
        let middle = view.project(view.eye.target).unwrap();
        let right = view.project(view.eye.target + Vec3::X).unwrap();
        let forward = view.project(view.eye.target + Vec3::Y).unwrap();
        assert!(right.x > middle.x + 50.0 && (right.y - middle.y).abs() < 1e-2);
        assert!(forward.y < middle.y - 50.0 && (forward.x - middle.x).abs() < 1e-2);
    }

    #[test]
    fn a_point_behind_the_eye_is_nowhere() {
        let view = view(-35.0);
        assert!(view.project(view.eye.position() - view.eye.forward()).is_none());
    }

    proptest! {
        #[test]
        fn a_floor_point_is_found_again_under_its_pixel(x in -2.0f32..4.0, y in -1.0f32..6.0, pitch in -90.0f32..-20.0) {
            let view = view(pitch);
            let point = Vec3::new(x, y, -1.4);
            if let Some(screen) = view.project(point) {
                let found = view.on_plane(screen, -1.4).unwrap();
                prop_assert!(found.distance(point) < 2e-2);
            }
        }
    }
}
