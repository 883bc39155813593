//! A camera pose as a vector of numbers that a small MLP reads easily.
//!
//! Channels: position (3, metres), cosine and sine of the turn since the first
//! frame, pitch, roll (radians), ln focal lengths over the image sides (2),
//! ln(1 + support), then sines and cosines of the planar position at rising
//! frequencies. Unused channels up to the token width are 0.

use std::f32::consts::PI;

use glam::Vec3;

use super::planar::PlanarPose;
use crate::geometry::{CameraPose, Orientation};

/// Wave lengths of the position code, metres.
const WAVE_LENGTHS: [f32; 4] = [16.0, 8.0, 4.0, 2.0];

/// Channels that [`pose_code`] fills.
pub const POSE_CODE: usize = 10 + 4 * WAVE_LENGTHS.len();

/// What a camera token tells about one frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FramePose {
    /// Levelled anchor_from_frame motion.
    pub planar: PlanarPose,
    /// Camera height relative to the first camera, metres.
    pub height: f32,
    /// Pitch (up is positive), radians.
    pub pitch: f32,
    /// Roll, radians.
    pub roll: f32,
    /// ln(fx / width), ln(fy / height).
    pub log_focal: [f32; 2],
    /// Weight of the matches that tie the frame to others.
    pub support: f32,
}

impl FramePose {
    /// A level camera at the start of a clip, tied to nothing.
    pub const START: Self = Self {
        planar: PlanarPose::IDENTITY,
        height: 0.0,
        pitch: 0.0,
        roll: 0.0,
        log_focal: [0.0; 2],
        support: 0.0,
    };

    /// The camera-to-anchor pose.
    pub fn camera_pose(&self) -> CameraPose {
        CameraPose::looking(
            self.planar.shift.extend(self.height),
            Orientation::FORWARD.turned(self.planar.yaw),
            self.pitch,
            self.roll,
        )
    }
}

/// The code of a pose, `width` numbers.
pub fn pose_code(pose: &FramePose, width: usize) -> Vec<f32> {
    let position = Vec3::new(pose.planar.shift.x, pose.planar.shift.y, pose.height);
    let mut code = vec![
        position.x * 0.5,
        position.y * 0.5,
        position.z,
        pose.planar.yaw.cos(),
        pose.planar.yaw.sin(),
        2.0 * pose.pitch,
        2.0 * pose.roll,
        pose.log_focal[0],
        pose.log_focal[1],
        0.2 * pose.support.max(0.0).ln_1p(),
    ];
    for wave in WAVE_LENGTHS {
        for coordinate in [position.x, position.y] {
            let phase = 2.0 * PI * coordinate / wave;
            code.extend([phase.cos(), phase.sin()]);
        }
    }
    code.resize(width, 0.0);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_has_the_asked_width_and_tells_poses_apart() {
        let still = FramePose { support: 1.0, ..FramePose::START };
        let turned = FramePose { planar: PlanarPose { yaw: 1.0, ..PlanarPose::IDENTITY }, ..still };
        assert_eq!(pose_code(&still, 48).len(), 48);
        assert_eq!(pose_code(&still, POSE_CODE).len(), POSE_CODE);
        assert_ne!(pose_code(&still, 48), pose_code(&turned, 48));
    }
}
