//! What the model thread needs of a network, as a small trait, so that the
//! thread's behaviour is tested with a scripted stand-in.

use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use candle_core::DType;

use super::{Compute, ModelInfo, ModelSight, Precision, SessionError};
use crate::geometry::ImageSize;
use crate::model::feature_cache::{self, CacheKey};
use crate::model::sequence::VisualLayout;
use crate::model::{
    FeatureCache, Loc3rModel, ModelError, Perception, Query, Reply, ReplyStep, VideoEncoding, VideoStep,
    Watched, checkpoint, device,
};
use crate::scene::Layout;
use crate::video::{Frame, FrameIndex, FrameSpacing, VideoInfo};

/// Sees every step of reading a video; `Break` cancels.
pub(super) type VideoObserver<'a> = &'a mut dyn FnMut(VideoStep<'_>) -> ControlFlow<()>;
/// Sees every step of answering; `Break` cancels.
pub(super) type ReplyObserver<'a> = &'a mut dyn FnMut(ReplyStep<'_>) -> ControlFlow<()>;

/// The frames of a video that are to be looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    /// The video.
    pub info: &'a VideoInfo,
    /// Frames that the language model sees.
    pub sampled: &'a [FrameIndex],
    /// These and those between that the camera encoder follows.
    pub wanted: &'a [FrameIndex],
}

/// A loaded network with at most one open video.
pub(super) trait Engine {
    /// How many frames of a video it looks at.
    fn frames(&self) -> NonZeroU32;

    /// How closely it follows a video between these frames; `None` when not at all.
    fn spacing(&self) -> Option<FrameSpacing>;

    /// The longest answer that it wants to give, tokens; `None` when it does not say.
    fn longest_answer(&self) -> Option<usize>;

    /// Looks whether it has seen these frames before; if so, what it saw of them. They need
    /// not be read then.
    fn recall(&mut self, look: &Look<'_>) -> Option<ModelSight>;

    /// Looks at the next of the wanted frames, the first of a look after [`Self::recall`].
    fn watch(&mut self, look: &Look<'_>, frame: Frame) -> Result<(), SessionError>;

    /// Lets a camera encoder that takes frames one after the other go on through the watched ones.
    fn follow(&mut self, look: &Look<'_>, observe: VideoObserver<'_>) -> Result<(), SessionError>;

    /// What it sees of the sampled ones among the frames that it watched.
    fn sight(&mut self, look: &Look<'_>) -> Result<ModelSight, SessionError>;

    /// Forgets what it watched.
    fn look_away(&mut self);

    /// Makes what it watched, or just recalled, the open video; gives the layout.
    fn encode(&mut self, look: &Look<'_>, observe: VideoObserver<'_>) -> Result<Layout, SessionError>;

    /// Answers about the open video.
    fn ask(&mut self, query: &Query, observe: ReplyObserver<'_>) -> Result<Reply, SessionError>;

    /// Forgets the open video.
    fn close_video(&mut self);
}

/// Makes an engine from a checkpoint folder.
pub(super) type Loader =
    dyn Fn(&Path, Compute) -> Result<(Box<dyn Engine>, ModelInfo), SessionError> + Send + Sync;

/// Loads a checkpoint folder onto a device. What it sees of videos is kept in `cache`.
pub(super) fn load(
    folder: &Path,
    compute: Compute,
    cache: Option<FeatureCache>,
) -> Result<(Box<dyn Engine>, ModelInfo), SessionError> {
    let (device, device_name) = device::choose(compute.device)?;
    let model = match compute.precision {
        Precision::Auto => Loc3rModel::load(folder, &device),
        Precision::F32 => Loc3rModel::load_as(folder, DType::F32, &device),
        Precision::F16 => Loc3rModel::load_as(folder, DType::F16, &device),
        Precision::Bf16 => Loc3rModel::load_as(folder, DType::BF16, &device),
    }?;
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
    let memory = cache.map(|cache| Memory { cache, fingerprint: None, look: None });
    let folder = folder.to_owned();
    Ok((Box::new(Network { model, folder, frames, watched: None, video: None, memory }), info))
}

/// The README of a checkpoint folder; a model without one is none the worse.
fn model_card(folder: &Path) -> String {
    const LONGEST: usize = 40_000;
    let text = std::fs::read_to_string(folder.join("README.md")).unwrap_or_default();
    text.chars().take(LONGEST).collect()
}

struct Network {
    model: Loc3rModel,
    folder: PathBuf,
    frames: NonZeroU32,
    watched: Option<Watched>,
    video: Option<VideoEncoding>,
    memory: Option<Memory>,
}

/// What was seen before.
struct Memory {
    cache: FeatureCache,
    /// Of the weights; made when the first video is opened.
    fingerprint: Option<String>,
    /// The last look, and what was seen then if it was not the first.
    look: Option<(CacheKey, Option<Perception>)>,
}

impl Network {
    fn key(&self, look: &Look<'_>, fingerprint: &str) -> std::io::Result<CacheKey> {
        let (dtype, device) = (self.model.dtype(), self.model.device().location());
        let manner = format!("{dtype:?} {device:?} {:?} {:?}", look.sampled, look.wanted);
        CacheKey::new(&look.info.path, fingerprint, &manner)
    }

    fn sight_of(&self, frames: Vec<FrameIndex>, rgb: Vec<u8>) -> ModelSight {
        let config = self.model.config();
        let side = config.vision.image_size as u32;
        let tokens = VisualLayout::new(config, frames.len());
        ModelSight {
            frames,
            size: ImageSize::new(side, side),
            rgb,
            tokens_per_frame: tokens.frame_len(),
            prefix_tokens: tokens.len(),
        }
    }

    /// Stores what was seen at the last look.
    fn remember(&self, info: &VideoInfo, perception: &Perception) -> Result<(), String> {
        let Some(Memory { cache, look: Some((key, _)), .. }) = &self.memory else { return Ok(()) };
        let name = info.path.display().to_string();
        cache.store(key, perception, &name, &self.model.config().name)
    }
}

impl Engine for Network {
    fn frames(&self) -> NonZeroU32 {
        self.frames
    }

    fn spacing(&self) -> Option<FrameSpacing> {
        self.model.spacing()
    }

    fn longest_answer(&self) -> Option<usize> {
        self.model.longest_answer()
    }

    fn recall(&mut self, look: &Look<'_>) -> Option<ModelSight> {
        self.look_away();
        let fingerprint = match &self.memory.as_ref()?.fingerprint {
            Some(known) => Ok(known.clone()),
            None => checkpoint::files(&self.folder)
                .map_err(std::io::Error::other)
                .and_then(|files| feature_cache::fingerprint(&files)),
        };
        let key = fingerprint.and_then(|fingerprint| Ok((self.key(look, &fingerprint)?, fingerprint)));
        let memory = self.memory.as_mut()?;
        let (key, fingerprint) = match key {
            Ok(made) => made,
            Err(error) => {
                tracing::warn!("what was seen of {} cannot be looked up: {error}", look.info.path.display());
                memory.look = None;
                return None;
            }
        };
        memory.fingerprint = Some(fingerprint);
        let found = memory.cache.find(&key, self.model.device());
        let known = found.as_ref().map(|found| (found.frames.clone(), found.sight_rgb.clone()));
        memory.look = Some((key, found));
        known.map(|(frames, rgb)| self.sight_of(frames, rgb))
    }

    fn watch(&mut self, look: &Look<'_>, frame: Frame) -> Result<(), SessionError> {
        let watched = self.watched.get_or_insert_with(|| Watched::of(look.info));
        self.model.watch(watched, frame)?;
        Ok(())
    }

    fn follow(&mut self, look: &Look<'_>, observe: VideoObserver<'_>) -> Result<(), SessionError> {
        let watched = self.watched.as_mut().ok_or(SessionError::NoVideo)?;
        Ok(self.model.follow(watched, look.sampled, observe)?)
    }

    fn sight(&mut self, look: &Look<'_>) -> Result<ModelSight, SessionError> {
        let watched = self.watched.as_mut().ok_or(SessionError::NoVideo)?;
        let rgb = self.model.sight(watched, look.sampled)?;
        Ok(self.sight_of(look.sampled.to_vec(), rgb))
    }

    fn look_away(&mut self) {
        self.watched = None;
    }

    fn encode(&mut self, look: &Look<'_>, observe: VideoObserver<'_>) -> Result<Layout, SessionError> {
        let recalled = self.memory.as_mut().and_then(|memory| memory.look.as_mut()?.1.take());
        let perception = match self.watched.take() {
            Some(watched) => {
                let perception = self.model.perceive_watched(watched, look.sampled, observe)?;
                if let Err(problem) = self.remember(look.info, &perception)
                    && observe(VideoStep::Warning(&problem)).is_break()
                {
                    return Err(ModelError::Cancelled.into());
                }
                perception
            }
            None => recalled.ok_or(SessionError::NoVideo)?,
        };
        let video = self.model.encode(&perception, look.info, None, observe)?;
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
