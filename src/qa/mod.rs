//! Situated questions and their answers.

mod relation;
mod situation;

use serde::{Deserialize, Serialize};

pub use relation::{Bearing, Side, describe};
pub use situation::{PSEUDO_SITUATION, Situation, SituationEstimate};

/// What a question asks for. Names follow SQA3D (the first six) and VSI-Bench
/// (arXiv 2412.14171, the rest).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the data sets' own")]
pub enum QuestionKind {
    What,
    Is,
    How,
    Can,
    Which,
    Other,
    ObjectCounting,
    ObjectAbsDistance,
    ObjectSizeEstimation,
    RoomSizeEstimation,
    ObjectRelDistance,
    ObjectRelDirectionEasy,
    ObjectRelDirectionMedium,
    ObjectRelDirectionHard,
    ObjAppearanceOrder,
    RoutePlanning,
}

impl QuestionKind {
    /// SQA3D's families, by the first word of the question.
    pub fn of_sqa3d(question: &str) -> Self {
        let lower = question.trim().to_lowercase();
        [
            ("what", Self::What),
            ("is", Self::Is),
            ("how", Self::How),
            ("can", Self::Can),
            ("which", Self::Which),
        ]
        .into_iter()
        .find(|(prefix, _)| lower.starts_with(prefix))
        .map_or(Self::Other, |(_, kind)| kind)
    }
}

/// A question about a clip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// What it asks for.
    pub kind: QuestionKind,
    /// The words.
    pub text: String,
    /// Where the asker stands, in words; `None` asks about the room as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub situation_text: Option<String>,
    /// Options of a multiple-choice question, without letters; empty otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
}

/// What counts as a right answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerKey {
    /// Any of these texts (exact match after normalisation).
    Text(Vec<String>),
    /// Index into [`Question::choices`].
    Choice(usize),
    /// A number, scored by mean relative accuracy.
    Number(f64),
}

/// A question with its truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabeledQuestion {
    /// What is asked.
    #[serde(flatten)]
    pub question: Question,
    /// The right answer.
    pub key: AnswerKey,
    /// Where the described person stands, bev space of the clip; `None` when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub situation: Option<Situation>,
}
