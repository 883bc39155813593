//! What the joint stage is told: the terms of its loss.
//!
//! The paper's are answers, the layout of the vision tokens and the described situation. The
//! others are ours: nouns of the situation text predict, at a middle layer, where the object is
//! that they name and its colour; vision tokens resemble the words of what they show
//! ([`super::alignment`]), at first that alone; some heads are told what nouns should attend to
//! ([`super::pointing`]), `<Pos>` and `<Ori>` which nouns they mean, and nouns of questions where
//! their things lie for the person ([`super::referring`]).

use candle_core::{D, Device, Tensor};
use candle_nn::Module as _;

use super::joint_batch::{JointBatch, Lesson};
use super::joint_scenes::pick;
use super::joint_stage::{JointOutput, JointStage};
use super::loss::{GaussianNll, OrientationLoss, cross_entropy};
use super::pointing::{pointing_loss, pointing_scores, wanted_attention};
use super::referring::{Referrer, Strangers, wanted_rows};
use crate::geometry::BevPoint;
use crate::model::heads::GaussianOutput;
use crate::model::layers::Linear;

/// The terms that a head of their own reads off rows.
const OF_HEADS: [&str; 9] =
    ["layout", "early_layout", "position", "orientation", "gaze", "mention", "color", "front", "egocentric"];

/// A row among those of all questions, and the clip of the batch that it asks about.
type RowOfClip = (u32, usize);

impl JointStage {
    /// Scores of the pointing heads (H, n, P + L) of all nouns and what their attention
    /// should be (n, P + L); `None` without nouns.
    pub(super) fn pointing(
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

    pub(super) fn terms(&self, batch: &JointBatch) -> candle_core::Result<Vec<(&'static str, Tensor, f64)>> {
        let weights = self.config.joint.weights;
        let heads = self.maker.network.heads()?;
        if batch.lesson == Lesson::Words {
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
            let bins =
                OrientationLoss { sigma_bins: weights.heading_sigma_bins, ..OrientationLoss::default() };
            let loss = bins.mean(&logits, &headings)?;
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
        if batch.lesson == Lesson::Heads {
            terms.retain(|(name, ..)| OF_HEADS.contains(name));
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
    pub(super) fn seen(
        &self,
        output: &JointOutput,
        places: &[(u32, BevPoint)],
    ) -> candle_core::Result<GaussianOutput> {
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
}

/// The rows of (S, h) with the numbers `rows`, (n, h).
fn chosen(all: &Tensor, rows: &[u32]) -> candle_core::Result<Tensor> {
    all.index_select(&Tensor::from_slice(rows, rows.len(), all.device())?, 0)
}

/// A place with its uncertainty, read off rows (.., h) of the residual stream.
pub(super) fn read_place(head: &Linear, rows: &Tensor) -> candle_core::Result<GaussianOutput> {
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
