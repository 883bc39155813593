//! CUT3R as the source of camera tokens: frames in, tokens, gravity-aligned poses
//! and points out. Frames are taken as they come: the encoder waits for a batch of them, the
//! recurrent decoder goes from one to the next.

use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;
use glam::{Mat3, Quat, Vec2, Vec3};

use super::{
    Carry, Cut3r, Cut3rConfig, EncodedFrame, Gravity, HeadKind, InputResize, OwnView, Recurrence,
    camera_from_encoding,
};
use crate::geometry::{AnchorFrame, CameraPose, ImageSize, Intrinsics};
use crate::model::camera::{
    ASSUMED_CAMERA_HEIGHT, ASSUMED_FOV, CameraEncoder, CameraInput, CameraOutput, CameraPass, CameraProgress,
    CameraStep, SampledVideo, cell_colors,
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
#[derive(Debug)]
struct FrameGeometry {
    pose: CameraPose,
    own_points: Vec<(Vec3, f32)>,
    colors: Vec<[u8; 3]>,
    focal: Option<f32>,
}

/// The network on its way through one video.
#[derive(Debug)]
struct Cut3rPass {
    network: Cut3r,
    video: SampledVideo,
    recurrence: Recurrence,
    /// Frames that wait for the encoder, (1, 3, side, side) each.
    waiting: Vec<Tensor>,
    /// What is known of the frames that were decoded.
    frames: Vec<FrameGeometry>,
    /// Their camera tokens, (1, D) each.
    tokens: Vec<Tensor>,
}

impl Cut3rPass {
    fn new(network: &Cut3r, video: SampledVideo) -> Result<Self> {
        let recurrence = network.start(1)?;
        let network = network.clone();
        Ok(Self { network, video, recurrence, waiting: vec![], frames: vec![], tokens: vec![] })
    }

    /// Encodes the frames that wait and decodes one after the other; false when `progress` said
    /// stop.
    fn decode_waiting(&mut self, progress: CameraProgress<'_>) -> Result<bool> {
        if self.waiting.is_empty() {
            return Ok(true);
        }
        if !self.tell(progress) {
            return Ok(false);
        }
        let pictures = Tensor::cat(&std::mem::take(&mut self.waiting), 0)?;
        let batch = self.network.encode(&pictures)?;
        for at in 0..pictures.dim(0)? {
            let frame = EncodedFrame { tokens: batch.tokens.narrow(0, at, 1)?, grid: batch.grid };
            let decoded = self.network.step(&frame, &mut self.recurrence, Carry::Update)?;
            let Some(view) = self.network.own_view(&frame, &decoded)? else {
                candle_core::bail!("CUT3R was built without heads");
            };
            self.frames.push(frame_geometry(&view, &pictures.get(at)?)?);
            self.tokens.push(decoded.camera_token);
            if !self.tell(progress) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn tell(&self, progress: CameraProgress<'_>) -> bool {
        progress(CameraStep {
            done: self.frames.len(),
            total: self.video.frames.len(),
            poses: &anchored_poses(&self.frames, self.network.config().gravity),
            intrinsics: lens(&self.frames, self.video.frame_size),
        })
    }
}

impl CameraPass for Cut3rPass {
    fn take(&mut self, pixels: &Tensor, progress: CameraProgress<'_>) -> Result<bool> {
        let Cut3rConfig { image_size: side, resize, .. } = *self.network.config();
        let corners = resize == InputResize::BilinearCorners;
        let picture = pixels.unsqueeze(0)?.to_dtype(DType::F32)?;
        // candle 0.11 gives everything that lies in memory where the size stays as it is.
        let is_resized = picture.dims()[2..] != [side, side];
        self.waiting.push(if is_resized {
            picture.upsample_bilinear2d(side, side, corners)?
        } else {
            picture.copy()?
        });
        if self.waiting.len() < ENCODER_BATCH { Ok(true) } else { self.decode_waiting(progress) }
    }

    fn finish(mut self: Box<Self>, progress: CameraProgress<'_>) -> Result<Option<CameraOutput>> {
        if !self.decode_waiting(progress)? {
            return Ok(None);
        }
        let tokens = Tensor::cat(&self.tokens, 0)?.to_dtype(self.video.dtype)?;
        Ok(Some(anchored(tokens, &self.frames, &self.video, self.network.config().gravity)))
    }
}

impl CameraEncoder for Cut3r {
    fn begin(&self, video: SampledVideo) -> Result<Option<Box<dyn CameraPass>>> {
        Ok(Some(Box::new(Cut3rPass::new(self, video)?)))
    }

    fn encode(&self, input: &CameraInput<'_>, progress: CameraProgress<'_>) -> Result<Option<CameraOutput>> {
        let dtype = input.features.dtype();
        let video = SampledVideo { frames: input.frames.to_vec(), frame_size: input.frame_size, dtype };
        let mut pass = Box::new(Cut3rPass::new(self, video)?);
        for &at in input.sampled {
            if !pass.take(&input.pixels.get(at)?, progress)? {
                return Ok(None);
            }
        }
        pass.finish(progress)
    }
}

fn frame_geometry(view: &OwnView, image: &Tensor) -> Result<FrameGeometry> {
    let encoding: Vec<f32> = view.camera_pose.flatten_all()?.to_vec1()?;
    let encoding: [f32; 7] = encoding.try_into().map_err(|_wrong_length| {
        candle_core::Error::Msg("a pose encoding has seven numbers".to_owned()).bt()
    })?;
    let pose = CameraPose::from_matrix(camera_from_encoding(encoding)).unwrap_or(CameraPose::IDENTITY);
    let points = view.points.points.squeeze(0)?.to_vec3::<f32>()?;
    let confidence = view.points.confidence.squeeze(0)?.to_vec2::<f32>()?;
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
fn anchored(
    tokens: Tensor,
    frames: &[FrameGeometry],
    video: &SampledVideo,
    gravity: Gravity,
) -> CameraOutput {
    let poses = anchored_poses(frames, gravity);
    let mut points = Vec::new();
    for ((frame, pose), &index) in frames.iter().zip(&poses).zip(&video.frames) {
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
    let intrinsics = lens(frames, video.frame_size);
    CameraOutput { tokens, floor_height: floor_height(&points), intrinsics, poses, points }
}

/// Camera-to-anchor poses, upright.
fn anchored_poses(frames: &[FrameGeometry], gravity: Gravity) -> Vec<CameraPose> {
    let upright = upright_rotation(frames, gravity);
    let turned = |pose: &CameraPose| CameraPose {
        position: upright * pose.position,
        rotation: (upright * pose.rotation).normalize(),
    };
    let first = frames.first().map_or(CameraPose::IDENTITY, |frame| turned(&frame.pose));
    let anchor = AnchorFrame::from_first_camera(&first);
    frames.iter().map(|frame| anchor.anchor_pose(&turned(&frame.pose))).collect()
}

/// Rotation that makes the up direction +z.
fn upright_rotation(frames: &[FrameGeometry], gravity: Gravity) -> Quat {
    let asked = match gravity {
        Gravity::MeanCameraUp => frames.len(),
        Gravity::FirstCameraUp => 1,
    };
    let up: Vec3 = frames.iter().take(asked).map(|frame| -frame.pose.down()).sum();
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
fn lens(frames: &[FrameGeometry], size: ImageSize) -> Intrinsics {
    // In image widths.
    let focal = median(frames.iter().filter_map(|frame| frame.focal).collect());
    let fov = focal.map_or(ASSUMED_FOV, |focal| 2.0 * (0.5 / focal.max(1e-3)).atan());
    Intrinsics::from_horizontal_fov(size, fov)
}

fn median(mut values: Vec<f32>) -> Option<f32> {
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::HeadKind;
    use super::super::tests::tiny;
    use super::*;
    use crate::video::FrameIndex;

    fn video(frames: &[u32]) -> SampledVideo {
        let frames = frames.iter().copied().map(FrameIndex).collect();
        SampledVideo { frames, frame_size: ImageSize::new(640, 480), dtype: DType::F32 }
    }

    fn numbers(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn frame(pose: CameraPose) -> FrameGeometry {
        let own_points = vec![(Vec3::new(0.0, 1.4, 3.0), 9.0); 100];
        FrameGeometry { pose, own_points, colors: vec![[9, 9, 9]; 100], focal: Some(0.8) }
    }

    #[test]
    fn level_cameras_end_up_upright_with_the_floor_below() {
        // CUT3R's own space: the first camera is the identity, one step to the right.
        let second = CameraPose { position: Vec3::X, rotation: Quat::IDENTITY };
        let frames = [frame(CameraPose::IDENTITY), frame(second)];
        let tokens = Tensor::zeros((2, 4), DType::F32, &Device::Cpu).unwrap();
        let output = anchored(tokens, &frames, &video(&[0, 7]), Gravity::MeanCameraUp);
        assert!(output.poses[0].position.length() < 1e-5);
        assert!((output.poses[0].heading().degrees() - 90.0).abs() < 1e-2);
        assert!(output.poses[1].position.distance(Vec3::X) < 1e-5);
        assert!((output.floor_height + 1.4).abs() < 1e-4);
        assert!((output.intrinsics.focal.x - 512.0).abs() < 0.1);
        assert_eq!(output.points[100].frame, FrameIndex(7));
        assert!(output.points[100].position.distance(Vec3::new(1.0, 3.0, -1.4)) < 1e-4);
    }

    #[test]
    fn up_is_what_the_configuration_says() {
        // The second camera is rolled by 40° about its viewing direction.
        let rolled = CameraPose { position: Vec3::ZERO, rotation: Quat::from_rotation_z(40f32.to_radians()) };
        let frames = [frame(CameraPose::IDENTITY), frame(rolled)];
        let tilts = |gravity| {
            let poses = anchored_poses(&frames, gravity);
            [0, 1].map(|camera| (-poses[camera].down()).angle_between(Vec3::Z).to_degrees())
        };
        let near = |found: [f32; 2], wanted: [f32; 2]| {
            found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 0.1)
        };
        let (mean, first) = (tilts(Gravity::MeanCameraUp), tilts(Gravity::FirstCameraUp));
        assert!(near(mean, [20.0, 20.0]), "{mean:?}");
        assert!(near(first, [0.0, 40.0]), "{first:?}");
    }

    #[test]
    fn five_frames_in_batches_are_those_encoded_one_by_one() {
        let (network, images) = tiny(HeadKind::Linear, 5);
        let frames = [0, 3, 4, 8, 9];
        let mut pass = Box::new(Cut3rPass::new(&network, video(&frames)).unwrap());
        let mut told = Vec::new();
        for at in 0..5 {
            let mut progress = |step: CameraStep<'_>| {
                told.push((step.done, step.total, step.poses.len()));
                true
            };
            assert!(pass.take(&images.get(at).unwrap(), &mut progress).unwrap());
        }
        // The fifth waits, the four before are known already.
        assert_eq!(told, [(0, 5, 0), (1, 5, 1), (2, 5, 2), (3, 5, 3), (4, 5, 4)]);
        let output = pass.finish(&mut |_| true).unwrap().unwrap();

        let mut recurrence = network.start(1).unwrap();
        let mut alone = Vec::new();
        for at in 0..5 {
            let frame = network.encode(&images.narrow(0, at, 1).unwrap()).unwrap();
            alone.push(network.step(&frame, &mut recurrence, Carry::Update).unwrap().camera_token);
        }
        let alone = numbers(&Tensor::cat(&alone, 0).unwrap());
        let tokens = numbers(&output.tokens);
        assert_eq!(output.tokens.dims(), [5, 24]);
        assert!(tokens.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-4), "{tokens:?} {alone:?}");
        // A frame is read differently where others came before.
        let last = network.encode(&images.narrow(0, 4, 1).unwrap()).unwrap();
        let first = network.step(&last, &mut network.start(1).unwrap(), Carry::Update).unwrap();
        let first = numbers(&first.camera_token);
        assert!(first.iter().zip(&alone[4 * 24..]).any(|(a, b)| (a - b).abs() > 1e-3));
    }

    #[test]
    fn frames_taken_as_they_come_give_what_all_of_them_at_once_give() {
        let (network, images) = tiny(HeadKind::Linear, 5);
        let asked = video(&[0, 3, 4, 8, 9]);
        let input = CameraInput {
            features: &Tensor::zeros((5, 1, 1), DType::F32, &Device::Cpu).unwrap(),
            pixels: &images,
            secs: &[0.0; 5],
            frame_size: asked.frame_size,
            frames: &asked.frames,
            sampled: &[0, 1, 2, 3, 4],
        };
        let at_once = CameraEncoder::encode(&network, &input, &mut |_| true).unwrap().unwrap();
        let mut pass = network.begin(asked.clone()).unwrap().unwrap();
        for at in 0..5 {
            assert!(pass.take(&images.get(at).unwrap(), &mut |_| true).unwrap());
        }
        let one_by_one = pass.finish(&mut |_| true).unwrap().unwrap();
        assert_eq!(numbers(&one_by_one.tokens), numbers(&at_once.tokens));
        assert_eq!((one_by_one.poses, one_by_one.points), (at_once.poses, at_once.points));
        // Stopping is possible before every batch and behind every frame.
        for stop in 1..=8 {
            let mut told = 0;
            let mut progress = |_: CameraStep<'_>| {
                told += 1;
                told < stop
            };
            let output = CameraEncoder::encode(&network, &input, &mut progress).unwrap();
            assert_eq!((output.is_none(), told), (stop <= 7, stop.min(7)));
        }
    }
}
