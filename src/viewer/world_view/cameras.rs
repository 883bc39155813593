//! Camera path and frusta, and the interpolated camera of the frame on screen.

use glam::{Vec2, Vec3};

use crate::geometry::{CameraPose, Intrinsics};
use crate::scene::CameraEstimate;
use crate::video::VideoInfo;
use crate::viewer::render::{Geometry, Line, Mark, Rgba};
use crate::viewer::theme;
use crate::viewer::workbench::Layer;

/// Depth of the drawn frusta, metres.
const FRUSTUM_DEPTH: f32 = 0.12;
/// Depth of the frustum of the frame on screen.
const CURRENT_DEPTH: f32 = 0.34;

/// Adds the path through the sampled cameras and a small frustum at each.
pub(super) fn add_cameras(geometry: &mut Geometry, cameras: &[CameraEstimate]) {
    let [r, g, b, _] = theme::CAMERA.to_array();
    let shade = |k: usize| -> Rgba {
        let alpha = 90 + (150 * k / cameras.len().max(1)) as u8;
        [r, g, b, alpha]
    };
    for (k, pair) in cameras.windows(2).enumerate() {
        let ends = [pair[0].pose.position, pair[1].pose.position];
        geometry.lines.push(Line::fading(Layer::Path, ends, 2.0, [shade(k), shade(k + 1)]));
    }
    for camera in cameras {
        add_frustum(geometry, camera, FRUSTUM_DEPTH, 1.0, [r, g, b, 84]);
    }
}

/// Adds the highlighted frustum of the frame on screen.
pub(super) fn add_current_camera(geometry: &mut Geometry, camera: &CameraEstimate, floor: f32) {
    let [r, g, b, _] = theme::CAMERA.to_array();
    let corners = frustum_corners(&camera.pose, &camera.intrinsics, CURRENT_DEPTH);
    let fill: Rgba = [r, g, b, 46];
    geometry.front_marks.push(Mark::triangle(Layer::Frusta, [corners[0], corners[1], corners[2]], fill));
    geometry.front_marks.push(Mark::triangle(Layer::Frusta, [corners[0], corners[2], corners[3]], fill));
    let apex = camera.pose.position;
    for k in 0..4 {
        let edges = [[apex, corners[k]], [corners[k], corners[(k + 1) % 4]]];
        for edge in edges {
            geometry.front_lines.push(Line::new(Layer::Frusta, edge, 2.0, [r, g, b, 255]));
        }
    }
    // A plumb line shows where on the floor the camera stands.
    let foot = Vec3::new(apex.x, apex.y, floor);
    geometry.lines.push(Line::fading(Layer::Frusta, [apex, foot], 1.0, [[r, g, b, 160], [r, g, b, 40]]));
    geometry
        .floor_marks
        .push(Mark::ellipse(Layer::Frusta, foot, Vec2::splat(0.06), [r, g, b, 200]).ring(0.6));
}

fn add_frustum(geometry: &mut Geometry, camera: &CameraEstimate, depth: f32, width: f32, color: Rgba) {
    let corners = frustum_corners(&camera.pose, &camera.intrinsics, depth);
    for k in 0..4 {
        for edge in [[camera.pose.position, corners[k]], [corners[k], corners[(k + 1) % 4]]] {
            geometry.lines.push(Line::new(Layer::Frusta, edge, width, color));
        }
    }
}

/// Corners of the image plane at `depth` metres: top left, top right, bottom right, bottom left.
fn frustum_corners(pose: &CameraPose, intrinsics: &Intrinsics, depth: f32) -> [Vec3; 4] {
    let size = Vec2::new(intrinsics.size.width as f32, intrinsics.size.height as f32);
    [Vec2::ZERO, Vec2::new(size.x, 0.0), size, Vec2::new(0.0, size.y)].map(|pixel| {
        let ray = ((pixel - intrinsics.principal) / intrinsics.focal).extend(1.0);
        pose.world_from_camera(ray * depth)
    })
}

/// The camera at `secs` of the video, between the two sampled frames around it.
pub(super) fn camera_at(cameras: &[CameraEstimate], video: &VideoInfo, secs: f64) -> Option<CameraEstimate> {
    let time = |camera: &CameraEstimate| video.pts_secs.get(camera.frame.0 as usize).copied().unwrap_or(0.0);
    let after = cameras.partition_point(|camera| time(camera) <= secs);
    let Some(before) = after.checked_sub(1).and_then(|index| cameras.get(index)) else {
        return cameras.first().copied();
    };
    let Some(next) = cameras.get(after) else { return Some(*before) };
    let t = (secs - time(before)) / (time(next) - time(before)).max(1e-6);
    Some(CameraEstimate { pose: before.pose.interpolate(&next.pose, t.clamp(0.0, 1.0) as f32), ..*before })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{ImageSize, Orientation};
    use crate::video::FrameIndex;

    fn camera(frame: u32, x: f32) -> CameraEstimate {
        CameraEstimate {
            frame: FrameIndex(frame),
            pose: CameraPose::looking(Vec3::new(x, 0.0, 0.0), Orientation::FORWARD, 0.0, 0.0),
            intrinsics: Intrinsics::from_horizontal_fov(ImageSize::new(640, 480), 1.2),
        }
    }

    fn video() -> VideoInfo {
        VideoInfo {
            path: "clip.mp4".into(),
            size: ImageSize::new(640, 480),
            pts_secs: (0..20).map(|i| f64::from(i) * 0.1).collect(),
            keyframes: vec![FrameIndex(0)],
            rotation_degrees: 0,
            codec: "h264".to_owned(),
            container: "mov".to_owned(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn the_current_camera_moves_between_sampled_frames() {
        let cameras = [camera(0, 0.0), camera(10, 2.0)];
        let x = |secs| camera_at(&cameras, &video(), secs).unwrap().pose.position.x;
        assert!((x(0.5) - 1.0).abs() < 1e-5);
        assert!((x(-1.0)).abs() < 1e-5);
        assert!((x(9.0) - 2.0).abs() < 1e-5);
        assert!(camera_at(&[], &video(), 0.0).is_none());
    }

    #[test]
    fn the_image_plane_is_in_front_and_upright() {
        let camera = camera(0, 0.0);
        let corners = frustum_corners(&camera.pose, &camera.intrinsics, 0.5);
        assert!(corners.iter().all(|corner| (corner.y - 0.5).abs() < 1e-5));
        assert!(corners[0].z > corners[3].z && corners[0].x < corners[1].x);
    }
}
