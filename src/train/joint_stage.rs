//! The joint objective (Loc3R-VLM, section on training) on the frozen tower and
//! camera encoder: projector, `f_cam`, language model and heads learn to answer,
//! to lay the vision tokens out on the map and to find the described situation.
//!
//! Ours: several questions are packed behind one video, each as a continuation of it alone
//! ([`PassOptions::continuations`]); spatial weights are higher than the paper's, which do not
//! move a model that starts from nothing; more terms than the paper's (`joint_terms`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use candle_core::{D, DType, Device, Tensor, Var};

use super::alignment::WordTable;
use super::clip::color_names;
use super::config::{CameraSource, TrainConfig};
use super::joint_batch::{JointBatch, JointSource, Lesson, joint_batch};
use super::joint_figures::{CONSTANT_LAYOUT_ERROR, ESTIMATED, JointFigures};
use super::joint_sample::{JointSample, SampleMaker};
use super::joint_scenes::{HeadReadings, ShownRooms, pick};
use super::joint_terms::read_place;
use super::pointing::pointed;
use super::pool::{ClipPool, PoolRule};
use super::scenes::MOST_SCENES;
use super::stage::{Stage, StepLoss, Validated};
use super::variables::{PROJECTOR_PREFIX, lies_behind};
use super::{StageKind, TrainError, Variables};
use crate::model::heads::GaussianOutput;
use crate::model::layers::{Linear, linear};
use crate::model::network::TRAINING_ONLY_PREFIX;
use crate::model::qwen2::{HiddenStates, KvCache, PassOptions};
use crate::model::sequence::VisualLayout;

/// Held-out rooms that go through the network at once.
const CHUNK: usize = 2;

/// The joint stage.
pub struct JointStage {
    pub(super) config: TrainConfig,
    pub(super) maker: Arc<SampleMaker>,
    variables: Variables,
    pub(super) mention_head: Linear,
    pub(super) early_head: Linear,
    pub(super) gaze_head: Linear,
    pub(super) egocentric_head: Linear,
    pub(super) color_head: Linear,
    pub(super) front_head: Linear,
    pub(super) early_front_head: Linear,
    pub(super) words: WordTable,
    head_ids: Vec<u32>,
    held_out: OnceLock<Vec<Arc<JointSample>>>,
}

/// Predictions of a batch.
pub struct JointOutput {
    /// Vision tokens as the language model gets them, (B, F, n, h).
    pub vision: Tensor,
    /// Layout of the patch tokens, (B, M, 2) each.
    pub layout: GaussianOutput,
    /// Rows of the patch tokens as nouns find them, (B, M, h).
    pub early: Tensor,
    /// Final rows of the questions, flattened to (S, h).
    pub rows: Tensor,
    /// Rows of the questions that enter the layers which training looks at, (B, K L, h), by layer.
    entering: BTreeMap<usize, Tensor>,
    /// Keys and values of all layers over the rows before the questions and theirs,
    /// (B, G, P + K L, d).
    pub cache: KvCache,
    /// Which of those rows are patch tokens.
    pub patches: Vec<u32>,
}

impl JointOutput {
    /// Rows of the questions that enter `layer` (counted from 0), (S, h).
    pub(super) fn entering(&self, layer: usize) -> candle_core::Result<Tensor> {
        entering(&self.entering, layer)?.flatten(0, 1)
    }
}

impl JointStage {
    /// The stage for the frozen parts in `maker`.
    pub fn new(config: &TrainConfig, maker: SampleMaker, variables: &Variables) -> Result<Self, TrainError> {
        let device = maker.network.device().clone();
        let builder = variables.builder(&device);
        let width = maker.model.language.hidden_size;
        let own = builder.pp(TRAINING_ONLY_PREFIX.trim_end_matches('.'));
        let question = crate::qa::Question {
            kind: crate::qa::QuestionKind::What,
            text: String::new(),
            situation_text: None,
            choices: Vec::new(),
        };
        let head = super::joint_sample::prompt_of(&maker.model, &question).head;
        let head_ids =
            maker.tokenizer.encode(&head).map_err(|error| TrainError::Data { reason: error.to_string() })?;
        Ok(Self {
            config: config.clone(),
            words: WordTable::new(&maker.tokenizer, &device)?,
            maker: Arc::new(maker),
            variables: variables.clone(),
            mention_head: linear(width, 4, true, &own.pp("mention"))?,
            early_head: linear(width, 4, true, &own.pp("early_layout"))?,
            gaze_head: linear(width, 4, true, &own.pp("gaze"))?,
            egocentric_head: linear(width, 4, true, &own.pp("egocentric"))?,
            color_head: linear(width, color_names().len(), true, &own.pp("color"))?,
            front_head: linear(width, 4, true, &own.pp("front"))?,
            early_front_head: linear(width, 4, true, &own.pp("early_front"))?,
            head_ids,
            held_out: OnceLock::new(),
        })
    }

    pub(super) fn device(&self) -> &Device {
        self.maker.network.device()
    }

    /// The last two layers, counted from 0: in the first the nouns of a question look at the
    /// person, in the second answers look at these nouns.
    pub(super) fn last_layers(&self) -> [usize; 2] {
        let layers = self.maker.model.language.num_hidden_layers;
        [layers.saturating_sub(2), layers.saturating_sub(1)]
    }

    /// Runs videos and questions through the network.
    pub fn forward(&self, batch: &JointBatch) -> candle_core::Result<JointOutput> {
        let network = &self.maker.network;
        let (clips, frames, _, _) = batch.features.dims4()?;
        let video =
            VisualLayout { camera: batch.cameras.is_some(), ..VisualLayout::new(&self.maker.model, frames) };
        let pooled = network.vision_tokens(&batch.features, batch.cue.as_ref())?;
        let cameras = match &batch.cameras {
            Some(tokens) => network.project_cameras(tokens)?,
            None => None,
        };
        let visual = network.projector.arrange(&pooled, cameras.as_ref(), &video)?;
        let head = Tensor::from_slice(&self.head_ids, (1, self.head_ids.len()), self.device())?;
        let head = network.language.embed(&head)?.broadcast_left(clips)?.squeeze(1)?;
        let mut cache = KvCache::new();
        let prefix = Tensor::cat(&[head, visual], 1)?;
        let joint = &self.config.joint;
        let [asking, answering] = self.last_layers();
        let taps = BTreeSet::from([joint.pointing_layer(), joint.mention_layer, asking, answering]);
        let taps: Vec<usize> = taps.into_iter().collect();
        let learned_from = match batch.lesson {
            Lesson::Heads => self.maker.model.language.num_hidden_layers,
            Lesson::Words | Lesson::All => joint.frozen_layers,
        };
        let options = PassOptions { taps: &taps, learned_from, ..PassOptions::default() };
        let hidden = network.language.forward_with(&prefix, &mut cache, options)?;
        let start = self.head_ids.len() as u32;
        let patches: Vec<u32> = video.patches().into_iter().map(|offset| offset + start).collect();
        let chosen = Tensor::new(patches.as_slice(), self.device())?;
        let of_patches = |rows: &Tensor| rows.index_select(&chosen, 1);
        let layout = network.heads()?.layout(&of_patches(network.head_rows(&hidden))?)?;
        let by_layer =
            |hidden: &HiddenStates| taps.iter().copied().zip(hidden.tapped.iter().cloned()).collect();
        let early = of_patches(entering(&by_layer(&hidden), joint.pointing_layer())?)?;

        let length = batch.ids.dim(1)?;
        let questions = network.language.embed(&batch.ids.reshape((clips, ()))?)?; // (B, K L, h)
        let options = PassOptions { continuations: Some(length), ..options };
        let hidden = network.language.forward_with(&questions, &mut cache, options)?;
        let rows = network.head_rows(&hidden).flatten(0, 1)?;
        let entering = by_layer(&hidden);
        Ok(JointOutput { vision: pooled, layout, early, rows, entering, cache, patches })
    }

    fn held_out(&self) -> Result<&[Arc<JointSample>], TrainError> {
        if let Some(samples) = self.held_out.get() {
            return Ok(samples);
        }
        let validation = self.config.validation;
        let seeds = validation.first_seed..validation.first_seed + validation.clips;
        let samples = self.maker.held_out(seeds)?;
        Ok(self.held_out.get_or_init(|| samples))
    }

    /// Figures on all held-out rooms, and the first of them as scenes.
    fn figures(&self, source: CameraSource) -> Result<Validated, TrainError> {
        let mut figures = JointFigures::default();
        let mut scenes = Vec::new();
        let (clips, first_seed) = (self.maker.held_out_clips(), self.config.validation.first_seed);
        let shown = ShownRooms { clips: &clips, first_seed, source };
        let joint = super::config::JointConfig { camera: source, ..self.config.joint };
        for (chunk, samples) in self.held_out()?.chunks(CHUNK).enumerate() {
            let batch = joint_batch(samples, &joint, self.maker.model.camera_token_dim, None)?;
            let output = self.forward(&batch)?;
            figures.add_layout(&output.layout.mean, &batch)?;
            let embeddings = self.maker.network.language.embeddings()?;
            figures.add_words(self.words.named(&output.vision.flatten(0, 2)?, &batch.words, embeddings)?);
            if let Some((scores, wanted)) = self.pointing(&batch, &output)? {
                let clips = batch.pointers.iter().map(|pointer| pointer.clip);
                figures.add_pointing(pointed(&scores, &wanted, clips, &output.patches, &batch.layout)?);
            }
            let heads = self.maker.network.heads()?;
            let rows = &batch.rows;
            if !rows.answer.is_empty() {
                figures.add_answers(
                    &self.maker.network.language.logits(&pick(&output.rows, &rows.answer)?)?,
                    rows,
                )?;
            }
            let mut situations = None;
            if !rows.position.is_empty() {
                let position = heads.position(&pick(&output.rows, &rows.position)?)?;
                let logits = heads.orientation(&pick(&output.rows, &rows.orientation)?)?;
                let probabilities = candle_nn::ops::softmax(&logits, D::Minus1)?;
                figures.add_situations(&position.mean, &probabilities, rows)?;
                situations = Some((position, logits));
            }
            if scenes.len() < MOST_SCENES {
                let readings = HeadReadings { layout: &output.layout, situations };
                scenes.extend(shown.scenes(samples, chunk * CHUNK, &batch, heads, &readings)?);
            }
            if !rows.mentions.is_empty() {
                let middle = output.entering(self.config.joint.mention_layer)?;
                let found = read_place(&self.mention_head, &pick(&middle, &rows.mentions)?)?;
                figures.add_mentions(&found.mean, rows)?;
            }
            if !rows.egocentric.is_empty() {
                figures.add_seen(&self.seen(&output, &rows.egocentric)?.mean, rows)?;
            }
        }
        scenes.truncate(MOST_SCENES);
        Ok(Validated { metrics: figures.metrics(), scenes })
    }
}

impl Stage for JointStage {
    type Source = JointSource;

    fn kind(&self) -> StageKind {
        StageKind::Joint
    }

    fn steps(&self) -> u64 {
        self.config.steps(StageKind::Joint)
    }

    fn learning_rate(&self) -> f64 {
        self.config.joint.learning_rate
    }

    fn muon(&self) -> f64 {
        self.config.joint.muon
    }

    fn writing_rate(&self) -> f64 {
        self.config.joint.writing_rate
    }

    fn trainable(&self) -> Vec<(String, Var)> {
        let frozen = self.config.joint.frozen_layers;
        let all = self.variables.trained_by(StageKind::Joint);
        let stays = |name: &str| !self.config.joint.train_projector && name.starts_with(PROJECTOR_PREFIX);
        all.into_iter().filter(|(name, _)| lies_behind(name, frozen) && !stays(name)).collect()
    }

    fn source(&self) -> JointSource {
        let joint = self.config.joint;
        let rule = PoolRule {
            seed: self.config.seed.wrapping_mul(31).wrapping_add(StageKind::Joint as u64),
            clips: joint.clips,
            reuse: joint.reuse,
            pool_steps: joint.pool_steps,
            seed_limit: self.config.validation.first_seed,
        };
        let maker = Arc::clone(&self.maker);
        let growing = self.config.batches(joint.growing_steps);
        JointSource {
            pool: ClipPool::new(rule, move |seed, step| {
                maker.make_of(maker.clips.grown(step, growing), seed)
            }),
            joint,
            token_dim: self.maker.model.camera_token_dim,
            seed: self.config.seed,
            of_words: self.config.batches(joint.word_steps),
            of_heads: self.config.batches(joint.head_steps),
        }
    }

    fn loss(&self, batch: &JointBatch) -> Result<StepLoss, TrainError> {
        let (clips, frames, _, _) = batch.features.dims4()?;
        let terms = self.terms(batch)?;
        let mut total = Tensor::zeros((), DType::F32, self.device())?;
        for (_, term, weight) in &terms {
            total = (total + (term * *weight)?)?;
        }
        let terms = terms.into_iter().map(|(name, term, _)| (name, term.detach())).collect();
        Ok(StepLoss { total, terms, frames: clips * frames })
    }

    fn validate(&self) -> Result<Validated, TrainError> {
        let source = self.config.joint.camera;
        let mut validated = self.figures(source)?;
        if source == CameraSource::Truth {
            let estimated = self.figures(CameraSource::Estimated)?.metrics.into_iter();
            // The cameras do not move what is true.
            let estimated = estimated.filter(|(name, _)| name != CONSTANT_LAYOUT_ERROR);
            validated.metrics.extend(estimated.map(|(name, value)| (format!("{ESTIMATED}{name}"), value)));
        }
        Ok(validated)
    }
}

/// Those of the `kept` rows that enter `layer`.
fn entering(kept: &BTreeMap<usize, Tensor>, layer: usize) -> candle_core::Result<&Tensor> {
    let rows = kept.get(&layer);
    rows.ok_or_else(|| candle_core::Error::Msg(format!("the rows that enter layer {layer} were not kept")))
}
