//! What the model thread needs of a network, as a small trait, so that the
//! thread's behaviour is tested with a scripted stand-in.

use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::path::Path;

use candle_core::DType;

use super::{ComputeDevice, ModelInfo, ModelSight, SessionError};
use crate::geometry::ImageSize;
use crate::model::sequence::VisualLayout;
use crate::model::{
    Clip, Loc3rModel, ModelError, Query, Reply, ReplyStep, VideoEncoding, VideoStep, preprocess,
};
use crate::scene::Layout;
use crate::video::{Frame, FrameSpacing};

/// Sees every step of reading a video; `Break` cancels.
pub(super) type VideoObserver<'a> = &'a mut dyn FnMut(VideoStep<'_>) -> ControlFlow<()>;
/// Sees every step of answering; `Break` cancels.
pub(super) type ReplyObserver<'a> = &'a mut dyn FnMut(ReplyStep<'_>) -> ControlFlow<()>;

/// A loaded network with at most one open video.
pub(super) trait Engine {
    /// How many frames of a video it looks at.
    fn frames(&self) -> NonZeroU32;

    /// How closely it follows a video between these frames; `None` when not at all.
    fn spacing(&self) -> Option<FrameSpacing>;

    /// Frames between the sampled ones, no larger than needed.
    fn shrunk(&self, frames: Vec<Frame>) -> Vec<Frame>;

    /// What it will see of a clip.
    fn sight(&self, clip: &Clip) -> ModelSight;

    /// Reads a clip and keeps it as the open video; gives the layout.
    fn encode(&mut self, clip: &Clip, observe: VideoObserver<'_>) -> Result<Layout, SessionError>;

    /// Answers about the open video.
    fn ask(&mut self, query: &Query, observe: ReplyObserver<'_>) -> Result<Reply, SessionError>;

    /// Forgets the open video.
    fn close_video(&mut self);
}

/// Makes an engine from a checkpoint folder.
pub(super) type Loader =
    dyn Fn(&Path, ComputeDevice) -> Result<(Box<dyn Engine>, ModelInfo), SessionError> + Send + Sync;

/// Loads a checkpoint folder onto a device.
pub(super) fn load(
    folder: &Path,
    device: ComputeDevice,
) -> Result<(Box<dyn Engine>, ModelInfo), SessionError> {
    let (device, device_name) = super::device::choose(device)?;
    let model = Loc3rModel::load(folder, &device)?;
    let device_name = match model.dtype() {
        DType::F32 => device_name,
        smaller => format!("{device_name}, {}", smaller.as_str()),
    };
    let config = model.config();
    let frames = NonZeroU32::new(config.num_frames).ok_or_else(|| ModelError::Config {
        path: folder.join(crate::model::checkpoint::CONFIG_FILE),
        reason: "`num_frames` is 0, it must be at least 1".to_owned(),
    })?;
    let info = ModelInfo {
        name: config.name.clone(),
        folder: folder.to_owned(),
        device: device_name,
        parameters: model.parameters(),
        frames: frames.get(),
        image_size: config.vision.image_size as u32,
        notice: config.notice.clone(),
        card: model_card(folder),
    };
    Ok((Box::new(Network { model, frames, video: None }), info))
}

/// The README of a checkpoint folder; a model without one is none the worse.
fn model_card(folder: &Path) -> String {
    const LONGEST: usize = 40_000;
    let text = std::fs::read_to_string(folder.join("README.md")).unwrap_or_default();
    text.chars().take(LONGEST).collect()
}

struct Network {
    model: Loc3rModel,
    frames: NonZeroU32,
    video: Option<VideoEncoding>,
}

impl Engine for Network {
    fn frames(&self) -> NonZeroU32 {
        self.frames
    }

    fn spacing(&self) -> Option<FrameSpacing> {
        self.model.spacing()
    }

    fn shrunk(&self, frames: Vec<Frame>) -> Vec<Frame> {
        let config = self.model.config();
        let side = config.vision.image_size as u32;
        let images: Vec<(&[u8], ImageSize)> = frames.iter().map(|frame| (&*frame.rgb, frame.size)).collect();
        let squares = preprocess::squares(&images, side, config.frame_fit);
        frames
            .into_iter()
            .zip(squares)
            .map(|(frame, rgb)| Frame { size: ImageSize::new(side, side), rgb: rgb.into(), ..frame })
            .collect()
    }

    fn sight(&self, clip: &Clip) -> ModelSight {
        let config = self.model.config();
        let side = config.vision.image_size as u32;
        let images: Vec<(&[u8], ImageSize)> =
            clip.frames.iter().map(|frame| (&*frame.rgb, frame.size)).collect();
        let tokens = VisualLayout::new(config, clip.frames.len());
        ModelSight {
            frames: clip.frames.iter().map(|frame| frame.index).collect(),
            size: ImageSize::new(side, side),
            rgb: preprocess::squares(&images, side, config.frame_fit).concat(),
            tokens_per_frame: tokens.frame_len(),
            prefix_tokens: tokens.len(),
        }
    }

    fn encode(&mut self, clip: &Clip, observe: VideoObserver<'_>) -> Result<Layout, SessionError> {
        let video = self.model.encode_video(clip, observe)?;
        let layout = video.layout.clone();
        self.video = Some(video);
        Ok(layout)
    }

    fn ask(&mut self, query: &Query, observe: ReplyObserver<'_>) -> Result<Reply, SessionError> {
        let video = self.video.as_ref().ok_or(SessionError::NoVideo)?;
        Ok(self.model.ask(video, query, observe)?)
    }

    fn close_video(&mut self) {
        self.video = None;
    }
}
