//! What was said to every question, beside the truth: one JSON object each, for those who
//! look for why a model fails.

use std::collections::BTreeMap;

use serde::Serialize;

use super::score::answer_score;
use super::{AnswerGuess, BenchmarkClip, LocalizationError, PoseGuess, Prediction, Tier};
use crate::geometry::BevSigma;
use crate::qa::{LabeledQuestion, Situation};

/// A question, its truth, and what predictors say to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PredictionRecord<'a> {
    /// Name of the clip.
    pub clip: String,
    /// How hard the clip is.
    pub tier: Tier,
    /// Question, right answers and true situation (bev space of the clip).
    #[serde(flatten)]
    pub question: &'a LabeledQuestion,
    /// What is said to it, by name of the predictor.
    pub predictions: BTreeMap<&'a str, PredictedAnswer<'a>>,
}

/// What one predictor says; nothing where it claims nothing.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PredictedAnswer<'a> {
    /// The answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<&'a str>,
    /// 0 to 100: exact match, right choice, or mean relative accuracy of a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Where the asker is thought to be, bev space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub situation: Option<Situation>,
    /// Standard deviation of the position, metres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma: Option<BevSigma>,
    /// How far off that is.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub error: Option<LocalizationError>,
    /// What to think of it; left out when there is nothing to say.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub notice: &'a str,
}

/// One record per question of `clip`; `predictions` with the names of their predictors.
pub fn prediction_records<'a>(
    clip: &'a BenchmarkClip,
    predictions: &'a [(String, Prediction)],
) -> impl Iterator<Item = PredictionRecord<'a>> {
    clip.questions.iter().enumerate().map(|(k, question)| {
        let question = &question.labeled;
        let said = predictions.iter().filter_map(|(name, prediction)| {
            let said = predicted(prediction.answers.get(k)?, question);
            let claims = said != PredictedAnswer::default();
            claims.then(|| (name.as_str(), PredictedAnswer { notice: &prediction.notice, ..said }))
        });
        PredictionRecord {
            clip: clip.info.path.display().to_string(),
            tier: clip.tier,
            question,
            predictions: said.collect(),
        }
    })
}

fn predicted<'a>(guess: &'a AnswerGuess, question: &LabeledQuestion) -> PredictedAnswer<'a> {
    let answer = guess.text.as_deref();
    // Whoever is told of no situation stands nowhere in particular.
    let pose: Option<PoseGuess> = guess.pose.filter(|_| question.question.situation_text.is_some());
    let situation = pose.map(|pose| pose.situation);
    let error = situation.zip(question.situation).map(|(said, truth)| LocalizationError::of(&said, &truth));
    PredictedAnswer {
        answer,
        score: answer.map(|text| answer_score(text, &question.key).1),
        situation,
        sigma: pose.and_then(|pose| pose.sigma),
        error,
        notice: "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::ClipOptions;
    use crate::evaluate::baselines::{Oracle, RoomCenter};
    use crate::synth::QuestionOptions;

    #[test]
    fn every_question_stands_beside_what_was_said() {
        let options = ClipOptions::small(QuestionOptions {
            situations: 3,
            room_questions: 3,
            ..QuestionOptions::default()
        });
        let clip = BenchmarkClip::held_out(0, &options);
        let said = |predictor: &mut dyn crate::evaluate::Predictor| {
            (predictor.name().to_owned(), predictor.predict(&clip).unwrap())
        };
        let [(oracle, told), center] = [said(&mut Oracle), said(&mut RoomCenter)];
        let said = [(oracle, Prediction { notice: "knows it all".to_owned(), ..told }), center];
        let records: Vec<serde_json::Value> =
            prediction_records(&clip, &said).map(|record| serde_json::to_value(record).unwrap()).collect();
        assert_eq!(records.len(), clip.questions.len());
        let mut away = 0.0;
        for (record, question) in records.iter().zip(&clip.questions) {
            assert_eq!(record["text"], question.labeled.question.text.as_str());
            let oracle = &record["predictions"]["oracle"];
            assert_eq!(oracle["score"], 100.0, "{record}");
            assert_eq!(oracle["notice"], "knows it all", "{record}");
            let center = &record["predictions"]["room centre"];
            assert!(center.get("answer").is_none(), "it answers nothing: {record}");
            assert!(center.get("notice").is_none(), "nothing is said of it: {record}");
            if question.labeled.situation.is_some() {
                assert_eq!(oracle["distance_m"], 0.0, "{record}");
                away += center["distance_m"].as_f64().unwrap();
            } else {
                assert!(center.is_null(), "a question about the room has no situation: {record}");
            }
        }
        assert!(away > 0.0, "nobody stands anywhere but in the middle");
    }
}
