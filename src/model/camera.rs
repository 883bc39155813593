//! Where camera tokens and camera poses come from.

use std::ops::ControlFlow;

use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;
use glam::Vec2;

use super::config::{CameraEncoderConfig, ModelConfig};
use super::cut3r;
use super::exchange::VideoStep;
use super::odometry::{Footage, OdometryCamera, PathStep};
use crate::geometry::{CameraPose, ImageSize, Intrinsics};
use crate::scene::{CameraEstimate, CloudPoint};
use crate::video::{FrameIndex, FrameSpacing};

/// Horizontal field of view assumed where nothing is known, radians (65°).
pub const ASSUMED_FOV: f32 = 1.134_464;

/// Height of a hand-held camera above the floor assumed where nothing is known, metres.
pub const ASSUMED_CAMERA_HEIGHT: f32 = 1.5;

/// What a camera encoder may look at: M frames of one video in order, F of which the
/// language model sees. M is F for encoders without [`CameraEncoder::spacing`].
#[derive(Debug)]
pub struct CameraInput<'a> {
    /// Output of the vision tower, (M, N, D).
    pub features: &'a Tensor,
    /// The frames as the vision tower saw them, (M, 3, S, S) in [-1, 1].
    pub pixels: &'a Tensor,
    /// Presentation times of the M frames, seconds.
    pub secs: &'a [f64],
    /// Size of the video frames.
    pub frame_size: ImageSize,
    /// The F frames.
    pub frames: &'a [FrameIndex],
    /// Where among the M frames they are.
    pub sampled: &'a [usize],
}

/// What it finds out.
#[derive(Debug, Clone)]
pub struct CameraOutput {
    /// Camera tokens, (F, camera_token_dim).
    pub tokens: Tensor,
    /// Camera-to-anchor pose per frame.
    pub poses: Vec<CameraPose>,
    /// Intrinsics of the video frames.
    pub intrinsics: Intrinsics,
    /// Dense points in the anchor space, frame-major; may be empty.
    pub points: Vec<CloudPoint>,
    /// Height of the floor in the anchor space, metres.
    pub floor_height: f32,
}

/// Where a camera encoder is.
#[derive(Debug, Clone, Copy)]
pub struct CameraStep<'a> {
    /// Frames done.
    pub done: usize,
    /// Frames in all.
    pub total: usize,
    /// Camera-to-anchor poses of the first sampled frames; later frames may still move them.
    pub poses: &'a [CameraPose],
    /// Intrinsics of the video frames as far as they are known.
    pub intrinsics: Intrinsics,
}

/// Told between steps; `false` stops the work.
pub type CameraProgress<'a> = &'a mut dyn FnMut(CameraStep<'_>) -> bool;

/// A video whose sampled frames are still to come.
#[derive(Debug, Clone)]
pub struct SampledVideo {
    /// The F frames.
    pub frames: Vec<FrameIndex>,
    /// Size of the video frames.
    pub frame_size: ImageSize,
    /// Type of the camera tokens.
    pub dtype: DType,
}

/// A camera encoder on its way through one video, frame by frame. The result does not depend on
/// when the frames come.
pub trait CameraPass: std::fmt::Debug + Send {
    /// Takes the next of the sampled frames, (3, S, S) as the vision tower sees it; false when
    /// `progress` said stop. Some frames may wait until a batch of them is there.
    fn take(&mut self, pixels: &Tensor, progress: CameraProgress<'_>) -> Result<bool>;

    /// The result, after the last frame; `None` when `progress` said stop.
    fn finish(self: Box<Self>, progress: CameraProgress<'_>) -> Result<Option<CameraOutput>>;
}

/// A source of camera tokens.
pub trait CameraEncoder: std::fmt::Debug + Send {
    /// How closely the encoder must follow the video between the sampled frames;
    /// `None` when it looks at these alone.
    fn spacing(&self) -> Option<FrameSpacing> {
        None
    }

    /// Starts on a video that is still being read; `None` for an encoder that needs all frames
    /// at once.
    fn begin(&self, _video: SampledVideo) -> Result<Option<Box<dyn CameraPass>>> {
        Ok(None)
    }

    /// Encodes one video; `None` when `progress` said stop.
    fn encode(&self, input: &CameraInput<'_>, progress: CameraProgress<'_>) -> Result<Option<CameraOutput>>;
}

/// Builds the encoder that `config` names, from the tensors below `weights`; `None` for none.
/// Geometry is computed in f32 whatever the rest of the network is kept in.
pub fn build(config: &ModelConfig, weights: VarBuilder<'_>) -> Result<Option<Box<dyn CameraEncoder>>> {
    let weights = weights.to_dtype(DType::F32);
    match &config.camera {
        CameraEncoderConfig::None => Ok(None),
        CameraEncoderConfig::Cut3r(cut3r) => cut3r::build(cut3r, weights).map(Some),
        CameraEncoderConfig::Odometry(odometry) => {
            let encoder =
                OdometryCamera::new(odometry, config.vision.hidden_size, config.camera_token_dim, weights)?;
            Ok(Some(Box::new(encoder)))
        }
    }
}

impl CameraEncoder for OdometryCamera {
    fn spacing(&self) -> Option<FrameSpacing> {
        Some(self.config().spacing)
    }

    fn encode(&self, input: &CameraInput<'_>, progress: CameraProgress<'_>) -> Result<Option<CameraOutput>> {
        let size = input.frame_size;
        let footage = Footage {
            features: input.features,
            pixels: input.pixels,
            secs: input.secs,
            sampled: input.sampled,
            aspect: size.width as f32 / size.height.max(1) as f32,
        };
        let mut steps = |PathStep { done, total, poses, focal }: PathStep<'_>| {
            progress(CameraStep { done, total, poses, intrinsics: intrinsics(size, focal) })
        };
        let Some(tracked) = self.track(&footage, &mut steps)? else { return Ok(None) };
        let tokens =
            tracked.tokens(self.token_dim(), input.features.device())?.to_dtype(input.features.dtype())?;
        let mut points = Vec::new();
        for (frame, (positions, confidence)) in tracked.points.iter().zip(&tracked.confidence).enumerate() {
            let colors = cell_colors(&input.pixels.get(input.sampled[frame])?, positions.len())?;
            points.extend(positions.iter().zip(confidence).zip(colors).map(
                |((&position, &confidence), color)| CloudPoint {
                    position,
                    color,
                    confidence,
                    frame: input.frames[frame],
                },
            ));
        }
        let focal = tracked.poses.first().map_or(Vec2::ONE, |pose| Vec2::from(pose.log_focal).exp());
        Ok(Some(CameraOutput {
            tokens,
            poses: (0..tracked.poses.len()).map(|frame| tracked.camera_pose(frame)).collect(),
            intrinsics: intrinsics(size, focal),
            points,
            floor_height: tracked.floor_height,
        }))
    }
}

/// Tells `observer` of the steps of a camera encoder that goes through `frames`.
pub(super) fn told<'a>(
    frames: &'a [FrameIndex],
    observer: &'a mut dyn FnMut(VideoStep<'_>) -> ControlFlow<()>,
) -> impl FnMut(CameraStep<'_>) -> bool {
    let mut known = Vec::new();
    move |CameraStep { done, total, poses, intrinsics }: CameraStep<'_>| {
        if poses.len() != known.len() {
            known = located(frames, poses, intrinsics);
        }
        observer(VideoStep::Camera { done, total, so_far: &known }).is_continue()
    }
}

/// One camera per sampled frame; none without a camera encoder.
pub(super) fn estimates(frames: &[FrameIndex], camera: Option<&CameraOutput>) -> Vec<CameraEstimate> {
    camera.map(|camera| located(frames, &camera.poses, camera.intrinsics)).unwrap_or_default()
}

/// Frames with their poses, as far as there are any.
fn located(frames: &[FrameIndex], poses: &[CameraPose], intrinsics: Intrinsics) -> Vec<CameraEstimate> {
    let pairs = frames.iter().zip(poses);
    pairs.map(|(&frame, &pose)| CameraEstimate { frame, pose, intrinsics }).collect()
}

/// Intrinsics with the principal point at the centre; `focal` in image widths and heights.
fn intrinsics(size: ImageSize, focal: Vec2) -> Intrinsics {
    let extent = Vec2::new(size.width as f32, size.height as f32);
    Intrinsics { focal: focal * extent, principal: extent * 0.5, size }
}

/// Mean colours of a square grid of `cells` cells over an image (3, S, S) in [-1, 1].
pub fn cell_colors(image: &Tensor, cells: usize) -> Result<Vec<[u8; 3]>> {
    let side = cells.isqrt().max(1);
    let (_, height, width) = image.dims3()?;
    let (cell_height, cell_width) = (height / side, width / side);
    if side * side != cells || cell_height == 0 || cell_width == 0 {
        candle_core::bail!("{cells} cells do not form a square grid over {width}x{height} pixels");
    }
    let means = image
        .to_dtype(DType::F32)?
        .narrow(1, 0, side * cell_height)?
        .narrow(2, 0, side * cell_width)?
        .contiguous()?
        .reshape(vec![3, side, cell_height, side, cell_width])?
        .mean(4)?
        .mean(2)?
        .reshape((3, cells))?
        .to_vec2::<f32>()?;
    let level = |value: f32| ((value * 0.5 + 0.5) * 255.0).round().clamp(0.0, 255.0) as u8;
    Ok((0..cells).map(|cell| std::array::from_fn(|channel| level(means[channel][cell]))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn cells_take_the_mean_colour_of_their_pixels() {
        // Left half black, right half white; 2 x 2 cells.
        let row = [-1.0f32, -1.0, 1.0, 1.0];
        let image = Tensor::new(&row, &Device::Cpu).unwrap().broadcast_as((3, 4, 4)).unwrap();
        let colors = cell_colors(&image, 4).unwrap();
        assert_eq!(colors, [[0; 3], [255; 3], [0; 3], [255; 3]]);
        assert!(cell_colors(&image, 3).is_err());
    }
}
