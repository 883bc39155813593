//! What the fronts ask of the model thread.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::SessionError;
use crate::model::device::ComputeDevice;
use crate::qa::{Question, Situation};

/// Grows with every request; events of an older request are void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

impl RequestId {
    /// The id after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The numbers that a model computes with; quantised matrices stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// f32; on a graphics card bf16 where f32 does not fit.
    #[default]
    Auto,
    /// 32 bits.
    F32,
    /// 16 bits, IEEE 754.
    F16,
    /// 16 bits with the range of f32.
    Bf16,
}

/// Where and how precisely a model computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Compute {
    /// Where.
    pub device: ComputeDevice,
    /// How precisely.
    pub precision: Precision,
}

impl From<ComputeDevice> for Compute {
    /// With the precision that the device suggests.
    fn from(device: ComputeDevice) -> Self {
        Self { device, precision: Precision::Auto }
    }
}

/// One request to the model thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionRequest {
    /// Loads a checkpoint folder; replaces the model in use.
    LoadModel {
        /// Folder with config.json, weights and tokenizer.
        folder: PathBuf,
        /// Where and how precisely it computes.
        compute: Compute,
    },
    /// Lets go of model and video, and of their memory.
    UnloadModel,
    /// Reads a video, runs vision tower and camera encoder, predicts the layout.
    OpenVideo {
        /// File or folder of images.
        path: PathBuf,
    },
    /// Reads the situation and answers the question about the open video.
    Ask {
        /// What is asked, with the situation in words.
        question: Question,
        /// Position and heading set by hand: they are given to the model in place
        /// of its own reading, and shown as placed by hand.
        placed: Option<Situation>,
    },
}

impl FromStr for Precision {
    type Err = String;

    /// `auto`, `f32`, `f16` or `bf16`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::Bf16),
            _ => Err(format!("`{text}` is no precision; accepted are auto, f32, f16, bf16")),
        }
    }
}

/// Longest accepted question or situation, in characters.
pub const MAX_TEXT_CHARS: usize = 2000;
/// Most accepted options of a multiple-choice question.
pub const MAX_CHOICES: usize = 26;

/// Refuses questions that no model can take: empty or far too long.
pub(super) fn check_question(question: &Question) -> Result<(), SessionError> {
    if question.text.trim().is_empty() {
        return Err(SessionError::EmptyQuestion);
    }
    if question.choices.len() > MAX_CHOICES {
        return Err(SessionError::TooManyChoices { found: question.choices.len(), limit: MAX_CHOICES });
    }
    let texts = [("question", &question.text)]
        .into_iter()
        .chain(question.situation_text.iter().map(|text| ("situation", text)))
        .chain(question.choices.iter().map(|text| ("option", text)));
    for (what, text) in texts {
        let found = text.chars().count();
        if found > MAX_TEXT_CHARS {
            return Err(SessionError::TooLong { what, found, limit: MAX_TEXT_CHARS });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qa::QuestionKind;

    fn question(text: &str) -> Question {
        Question {
            kind: QuestionKind::Other,
            text: text.to_owned(),
            situation_text: None,
            choices: Vec::new(),
        }
    }

    #[test]
    fn questions_in_any_language_pass() {
        for text in ["Where is the sofa?", "ソファはどこですか", "Où est la chaise ?", "🪑?"] {
            assert!(check_question(&question(text)).is_ok(), "{text}");
        }
    }

    #[test]
    fn empty_and_huge_questions_are_refused_with_the_limit() {
        assert!(matches!(check_question(&question(" \n\t")), Err(SessionError::EmptyQuestion)));
        let huge = check_question(&question(&"sofa ".repeat(1000))).unwrap_err().to_string();
        assert!(huge.contains("5000") && huge.contains("2000"), "{huge}");
    }

    #[test]
    fn situations_and_options_have_limits_too() {
        let mut long_situation = question("Where?");
        long_situation.situation_text = Some("x".repeat(2001));
        assert!(matches!(
            check_question(&long_situation),
            Err(SessionError::TooLong { what: "situation", .. })
        ));
        let mut many = question("Which?");
        many.choices = vec!["a".to_owned(); 27];
        assert!(matches!(check_question(&many), Err(SessionError::TooManyChoices { .. })));
    }
}
