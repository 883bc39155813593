//! The loop that every stage shares: batches made ahead, AdamW, schedule, metrics,
//! validation, checkpoints, resume.

use std::time::Instant;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use super::feed::{BatchSource, Feed};
use super::optimizer::{AdamW, AdamWConfig};
use super::run_dir::Progress;
use super::scenes::{SceneSnapshot, ValidationScene};
use super::schedule::LearningRateSchedule;
use super::variables::writes;
use super::{Metrics, RunDir, StageKind, TrainConfig, TrainError, TrainEvent, Variables};
use crate::worker::{CancelFlag, side_by_side};

/// What a step computed.
#[derive(Debug)]
pub struct StepLoss {
    /// What is minimised, a scalar.
    pub total: Tensor,
    /// Scalars to report.
    pub terms: Vec<(&'static str, Tensor)>,
    /// Frames in the batch.
    pub frames: usize,
}

/// What a validation found.
#[derive(Debug)]
pub struct Validated {
    /// Figures on held-out seeds.
    pub metrics: Metrics,
    /// Some of the rooms with what was predicted; empty where a stage has nothing to show.
    pub scenes: Vec<ValidationScene>,
}

/// A part of the curriculum: variables, data and loss.
pub trait Stage: Sync {
    /// Makes the batches.
    type Source: BatchSource<Batch: Sync>;

    /// Which one.
    fn kind(&self) -> StageKind;

    /// Optimiser steps.
    fn steps(&self) -> u64;

    /// Peak learning rate.
    fn learning_rate(&self) -> f64;

    /// Size of Muon's steps; 0 for AdamW alone.
    fn muon(&self) -> f64;

    /// How much faster layers of the language model learn what they write to the residual
    /// stream than everything else.
    fn writing_rate(&self) -> f64 {
        1.0
    }

    /// What is trained, by name.
    fn trainable(&self) -> Vec<(String, Var)>;

    /// A fresh source of batches.
    fn source(&self) -> Self::Source;

    /// The loss of a batch.
    fn loss(&self, batch: &<Self::Source as BatchSource>::Batch) -> Result<StepLoss, TrainError>;

    /// Figures and scenes of held-out seeds.
    fn validate(&self) -> Result<Validated, TrainError>;
}

/// Everything around the stages of a run.
pub struct Runner<'a> {
    /// The run folder.
    pub run: &'a RunDir,
    /// Its configuration.
    pub config: &'a TrainConfig,
    /// All variables.
    pub variables: &'a Variables,
    /// Raised to stop after the step in hand.
    pub stop: CancelFlag,
    /// Told everything that happens.
    pub observer: &'a mut dyn FnMut(&TrainEvent),
}

impl Runner<'_> {
    /// Runs a stage from its checkpoint, or from its start, to its end.
    ///
    /// # Errors
    /// [`TrainError::Stopped`] when asked to stop, after writing a checkpoint.
    pub fn run_stage<S: Stage>(&mut self, stage: &S) -> Result<(), TrainError> {
        let name = stage.kind().name();
        let started = Instant::now();
        let rule = AdamWConfig { muon: stage.muon(), ..self.config.optimizer };
        let mut optimizer = AdamW::new(stage.trainable(), rule)?;
        // It is to learn faster, not to decay faster.
        let decay = rule.weight_decay / stage.writing_rate();
        optimizer.configure_group(writes, stage.writing_rate(), Some(decay));
        let mut step = 0;
        if let Some(progress) = self.run.progress(name)? {
            self.run.load_optimizer(name, &mut optimizer)?;
            step = progress.step;
        }
        let steps = stage.steps();
        let parameters = optimizer.parameter_count();
        self.tell(TrainEvent::StageStarted { stage: name.to_owned(), step, steps, parameters })?;
        let schedule = LearningRateSchedule::new(stage.learning_rate(), steps, self.config.warmup);
        let parts = self.config.micro_batches.max(1) as u64;
        let feed = Feed::start(stage.source(), step * parts..steps * parts)?;
        let mut saved = Instant::now();
        while step < steps {
            let learning_rate = schedule.learning_rate(step);
            self.step(stage, &feed, &mut optimizer, learning_rate, step + 1)?;
            step += 1;
            let every = self.config.validation.every;
            if every > 0 && step % every == 0 && step < steps {
                self.validate(stage, step)?;
            }
            let stopped = self.stop.is_raised() && step < steps;
            if step < steps && (stopped || saved.elapsed().as_secs_f64() >= self.config.checkpoint_secs) {
                self.save(name, &optimizer, Progress { step, finished: false })?;
                saved = Instant::now();
            }
            if stopped {
                self.tell(TrainEvent::Stopped { stage: name.to_owned(), step })?;
                return Err(TrainError::Stopped { stage: name, step });
            }
        }
        self.validate(stage, step)?;
        self.save(name, &optimizer, Progress { step, finished: true })?;
        let secs = started.elapsed().as_secs_f64();
        self.tell(TrainEvent::StageFinished { stage: name.to_owned(), step, secs })
    }

    /// One optimiser step; `number` counts from 1.
    fn step<S: Stage>(
        &mut self,
        stage: &S,
        feed: &Feed<<S::Source as BatchSource>::Batch>,
        optimizer: &mut AdamW,
        learning_rate: f64,
        number: u64,
    ) -> Result<(), TrainError> {
        let started = Instant::now();
        let parts = self.config.micro_batches.max(1);
        let batches = (0..parts).map(|_| feed.next()).collect::<Result<Vec<_>, _>>()?;
        let waited_secs = started.elapsed().as_secs_f64();
        let computed = side_by_side(&batches, |batch| {
            let loss = stage.loss(batch)?;
            let gradients = loss.total.backward()?;
            Ok((loss, gradients))
        })
        .into_iter()
        .collect::<Result<Vec<(StepLoss, GradStore)>, TrainError>>()?;
        let mut metrics = Metrics::new();
        let mut frames = 0;
        for (loss, gradients) in &computed {
            optimizer.accumulate(gradients)?;
            frames += loss.frames;
            let total = [("loss", loss.total.clone())];
            for (term, value) in total.iter().chain(&loss.terms) {
                *metrics.entry((*term).to_owned()).or_default() += scalar(value)? / parts as f64;
            }
        }
        let report = optimizer.step(learning_rate)?;
        metrics.insert("gradient_norm".to_owned(), report.gradient_norm);
        self.tell(TrainEvent::Step {
            stage: stage.kind().name().to_owned(),
            step: number,
            learning_rate,
            metrics,
            secs: started.elapsed().as_secs_f64(),
            waited_secs,
            frames,
        })
    }

    fn validate<S: Stage>(&mut self, stage: &S, step: u64) -> Result<(), TrainError> {
        let name = stage.kind().name();
        let Validated { metrics, scenes } = stage.validate()?;
        if !scenes.is_empty() {
            self.tell(TrainEvent::Scenes(SceneSnapshot { stage: name.to_owned(), step, scenes }))?;
        }
        self.tell(TrainEvent::Validation { stage: name.to_owned(), step, metrics })
    }

    fn save(&mut self, stage: &str, optimizer: &AdamW, progress: Progress) -> Result<(), TrainError> {
        let path = self.run.save(stage, self.variables, Some(optimizer), progress)?;
        self.tell(TrainEvent::Saved { stage: stage.to_owned(), step: progress.step, path })
    }

    fn tell(&mut self, event: TrainEvent) -> Result<(), TrainError> {
        (self.observer)(&event);
        self.run.log(&event)
    }
}

fn scalar(tensor: &Tensor) -> candle_core::Result<f64> {
    Ok(f64::from(tensor.to_dtype(candle_core::DType::F32)?.to_scalar::<f32>()?))
}
