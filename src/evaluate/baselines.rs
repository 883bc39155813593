//! What can be had without looking: every score is shown beside these.

use std::collections::BTreeMap;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::predictor::{AnswerGuess, PoseGuess, Prediction, Predictor};
use super::{BenchmarkClip, EvaluateError};
use crate::geometry::{BevPoint, Orientation};
use crate::qa::{AnswerKey, Question, QuestionKind, Situation, choice_letter};
use crate::synth::SynthQuestion;

/// Always the middle of the rooms, looking the way the first camera looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoomCenter;

impl Predictor for RoomCenter {
    fn name(&self) -> &'static str {
        "room centre"
    }

    fn predict(&mut self, clip: &BenchmarkClip) -> Result<Prediction, EvaluateError> {
        let situation = Situation { position: clip.room_center, orientation: Orientation::FORWARD };
        Ok(poses_only(clip, |_| situation))
    }
}

/// Headings that are drawn for a question: with one, luck moves Acc@15° by two points on 200
/// questions.
const HEADING_DRAWS: u32 = 16;

/// Where the first camera was, with headings drawn anew for every question.
#[derive(Debug, Clone)]
pub struct RandomHeading(ChaCha8Rng);

impl RandomHeading {
    /// With a seed.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }
}

impl Predictor for RandomHeading {
    fn name(&self) -> &'static str {
        "random heading"
    }

    fn draws(&self) -> u32 {
        HEADING_DRAWS
    }

    fn predict(&mut self, clip: &BenchmarkClip) -> Result<Prediction, EvaluateError> {
        let rng = &mut self.0;
        Ok(poses_only(clip, |_| Situation {
            position: BevPoint::default(),
            orientation: Orientation::from_degrees(rng.random_range(-180.0..180.0)),
        }))
    }
}

fn poses_only(clip: &BenchmarkClip, mut situation: impl FnMut(&SynthQuestion) -> Situation) -> Prediction {
    let answer = |question: &SynthQuestion| AnswerGuess {
        pose: Some(PoseGuess { situation: situation(question), sigma: None }),
        text: None,
    };
    Prediction { answers: clip.questions.iter().map(answer).collect(), ..Prediction::default() }
}

/// The truth: what a perfect model scores.
#[derive(Debug, Clone, Copy, Default)]
pub struct Oracle;

impl Predictor for Oracle {
    fn name(&self) -> &'static str {
        "oracle"
    }

    fn predict(&mut self, clip: &BenchmarkClip) -> Result<Prediction, EvaluateError> {
        let answer = |question: &SynthQuestion| AnswerGuess {
            pose: question.labeled.situation.map(|situation| PoseGuess { situation, sigma: None }),
            text: Some(question.labeled.key.words(&question.labeled.question)),
        };
        Ok(Prediction { answers: clip.questions.iter().map(answer).collect(), ..Prediction::default() })
    }
}

/// How much of a question a [`WordPrior`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Only the type: the most frequent answer of each.
    Type,
    /// The type, the first words and every word by itself (for choices: the options).
    Words,
}

impl Reading {
    /// Name in tables of the baseline that reads so much.
    pub fn name(self) -> &'static str {
        match self {
            Self::Type => "most frequent answer",
            Self::Words => "question words only",
        }
    }
}

/// The most frequent answer given the words of a question, learned from training
/// seeds: what a model that never looks can reach.
#[derive(Debug, Clone)]
pub struct WordPrior {
    reading: Reading,
    /// Per clue the answers with their counts.
    answers: BTreeMap<Clue, BTreeMap<String, u32>>,
    /// Per clue the numbers seen, sorted.
    numbers: BTreeMap<Clue, Vec<f64>>,
}

type Clue = (QuestionKind, String);

impl WordPrior {
    /// Counts answers over `questions`.
    pub fn learn<'q>(reading: Reading, questions: impl IntoIterator<Item = &'q SynthQuestion>) -> Self {
        let mut prior = Self { reading, answers: BTreeMap::new(), numbers: BTreeMap::new() };
        for question in questions {
            let asked = &question.labeled.question;
            for clue in clues(reading, asked) {
                match &question.labeled.key {
                    AnswerKey::Number(number) => prior.numbers.entry(clue).or_default().push(*number),
                    AnswerKey::Choice(index) => {
                        let Some(choice) = asked.choices.get(*index) else { continue };
                        *prior.answers.entry(clue).or_default().entry(choice.clone()).or_default() += 1;
                    }
                    AnswerKey::Text(_) => {
                        let text = question.labeled.key.words(asked);
                        *prior.answers.entry(clue).or_default().entry(text).or_default() += 1;
                    }
                }
            }
        }
        for numbers in prior.numbers.values_mut() {
            numbers.sort_by(f64::total_cmp);
        }
        prior
    }

    /// The answer of the most telling clue: the longest one with enough examples.
    fn answer(&self, question: &Question) -> String {
        const ENOUGH: u32 = 3;
        for clue in clues(self.reading, question) {
            if let Some(numbers) = self.numbers.get(&clue)
                && numbers.len() >= ENOUGH as usize
            {
                return best_constant(numbers).to_string();
            }
            let Some(counts) = self.answers.get(&clue) else { continue };
            if counts.values().sum::<u32>() < ENOUGH {
                continue;
            }
            let offered = |text: &String| question.choices.is_empty() || question.choices.contains(text);
            let best = counts.iter().filter(|(text, _)| offered(text)).max_by_key(|(_, count)| **count);
            if let Some((text, _)) = best {
                return match question.choices.iter().position(|choice| choice == text) {
                    Some(index) => choice_letter(index).to_string(),
                    None => text.clone(),
                };
            }
        }
        if question.choices.is_empty() { String::new() } else { choice_letter(0).to_string() }
    }
}

impl Predictor for WordPrior {
    fn name(&self) -> &'static str {
        self.reading.name()
    }

    fn predict(&mut self, clip: &BenchmarkClip) -> Result<Prediction, EvaluateError> {
        let answer = |question: &SynthQuestion| AnswerGuess {
            pose: None,
            text: Some(self.answer(&question.labeled.question)),
        };
        Ok(Prediction { answers: clip.questions.iter().map(answer).collect(), ..Prediction::default() })
    }
}

/// Clues of a question, the most telling first: all its words, its first four,
/// three and two words, its type.
fn clues(reading: Reading, question: &Question) -> Vec<Clue> {
    let kind = question.kind;
    let mut clues = Vec::new();
    if reading == Reading::Words {
        let text = question.text.to_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        clues.push((kind, text.clone()));
        for count in [5, 4, 3, 2] {
            if words.len() > count {
                clues.push((kind, words[..count].join(" ")));
            }
        }
    }
    clues.push((kind, String::new()));
    clues
}

/// The constant with the best mean relative accuracy over `numbers` (sorted, not empty).
fn best_constant(numbers: &[f64]) -> f64 {
    let score = |guess: f64| -> f64 {
        numbers.iter().map(|truth| super::answers::mean_relative_accuracy(Some(guess), *truth)).sum()
    };
    let step = (numbers.len() / 50).max(1);
    numbers.iter().copied().step_by(step).max_by(|a, b| score(*a).total_cmp(&score(*b))).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qa::LabeledQuestion;

    fn question(text: &str, key: AnswerKey, choices: &[&str]) -> SynthQuestion {
        let question = Question {
            kind: QuestionKind::of_sqa3d(text),
            text: text.to_owned(),
            situation_text: None,
            choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
        };
        LabeledQuestion { question, key, situation: None }.into()
    }

    fn text_key(text: &str) -> AnswerKey {
        AnswerKey::Text(vec![text.to_owned()])
    }

    #[test]
    fn words_tell_more_than_the_type() {
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(question("What color is the plant behind me?", text_key("green"), &[]));
            seen.push(question("What is on my left here?", text_key("sofa"), &[]));
            seen.push(question("What is on my left there?", text_key("sofa"), &[]));
        }
        let words = WordPrior::learn(Reading::Words, &seen);
        let frequent = WordPrior::learn(Reading::Type, &seen);
        let asked = question("What color is the plant on my left?", text_key("green"), &[]).labeled.question;
        assert_eq!(words.answer(&asked), "green");
        assert_eq!(frequent.answer(&asked), "sofa");
    }

    #[test]
    fn choices_are_answered_by_letter() {
        let seen = vec![question("Which side, left or right?", AnswerKey::Choice(1), &["left", "right"]); 5];
        let prior = WordPrior::learn(Reading::Words, &seen);
        let swapped = question("Which side, left or right?", AnswerKey::Choice(0), &["right", "left"]);
        assert_eq!(prior.answer(&swapped.labeled.question), "A");
    }

    #[test]
    fn numbers_are_answered_by_the_best_constant() {
        let guess = best_constant(&[1.0, 2.0, 2.0, 2.1, 9.0]);
        assert!((2.0..=2.1).contains(&guess), "{guess}");
    }

    #[test]
    fn unknown_questions_get_no_words() {
        let prior = WordPrior::learn(Reading::Words, &[]);
        assert_eq!(prior.answer(&question("Why?", text_key("x"), &[]).labeled.question), "");
    }
}
