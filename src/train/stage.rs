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

/// Share of a stage's time that validations which the settings do not ask for may take.
const MOST_VALIDATING: f64 = 0.2;

/// How this process spends the time of a stage, seconds.
struct Pace {
    started: Instant,
    saved: Instant,
    /// In steps, waiting for data included.
    stepping: f64,
    waiting: f64,
    validating: f64,
}

impl Pace {
    fn start() -> Self {
        let now = Instant::now();
        Self { started: now, saved: now, stepping: 0.0, waiting: 0.0, validating: 0.0 }
    }

    /// Share of the steps' time that went by without data, 0 to 1; 0 without a step.
    fn waited_share(&self) -> f64 {
        if self.stepping > 0.0 { self.waiting / self.stepping } else { 0.0 }
    }

    /// Whether validations have taken so little time that there may be more of them.
    fn leaves_time(&self) -> bool {
        self.validating <= MOST_VALIDATING * self.started.elapsed().as_secs_f64()
    }
}

impl Runner<'_> {
    /// Runs a stage from its checkpoint, or from its start, to its end. What is learned is saved
    /// before it is measured: whoever ends the run during a validation loses nothing.
    ///
    /// # Errors
    /// [`TrainError::Stopped`] when asked to stop, after writing a checkpoint.
    pub fn run_stage<S: Stage>(&mut self, stage: &S) -> Result<(), TrainError> {
        let (name, steps) = (stage.kind().name(), stage.steps());
        let mut pace = Pace::start();
        let (mut optimizer, mut step) = self.optimizer(stage)?;
        let parameters = optimizer.parameter_count();
        self.tell(TrainEvent::StageStarted { stage: name.to_owned(), step, steps, parameters })?;
        let schedule = LearningRateSchedule::new(stage.learning_rate(), steps, self.config.warmup);
        let parts = self.config.micro_batches.max(1) as u64;
        let feed = Feed::start(stage.source(), step * parts..steps * parts)?;
        while step < steps {
            let learning_rate = schedule.learning_rate(step);
            self.step(stage, &feed, &mut optimizer, learning_rate, step + 1, &mut pace)?;
            step += 1;
            if step == steps {
                break;
            }
            let validation = self.config.validation;
            let due = validation.asks_at(step) || (validation.may_come_at(step, steps) && pace.leaves_time());
            let mut stopped = self.stop.is_raised();
            if due || stopped || pace.saved.elapsed().as_secs_f64() >= self.config.checkpoint_secs {
                self.save(name, &optimizer, step)?;
                pace.saved = Instant::now();
            }
            if due {
                self.validate(stage, step, &mut pace)?;
                stopped = self.stop.is_raised();
            }
            if stopped {
                self.tell(TrainEvent::Stopped { stage: name.to_owned(), step })?;
                return Err(TrainError::Stopped { stage: name, step });
            }
        }
        self.save(name, &optimizer, step)?;
        self.validate(stage, step, &mut pace)?;
        self.run.finish(name, step)?;
        let (secs, waited_share) = (pace.started.elapsed().as_secs_f64(), pace.waited_share());
        self.tell(TrainEvent::StageFinished { stage: name.to_owned(), step, secs, waited_share })
    }

    /// The optimiser of a stage as its checkpoint left it, and the steps done.
    fn optimizer<S: Stage>(&self, stage: &S) -> Result<(AdamW, u64), TrainError> {
        let name = stage.kind().name();
        let rule = AdamWConfig { muon: stage.muon(), ..self.config.optimizer };
        let mut optimizer = AdamW::new(stage.trainable(), rule)?;
        // It is to learn faster, not to decay faster.
        let decay = rule.weight_decay / stage.writing_rate();
        optimizer.configure_group(writes, stage.writing_rate(), Some(decay));
        let Some(progress) = self.run.progress(name)? else { return Ok((optimizer, 0)) };
        self.run.load_optimizer(name, &mut optimizer)?;
        Ok((optimizer, progress.step))
    }

    /// One optimiser step; `number` counts from 1.
    fn step<S: Stage>(
        &mut self,
        stage: &S,
        feed: &Feed<<S::Source as BatchSource>::Batch>,
        optimizer: &mut AdamW,
        learning_rate: f64,
        number: u64,
        pace: &mut Pace,
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
        let secs = started.elapsed().as_secs_f64();
        pace.stepping += secs;
        pace.waiting += waited_secs;
        self.tell(TrainEvent::Step {
            stage: stage.kind().name().to_owned(),
            step: number,
            learning_rate,
            metrics,
            secs,
            waited_secs,
            frames,
        })
    }

    fn validate<S: Stage>(&mut self, stage: &S, step: u64, pace: &mut Pace) -> Result<(), TrainError> {
        let name = stage.kind().name();
        let started = Instant::now();
        let Validated { metrics, scenes } = stage.validate()?;
        pace.validating += started.elapsed().as_secs_f64();
        if !scenes.is_empty() {
            self.tell(TrainEvent::Scenes(SceneSnapshot { stage: name.to_owned(), step, scenes }))?;
        }
        self.tell(TrainEvent::Validation { stage: name.to_owned(), step, metrics })
    }

    fn save(&mut self, stage: &str, optimizer: &AdamW, step: u64) -> Result<(), TrainError> {
        let progress = Progress { step, finished: false };
        let path = self.run.save(stage, self.variables, Some(optimizer), progress)?;
        self.tell(TrainEvent::Saved { stage: stage.to_owned(), step, path })
    }

    fn tell(&mut self, event: TrainEvent) -> Result<(), TrainError> {
        (self.observer)(&event);
        self.run.log(&event)
    }
}

fn scalar(tensor: &Tensor) -> candle_core::Result<f64> {
    Ok(f64::from(tensor.to_dtype(candle_core::DType::F32)?.to_scalar::<f32>()?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn waiting_and_validating_are_told_as_shares() {
        let mut pace = Pace::start();
        assert_eq!(pace.waited_share(), 0.0);
        (pace.stepping, pace.waiting) = (8.0, 2.0);
        assert_eq!(pace.waited_share(), 0.25);
        let Some(earlier) = pace.started.checked_sub(Duration::from_secs(100)) else { return };
        pace.started = earlier;
        pace.validating = 15.0;
        assert!(pace.leaves_time());
        pace.validating = 40.0;
        assert!(!pace.leaves_time());
    }
}
