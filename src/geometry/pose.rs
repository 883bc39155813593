//! Camera poses: camera-to-world, OpenCV camera axes, metres.

use glam::{Mat3, Mat4, Quat, Vec3};
use serde::{Deserialize, Serialize};

use super::Orientation;

/// A rigid camera-to-world transform. Camera axes: x right, y down, z forward.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CameraPose {
    /// Camera centre in the world space, metres.
    pub position: Vec3,
    /// World-from-camera rotation.
    pub rotation: Quat,
}

impl CameraPose {
    /// The pose at the origin whose camera axes are the world axes.
    pub const IDENTITY: Self = Self { position: Vec3::ZERO, rotation: Quat::IDENTITY };

    /// A camera in a z-up world at `position` with a `heading` on the floor plane,
    /// `pitch` (up is positive) and `roll` (clockwise seen from behind), radians.
    pub fn looking(position: Vec3, heading: Orientation, pitch: f32, roll: f32) -> Self {
        let flat = heading.direction().extend(0.0);
        let forward = flat * pitch.cos() + Vec3::Z * pitch.sin();
        let right = flat.cross(Vec3::Z);
        let down = forward.cross(right);
        let level = Quat::from_mat3(&Mat3::from_cols(right, down, forward));
        Self { position, rotation: (level * Quat::from_rotation_z(roll)).normalize() }
    }

    /// From a 4x4 camera-to-world matrix; `None` if it is not finite.
    pub fn from_matrix(world_from_camera: Mat4) -> Option<Self> {
        let (_, rotation, position) = world_from_camera.to_scale_rotation_translation();
        (position.is_finite() && rotation.is_finite())
            .then(|| Self { position, rotation: rotation.normalize() })
    }

    /// The 4x4 camera-to-world matrix.
    pub fn matrix(&self) -> Mat4 {
        Mat4::from_rotation_translation(self.rotation, self.position)
    }

    /// Viewing direction (camera +z) in the world space.
    pub fn forward(&self) -> Vec3 {
        self.rotation * Vec3::Z
    }

    /// Image-right direction (camera +x) in the world space.
    pub fn right(&self) -> Vec3 {
        self.rotation * Vec3::X
    }

    /// Image-down direction (camera +y) in the world space.
    pub fn down(&self) -> Vec3 {
        self.rotation * Vec3::Y
    }

    /// Heading on the floor plane of a z-up world; straight up or down uses the image top.
    pub fn heading(&self) -> Orientation {
        Orientation::from_direction(self.forward().truncate())
            .or_else(|| Orientation::from_direction(-self.down().truncate()))
            .unwrap_or(Orientation::FORWARD)
    }

    /// Angle of the viewing direction above the floor plane of a z-up world, radians.
    pub fn pitch(&self) -> f32 {
        self.forward().z.clamp(-1.0, 1.0).asin()
    }

    /// A camera point in the world space.
    pub fn world_from_camera(&self, point_in_camera: Vec3) -> Vec3 {
        self.rotation * point_in_camera + self.position
    }

    /// A world point in the camera space.
    pub fn camera_from_world(&self, point_in_world: Vec3) -> Vec3 {
        self.rotation.inverse() * (point_in_world - self.position)
    }

    /// The inverse transform.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let rotation = self.rotation.inverse();
        Self { position: -(rotation * self.position), rotation }
    }

    /// `self` after `other`: a_from_c = a_from_b ∘ b_from_c.
    #[must_use]
    pub fn compose(&self, other: &Self) -> Self {
        Self {
            position: self.world_from_camera(other.position),
            rotation: (self.rotation * other.rotation).normalize(),
        }
    }

    /// Between `self` (t = 0) and `other` (t = 1).
    #[must_use]
    pub fn interpolate(&self, other: &Self, t: f32) -> Self {
        Self {
            position: self.position.lerp(other.position, t),
            rotation: self.rotation.slerp(other.rotation, t),
        }
    }

    /// Unsigned rotation between both poses, radians in [0, π].
    pub fn rotation_distance(&self, other: &Self) -> f32 {
        self.rotation.angle_between(other.rotation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn level_camera_axes_follow_opencv() {
        let pose = CameraPose::looking(Vec3::ZERO, Orientation::FORWARD, 0.0, 0.0);
        assert!(pose.forward().distance(Vec3::Y) < 1e-6);
        assert!(pose.right().distance(Vec3::X) < 1e-6);
        assert!(pose.down().distance(-Vec3::Z) < 1e-6);
    }

    #[test]
    fn positive_pitch_looks_up() {
        let pose = CameraPose::looking(Vec3::ZERO, Orientation::from_degrees(10.0), 0.3, 0.0);
        assert!((pose.pitch() - 0.3).abs() < 1e-5);
        assert!((pose.heading().degrees() - 10.0).abs() < 1e-3);
    }

    proptest! {
        #[test]
        fn composing_with_the_inverse_is_the_identity(yaw in -3.0f32..3.0, pitch in -1.0f32..1.0, roll in -1.0f32..1.0, x in -5.0f32..5.0) {
            let pose = CameraPose::looking(Vec3::new(x, 1.0, 2.0), Orientation::from_radians(yaw), pitch, roll);
            let identity = pose.compose(&pose.inverse());
            prop_assert!(identity.position.length() < 1e-4);
            prop_assert!(identity.rotation_distance(&CameraPose::IDENTITY) < 1e-2);
            let back = CameraPose::from_matrix(pose.matrix()).unwrap();
            prop_assert!(back.rotation_distance(&pose) < 1e-2);
        }
    }
}
