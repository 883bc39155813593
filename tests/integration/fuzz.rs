//! Checkpoint folders with damaged files: an error that names the damaged file, never a panic,
//! never memory without bound. `PROPTEST_CASES=20000 cargo test --release damaged` looks longer.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::sync::OnceLock;

use candle_core::{DType, Device};
use loc3r::model::Loc3rModel;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::allocations::most_held;
use crate::checkpoints::write_tiny;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const GENERATION: &str = "generation_config.json";

/// The files of a checkpoint in one file of weights, and an index that names it.
fn sound() -> &'static [(&'static str, Vec<u8>)] {
    static FILES: OnceLock<Vec<(&'static str, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        write_tiny(folder.path(), |_| {});
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        let weights = read(WEIGHTS);
        let stored = safetensors::SafeTensors::deserialize(&weights).unwrap();
        let places: serde_json::Map<String, serde_json::Value> =
            stored.names().iter().map(|name| ((*name).to_owned(), "part-1.safetensors".into())).collect();
        let index = serde_json::json!({ "metadata": {}, "weight_map": places }).to_string().into_bytes();
        let generation = br#"{"eos_token_id": [1, 2], "max_new_tokens": 32, "temperature": 0.7}"#;
        vec![
            (CONFIG, read(CONFIG)),
            (TOKENIZER, read(TOKENIZER)),
            (WEIGHTS, weights.clone()),
            (INDEX, index),
            (GENERATION, generation.to_vec()),
        ]
    })
}

/// Writes a checkpoint whose file `damaged` holds `bytes`.
fn write(folder: &Path, damaged: &str, bytes: &[u8]) {
    for (name, sound) in sound() {
        if *name == INDEX && damaged != INDEX {
            continue;
        }
        // Beside an index the weights are a part.
        let part = *name == WEIGHTS && damaged == INDEX;
        let file = if part { "part-1.safetensors" } else { name };
        std::fs::write(folder.join(file), if *name == damaged { bytes } else { sound }).unwrap();
    }
}

/// Loads what may be damaged; gives what is said of it.
fn said_of(damaged: &str, bytes: &[u8]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), damaged, bytes);
    let place = folder.path().display().to_string();
    let (error, most) = most_held(|| Loc3rModel::load_as(folder.path(), DType::F32, &Device::Cpu).err());
    assert!(most < MOST_MEMORY, "{most} bytes of memory: {error:?}");
    error.map(|error| {
        let message = error.to_string();
        assert!(message.contains(&place) && message.contains(damaged), "{damaged}: {message}");
        message
    })
}

fn file(number: usize) -> (&'static str, &'static [u8]) {
    let (name, bytes) = &sound()[number];
    (name, bytes)
}

/// Bytes that loading may take, whatever the files say: zeros in place of 8 million missing
/// numbers, a matrix for pooling, JSON of a few ten thousand bytes as values.
const MOST_MEMORY: usize = 256 << 20;

/// What may stand in a configuration in place of a number.
const WRONG_NUMBERS: [&str; 10] =
    ["0", "1", "3", "-1", "1e308", "4294967296", "9007199254740993", "18446744073709551615", "null", "\"x\""];

#[test]
fn sound_files_load() {
    for (name, bytes) in sound() {
        assert_eq!(said_of(name, bytes), None, "{name}");
    }
}

proptest! {
    #[test]
    fn damaged_bytes_are_errors_that_name_the_file(
        number in 0usize..5,
        edits in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..8),
        header in any::<bool>(),
        cut in proptest::option::of(any::<Index>()),
    ) {
        let (name, bytes) = file(number);
        let mut bytes = bytes.to_vec();
        // Most of a file of weights is numbers: its header is more worth looking at.
        let reach = if header { bytes.len().min(2000) } else { bytes.len() };
        for (at, byte) in edits {
            bytes[at.index(reach)] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        said_of(name, &bytes);
    }

    #[test]
    fn damaged_numbers_are_errors_that_name_the_file(
        number in 0usize..2,
        which in any::<Index>(),
        wrong in proptest::sample::select(WRONG_NUMBERS.to_vec()),
    ) {
        let (name, bytes) = file(number);
        let text = std::str::from_utf8(bytes).unwrap();
        let numbers: Vec<(usize, &str)> = text
            .match_indices(|c: char| c.is_ascii_digit())
            .filter(|(at, _)| text[..*at].ends_with([' ', ',', '[', ':']))
            .map(|(at, _)| {
                let rest = &text[at..];
                let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != 'e' && c != '-');
                (at, &rest[..end.unwrap_or(rest.len())])
            })
            .collect();
        let (at, old) = numbers[which.index(numbers.len())];
        let changed = format!("{}{wrong}{}", &text[..at], &text[at + old.len()..]);
        said_of(name, changed.as_bytes());
    }
}
