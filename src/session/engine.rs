//! What the model thread needs of a network, as a small trait, so that the
//! thread's behaviour is tested with a scripted stand-in.

use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use candle_core::{DType, Device};

use super::kept_videos::{HeldBytes, KnownVideo, Shelf, room};
use super::{Compute, ModelInfo, ModelSight, Precision, SessionError};
use crate::geometry::ImageSize;
use crate::model::feature_cache::{self, CacheKey};
use crate::model::memory_plan::{Hardware, MemoryPlan, WeightCounts, free_memory};
use crate::model::sequence::VisualLayout;
use crate::model::{
    FeatureCache, Loc3rModel, ModelError, Perception, Query, Reply, ReplyStep, TrainingRun, VideoStep,
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

/// A video that was made the open one.
#[derive(Debug)]
pub(super) struct Encoded {
    /// Every vision token on the map.
    pub layout: Layout,
    /// Tokens whose keys and values were there from before.
    pub reused_tokens: usize,
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

    /// Closes the open video; what it knows of it may be kept.
    fn set_aside(&mut self);

    /// Makes what it watched, or just recalled, the open video; gives the layout.
    fn encode(&mut self, look: &Look<'_>, observe: VideoObserver<'_>) -> Result<Encoded, SessionError>;

    /// Answers about the open video.
    fn ask(&mut self, query: &Query, observe: ReplyObserver<'_>) -> Result<Reply, SessionError>;

    /// Closes the open video and forgets it.
    fn close_video(&mut self);
}

/// Makes an engine from a checkpoint folder.
pub(super) type Loader =
    dyn Fn(&Path, Compute) -> Result<(Box<dyn Engine>, ModelInfo), SessionError> + Send + Sync;

/// Loads a checkpoint folder onto a device. What it sees of videos is kept in `cache`, and in
/// memory, where `held` tells of it; nothing is without a cache.
pub(super) fn load(
    folder: &Path,
    compute: Compute,
    cache: Option<FeatureCache>,
    held: HeldBytes,
) -> Result<(Box<dyn Engine>, ModelInfo), SessionError> {
    let (network, info) = Network::load(folder, compute, cache, held)?;
    Ok((Box::new(network), info))
}

/// What made a model, and the README of its folder; a model without them is none the worse.
fn model_card(folder: &Path, training: &[TrainingRun]) -> String {
    const LONGEST: usize = 40_000;
    let mut card = String::new();
    for run in training {
        card.push_str(&format!("Trained: {run}\n"));
        for start in &run.starts {
            card.push_str(&format!("  {start}\n"));
        }
    }
    let text = std::fs::read_to_string(folder.join("README.md")).unwrap_or_default();
    if !card.is_empty() && !text.is_empty() {
        card.push('\n');
    }
    card.push_str(&text);
    card.chars().take(LONGEST).collect()
}

/// The model of a checkpoint folder on `device`, with the numbers that were asked for.
fn load_model(folder: &Path, precision: Precision, device: &Device) -> Result<Loc3rModel, ModelError> {
    match precision {
        Precision::Auto => Loc3rModel::load(folder, device),
        Precision::F32 => Loc3rModel::load_as(folder, DType::F32, device),
        Precision::F16 => Loc3rModel::load_as(folder, DType::F16, device),
        Precision::Bf16 => Loc3rModel::load_as(folder, DType::BF16, device),
    }
}

/// What people are told of a model that was loaded from `folder`.
fn info_of(model: &Loc3rModel, folder: &Path, device_name: &str) -> ModelInfo {
    let config = model.config();
    let device = match model.dtype() {
        DType::F32 => device_name.to_owned(),
        smaller => format!("{device_name}, {}", smaller.as_str()),
    };
    ModelInfo {
        name: config.name.clone(),
        folder: folder.to_owned(),
        device,
        parameters: model.parameters(),
        frames: config.num_frames,
        image_size: config.vision.image_size as u32,
        notice: config.notice.clone(),
        card: model_card(folder, &config.training),
    }
}

struct Network {
    model: Loc3rModel,
    folder: PathBuf,
    frames: NonZeroU32,
    watched: Option<Watched>,
    last_look: LastLook,
    open: Option<OpenVideo>,
    /// Videos that were open before.
    shelf: Shelf<Rc<KnownVideo>>,
    /// What these and the open one take, for others to read.
    held: HeldBytes,
    /// What was seen of videos, on disk. Without it nothing is kept in memory either.
    cache: Option<FeatureCache>,
    /// Of the weights, for the cache; made when the first video is opened.
    fingerprint: Option<String>,
}

struct OpenVideo {
    /// `None` where nothing is to be kept, or the frames cannot be told from others.
    key: Option<CacheKey>,
    video: Rc<KnownVideo>,
}

/// What [`Engine::recall`] found out.
#[derive(Default)]
struct LastLook {
    /// See [`OpenVideo::key`].
    key: Option<CacheKey>,
    found: Option<Found>,
}

/// What is known of frames before they are looked at.
enum Found {
    /// What the encoders made of them.
    Perceived(Box<Perception>),
    /// All of it.
    Known(Rc<KnownVideo>),
}

impl Found {
    /// The sampled frames, and the pictures of them.
    fn pictures(&self) -> (Vec<FrameIndex>, Vec<u8>) {
        match self {
            Self::Perceived(seen) => (seen.frames.clone(), seen.sight_rgb.clone()),
            Self::Known(video) => (video.frames.clone(), video.encoding.sight_rgb.clone()),
        }
    }
}

impl Network {
    fn load(
        folder: &Path,
        compute: Compute,
        cache: Option<FeatureCache>,
        held: HeldBytes,
    ) -> Result<(Self, ModelInfo), SessionError> {
        let (device, device_name) = device::choose(compute.device)?;
        let model = load_model(folder, compute.precision, &device)?;
        let frames = NonZeroU32::new(model.config().num_frames).ok_or_else(|| ModelError::Config {
            path: folder.join(crate::model::checkpoint::CONFIG_FILE),
            reason: "`num_frames` is 0, it must be at least 1".to_owned(),
        })?;
        let info = info_of(&model, folder, &device_name);
        let network = Self {
            model,
            folder: folder.to_owned(),
            frames,
            watched: None,
            last_look: LastLook::default(),
            open: None,
            shelf: Shelf::default(),
            held,
            cache,
            fingerprint: None,
        };
        network.tell_held();
        Ok((network, info))
    }

    /// What tells these frames, looked at in this way, from all others; `None` without a cache,
    /// and, with a warning, when they cannot be read.
    fn key(&mut self, look: &Look<'_>) -> Option<CacheKey> {
        self.cache.as_ref()?;
        let (dtype, device) = (self.model.dtype(), self.model.device().location());
        let manner = format!("{dtype:?} {device:?} {:?} {:?}", look.sampled, look.wanted);
        let made =
            self.fingerprint().and_then(|fingerprint| CacheKey::new(&look.info.path, &fingerprint, &manner));
        made.inspect_err(|error| {
            tracing::warn!("what was seen of {} cannot be looked up: {error}", look.info.path.display());
        })
        .ok()
    }

    /// What tells the weights from others on disk.
    fn fingerprint(&mut self) -> std::io::Result<String> {
        if let Some(known) = &self.fingerprint {
            return Ok(known.clone());
        }
        let files = checkpoint::files(&self.folder).map_err(std::io::Error::other)?;
        let made = feature_cache::fingerprint(&files)?;
        self.fingerprint = Some(made.clone());
        Ok(made)
    }

    /// What is known under a key: in the open video, in those open before, on disk.
    fn found(&self, key: &CacheKey) -> Option<Found> {
        let open = self.open.as_ref().filter(|open| open.key.as_ref() == Some(key)).map(|open| &open.video);
        if let Some(video) = open.or_else(|| self.shelf.find(key)) {
            return Some(Found::Known(Rc::clone(video)));
        }
        let seen = self.cache.as_ref()?.find(key, self.model.device())?;
        Some(Found::Perceived(Box::new(seen)))
    }

    /// Lets go of videos that were open before, until there is the memory to read another one.
    fn make_room(&mut self) {
        let held = self.shelf.bytes();
        if held > 0 {
            let (device, dtype) = (self.model.device(), self.model.dtype());
            let config = self.model.config();
            // Weights are there already, but for the widened copy of the largest matrix.
            let table = config.language.vocab_size.saturating_mul(config.language.hidden_size);
            let weights = WeightCounts { largest: table as u64, ..WeightCounts::default() };
            let needs = MemoryPlan::new(config, &weights, dtype, Hardware::of(device));
            self.shelf.trim(room(free_memory(device), held, needs.total()));
        }
        self.tell_held();
    }

    /// Says what goes with the model beside its weights.
    fn tell_held(&self) {
        let open = self.open.as_ref().map_or(0, |open| open.video.bytes());
        self.held.set(self.shelf.bytes() + open);
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

    /// Runs the camera encoder over what was watched, and stores what was seen.
    fn perceive(
        &self,
        watched: Watched,
        key: Option<&CacheKey>,
        look: &Look<'_>,
        observe: VideoObserver<'_>,
    ) -> Result<Perception, SessionError> {
        let perception = self.model.perceive_watched(watched, look.sampled, observe)?;
        if let (Some(cache), Some(key)) = (&self.cache, key) {
            let name = look.info.path.display().to_string();
            let stored = cache.store(key, &perception, &name, &self.model.config().name);
            if let Err(problem) = stored
                && observe(VideoStep::Warning(&problem)).is_break()
            {
                return Err(ModelError::Cancelled.into());
            }
        }
        Ok(perception)
    }

    /// Runs the language model over what the encoders made of a video.
    fn read(
        &self,
        perception: Perception,
        look: &Look<'_>,
        observe: VideoObserver<'_>,
    ) -> Result<Rc<KnownVideo>, SessionError> {
        let encoding = self.model.encode(&perception, look.info, None, observe)?;
        let Perception { frames, strangeness, .. } = perception;
        Ok(Rc::new(KnownVideo { frames, strangeness, encoding }))
    }
}

/// Tells of a video that is known what was told when it was read.
fn retell(video: &KnownVideo, observe: VideoObserver<'_>) -> Result<(), SessionError> {
    let KnownVideo { strangeness, encoding, .. } = video;
    let cameras = VideoStep::Cameras(&encoding.cameras, &encoding.points);
    let mut steps = strangeness.map(VideoStep::Strangeness).into_iter().chain([cameras]);
    if steps.any(|step| observe(step).is_break()) { Err(ModelError::Cancelled.into()) } else { Ok(()) }
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
        let key = self.key(look);
        let found = key.as_ref().and_then(|key| self.found(key));
        self.make_room();
        let pictures = found.as_ref().map(Found::pictures);
        self.last_look = LastLook { key, found };
        pictures.map(|(frames, rgb)| self.sight_of(frames, rgb))
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

    fn set_aside(&mut self) {
        if let Some(OpenVideo { key: Some(key), video }) = self.open.take() {
            self.shelf.put(key, video.bytes(), video);
        }
        self.make_room();
    }

    fn encode(&mut self, look: &Look<'_>, observe: VideoObserver<'_>) -> Result<Encoded, SessionError> {
        let LastLook { key, found } = std::mem::take(&mut self.last_look);
        let (video, reused_tokens) = match (self.watched.take(), found) {
            (Some(watched), _) => {
                let perception = self.perceive(watched, key.as_ref(), look, observe)?;
                (self.read(perception, look, observe)?, 0)
            }
            (None, Some(Found::Perceived(perception))) => (self.read(*perception, look, observe)?, 0),
            (None, Some(Found::Known(video))) => {
                retell(&video, observe)?;
                let tokens = video.encoding.prefix_tokens;
                (video, tokens)
            }
            (None, None) => return Err(SessionError::NoVideo),
        };
        let layout = video.encoding.layout.clone();
        // The open video is none of those that must make room.
        if let Some(key) = &key {
            self.shelf.remove(key);
        }
        self.open = Some(OpenVideo { key, video });
        self.tell_held();
        Ok(Encoded { layout, reused_tokens })
    }

    fn ask(&mut self, query: &Query, observe: ReplyObserver<'_>) -> Result<Reply, SessionError> {
        let OpenVideo { video, .. } = self.open.as_ref().ok_or(SessionError::NoVideo)?;
        Ok(self.model.ask(&video.encoding, query, observe)?)
    }

    fn close_video(&mut self) {
        self.open = None;
        self.tell_held();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random_weights::write_random;
    use crate::model::{ModelConfig, TrainedStage, TrainingStart};
    use crate::session::ComputeDevice;
    use crate::video::{FrameReader, frames_to_read};

    /// A folder with a model of random weights (`model`) and clips of six pictures (`a`, `b`).
    fn workshop() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        write_random(&ModelConfig::tiny(), &model, DType::F32, 5, &mut |_, _| {}).unwrap();
        for (clip, blue) in [("a", 20), ("b", 200)] {
            std::fs::create_dir(folder.path().join(clip)).unwrap();
            for number in 0..6 {
                let path = folder.path().join(clip).join(format!("{number}.png"));
                image::RgbImage::from_pixel(8, 8, image::Rgb([number, 90, blue])).save(path).unwrap();
            }
        }
        folder
    }

    #[test]
    fn the_card_begins_with_what_made_the_model() {
        let folder = tempfile::tempdir().unwrap();
        let run = TrainingRun {
            stages: vec![TrainedStage { name: "tower".to_owned(), steps: 7 }],
            starts: vec![TrainingStart {
                command: "loc3r train --out a".to_owned(),
                seed: 3,
                version: "0.1.0".to_owned(),
                commit: None,
            }],
        };
        let record = "Trained: tower 7 steps\n  loc3r train --out a (seed 3, loc3r 0.1.0)\n";
        let card = |training: &[TrainingRun]| model_card(folder.path(), training);
        assert_eq!((card(&[]).as_str(), card(std::slice::from_ref(&run)).as_str()), ("", record));
        std::fs::write(folder.path().join("README.md"), "# Card\n").unwrap();
        assert_eq!(card(&[]), "# Card\n");
        assert_eq!(card(&[run]), format!("{record}\n# Card\n"));
    }

    fn network_with(folder: &Path, precision: Precision, cache: Option<FeatureCache>) -> Network {
        let compute = Compute { device: ComputeDevice::Cpu, precision };
        Network::load(&folder.join("model"), compute, cache, HeldBytes::default()).unwrap().0
    }

    /// One that keeps what it sees, as the app does.
    fn network(folder: &Path, precision: Precision) -> Network {
        let cache = FeatureCache { folder: folder.join("seen"), limit: 1 << 30 };
        network_with(folder, precision, Some(cache))
    }

    /// Opens the `sampled` frames of a clip as the model thread does; gives the layout, the
    /// tokens that were there from before, and all.
    fn open(network: &mut Network, clip: &Path, sampled: [u32; 4]) -> (Layout, usize, usize) {
        let reader = FrameReader::open(clip).unwrap();
        let info = reader.info().clone();
        let sampled = sampled.map(FrameIndex);
        let wanted = frames_to_read(network.spacing(), &info.pts_secs, &sampled);
        let look = Look { info: &info, sampled: &sampled, wanted: &wanted };
        if network.recall(&look).is_none() {
            reader.read(wanted.clone()).unwrap();
            for _ in &wanted {
                network.watch(&look, reader.next(&mut || false).unwrap().unwrap()).unwrap();
            }
            network.sight(&look).unwrap();
        }
        network.set_aside();
        let Encoded { layout, reused_tokens } =
            network.encode(&look, &mut |_| ControlFlow::Continue(())).unwrap();
        (layout, reused_tokens, network.open.as_ref().unwrap().video.encoding.prefix_tokens)
    }

    const SAMPLED: [u32; 4] = [0, 1, 3, 5];

    #[test]
    fn a_video_opened_again_comes_back_with_its_keys_and_values() {
        let folder = workshop();
        let clip = |name: &str| folder.path().join(name);
        let mut network = network(folder.path(), Precision::Auto);
        let (first, reused, tokens) = open(&mut network, &clip("a"), SAMPLED);
        assert_eq!(reused, 0);
        assert_eq!(open(&mut network, &clip("b"), SAMPLED).1, 0);
        assert_eq!(open(&mut network, &clip("a"), SAMPLED), (first.clone(), tokens, tokens));
        // The open one itself, and under another name.
        std::fs::rename(clip("a"), clip("c")).unwrap();
        assert_eq!(open(&mut network, &clip("c"), SAMPLED), (first, tokens, tokens));
        assert!(open(&mut network, &clip("b"), SAMPLED).1 > 0);
    }

    #[test]
    fn other_frames_other_pictures_and_other_numbers_are_read() {
        let folder = workshop();
        let clip = folder.path().join("a");
        let mut full = network(folder.path(), Precision::F32);
        open(&mut full, &clip, SAMPLED);
        assert_eq!(open(&mut full, &clip, [0, 2, 3, 5]).1, 0);
        assert!(open(&mut full, &clip, SAMPLED).1 > 0);
        image::RgbImage::new(8, 8).save(clip.join("3.png")).unwrap();
        assert_eq!(open(&mut full, &clip, SAMPLED).1, 0);
        // A model that is loaded has read nothing, whatever one before it has.
        let mut half = network(folder.path(), Precision::Bf16);
        assert_eq!(open(&mut half, &clip, SAMPLED).1, 0);
        assert!(half.last_look.found.is_none() && half.shelf.bytes() == 0);
    }

    #[test]
    fn what_has_no_room_is_let_go_and_the_open_video_never() {
        let folder = workshop();
        let clip = |name: &str| folder.path().join(name);
        let mut network = network(folder.path(), Precision::Auto);
        open(&mut network, &clip("a"), SAMPLED);
        open(&mut network, &clip("b"), SAMPLED);
        let held = network.shelf.bytes();
        let keys_and_values = network.open.as_ref().unwrap().video.encoding.bytes() as u64;
        assert!(keys_and_values > 0 && held > keys_and_values, "{held}, {keys_and_values}");
        network.shelf.trim(held - 1);
        assert!(open(&mut network, &clip("b"), SAMPLED).1 > 0);
        assert_eq!(open(&mut network, &clip("a"), SAMPLED).1, 0);
    }

    #[test]
    fn what_is_on_disk_is_read_by_the_language_model_again() {
        let folder = workshop();
        let clip = folder.path().join("a");
        let mut before = network(folder.path(), Precision::Auto);
        let (layout, ..) = open(&mut before, &clip, SAMPLED);
        let mut network = network(folder.path(), Precision::Auto);
        let (again, reused, tokens) = open(&mut network, &clip, SAMPLED);
        assert_eq!((again, reused), (layout, 0));
        assert_eq!(open(&mut network, &clip, SAMPLED).1, tokens);
    }

    #[test]
    fn without_a_cache_every_opening_reads_the_video_anew() {
        let folder = workshop();
        let clip = |name: &str| folder.path().join(name);
        let mut network = network_with(folder.path(), Precision::Auto, None);
        let (first, _, tokens) = open(&mut network, &clip("a"), SAMPLED);
        assert_eq!(open(&mut network, &clip("a"), SAMPLED), (first, 0, tokens));
        open(&mut network, &clip("b"), SAMPLED);
        assert_eq!(open(&mut network, &clip("a"), SAMPLED).1, 0);
        assert_eq!(network.shelf.bytes(), 0);
    }

    #[test]
    fn what_videos_take_is_told_until_they_go() {
        let folder = workshop();
        let clip = |name: &str| folder.path().join(name);
        let mut network = network(folder.path(), Precision::Auto);
        let held = network.held.clone();
        assert_eq!(held.get(), 0);
        open(&mut network, &clip("a"), SAMPLED);
        let one = held.get();
        assert_eq!(one, network.open.as_ref().unwrap().video.bytes());
        open(&mut network, &clip("b"), SAMPLED);
        assert_eq!(held.get(), 2 * one);
        // Back from the shelf it is counted once.
        open(&mut network, &clip("a"), SAMPLED);
        assert_eq!(held.get(), 2 * one);
        network.close_video();
        assert_eq!(held.get(), one);
        drop(network);
        // Another model in its place holds none.
        let compute = Compute { device: ComputeDevice::Cpu, precision: Precision::Auto };
        let other = Network::load(&folder.path().join("model"), compute, None, held.clone()).unwrap();
        assert_eq!((held.get(), other.0.shelf.bytes()), (0, 0));
    }
}
