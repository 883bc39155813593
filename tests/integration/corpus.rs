//! Readers of checkpoints and the files of `tests/corpus`: each file as it is, and changed ones.
//! What is refused is refused with an error that names the file, and the memory that reading
//! takes is bounded by the size of what is read. `PROPTEST_CASES=100000 cargo test --release
//! --test integration corpus::` looks longer.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use candle_core::{DType, Device};
use loc3r::model::checkpoint::Checkpoint;
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

use crate::allocations::most_held;

/// A kind of file: its folder in the corpus, and its name in a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    folder: &'static str,
    file: &'static str,
}

const SAFETENSORS: Kind = Kind { folder: "safetensors", file: "model.safetensors" };
const INDEX: Kind = Kind { folder: "index", file: "model.safetensors.index.json" };
const GGUF: Kind = Kind { folder: "gguf", file: "model.gguf" };
const PICKLE: Kind = Kind { folder: "pickle", file: "pytorch_model.bin" };
const CONFIG: Kind = Kind { folder: "config", file: "config.json" };
const TOKENIZER: Kind = Kind { folder: "tokenizer", file: "tokenizer.json" };
const KINDS: [Kind; 6] = [SAFETENSORS, INDEX, GGUF, PICKLE, CONFIG, TOKENIZER];

/// Bytes of the whole corpus, at most.
const LARGEST_CORPUS: usize = 128 << 10;
/// Bytes of memory that reading may take for each byte of a checkpoint: JSON as values takes most.
const TIMES: usize = 128;
/// Bytes besides: zeros in place of up to 8 million missing numbers, which are granted to any
/// checkpoint so that all that is missing is found.
const BESIDES: usize = 48 << 20;
/// Bytes that a configuration may ask for besides: a matrix for pooling, thousands of tensors.
const FOR_CONFIG: usize = 144 << 20;

/// A file of the corpus.
struct Seed {
    name: String,
    bytes: Vec<u8>,
    /// Parts of the message; `None` where it loads.
    expected: Option<Vec<String>>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// The files of every kind, as `expected.json` lists them.
fn corpus() -> &'static BTreeMap<Kind, Vec<Seed>> {
    static SEEDS: OnceLock<BTreeMap<Kind, Vec<Seed>>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let listed = std::fs::read(folder().join("expected.json")).unwrap();
        let listed: BTreeMap<String, Option<Vec<String>>> = serde_json::from_slice(&listed).unwrap();
        let mut seeds: BTreeMap<Kind, Vec<Seed>> = BTreeMap::new();
        for (name, expected) in listed {
            let bytes = std::fs::read(folder().join(&name)).unwrap();
            let kind = KINDS.into_iter().find(|kind| name.split('/').next() == Some(kind.folder)).unwrap();
            seeds.entry(kind).or_default().push(Seed { name, bytes, expected });
        }
        seeds
    })
}

fn sound(kind: Kind) -> &'static [u8] {
    &corpus()[&kind].iter().find(|seed| seed.name.contains("/sound.")).unwrap().bytes
}

/// A checkpoint in which `kind` is to be written, or is a link to be made; everything else is sound.
fn prepared(kind: Kind) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, bytes: &[u8]| std::fs::write(folder.path().join(file), bytes).unwrap();
    if kind == GGUF {
        return folder;
    }
    for other in [CONFIG, TOKENIZER].into_iter().filter(|other| *other != kind) {
        write(other.file, sound(other));
    }
    match kind {
        INDEX => write("part-1.safetensors", sound(SAFETENSORS)),
        CONFIG | TOKENIZER => write(SAFETENSORS.file, sound(SAFETENSORS)),
        _ => {}
    }
    folder
}

/// Loads a prepared checkpoint; gives what is said of it, and the memory that this took.
fn loaded(folder: &TempDir, kind: Kind) -> (Option<String>, usize) {
    let path = if kind == GGUF { folder.path().join(kind.file) } else { folder.path().to_owned() };
    let (said, most) = most_held(|| {
        let checkpoint = Checkpoint::load(&path, DType::F32, &Device::Cpu);
        checkpoint.err().map(|error| error.to_string())
    });
    if let Some(message) = &said {
        assert!(message.contains(&folder.path().display().to_string()), "{message}");
    }
    (said, most)
}

/// Loads a checkpoint whose `kind` holds `bytes`; gives what is said of it.
fn said_of(kind: Kind, bytes: &[u8]) -> Option<String> {
    let folder = prepared(kind);
    std::fs::write(folder.path().join(kind.file), bytes).unwrap();
    let (said, most) = loaded(&folder, kind);
    let files = std::fs::read_dir(folder.path()).unwrap();
    let size: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    let besides = BESIDES + if [CONFIG, GGUF].contains(&kind) { FOR_CONFIG } else { 0 };
    let allowed = TIMES * size as usize + besides;
    assert!(most <= allowed, "{most} bytes of memory for a checkpoint of {size} bytes: {said:?}");
    said
}

#[test]
fn every_file_does_what_is_expected() {
    let mut wrong = Vec::new();
    for (kind, seeds) in corpus() {
        for Seed { name, bytes, expected } in seeds {
            match (said_of(*kind, bytes), expected) {
                (None, None) => {}
                (Some(message), None) => wrong.push(format!("{name}: {message}")),
                (None, Some(_)) => wrong.push(format!("{name} loads")),
                (Some(message), Some(parts)) => {
                    let missing = parts.iter().filter(|part| !message.contains(part.as_str()));
                    wrong.extend(missing.map(|part| format!("{name}: {part:?} is missing in: {message}")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_corpus_is_small_and_all_of_it_is_listed() {
    let mut listed = BTreeSet::new();
    let mut size = 0;
    for seed in corpus().values().flatten() {
        listed.insert(seed.name.clone());
        size += seed.bytes.len();
    }
    assert!(size <= LARGEST_CORPUS, "{size}");
    let mut found = BTreeSet::new();
    for kind in KINDS {
        for file in std::fs::read_dir(folder().join(kind.folder)).unwrap() {
            found.insert(format!("{}/{}", kind.folder, file.unwrap().file_name().to_str().unwrap()));
        }
    }
    assert_eq!(listed, found);
    assert!(KINDS.into_iter().all(|kind| corpus()[&kind].len() > 10));
}

#[test]
#[ignore = "needs Python; run it after a change of make.py"]
fn the_corpus_is_what_its_script_makes() {
    let made = tempfile::tempdir().unwrap();
    let script = made.path().join("make.py");
    std::fs::copy(folder().join("make.py"), &script).unwrap();
    assert!(std::process::Command::new("python3").arg(&script).status().unwrap().success());
    let names = corpus().values().flatten().map(|seed| seed.name.as_str()).chain(["expected.json"]);
    for name in names {
        let read = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
        assert_eq!(read(made.path()), read(&folder()), "{name}");
    }
}

/// A change of a file.
#[derive(Debug, Clone)]
enum Change {
    Byte(Index, u8),
    /// Eight bytes become a number.
    Size(Index, u64),
    /// Digits become another number.
    Digits(Index, &'static str),
    Cut(Index),
    /// Bytes of another file of the kind: which one, from where, how many; in place of others, or
    /// between them.
    Splice {
        other: Index,
        from: Index,
        count: usize,
        at: Index,
        instead: bool,
    },
}

/// What may stand in place of a number.
const WRONG_NUMBERS: [&str; 12] = [
    "0",
    "1",
    "2",
    "-1",
    "255",
    "65536",
    "1e308",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "null",
    "\"x\"",
];

fn change() -> impl Strategy<Value = Change> {
    let sizes =
        prop_oneof![any::<u64>(), 0u64..40, Just(u64::MAX), Just(1 << 63), Just(1 << 40), Just(1 << 31)];
    let splice = (any::<Index>(), any::<Index>(), 1usize..400, any::<Index>(), any::<bool>());
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        2 => (any::<Index>(), sizes).prop_map(|(at, size)| Change::Size(at, size)),
        3 => (any::<Index>(), proptest::sample::select(WRONG_NUMBERS.to_vec()))
            .prop_map(|(which, wrong)| Change::Digits(which, wrong)),
        1 => any::<Index>().prop_map(Change::Cut),
        2 => splice.prop_map(|(other, from, count, at, instead)| {
            Change::Splice { other, from, count, at, instead }
        }),
    ]
}

/// A file to begin with, and changes of it.
fn changes() -> impl Strategy<Value = (Index, Vec<Change>)> {
    (any::<Index>(), proptest::collection::vec(change(), 1..6))
}

/// Where runs of digits begin and end.
fn digits(bytes: &[u8]) -> Vec<(usize, usize)> {
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let starts = (0..bytes.len()).filter(|&at| is_digit(at) && (at == 0 || !is_digit(at - 1)));
    let end = |start: usize| (start..bytes.len()).find(|&at| !is_digit(at)).unwrap_or(bytes.len());
    starts.map(|start| (start, end(start))).collect()
}

impl Change {
    /// Changes a file; `others` are those that bytes may be taken from.
    fn apply(&self, bytes: &mut Vec<u8>, others: &[&[u8]]) {
        let length = bytes.len();
        if length == 0 {
            return;
        }
        match self {
            Self::Byte(at, byte) => bytes[at.index(length)] = *byte,
            Self::Size(at, size) => {
                let at = at.index(length);
                let end = length.min(at + 8);
                bytes[at..end].copy_from_slice(&size.to_le_bytes()[..end - at]);
            }
            Self::Digits(which, wrong) => {
                let runs = digits(bytes);
                if !runs.is_empty() {
                    let (start, end) = runs[which.index(runs.len())];
                    bytes.splice(start..end, wrong.bytes());
                }
            }
            Self::Cut(at) => bytes.truncate(at.index(length)),
            Self::Splice { other, from, count, at, instead } => {
                let other = others[other.index(others.len())];
                let from = if other.is_empty() { 0 } else { from.index(other.len()) };
                let piece = &other[from..other.len().min(from + count)];
                let at = at.index(length);
                let end = if *instead { length.min(at + piece.len()) } else { at };
                bytes.splice(at..end, piece.iter().copied());
            }
        }
    }
}

/// One of `seeds` with changes; every other time `sound`, with which most can happen.
fn changed(seeds: &[&[u8]], sound: &[u8], (seed, changes): &(Index, Vec<Change>)) -> Vec<u8> {
    let pick = seed.index(2 * seeds.len());
    let mut bytes = seeds.get(pick).copied().unwrap_or(sound).to_vec();
    for change in changes {
        change.apply(&mut bytes, seeds);
    }
    bytes
}

/// Loads a checkpoint with a changed file of the corpus.
fn try_changed(kind: Kind, case: &(Index, Vec<Change>)) {
    let seeds: Vec<&[u8]> = corpus()[&kind].iter().map(|seed| seed.bytes.as_slice()).collect();
    said_of(kind, &changed(&seeds, sound(kind), case));
}

// One test for each reader, so that one alone can be looked at for long.
proptest! {
    #[test]
    fn changed_safetensors(case in changes()) {
        try_changed(SAFETENSORS, &case);
    }

    #[test]
    fn changed_index(case in changes()) {
        try_changed(INDEX, &case);
    }

    #[test]
    fn changed_gguf(case in changes()) {
        try_changed(GGUF, &case);
    }

    #[test]
    fn changed_pickle(case in changes()) {
        try_changed(PICKLE, &case);
    }

    #[test]
    fn changed_config(case in changes()) {
        try_changed(CONFIG, &case);
    }

    #[test]
    fn changed_tokenizer(case in changes()) {
        try_changed(TOKENIZER, &case);
    }
}

/// An archive of PyTorch.
fn pth(pickle: &[u8], data: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in [("a/data.pkl", pickle), ("a/data/0", data)] {
        archive.start_file(name, stored).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A file in an archive, where there is one.
fn unpacked(archive: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(archive)).ok()?;
    let mut bytes = Vec::new();
    archive.by_name(name).ok()?.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The pickles within the archives of the corpus.
fn pickles() -> &'static [Vec<u8>] {
    static PICKLES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    PICKLES.get_or_init(|| {
        corpus()[&PICKLE].iter().filter_map(|seed| unpacked(&seed.bytes, "a/data.pkl")).collect()
    })
}

proptest! {
    /// Changed before it is packed: a changed archive is mostly found out by its checksums.
    #[test]
    fn changed_pickle_within_an_archive(case in changes()) {
        let seeds: Vec<&[u8]> = pickles().iter().map(Vec::as_slice).collect();
        let [sound, data] = ["a/data.pkl", "a/data/0"].map(|name| unpacked(sound(PICKLE), name).unwrap());
        said_of(PICKLE, &pth(&changed(&seeds, &sound, &case), &data));
    }

    /// Bytes alone never make a checkpoint, whatever else is in the archive.
    #[test]
    fn any_pickle_in_an_archive(pickle in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(said_of(PICKLE, &pth(&pickle, &[0; 4])).is_some());
    }
}

/// Instructions that make something of next to nothing, again and again.
#[test]
fn pickles_that_repeat_themselves_take_memory_by_their_length() {
    let text = |text: &str| [&[b'X'][..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    // The arguments of a tensor, number 1, and what makes one of them, number 2.
    let key = "0".repeat(255);
    let sizes = [&b"("[..], &b"K\x01".repeat(8), b"t"].concat();
    let tensor = [
        b"ctorch._utils\n_rebuild_tensor_v2\nq\x02((".to_vec(),
        text("storage"),
        b"ctorch\nHalfStorage\n".to_vec(),
        text(&key),
        b"tQK\x00".to_vec(),
        sizes.clone(),
        sizes,
        b"tq\x01R".to_vec(),
    ]
    .concat();
    let long = [text("typing"), b"q\x01".to_vec(), text(&"x".repeat(100_000)), b"q\x02".to_vec()].concat();
    let again = |start: &[u8], part: &[u8], count: usize| [start, &part.repeat(count), b"."].concat();
    for pickle in [
        again(b"", b"}", 1 << 20),
        again(b"", b")", 1 << 20),
        again(b"", b"(", 1 << 20),
        again(b"N", b"2", 1 << 20),
        again(b"", b"K\x01", 1 << 19),
        again(&tensor, b"h\x02h\x01R", 1 << 17),
        again(&long, b"h\x01h\x02\x93", 1 << 17),
    ] {
        let folder = prepared(PICKLE);
        std::fs::write(folder.path().join(PICKLE.file), pth(&pickle, &[0; 4])).unwrap();
        let (said, most) = loaded(&folder, PICKLE);
        assert!(said.is_some());
        let allowed = 200 * pickle.len() + BESIDES;
        assert!(most <= allowed, "{most} bytes of memory for a pickle of {}: {said:?}", pickle.len());
    }
}

/// Links to a device that never ends.
#[cfg(target_os = "linux")]
#[test]
fn files_without_end_are_refused() {
    for kind in [CONFIG, TOKENIZER, INDEX] {
        let folder = prepared(kind);
        std::os::unix::fs::symlink("/dev/zero", folder.path().join(kind.file)).unwrap();
        let (said, most) = loaded(&folder, kind);
        let message = said.unwrap();
        assert!(message.contains(kind.file) && message.contains("more than"), "{message}");
        assert!(most < 300 << 20, "{}: {most}", kind.file);
    }
    for kind in [SAFETENSORS, GGUF, PICKLE] {
        let folder = prepared(kind);
        std::os::unix::fs::symlink("/dev/zero", folder.path().join(kind.file)).unwrap();
        let (said, most) = loaded(&folder, kind);
        assert!(said.is_some() && most < BESIDES, "{}: {said:?} {most}", kind.file);
    }
}
