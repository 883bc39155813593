//! The pinhole camera: image sizes, intrinsics, projection.

use glam::{Vec2, Vec3};
use serde::{Deserialize, Serialize};

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageSize {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl ImageSize {
    /// A size in pixels.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Number of pixels.
    pub fn pixels(self) -> usize {
        self.width as usize * self.height as usize
    }

    /// Width over height.
    pub fn aspect(self) -> f32 {
        self.width as f32 / self.height.max(1) as f32
    }
}

/// Pinhole intrinsics in pixels. Pixel (i, j) covers [i, i+1) x [j, j+1).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Intrinsics {
    /// Focal lengths (fx, fy) in pixels.
    pub focal: Vec2,
    /// Principal point (cx, cy) in pixels.
    pub principal: Vec2,
    /// Image size in pixels.
    pub size: ImageSize,
}

impl Intrinsics {
    /// Square pixels, principal point at the centre, horizontal field of view in radians.
    pub fn from_horizontal_fov(size: ImageSize, fov: f32) -> Self {
        let focal = 0.5 * size.width as f32 / (0.5 * fov).tan();
        Self {
            focal: Vec2::splat(focal),
            principal: Vec2::new(size.width as f32, size.height as f32) * 0.5,
            size,
        }
    }

    /// The same view on an image of another size (the aspect may change: a squash).
    #[must_use]
    pub fn resized(&self, size: ImageSize) -> Self {
        let scale = Vec2::new(
            size.width as f32 / self.size.width as f32,
            size.height as f32 / self.size.height as f32,
        );
        Self { focal: self.focal * scale, principal: self.principal * scale, size }
    }

    /// Horizontal field of view, radians.
    pub fn horizontal_fov(&self) -> f32 {
        2.0 * (0.5 * self.size.width as f32 / self.focal.x).atan()
    }

    /// Image coordinates of a camera point; `None` behind the camera.
    pub fn project(&self, point_in_camera: Vec3) -> Option<Vec2> {
        (point_in_camera.z > 1e-6)
            .then(|| self.principal + self.focal * point_in_camera.truncate() / point_in_camera.z)
    }

    /// The camera point at image coordinates `uv` and `depth` metres along the optical axis.
    pub fn unproject(&self, uv: Vec2, depth: f32) -> Vec3 {
        ((uv - self.principal) / self.focal * depth).extend(depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn projection_and_unprojection_are_inverse(u in 0.0f32..640.0, v in 0.0f32..480.0, depth in 0.1f32..20.0) {
            let camera = Intrinsics::from_horizontal_fov(ImageSize::new(640, 480), 1.1);
            let uv = camera.project(camera.unproject(Vec2::new(u, v), depth)).unwrap();
            prop_assert!(uv.distance(Vec2::new(u, v)) < 1e-2);
        }
    }

    #[test]
    fn resizing_keeps_the_field_of_view() {
        let camera = Intrinsics::from_horizontal_fov(ImageSize::new(640, 480), 1.1);
        let square = camera.resized(ImageSize::new(128, 128));
        assert!((square.horizontal_fov() - 1.1).abs() < 1e-5);
    }
}
