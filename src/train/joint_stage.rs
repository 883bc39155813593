//! The joint objective (Loc3R-VLM, section on training) on the frozen tower and
//! camera encoder: projector, `f_cam`, language model and heads learn to answer,
//! to lay the vision tokens out on the map and to find the described situation.
//!
//! Ours: several questions are packed behind one video through the expandable
//! key-value cache; spatial weights are higher than the paper's, which do not move
//! a model that starts from nothing; nouns of the situation text predict, at a
//! middle layer, where the object is that they name and its colour; vision tokens
//! resemble the words of what they show ([`super::alignment`]), at first that alone; some
//! heads are told what nouns should attend to ([`super::pointing`]), `<Pos>` and `<Ori>`
//! which nouns they mean, and nouns of questions where their things lie for the person
//! ([`super::referring`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::Module as _;

use super::alignment::WordTable;
use super::clip::{ClipMaker, color_names};
use super::config::{CameraSource, TrainConfig};
use super::joint_batch::{JointBatch, JointSource, joint_batch};
use super::joint_figures::{CONSTANT_LAYOUT_ERROR, JointFigures};
use super::joint_sample::{JointSample, SampleMaker};
use super::joint_scenes::{HeadReadings, ShownRooms, pick};
use super::loss::{GaussianNll, OrientationLoss, cross_entropy};
use super::pointing::{pointed, pointing_loss, pointing_scores, wanted_attention};
use super::pool::{ClipPool, PoolRule};
use super::referring::{Referrer, Strangers, wanted_rows};
use super::scenes::MOST_SCENES;
use super::stage::{Stage, StepLoss, Validated};
use super::variables::lies_behind;
use super::{StageKind, TrainError, Variables};
use crate::geometry::BevPoint;
use crate::model::heads::GaussianOutput;
use crate::model::layers::{Linear, linear};
use crate::model::network::TRAINING_ONLY_PREFIX;
use crate::model::qwen2::{HiddenStates, KvCache, PassOptions};
use crate::model::sequence::VisualLayout;

/// Held-out rooms that go through the network at once.
const CHUNK: usize = 2;

/// A row among those of all questions, and the clip of the batch that it asks about.
type RowOfClip = (u32, usize);

/// The joint stage.
pub struct JointStage {
    config: TrainConfig,
    maker: Arc<SampleMaker>,
    variables: Variables,
    mention_head: Linear,
    early_head: Linear,
    gaze_head: Linear,
    egocentric_head: Linear,
    color_head: Linear,
    front_head: Linear,
    early_front_head: Linear,
    words: WordTable,
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
    fn entering(&self, layer: usize) -> candle_core::Result<Tensor> {
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

    fn device(&self) -> &Device {
        self.maker.network.device()
    }

    /// The last two layers, counted from 0: in the first the nouns of a question look at the
    /// person, in the second answers look at these nouns.
    fn last_layers(&self) -> [usize; 2] {
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
        let options =
            PassOptions { taps: &taps, learned_from: joint.frozen_layers, ..PassOptions::default() };
        let hidden = network.language.forward_with(&prefix, &mut cache, options)?;
        let start = self.head_ids.len() as u32;
        let patches: Vec<u32> = video.patches().into_iter().map(|offset| offset + start).collect();
        let chosen = Tensor::new(patches.as_slice(), self.device())?;
        let of_patches = |rows: &Tensor| rows.index_select(&chosen, 1);
        let layout = network.heads.layout(&of_patches(network.head_rows(&hidden))?)?;
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

    /// Scores of the pointing heads (H, n, P + L) of all nouns and what their attention
    /// should be (n, P + L); `None` without nouns.
    fn pointing(
        &self,
        batch: &JointBatch,
        output: &JointOutput,
    ) -> candle_core::Result<Option<(Tensor, Tensor)>> {
        let at: Vec<RowOfClip> = batch.pointers.iter().map(|noun| (noun.row, noun.clip)).collect();
        let layer = self.config.joint.pointing_layer();
        let Some(scores) = self.attention_scores(layer, &at, (batch, output))? else {
            return Ok(None);
        };
        let wanted =
            wanted_attention(&batch.pointers, &output.patches, scores.dim(D::Minus1)?, self.device())?;
        Ok(Some((scores, wanted)))
    }

    /// How far the attention of `referrers` in `layer` is from what they mean; `None` without
    /// referrers.
    fn referring(
        &self,
        referrers: &[Referrer],
        layer: usize,
        sides: (&JointBatch, &JointOutput),
    ) -> candle_core::Result<Option<Tensor>> {
        let at: Vec<RowOfClip> = referrers.iter().map(|token| (token.row, token.clip)).collect();
        let Some(scores) = self.attention_scores(layer, &at, sides)? else {
            return Ok(None);
        };
        let rows = scores.dim(D::Minus1)?;
        let wanted = wanted_rows(referrers, rows - sides.0.ids.dim(1)?, rows, self.device())?;
        pointing_loss(&scores, &wanted).map(Some)
    }

    /// Scores of the heads that are told where to look, (H, n, P + L), in `layer`, of the rows
    /// that `at` names; `None` when it names none.
    fn attention_scores(
        &self,
        layer: usize,
        at: &[RowOfClip],
        (batch, output): (&JointBatch, &JointOutput),
    ) -> candle_core::Result<Option<Tensor>> {
        let Some((keys, _)) = output.cache.layer(layer) else {
            candle_core::bail!("the decoder has no layer {layer}")
        };
        let rows = output.entering(layer)?;
        let length = batch.ids.dim(1)?;
        let prefix = keys.dim(2)? - batch.copies * length;
        let mut scores = Vec::new();
        for of_clip in at.chunk_by(|a, b| a.1 == b.1) {
            let entering = of_clip.iter().map(|(row, _)| *row);
            let entering = rows.index_select(&Tensor::from_iter(entering, self.device())?, 0)?;
            let clip = of_clip[0].1;
            let first = clip * batch.copies;
            let places: Vec<(u32, u32)> = of_clip
                .iter()
                .map(|(row, _)| (row / length as u32 - first as u32, row % length as u32))
                .collect();
            let positions: Vec<u32> = places.iter().map(|place| prefix as u32 + place.1).collect();
            let queries = self.maker.network.language.queries(layer, &entering, &positions)?;
            scores.push(pointing_scores(&queries, &keys.get(clip)?, &places, (prefix, length))?);
        }
        if scores.is_empty() { Ok(None) } else { Tensor::cat(&scores, 1).map(Some) }
    }

    /// How far vision tokens (B, F, n, h) are from the words of what they show.
    fn wordless(&self, vision: &Tensor, batch: &JointBatch) -> candle_core::Result<Tensor> {
        let embeddings = self.maker.network.language.embeddings()?;
        self.words.loss(&vision.flatten(0, 2)?, &batch.words, embeddings)
    }

    /// Where fronts face, as nouns and as the tokens know it that nouns find.
    fn fronts(&self, batch: &JointBatch, output: &JointOutput) -> candle_core::Result<Tensor> {
        let nll = GaussianNll::default();
        let early = read_place(&self.early_front_head, &output.early)?;
        let early = nll.layout(&early.mean, &early.raw, &batch.fronts, &batch.fronts_known)?;
        let nouns = &batch.rows.fronts;
        if nouns.is_empty() {
            return Ok(early);
        }
        let middle = output.entering(self.config.joint.mention_layer)?;
        let found = read_place(&self.front_head, &pick(&middle, nouns)?)?;
        early + nll.mean(&found.mean, &found.raw, &points(nouns, self.device())?)?
    }

    fn terms(&self, batch: &JointBatch) -> candle_core::Result<Vec<(&'static str, Tensor, f64)>> {
        let weights = self.config.joint.weights;
        let heads = &self.maker.network.heads;
        if batch.words_only {
            let vision = self.maker.network.projector.forward(&batch.features)?;
            return Ok(vec![("words", self.wordless(&vision, batch)?, 1.0)]);
        }
        let output = self.forward(batch)?;
        let nll = GaussianNll::default();
        let layout = &output.layout;
        let mut terms = vec![(
            "layout",
            nll.layout(&layout.mean, &layout.raw, &batch.layout, &batch.layout_known)?,
            weights.layout,
        )];
        if weights.early_layout > 0.0 {
            let early = read_place(&self.early_head, &output.early)?;
            let loss = nll.layout(&early.mean, &early.raw, &batch.layout, &batch.layout_known)?;
            terms.push(("early_layout", loss, weights.early_layout));
        }
        if weights.words > 0.0 {
            terms.push(("words", self.wordless(&output.vision, batch)?, weights.words));
        }
        let rows = &batch.rows;
        if !rows.answer.is_empty() {
            let logits = self.maker.network.language.logits(&pick(&output.rows, &rows.answer)?)?;
            let labels = Tensor::from_iter(rows.answer.iter().map(|(_, token)| *token), self.device())?;
            terms.push(("answer", cross_entropy(&logits, &labels)?, weights.answer));
            if weights.naming > 0.0 {
                let named = Tensor::from_iter(rows.naming.iter().copied(), self.device())?;
                terms.push(("naming", cross_entropy(&logits, &named)?, weights.naming));
                let echoes = self.echoes(batch, &output)?;
                terms.extend(echoes.map(|loss| ("echoes", loss, weights.naming)));
            }
        }
        if !rows.position.is_empty() {
            let position = heads.position(&pick(&output.rows, &rows.position)?)?;
            let target = points(&rows.position, self.device())?;
            terms.push(("position", nll.mean(&position.mean, &position.raw, &target)?, weights.situation));
            let logits = heads.orientation(&pick(&output.rows, &rows.orientation)?)?;
            let headings: Vec<f64> = rows.orientation.iter().map(|(_, heading)| *heading).collect();
            let loss = OrientationLoss::default().mean(&logits, &headings)?;
            terms.push(("orientation", loss, weights.situation * weights.orientation));
            if weights.gaze > 0.0 {
                let way = GaussianOutput::split(&self.gaze_head.forward(&pick(&output.rows, &rows.gaze)?)?)?;
                terms.push((
                    "gaze",
                    nll.mean(&way.mean, &way.raw, &points(&rows.gaze, self.device())?)?,
                    weights.gaze,
                ));
            }
        }
        terms.extend(self.nouns(batch, &output)?);
        if weights.referring > 0.0 {
            let layer = self.config.joint.mention_layer;
            let loss = self.referring(&batch.referrers.situations, layer, (batch, &output))?;
            terms.extend(loss.map(|loss| ("referring", loss, weights.referring)));
        }
        if weights.egocentric > 0.0 {
            let losses = self.seen_by_the_person(batch, &output)?;
            terms.extend(losses.into_iter().map(|(name, loss)| (name, loss, weights.egocentric)));
        }
        Ok(terms)
    }

    /// What nouns know of the things they name.
    fn nouns(
        &self,
        batch: &JointBatch,
        output: &JointOutput,
    ) -> candle_core::Result<Vec<(&'static str, Tensor, f64)>> {
        let (weights, rows) = (self.config.joint.weights, &batch.rows);
        let middle = output.entering(self.config.joint.mention_layer)?;
        let mut terms = Vec::new();
        if !rows.mentions.is_empty() && weights.mention > 0.0 {
            let found = read_place(&self.mention_head, &pick(&middle, &rows.mentions)?)?;
            let target = points(&rows.mentions, self.device())?;
            let loss = GaussianNll::default().mean(&found.mean, &found.raw, &target)?;
            terms.push(("mention", loss, weights.mention));
        }
        if !rows.colors.is_empty() && weights.color > 0.0 {
            let logits = read(&self.color_head, &pick(&middle, &rows.colors)?)?;
            let labels = Tensor::from_iter(rows.colors.iter().map(|(_, color)| *color), self.device())?;
            terms.push(("color", cross_entropy(&logits, &labels)?, weights.color));
        }
        if weights.front > 0.0 {
            terms.push(("front", self.fronts(batch, output)?, weights.front));
        }
        if weights.pointing > 0.0
            && let Some((scores, wanted)) = self.pointing(batch, output)?
        {
            terms.push(("pointing", pointing_loss(&scores, &wanted)?, weights.pointing));
        }
        Ok(terms)
    }

    /// Where the things that questions name lie as the person sees them, and whether those rows
    /// look at each other that must for it.
    fn seen_by_the_person(
        &self,
        batch: &JointBatch,
        output: &JointOutput,
    ) -> candle_core::Result<Vec<(&'static str, Tensor)>> {
        let [asking, answering] = self.last_layers();
        let places = &batch.rows.egocentric;
        let mut losses = Vec::new();
        if !places.is_empty() {
            let seen = self.seen(output, places)?;
            let target = points(places, self.device())?;
            losses.push(("egocentric", GaussianNll::default().mean(&seen.mean, &seen.raw, &target)?));
        }
        losses.extend(self.seen_by_strangers(batch, output)?.map(|loss| ("strangers", loss)));
        for (name, referrers, layer) in
            [("asking", &batch.referrers.nouns, asking), ("answering", &batch.referrers.answers, answering)]
        {
            let loss = self.referring(referrers, layer, (batch, output))?;
            losses.extend(loss.map(|loss| (name, loss)));
        }
        Ok(losses)
    }

    /// Where nouns of questions say that their things lie for the person.
    fn seen(&self, output: &JointOutput, places: &[(u32, BevPoint)]) -> candle_core::Result<GaussianOutput> {
        let [_, answering] = self.last_layers();
        read_place(&self.egocentric_head, &pick(&output.entering(answering)?, places)?)
    }

    /// How wrong nouns are that look at the persons of other questions instead; `None` where
    /// there are none.
    fn seen_by_strangers(
        &self,
        batch: &JointBatch,
        output: &JointOutput,
    ) -> candle_core::Result<Option<Tensor>> {
        let Strangers { places, persons: [positions, orientations] } = &batch.strangers;
        if places.is_empty() {
            return Ok(None);
        }
        let [asking, _] = self.last_layers();
        let entering = output.entering(asking)?;
        let rows = |rows: &[u32]| chosen(&entering, rows);
        let persons = [rows(positions)?, rows(orientations)?];
        let nouns = self.maker.network.language.looking_at(asking, &pick(&entering, places)?, &persons)?;
        let seen = read_place(&self.egocentric_head, &nouns)?;
        GaussianNll::default().mean(&seen.mean, &seen.raw, &points(places, self.device())?).map(Some)
    }

    /// How far answers are from the names of nouns that they are made to look at; `None` where
    /// no name is asked for.
    fn echoes(&self, batch: &JointBatch, output: &JointOutput) -> candle_core::Result<Option<Tensor>> {
        let echoes = &batch.echoes;
        if echoes.tokens.is_empty() {
            return Ok(None);
        }
        let [_, answering] = self.last_layers();
        let entering = output.entering(answering)?;
        let rows = |rows: &[u32]| chosen(&entering, rows);
        let [first, second] = &echoes.nouns;
        let nouns = [rows(first)?, rows(second)?];
        let language = &self.maker.network.language;
        let answers = language.looking_at(answering, &rows(&echoes.answers)?, &nouns)?;
        let labels = Tensor::from_iter(echoes.tokens.iter().copied(), self.device())?;
        cross_entropy(&language.logits(&language.normed(&answers)?)?, &labels).map(Some)
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
        let (clips, first_seed) = (&self.maker.clips, self.config.validation.first_seed);
        let clips = ClipMaker { spacing: Some(self.maker.camera.config().spacing), ..*clips };
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
            let heads = &self.maker.network.heads;
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
        all.into_iter().filter(|(name, _)| lies_behind(name, frozen)).collect()
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
            words_only: self.config.batches(joint.word_steps),
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
            validated.metrics.extend(estimated.map(|(name, value)| (format!("estimated_{name}"), value)));
        }
        Ok(validated)
    }
}

/// Those of the `kept` rows that enter `layer`.
fn entering(kept: &BTreeMap<usize, Tensor>, layer: usize) -> candle_core::Result<&Tensor> {
    let rows = kept.get(&layer);
    rows.ok_or_else(|| candle_core::Error::Msg(format!("the rows that enter layer {layer} were not kept")))
}

/// The rows of (S, h) with the numbers `rows`, (n, h).
fn chosen(all: &Tensor, rows: &[u32]) -> candle_core::Result<Tensor> {
    all.index_select(&Tensor::from_slice(rows, rows.len(), all.device())?, 0)
}

/// A place with its uncertainty, read off rows (.., h) of the residual stream.
fn read_place(head: &Linear, rows: &Tensor) -> candle_core::Result<GaussianOutput> {
    GaussianOutput::split(&read(head, rows)?)
}

/// What `head` reads off rows (.., h) of the residual stream, whatever their size.
fn read(head: &Linear, rows: &Tensor) -> candle_core::Result<Tensor> {
    let scale = (rows.sqr()?.mean_keepdim(D::Minus1)? + 1e-6)?.sqrt()?;
    head.forward(&rows.broadcast_div(&scale)?)
}

fn points(targets: &[(u32, BevPoint)], device: &Device) -> candle_core::Result<Tensor> {
    let flat: Vec<f32> = targets.iter().flat_map(|(_, point)| [point.x, point.y]).collect();
    Tensor::from_vec(flat, (targets.len(), 2), device)
}
