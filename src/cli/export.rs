//! Files for other programs: point clouds (PLY), trajectories (TUM), layouts (JSON).
//! Everything is in the anchor space: metres, x right of, y in front of the first
//! camera, z up. Files appear whole or not at all.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use crate::scene::{CameraEstimate, Layout, PointCloud};
use crate::session::{SessionState, Timing};
use crate::video::VideoInfo;

/// Writes `content` to `path` through a temporary file beside it.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let written = || -> std::io::Result<()> {
        if path.exists() && !path.is_file() {
            // Devices and pipes cannot be replaced.
            return std::fs::OpenOptions::new().write(true).open(path)?.write_all(content);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
        let outcome = std::fs::write(&temporary, content).and_then(|()| std::fs::rename(&temporary, path));
        if outcome.is_err() {
            // Nothing may be left behind; that it cannot be removed adds nothing to the error.
            drop(std::fs::remove_file(&temporary));
        }
        outcome
    };
    written().with_context(|| {
        format!("cannot write {}; choose a folder that exists and has space", path.display())
    })
}

/// Binary little-endian PLY. `layer` is 0 for dense points and 1 for layout tokens;
/// `sigma` is the token's uncertainty in metres, 0 for points.
pub(super) fn ply(points: &PointCloud, layout: &Layout) -> Vec<u8> {
    let count = points.points.len() + layout.tokens.len();
    let mut bytes = format!(
        "ply\nformat binary_little_endian 1.0\ncomment loc3r: metres, x right, y forward, z up, origin at the first camera\nelement vertex {count}\nproperty float x\nproperty float y\nproperty float z\nproperty uchar red\nproperty uchar green\nproperty uchar blue\nproperty float sigma\nproperty uchar layer\nend_header\n"
    )
    .into_bytes();
    let mut vertex = |position: [f32; 3], color: [u8; 3], sigma: f32, layer: u8| {
        for value in position {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(color);
        bytes.extend(sigma.to_le_bytes());
        bytes.push(layer);
    };
    for point in &points.points {
        vertex(point.position.to_array(), point.color, 0.0, 0);
    }
    for token in &layout.tokens {
        let position = [token.position.x, token.position.y, layout.floor_height];
        vertex(position, token.color, token.sigma.rms(), 1);
    }
    bytes
}

/// TUM trajectory: `seconds x y z qx qy qz qw`, camera-to-anchor, one line per sampled
/// frame (a frame sampled twice stands once).
pub(super) fn tum(cameras: &[CameraEstimate], info: &VideoInfo) -> String {
    let mut text = "# timestamp tx ty tz qx qy qz qw\n".to_owned();
    let mut last = None;
    for camera in cameras {
        if last.replace(camera.frame) == Some(camera.frame) {
            continue;
        }
        let secs = info.pts_secs.get(camera.frame.0 as usize).copied().unwrap_or_default();
        let ([x, y, z], [qx, qy, qz, qw]) =
            (camera.pose.position.to_array(), camera.pose.rotation.to_array());
        let position = format!("{x:.6} {y:.6} {z:.6}");
        text.push_str(&format!("{secs:.6} {position} {qx:.6} {qy:.6} {qz:.6} {qw:.6}\n"));
    }
    text
}

/// What `reconstruct --json` writes.
#[derive(Debug, Serialize)]
pub(super) struct ReconstructionJson<'a> {
    video: PathBuf,
    model: &'a str,
    device: &'a str,
    notice: &'a str,
    /// Camera-to-anchor poses of the sampled frames.
    cameras: &'a [CameraEstimate],
    layout: &'a Layout,
    timing_ms: Timing,
}

impl<'a> ReconstructionJson<'a> {
    /// `None` while the state has no layout.
    pub(super) fn of(state: &'a SessionState) -> Option<Self> {
        let model = state.model.as_ref()?;
        Some(Self {
            video: state.video.as_ref()?.path.clone(),
            model: &model.name,
            device: &model.device,
            notice: &model.notice,
            cameras: &state.cameras,
            layout: state.layout.as_ref()?,
            timing_ms: state.video_timing?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{BevPoint, BevSigma, CameraPose, ImageSize, Intrinsics};
    use crate::scene::{CloudPoint, LayoutToken};
    use crate::video::FrameIndex;
    use glam::Vec3;

    #[test]
    fn a_ply_file_has_as_many_bytes_as_its_header_promises() {
        let point = CloudPoint {
            position: Vec3::new(1.0, 2.0, 3.0),
            color: [1, 2, 3],
            confidence: 1.0,
            frame: FrameIndex(0),
        };
        let token = LayoutToken {
            frame: FrameIndex(0),
            row: 0,
            column: 0,
            position: BevPoint::new(4.0, 5.0),
            sigma: BevSigma { x: 0.5, y: 0.5 },
            color: [7, 8, 9],
        };
        let layout = Layout { grid: (1, 1), tokens: vec![token], floor_height: -1.5 };
        let bytes = ply(&PointCloud { points: vec![point] }, &layout);
        let end = bytes.windows(11).position(|window| window == b"end_header\n").unwrap() + 11;
        assert!(String::from_utf8_lossy(&bytes[..end]).contains("element vertex 2\n"));
        let body = &bytes[end..];
        assert_eq!(body.len(), 2 * 20);
        assert_eq!(body[20..24], 4.0f32.to_le_bytes());
        assert_eq!(body[28..32], (-1.5f32).to_le_bytes());
        assert_eq!((body[19], body[39]), (0, 1));
    }

    #[test]
    fn a_trajectory_has_one_line_per_frame() {
        let intrinsics = Intrinsics::from_horizontal_fov(ImageSize::new(4, 4), 1.0);
        let camera =
            |frame| CameraEstimate { frame: FrameIndex(frame), pose: CameraPose::IDENTITY, intrinsics };
        let info = VideoInfo {
            path: "clip".into(),
            size: ImageSize::new(4, 4),
            pts_secs: vec![0.0, 0.5],
            keyframes: vec![],
            rotation_degrees: 0,
            codec: String::new(),
            container: String::new(),
            warnings: vec![],
        };
        let text = tum(&[camera(0), camera(0), camera(1)], &info);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1], "0.500000 0.000000 0.000000 0.000000 0.000000 0.000000 0.000000 1.000000");
    }

    #[test]
    fn a_file_appears_whole_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, "old").unwrap();
        write_whole(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert!(write_whole(&folder.path().join("no/such/b.txt"), b"x").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
