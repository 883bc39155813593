//! Rigid motions of the floor plane.
//!
//! Points of a frame are *levelled*: (right, forward) of the camera's heading,
//! metres, gravity removed. What is left between two frames is a turn about the
//! vertical and a shift on the floor: [`PlanarPose`].

use glam::Vec2;

use crate::geometry::wrap_angle;

/// A turn by `yaw` (counter-clockwise, radians) followed by a shift (metres):
/// `a_from_b` maps levelled points of frame b into those of frame a.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlanarPose {
    /// Shift in metres.
    pub shift: Vec2,
    /// Turn in radians, counter-clockwise seen from above.
    pub yaw: f32,
}

impl PlanarPose {
    /// No motion.
    pub const IDENTITY: Self = Self { shift: Vec2::ZERO, yaw: 0.0 };

    /// Maps a point.
    pub fn apply(&self, point: Vec2) -> Vec2 {
        Vec2::from_angle(self.yaw).rotate(point) + self.shift
    }

    /// The motion back.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Self { shift: -Vec2::from_angle(-self.yaw).rotate(self.shift), yaw: -self.yaw }
    }

    /// `self` after `other`: a_from_c = a_from_b ∘ b_from_c.
    #[must_use]
    pub fn compose(&self, other: &Self) -> Self {
        Self { shift: self.apply(other.shift), yaw: wrap_angle(self.yaw + other.yaw) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn composing_with_the_inverse_is_no_motion(x in -3.0f32..3.0, y in -3.0f32..3.0, yaw in -3.1f32..3.1) {
            let pose = PlanarPose { shift: Vec2::new(x, y), yaw };
            let back = pose.compose(&pose.inverse());
            prop_assert!(back.shift.length() < 1e-5 && wrap_angle(back.yaw).abs() < 1e-5);
        }
    }

    #[test]
    fn a_left_turn_moves_what_was_ahead_to_the_right() {
        let turn = PlanarPose { shift: Vec2::ZERO, yaw: std::f32::consts::FRAC_PI_2 };
        assert!(turn.apply(Vec2::Y).distance(-Vec2::X) < 1e-6);
        assert!(turn.inverse().apply(Vec2::Y).distance(Vec2::X) < 1e-6);
    }
}
