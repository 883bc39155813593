//! The tokenizer of a run: learned once from generated questions, kept in the run folder.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::clip::question_options;
use super::joint_sample::{answer_text, prompt_of};
use super::{RunDir, TrainConfig, TrainError};
use crate::model::ModelConfig;
use crate::model::prompt::PromptText;
use crate::model::tokenizer::TextTokenizer;
use crate::synth::{self, QuestionOptions, SynthConfig};

/// Scenes whose questions the tokenizer is learned from.
const SCENES: u64 = 60;
/// Wordings of each situation.
const WORDINGS: usize = 4;

/// Reads the run's tokenizer, or learns it and keeps it.
pub fn tokenizer_of(
    run: &RunDir,
    config: &TrainConfig,
    model: &ModelConfig,
) -> Result<TextTokenizer, TrainError> {
    let path = run.path().join("tokenizer.json");
    let wrong = |error: crate::model::ModelError| TrainError::Data { reason: error.to_string() };
    if path.exists() {
        return TextTokenizer::load(&path, model.language.vocab_size).map_err(wrong);
    }
    let texts: Vec<String> = (0..SCENES)
        .into_par_iter()
        .flat_map_iter(|k| texts_of(config.seed.wrapping_add(k), config, model))
        .collect();
    let tokenizer = TextTokenizer::train(texts.into_iter(), model.language.vocab_size).map_err(wrong)?;
    tokenizer.save(&path).map_err(wrong)?;
    Ok(tokenizer)
}

fn texts_of(seed: u64, config: &TrainConfig, model: &ModelConfig) -> Vec<String> {
    let synth = SynthConfig { seconds: config.data.seconds, ..SynthConfig::training() };
    let scene = synth::generate_scene(seed, &synth);
    let walk = synth::generate_walk(&scene, seed, &synth);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let options = QuestionOptions { wordings: WORDINGS, ..question_options(30) };
    let mut texts = Vec::new();
    for question in synth::generate_questions(&scene, &walk, &mut rng, &options) {
        let prompt = prompt_of(model, &question.labeled.question);
        let answer = answer_text(&question.labeled.question, &question.labeled.key);
        texts.push(format!("{}{}{}", prompt.head, prompt.tail, PromptText::completion(&answer)));
        texts.extend(question.alternative_situations);
    }
    texts
}
