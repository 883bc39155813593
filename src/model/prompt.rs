//! The words around video, situation and question: ChatML as LLaVA-Video writes it,
//! with the situation, `<Pos><Ori>` and the question in the order of Loc3R-VLM.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::tokenizer::{IM_END, IM_START, ORIENTATION_TOKEN, POSITION_TOKEN};
use crate::qa::{PSEUDO_SITUATION, choice_letter};

/// Stands for the video in prompts shown to people.
pub const VIDEO_PLACEHOLDER: &str = "<image>";

/// The words around video, situation and question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptConfig {
    /// System message.
    pub system: String,
    /// Whether duration and frame times are told (`add_time_instruction`).
    pub add_time_instruction: bool,
    /// Stands for a missing situation.
    pub pseudo_situation: String,
    /// Whether `<Pos><Ori>` stand behind the situation; a base model knows no such tokens.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub situation_tokens: bool,
    /// Blanks between the situation and `<Pos><Ori>` (open: one space).
    #[serde(default = "space")]
    pub before_tokens: String,
    /// Blanks between `<Pos><Ori>` and the question (open: one space).
    #[serde(default = "space")]
    pub after_tokens: String,
    /// Appended to an open question; empty for none.
    pub open_hint: String,
    /// Appended to a multiple-choice question; empty for none.
    pub choice_hint: String,
}

impl PromptConfig {
    /// The prompt of the published models.
    pub fn published() -> Self {
        Self {
            system: "You are a helpful assistant.".to_owned(),
            add_time_instruction: true,
            pseudo_situation: PSEUDO_SITUATION.to_owned(),
            situation_tokens: true,
            before_tokens: space(),
            after_tokens: space(),
            open_hint: "Answer the question using a single word or phrase.".to_owned(),
            choice_hint: "Answer with the option's letter from the given choices directly.".to_owned(),
        }
    }

    /// The same without the sentences that a model trained from scratch does not need.
    pub fn short() -> Self {
        Self {
            add_time_instruction: false,
            open_hint: String::new(),
            choice_hint: String::new(),
            ..Self::published()
        }
    }
}

fn space() -> String {
    " ".to_owned()
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_yes(flag: &bool) -> bool {
    *flag
}

/// When the frames were taken.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameTimes {
    /// Length of the video, seconds.
    pub duration_secs: f64,
    /// Time of each sampled frame, seconds.
    pub frame_secs: Vec<f64>,
}

/// What is asked, as words. Special tokens must have been taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptQuestion<'a> {
    /// Where the person is; the configured pseudo-situation when absent or blank.
    pub situation: Option<&'a str>,
    /// The question.
    pub question: &'a str,
    /// Options of a multiple-choice question, without letters.
    pub choices: &'a [String],
}

/// A prompt cut at the video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptText {
    /// Before the video.
    pub head: String,
    /// After the video, up to where the answer starts.
    pub tail: String,
}

impl PromptText {
    /// Writes the prompt.
    pub fn new(config: &PromptConfig, times: &FrameTimes, question: PromptQuestion<'_>) -> Self {
        let head = format!("{IM_START}system\n{}{IM_END}\n{IM_START}user\n", config.system);
        let mut tail = String::from("\n");
        if config.add_time_instruction {
            tail.push_str(&time_sentence(times));
            tail.push('\n');
        }
        tail.push_str(&user_text(config, question));
        let _infallible = write!(tail, "{IM_END}\n{IM_START}assistant\n");
        Self { head, tail }
    }

    /// What follows the prompt when `answer` is right: for training.
    pub fn completion(answer: &str) -> String {
        format!("{answer}{IM_END}\n")
    }

    /// The whole prompt for people.
    pub fn display(&self) -> String {
        format!("{}{VIDEO_PLACEHOLDER}{}", self.head, self.tail)
    }
}

/// LLaVA-Video's `add_time_instruction`.
fn time_sentence(times: &FrameTimes) -> String {
    let frames: Vec<String> = times.frame_secs.iter().map(|secs| format!("{secs:.2}s")).collect();
    format!(
        "The video lasts for {:.2} seconds, and {} frames are uniformly sampled from it. These frames are located at {}.Please answer the following questions related to this video.",
        times.duration_secs,
        frames.len(),
        frames.join(",")
    )
}

fn user_text(config: &PromptConfig, question: PromptQuestion<'_>) -> String {
    let situation = question
        .situation
        .map(str::trim)
        .filter(|situation| !situation.is_empty())
        .unwrap_or(&config.pseudo_situation);
    let mut text = situation.to_owned();
    if config.situation_tokens {
        let PromptConfig { before_tokens, after_tokens, .. } = config;
        let _infallible = write!(text, "{before_tokens}{POSITION_TOKEN}{ORIENTATION_TOKEN}{after_tokens}");
    } else if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(question.question.trim());
    if question.choices.is_empty() {
        if !config.open_hint.is_empty() {
            text.push(' ');
            text.push_str(&config.open_hint);
        }
        return text;
    }
    text.push_str("\nOptions:");
    for (index, choice) in question.choices.iter().enumerate() {
        let _infallible = write!(text, "\n{}. {}", choice_letter(index), choice.trim());
    }
    if !config.choice_hint.is_empty() {
        text.push('\n');
        text.push_str(&config.choice_hint);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times() -> FrameTimes {
        FrameTimes { duration_secs: 12.345, frame_secs: vec![0.0, 6.1, 12.3] }
    }

    #[test]
    fn published_prompt_to_the_letter() {
        let question = PromptQuestion {
            situation: Some("I am sitting on the sofa."),
            question: "What is on my left?",
            choices: &[],
        };
        let prompt = PromptText::new(&PromptConfig::published(), &times(), question);
        assert_eq!(
            prompt.display(),
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<image>\n\
             The video lasts for 12.35 seconds, and 3 frames are uniformly sampled from it. These frames are \
             located at 0.00s,6.10s,12.30s.Please answer the following questions related to this video.\n\
             I am sitting on the sofa. <Pos><Ori> What is on my left? Answer the question using a single word or \
             phrase.<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn the_blanks_around_the_situation_tokens_are_a_choice() {
        let config = PromptConfig {
            before_tokens: String::new(),
            after_tokens: "\n".to_owned(),
            ..PromptConfig::short()
        };
        let question = PromptQuestion { situation: Some("Here."), question: "What is it?", choices: &[] };
        let prompt = PromptText::new(&config, &times(), question);
        assert!(prompt.tail.contains("\nHere.<Pos><Ori>\nWhat is it?"), "{}", prompt.tail);
    }

    #[test]
    fn a_base_model_reads_no_tokens_that_it_does_not_know() {
        let config = PromptConfig {
            situation_tokens: false,
            pseudo_situation: String::new(),
            ..PromptConfig::short()
        };
        let tail = |situation| {
            let question = PromptQuestion { situation, question: "What is it?", choices: &[] };
            PromptText::new(&config, &times(), question).tail
        };
        assert!(tail(Some("I stand here. ")).starts_with("\nI stand here. What is it?<|im_end|>"));
        assert!(tail(None).starts_with("\nWhat is it?<|im_end|>"));
    }

    #[test]
    fn no_situation_and_choices() {
        let choices = ["left".to_owned(), "right".to_owned()];
        let question = PromptQuestion { situation: Some(" "), question: "Where is it?", choices: &choices };
        let prompt = PromptText::new(&PromptConfig::short(), &times(), question);
        assert_eq!(
            prompt.tail,
            "\nI am standing in the room <Pos><Ori> Where is it?\nOptions:\nA. left\nB. right<|im_end|>\n<|im_start|>assistant\n"
        );
        assert_eq!(PromptText::completion("sofa"), "sofa<|im_end|>\n");
    }
}
