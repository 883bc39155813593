//! The stages on frames and pairs of frames.
//!
//! *Tower*: the vision tower learns with the dense head what single frames tell
//! (category, colour and metric point of every cell) and to tell which cells of two frames show the same place.
//! *Camera*: the same head on the frozen tower, now on all pairs of longer clips,
//! and through the differentiable planar fit on the relative pose itself.
//! Neither is part of Loc3R-VLM, whose tower and camera encoder come trained.

use std::sync::Arc;

use candle_core::{D, DType, Tensor, Var};
use rayon::prelude::*;

use super::clip::{ClipMaker, ViewChoice, is_object};
use super::config::{DenseStageConfig, DenseWeights, TrainConfig};
use super::dense_batch::{DenseBatch, DenseSource, PairChoice, dense_batch};
use super::loss::cross_entropy;
use super::pool::{ClipPool, PoolRule};
use super::stage::{Stage, StepLoss};
use super::track_error::{TrackErrors, ViewErrors};
use super::{Metrics, StageKind, TrainError, Variables};
use crate::model::align::matching::{Assignment, MatchSide, soft_procrustes};
use crate::model::align::{AlignedCamera, DenseOutput};
use crate::model::{ModelConfig, Network};

/// Tower or camera stage.
pub struct DenseStage {
    kind: StageKind,
    stage: DenseStageConfig,
    config: TrainConfig,
    model: ModelConfig,
    network: Network,
    camera: AlignedCamera,
    variables: Variables,
}

impl DenseStage {
    /// The stage `kind` (tower or camera) of a run.
    pub fn new(
        kind: StageKind,
        config: &TrainConfig,
        model: &ModelConfig,
        network: &Network,
        camera: &AlignedCamera,
        variables: &Variables,
    ) -> Self {
        Self {
            kind,
            stage: if kind == StageKind::Tower { config.tower } else { config.camera },
            config: config.clone(),
            model: model.clone(),
            network: network.clone(),
            camera: camera.clone(),
            variables: variables.clone(),
        }
    }

    fn maker(&self, choice: ViewChoice) -> ClipMaker {
        ClipMaker {
            data: self.config.data,
            image_size: self.model.vision.image_size as u32,
            grid: self.model.vision.grid(),
            pooled_grid: self.model.token_grid(),
            choice,
            questions: 0,
        }
    }

    fn dense(&self, pixels: &Tensor) -> candle_core::Result<DenseOutput> {
        let features = self.network.vision.forward(pixels)?;
        let features = if self.kind == StageKind::Tower { features } else { features.detach() };
        self.camera.head().forward(&features)
    }
}

impl Stage for DenseStage {
    type Source = DenseSource;

    fn kind(&self) -> StageKind {
        self.kind
    }

    fn steps(&self) -> u64 {
        self.stage.steps
    }

    fn learning_rate(&self) -> f64 {
        self.stage.learning_rate
    }

    fn trainable(&self) -> Vec<(String, Var)> {
        self.variables.trained_by(self.kind)
    }

    fn source(&self) -> DenseSource {
        let rule = PoolRule {
            seed: self.config.seed.wrapping_mul(31).wrapping_add(self.kind as u64),
            clips: self.stage.clips,
            reuse: self.stage.reuse,
            pool_steps: self.stage.pool_steps,
            seed_limit: self.config.validation.first_seed,
        };
        let gap = if self.kind == StageKind::Tower { (0.3, 1.6) } else { (0.4, 1.4) };
        let maker = self.maker(ViewChoice::Burst { views: self.stage.views, gap });
        DenseSource {
            pool: ClipPool::new(rule, move |seed| Ok(maker.make(seed))),
            pairs: if self.kind == StageKind::Tower { PairChoice::Neighbours } else { PairChoice::All },
            image_size: self.model.vision.image_size,
            augment: self.config.data.augment.then_some(self.config.seed),
        }
    }

    fn loss(&self, batch: &DenseBatch) -> Result<StepLoss, TrainError> {
        let dense = self.dense(&batch.pixels)?;
        Ok(dense_loss(&dense, batch, self.camera.head().descriptor_gain(), &self.stage.weights)?)
    }

    fn validate(&self) -> Result<Metrics, TrainError> {
        let validation = self.config.validation;
        let maker = self.maker(ViewChoice::Spread { views: self.model.num_frames as usize });
        let mut figures = DenseFigures::default();
        let mut tracks = TrackErrors::default();
        let mut views = ViewErrors::default();
        for seed in
            (validation.first_seed..validation.first_seed + validation.clips).collect::<Vec<_>>().chunks(4)
        {
            let clips: Vec<Arc<_>> = seed.par_iter().map(|&seed| Arc::new(maker.make(seed))).collect();
            for clip in clips {
                let truth: Vec<_> = clip.views.iter().map(|view| view.planar).collect();
                let true_views: Vec<_> = clip.views.iter().map(|view| view.view).collect();
                let batch = dense_batch(&[clip], PairChoice::Neighbours, self.model.vision.image_size, None)?;
                let dense = self.dense(&batch.pixels)?;
                figures.add(&dense, &batch, self.camera.head().descriptor_gain())?;
                let aligned = self.camera.align_dense(&dense)?;
                let found: Vec<_> = aligned.poses.iter().map(|pose| pose.planar).collect();
                tracks.add(&found, &truth);
                views.add(&aligned, &true_views);
            }
        }
        let mut metrics = figures.metrics();
        metrics.extend(tracks.metrics());
        metrics.extend(views.metrics());
        Ok(metrics)
    }
}

/// The weighted loss of a batch.
pub fn dense_loss(
    dense: &DenseOutput,
    batch: &DenseBatch,
    gain: &Tensor,
    weights: &DenseWeights,
) -> candle_core::Result<StepLoss> {
    let frames = dense.point.dim(0)?;
    let mut terms: Vec<(&'static str, Tensor, f64)> = Vec::new();
    let classes = |logits: &Tensor, labels: &Tensor| cross_entropy(&logits.flatten(0, 1)?, labels);
    if weights.category > 0.0 {
        terms.push(("category", classes(&dense.category, &batch.category)?, weights.category));
    }
    if weights.color > 0.0 {
        terms.push(("color", classes(&dense.color, &batch.color)?, weights.color));
    }
    if weights.point > 0.0 {
        let error = (&dense.point - &batch.point)?.abs()?;
        let likelihood = ((error * dense.log_scale.neg()?.exp()?)? + &dense.log_scale)?;
        let known = batch.point_known.sum_all()?.maximum(1.0)?;
        let mean = (likelihood.broadcast_mul(&batch.point_known)?.sum_all()? / known)?;
        terms.push(("point", mean, weights.point));
    }
    if weights.matching > 0.0 || weights.motion > 0.0 {
        let pairs = &batch.pairs;
        let (a, b) = (MatchSide::of_frames(dense, &pairs.a)?, MatchSide::of_frames(dense, &pairs.b)?);
        let assignment = Assignment::new(&a, &b, gain)?;
        if weights.matching > 0.0 {
            terms.push(("matching", assignment.loss(&pairs.b_of_a, &pairs.a_of_b)?, weights.matching));
        }
        if weights.motion > 0.0 {
            let (turn, shift) = soft_procrustes(&assignment.mutual()?, &a, &b)?;
            let turn_error = ((&turn - &pairs.turn)?.sqr()?.sum_keepdim(1)? + 1e-4)?.sqrt()?;
            let shift_error = ((&shift - &pairs.shift)?.sqr()?.sum_keepdim(1)? + 1e-4)?.sqrt()?;
            let error = ((turn_error * 2.0)? + shift_error)?;
            let count = pairs.overlaps.sum_all()?.maximum(1.0)?;
            terms.push(("motion", ((error * &pairs.overlaps)?.sum_all()? / count)?, weights.motion));
        }
    }
    let mut total = Tensor::zeros((), DType::F32, dense.point.device())?;
    for (_, term, weight) in &terms {
        total = (total + (term * *weight)?)?;
    }
    let terms = terms.into_iter().map(|(name, term, _)| (name, term.detach())).collect();
    Ok(StepLoss { total, terms, frames })
}

/// Sums behind the figures on single frames and pairs.
#[derive(Debug, Default)]
struct DenseFigures {
    cells: f64,
    cells_right: f64,
    objects: f64,
    objects_right: f64,
    colors: f64,
    colors_right: f64,
    partnered: f64,
    partners_right: f64,
    point_errors: Vec<f32>,
}

impl DenseFigures {
    fn add(&mut self, dense: &DenseOutput, batch: &DenseBatch, gain: &Tensor) -> candle_core::Result<()> {
        let best = |logits: &Tensor| logits.argmax(D::Minus1)?.flatten_all()?.to_vec1::<u32>();
        let (category, color) = (best(&dense.category)?, best(&dense.color)?);
        let true_category = batch.category.to_vec1::<i64>()?;
        let true_color = batch.color.to_vec1::<i64>()?;
        for k in 0..category.len() {
            let right = f64::from(u8::from(i64::from(category[k]) == true_category[k]));
            self.cells += 1.0;
            self.cells_right += right;
            if is_object(true_category[k] as u8) {
                self.objects += 1.0;
                self.objects_right += right;
            }
            if true_color[k] >= 0 {
                self.colors += 1.0;
                self.colors_right += f64::from(u8::from(i64::from(color[k]) == true_color[k]));
            }
        }
        let planar = |x: &Tensor| x.narrow(D::Minus1, 0, 2);
        let distance = (planar(&dense.point)? - planar(&batch.point)?)?.sqr()?.sum(D::Minus1)?.sqrt()?;
        let known = batch.point_known.flatten_all()?.to_vec1::<f32>()?;
        let distance = distance.flatten_all()?.to_vec1::<f32>()?;
        self.point_errors
            .extend(distance.iter().zip(&known).filter(|(_, known)| **known > 0.0).map(|(d, _)| *d));
        self.add_partners(dense, batch, gain)
    }

    fn add_partners(
        &mut self,
        dense: &DenseOutput,
        batch: &DenseBatch,
        gain: &Tensor,
    ) -> candle_core::Result<()> {
        let pairs = &batch.pairs;
        let (a, b) = (MatchSide::of_frames(dense, &pairs.a)?, MatchSide::of_frames(dense, &pairs.b)?);
        let found = Assignment::new(&a, &b, gain)?.b_given_a;
        let cells = found.dim(1)?;
        let found = found.narrow(D::Minus1, 0, cells)?.argmax(D::Minus1)?.flatten_all()?.to_vec1::<u32>()?;
        let truth = pairs.b_of_a.flatten_all()?.to_vec1::<u32>()?;
        for (found, truth) in found.iter().zip(&truth).filter(|(_, truth)| (**truth as usize) < cells) {
            self.partnered += 1.0;
            self.partners_right += f64::from(u8::from(found == truth));
        }
        Ok(())
    }

    fn metrics(mut self) -> Metrics {
        let share = |right: f64, all: f64| if all > 0.0 { right / all } else { 0.0 };
        self.point_errors.sort_by(f32::total_cmp);
        let median = self.point_errors.get(self.point_errors.len() / 2).copied().unwrap_or(0.0);
        Metrics::from([
            ("cell_category_accuracy".to_owned(), share(self.cells_right, self.cells)),
            ("object_category_accuracy".to_owned(), share(self.objects_right, self.objects)),
            ("object_color_accuracy".to_owned(), share(self.colors_right, self.colors)),
            ("partner_accuracy".to_owned(), share(self.partners_right, self.partnered)),
            ("partner_share".to_owned(), share(self.partnered, self.cells)),
            ("point_error_m".to_owned(), f64::from(median)),
        ])
    }
}
