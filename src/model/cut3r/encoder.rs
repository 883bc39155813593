//! CUT3R as the source of camera tokens: frames in, tokens, gravity-aligned poses
//! and points out.

use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;
use glam::{Mat3, Quat, Vec2, Vec3};

use super::{Carry, Cut3r, Cut3rConfig, EncodedFrame, FrameHeads, HeadKind, camera_from_encoding};
use crate::geometry::{AnchorFrame, CameraPose, Intrinsics};
use crate::model::camera::{
    ASSUMED_CAMERA_HEIGHT, ASSUMED_FOV, CameraEncoder, CameraInput, CameraOutput, CameraProgress, CameraStep,
    cell_colors,
};
use crate::model::memory_plan::Hardware;
use crate::scene::CloudPoint;

/// Frames that go through the encoder at once.
const ENCODER_BATCH: usize = 4;
/// Points per frame and side that are kept for display.
const POINTS_PER_SIDE: usize = 54;
/// Share of the points that may lie below the floor.
const BELOW_FLOOR: f32 = 0.03;
/// Confidence (1 + exp) at which a point counts as half certain.
const HALF_CERTAIN: f32 = 3.0;

/// Builds the encoder from its weights.
pub fn build(config: &Cut3rConfig, weights: VarBuilder<'_>) -> Result<Box<dyn CameraEncoder>> {
    if config.heads.is_none() {
        candle_core::bail!("CUT3R without heads gives no camera poses; set `heads` to dpt or linear");
    }
    Ok(Box::new(Cut3r::new(config, &weights)?))
}

/// Numbers, all f32, that are alive at once while so many frames are encoded, at most: the
/// pictures of all frames with those they are made from, and one pass of the encoder, or one of
/// the decoder and of a convolutional head at the size of the picture.
pub(in crate::model) fn working_numbers(c: &Cut3rConfig, frames: usize, hardware: Hardware) -> f64 {
    let [frames, side, state, depth] =
        [frames, c.image_size, c.state_size, c.dec_depth].map(|size| size as f64);
    let (patches, pixels) = ((side / c.patch_size.max(1) as f64).powi(2), side * side);
    let pictures = 2.0 * frames * 3.0 * pixels;
    // Rows in a block: around the residual, within the MLP, and what they score.
    let row = |width: usize, heads: usize, keys: f64| {
        (6.0 + 2.0 * c.mlp_ratio as f64) * width as f64 + heads as f64 * keys
    };
    let encoder = ENCODER_BATCH as f64 * patches * row(c.enc_embed_dim, c.enc_num_heads, patches);
    // Both streams are kept as they are after every block.
    let kept = depth * (patches + 1.0 + state) * c.dec_embed_dim as f64;
    let block = (patches + state) * row(c.dec_embed_dim, c.dec_num_heads.max(c.state_dec_num_heads), state);
    let head = match &c.heads {
        Some(HeadKind::Dpt(sizes)) => {
            // Off the CPU candle writes out every window of a convolution of 3 x 3.
            let windows = if hardware == Hardware::Processor { 1.0 } else { 9.0 };
            let (last, feature) = (sizes.last_dim as f64, sizes.feature_dim as f64);
            pixels * last * (2.0 + windows) + pixels / 4.0 * feature * 2.0
        }
        Some(HeadKind::Linear) | None => 0.0,
    };
    pictures + encoder.max(kept + block.max(head))
}

/// Pose and thinned points of one frame, in the space of the first camera.
struct FrameGeometry {
    pose: CameraPose,
    own_points: Vec<(Vec3, f32)>,
    colors: Vec<[u8; 3]>,
    focal: Option<f32>,
}

impl CameraEncoder for Cut3r {
    fn encode(&self, input: &CameraInput<'_>, progress: CameraProgress<'_>) -> Result<Option<CameraOutput>> {
        let count = input.frames.len();
        let side = self.config().image_size;
        let pixels = input.pixels.to_dtype(DType::F32)?.upsample_bilinear2d(side, side, false)?;
        let mut recurrence = self.start(1)?;
        let (mut tokens, mut frames) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for first in (0..count).step_by(ENCODER_BATCH) {
            let batch = Self::encode(self, &pixels.narrow(0, first, ENCODER_BATCH.min(count - first))?)?;
            for i in first..(first + ENCODER_BATCH).min(count) {
                let poses = anchored_poses(&frames);
                let step =
                    CameraStep { done: i, total: count, poses: &poses, intrinsics: lens(&frames, input) };
                if !progress(step) {
                    return Ok(None);
                }
                let frame = EncodedFrame { tokens: batch.tokens.narrow(0, i - first, 1)?, grid: batch.grid };
                let decoded = self.step(&frame, &mut recurrence, Carry::Update)?;
                let Some(heads) = self.heads(&frame, &decoded)? else {
                    candle_core::bail!("CUT3R was built without heads");
                };
                frames.push(frame_geometry(&heads, &pixels.get(i)?)?);
                tokens.push(decoded.camera_token);
            }
        }
        let tokens = Tensor::cat(&tokens, 0)?.to_dtype(input.features.dtype())?;
        Ok(Some(anchored(tokens, &frames, input)))
    }
}

fn frame_geometry(heads: &FrameHeads, image: &Tensor) -> Result<FrameGeometry> {
    let encoding: Vec<f32> = heads.camera_pose.flatten_all()?.to_vec1()?;
    let encoding: [f32; 7] = encoding.try_into().map_err(|_wrong_length| {
        candle_core::Error::Msg("a pose encoding has seven numbers".to_owned()).bt()
    })?;
    let pose = CameraPose::from_matrix(camera_from_encoding(encoding)).unwrap_or(CameraPose::IDENTITY);
    let points = heads.own.points.squeeze(0)?.to_vec3::<f32>()?;
    let confidence = heads.own.confidence.squeeze(0)?.to_vec2::<f32>()?;
    let (height, width) = (points.len(), points.first().map_or(0, Vec::len));
    let side = POINTS_PER_SIDE.min(height).min(width).max(1);
    let pick = |cell: usize, length: usize| (cell * (length / side)) + length / side / 2;
    let (mut own_points, mut focals) = (Vec::with_capacity(side * side), Vec::new());
    for row in 0..side {
        for column in 0..side {
            let (v, u) = (pick(row, height), pick(column, width));
            let point = Vec3::from_slice(&points[v][u]);
            own_points.push((point, confidence[v][u]));
            let from_center =
                Vec2::new(u as f32 + 0.5 - width as f32 * 0.5, v as f32 + 0.5 - height as f32 * 0.5);
            let across = point.truncate().length();
            if point.z > 0.1 && across > 1e-3 {
                focals.push(from_center.length() * point.z / across / width as f32);
            }
        }
    }
    Ok(FrameGeometry { pose, own_points, colors: cell_colors(image, side * side)?, focal: median(focals) })
}

/// Turns everything upright and puts it into the anchor space.
fn anchored(tokens: Tensor, frames: &[FrameGeometry], input: &CameraInput<'_>) -> CameraOutput {
    let poses = anchored_poses(frames);
    let mut points = Vec::new();
    for ((frame, pose), &index) in frames.iter().zip(&poses).zip(input.frames) {
        points.extend(frame.own_points.iter().zip(&frame.colors).map(|(&(point, confidence), &color)| {
            let certainty = (confidence - 1.0).max(0.0);
            CloudPoint {
                position: pose.world_from_camera(point),
                color,
                confidence: certainty / (certainty + HALF_CERTAIN - 1.0),
                frame: index,
            }
        }));
    }
    points.retain(|point| point.position.is_finite());
    let intrinsics = lens(frames, input);
    CameraOutput { tokens, floor_height: floor_height(&points), intrinsics, poses, points }
}

/// Camera-to-anchor poses, upright.
fn anchored_poses(frames: &[FrameGeometry]) -> Vec<CameraPose> {
    let upright = upright_rotation(frames);
    let turned = |pose: &CameraPose| CameraPose {
        position: upright * pose.position,
        rotation: (upright * pose.rotation).normalize(),
    };
    let first = frames.first().map_or(CameraPose::IDENTITY, |frame| turned(&frame.pose));
    let anchor = AnchorFrame::from_first_camera(&first);
    frames.iter().map(|frame| anchor.anchor_pose(&turned(&frame.pose))).collect()
}

/// Rotation that makes the mean image-up direction +z: hand-held video is level on average.
fn upright_rotation(frames: &[FrameGeometry]) -> Quat {
    let up: Vec3 = frames.iter().map(|frame| -frame.pose.down()).sum();
    match up.try_normalize() {
        Some(up) => Quat::from_rotation_arc(up, Vec3::Z),
        // The first camera is level when nothing is known.
        None => Quat::from_mat3(&Mat3::from_cols(Vec3::X, -Vec3::Z, Vec3::Y)),
    }
}

fn floor_height(points: &[CloudPoint]) -> f32 {
    let mut heights: Vec<f32> = points.iter().map(|point| point.position.z).collect();
    if heights.is_empty() {
        return -ASSUMED_CAMERA_HEIGHT;
    }
    heights.sort_by(f32::total_cmp);
    heights[(heights.len() as f32 * BELOW_FLOOR) as usize]
}

/// Square pixels on the model's input became those of the video frame.
fn lens(frames: &[FrameGeometry], input: &CameraInput<'_>) -> Intrinsics {
    // In image widths.
    let focal = median(frames.iter().filter_map(|frame| frame.focal).collect());
    let fov = focal.map_or(ASSUMED_FOV, |focal| 2.0 * (0.5 / focal.max(1e-3)).atan());
    Intrinsics::from_horizontal_fov(input.frame_size, fov)
}

fn median(mut values: Vec<f32>) -> Option<f32> {
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::ImageSize;
    use crate::video::FrameIndex;
    use candle_core::Device;

    fn frame(pose: CameraPose) -> FrameGeometry {
        let own_points = vec![(Vec3::new(0.0, 1.4, 3.0), 9.0); 100];
        FrameGeometry { pose, own_points, colors: vec![[9, 9, 9]; 100], focal: Some(0.8) }
    }

    #[test]
    fn level_cameras_end_up_upright_with_the_floor_below() {
        // CUT3R's own space: the first camera is the identity, one step to the right.
        let second = CameraPose { position: Vec3::X, rotation: Quat::IDENTITY };
        let frames = [frame(CameraPose::IDENTITY), frame(second)];
        let empty = Tensor::zeros((2, 4), DType::F32, &Device::Cpu).unwrap();
        let input = CameraInput {
            features: &empty,
            pixels: &empty,
            frame_size: ImageSize::new(640, 480),
            secs: &[0.0, 0.5],
            frames: &[FrameIndex(0), FrameIndex(7)],
            sampled: &[0, 1],
        };
        let output = anchored(empty.clone(), &frames, &input);
        assert!(output.poses[0].position.length() < 1e-5);
        assert!((output.poses[0].heading().degrees() - 90.0).abs() < 1e-2);
        assert!(output.poses[1].position.distance(Vec3::X) < 1e-5);
        assert!((output.floor_height + 1.4).abs() < 1e-4);
        assert!((output.intrinsics.focal.x - 512.0).abs() < 0.1);
        assert_eq!(output.points[100].frame, FrameIndex(7));
        assert!(output.points[100].position.distance(Vec3::new(1.0, 3.0, -1.4)) < 1e-4);
    }
}
