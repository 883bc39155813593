//! Whoever answers the benchmark: the model, or a baseline.

use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use super::{BenchmarkClip, ClipOptions, EvaluateError};
use crate::geometry::BevSigma;
use crate::model::device::{self, ComputeDevice};
use crate::model::{Clip, Loc3rModel, Query, VideoStep};
use crate::qa::Situation;
use crate::scene::{CameraEstimate, Layout};
use crate::synth::QuestionOptions;

/// Where somebody is thought to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoseGuess {
    /// Position and heading, bev space.
    pub situation: Situation,
    /// Standard deviation of the position, when there is one.
    pub sigma: Option<BevSigma>,
}

/// The answer to one question; what a predictor does not claim is `None`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AnswerGuess {
    /// Where the asker is.
    pub pose: Option<PoseGuess>,
    /// The words.
    pub text: Option<String>,
}

/// Everything said about a clip.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prediction {
    /// Positions of the vision tokens.
    pub layout: Option<Layout>,
    /// Poses of the sampled frames, anchor space.
    pub cameras: Vec<CameraEstimate>,
    /// How unlike the training data the clip looks; above 1 it is remarked on.
    pub strangeness: Option<f32>,
    /// One per question, in order.
    pub answers: Vec<AnswerGuess>,
    /// What to think of it ("random weights"); empty when there is nothing to say.
    pub notice: String,
}

/// Answers clips.
pub trait Predictor {
    /// Name in tables.
    fn name(&self) -> &str;

    /// How often every clip is put to it; all it says counts. More than once for one that guesses:
    /// what it gets by luck is then small.
    fn draws(&self) -> u32 {
        1
    }

    /// Everything it says about a clip.
    ///
    /// # Errors
    /// When it cannot answer at all.
    fn predict(&mut self, clip: &BenchmarkClip) -> Result<Prediction, EvaluateError>;
}

/// A model from a checkpoint folder.
#[derive(Debug)]
pub struct ModelPredictor {
    model: Loc3rModel,
    true_points: bool,
    /// Seconds spent so far, and on how many.
    encoding: (f64, u32),
    answering: (f64, u32),
}

impl ModelPredictor {
    /// Loads a checkpoint onto a device.
    ///
    /// # Errors
    /// When the device is not there or the checkpoint does not fit.
    pub fn load(folder: &Path, device: ComputeDevice) -> Result<Self, EvaluateError> {
        let (device, _) = device::choose(device)?;
        Ok(Self::new(Loc3rModel::load(folder, &device)?))
    }

    /// Takes a model that is already in memory.
    pub fn new(model: Loc3rModel) -> Self {
        Self { model, true_points: false, encoding: (0.0, 0), answering: (0.0, 0) }
    }

    /// What to think of what it says ("random weights"); empty when there is nothing to say.
    pub fn notice(&self) -> &str {
        &self.model.config().notice
    }

    /// Gives a model with a geometry cue the true points instead of its own estimates.
    #[must_use]
    pub fn with_true_points(self) -> Self {
        Self { true_points: true, ..self }
    }

    /// Mean seconds it took so far to read a clip, and to answer a question.
    pub fn mean_secs(&self) -> (f64, f64) {
        let mean = |(secs, count): (f64, u32)| secs / f64::from(count.max(1));
        (mean(self.encoding), mean(self.answering))
    }

    /// Clips as this model sees them.
    ///
    /// # Errors
    /// When its configuration samples no frames.
    pub fn clip_options(&self, questions: QuestionOptions) -> Result<ClipOptions, EvaluateError> {
        let config = self.model.config();
        Ok(ClipOptions {
            frames: NonZeroU32::new(config.num_frames).ok_or(EvaluateError::NoFrames)?,
            image_size: config.vision.image_size as u32,
            spacing: self.model.spacing(),
            questions,
        })
    }
}

impl Predictor for ModelPredictor {
    fn name(&self) -> &str {
        &self.model.config().name
    }

    fn predict(&mut self, clip: &BenchmarkClip) -> Result<Prediction, EvaluateError> {
        /// Longest answer, tokens: as VSI-Bench's protocol.
        const ANSWER_TOKENS: usize = 16;
        let side = self.model.config().token_grid();
        let shown = Clip {
            info: clip.info.clone(),
            frames: clip.frames.clone(),
            between: clip.between.clone(),
            token_points: self.true_points.then(|| clip.token_points((side, side))),
        };
        let started = Instant::now();
        let mut strangeness = None;
        let video = self.model.encode_video(&shown, &mut |step| {
            if let VideoStep::Strangeness(told) = step {
                strangeness = Some(told);
            }
            ControlFlow::Continue(())
        })?;
        self.encoding = (self.encoding.0 + started.elapsed().as_secs_f64(), self.encoding.1 + 1);
        let started = Instant::now();
        let mut answers = Vec::with_capacity(clip.questions.len());
        for question in &clip.questions {
            let asked = &question.labeled.question;
            let query = Query {
                situation: asked.situation_text.clone(),
                question: asked.text.clone(),
                choices: asked.choices.clone(),
                placed: None,
                max_new_tokens: ANSWER_TOKENS,
            };
            let reply = self.model.ask(&video, &query, &mut |_| ControlFlow::Continue(()))?;
            let pose = reply.estimate.map(|estimate| PoseGuess {
                situation: estimate.situation,
                sigma: Some(estimate.position_sigma),
            });
            answers.push(AnswerGuess { pose, text: Some(reply.text) });
        }
        self.answering.0 += started.elapsed().as_secs_f64();
        self.answering.1 += answers.len() as u32;
        let notice = self.notice().to_owned();
        let layout = Some(video.layout).filter(|_| self.model.config().locates());
        Ok(Prediction { layout, cameras: video.cameras, strangeness, answers, notice })
    }
}
