//! The model as everybody else sees it: a clip becomes a [`VideoEncoding`], questions
//! on it become [`Reply`]s. Plain values at the edge, tensors inside.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use candle_core::{D, DType, Device, Tensor};

use super::camera::{
    ASSUMED_CAMERA_HEIGHT, CameraEncoder, CameraInput, CameraOutput, CameraPass, SampledVideo, estimates,
    told,
};
use super::config::ModelConfig;
use super::exchange::{Clip, Query, Reply, ReplyStep, VideoStep};
use super::generation::{AnswerLength, generate};
use super::generation_settings::GenerationSettings;
use super::geometry_cue::{cue_codes, pooled_points};
use super::heads::Heads;
use super::layout_reader::LayoutReader;
use super::memory_plan::free_memory;
use super::network::{CAMERA_PREFIX, SeededVariables};
use super::perception::Perception;
use super::prefill::{PREFILL_CHUNK, prefill};
use super::prompt::{FrameTimes, PromptQuestion, PromptText};
use super::qwen2::{HiddenStates, KvCache};
use super::random_weights::{NOTICE, stand_in_tokenizer};
use super::sequence::{TokenSequence, VisualLayout};
use super::tokenizer::TextTokenizer;
use super::watched::{self, Watched};
use super::{ModelError, Network, camera, checkpoint};
use crate::geometry::ImageSize;
use crate::qa::SituationEstimate;
use crate::scene::{CameraEstimate, Layout, PointCloud};
use crate::video::{Frame, FrameIndex, FrameSpacing, VideoInfo};

/// Texts with more than this many bytes per token of the longest sequence are refused
/// before they are tokenised.
const LONGEST_TOKEN: usize = 16;

/// Everything known about one video, and the keys and values of its tokens: questions
/// continue from there.
#[derive(Debug, Clone)]
pub struct VideoEncoding {
    /// One camera per sampled frame; none without a camera encoder.
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
    generation: GenerationSettings,
    dtype: DType,
    device: Device,
    /// Rows that go through the language model at once.
    prefill_chunk: usize,
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
        let plans = checkpoint::memory_plans(folder, device)?;
        let (dtype, _) = checkpoint::automatic(plans, device, free_memory(device));
        Self::load_as(folder, dtype, device)
    }

    /// Loads a checkpoint folder with weights of type `dtype`.
    ///
    /// # Errors
    /// See [`Self::load`].
    pub fn load_as(folder: &Path, dtype: DType, device: &Device) -> Result<Self, ModelError> {
        let loaded = checkpoint::Checkpoint::load(folder, dtype, device)?;
        let checkpoint::Checkpoint { config, network, camera, tokenizer, generation, report } = loaded;
        let model = Self::new(config, network, camera, tokenizer, report.parameters, dtype, device);
        Ok(Self { generation, ..model })
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
        let (generation, device, prefill_chunk) =
            (GenerationSettings::default(), device.clone(), PREFILL_CHUNK);
        Self { id, config, network, camera, tokenizer, parameters, generation, dtype, device, prefill_chunk }
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
        self.generation.max_new_tokens
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
        let sampled: Vec<FrameIndex> = clip.frames.iter().map(|frame| frame.index).collect();
        for frame in frames {
            if self.watch(&mut watched, frame.clone())? {
                proceed(observer(VideoStep::Vision { done: watched.seen(), total }))?;
                self.follow(&mut watched, &sampled, observer)?;
            }
        }
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

    /// Lets a camera encoder that takes frames one after the other go on through those of the F
    /// `sampled` ones that the vision tower has seen. Others wait for all frames.
    ///
    /// # Errors
    /// [`ModelError::Cancelled`] when `observer` breaks.
    pub fn follow(
        &self,
        watched: &mut Watched,
        sampled: &[FrameIndex],
        observer: &mut dyn FnMut(VideoStep<'_>) -> ControlFlow<()>,
    ) -> Result<(), ModelError> {
        let Some(encoder) = &self.camera else { return Ok(()) };
        if !watched.has_camera() {
            let frame_size = watched.info().size;
            let video = SampledVideo { frames: sampled.to_vec(), frame_size, dtype: self.dtype };
            watched.set_camera(encoder.begin(video)?);
        }
        let go_on = watched.follow(sampled, &mut told(sampled, observer))?;
        if go_on { Ok(()) } else { Err(ModelError::Cancelled) }
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
        self.follow(&mut watched, sampled, observer)?;
        let frame_size = watched.info().size;
        let pass = watched.take_camera();
        let followed = watched.followed(sampled)?;
        let input = CameraInput {
            features: &followed.features,
            pixels: &followed.pixels,
            secs: &followed.secs,
            frame_size,
            frames: sampled,
            sampled: &followed.sampled,
        };
        let camera = self.camera_output(pass, &input, observer)?;
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

    /// What the camera encoder finds out: at the end of the pass in which it took the frames as they
    /// came, or from all of them at once; `None` without an encoder.
    fn camera_output(
        &self,
        pass: Option<Box<dyn CameraPass>>,
        input: &CameraInput<'_>,
        observer: &mut dyn FnMut(VideoStep<'_>) -> ControlFlow<()>,
    ) -> Result<Option<CameraOutput>, ModelError> {
        let mut steps = told(input.frames, observer);
        let output = match (pass, &self.camera) {
            (Some(pass), _) => pass.finish(&mut steps)?,
            (None, Some(encoder)) => encoder.encode(input, &mut steps)?,
            (None, None) => return Ok(None),
        };
        output.map(Some).ok_or(ModelError::Cancelled)
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
        let cameras = estimates(frames, camera.as_ref());
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
        prefill(&self.network.language, &embeds, &mut prefix, self.prefill_chunk, &mut |done, hidden| {
            let so_far = match hidden {
                Some(hidden) => reader.take(done, hidden)?,
                None => reader.so_far(),
            };
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
        let (embeds, total) = (self.text_embeds(new)?, new.len());
        let mut chunks = Vec::new();
        prefill(&self.network.language, &embeds, &mut cache, self.prefill_chunk, &mut |done, hidden| {
            chunks.extend(hidden.cloned());
            proceed(observer(ReplyStep::Prefill { done, total }))
        })?;
        let hidden = HiddenStates::cat(&chunks)?;
        let offset = video.shared_tail.len();
        let estimate = match (query.placed, sequence.situation) {
            (Some(situation), _) => Some(Heads::certain(situation)),
            (None, Some((position, orientation))) => {
                Some(self.read_situation(&hidden, position - offset, orientation - offset)?)
            }
            (None, None) => None,
        };
        if let Some(estimate) = &estimate {
            proceed(observer(ReplyStep::Situation(estimate)))?;
        }
        let prefill_ms = started.elapsed().as_secs_f64() * 1e3;

        let started = Instant::now();
        let last = hidden.last.narrow(1, new.len() - 1, 1)?;
        let length = AnswerLength {
            min_new_tokens: self.generation.min_new_tokens,
            max_new_tokens: query.max_new_tokens,
            max_positions: self.config.language.max_position_embeddings,
        };
        let generated =
            generate(&self.network.language, &self.tokenizer, &mut cache, &last, length, &mut |piece| {
                observer(ReplyStep::Piece(piece))
            })?
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
        let known = &self.tokenizer;
        let ids = self.config.locates().then_some((known.position_id, known.orientation_id));
        TokenSequence::new(video.head.clone(), video.video, tail, ids)
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
        let heads = self.network.heads()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Three small frames.
    fn clip() -> Clip {
        let size = ImageSize::new(8, 6);
        let rgb = |index: u32| (0..3 * size.pixels() as u32).map(|k| (k * (7 + index) % 251) as u8).collect();
        let frames = [0, 10, 20].map(|index| Frame {
            index: FrameIndex(index),
            pts_secs: f64::from(index) * 0.1,
            size,
            rgb: rgb(index),
        });
        let info = VideoInfo {
            path: "clip.mp4".into(),
            size,
            pts_secs: (0..21).map(|i| f64::from(i) * 0.1).collect(),
            keyframes: vec![FrameIndex(0)],
            rotation_degrees: 0,
            codec: "h264".to_owned(),
            container: "mp4".to_owned(),
            warnings: Vec::new(),
        };
        Clip { info, frames: frames.to_vec(), between: Vec::new(), token_points: None }
    }

    fn query() -> Query {
        Query {
            situation: Some("I am standing in the room facing the table".to_owned()),
            question: "What is on my left?".to_owned(),
            choices: Vec::new(),
            placed: None,
            max_new_tokens: 6,
        }
    }

    fn model(prefill_chunk: usize) -> (Loc3rModel, VideoEncoding) {
        let model = Loc3rModel::random(&ModelConfig::tiny(), 3, &Device::Cpu).unwrap();
        let model = Loc3rModel { prefill_chunk, ..model };
        let video = model.encode_video(&clip(), &mut |_| ControlFlow::Continue(())).unwrap();
        (model, video)
    }

    #[test]
    fn layout_and_answer_do_not_depend_on_the_length_of_chunks() {
        let run = |chunk| {
            let (model, video) = model(chunk);
            let reply = model.ask(&video, &query(), &mut |_| ControlFlow::Continue(())).unwrap();
            (video.layout, reply)
        };
        let (layout, reply) = run(PREFILL_CHUNK);
        let new = reply.prompt_tokens - reply.reused_tokens;
        assert!(reply.reused_tokens > 14 && new > 14, "{} {new}", reply.reused_tokens);
        for chunk in [5, 7] {
            let (other_layout, other) = run(chunk);
            assert_eq!(other_layout.tokens.len(), layout.tokens.len());
            for (a, b) in layout.tokens.iter().zip(&other_layout.tokens) {
                assert!(a.position.distance(b.position) < 1e-4, "chunks of {chunk}: {a:?} {b:?}");
            }
            let (a, b) = (reply.estimate.as_ref().unwrap(), other.estimate.as_ref().unwrap());
            assert!(a.situation.position.distance(b.situation.position) < 1e-4, "chunks of {chunk}");
            let mut bins = a.orientation.0.iter().zip(&b.orientation.0);
            assert!(bins.all(|(a, b)| (a - b).abs() < 1e-5), "chunks of {chunk}");
            assert_eq!((&other.text, other.generated_tokens), (&reply.text, reply.generated_tokens));
        }
    }

    #[test]
    fn a_question_stops_within_its_first_chunk_and_at_every_later_step() {
        let (model, video) = model(4);
        // Rows done at each step of the prompt; `None` for what follows.
        let steps = |last: usize| {
            let mut steps = Vec::new();
            let reply = model.ask(&video, &query(), &mut |step| {
                steps.push(match step {
                    ReplyStep::Prefill { done, .. } => Some(done),
                    ReplyStep::Situation(_) | ReplyStep::Piece(_) => None,
                });
                if steps.len() > last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            (steps, reply)
        };
        let (all, reply) = steps(usize::MAX);
        let reply = reply.unwrap();
        assert_eq!(all[..6], [Some(0), Some(2), Some(4), Some(4), Some(6), Some(8)]);
        let prompt = all.iter().flatten().count();
        assert_eq!(all[prompt - 1], Some(reply.prompt_tokens - reply.reused_tokens));
        assert!(all.len() > prompt + reply.generated_tokens);
        for last in 0..all.len() {
            let (told, reply) = steps(last);
            assert!(matches!(reply, Err(ModelError::Cancelled)), "{last} of {}", all.len());
            assert_eq!(told, all[..=last]);
        }
    }
}
