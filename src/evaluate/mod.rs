//! Metrics, baselines and the report of a model on a benchmark.
//!
//! [`evaluate`] runs predictors over clips, the held-out ones of the benchmark `rooms`
//! or real rooms ([`real_rooms`]), and gives a [`Report`]: localisation (SQA3D), answers (SQA3D and VSI-Bench),
//! layout and cameras, each with a 95 % interval and its baselines.

pub mod answers;
pub mod baselines;
mod benchmark;
mod bootstrap;
pub mod chart;
mod comparison;
pub mod geometry;
#[cfg(test)]
mod golden;
mod localization;
pub mod plots;
mod predictions;
mod predictor;
pub mod real_rooms;
mod report;
mod requirement;
mod score;
pub mod text_overlap;

pub use benchmark::{BenchmarkClip, ClipOptions};
pub use bootstrap::{Interval, Statistic, interval, paired_interval};
pub use comparison::Pair;
pub use localization::{LocalizationError, LocalizationScores};
pub use predictions::{PredictedAnswer, PredictionRecord, prediction_records};
pub use predictor::{AnswerGuess, ModelPredictor, PoseGuess, Prediction, Predictor};
pub use report::{Column, Grouping, Report, Score};
pub use requirement::{Requirement, missed_bars};
pub use score::{ClipFacts, Metric, Value, values_of};

use rayon::prelude::*;

use baselines::{Oracle, RandomHeading, Reading, RoomCenter, WordPrior};

use crate::model::ModelError;
use crate::model::device::DeviceError;
pub use crate::synth::Tier;
use crate::synth::{SynthError, SynthQuestion};

/// What can go wrong in an evaluation.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The device is not there.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A clip cannot be made.
    #[error(transparent)]
    Scene(#[from] SynthError),
    /// The model looks at nothing.
    #[error("the model's config.json says num_frames 0; it needs at least one")]
    NoFrames,
    /// What was said to the questions cannot be written down.
    #[error("cannot write predictions: {0}")]
    Write(#[from] std::io::Error),
    /// Nothing was evaluated.
    #[error("an evaluation needs at least one clip; use `--count 1` or more")]
    Empty,
}

/// Seeds that word priors learn from start here; training uses them, too.
const PRIOR_SEEDS: u64 = 1_000_000;

/// Answers of scenes that are not held out, for [`baselines::WordPrior`].
pub fn prior_questions(scenes: u64, options: &ClipOptions) -> Vec<SynthQuestion> {
    (0..scenes)
        .into_par_iter()
        .flat_map_iter(|index| BenchmarkClip::questions_of(PRIOR_SEEDS + index, Tier::of(index), options))
        .collect()
}

/// Hears what predictors, by name, say about a clip.
pub type Listener<'a> =
    &'a mut dyn FnMut(&BenchmarkClip, &[(String, Prediction)]) -> Result<(), EvaluateError>;

/// Runs `predictor` and all baselines over `clips` of the benchmark called `benchmark`;
/// `prior` are the questions that word baselines learn from; `listener` hears of each clip
/// as soon as it is done.
///
/// # Errors
/// When there is no clip, one cannot be made, or the predictor or the listener fails.
pub fn evaluate(
    predictor: &mut dyn Predictor,
    benchmark: &str,
    clips: impl IntoIterator<Item = Result<BenchmarkClip, EvaluateError>>,
    prior: &[SynthQuestion],
    listener: Listener<'_>,
) -> Result<Report, EvaluateError> {
    let mut words = WordPrior::learn(Reading::Words, prior);
    let mut frequent = WordPrior::learn(Reading::Type, prior);
    let mut heading = RandomHeading::new(36);
    let (mut center, mut oracle) = (RoomCenter, Oracle);
    let all: &mut [&mut dyn Predictor] =
        &mut [predictor, &mut center, &mut heading, &mut words, &mut frequent, &mut oracle];
    compare(all, benchmark, clips, listener)
}

/// Runs `predictors` alone, each a column of the report; see [`evaluate`].
///
/// # Errors
/// When there is no clip, one cannot be made, or a predictor or the listener fails.
pub fn compare(
    predictors: &mut [&mut dyn Predictor],
    benchmark: &str,
    clips: impl IntoIterator<Item = Result<BenchmarkClip, EvaluateError>>,
    listener: Listener<'_>,
) -> Result<Report, EvaluateError> {
    let columns =
        predictors.iter().map(|p| Column { name: p.name().to_owned(), values: Vec::new() }).collect();
    let mut report =
        Report { benchmark: benchmark.to_owned(), columns, clips: Vec::new(), questions: 0, unknown: None };
    for clip in clips {
        let clip = clip?;
        let number = report.clips.len() as u32;
        let mut predictions = Vec::with_capacity(predictors.len());
        for (predictor, column) in predictors.iter_mut().zip(&mut report.columns) {
            let mut prediction = predictor.predict(&clip)?;
            column.values.extend(values_of(number, &clip, &prediction));
            for _ in 1..predictor.draws() {
                prediction = predictor.predict(&clip)?;
                column.values.extend(values_of(number, &clip, &prediction));
            }
            predictions.push((column.name.clone(), prediction));
        }
        report.clips.push(ClipFacts::of(&clip));
        report.questions += clip.questions.len();
        listener(&clip, &predictions)?;
    }
    if report.clips.is_empty() {
        return Err(EvaluateError::Empty);
    }
    Ok(report)
}

/// The first `count` held-out clips of the benchmark `rooms`.
pub fn held_out(
    count: u64,
    options: &ClipOptions,
) -> impl Iterator<Item = Result<BenchmarkClip, EvaluateError>> {
    (0..count).map(|index| Ok(BenchmarkClip::held_out(index, options)))
}

/// Middle value, the mean of both for an even count; `None` when empty.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    let middle = sorted.len() / 2;
    if sorted.is_empty() {
        return None;
    }
    let even = sorted.len().is_multiple_of(2);
    let (below, upper, _) = sorted.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    let lower = below.iter().copied().max_by(f64::total_cmp);
    Some(match lower {
        Some(lower) if even => 0.5 * (lower + upper),
        _ => upper,
    })
}
