//! The tokenizer of a run: learned once from generated questions, kept in the run folder
//! and with every joint checkpoint, whose weights mean nothing without it.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::clip::question_options;
use super::joint_sample::prompt_of;
use super::{RunDir, StageKind, TrainConfig, TrainError};
use crate::model::ModelConfig;
use crate::model::prompt::PromptText;
use crate::model::tokenizer::TextTokenizer;
use crate::synth::{self, QuestionOptions, SynthConfig};

/// Scenes whose questions the tokenizer is learned from.
const SCENES: u64 = 60;
/// Wordings of each situation.
const WORDINGS: usize = 4;

/// Reads the run's tokenizer, or learns it and keeps it. Once there is a joint
/// checkpoint, only the tokenizer that it was trained with will do.
///
/// # Errors
/// When that one is missing or was replaced.
pub fn tokenizer_of(
    run: &RunDir,
    config: &TrainConfig,
    model: &ModelConfig,
) -> Result<TextTokenizer, TrainError> {
    let path = run.tokenizer_path();
    let wrong = |error: crate::model::ModelError| TrainError::Data { reason: error.to_string() };
    if run.progress(StageKind::Joint.name())?.is_some() {
        let trained_with = run.joint_vocabulary()?;
        if !path.exists() {
            std::fs::write(&path, trained_with).map_err(|error| TrainError::file(&path, error))?;
        }
    }
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
        let answer = question.labeled.key.words(&question.labeled.question);
        texts.push(format!("{}{}{}", prompt.head, prompt.tail, PromptText::completion(&answer)));
        texts.extend(question.alternative_situations);
    }
    texts
}
