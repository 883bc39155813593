//! From predictions to values: one value per metric and answer, token or frame,
//! with what is needed to break them down.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::answers::{
    choice_match, clean_answer, exact_match, mean_relative_accuracy, parse_number, refined_match,
};
use super::bootstrap::Statistic;
use super::geometry::{PointError, camera_errors, layout_errors};
use super::predictor::{AnswerGuess, Prediction};
use super::{BenchmarkClip, LocalizationError, Tier};
use crate::qa::{AnswerKey, LabeledQuestion, QuestionKind, choice_letter};
use crate::synth::SynthQuestion;

/// What is measured. Shares are in percent, higher is better; medians are errors; of strangeness
/// less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Positions closer than 0.5 m.
    #[serde(rename = "acc_0_5m")]
    Acc05m,
    /// Positions closer than 1.0 m.
    #[serde(rename = "acc_1m")]
    Acc1m,
    /// Headings less than 15° off.
    #[serde(rename = "acc_15deg")]
    Acc15deg,
    /// Headings less than 30° off.
    #[serde(rename = "acc_30deg")]
    Acc30deg,
    /// Median distance, metres.
    PositionMedianM,
    /// Median angle, degrees.
    OrientationMedianDeg,
    /// Exact match of text answers.
    ExactMatch,
    /// Refined match (one contains the other) of text answers.
    ExactMatchRefined,
    /// Right letters of multiple-choice answers.
    ChoiceAccuracy,
    /// Mean relative accuracy of numeric answers.
    MeanRelativeAccuracy,
    /// Median bird's-eye error of vision tokens, metres.
    LayoutMedianM,
    /// Median camera position error over the path length.
    CameraPositionPct,
    /// Median camera rotation error, degrees.
    CameraRotationDeg,
    /// Median error of the turn between neighbouring frames, degrees.
    CameraStepYawDeg,
    /// Position errors within one standard deviation (2D Gaussian: 39).
    #[serde(rename = "within_1_sigma")]
    Within1Sigma,
    /// Position errors within two standard deviations (2D Gaussian: 86).
    #[serde(rename = "within_2_sigma")]
    Within2Sigma,
    /// Token errors within one standard deviation.
    #[serde(rename = "layout_within_1_sigma")]
    LayoutWithin1Sigma,
    /// Token errors within two standard deviations.
    #[serde(rename = "layout_within_2_sigma")]
    LayoutWithin2Sigma,
    /// Largest strangeness of a clip; above 1 it is remarked on.
    StrangenessMax,
    /// Clips that are remarked on as unlike the training rooms.
    StrangeClipsPct,
}

impl Metric {
    /// All metrics in the order of tables.
    pub const ALL: [Self; 20] = [
        Self::Acc05m,
        Self::Acc1m,
        Self::Acc15deg,
        Self::Acc30deg,
        Self::PositionMedianM,
        Self::OrientationMedianDeg,
        Self::ExactMatch,
        Self::ExactMatchRefined,
        Self::ChoiceAccuracy,
        Self::MeanRelativeAccuracy,
        Self::LayoutMedianM,
        Self::CameraPositionPct,
        Self::CameraRotationDeg,
        Self::CameraStepYawDeg,
        Self::Within1Sigma,
        Self::Within2Sigma,
        Self::LayoutWithin1Sigma,
        Self::LayoutWithin2Sigma,
        Self::StrangenessMax,
        Self::StrangeClipsPct,
    ];

    /// Name in JSON, and in `--require`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Acc05m => "acc_0_5m",
            Self::Acc1m => "acc_1m",
            Self::Acc15deg => "acc_15deg",
            Self::Acc30deg => "acc_30deg",
            Self::PositionMedianM => "position_median_m",
            Self::OrientationMedianDeg => "orientation_median_deg",
            Self::ExactMatch => "exact_match",
            Self::ExactMatchRefined => "exact_match_refined",
            Self::ChoiceAccuracy => "choice_accuracy",
            Self::MeanRelativeAccuracy => "mean_relative_accuracy",
            Self::LayoutMedianM => "layout_median_m",
            Self::CameraPositionPct => "camera_position_pct",
            Self::CameraRotationDeg => "camera_rotation_deg",
            Self::CameraStepYawDeg => "camera_step_yaw_deg",
            Self::Within1Sigma => "within_1_sigma",
            Self::Within2Sigma => "within_2_sigma",
            Self::LayoutWithin1Sigma => "layout_within_1_sigma",
            Self::LayoutWithin2Sigma => "layout_within_2_sigma",
            Self::StrangenessMax => "strangeness_max",
            Self::StrangeClipsPct => "strange_clips_pct",
        }
    }

    /// Name and unit in tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::Acc05m => "Acc@0.5 m (%)",
            Self::Acc1m => "Acc@1.0 m (%)",
            Self::Acc15deg => "Acc@15° (%)",
            Self::Acc30deg => "Acc@30° (%)",
            Self::PositionMedianM => "median position error (m)",
            Self::OrientationMedianDeg => "median heading error (°)",
            Self::ExactMatch => "exact match (%)",
            Self::ExactMatchRefined => "refined match (%)",
            Self::ChoiceAccuracy => "multiple choice (%)",
            Self::MeanRelativeAccuracy => "mean relative accuracy (%)",
            Self::LayoutMedianM => "median layout error (m)",
            Self::CameraPositionPct => "camera position error (% of path)",
            Self::CameraRotationDeg => "camera rotation error (°)",
            Self::CameraStepYawDeg => "camera step yaw error (°)",
            Self::Within1Sigma => "position within 1 σ (%, ideal 39)",
            Self::Within2Sigma => "position within 2 σ (%, ideal 86)",
            Self::LayoutWithin1Sigma => "layout within 1 σ (%, ideal 39)",
            Self::LayoutWithin2Sigma => "layout within 2 σ (%, ideal 86)",
            Self::StrangenessMax => "largest strangeness (warns above 1)",
            Self::StrangeClipsPct => "clips that warn as strange (%)",
        }
    }

    /// Whether it tells how well described positions and headings are found.
    pub fn is_localization(self) -> bool {
        matches!(
            self,
            Self::Acc05m
                | Self::Acc1m
                | Self::Acc15deg
                | Self::Acc30deg
                | Self::PositionMedianM
                | Self::OrientationMedianDeg
                | Self::Within1Sigma
                | Self::Within2Sigma
        )
    }

    /// Whether it tells how well vision tokens are laid out.
    pub fn is_layout(self) -> bool {
        matches!(self, Self::LayoutMedianM | Self::LayoutWithin1Sigma | Self::LayoutWithin2Sigma)
    }

    /// Whether it tells how much clips look like the training rooms.
    pub fn is_strangeness(self) -> bool {
        matches!(self, Self::StrangenessMax | Self::StrangeClipsPct)
    }

    /// How values are summed up.
    pub fn statistic(self) -> Statistic {
        match self {
            Self::PositionMedianM
            | Self::OrientationMedianDeg
            | Self::LayoutMedianM
            | Self::CameraPositionPct
            | Self::CameraRotationDeg
            | Self::CameraStepYawDeg => Statistic::Median,
            Self::StrangenessMax => Statistic::Max,
            _ => Statistic::Mean,
        }
    }
}

/// One measured value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Value {
    /// Of what.
    pub metric: Metric,
    /// Number of the clip in the run.
    pub clip: u32,
    /// The value; hits are 0 or 100.
    pub value: f64,
    /// Type of the question, for answers.
    pub kind: Option<QuestionKind>,
    /// Distance from the described position to the camera path, metres; for poses, and for answers
    /// from a situation.
    pub path_distance: Option<f32>,
    /// Spread that came with a position, metres; for a token that along its error.
    pub sigma: Option<f32>,
}

/// What breakdowns need to know of a clip.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClipFacts {
    /// How hard it is.
    pub tier: Tier,
    /// Height of the first camera, metres.
    pub camera_height: f32,
    /// Width of all directions seen, degrees.
    pub coverage_deg: f32,
}

impl ClipFacts {
    /// Of a clip.
    pub fn of(clip: &BenchmarkClip) -> Self {
        Self { tier: clip.tier, camera_height: clip.camera_height, coverage_deg: clip.coverage_deg }
    }
}

const HIT: f64 = 100.0;

fn hit(yes: bool) -> f64 {
    if yes { HIT } else { 0.0 }
}

fn cleaned(references: &[String]) -> Vec<String> {
    references.iter().map(|reference| clean_answer(reference)).collect()
}

/// How good an answer is, 0 to 100, by the measure of its kind.
pub(super) fn answer_score(text: &str, key: &AnswerKey) -> (Metric, f64) {
    match key {
        AnswerKey::Text(references) => {
            (Metric::ExactMatch, hit(exact_match(&clean_answer(text), &cleaned(references))))
        }
        AnswerKey::Choice(index) => {
            (Metric::ChoiceAccuracy, hit(choice_match(text, &choice_letter(*index).to_string())))
        }
        AnswerKey::Number(number) => {
            (Metric::MeanRelativeAccuracy, HIT * mean_relative_accuracy(parse_number(text), *number))
        }
    }
}

/// All values of a prediction for clip number `number`.
pub fn values_of(number: u32, clip: &BenchmarkClip, prediction: &Prediction) -> Vec<Value> {
    let mut values = Values { clip: number, values: Vec::new() };
    values.geometry(clip, prediction);
    let mut located = BTreeSet::new();
    for (question, guess) in clip.questions.iter().zip(&prediction.answers) {
        values.answer(clip, question, guess);
        // Questions of one situation share its text: it is located once.
        if let Some(text) = &question.labeled.question.situation_text
            && located.insert(text.clone())
        {
            values.pose(clip, question, guess);
        }
    }
    values.values
}

struct Values {
    clip: u32,
    values: Vec<Value>,
}

impl Values {
    fn push(&mut self, metric: Metric, value: f64) -> &mut Value {
        let clip = self.clip;
        self.values.push(Value { metric, clip, value, kind: None, path_distance: None, sigma: None });
        let last = self.values.len() - 1;
        &mut self.values[last]
    }

    fn geometry(&mut self, clip: &BenchmarkClip, prediction: &Prediction) {
        if let Some(layout) = &prediction.layout {
            let grid = (usize::from(layout.grid.0), usize::from(layout.grid.1));
            for error in layout_errors(layout, &clip.layout_targets(grid)) {
                let sigma = (error.metres / error.sigmas.max(f64::MIN_POSITIVE)) as f32;
                self.push(Metric::LayoutMedianM, error.metres).sigma = sigma.is_finite().then_some(sigma);
                self.push(Metric::LayoutWithin1Sigma, hit(error.sigmas <= 1.0));
                self.push(Metric::LayoutWithin2Sigma, hit(error.sigmas <= 2.0));
            }
        }
        if let Some(strangeness) = prediction.strangeness {
            self.push(Metric::StrangenessMax, f64::from(strangeness));
            self.push(Metric::StrangeClipsPct, hit(strangeness > 1.0));
        }
        let cameras = camera_errors(&prediction.cameras, &clip.poses);
        for (metric, errors) in [
            (Metric::CameraPositionPct, cameras.position_pct),
            (Metric::CameraRotationDeg, cameras.rotation_deg),
            (Metric::CameraStepYawDeg, cameras.step_yaw_deg),
        ] {
            for error in errors {
                self.push(metric, error);
            }
        }
    }

    fn answer(&mut self, clip: &BenchmarkClip, question: &SynthQuestion, guess: &AnswerGuess) {
        let Some(text) = &guess.text else { return };
        let LabeledQuestion { question, key, situation } = &question.labeled;
        let distance = situation.map(|situation| clip.distance_to_path(situation.position));
        let mut add = |metric: Metric, value: f64| {
            let added = self.push(metric, value);
            added.kind = Some(question.kind);
            added.path_distance = distance;
        };
        let (metric, score) = answer_score(text, key);
        add(metric, score);
        if let AnswerKey::Text(references) = key {
            let refined = refined_match(&clean_answer(text), &cleaned(references));
            add(Metric::ExactMatchRefined, hit(refined));
        }
    }

    fn pose(&mut self, clip: &BenchmarkClip, question: &SynthQuestion, guess: &AnswerGuess) {
        let (Some(truth), Some(pose)) = (question.labeled.situation, guess.pose) else { return };
        let error = LocalizationError::of(&pose.situation, &truth);
        let distance = Some(clip.distance_to_path(truth.position));
        let sigma = pose.sigma.map(crate::geometry::BevSigma::rms);
        let mut add = |metric: Metric, value: f64| {
            let added = self.push(metric, value);
            added.path_distance = distance;
            added.sigma = sigma;
        };
        add(Metric::Acc05m, hit(error.distance_m < 0.5));
        add(Metric::Acc1m, hit(error.distance_m < 1.0));
        add(Metric::Acc15deg, hit(error.angle_deg < 15.0));
        add(Metric::Acc30deg, hit(error.angle_deg < 30.0));
        add(Metric::PositionMedianM, error.distance_m);
        add(Metric::OrientationMedianDeg, error.angle_deg);
        if let Some(spread) = pose.sigma {
            let point = PointError::of(pose.situation.position, spread, truth.position);
            add(Metric::Within1Sigma, hit(point.sigmas <= 1.0));
            add(Metric::Within2Sigma, hit(point.sigmas <= 2.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::baselines::Oracle;
    use crate::evaluate::{ClipOptions, Predictor as _};
    use crate::synth::QuestionOptions;

    #[test]
    fn keys_are_the_names_in_json() {
        for metric in Metric::ALL {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.key());
        }
    }

    #[test]
    fn answers_from_a_situation_know_how_far_it_is_from_the_path() {
        let options = ClipOptions::small(QuestionOptions {
            situations: 3,
            room_questions: 3,
            ..QuestionOptions::default()
        });
        let clip = BenchmarkClip::held_out(0, &options);
        let values = values_of(0, &clip, &Oracle.predict(&clip).unwrap());
        let answers: Vec<&Value> =
            values.iter().filter(|v| v.kind.is_some() && v.metric != Metric::ExactMatchRefined).collect();
        assert_eq!(answers.len(), clip.questions.len());
        for (value, question) in answers.iter().zip(&clip.questions) {
            let situation = question.labeled.situation;
            assert_eq!(value.path_distance, situation.map(|s| clip.distance_to_path(s.position)));
        }
        assert!(answers.iter().any(|value| value.path_distance.is_some()), "no situation");
        assert!(answers.iter().any(|value| value.path_distance.is_none()), "no question about the room");
    }

    #[test]
    fn clips_above_the_limit_are_strange() {
        let mut values = Values { clip: 0, values: Vec::new() };
        let options = ClipOptions::small(QuestionOptions {
            situations: 0,
            room_questions: 0,
            ..QuestionOptions::default()
        });
        let clip = BenchmarkClip::held_out(0, &options);
        for strangeness in [None, Some(0.75), Some(1.0), Some(1.25)] {
            values.geometry(&clip, &Prediction { strangeness, ..Prediction::default() });
        }
        let of = |metric| values.values.iter().filter(move |v| v.metric == metric).map(|v| v.value);
        assert_eq!(of(Metric::StrangenessMax).collect::<Vec<_>>(), [0.75, 1.0, 1.25]);
        assert_eq!(of(Metric::StrangeClipsPct).collect::<Vec<_>>(), [0.0, 0.0, 100.0]);
    }
}
