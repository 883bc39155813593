//! A tokenizer in parts: `vocab.json` and `merges.txt` with `added_tokens.json` or
//! `tokenizer_config.json`, as older folders of LLaVA have it in place of `tokenizer.json`.
//!
//! The parts do not say how texts are taken apart before pieces are joined; that is Qwen2's way
//! (transformers' `Qwen2Converter`), and parts that say they belong to another tokenizer are
//! refused. Ids are checked: one that would come out wrong is refused as well.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::bounded_file::{self, LARGEST_TOKENIZER};
use super::{ModelError, TextTokenizer};

/// Pieces and their ids.
pub(super) const VOCABULARY_FILE: &str = "vocab.json";
/// Which pieces are joined, the first pair first.
const MERGES_FILE: &str = "merges.txt";
/// Ids of what is no piece, by text.
const ADDED_FILE: &str = "added_tokens.json";
/// The same with flags, and the class of the tokenizer.
const SETTINGS_FILE: &str = "tokenizer_config.json";
/// Classes whose way of taking texts apart is known.
const CLASSES: [&str; 2] = ["Qwen2Tokenizer", "Qwen2TokenizerFast"];

/// What Qwen2 takes for one word: contractions, letters with one mark before them, single
/// digits, marks with the line breaks behind them, line breaks, other white space.
const WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Puts a tokenizer of a model with `vocab_rows` embedding rows together from the parts in
/// `folder`.
///
/// # Errors
/// When a part is missing or damaged, belongs to another kind of tokenizer, or an id would not
/// be the one that the parts say.
pub(super) fn assembled(folder: &Path, vocab_rows: usize) -> Result<TextTokenizer, ModelError> {
    let parts = Parts { folder };
    parts.check_class()?;
    let added = parts.added()?;
    let vocabulary = parts.vocabulary()?;
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added.values().collect::<Vec<_>>(),
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": false},
            byte_level(),
        ]},
        "post_processor": byte_level(),
        "decoder": byte_level(),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
            "merges": parts.merges(&vocabulary)?, "vocab": vocabulary,
        },
    });
    let path = folder.join(VOCABULARY_FILE);
    let tokenizer = TextTokenizer::parse(tokenizer.to_string().as_bytes(), &path, vocab_rows)?;
    for (id, token) in &added {
        let text = token["content"].as_str().unwrap_or_default();
        if tokenizer.id_of(text) != Some(*id) {
            return Err(unusable(path, &format!("{text} has id {id}, which leaves a gap behind its pieces")));
        }
    }
    Ok(tokenizer)
}

fn byte_level() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false})
}

/// The error for a part that cannot be used, with the way out.
fn unusable(path: PathBuf, reason: &str) -> ModelError {
    let reason = format!(
        "{reason}; make a tokenizer.json with transformers, AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER), and put it into the folder"
    );
    ModelError::Tokenizer { path, reason }
}

struct Parts<'a> {
    folder: &'a Path,
}

impl Parts<'_> {
    fn text(&self, name: &str) -> Result<String, ModelError> {
        let path = self.folder.join(name);
        bounded_file::read_text(&path, LARGEST_TOKENIZER).map_err(|reason| unusable(path, &reason))
    }

    /// A file that need not be there.
    fn optional_json(&self, name: &str) -> Result<Option<Value>, ModelError> {
        if !self.folder.join(name).exists() {
            return Ok(None);
        }
        let parsed = serde_json::from_str(&self.text(name)?);
        parsed.map(Some).map_err(|error| unusable(self.folder.join(name), &error.to_string()))
    }

    /// Refuses parts whose pieces are not joined in Qwen2's way.
    fn check_class(&self) -> Result<(), ModelError> {
        let Some(settings) = self.optional_json(SETTINGS_FILE)? else { return Ok(()) };
        let class = settings["tokenizer_class"].as_str();
        let reason = if class.is_some_and(|class| !CLASSES.contains(&class)) {
            format!("tokenizer_class is {}, whose parts are not known here", settings["tokenizer_class"])
        } else if settings["add_prefix_space"] == true {
            "add_prefix_space is true, which Qwen2's tokenizer does not know".to_owned()
        } else {
            return Ok(());
        };
        Err(unusable(self.folder.join(SETTINGS_FILE), &reason))
    }

    /// Piece to id.
    fn vocabulary(&self) -> Result<BTreeMap<String, u32>, ModelError> {
        serde_json::from_str(&self.text(VOCABULARY_FILE)?)
            .map_err(|error| unusable(self.folder.join(VOCABULARY_FILE), &error.to_string()))
    }

    /// Pairs of pieces, each of which makes another one.
    fn merges(&self, vocabulary: &BTreeMap<String, u32>) -> Result<Vec<[String; 2]>, ModelError> {
        let text = self.text(MERGES_FILE)?;
        let lines = text.lines().enumerate();
        let lines = lines.filter(|(at, line)| !(line.is_empty() || *at == 0 && line.starts_with("#version")));
        lines
            .map(|(at, line)| {
                let wrong = |what: &str| {
                    let reason = format!("line {} {what}: {line:?}", at + 1);
                    unusable(self.folder.join(MERGES_FILE), &reason)
                };
                let pair: Vec<&str> = line.split(' ').collect();
                let [left, right] = pair[..] else { return Err(wrong("is no pair of pieces")) };
                let made = format!("{left}{right}");
                if ![left, right, &made].into_iter().all(|piece| vocabulary.contains_key(piece)) {
                    return Err(wrong("joins or makes a piece that vocab.json lacks"));
                }
                Ok([left.to_owned(), right.to_owned()])
            })
            .collect()
    }

    /// The tokens that are no pieces, by id, as `tokenizer.json` has them.
    fn added(&self) -> Result<BTreeMap<u32, Value>, ModelError> {
        let mut tokens = BTreeMap::new();
        let settings = self.optional_json(SETTINGS_FILE)?.unwrap_or_default();
        for (id, token) in settings["added_tokens_decoder"].as_object().into_iter().flatten() {
            let wrong = || {
                let reason = format!("added_tokens_decoder has a token {id:?} that is none: {token}");
                unusable(self.folder.join(SETTINGS_FILE), &reason)
            };
            let number: u32 = id.parse().map_err(|_no_number| wrong())?;
            let content = token["content"].as_str().ok_or_else(wrong)?;
            let flag = |name: &str| token[name].as_bool().unwrap_or(false);
            let made = json!({
                "id": number, "content": content, "single_word": flag("single_word"),
                "lstrip": flag("lstrip"), "rstrip": flag("rstrip"),
                "normalized": flag("normalized"), "special": flag("special"),
            });
            tokens.insert(number, made);
        }
        let added = self.optional_json(ADDED_FILE)?.unwrap_or_default();
        for (content, id) in added.as_object().into_iter().flatten() {
            let number = id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| {
                unusable(self.folder.join(ADDED_FILE), &format!("the id of {content:?} is {id}"))
            })?;
            tokens.entry(number).or_insert_with(|| {
                json!({
                    "id": number, "content": content, "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": true,
                })
            });
        }
        Ok(tokens)
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;

    /// The bundled tokenizer.
    fn bundled() -> (Value, TextTokenizer) {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/models/loc3r-mini").join("tokenizer.json");
        let json = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        (json, TextTokenizer::load(&path, 10_000).unwrap())
    }

    /// Writes the parts of a `tokenizer.json`.
    fn take_apart(whole: &Value, folder: &Path) {
        let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
        write(VOCABULARY_FILE, whole["model"]["vocab"].to_string());
        let merges = whole["model"]["merges"].as_array().unwrap().iter();
        let merges =
            merges.map(|pair| format!("{} {}\n", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()));
        write(MERGES_FILE, format!("#version: 0.2\n{}", merges.collect::<String>()));
        let added = whole["added_tokens"].as_array().unwrap().iter();
        let added: serde_json::Map<String, Value> =
            added.map(|token| (token["id"].to_string(), token.clone())).collect();
        let settings = json!({"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added});
        write(SETTINGS_FILE, settings.to_string());
    }

    #[test]
    fn the_bundled_tokenizer_taken_apart_gives_the_same_ids() {
        let folder = tempfile::tempdir().unwrap();
        let (json, whole) = bundled();
        take_apart(&json, folder.path());
        let parts = assembled(folder.path(), 10_000).unwrap();
        assert_eq!((parts.position_id, parts.orientation_id), (whole.position_id, whole.orientation_id));
        assert_eq!((&parts.stop_ids, parts.entries()), (&whole.stop_ids, whole.entries()));
        for text in [
            "<|im_start|>user\nI am sitting on the grey sofa facing the TV. <Pos><Ori> What is on my left?<|im_end|>\n<|im_start|>assistant\n",
            "It is 135 cm wide, 2 chairs and a half-open door; isn't it?",
            "How many chairs (red or blue) are there in the room?",
            "Où est la lampe ?",
            "客厅里有几把椅子？ 🛋 👨‍👩‍👧",
            " two  spaces\tand a tab \n\n end ",
            "",
        ] {
            let ids = parts.encode(text).unwrap();
            assert_eq!(ids, whole.encode(text).unwrap(), "{text:?}");
            assert_eq!(parts.decode(&ids), whole.decode(&ids), "{text:?}");
        }
        // A tokenizer.json that is made of it says the same once more.
        let again = folder.path().join("again.json");
        parts.save(&again).unwrap();
        let again = TextTokenizer::load(&again, 10_000).unwrap();
        let text = "The sofa is 3 m from the half-open door.";
        assert_eq!(again.encode(text).unwrap(), whole.encode(text).unwrap());
    }

    /// All bytes, a few joined pieces, and Qwen2's three tokens behind them.
    fn write_small(folder: &Path) {
        let mut letters: Vec<String> = ByteLevel::alphabet().into_iter().map(String::from).collect();
        letters.sort();
        let merges = ["- a", "1 2", ". \u{10a}", "' S", "\u{120} 1", "\u{c3} \u{a9}"];
        let pieces = letters.into_iter().chain(merges.iter().map(|pair| pair.replace(' ', "")));
        let vocabulary: BTreeMap<String, u32> = pieces.zip(0..).collect();
        let next = vocabulary.len() as u32;
        let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
        write(VOCABULARY_FILE, serde_json::to_string(&vocabulary).unwrap());
        write(MERGES_FILE, merges.join("\n"));
        let added = json!({"<|endoftext|>": next, "<|im_start|>": next + 1, "<|im_end|>": next + 2});
        write(ADDED_FILE, added.to_string());
    }

    #[test]
    fn texts_are_taken_apart_as_qwen2_does() {
        let folder = tempfile::tempdir().unwrap();
        write_small(folder.path());
        let tokenizer = assembled(folder.path(), 300).unwrap();
        let count = |text: &str| tokenizer.encode(text).unwrap().len();
        // A mark joins the letters behind it, line breaks the marks before them.
        assert_eq!((count("-a"), count(".\n"), count("'S")), (1, 1, 1));
        // Every digit is alone, without the space before it.
        assert_eq!((count("12"), count(" 1")), (2, 2));
        // Letters in two parts are put together first.
        assert_eq!(tokenizer.encode("e\u{301}").unwrap(), tokenizer.encode("\u{e9}").unwrap());
        assert_eq!(count("\u{e9}"), 1);
        assert_eq!(tokenizer.encode("<|im_end|>").unwrap(), [tokenizer.stop_ids[0]]);
        assert_eq!(tokenizer.stop_ids, [264, 262]);
    }

    #[test]
    fn parts_that_would_not_be_exact_are_refused_with_the_way_out() {
        let refused = |name: &str, text: &str, parts: &[&str]| {
            let folder = tempfile::tempdir().unwrap();
            write_small(folder.path());
            std::fs::write(folder.path().join(name), text).unwrap();
            let message = assembled(folder.path(), 300).unwrap_err().to_string();
            for part in parts.iter().chain(&["save_pretrained"]) {
                assert!(message.contains(part), "{part} is missing in {message}");
            }
        };
        refused(
            SETTINGS_FILE,
            r#"{"tokenizer_class": "LlamaTokenizer"}"#,
            &[SETTINGS_FILE, "LlamaTokenizer"],
        );
        refused(SETTINGS_FILE, r#"{"add_prefix_space": true}"#, &[SETTINGS_FILE, "add_prefix_space"]);
        refused(SETTINGS_FILE, "{", &[SETTINGS_FILE]);
        refused(SETTINGS_FILE, r#"{"added_tokens_decoder": {"x": {}}}"#, &[SETTINGS_FILE, "\"x\""]);
        refused(MERGES_FILE, "- a\n1 2 3", &[MERGES_FILE, "line 2 is no pair"]);
        refused(MERGES_FILE, "#version: 0.2\n1 2\n- b", &[MERGES_FILE, "line 3 joins or makes a piece"]);
        refused(VOCABULARY_FILE, "[]", &[VOCABULARY_FILE]);
        let gap = r#"{"<|endoftext|>": 262, "<|im_start|>": 263, "<|im_end|>": 264, "<image>": 270}"#;
        refused(ADDED_FILE, gap, &["<image> has id 270"]);
        refused(ADDED_FILE, r#"{"<|im_end|>": "last"}"#, &[ADDED_FILE, "last"]);

        let folder = tempfile::tempdir().unwrap();
        write_small(folder.path());
        std::fs::remove_file(folder.path().join(MERGES_FILE)).unwrap();
        assert!(assembled(folder.path(), 300).unwrap_err().to_string().contains(MERGES_FILE));
    }
}
