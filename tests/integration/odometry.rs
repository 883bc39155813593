//! The odometer on rendered walks: given the true depth of single frames it must
//! find the camera's way and focal length.

use glam::{Vec2, Vec3};
use loc3r::geometry::{AnchorFrame, CameraPose, ImageSize, Intrinsics, wrap_angle};
use loc3r::model::odometry::focal::calibrate;
use loc3r::model::odometry::odometer::{FrameSight, Odometer, focal_pair};
use loc3r::model::odometry::planar::PlanarPose;
use loc3r::model::odometry::pyramid::{Plane, Pyramid};
use loc3r::synth::{Quality, Renderer, SynthConfig, generate_scene, generate_walk};

const SIDE: usize = 128;
const CELLS: usize = 32;

struct Rendered {
    sights: Vec<FrameSight>,
    truth: Vec<CameraPose>,
    focal: Vec2,
}

fn rendered(seed: u64) -> Rendered {
    let config = SynthConfig { fps: 12.0, seconds: (8.0, 10.0), ..SynthConfig::training() };
    let scene = generate_scene(seed, &config);
    let walk = generate_walk(&scene, seed, &config);
    let renderer = Renderer::new(&scene);
    let intrinsics = walk.intrinsics.resized(ImageSize::new(SIDE as u32, SIDE as u32));
    let anchor = AnchorFrame::from_first_camera(&walk.track.poses[0]);
    let sight = |(frame, pose): (usize, &CameraPose)| {
        let view = renderer.render(pose, &intrinsics, Quality::Fast);
        let grey = view.rgb.chunks_exact(3).map(|c| c.iter().map(|&v| f32::from(v)).sum::<f32>() / 3.0);
        FrameSight {
            pyramid: Pyramid::new(Plane::new(SIDE, grey.collect())),
            depth: cell_depths(&view.depth, pose, &intrinsics),
            spread: vec![0.1; CELLS * CELLS],
            up: pose.camera_from_world(pose.position + Vec3::Z),
            secs: frame as f64 / 12.0,
        }
    };
    Rendered {
        sights: walk.track.poses.iter().enumerate().map(sight).collect(),
        truth: walk.track.poses.iter().map(|pose| anchor.anchor_pose(pose)).collect(),
        focal: intrinsics.focal / SIDE as f32,
    }
}

/// Depth along the viewing direction in the middle of every cell.
fn cell_depths(depth: &[f32], pose: &CameraPose, intrinsics: &Intrinsics) -> Vec<f32> {
    let step = SIDE / CELLS;
    (0..CELLS * CELLS)
        .map(|cell| {
            let (u, v) = ((cell % CELLS) * step + step / 2, (cell / CELLS) * step + step / 2);
            let uv = Vec2::new(u as f32, v as f32) + 0.5;
            let point = pose.world_from_camera(intrinsics.unproject(uv, depth[v * SIDE + u].min(20.0)));
            pose.camera_from_world(point).z
        })
        .collect()
}

#[test]
fn the_way_through_a_room_is_found_from_single_frame_depth() {
    for seed in [8_100_001, 8_100_004, 8_100_008] {
        let clip = rendered(seed);
        let mut odometer = Odometer::new(&clip.sights[0], clip.focal);
        let mut here = PlanarPose::IDENTITY;
        let (mut path, mut worst_turn, mut worst_place) = (0.0f32, 0.0f32, 0.0f32);
        for at in 1..clip.sights.len() {
            let step = odometer.advance(&clip.sights[at - 1], &clip.sights[at]);
            here = here.compose(&step.planar);
            let truth = &clip.truth[at];
            let yaw = wrap_angle(truth.heading().radians() - std::f32::consts::FRAC_PI_2);
            path += truth.position.distance(clip.truth[at - 1].position);
            worst_turn = worst_turn.max(wrap_angle(here.yaw - yaw).abs());
            worst_place = worst_place.max(here.shift.distance(truth.position.truncate()));
        }
        assert!(path > 1.0, "seed {seed} stands still");
        assert!(worst_turn < 12f32.to_radians(), "seed {seed}: {} degrees", worst_turn.to_degrees());
        assert!(worst_place < 0.2 * path, "seed {seed}: {worst_place} m on {path} m");
    }
}

#[test]
fn a_walk_tells_its_focal_length() {
    let clip = rendered(8_100_004);
    let pairs: Vec<_> = clip.sights.windows(2).filter_map(|pair| focal_pair(&pair[0], &pair[1])).collect();
    assert!(pairs.len() > 10);
    for wrong in [0.8, 1.25] {
        let found = calibrate(&pairs, clip.focal * wrong);
        let error = (found.x / clip.focal.x - 1.0).abs();
        assert!(error < 0.06, "{error} from {wrong}");
    }
}
