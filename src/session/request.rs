//! What the fronts ask of the model thread.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::SessionError;
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

/// The device somebody asked for. There is no fallback: a device that is not
/// there is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputeDevice {
    /// CUDA or Metal if this build has it and a device answers, else the CPU; says which.
    Auto,
    /// The processor.
    Cpu,
    /// CUDA device by number.
    Cuda(usize),
    /// Metal device by number.
    Metal(usize),
}

/// One request to the model thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionRequest {
    /// Loads a checkpoint folder; replaces the model in use.
    LoadModel {
        /// Folder with config.json, weights and tokenizer.
        folder: PathBuf,
        /// Where it runs.
        device: ComputeDevice,
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

impl std::fmt::Display for ComputeDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => write!(f, "auto"),
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal(number) => write!(f, "metal:{number}"),
        }
    }
}

impl FromStr for ComputeDevice {
    type Err = String;

    /// `auto`, `cpu`, `cuda`, `cuda:N`, `metal` or `metal:N`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = text.split_once(':').unwrap_or((text, "0"));
        match (name, number.parse(), text.contains(':')) {
            ("auto", _, false) => Ok(Self::Auto),
            ("cpu", _, false) => Ok(Self::Cpu),
            ("cuda", Ok(number), _) => Ok(Self::Cuda(number)),
            ("metal", Ok(number), _) => Ok(Self::Metal(number)),
            _ => Err(format!("`{text}` is no device; accepted are auto, cpu, cuda, cuda:N, metal, metal:N")),
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
    fn devices_are_read_as_they_are_written() {
        for text in ["auto", "cpu", "cuda:0", "cuda:3", "metal:1"] {
            assert_eq!(text.parse::<ComputeDevice>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(ComputeDevice::Cuda(0)));
        for text in ["", "gpu", "cpu:1", "cuda:", "cuda:-1", "cuda:x"] {
            assert!(text.parse::<ComputeDevice>().is_err(), "{text}");
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
