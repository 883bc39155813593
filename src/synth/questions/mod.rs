//! Questions with exact answers from the scene graph: situated ones in the six
//! families of SQA3D, and the question types of VSI-Bench with its templates and
//! validity rules.
//!
//! A question is asked only when its answer is certain: objects in the walk,
//! clear margins to every border, no other object that fits the words. Answers
//! of yes/no, left/right and choice questions are drawn before the objects, so
//! that guessing does not pay.

mod direction;
mod outline;
mod room;
mod route;
mod scene;
mod situated;
mod visibility;

use rand::Rng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

pub(super) use scene::{Pose, area};
pub use scene::{QuestionScene, Sighting};
pub use visibility::generate_questions;

use super::phrasing::{Text, with_strange_words};
use super::{SynthQuestion, situations};
use crate::qa::{AnswerKey, LabeledQuestion, Question, QuestionKind};

/// How many questions to make and how varied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuestionOptions {
    /// Situations to draw.
    pub situations: usize,
    /// Situated questions for each.
    pub questions_per_situation: usize,
    /// Wordings of each situation, the first included.
    pub wordings: usize,
    /// Questions about the room as a whole (VSI-Bench types).
    pub room_questions: usize,
    /// Share of situation texts with a mistyped word, 0 to 1.
    pub typo_rate: f64,
    /// Share of situation texts, and of draws of a situated question, in the manner of people
    /// who annotate, 0 to 1.
    pub everyday: f64,
    /// Share of situations that, with their questions, prefer objects that the walk shows once
    /// and briefly or not any more in its second half, 0 to 1.
    pub fleeting: f64,
    /// Share of situation texts and of situated questions with made-up words in between, 0 to 1.
    pub strange: f64,
}

impl QuestionOptions {
    /// [`Self::everyday`] of what models learn from.
    pub const EVERYDAY: f64 = 0.4;
}

impl Default for QuestionOptions {
    fn default() -> Self {
        Self {
            situations: 8,
            questions_per_situation: 2,
            wordings: 3,
            room_questions: 8,
            typo_rate: 0.03,
            everyday: 0.0,
            fleeting: 0.0,
            strange: 0.0,
        }
    }
}

/// Draws per wanted item before giving up.
const PATIENCE: usize = 12;

/// Questions about a walk through a scene. Fewer than asked for come back when the
/// scene has not enough unambiguous situations or questions.
pub fn questions_about(
    scene: &QuestionScene<'_>,
    rng: &mut ChaCha8Rng,
    options: &QuestionOptions,
) -> Vec<SynthQuestion> {
    let mut questions: Vec<SynthQuestion> = Vec::new();
    let mut situations = 0;
    let hard = (options.fleeting > 0.0).then(|| QuestionScene { prefers_fleeting: true, ..scene.clone() });
    for _ in 0..options.situations * PATIENCE {
        if situations == options.situations {
            break;
        }
        let scene = match &hard {
            Some(hard) if rng.random_bool(options.fleeting) => hard,
            _ => scene,
        };
        let Some(situation) = situations::draw(scene, options, rng) else {
            continue;
        };
        let view = situated::View::new(scene, &situation);
        let asked = asked_from(&view, rng, options);
        situations += usize::from(!asked.is_empty());
        questions
            .extend(asked.into_iter().map(|(text, key)| situated_question(scene, &situation, text, key)));
    }
    questions.extend(room_questions(scene, options.room_questions, rng));
    questions
}

/// Different questions from one situation, as many as `options` want, at most.
fn asked_from(
    view: &situated::View<'_>,
    rng: &mut ChaCha8Rng,
    options: &QuestionOptions,
) -> Vec<situated::Asked> {
    let mut asked: Vec<situated::Asked> = Vec::new();
    for _ in 0..options.questions_per_situation * PATIENCE {
        if asked.len() == options.questions_per_situation {
            break;
        }
        match situated::ask(view, options.everyday, rng) {
            Some((text, key)) if asked.iter().all(|(other, _)| other.words != text.words) => {
                asked.push((strange(text, options, rng), key));
            }
            _ => {}
        }
    }
    asked
}

/// `text`, in the share that `options` want with words that nobody knows.
pub(super) fn strange(text: Text, options: &QuestionOptions, rng: &mut ChaCha8Rng) -> Text {
    let is_strange = options.strange > 0.0 && rng.random_bool(options.strange);
    if is_strange { with_strange_words(&text, rng) } else { text }
}

fn situated_question(
    scene: &QuestionScene<'_>,
    situation: &situations::WordedSituation,
    text: Text,
    key: AnswerKey,
) -> SynthQuestion {
    let [first, others @ ..] = situation.texts.as_slice() else {
        unreachable!("a worded situation has at least one text");
    };
    SynthQuestion {
        labeled: LabeledQuestion {
            question: Question {
                kind: QuestionKind::of_sqa3d(&text.words),
                text: text.words,
                situation_text: Some(first.words.clone()),
                choices: Vec::new(),
            },
            key,
            situation: Some(situation.pose.situation(&scene.anchor)),
        },
        alternative_situations: others.iter().map(|text| text.words.clone()).collect(),
        mentions: first.mentions.clone(),
        asked_about: text.mentions,
    }
}

/// Questions without a situation, spread over all types that the scene supports.
fn room_questions(scene: &QuestionScene<'_>, wanted: usize, rng: &mut ChaCha8Rng) -> Vec<SynthQuestion> {
    type Maker = fn(&QuestionScene<'_>, &mut ChaCha8Rng) -> Option<LabeledQuestion>;
    let mut makers: Vec<Maker> = vec![
        room::count,
        room::distance,
        room::size,
        room::room_size,
        room::relative_distance,
        direction::easy,
        direction::medium,
        direction::hard,
        room::appearance_order,
        route::plan,
    ];
    let mut questions: Vec<SynthQuestion> = Vec::new();
    // Three rounds over all types; a type that finds nothing leaves its place to the others.
    for _ in 0..3 {
        makers.shuffle(rng);
        for maker in &makers {
            if questions.len() >= wanted {
                return questions;
            }
            let Some(labeled) = maker(scene, rng) else { continue };
            if questions.iter().any(|old| old.labeled.question.text == labeled.question.text) {
                continue;
            }
            questions.push(labeled.into());
        }
    }
    questions
}

/// A question about the room as a whole whose answer is a number.
fn numeric(kind: QuestionKind, text: String, number: f64) -> LabeledQuestion {
    LabeledQuestion {
        question: Question { kind, text, situation_text: None, choices: Vec::new() },
        key: AnswerKey::Number(number),
        situation: None,
    }
}

/// A multiple-choice question; `choices[0]` is right, the order is shuffled.
fn multiple_choice(
    kind: QuestionKind,
    text: String,
    choices: Vec<String>,
    rng: &mut ChaCha8Rng,
) -> LabeledQuestion {
    let mut order: Vec<usize> = (0..choices.len()).collect();
    order.shuffle(rng);
    let right = order.iter().position(|&i| i == 0).unwrap_or(0);
    LabeledQuestion {
        question: Question {
            kind,
            text,
            situation_text: None,
            choices: order.into_iter().map(|i| choices[i].clone()).collect(),
        },
        key: AnswerKey::Choice(right),
        situation: None,
    }
}

/// Objects that the walk shows and that are alone in their category: what
/// VSI-Bench's templates may name without further words.
fn single_objects(scene: &QuestionScene<'_>) -> Vec<usize> {
    (0..scene.objects.len())
        .filter(|&i| scene.seen(i) && scene.is_single(i) && scene.objects[i].category.as_str() != "doorway")
        .collect()
}

/// `count` different members of `pool` in random order; `None` when it is too small.
fn pick<const COUNT: usize>(pool: &[usize], rng: &mut ChaCha8Rng) -> Option<[usize; COUNT]> {
    let mut pool = pool.to_vec();
    let drawn = pool.partial_shuffle(rng, COUNT).0.to_vec();
    drawn.try_into().ok()
}

/// The category of an object, as the templates name it.
fn category(scene: &QuestionScene<'_>, object: usize) -> String {
    scene.objects[object].category.as_str().to_owned()
}

fn coin(rng: &mut ChaCha8Rng) -> bool {
    rng.random_bool(0.5)
}

#[cfg(test)]
mod tests;
