//! Text to token ids and back: a byte-level BPE with chat markers and the two
//! situation tokens of Loc3R-VLM.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, Tokenizer, TokenizerBuilder};

use super::ModelError;
use super::bounded_file::{self, LARGEST_TOKENIZER};

/// Starts a chat turn.
pub const IM_START: &str = "<|im_start|>";
/// Ends a chat turn.
pub const IM_END: &str = "<|im_end|>";
/// Ends a text.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// Its hidden state gives the position of the situation.
pub const POSITION_TOKEN: &str = "<Pos>";
/// Its hidden state gives the orientation of the situation.
pub const ORIENTATION_TOKEN: &str = "<Ori>";

/// Tokenizer of a checkpoint.
#[derive(Debug, Clone)]
pub struct TextTokenizer {
    inner: Tokenizer,
    /// Id of [`POSITION_TOKEN`].
    pub position_id: u32,
    /// Id of [`ORIENTATION_TOKEN`].
    pub orientation_id: u32,
    /// Generation ends at these.
    pub stop_ids: Vec<u32>,
    /// Whether the file had no situation tokens, so that they got the next free ids.
    pub lacked_situation_tokens: bool,
}

impl TextTokenizer {
    /// Reads `tokenizer.json` of a model with `vocab_rows` embedding rows. A tokenizer of
    /// the base model that lacks the situation tokens gets them at the next free ids.
    ///
    /// # Errors
    /// When the file cannot be read, lacks the chat markers, or does not fit the model.
    pub fn load(path: &Path, vocab_rows: usize) -> Result<Self, ModelError> {
        let fail = |reason: String| ModelError::Tokenizer { path: path.to_owned(), reason };
        let bytes = bounded_file::read(path, LARGEST_TOKENIZER).map_err(fail)?;
        Self::parse(&bytes, path, vocab_rows)
    }

    /// Like [`Self::load`] for the content of a `tokenizer.json` that stands in the file `path`.
    ///
    /// # Errors
    /// See [`Self::load`].
    pub fn parse(bytes: &[u8], path: &Path, vocab_rows: usize) -> Result<Self, ModelError> {
        let fail = |reason: String| ModelError::Tokenizer { path: path.to_owned(), reason };
        let inner = parsed(bytes).map_err(fail)?;
        Self::new(inner, vocab_rows).map_err(fail)
    }

    /// Learns a small byte-level BPE of at most `vocab_size` entries from `texts`. Every
    /// digit is a token of its own, as in Qwen2: numbers are rarer than words, and pieces
    /// like "135" would have to be learned one by one.
    ///
    /// # Errors
    /// When `vocab_size` has no room for the 256 bytes and the special tokens.
    pub fn train(texts: impl Iterator<Item = String> + Send, vocab_size: usize) -> Result<Self, ModelError> {
        let fail = |reason: String| ModelError::TokenizerTraining { reason };
        let special = [END_OF_TEXT, IM_START, IM_END, POSITION_TOKEN, ORIENTATION_TOKEN];
        if vocab_size < 256 + special.len() {
            return Err(fail(format!(
                "{vocab_size} entries cannot hold 256 bytes and {} special tokens",
                special.len()
            )));
        }
        let byte_level = || ByteLevel::new(false, true, true);
        let mut tokenizer = TokenizerBuilder::new()
            .with_model(BPE::default())
            .with_normalizer(None::<tokenizers::NormalizerWrapper>)
            .with_pre_tokenizer(Some(Sequence::new(vec![Digits::new(true).into(), byte_level().into()])))
            .with_post_processor(Some(byte_level()))
            .with_decoder(Some(byte_level()))
            .build()
            .map_err(|error| fail(error.to_string()))?;
        let mut trainer = BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(vocab_size)
            .min_frequency(2)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(
                special.into_iter().map(|token| AddedToken::from(token.to_owned(), true)).collect(),
            )
            .build();
        tokenizer.train(&mut trainer, texts).map_err(|error| fail(error.to_string()))?;
        let json = tokenizer.to_string(false).map_err(|error| fail(error.to_string()))?;
        let inner = Tokenizer::from_bytes(json).map_err(|error| fail(error.to_string()))?;
        Self::new(inner, vocab_size).map_err(fail)
    }

    fn new(mut inner: Tokenizer, vocab_rows: usize) -> Result<Self, String> {
        // Prompts are neither cut nor filled up, whatever the file says: a length of it would be
        // memory for every question.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| error.to_string())?;
        let marker = |inner: &Tokenizer, token: &str| {
            inner.token_to_id(token).ok_or_else(|| {
                format!("it has no {token}: it belongs to another model, take the one of this checkpoint")
            })
        };
        marker(&inner, IM_START)?;
        let mut stop_ids = vec![marker(&inner, IM_END)?];
        stop_ids.extend(inner.token_to_id(END_OF_TEXT));
        let missing: Vec<AddedToken> = [POSITION_TOKEN, ORIENTATION_TOKEN]
            .into_iter()
            .filter(|token| inner.token_to_id(token).is_none())
            .map(|token| AddedToken::from(token.to_owned(), true))
            .collect();
        let lacked_situation_tokens = !missing.is_empty();
        inner.add_special_tokens(missing).map_err(|error| error.to_string())?;
        let largest = inner.get_vocab(true).into_values().max().unwrap_or(0);
        if largest as usize >= vocab_rows {
            return Err(format!(
                "it has ids up to {largest}, the model has {vocab_rows} embedding rows; take the tokenizer of this checkpoint"
            ));
        }
        let (position_id, orientation_id) =
            (marker(&inner, POSITION_TOKEN)?, marker(&inner, ORIENTATION_TOKEN)?);
        Ok(Self { inner, position_id, orientation_id, stop_ids, lacked_situation_tokens })
    }

    /// Writes `tokenizer.json`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        let fail = |reason: String| ModelError::Write { path: path.to_owned(), reason };
        let json = self.json().map_err(fail)?;
        std::fs::write(path, json).map_err(|error| fail(error.to_string()))
    }

    /// The content of `tokenizer.json`.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn json(&self) -> Result<String, String> {
        self.inner.to_string(false).map_err(|error| error.to_string())
    }

    /// The id of a token with exactly this text.
    pub(super) fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Lets generation end at these as well.
    pub(super) fn stop_at(&mut self, ids: &[u32]) {
        let new: Vec<u32> = ids.iter().filter(|id| !self.stop_ids.contains(id)).copied().collect();
        self.stop_ids.extend(new);
    }

    /// Number of entries.
    pub fn entries(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Ids of `text`; special tokens written in it count as such.
    ///
    /// # Errors
    /// When the tokenizer's own rules fail on the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoding = self.inner.encode(text, false).map_err(|error| ModelError::Query {
            reason: format!("the text cannot be tokenised: {error}"),
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Text of `ids` without special tokens; broken UTF-8 becomes U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.inner.decode(ids, true).unwrap_or_default()
    }

    /// `text` with every special token taken out, so that words of a user stay words.
    pub fn plain(&self, text: &str) -> String {
        let mut plain = text.to_owned();
        loop {
            let cleaned = self
                .inner
                .get_added_vocabulary()
                .get_vocab()
                .keys()
                .fold(plain.clone(), |text, token| text.replace(token.as_str(), ""));
            if cleaned == plain {
                return cleaned;
            }
            plain = cleaned;
        }
    }
}

/// The part of a `tokenizer.json` that is looked at before the crate reads it.
#[derive(Deserialize)]
struct Outline {
    #[serde(default)]
    normalizer: Option<Normalizer>,
}

/// A normaliser, or several.
#[derive(Deserialize)]
struct Normalizer {
    #[serde(default)]
    normalizers: Vec<Self>,
    #[serde(default)]
    precompiled_charsmap: Option<IgnoredAny>,
}

impl Normalizer {
    fn is_precompiled(&self) -> bool {
        self.precompiled_charsmap.is_some() || self.normalizers.iter().any(Self::is_precompiled)
    }
}

/// The crate's reader, which panics at some files that are JSON and at all that are not.
fn parsed(bytes: &[u8]) -> Result<Tokenizer, String> {
    bounded_file::check(bytes.len(), LARGEST_TOKENIZER)?;
    let outline: Outline = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    // The crate takes as much memory for one as its first four bytes say, up to 8 GB.
    if outline.normalizer.is_some_and(|normalizer| normalizer.is_precompiled()) {
        return Err("its normaliser is a precompiled_charsmap, which no model of this kind has; take the tokenizer of this checkpoint".to_owned());
    }
    match std::panic::catch_unwind(|| Tokenizer::from_bytes(bytes)) {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err("it is no tokenizer; download it again".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trained() -> TextTokenizer {
        let texts =
            ["I am sitting on the grey sofa facing the TV", "What is on my left?", "the lamp", "the table"];
        TextTokenizer::train(texts.iter().cycle().take(40).map(|text| (*text).to_owned()), 400).unwrap()
    }

    #[test]
    fn any_text_survives_the_round_trip() {
        let tokenizer = trained();
        for text in
            ["What is on my left?", "Où est la lampe ?", "客厅里有几把椅子？", "🛋 👨‍👩‍👧", "", " two  spaces "]
        {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()), text);
        }
    }

    #[test]
    fn chat_markers_and_situation_tokens_are_single_ids() {
        let tokenizer = trained();
        let ids = tokenizer.encode("<|im_start|>user\nhere <Pos><Ori> there<|im_end|>").unwrap();
        assert_eq!(ids.iter().filter(|&&id| id == tokenizer.position_id).count(), 1);
        assert_eq!(ids.iter().filter(|&&id| id == tokenizer.orientation_id).count(), 1);
        assert_eq!(ids.last(), tokenizer.stop_ids.first());
    }

    #[test]
    fn every_digit_is_a_token() {
        let texts = || (0..50).map(|_| "It is 135 cm, 135 of 1352.".to_owned());
        let tokenizer = TextTokenizer::train(texts(), 400).unwrap();
        let digits = |text: &str| {
            let ids = tokenizer.encode(text).unwrap();
            ids.iter().filter(|&&id| tokenizer.decode(&[id]).contains(char::is_numeric)).count()
        };
        assert_eq!((digits("135"), digits("It is 135 cm, 1352")), (3, 7));
        assert_eq!(tokenizer.decode(&tokenizer.encode("It is 135 cm").unwrap()), "It is 135 cm");
    }

    #[test]
    fn training_is_repeatable() {
        let json = |tokenizer: &TextTokenizer| tokenizer.inner.to_string(false).unwrap();
        assert_eq!(json(&trained()), json(&trained()));
    }

    #[test]
    fn users_cannot_write_special_tokens() {
        let tokenizer = trained();
        assert_eq!(tokenizer.plain("a<|im_end|>b <P<Pos>os>c"), "ab c");
    }

    #[test]
    fn wrong_tokenizers_are_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let message = |rows| TextTokenizer::load(&path, rows).unwrap_err().to_string();
        assert!(message(10).contains("tokenizer.json"));
        std::fs::write(&path, "{}").unwrap();
        assert!(message(10).contains("tokenizer.json"));
        trained().save(&path).unwrap();
        assert!(TextTokenizer::load(&path, 400).is_ok());
        assert!(message(100).contains("100 embedding rows"));
        let other =
            TokenizerBuilder::<BPE, tokenizers::NormalizerWrapper, ByteLevel, ByteLevel, ByteLevel>::new()
                .with_model(BPE::default())
                .build()
                .unwrap();
        std::fs::write(&path, other.to_string(false).unwrap()).unwrap();
        assert!(message(400).contains("<|im_start|>"));
    }

    #[test]
    fn lengths_that_a_file_wants_for_prompts_do_not_count() {
        let tokenizer = trained();
        let mut json: serde_json::Value = serde_json::from_str(&tokenizer.json().unwrap()).unwrap();
        json["padding"] = serde_json::json!({
            "strategy": { "Fixed": 1_000_000_000_000_000u64 }, "direction": "Right",
            "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>",
        });
        json["truncation"] = serde_json::json!({
            "direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0,
        });
        let path = Path::new("tokenizer.json");
        let read = TextTokenizer::parse(json.to_string().as_bytes(), path, 400).unwrap();
        let text = "What is on my left? What is on my left?";
        assert_eq!(read.encode(text).unwrap(), tokenizer.encode(text).unwrap());
    }

    #[test]
    fn a_normaliser_that_takes_memory_at_its_word_is_refused() {
        let mut json: serde_json::Value = serde_json::from_str(&trained().json().unwrap()).unwrap();
        // A table of 4 GB, it says.
        let precompiled = serde_json::json!({ "type": "Precompiled", "precompiled_charsmap": "/P///w==" });
        let within =
            serde_json::json!({ "type": "Sequence", "normalizers": [{ "type": "NFC" }, precompiled] });
        for normalizer in [precompiled, within] {
            json["normalizer"] = normalizer;
            let read = TextTokenizer::parse(json.to_string().as_bytes(), Path::new("tokenizer.json"), 400);
            let message = read.unwrap_err().to_string();
            assert!(message.contains("tokenizer.json") && message.contains("precompiled"), "{message}");
        }
        json["normalizer"] = serde_json::json!({ "type": "Sequence", "normalizers": [{ "type": "NFC" }] });
        TextTokenizer::parse(json.to_string().as_bytes(), Path::new("tokenizer.json"), 400).unwrap();
    }
}
