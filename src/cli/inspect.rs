//! `loc3r inspect`: what a file or folder holds. Each kind of file has one function here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use candle_core::Device;

use super::{output, places};
use crate::geometry::ImageSize;
use crate::model::GenerationSettings;
use crate::model::checkpoint::{CONFIG_FILE, Examination, GENERATION_FILE, KeyReport, examine, is_gguf};
use crate::model::memory_plan::{free_memory, gigabytes};
use crate::model::network::TRAINING_ONLY_PREFIX;
use crate::synth::{LoadedScene, Room, read_scene_file};
use crate::video::{self, VideoInfo};

/// Facts about a video, checkpoint or scene file.
#[derive(Debug, Default, clap::Args)]
pub(super) struct InspectArgs {
    /// A video file, a folder of images, a checkpoint folder or GGUF file, the name of an
    /// installed model, or a scene file (JSON).
    path: PathBuf,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// List what becomes of every tensor of a checkpoint: used, unused, missing or unexpected.
    #[arg(long)]
    tensors: bool,
}

pub(super) fn run(args: InspectArgs) -> anyhow::Result<ExitCode> {
    let args = InspectArgs { path: places::path_or_installed(args.path)?, ..args };
    match Kind::of(&args.path) {
        Kind::Checkpoint => inspect_checkpoint(&args)?,
        Kind::Scene => output::result(&inspect_scene(&args.path, args.json)?),
        Kind::Video => output::result(&inspect_video(&args.path, args.json)?),
    }
    Ok(ExitCode::SUCCESS)
}

/// What a path holds, by its name and content.
enum Kind {
    /// A folder with a `config.json`, or a GGUF file.
    Checkpoint,
    /// A scene file of `loc3r synth`.
    Scene,
    /// A video file, an image, or a folder of images.
    Video,
}

impl Kind {
    fn of(path: &Path) -> Self {
        if path.join(CONFIG_FILE).is_file() || is_gguf(path) {
            Self::Checkpoint
        } else if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
            Self::Scene
        } else {
            Self::Video
        }
    }
}

/// Prints what the headers of a checkpoint tell, so that the largest one can be looked at
/// anywhere, then fails if it cannot be loaded.
fn inspect_checkpoint(args: &InspectArgs) -> anyhow::Result<()> {
    let told = examine(&args.path, &Device::Cpu)?;
    let text = if args.json { checkpoint_json(&args.path, &told)? } else { checkpoint_text(args, &told) };
    output::result(&text);
    told.problem.map_or(Ok(()), |problem| Err(problem.into()))
}

/// Tensors that are used, by the first word of their names.
fn parts(report: &KeyReport) -> BTreeMap<&str, usize> {
    let mut parts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in &report.used {
        *parts.entry(name.split('.').next().unwrap_or(name)).or_default() += 1;
    }
    parts
}

fn checkpoint_json(folder: &Path, told: &Examination) -> anyhow::Result<String> {
    let report = &told.report;
    let memory: BTreeMap<&str, _> = told.plans.iter().map(|(numbers, plan)| (*numbers, plan)).collect();
    let problems: BTreeMap<&str, &[String]> =
        report.problems().into_iter().filter(|(_, names)| !names.is_empty()).collect();
    let generation = &told.generation;
    let facts = serde_json::json!({
        "folder": folder, "parameters": report.parameters, "tensors": parts(report),
        "memory_bytes": memory, "stored": types(report), "config": told.config, "choices": told.choices,
        "generation": {
            "stop_ids": generation.stop_ids, "min_new_tokens": generation.min_new_tokens,
            "max_new_tokens": generation.max_new_tokens, "unused": generation.unused,
        },
        "problems": problems, "problem": told.problem.as_ref().map(ToString::to_string),
    });
    Ok(serde_json::to_string_pretty(&facts)?)
}

/// One fact a line, names in a column.
#[derive(Default)]
struct Facts(Vec<String>);

impl Facts {
    fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0.push(format!("{name:<11} {value}"));
    }
}

fn checkpoint_text(args: &InspectArgs, told: &Examination) -> String {
    let mut facts = Facts::default();
    tell_model(&mut facts, &args.path, told);
    tell_memory(&mut facts, told);
    tell_tensors(&mut facts, &told.report, args.tensors);
    facts.0.join("\n")
}

fn tell_model(facts: &mut Facts, path: &Path, told: &Examination) {
    let Examination { config, report, choices, generation, .. } = told;
    let (vision, language) = (&config.vision, &config.language);
    facts.add("checkpoint", path.display());
    facts.add("model", &config.name);
    if !config.notice.is_empty() {
        facts.add("notice", &config.notice);
    }
    facts.add("weights", format!("{:.2} million", report.parameters as f64 / 1e6));
    let side = vision.image_size;
    facts.add("video", format!("{} frames of {side} x {side} pixels", config.num_frames));
    facts.add("vision", format!("{} layers, width {}", vision.num_hidden_layers, vision.hidden_size));
    facts.add("language", format!("{} layers, width {}", language.num_hidden_layers, language.hidden_size));
    if let Some(known) = &config.familiarity {
        let limit = known.limit;
        facts.add(
            "familiarity",
            format!("clips farther than {limit:.2} from the training rooms are remarked on"),
        );
    }
    for run in &config.training {
        facts.add("trained", run);
        for start in &run.starts {
            facts.add("command", start);
        }
    }
    facts.add("vocabulary", format!("{} entries", language.vocab_size));
    facts.add("answers", answers(generation));
    for choice in choices {
        facts.add("choice", choice);
    }
}

/// How answers are made: "greedy; temperature 0.7 of generation_config.json is not used".
fn answers(generation: &GenerationSettings) -> String {
    let mut parts = vec!["greedy".to_owned()];
    if generation.min_new_tokens > 0 {
        parts.push(format!("at least {} tokens", generation.min_new_tokens));
    }
    if let Some(longest) = generation.max_new_tokens {
        parts.push(format!("at most {longest} tokens"));
    }
    if !generation.stop_ids.is_empty() {
        let ids: Vec<String> = generation.stop_ids.iter().map(ToString::to_string).collect();
        parts.push(format!("ends at tokens {}", ids.join(", ")));
    }
    if !generation.unused.is_empty() {
        let are = if generation.unused.len() == 1 { "is" } else { "are" };
        parts.push(format!("{} of {GENERATION_FILE} {are} not used", generation.unused.join(", ")));
    }
    parts.join("; ")
}

fn tell_memory(facts: &mut Facts, told: &Examination) {
    let free = free_memory(&Device::Cpu);
    for (numbers, plan) in &told.plans {
        let fits = match free {
            Some(free) if plan.total() > free => format!("; only {} are free here", gigabytes(free)),
            Some(free) => format!("; {} are free here", gigabytes(free)),
            None => String::new(),
        };
        let how = match *numbers {
            "bf16" => "bf16 or f16".to_owned(),
            "q4_K" => "q4_K, the rest bf16 (loc3r convert --quantize q4_K)".to_owned(),
            other => other.to_owned(),
        };
        facts.add("memory", format!("as {how}: {plan}{fits}"));
    }
}

fn tell_tensors(facts: &mut Facts, report: &KeyReport, each: bool) {
    for (part, count) in parts(report) {
        facts.add("tensors", format!("{count} in {part}"));
    }
    for (name, TypeFacts { tensors, bytes }) in types(report) {
        facts.add("stored", format!("{tensors} tensors as {name}, {}", gigabytes(bytes)));
    }
    let (training, unused): (Vec<_>, Vec<_>) =
        report.ignored.iter().partition(|name| name.starts_with(TRAINING_ONLY_PREFIX));
    for (what, names) in [("training", &training), ("unused", &unused)] {
        if !names.is_empty() {
            facts.add(what, format!("{} tensors", names.len()));
        }
    }
    for (what, names) in report.problems() {
        if !names.is_empty() {
            facts.add(what, format!("{} tensors", names.len()));
        }
    }
    if !each {
        return;
    }
    for name in &report.used {
        let stored = report
            .stored
            .get(name)
            .map_or_else(String::new, |stored| format!(", {} in {}", stored.numbers.name(), stored.file));
        facts.add("used", format!("{name}{stored}"));
    }
    for (what, names) in [("training", training), ("unused", unused)] {
        for name in names {
            facts.add(what, name);
        }
    }
    for (what, names) in report.problems() {
        for name in names {
            facts.add(what, name);
        }
    }
}

/// The loaded tensors of one type of numbers.
#[derive(Debug, Default, serde::Serialize)]
struct TypeFacts {
    tensors: usize,
    bytes: u64,
}

fn types(report: &KeyReport) -> BTreeMap<&'static str, TypeFacts> {
    let mut types: BTreeMap<&str, TypeFacts> = BTreeMap::new();
    for stored in report.stored.values() {
        let facts = types.entry(stored.numbers.name()).or_default();
        facts.tensors += 1;
        facts.bytes += stored.bytes;
    }
    types
}

/// Reads a scene file as `loc3r synth --scene` does: what is printed can be rendered.
fn inspect_scene(path: &Path, json: bool) -> anyhow::Result<String> {
    let facts = SceneFacts::of(path, &read_scene_file(path)?);
    Ok(if json { serde_json::to_string_pretty(&facts)? } else { facts.text() })
}

/// What a scene file holds; lengths in metres.
#[derive(Debug, serde::Serialize)]
struct SceneFacts {
    file: PathBuf,
    rooms: Vec<RoomFacts>,
    /// How many there are of each category.
    objects: BTreeMap<String, usize>,
    frames: usize,
    frames_per_second: f32,
    walked: f32,
    /// Lowest and highest camera.
    camera_height: [f32; 2],
    picture: ImageSize,
    warnings: Vec<String>,
}

#[derive(Debug, serde::Serialize)]
struct RoomFacts {
    kind: String,
    area: f32,
    sides: [f32; 2],
    height: f32,
}

impl RoomFacts {
    fn of(room: &Room) -> Self {
        let (low, high) = room.bounds();
        Self {
            kind: format!("{:?}", room.kind).to_lowercase(),
            area: room.area(),
            sides: (high - low).to_array(),
            height: room.height,
        }
    }
}

impl SceneFacts {
    fn of(file: &Path, loaded: &LoadedScene) -> Self {
        let LoadedScene { scene, walk, warnings } = loaded;
        let mut objects = BTreeMap::new();
        for object in scene.objects() {
            *objects.entry(object.category.as_str().to_owned()).or_default() += 1;
        }
        let poses = &walk.track.poses;
        let heights = || poses.iter().map(|pose| pose.position.z);
        let (low, high) = heights().fold((f32::MAX, f32::MIN), |(low, high), z| (low.min(z), high.max(z)));
        Self {
            file: file.to_path_buf(),
            rooms: scene.rooms.iter().map(RoomFacts::of).collect(),
            objects,
            frames: poses.len(),
            frames_per_second: walk.fps,
            walked: walk.track.path_length(),
            camera_height: [low, high],
            picture: walk.intrinsics.size,
            warnings: warnings.clone(),
        }
    }

    /// One fact a line, names in a column.
    fn text(&self) -> String {
        let mut lines = Vec::new();
        let mut fact = |name: &str, value: String| lines.push(format!("{name:<11} {value}"));
        fact("scene", self.file.display().to_string());
        for room in &self.rooms {
            let RoomFacts { kind, area, sides: [x, y], height } = room;
            fact("room", format!("{kind}, {area:.1} m² within {x:.1} x {y:.1} m, {height:.2} m high"));
        }
        let counts = self.objects.iter().map(|(category, count)| match count {
            1 => category.clone(),
            _ => format!("{count} x {category}"),
        });
        let total: usize = self.objects.values().sum();
        fact("objects", format!("{total} of {} categories", self.objects.len()));
        fact("", counts.collect::<Vec<_>>().join(", "));
        let secs = self.frames as f32 / self.frames_per_second;
        let rate = self.frames_per_second;
        fact(
            "walk",
            format!("{} frames in {secs:.1} s ({rate:.0} frames/s), {:.1} m", self.frames, self.walked),
        );
        let [low, high] = self.camera_height;
        fact(
            "camera",
            format!("{low:.2} to {high:.2} m high, {} x {} pixels", self.picture.width, self.picture.height),
        );
        for warning in &self.warnings {
            fact("warning", warning.clone());
        }
        lines.join("\n")
    }
}

fn inspect_video(path: &Path, json: bool) -> anyhow::Result<String> {
    let source = video::open(path)?;
    let info = source.info();
    if json {
        return Ok(serde_json::to_string_pretty(info)?);
    }
    Ok(describe_video(info))
}

/// One fact a line, names in a column.
fn describe_video(info: &VideoInfo) -> String {
    let mut lines = Vec::new();
    let mut fact = |name: &str, value: String| lines.push(format!("{name:<11} {value}"));
    fact("video", info.path.display().to_string());
    fact("size", format!("{} x {} pixels", info.size.width, info.size.height));
    fact("frames", format!("{} ({} key frames)", info.frame_count(), info.keyframes.len()));
    fact("rate", format!("{:.3} frames/s on average", 1.0 / info.frame_secs()));
    fact("duration", format!("{:.3} s", info.duration_secs()));
    fact("codec", info.codec.clone());
    fact("container", info.container.clone());
    fact("rotation", format!("{} degrees clockwise", info.rotation_degrees));
    for warning in &info.warnings {
        fact("warning", warning.clone());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::FrameIndex;

    #[test]
    fn a_scene_file_tells_rooms_objects_and_walk() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("room.scene.json");
        let object = |category: &str, x: f32| {
            format!(
                r#"{{"category": "{category}", "bounds": {{"center": [{x}, 0.5, 0.4], "size": [0.5, 0.5, 0.8], "yaw": 0}}}}"#
            )
        };
        let objects = [object("chair", 0.5), object("chair", 1.5), object("gizmo", 3.0)].join(", ");
        let text = format!(
            r#"{{"rooms": [{{"bounds": [[0, 0], [5, 4]]}}], "objects": [{objects}], "walk": {{"seconds": 2, "fps": 10}}}}"#
        );
        std::fs::write(&file, text).unwrap();
        let told = inspect_scene(&file, false).unwrap();
        for part in [
            "20.0 m² within 5.0 x 4.0 m",
            "3 of 2 categories",
            "2 x chair, gizmo",
            "20 frames in 2.0 s",
            "warning",
        ] {
            assert!(told.contains(part), "{part} is missing in\n{told}");
        }
        let json: serde_json::Value = serde_json::from_str(&inspect_scene(&file, true).unwrap()).unwrap();
        assert_eq!(json["objects"]["chair"], 2);
        assert_eq!(json["frames"], 20);
        std::fs::write(&file, "{}").unwrap();
        assert!(inspect_scene(&file, false).unwrap_err().to_string().contains("room.scene.json"));
    }

    #[test]
    fn every_fact_has_a_line() {
        let info = VideoInfo {
            path: "walk.mp4".into(),
            size: ImageSize::new(640, 480),
            pts_secs: (0..50).map(|i| f64::from(i) / 25.0).collect(),
            keyframes: vec![FrameIndex(0), FrameIndex(25)],
            rotation_degrees: 90,
            codec: "h264".to_owned(),
            container: "mov,mp4".to_owned(),
            warnings: vec!["the file ends early".to_owned()],
        };
        let text = describe_video(&info);
        for part in [
            "640 x 480",
            "50 (2 key frames)",
            "25.000 frames/s",
            "2.000 s",
            "h264",
            "90 degrees",
            "ends early",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }
}
