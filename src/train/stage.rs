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
    use std::path::Path;
    use std::sync::Mutex;
    use std::time::Duration;

    use candle_core::Device;

    use super::*;

    const NAME: &str = "tower";

    /// Takes a moment for every batch.
    struct Numbers;

    impl BatchSource for Numbers {
        type Batch = f64;

        fn batch(&mut self, step: u64) -> Result<f64, TrainError> {
            std::thread::sleep(Duration::from_millis(2));
            Ok(1.0 + step as f64)
        }
    }

    /// Draws a matrix towards nothing in five steps. Its validations look at the checkpoint; one
    /// can be where the run is killed.
    struct Toy {
        run: RunDir,
        variables: Variables,
        killed_at: Option<u64>,
        found: Mutex<Vec<Option<Progress>>>,
    }

    impl Stage for Toy {
        type Source = Numbers;

        fn kind(&self) -> StageKind {
            StageKind::Tower
        }

        fn steps(&self) -> u64 {
            5
        }

        fn learning_rate(&self) -> f64 {
            1e-2
        }

        fn muon(&self) -> f64 {
            0.0
        }

        fn trainable(&self) -> Vec<(String, Var)> {
            self.variables.trained_by(StageKind::Tower)
        }

        fn source(&self) -> Numbers {
            Numbers
        }

        fn loss(&self, batch: &f64) -> Result<StepLoss, TrainError> {
            let mut total = Tensor::zeros((), candle_core::DType::F32, &Device::Cpu)?;
            for (_, var) in self.trainable() {
                total = (total + (var.as_tensor().sqr()?.sum_all()? * *batch)?)?;
            }
            Ok(StepLoss { total, terms: Vec::new(), frames: 1 })
        }

        fn validate(&self) -> Result<Validated, TrainError> {
            let found = self.run.progress(NAME)?;
            self.found.lock().unwrap().push(found);
            if self.killed_at.is_some() && found.map(|progress| progress.step) == self.killed_at {
                return Err(TrainError::Data { reason: "killed".to_owned() });
            }
            Ok(Validated { metrics: Metrics::new(), scenes: Vec::new() })
        }
    }

    impl Toy {
        /// In the run of `folder`, which begins or goes on.
        fn of(folder: &Path, killed_at: Option<u64>) -> Self {
            let variables = Variables::new(1);
            let builder = variables.builder(&Device::Cpu);
            candle_nn::linear(4, 2, builder.pp("model.vision_tower.a")).unwrap();
            Self { run: RunDir::at(folder), variables, killed_at, found: Mutex::new(Vec::new()) }
        }

        /// What is told, and the outcome; a validation every two steps.
        fn train(&self) -> (Vec<TrainEvent>, Result<(), TrainError>) {
            let settings = ["validation.every=2", "micro_batches=1", "checkpoint_secs=60.0"];
            let config = TrainConfig::preset("tiny").unwrap().with(&settings.map(str::to_owned)).unwrap();
            let mut events = Vec::new();
            let mut runner = Runner {
                run: &self.run,
                config: &config,
                variables: &self.variables,
                stop: CancelFlag::default(),
                observer: &mut |event: &TrainEvent| events.push(event.clone()),
            };
            let outcome = runner.run_stage(self);
            (events, outcome)
        }
    }

    /// "step 1", "saved 2", "validation 2" in the order in which they were told.
    fn words(events: &[TrainEvent]) -> Vec<String> {
        let word = |event: &TrainEvent| match event {
            TrainEvent::Step { .. } => Some("step"),
            TrainEvent::Saved { .. } => Some("saved"),
            TrainEvent::Validation { .. } => Some("validation"),
            _ => None,
        };
        events.iter().filter_map(|event| Some(format!("{} {}", word(event)?, event.moment().1))).collect()
    }

    #[test]
    fn a_checkpoint_lies_before_every_validation() {
        let folder = tempfile::tempdir().unwrap();
        let toy = Toy::of(folder.path(), None);
        let (events, outcome) = toy.train();
        outcome.unwrap();
        let told = [
            "step 1",
            "step 2",
            "saved 2",
            "validation 2",
            "step 3",
            "step 4",
            "saved 4",
            "validation 4",
            "step 5",
            "saved 5",
            "validation 5",
        ];
        assert_eq!(words(&events), told);
        // The last one is not over before its figures are there.
        let unfinished = |step| Some(Progress { step, finished: false });
        assert_eq!(*toy.found.lock().unwrap(), [2, 4, 5].map(unfinished));
        assert_eq!(toy.run.progress(NAME).unwrap(), Some(Progress { step: 5, finished: true }));
    }

    #[test]
    fn a_run_killed_while_it_validates_takes_no_step_again() {
        for (killed_at, left) in [
            (2, vec!["step 3", "step 4", "saved 4", "validation 4", "step 5", "saved 5", "validation 5"]),
            (5, vec!["saved 5", "validation 5"]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (_, outcome) = Toy::of(folder.path(), Some(killed_at)).train();
            assert!(matches!(outcome, Err(TrainError::Data { .. })), "{outcome:?}");
            let (events, outcome) = Toy::of(folder.path(), None).train();
            outcome.unwrap();
            assert_eq!(words(&events), left);
        }
    }

    #[test]
    fn the_end_of_a_stage_tells_which_share_of_its_steps_waited() {
        let folder = tempfile::tempdir().unwrap();
        let (events, outcome) = Toy::of(folder.path(), None).train();
        outcome.unwrap();
        let (mut stepping, mut waiting) = (0.0, 0.0);
        for event in &events {
            if let TrainEvent::Step { secs, waited_secs, .. } = event {
                stepping += secs;
                waiting += waited_secs;
            }
        }
        let Some(TrainEvent::StageFinished { waited_share, .. }) = events.last() else {
            panic!("{events:?}")
        };
        assert!(*waited_share > 0.0 && (waited_share - waiting / stepping).abs() < 1e-9, "{waited_share}");
    }

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
