//! The model as everybody else sees it: a clip becomes a [`VideoEncoding`], questions
//! on it become [`Reply`]s. Plain values at the edge, tensors inside.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use candle_core::{D, DType, Device, Tensor};

use super::camera::{
    ASSUMED_CAMERA_HEIGHT, ASSUMED_FOV, CameraEncoder, CameraInput, CameraOutput, CameraStep,
};
use super::config::ModelConfig;
use super::exchange::{Clip, Query, Reply, ReplyStep, VideoStep};
use super::generation::generate;
use super::geometry_cue::{cue_codes, pooled_points};
use super::heads::Heads;
use super::layout_reader::LayoutReader;
use super::memory_plan::free_memory;
use super::network::{CAMERA_PREFIX, SeededVariables};
use super::perception::Perception;
use super::prompt::{FrameTimes, PromptQuestion, PromptText};
use super::qwen2::{HiddenStates, KvCache, PassOptions};
use super::random_weights::{NOTICE, stand_in_tokenizer};
use super::sequence::{TokenSequence, VisualLayout};
use super::tokenizer::TextTokenizer;
use super::watched::{self, Watched};
use super::{ModelError, Network, camera, checkpoint};
use crate::geometry::{CameraPose, ImageSize, Intrinsics, Orientation};
use crate::qa::SituationEstimate;
use crate::scene::{CameraEstimate, Layout, PointCloud};
use crate::video::{Frame, FrameIndex, FrameSpacing, VideoInfo};

/// Rows of one prefill step: bounds the memory of attention and the wait for a cancel.
pub const PREFILL_CHUNK: usize = 512;

/// Texts with more than this many bytes per token of the longest sequence are refused
/// before they are tokenised.
const LONGEST_TOKEN: usize = 16;

/// Everything known about one video, and the keys and values of its tokens: questions
/// continue from there.
#[derive(Debug, Clone)]
pub struct VideoEncoding {
    /// One camera per sampled frame.
    pub cameras: Vec<CameraEstimate>,
    /// Dense points; empty when the camera encoder gives none.
    pub points: PointCloud,
    /// Every vision token on the map.
    pub layout: Layout,
    /// The frames as the model saw them, one after the other, RGB.
    pub sight_rgb: Vec<u8>,
    /// Size of one such frame.
    pub sight_size: ImageSize,
    /// Vision tokens of one frame, camera token and newlines included.
    pub tokens_per_frame: usize,
    /// Tokens whose keys and values every question reuses.
    pub prefix_tokens: usize,
    model: u64,
    video: VisualLayout,
    times: FrameTimes,
    head: Vec<u32>,
    /// Ids after the video that every question starts with.
    shared_tail: Vec<u32>,
    prefix: KvCache,
}

impl VideoEncoding {
    /// Bytes held by keys and values.
    pub fn bytes(&self) -> usize {
        self.prefix.bytes()
    }
}

/// Network, camera encoder and tokenizer on one device.
#[derive(Debug)]
pub struct Loc3rModel {
    id: u64,
    config: ModelConfig,
    network: Network,
    camera: Option<Box<dyn CameraEncoder>>,
    tokenizer: TextTokenizer,
    parameters: u64,
    /// Longest answer where nobody asks for another, tokens.
    longest_answer: Option<usize>,
    dtype: DType,
    device: Device,
}

impl Loc3rModel {
    /// Loads a checkpoint folder or GGUF file: in f32, on a graphics card in bf16 where f32
    /// does not fit its memory; see [`Self::dtype`].
    ///
    /// # Errors
    /// When a file cannot be read or does not fit; the message names file and tensor.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, ModelError> {
        if device.is_cpu() {
            return Self::load_as(folder, DType::F32, device);
        }
        let [(full, plan), (half, _)] = checkpoint::memory_plans(folder, device)?;
        let is_short = free_memory(device).is_some_and(|free| plan.total() > free);
        Self::load_as(folder, if is_short { half } else { full }, device)
    }

    /// Loads a checkpoint folder with weights of type `dtype`.
    ///
    /// # Errors
    /// See [`Self::load`].
    pub fn load_as(folder: &Path, dtype: DType, device: &Device) -> Result<Self, ModelError> {
        let loaded = checkpoint::Checkpoint::load(folder, dtype, device)?;
        let checkpoint::Checkpoint { config, network, camera, tokenizer, generation, report } = loaded;
        let model = Self::new(config, network, camera, tokenizer, report.parameters, dtype, device);
        Ok(Self { longest_answer: generation.max_new_tokens, ..model })
    }

    /// Random weights from a seed, with a tokenizer learned from a few sentences.
    ///
    /// # Errors
    /// When the configuration is impossible.
    pub fn random(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self, ModelError> {
        config
            .validate()
            .map_err(|reason| ModelError::Config { path: config.name.clone().into(), reason })?;
        let variables = SeededVariables::new(seed);
        let root = variables.builder(DType::F32, device);
        let network = Network::new(config, &root)?;
        let camera = camera::build(config, root.pp(CAMERA_PREFIX))?;
        let tokenizer = stand_in_tokenizer(config)?;
        let parameters =
            variables.var_map().all_vars().iter().map(|variable| variable.elem_count() as u64).sum();
        let mut config = config.clone();
        NOTICE.clone_into(&mut config.notice);
        Ok(Self::new(config, network, camera, tokenizer, parameters, DType::F32, device))
    }

    /// Puts parts together: a network in training can be asked, too.
    pub fn new(
        config: ModelConfig,
        network: Network,
        camera: Option<Box<dyn CameraEncoder>>,
        tokenizer: TextTokenizer,
        parameters: u64,
        dtype: DType,
        device: &Device,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let (longest_answer, device) = (None, device.clone());
        Self { id, config, network, camera, tokenizer, parameters, longest_answer, dtype, device }
    }

    /// Type of the numbers it computes with.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Sizes and choices.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// How closely the camera encoder follows a video between the sampled frames.
    pub fn spacing(&self) -> Option<FrameSpacing> {
        self.camera.as_ref().and_then(|camera| camera.spacing())
    }

    /// The longest answer that the checkpoint wants to give where nobody asks for another,
    /// tokens; `None` where it does not say.
    pub fn longest_answer(&self) -> Option<usize> {
        self.longest_answer
    }

    /// Number of weights.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// Runs vision tower, camera encoder and language model over a clip.
    ///
    /// # Errors
    /// [`ModelError::Cancelled`] when `observer` breaks; [`ModelError::Clip`] when the
    /// frames are not what they say.
    pub fn encode_video(
        &self,
        clip: &Clip,
        observer: &mut dyn FnMut(VideoStep<'_>) -> ControlFlow<()>,
    ) -> Result<VideoEncoding, ModelError> {
        let perception = self.perceive(clip, observer)?;
        self.encode(&perception, &clip.info, clip.token_points.as_deref(), observer)
    }

    /// Runs the frozen encoders over a clip: vision tower and camera encoder.
    ///
    /// # Errors
    /// See [`Self::encode_video`].
    pub fn perceive(
        &self,
        clip: &Clip,
        observer: &mut dyn FnMut(VideoStep<'_>) -> ControlFlow<()>,
    ) -> Result<Perception, ModelError> {
        let mut watched = Watched::of(&clip.info);
        let frames = watched::in_order(clip);
        let total = frames.len();
        for frame in frames {
            if self.watch(&mut watched, frame.clone())? {
                proceed(observer(VideoStep::Vision { done: watched.seen(), total }))?;
            }
        }
        let sampled: Vec<FrameIndex> = clip.frames.iter().map(|frame| frame.index).collect();
        self.perceive_watched(watched, &sampled, observer)
    }

    /// Takes the next of a video's frames, which come in rising order, each once. Where enough
    /// have come the vision tower looks at them: true then.
    ///
    /// # Errors
    /// [`ModelError::Clip`] when the frame is not what it says.
    pub fn watch(&self, watched: &mut Watched, frame: Frame) -> Result<bool, ModelError> {
        let enough = watched.take(frame)?;
        if enough {
            self.look(watched)?;
        }
        Ok(enough)
    }

    /// What the model sees of the `sampled` ones among the frames that it watched: row-major
    /// RGB, one after the other.
    ///
    /// # Errors
    /// [`ModelError::Clip`] when one of them was not watched.
    pub fn sight(&self, watched: &mut Watched, sampled: &[FrameIndex]) -> Result<Vec<u8>, ModelError> {
        self.look(watched)?;
        watched.pictures(sampled)
    }

    /// [`Self::perceive`] of frames that were watched as they came, F of which are `sampled`.
    ///
    /// # Errors
    /// See [`Self::encode_video`].
    pub fn perceive_watched(
        &self,
        mut watched: Watched,
        sampled: &[FrameIndex],
        observer: &mut dyn FnMut(VideoStep<'_>) -> ControlFlow<()>,
    ) -> Result<Perception, ModelError> {
        let sight_rgb = self.sight(&mut watched, sampled)?;
        proceed(observer(VideoStep::Vision { done: watched.seen(), total: watched.seen() }))?;
        let frame_size = watched.info().size;
        let followed = watched.followed(sampled)?;
        let input = CameraInput {
            features: &followed.features,
            pixels: &followed.pixels,
            secs: &followed.secs,
            frame_size,
            frames: sampled,
            sampled: &followed.sampled,
        };
        let camera = self.run_camera(&input, observer)?;
        let seen: Vec<u32> = followed.sampled.iter().map(|&at| at as u32).collect();
        let features =
            followed.features.index_select(&Tensor::from_vec(seen, sampled.len(), &self.device)?, 0)?;
        let strangeness = match &self.network.familiarity {
            Some(familiarity) => Some(familiarity.strangeness(&features)?),
            None => None,
        };
        let side = self.config.vision.image_size as u32;
        Ok(Perception {
            secs: followed.sampled.iter().map(|&at| followed.secs[at]).collect(),
            sight_rgb,
            sight_size: ImageSize::new(side, side),
            frames: sampled.to_vec(),
            features,
            camera,
            strangeness,
        })
    }

    /// Runs the vision tower over the frames that wait for it.
    fn look(&self, watched: &mut Watched) -> Result<(), ModelError> {
        let numbers = (self.dtype, &self.device);
        Ok(watched.pass(&self.config, &self.network.vision, numbers)?)
    }

    /// Runs the language model over what the encoders made of a clip. `token_points`: see
    /// [`Clip::token_points`].
    ///
    /// # Errors
    /// See [`Self::encode_video`].
    pub fn encode(
        &self,
        perception: &Perception,
        info: &VideoInfo,
        token_points: Option<&[Option<glam::Vec3>]>,
        observer: &mut dyn FnMut(VideoStep<'_>) -> ControlFlow<()>,
    ) -> Result<VideoEncoding, ModelError> {
        let Perception { frames, features, camera, sight_size, .. } = perception;
        if let Some(strangeness) = perception.strangeness {
            proceed(observer(VideoStep::Strangeness(strangeness)))?;
        }
        let cameras = estimates(frames, camera.as_ref(), info.size);
        let floor_height = camera.as_ref().map_or(-ASSUMED_CAMERA_HEIGHT, |camera| camera.floor_height);
        let camera_tokens = camera.as_ref().map(|camera| &camera.tokens);
        let points =
            PointCloud { points: camera.as_ref().map(|camera| camera.points.clone()).unwrap_or_default() };
        proceed(observer(VideoStep::Cameras(&cameras, &points)))?;

        let video = VisualLayout::new(&self.config, frames.len());
        let cue = self.geometry_cue(token_points, &points, &video)?;
        let times = FrameTimes { duration_secs: info.duration_secs(), frame_secs: perception.secs.clone() };
        let (head, shared_tail) = self.shared_text(&times)?;
        let visual = self.video_embeds(features, cue.as_ref(), camera_tokens, &video)?;
        let embeds = Tensor::cat(&[self.text_embeds(&head)?, visual, self.text_embeds(&shared_tail)?], 1)?;
        let prefix_tokens = embeds.dim(1)?;
        self.check_length(prefix_tokens)?;
        let mut prefix = KvCache::new();
        let mut reader = LayoutReader::new(&self.network, perception, &video, head.len(), floor_height)?;
        let total = prefix_tokens;
        proceed(observer(VideoStep::Prefill { done: 0, total, so_far: &Layout::default() }))?;
        self.prefill(&embeds, &mut prefix, &mut |done, hidden| {
            let so_far = reader.take(done, hidden)?;
            proceed(observer(VideoStep::Prefill { done, total, so_far }))
        })?;
        let layout = reader.finish();
        Ok(VideoEncoding {
            cameras,
            points,
            layout,
            sight_rgb: perception.sight_rgb.clone(),
            sight_size: *sight_size,
            tokens_per_frame: video.frame_len(),
            prefix_tokens,
            model: self.id,
            video,
            times,
            head,
            shared_tail,
            prefix,
        })
    }

    /// Answers a question on an encoded video. The encoding is not changed: every
    /// question continues from the same prefix and gets the same reply at any time.
    ///
    /// # Errors
    /// [`ModelError::Query`] for an empty question, [`ModelError::TooLong`] for a huge
    /// one, [`ModelError::Cancelled`] when `observer` breaks.
    pub fn ask(
        &self,
        video: &VideoEncoding,
        query: &Query,
        observer: &mut dyn FnMut(ReplyStep<'_>) -> ControlFlow<()>,
    ) -> Result<Reply, ModelError> {
        if video.model != self.id {
            return Err(ModelError::Query {
                reason: "the video was encoded by another model; open it again".to_owned(),
            });
        }
        let started = Instant::now();
        let (prompt, sequence) = self.sequence(video, query)?;
        self.check_length(sequence.len() + 1)?;
        let mut cache = video.prefix.clone();
        let new = &sequence.tail[video.shared_tail.len()..];
        let mut chunks = Vec::new();
        self.prefill(&self.text_embeds(new)?, &mut cache, &mut |_, hidden| {
            chunks.push(hidden.clone());
            Ok(())
        })?;
        let hidden = HiddenStates::cat(&chunks)?;
        proceed(observer(ReplyStep::Prefilled))?;
        let offset = video.shared_tail.len();
        let estimate = match query.placed {
            Some(situation) => Heads::certain(situation),
            None => {
                self.read_situation(&hidden, sequence.position - offset, sequence.orientation - offset)?
            }
        };
        proceed(observer(ReplyStep::Situation(&estimate)))?;
        let prefill_ms = started.elapsed().as_secs_f64() * 1e3;

        let started = Instant::now();
        let last = hidden.last.narrow(1, new.len() - 1, 1)?;
        let generated = generate(
            &self.network.language,
            &self.tokenizer,
            &mut cache,
            &last,
            query.max_new_tokens,
            self.config.language.max_position_embeddings,
            &mut |piece| observer(ReplyStep::Piece(piece)),
        )?
        .ok_or(ModelError::Cancelled)?;
        Ok(Reply {
            estimate,
            text: generated.text,
            confidence: generated.confidence,
            prompt: prompt.display(),
            prompt_tokens: sequence.len(),
            reused_tokens: video.prefix_tokens,
            generated_tokens: generated.tokens,
            prefill_ms,
            generate_ms: started.elapsed().as_secs_f64() * 1e3,
        })
    }

    fn run_camera(
        &self,
        input: &CameraInput<'_>,
        observer: &mut dyn FnMut(VideoStep<'_>) -> ControlFlow<()>,
    ) -> Result<Option<CameraOutput>, ModelError> {
        let Some(encoder) = &self.camera else { return Ok(None) };
        let mut known = Vec::new();
        let mut progress = |step: CameraStep<'_>| {
            if step.poses.len() != known.len() {
                known = located(input.frames, step.poses, step.intrinsics);
            }
            let CameraStep { done, total, .. } = step;
            observer(VideoStep::Camera { done, total, so_far: &known }).is_continue()
        };
        encoder.encode(input, &mut progress)?.ok_or(ModelError::Cancelled).map(Some)
    }

    /// Codes (1, F, n, c) of the points of the vision tokens: the given ones, else the
    /// means of what the camera encoder found; `None` for a model without a cue.
    fn geometry_cue(
        &self,
        given: Option<&[Option<glam::Vec3>]>,
        points: &PointCloud,
        video: &VisualLayout,
    ) -> Result<Option<Tensor>, ModelError> {
        if !self.config.geometry_cue {
            return Ok(None);
        }
        let tokens = video.rows * video.columns;
        let found = points.points.iter().map(|point| (point.position, point.confidence));
        let estimated = pooled_points(found, video.frames, video.columns);
        let codes = cue_codes(given.unwrap_or(&estimated), (1, video.frames, tokens), &self.device)?;
        Ok(Some(codes.to_dtype(self.dtype)?))
    }

    /// Vision features (F, N, D), cue (1, F, n, c) and camera tokens (F, w) to language
    /// tokens (1, T, h).
    fn video_embeds(
        &self,
        features: &Tensor,
        cue: Option<&Tensor>,
        cameras: Option<&Tensor>,
        video: &VisualLayout,
    ) -> Result<Tensor, ModelError> {
        let pooled = self.network.vision_tokens(&features.unsqueeze(0)?, cue)?;
        let cameras = match cameras {
            Some(tokens) => self.network.project_cameras(&tokens.unsqueeze(0)?)?,
            None => None,
        };
        Ok(self.network.projector.arrange(&pooled, cameras.as_ref(), video)?)
    }

    /// (T) ids to (1, T, h).
    fn text_embeds(&self, ids: &[u32]) -> Result<Tensor, ModelError> {
        Ok(self.network.language.embed(&Tensor::from_slice(ids, (1, ids.len()), &self.device)?)?)
    }

    /// Runs embeddings (1, T, h) through the decoder in chunks of fixed size, so that a
    /// run is the same whatever came before. `each` gets the number of rows done and the
    /// hidden rows of every chunk.
    fn prefill(
        &self,
        embeds: &Tensor,
        cache: &mut KvCache,
        each: &mut dyn FnMut(usize, &HiddenStates) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let total = embeds.dim(1)?;
        for start in (0..total).step_by(PREFILL_CHUNK) {
            let rows = PREFILL_CHUNK.min(total - start);
            let chunk = embeds.narrow(1, start, rows)?.contiguous()?;
            let hidden = self.network.language.forward_with(&chunk, cache, PassOptions::default())?;
            *cache = cache.detach();
            each(start + rows, &hidden)?;
        }
        Ok(())
    }

    /// Ids before the video, and ids after it that do not depend on the question.
    fn shared_text(&self, times: &FrameTimes) -> Result<(Vec<u32>, Vec<u32>), ModelError> {
        let prompt = |text| {
            let question = PromptQuestion { situation: Some(text), question: text, choices: &[] };
            PromptText::new(&self.config.prompt, times, question)
        };
        // Texts of different kinds, so that no merge of the tokenizer reaches over the seam.
        let tails: Vec<Vec<u32>> = ["a", "Z", "1", "?", "é", "客"]
            .into_iter()
            .map(|text| self.tokenizer.encode(&prompt(text).tail))
            .collect::<Result<_, _>>()?;
        let shared = tails.iter().skip(1).fold(tails[0].len(), |len, tail| {
            tails[0][..len].iter().zip(tail).take_while(|(a, b)| a == b).count()
        });
        Ok((self.tokenizer.encode(&prompt("a").head)?, tails[0][..shared].to_vec()))
    }

    fn sequence(
        &self,
        video: &VideoEncoding,
        query: &Query,
    ) -> Result<(PromptText, TokenSequence), ModelError> {
        let question = self.tokenizer.plain(&query.question);
        if question.trim().is_empty() {
            return Err(ModelError::Query { reason: "the question is empty; type one".to_owned() });
        }
        let bytes = question.len() + query.situation.as_ref().map_or(0, String::len);
        let limit = self.config.language.max_position_embeddings;
        if bytes > LONGEST_TOKEN * limit {
            return Err(ModelError::TooLong { tokens: bytes / LONGEST_TOKEN, limit });
        }
        let situation = query.situation.as_deref().map(|text| self.tokenizer.plain(text));
        let choices: Vec<String> = query.choices.iter().map(|choice| self.tokenizer.plain(choice)).collect();
        let words =
            PromptQuestion { situation: situation.as_deref(), question: &question, choices: &choices };
        let prompt = PromptText::new(&self.config.prompt, &video.times, words);
        let tail = self.tokenizer.encode(&prompt.tail)?;
        let reusable = tail.starts_with(&video.shared_tail);
        let ids = (self.tokenizer.position_id, self.tokenizer.orientation_id);
        TokenSequence::new(video.head.clone(), video.video, tail, ids.0, ids.1)
            .filter(|_| reusable)
            .map(|sequence| (prompt, sequence))
            .ok_or_else(|| ModelError::Query {
                reason: "the tokenizer takes this text apart in an unforeseen way; reword it".to_owned(),
            })
    }

    fn check_length(&self, tokens: usize) -> Result<(), ModelError> {
        let limit = self.config.language.max_position_embeddings;
        if tokens > limit { Err(ModelError::TooLong { tokens, limit }) } else { Ok(()) }
    }

    fn read_situation(
        &self,
        hidden: &HiddenStates,
        position: usize,
        orientation: usize,
    ) -> Result<SituationEstimate, ModelError> {
        let rows = self.network.head_rows(hidden).get(0)?;
        let heads = &self.network.heads;
        let point = heads.position(&rows.narrow(0, position, 1)?)?;
        let logits = heads.orientation(&rows.narrow(0, orientation, 1)?)?;
        Ok(heads.decode_situation(&point, &logits.squeeze(D::Minus2)?)?)
    }
}

fn proceed(flow: ControlFlow<()>) -> Result<(), ModelError> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(ModelError::Cancelled),
    }
}

/// Without a camera encoder every camera stands at the anchor and looks forward.
fn estimates(frames: &[FrameIndex], camera: Option<&CameraOutput>, size: ImageSize) -> Vec<CameraEstimate> {
    if let Some(camera) = camera {
        return located(frames, &camera.poses, camera.intrinsics);
    }
    let pose = CameraPose::looking(glam::Vec3::ZERO, Orientation::FORWARD, 0.0, 0.0);
    let intrinsics = Intrinsics::from_horizontal_fov(size, ASSUMED_FOV);
    located(frames, &vec![pose; frames.len()], intrinsics)
}

/// Frames with their poses, as far as there are any.
fn located(frames: &[FrameIndex], poses: &[CameraPose], intrinsics: Intrinsics) -> Vec<CameraEstimate> {
    let pairs = frames.iter().zip(poses);
    pairs.map(|(&frame, &pose)| CameraEstimate { frame, pose, intrinsics }).collect()
}
