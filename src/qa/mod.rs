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

impl AnswerKey {
    /// The words that answer `question`, as a model is taught and scored: the first
    /// accepted text, the letter of the right choice, the number in digits.
    pub fn words(&self, question: &Question) -> String {
        match self {
            Self::Text(texts) => texts.first().cloned().unwrap_or_default(),
            Self::Choice(index) if *index < question.choices.len() => choice_letter(*index).to_string(),
            Self::Choice(_) => String::new(),
            Self::Number(number) => number.to_string(),
        }
    }
}

/// Letter of an option: A, B, ...
pub fn choice_letter(index: usize) -> char {
    char::from(b'A' + (index % 26) as u8)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_written_as_people_write_them() {
        let question = Question {
            kind: QuestionKind::ObjectRelDistance,
            text: "Which is closest?".to_owned(),
            situation_text: None,
            choices: vec!["bed".to_owned(), "lamp".to_owned()],
        };
        assert_eq!(AnswerKey::Choice(1).words(&question), "B");
        assert_eq!(AnswerKey::Choice(2).words(&question), "");
        assert_eq!(AnswerKey::Number(3.0).words(&question), "3");
        assert_eq!(AnswerKey::Number(2.3).words(&question), "2.3");
        assert_eq!(AnswerKey::Text(vec!["yes".to_owned(), "yeah".to_owned()]).words(&question), "yes");
    }
}
