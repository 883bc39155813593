//! The stages on frames.
//!
//! *Tower*: the vision tower learns with the dense head what single frames tell:
//! category, colour and metric point of every cell.
//! *Camera*: the camera encoder's head alone, on the frozen tower and closely spaced
//! frames of clips; validated by the poses that the encoder finds.
//! Neither is part of Loc3R-VLM, whose tower and camera encoder come trained.

use std::sync::Arc;

use candle_core::{D, DType, Tensor, Var};
use rayon::prelude::*;

use super::clip::{Clip, ClipMaker, ViewChoice, is_object};
use super::config::{DenseStageConfig, DenseWeights, TrainConfig};
use super::dense_batch::{DenseBatch, DenseSource, dense_batch};
use super::loss::{cross_entropy, weighted_cross_entropy};
use super::pool::{ClipPool, PoolRule};
use super::stage::{Stage, StepLoss, Validated};
use super::track_error::{TrackErrors, ViewErrors};
use super::tracking::tracked;
use super::{Metrics, StageKind, TrainError, Variables};
use crate::model::odometry::{DenseOutput, OdometryCamera};
use crate::model::{ModelConfig, Network};
use crate::video::FrameSpacing;

/// Tower or camera stage.
pub struct DenseStage {
    kind: StageKind,
    stage: DenseStageConfig,
    config: TrainConfig,
    model: ModelConfig,
    network: Network,
    camera: OdometryCamera,
    variables: Variables,
}

impl DenseStage {
    /// The stage `kind` (tower or camera) of a run.
    pub fn new(
        kind: StageKind,
        config: &TrainConfig,
        model: &ModelConfig,
        network: &Network,
        camera: &OdometryCamera,
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

    fn maker(&self, choice: ViewChoice, spacing: Option<FrameSpacing>) -> ClipMaker {
        ClipMaker { spacing, ..ClipMaker::new(&self.model, self.config.data, choice) }
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

    fn muon(&self) -> f64 {
        self.stage.muon
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
        let gap = if self.kind == StageKind::Tower { (0.3, 1.6) } else { (0.15, 0.5) };
        let maker = self.maker(ViewChoice::Burst { views: self.stage.views, gap }, None);
        let growing = self.config.batches(self.stage.growing_steps);
        DenseSource {
            pool: ClipPool::new(rule, move |seed, step| Ok(maker.grown(step, growing).make(seed))),
            image_size: self.model.vision.image_size,
            augment: self.config.data.augment.then_some(self.config.seed),
            device: self.network.device().clone(),
        }
    }

    fn loss(&self, batch: &DenseBatch) -> Result<StepLoss, TrainError> {
        let dense = self.dense(&batch.pixels)?;
        Ok(dense_loss(&dense, batch, &self.stage.weights)?)
    }

    fn validate(&self) -> Result<Validated, TrainError> {
        let validation = self.config.validation;
        // Following the camera takes many frames: only where the encoder is the subject.
        let spacing = (self.kind == StageKind::Camera).then_some(self.camera.config().spacing);
        let maker = self.maker(ViewChoice::Spread { views: self.model.num_frames as usize }, spacing);
        let image_size = self.model.vision.image_size;
        let mut figures = DenseFigures::default();
        let mut tracks = TrackErrors::default();
        let mut views = ViewErrors::default();
        let seeds: Vec<u64> = (validation.first_seed..validation.first_seed + validation.clips).collect();
        for seeds in seeds.chunks(4) {
            let clips: Vec<Arc<Clip>> = seeds.par_iter().map(|&seed| Arc::new(maker.make(seed))).collect();
            for clip in clips {
                let batch = dense_batch(&[Arc::clone(&clip)], image_size, None, self.network.device())?;
                figures.add(&self.dense(&batch.pixels)?, &batch)?;
                if let Some(found) = tracked(&clip, &self.network, &self.camera)? {
                    tracks.add(&found.poses, &clip.views);
                    views.add(&found, &clip.views);
                }
            }
        }
        let mut metrics = figures.metrics();
        if spacing.is_some() {
            metrics.extend(tracks.metrics());
            metrics.extend(views.metrics());
        }
        Ok(Validated { metrics, scenes: Vec::new() })
    }
}

/// The weighted loss of a batch.
pub fn dense_loss(
    dense: &DenseOutput,
    batch: &DenseBatch,
    weights: &DenseWeights,
) -> candle_core::Result<StepLoss> {
    let frames = dense.point.dim(0)?;
    let mut terms: Vec<(&'static str, Tensor, f64)> = Vec::new();
    if weights.category > 0.0 {
        let logits = dense.category.flatten(0, 1)?;
        let category = weighted_cross_entropy(&logits, &batch.category, &batch.category_weight)?;
        terms.push(("category", category, weights.category));
    }
    if weights.color > 0.0 {
        let color = cross_entropy(&dense.color.flatten(0, 1)?, &batch.color)?;
        terms.push(("color", color, weights.color));
    }
    if weights.point > 0.0 {
        let error = (&dense.point - &batch.point)?.abs()?;
        let likelihood = ((error * dense.log_scale.neg()?.exp()?)? + &dense.log_scale)?;
        let known = batch.point_known.sum_all()?.maximum(1.0)?;
        let mean = (likelihood.broadcast_mul(&batch.point_known)?.sum_all()? / known)?;
        terms.push(("point", mean, weights.point));
    }
    let mut total = Tensor::zeros((), DType::F32, dense.point.device())?;
    for (_, term, weight) in &terms {
        total = (total + (term * *weight)?)?;
    }
    let terms = terms.into_iter().map(|(name, term, _)| (name, term.detach())).collect();
    Ok(StepLoss { total, terms, frames })
}

/// Sums behind the figures on single frames.
#[derive(Debug, Default)]
struct DenseFigures {
    cells: f64,
    cells_right: f64,
    objects: f64,
    objects_right: f64,
    colors: f64,
    colors_right: f64,
    point_errors: Vec<f32>,
}

impl DenseFigures {
    fn add(&mut self, dense: &DenseOutput, batch: &DenseBatch) -> candle_core::Result<()> {
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
            ("point_error_m".to_owned(), f64::from(median)),
        ])
    }
}
