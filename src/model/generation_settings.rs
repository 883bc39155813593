//! `generation_config.json`: where answers end, and how short and long they get. Answers are greedy
//! whatever it says of sampling: the same question gets the same answer.

use serde_json::{Map, Value};

/// Settings that change which token is taken, and are not used.
const SAMPLING: [&str; 9] = [
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "num_beams",
    "penalty_alpha",
];

/// What a checkpoint says of the answers it wants to give.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationSettings {
    /// `eos_token_id`: an answer ends at these, and at those of the tokenizer.
    pub stop_ids: Vec<u32>,
    /// `max_new_tokens`: the longest answer where nobody asks for another, tokens.
    pub max_new_tokens: Option<usize>,
    /// `min_new_tokens`: no answer ends before it has so many.
    pub min_new_tokens: usize,
    /// What is said of sampling, such as "temperature 0.7"; not used.
    pub unused: Vec<String>,
}

impl GenerationSettings {
    /// Reads the content of a `generation_config.json` of a model with `vocab_rows` embedding
    /// rows.
    ///
    /// # Errors
    /// One sentence: it is no JSON object, or a value that is used makes no sense.
    pub(super) fn parse(bytes: &[u8], vocab_rows: usize) -> Result<Self, String> {
        let json: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let set = |name: &str| json.get(name).filter(|value| !value.is_null());
        let stop_ids = match set("eos_token_id") {
            None => Vec::new(),
            Some(Value::Array(ids)) => {
                ids.iter().map(|id| stop_id(id, vocab_rows)).collect::<Result<_, _>>()?
            }
            Some(id) => vec![stop_id(id, vocab_rows)?],
        };
        let count = |name: &str, least: usize| {
            set(name).map(|value| {
                let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
                count.filter(|&count| count >= least).ok_or_else(|| {
                    format!("{name} is {value}; it must be a whole number of at least {least}")
                })
            })
        };
        let max_new_tokens = count("max_new_tokens", 1).transpose()?;
        let min_new_tokens = count("min_new_tokens", 0).transpose()?.unwrap_or_default();
        if max_new_tokens.is_some_and(|longest| longest < min_new_tokens) {
            return Err("min_new_tokens is larger than max_new_tokens".to_owned());
        }
        let unused = SAMPLING.iter().filter_map(|name| Some(format!("{name} {}", set(name)?)));
        Ok(Self { stop_ids, max_new_tokens, min_new_tokens, unused: unused.collect() })
    }
}

fn stop_id(value: &Value, vocab_rows: usize) -> Result<u32, String> {
    let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
    id.filter(|&id| (id as usize) < vocab_rows).ok_or_else(|| {
        format!("eos_token_id is {value}; it must be a token, or a list of tokens, below {vocab_rows}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lists_and_nothing_are_understood() {
        let parsed = |text: &str| GenerationSettings::parse(text.as_bytes(), 200).unwrap();
        assert_eq!(parsed("{}"), GenerationSettings::default());
        assert_eq!(
            parsed(r#"{"eos_token_id": null, "max_new_tokens": null}"#),
            GenerationSettings::default()
        );
        assert_eq!(parsed(r#"{"eos_token_id": 7}"#).stop_ids, [7]);
        let all = parsed(
            r#"{"bos_token_id": 3, "do_sample": true, "eos_token_id": [5, 3], "max_new_tokens": 4096,
                "repetition_penalty": 1.05, "temperature": 0.7, "top_k": 20}"#,
        );
        assert_eq!((all.stop_ids.as_slice(), all.max_new_tokens), ([5, 3].as_slice(), Some(4096)));
        assert_eq!((all.min_new_tokens, parsed(r#"{"min_new_tokens": 2}"#).min_new_tokens), (0, 2));
        assert_eq!(all.unused, ["temperature 0.7", "top_k 20", "repetition_penalty 1.05"]);
    }

    #[test]
    fn values_that_make_no_sense_are_refused_by_name() {
        for (text, part) in [
            ("[1]", "expected a map"),
            ("{", "EOF"),
            (r#"{"eos_token_id": "end"}"#, "eos_token_id is \"end\""),
            (r#"{"eos_token_id": [5, -1]}"#, "eos_token_id is -1"),
            (r#"{"eos_token_id": 200}"#, "below 200"),
            (r#"{"max_new_tokens": 0}"#, "max_new_tokens is 0"),
            (r#"{"max_new_tokens": 1.5}"#, "max_new_tokens is 1.5"),
            (r#"{"min_new_tokens": -1}"#, "min_new_tokens is -1"),
            (r#"{"min_new_tokens": 3, "max_new_tokens": 2}"#, "larger than"),
        ] {
            let message = GenerationSettings::parse(text.as_bytes(), 200).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
