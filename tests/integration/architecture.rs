//! The architecture, checked: who imports whom, file length, module docs, names.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Module, the modules of ours it may name, the guarded external crates it may name.
const ALLOWED: &[(&str, &[&str], &[&str])] = &[
    ("geometry", &[], &[]),
    ("worker", &[], &["crossbeam"]),
    ("hub", &["worker"], &["ureq"]),
    ("video", &["geometry", "worker"], &["video_rs", "ffmpeg_next", "image", "crossbeam"]),
    ("scene", &["geometry", "video"], &[]),
    ("qa", &["geometry", "scene"], &[]),
    (
        "model",
        &["geometry", "worker", "video", "scene", "qa"],
        &["candle_core", "candle_nn", "candle_transformers", "tokenizers", "safetensors", "image"],
    ),
    ("dataset", &["geometry", "video", "scene", "qa"], &[]),
    ("synth", &["geometry", "video", "scene", "qa", "dataset"], &["image"]),
    (
        "train",
        &["geometry", "worker", "video", "scene", "qa", "model", "synth"],
        &["candle_core", "candle_nn", "safetensors", "image", "crossbeam"],
    ),
    (
        "evaluate",
        &["geometry", "worker", "video", "scene", "qa", "model", "dataset", "synth"],
        &["candle_core"],
    ),
    (
        "parity",
        &["geometry", "model", "train", "evaluate"],
        &["candle_core", "candle_nn", "safetensors", "image"],
    ),
    ("session", &["geometry", "worker", "video", "scene", "qa", "model"], &["candle_core", "crossbeam"]),
    (
        "recording",
        &["geometry", "worker", "video", "scene", "qa", "session", "train"],
        &["rerun", "image", "crossbeam"],
    ),
    (
        "viewer",
        &["geometry", "worker", "video", "scene", "qa", "session", "recording", "evaluate", "train"],
        &["bevy", "bevy_egui", "egui", "rfd", "image", "crossbeam"],
    ),
];

/// External crates that only the modules naming them above may use.
const GUARDED: &[&str] = &[
    "bevy",
    "bevy_egui",
    "candle_core",
    "candle_nn",
    "candle_transformers",
    "crossbeam",
    "egui",
    "ffmpeg_next",
    "image",
    "rerun",
    "rfd",
    "safetensors",
    "tokenizers",
    "ureq",
    "video_rs",
];

const FORBIDDEN_NAMES: &[&str] = &["utils", "util", "helpers", "common", "types", "prelude", "misc"];
const MOST_LINES: usize = 600;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// (top module, path for messages, code without its unit tests) of every source file.
fn files() -> Vec<(String, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
            let top = relative.split(['/', '.']).next().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned();
            (top, relative, code)
        })
        .collect()
}

fn code_lines(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// First path segments that follow `prefix` in the code.
fn segments_after<'a>(code: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    code_lines(code)
        .flat_map(|line| line.match_indices(prefix).map(move |(at, found)| &line[at + found.len()..]))
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
        .filter(|segment| !segment.is_empty())
        .collect()
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let mut wrong = Vec::new();
    for (top, path, code) in files() {
        let Some((_, ours, external)) = ALLOWED.iter().find(|(module, ..)| *module == top) else { continue };
        for module in segments_after(&code, "crate::") {
            if module != top && ALLOWED.iter().any(|(known, ..)| *known == module) && !ours.contains(&module)
            {
                wrong.push(format!("{path} imports crate::{module}"));
            }
        }
        for krate in GUARDED {
            let named = code_lines(&code).any(|line| {
                line.match_indices(&format!("{krate}::")).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                })
            });
            if named && !external.contains(krate) {
                wrong.push(format!("{path} uses the crate {krate}"));
            }
        }
    }
    assert!(wrong.is_empty(), "against the table in ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_command_line_names_clap_and_anyhow() {
    for (top, path, code) in files() {
        for krate in ["clap::", "anyhow::"] {
            let named = code_lines(&code).any(|line| line.contains(krate));
            assert!(!named || top == "cli", "{path} uses {krate}");
        }
    }
}

#[test]
fn files_are_short_documented_and_well_named() {
    let mut wrong = Vec::new();
    for (_, path, code) in files() {
        let lines = code.lines().count();
        if lines > MOST_LINES {
            wrong.push(format!("{path} has {lines} lines without tests, more than {MOST_LINES}"));
        }
        if !code.starts_with("//!") {
            wrong.push(format!("{path} does not start with a module doc"));
        }
        if path.split(['/', '.']).any(|part| FORBIDDEN_NAMES.contains(&part)) {
            wrong.push(format!("{path} has a name that says nothing"));
        }
        let unfinished = code_lines(&code).chain(code.lines()).find(|line| {
            ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("].iter().any(|mark| line.contains(mark))
        });
        if let Some(line) = unfinished {
            wrong.push(format!("{path} is unfinished: {}", line.trim()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_outside_the_command_line_prints_or_reads_the_environment() {
    for (top, path, code) in files() {
        if top == "cli" || top == "main" {
            continue;
        }
        for mark in ["println!(", "eprintln!(", "env::var(", "env::var_os(", "env::args("] {
            assert!(!code_lines(&code).any(|line| line.contains(mark)), "{path} contains {mark}");
        }
    }
}

#[test]
fn threads_start_in_one_place() {
    for (top, path, code) in files() {
        let starts =
            code_lines(&code).any(|line| line.contains("thread::spawn(") || line.contains("thread::Builder"));
        assert!(!starts || top == "worker", "{path} starts a thread; use crate::worker");
    }
}
