//! From vision tokens and pictures of a video to camera poses, points and tokens.

use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;
use glam::{Vec2, Vec3};
use rayon::prelude::*;

use super::OdometryConfig;
use super::dense_head::{DenseHead, DenseOutput};
use super::focal::calibrate;
use super::graph::{Edge, optimise};
use super::odometer::{Corner, FrameSight, Odometer, focal_pair};
use super::planar::PlanarPose;
use super::pose_code::{FramePose, pose_code};
use super::pyramid::{Plane, Pyramid};
use super::reobservation::{KeyFrame, reobservations};
use super::view_fit::{View, camera_point, fit_view, up};
use crate::geometry::CameraPose;
use crate::model::camera::ASSUMED_CAMERA_HEIGHT;
use crate::model::geometry_cue::pooled_points;

/// Pairs of pictures that calibrate the focal length, at most.
const FOCAL_PAIRS: usize = 100;
/// Frames that are compared with each other: seconds between them, and how many at most.
const STOP_SECS: f64 = 0.5;
const MOST_STOPS: f64 = 120.0;
/// Spread of what following tells between them: metres and share of the shift, radians
/// and share of the turn.
const FOLLOWED_SHIFT: (f32, f32) = (0.02, 0.3);
const FOLLOWED_YAW: (f32, f32) = (0.015, 0.05);
/// Nearest depth of a cell, metres.
const LEAST_DEPTH: f32 = 0.2;
/// Relative spread of a cell's depth, at least and at most.
const SPREAD: (f32, f32) = (0.05, 1.0);

/// Camera encoder of kind `odometry`; see the module above.
#[derive(Debug, Clone)]
pub struct OdometryCamera {
    config: OdometryConfig,
    head: DenseHead,
    token_dim: usize,
}

/// A video as the encoder reads it: M frames in order of time, among them those
/// that the language model sees.
#[derive(Debug, Clone, Copy)]
pub struct Footage<'a> {
    /// Vision tokens (M, N, D).
    pub features: &'a Tensor,
    /// Pictures (M, 3, S, S) in [-1, 1].
    pub pixels: &'a Tensor,
    /// Presentation times, seconds.
    pub secs: &'a [f64],
    /// Which of the M frames are asked about, rising.
    pub sampled: &'a [usize],
    /// Width over height of the video: pictures are squashed to squares.
    pub aspect: f32,
}

/// How far a camera has been followed.
#[derive(Debug, Clone, Copy)]
pub struct PathStep<'a> {
    /// Frames done.
    pub done: usize,
    /// Frames in all.
    pub total: usize,
    /// Camera-to-anchor poses of the first sampled frames, drift and all.
    pub poses: &'a [CameraPose],
    /// Focal lengths in picture sides.
    pub focal: Vec2,
}

/// Told between steps; `false` stops the work.
pub type PathProgress<'a> = &'a mut dyn FnMut(PathStep<'_>) -> bool;

/// What the encoder finds out about the sampled frames of a video.
#[derive(Debug, Clone)]
pub struct TrackedFrames {
    /// Poses in the levelled space of the first frame.
    pub poses: Vec<FramePose>,
    /// Height of the floor in the anchor space, metres (negative).
    pub floor_height: f32,
    /// Per frame, per cell: point in the anchor space, metres.
    pub points: Vec<Vec<Vec3>>,
    /// Per frame, per cell: 0 (guess) to 1 (certain).
    pub confidence: Vec<Vec<f32>>,
}

impl TrackedFrames {
    /// Camera-to-anchor pose of a frame.
    pub fn camera_pose(&self, frame: usize) -> CameraPose {
        self.poses[frame].camera_pose()
    }

    /// Anchor-space points of a grid of `side` x `side` vision tokens, frame-major: the
    /// confident mean of their cells.
    pub fn token_points(&self, side: usize) -> Vec<Option<Vec3>> {
        let (points, confidence) = (self.points.concat(), self.confidence.concat());
        pooled_points(points.into_iter().zip(confidence), self.points.len(), side)
    }

    /// Camera tokens (F, width).
    pub fn tokens(&self, width: usize, device: &candle_core::Device) -> Result<Tensor> {
        let codes: Vec<f32> = self.poses.iter().flat_map(|pose| pose_code(pose, width)).collect();
        Tensor::from_vec(codes, (self.poses.len(), width), device)
    }
}

impl OdometryCamera {
    /// Loads or initialises the encoder for a tower of width `hidden`.
    pub fn new(config: &OdometryConfig, hidden: usize, token_dim: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let head = DenseHead::new(&config.dense, hidden, vb.pp("dense"))?;
        Ok(Self { config: config.clone(), head, token_dim })
    }

    /// Sizes.
    pub fn config(&self) -> &OdometryConfig {
        &self.config
    }

    /// The head on single frames.
    pub fn head(&self) -> &DenseHead {
        &self.head
    }

    /// Width of a camera token.
    pub fn token_dim(&self) -> usize {
        self.token_dim
    }

    /// Follows the camera; `None` when `progress` said stop.
    pub fn track(&self, footage: &Footage<'_>, progress: PathProgress<'_>) -> Result<Option<TrackedFrames>> {
        let dense = self.head.forward(&footage.features.detach().to_dtype(DType::F32)?)?;
        let cells = FrameCells::read(&dense)?;
        // Somebody carries the camera at one height: the median is better than any single fit.
        let height = median(cells.iter().map(|frame| frame.view[0])).unwrap_or(ASSUMED_CAMERA_HEIGHT);
        let sights = sights(footage, &cells, height)?;
        let focal = calibrated_focal(&sights, &cells, footage.aspect);
        if sights.is_empty() {
            return Ok(Some(TrackedFrames::none(height)));
        }
        let Some(mut stops) = follow_path(&sights, footage.sampled, focal, progress) else { return Ok(None) };
        straighten(&sights, &mut stops, focal);
        let mut tracked = TrackedFrames::none(height);
        for stop in &stops {
            // Short videos repeat frames.
            for _ in footage.sampled.iter().filter(|sampled| **sampled == stop.at) {
                tracked.push(frame_pose(stop.planar, stop.up, focal, stop.support), &cells[stop.at], height);
            }
        }
        if let [first, second, ..] = &mut tracked.poses[..] {
            first.support = second.support;
        }
        let poses: Vec<CameraPose> = tracked.poses.iter().map(FramePose::camera_pose).collect();
        let (done, total) = (sights.len(), sights.len());
        Ok(progress(PathStep { done, total, poses: &poses, focal }).then_some(tracked))
    }
}

/// A frame on the path that others are compared with; all sampled ones are.
struct Stop {
    at: usize,
    planar: PlanarPose,
    up: Vec3,
    support: usize,
    corners: Vec<Corner>,
}

/// Odometry through all frames; `None` when `progress` said stop.
fn follow_path(
    sights: &[FrameSight],
    sampled: &[usize],
    focal: Vec2,
    progress: PathProgress<'_>,
) -> Option<Vec<Stop>> {
    let mut odometer = Odometer::new(&sights[0], focal);
    let whole = sights.last().map_or(0.0, |last| last.secs) - sights[0].secs;
    let stop_secs = STOP_SECS.max(whole / MOST_STOPS);
    let mut stops = Vec::new();
    let mut poses = Vec::new();
    let (mut planar, mut up, mut support) = (PlanarPose::IDENTITY, sights[0].up, usize::MAX);
    for at in 0..sights.len() {
        if !progress(PathStep { done: at, total: sights.len(), poses: &poses, focal }) {
            return None;
        }
        if at > 0 {
            let step = odometer.advance(&sights[at - 1], &sights[at]);
            planar = planar.compose(&step.planar);
            up = step.up;
            support = support.min(step.support);
        }
        let times_sampled = sampled.iter().filter(|sampled| **sampled == at).count();
        let is_sampled = times_sampled > 0;
        // Short videos repeat frames.
        poses
            .extend(std::iter::repeat_n(frame_pose(planar, up, focal, support).camera_pose(), times_sampled));
        let is_due =
            stops.last().is_none_or(|last: &Stop| sights[at].secs - sights[last.at].secs >= stop_secs);
        if is_sampled || is_due {
            stops.push(Stop { at, planar, up, support, corners: odometer.corners().to_vec() });
        }
        if is_sampled {
            support = usize::MAX;
        }
    }
    Some(stops)
}

/// Takes drift out of the path where frames see the same again.
fn straighten(sights: &[FrameSight], stops: &mut [Stop], focal: Vec2) {
    let path: Vec<PlanarPose> = stops.iter().map(|stop| stop.planar).collect();
    let frames: Vec<KeyFrame<'_>> = stops
        .iter()
        .map(|stop| KeyFrame { sight: &sights[stop.at], corners: &stop.corners, up: stop.up })
        .collect();
    let mut edges = reobservations(&frames, &path, focal);
    edges.extend((1..path.len()).map(|to| {
        let pose = path[to - 1].inverse().compose(&path[to]);
        let shift = FOLLOWED_SHIFT.0 + FOLLOWED_SHIFT.1 * pose.shift.length();
        let yaw = FOLLOWED_YAW.0 + FOLLOWED_YAW.1 * pose.yaw.abs();
        Edge { from: to - 1, to, pose, covariance: Edge::covariance_of(shift, yaw) }
    }));
    for (stop, planar) in stops.iter_mut().zip(optimise(&path, &edges)) {
        stop.planar = planar;
    }
}

impl TrackedFrames {
    fn none(height: f32) -> Self {
        Self { poses: Vec::new(), floor_height: -height, points: Vec::new(), confidence: Vec::new() }
    }

    fn push(&mut self, pose: FramePose, cells: &FrameCells, height: f32) {
        let place = |p: &Vec3| pose.planar.apply(p.truncate()).extend(p.z - height);
        self.points.push(cells.points.iter().map(place).collect());
        self.confidence.push(cells.confidence());
        self.poses.push(pose);
    }
}

/// `up` in camera space; see [`super::view_fit::up`].
fn frame_pose(planar: PlanarPose, up: Vec3, focal: Vec2, support: usize) -> FramePose {
    FramePose {
        planar,
        height: 0.0,
        pitch: up.z.clamp(-1.0, 1.0).asin(),
        roll: (-up.x).atan2(-up.y),
        log_focal: [focal.x.ln(), focal.y.ln()],
        support: if support == usize::MAX { 0.0 } else { support as f32 },
    }
}

fn sights(footage: &Footage<'_>, cells: &[FrameCells], height: f32) -> Result<Vec<FrameSight>> {
    let planes = grey_planes(footage.pixels)?;
    Ok(cells
        .iter()
        .zip(planes)
        .zip(footage.secs)
        .map(|((cells, plane), &secs)| {
            let view = [height, cells.view[1], cells.view[2], 0.0, 0.0];
            let depth: Vec<f32> =
                cells.points.iter().map(|point| camera_point(&view, *point).z.max(LEAST_DEPTH)).collect();
            let spread = cells
                .scales
                .iter()
                .zip(&depth)
                .map(|(scale, depth)| (scale / depth).clamp(SPREAD.0, SPREAD.1))
                .collect();
            FrameSight { pyramid: Pyramid::new(plane), depth, spread, up: up(&view), secs }
        })
        .collect())
}

/// Grey levels (0 to 255) of pictures (M, 3, S, S) in [-1, 1].
fn grey_planes(pixels: &Tensor) -> Result<Vec<Plane>> {
    let (frames, _, height, width) = pixels.dims4()?;
    (0..frames)
        .map(|frame| {
            let planes: Vec<f32> = pixels.get(frame)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            let (red, rest) = planes.split_at(width * height);
            let (green, blue) = rest.split_at(width * height);
            let luma = |k: usize| 0.299 * red[k] + 0.587 * green[k] + 0.114 * blue[k];
            Ok(Plane::new(width, (0..width * height).map(|k| 127.5 * (luma(k) + 1.0)).collect()))
        })
        .collect()
}

/// Focal lengths in picture sides: the median over single frames, refined by the motion.
fn calibrated_focal(sights: &[FrameSight], cells: &[FrameCells], aspect: f32) -> Vec2 {
    // Pixels are square, so both focal lengths differ by the shape of the picture.
    let shape = Vec2::new(-0.5, 0.5) * aspect.ln();
    let middle = |cells: &FrameCells| 0.5 * (cells.view[3] + cells.view[4]);
    let log_focal = median(cells.iter().map(middle)).unwrap_or_default();
    let believed = (Vec2::splat(log_focal) + shape).exp();
    let stride = sights.len().div_ceil(FOCAL_PAIRS).max(1);
    let pairs: Vec<_> =
        sights.par_windows(2).step_by(stride).filter_map(|pair| focal_pair(&pair[0], &pair[1])).collect();
    calibrate(&pairs, believed)
}

fn median(values: impl Iterator<Item = f32>) -> Option<f32> {
    let mut values: Vec<f32> = values.collect();
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Plain numbers of one frame.
#[derive(Debug, Clone)]
struct FrameCells {
    points: Vec<Vec3>,
    /// Laplace scale of the points, mean over the axes, metres.
    scales: Vec<f32>,
    view: View,
}

impl FrameCells {
    fn read(dense: &DenseOutput) -> Result<Vec<Self>> {
        let points: Vec<Vec<Vec<f32>>> = dense.point.to_vec3()?;
        let scales: Vec<Vec<f32>> = dense.log_scale.exp()?.mean(candle_core::D::Minus1)?.to_vec2()?;
        Ok(points
            .into_par_iter()
            .zip(scales)
            .map(|(points, scales)| {
                let points: Vec<Vec3> = points.iter().map(|p| Vec3::new(p[0], p[1], p[2])).collect();
                let precision: Vec<f32> = scales.iter().map(|scale| (2.0 * scale * scale).recip()).collect();
                let view = fit_view(&points, &precision);
                Self { points, scales, view }
            })
            .collect())
    }

    /// 1 at a spread of 0, one half at 0.4 m.
    fn confidence(&self) -> Vec<f32> {
        self.scales.iter().map(|scale| 1.0 / (1.0 + scale * std::f32::consts::SQRT_2 / 0.4)).collect()
    }
}
