//! The bird's-eye space: points, spreads, bounds and the frame it is tied to.

use glam::{Mat3, Vec2, Vec3};
use serde::{Deserialize, Serialize};

use super::{CameraPose, Orientation};

/// A point on the floor plane, metres, bev space.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct BevPoint {
    /// Metres to the right of the first camera.
    pub x: f32,
    /// Metres in front of the first camera.
    pub y: f32,
}

impl BevPoint {
    /// A point from its coordinates in metres.
    pub fn new(x: f32, y: f32) -> Self {
        Self { x, y }
    }

    /// Euclidean distance in metres.
    pub fn distance(self, other: Self) -> f32 {
        Vec2::from(self).distance(other.into())
    }
}

impl From<Vec2> for BevPoint {
    fn from(v: Vec2) -> Self {
        Self { x: v.x, y: v.y }
    }
}

impl From<BevPoint> for Vec2 {
    fn from(p: BevPoint) -> Self {
        Self::new(p.x, p.y)
    }
}

/// Standard deviations along the bev axes, metres (diagonal covariance).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BevSigma {
    /// Along x.
    pub x: f32,
    /// Along y.
    pub y: f32,
}

impl BevSigma {
    /// Root mean square of both axes, metres: one number for colours and filters.
    pub fn rms(self) -> f32 {
        (0.5 * (self.x * self.x + self.y * self.y)).sqrt()
    }
}

/// An axis-parallel rectangle in the bev space, metres.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BevBounds {
    /// Smallest corner.
    pub min: BevPoint,
    /// Largest corner.
    pub max: BevPoint,
}

impl BevBounds {
    /// The smallest rectangle holding all finite points; `None` without any.
    pub fn around(points: impl IntoIterator<Item = BevPoint>) -> Option<Self> {
        let mut corners: Option<(Vec2, Vec2)> = None;
        for point in points.into_iter().map(Vec2::from).filter(|p| p.is_finite()) {
            let (min, max) = corners.get_or_insert((point, point));
            *min = min.min(point);
            *max = max.max(point);
        }
        corners.map(|(min, max)| Self { min: min.into(), max: max.into() })
    }

    /// Grown by `margin` metres on every side.
    #[must_use]
    pub fn grown(self, margin: f32) -> Self {
        Self {
            min: BevPoint::new(self.min.x - margin, self.min.y - margin),
            max: BevPoint::new(self.max.x + margin, self.max.y + margin),
        }
    }

    /// Whether a point lies inside or on the edge.
    pub fn contains(self, point: BevPoint) -> bool {
        (self.min.x..=self.max.x).contains(&point.x) && (self.min.y..=self.max.y).contains(&point.y)
    }

    /// Middle of the rectangle.
    pub fn center(self) -> BevPoint {
        ((Vec2::from(self.min) + Vec2::from(self.max)) * 0.5).into()
    }

    /// Width and depth in metres.
    pub fn size(self) -> Vec2 {
        Vec2::from(self.max) - Vec2::from(self.min)
    }
}

/// The anchor space of a clip inside its world space: gravity aligned, origin at
/// the first camera, y along its levelled viewing direction (model-card term:
/// right/forward convention).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AnchorFrame {
    /// First camera centre in the world space.
    pub origin: Vec3,
    /// Rows are the anchor axes (right, forward, up) in the world space.
    anchor_from_world: Mat3,
}

impl AnchorFrame {
    /// Below this length of the levelled viewing direction the camera looks
    /// almost straight up or down and the top of the image gives the heading.
    const LEVEL_ENOUGH: f32 = 0.1;

    /// The frame anchored at `first_camera`, a camera-to-world pose in a z-up world.
    pub fn from_first_camera(first_camera: &CameraPose) -> Self {
        let flat = |v: Vec3| Vec3::new(v.x, v.y, 0.0);
        let mut forward = flat(first_camera.forward());
        if forward.length() < Self::LEVEL_ENOUGH {
            forward = flat(-first_camera.down());
        }
        let forward = forward.try_normalize().unwrap_or(Vec3::Y);
        let right = forward.cross(Vec3::Z);
        Self {
            origin: first_camera.position,
            anchor_from_world: Mat3::from_cols(right, forward, Vec3::Z).transpose(),
        }
    }

    /// A world point in the anchor space, metres.
    pub fn anchor_from_world(&self, point_in_world: Vec3) -> Vec3 {
        self.anchor_from_world * (point_in_world - self.origin)
    }

    /// An anchor point in the world space, metres.
    pub fn world_from_anchor(&self, point_in_anchor: Vec3) -> Vec3 {
        self.anchor_from_world.transpose() * point_in_anchor + self.origin
    }

    /// A world point seen from above, metres.
    pub fn bev_from_world(&self, point_in_world: Vec3) -> BevPoint {
        self.anchor_from_world(point_in_world).truncate().into()
    }

    /// A world heading in the bev space.
    pub fn bev_orientation(&self, heading_in_world: Orientation) -> Orientation {
        let direction = self.anchor_from_world * heading_in_world.direction().extend(0.0);
        Orientation::from_direction(direction.truncate()).unwrap_or(Orientation::FORWARD)
    }

    /// A bev heading in the world space.
    pub fn world_orientation(&self, heading_in_bev: Orientation) -> Orientation {
        let direction = self.anchor_from_world.transpose() * heading_in_bev.direction().extend(0.0);
        Orientation::from_direction(direction.truncate()).unwrap_or(Orientation::FORWARD)
    }

    /// A camera pose of the world space in the anchor space.
    pub fn anchor_pose(&self, world_from_camera: &CameraPose) -> CameraPose {
        CameraPose {
            position: self.anchor_from_world(world_from_camera.position),
            rotation: glam::Quat::from_mat3(&self.anchor_from_world) * world_from_camera.rotation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_camera_looks_along_plus_y() {
        let pose = CameraPose::looking(Vec3::new(2.0, 1.0, 1.5), Orientation::from_degrees(30.0), -0.2, 0.05);
        let frame = AnchorFrame::from_first_camera(&pose);
        assert!(frame.anchor_from_world(pose.position).length() < 1e-5);
        let heading = frame.bev_orientation(Orientation::from_degrees(30.0));
        assert!((heading.degrees() - 90.0).abs() < 1e-2);
        let right = frame.bev_orientation(Orientation::from_degrees(-60.0));
        assert!(right.degrees().abs() < 1e-2);
    }

    #[test]
    fn a_camera_looking_down_takes_the_heading_of_the_image_top() {
        let pose = CameraPose::looking(
            Vec3::ZERO,
            Orientation::from_degrees(0.0),
            -std::f32::consts::FRAC_PI_2,
            0.0,
        );
        let frame = AnchorFrame::from_first_camera(&pose);
        let heading = frame.bev_orientation(Orientation::from_degrees(0.0));
        assert!((heading.degrees() - 90.0).abs() < 0.1);
    }

    proptest! {
        #[test]
        fn world_and_anchor_are_inverse(x in -9.0f32..9.0, y in -9.0f32..9.0, z in 0.0f32..3.0, yaw in -3.0f32..3.0) {
            let pose = CameraPose::looking(Vec3::new(y, x, 1.4), Orientation::from_radians(yaw), 0.1, 0.0);
            let frame = AnchorFrame::from_first_camera(&pose);
            let point = Vec3::new(x, y, z);
            prop_assert!(frame.world_from_anchor(frame.anchor_from_world(point)).distance(point) < 1e-4);
        }
    }
}
