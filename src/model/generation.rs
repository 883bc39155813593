//! Greedy answers, streamed as text.

use std::ops::ControlFlow;

use candle_core::{D, DType, Result, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling};

use super::qwen2::{KvCache, Qwen2};
use super::tokenizer::TextTokenizer;

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// The answer without surrounding white space.
    pub text: String,
    /// Mean probability of the tokens, the closing one included.
    pub confidence: f32,
    /// Tokens of the answer, without the closing one.
    pub tokens: usize,
}

/// How long an answer gets.
#[derive(Debug, Clone, Copy)]
pub struct AnswerLength {
    /// No stop token is taken before so many others.
    pub min_new_tokens: usize,
    /// Longest answer, tokens.
    pub max_new_tokens: usize,
    /// Longest sequence, prompt included.
    pub max_positions: usize,
}

/// Continues `cache` greedily from `hidden`, the last row after the final norm (1, 1, h),
/// until a stop token or the end of `length`. `piece` gets the text as it
/// comes, in whole characters; `None` when it breaks.
pub fn generate(
    language: &Qwen2,
    tokenizer: &TextTokenizer,
    cache: &mut KvCache,
    hidden: &Tensor,
    length: AnswerLength,
    piece: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Option<Generated>> {
    // Greedy: the seed is never drawn from.
    let mut greedy = LogitsProcessor::from_sampling(0, Sampling::ArgMax);
    let mut hidden = hidden.clone();
    let mut stream = TextStream::new(tokenizer);
    let mut probabilities = Vec::new();
    while stream.ids.len() < length.max_new_tokens {
        let mut logits = language.logits(&hidden)?.flatten_all()?.to_dtype(DType::F32)?;
        if stream.ids.len() < length.min_new_tokens {
            logits = without(&logits, &tokenizer.stop_ids)?;
        }
        let next = greedy.sample(&logits)?;
        let shares = candle_nn::ops::softmax(&logits, D::Minus1)?;
        probabilities.push(shares.get(next as usize)?.to_scalar::<f32>()?);
        if tokenizer.stop_ids.contains(&next) {
            break;
        }
        if stream.push(next, piece).is_break() {
            return Ok(None);
        }
        if cache.len() >= length.max_positions {
            break;
        }
        let embeds = language.embed(&Tensor::new(&[[next]], hidden.device())?)?;
        hidden = language.forward_embeds(&embeds, cache)?;
    }
    if stream.finish(piece).is_break() {
        return Ok(None);
    }
    let confidence = probabilities.iter().sum::<f32>() / probabilities.len().max(1) as f32;
    Ok(Some(Generated { text: stream.text.trim().to_owned(), confidence, tokens: stream.ids.len() }))
}

/// Logits (V,) by which none of `ids` is taken.
fn without(logits: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let mut values = logits.to_vec1::<f32>()?;
    for &id in ids {
        if let Some(value) = values.get_mut(id as usize) {
            *value = f32::NEG_INFINITY;
        }
    }
    Tensor::new(values, logits.device())
}

/// Turns ids into text, holding back characters of which bytes are missing.
struct TextStream<'a> {
    tokenizer: &'a TextTokenizer,
    ids: Vec<u32>,
    text: String,
}

impl<'a> TextStream<'a> {
    fn new(tokenizer: &'a TextTokenizer) -> Self {
        Self { tokenizer, ids: Vec::new(), text: String::new() }
    }

    fn push(&mut self, id: u32, piece: &mut dyn FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
        self.ids.push(id);
        let decoded = self.tokenizer.decode(&self.ids);
        if decoded.ends_with(char::REPLACEMENT_CHARACTER) { piece("") } else { self.extend(decoded, piece) }
    }

    /// Gives what was held back.
    fn finish(&mut self, piece: &mut dyn FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
        let decoded = self.tokenizer.decode(&self.ids);
        if decoded.len() > self.text.len() { self.extend(decoded, piece) } else { ControlFlow::Continue(()) }
    }

    fn extend(&mut self, decoded: String, piece: &mut dyn FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
        let new = decoded.strip_prefix(self.text.as_str()).unwrap_or_default();
        let new = if self.text.trim().is_empty() { new.trim_start() } else { new };
        let flow = piece(new);
        self.text = decoded;
        flow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_characters_and_add_up() {
        let tokenizer = TextTokenizer::train(std::iter::once("x".to_owned()), 300).unwrap();
        let text = " a 客 🛋 b";
        let mut stream = TextStream::new(&tokenizer);
        let mut pieces = Vec::new();
        let mut collect = |piece: &str| {
            pieces.push(piece.to_owned());
            ControlFlow::Continue(())
        };
        for id in tokenizer.encode(text).unwrap() {
            assert!(stream.push(id, &mut collect).is_continue());
        }
        assert!(stream.finish(&mut collect).is_continue());
        assert_eq!(pieces.concat(), text.trim_start());
        assert!(pieces.iter().all(|piece| !piece.contains(char::REPLACEMENT_CHARACTER)));
    }
}
