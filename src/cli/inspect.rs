//! `loc3r inspect`: what a file or folder holds. Each kind of file has one function here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use candle_core::{DType, Device};

use super::output;
use crate::model::checkpoint::{CONFIG_FILE, Checkpoint};
use crate::video::{self, VideoInfo};

/// Facts about a video, checkpoint or scene file.
#[derive(Debug, Default, clap::Args)]
pub(super) struct InspectArgs {
    /// A video file, a folder of images, or a checkpoint folder.
    path: PathBuf,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: InspectArgs) -> anyhow::Result<ExitCode> {
    let text = match Kind::of(&args.path) {
        Kind::Checkpoint => inspect_checkpoint(&args.path, args.json)?,
        Kind::Video => inspect_video(&args.path, args.json)?,
    };
    output::result(&text);
    Ok(ExitCode::SUCCESS)
}

/// What a path holds, by its name and content.
enum Kind {
    /// A folder with a `config.json`.
    Checkpoint,
    /// A video file, an image, or a folder of images.
    Video,
}

impl Kind {
    fn of(path: &Path) -> Self {
        if path.join(CONFIG_FILE).is_file() { Self::Checkpoint } else { Self::Video }
    }
}

/// Loads a checkpoint completely: what is printed is known to fit.
fn inspect_checkpoint(folder: &Path, json: bool) -> anyhow::Result<String> {
    let checkpoint = Checkpoint::load(folder, DType::F32, &Device::Cpu)?;
    let (config, report) = (&checkpoint.config, &checkpoint.report);
    let mut tensors: BTreeMap<&str, usize> = BTreeMap::new();
    for name in &report.used {
        *tensors.entry(name.split('.').next().unwrap_or(name)).or_default() += 1;
    }
    if json {
        let facts = serde_json::json!({
            "folder": folder, "parameters": report.parameters, "tensors": tensors, "config": config,
        });
        return Ok(serde_json::to_string_pretty(&facts)?);
    }
    let (vision, language) = (&config.vision, &config.language);
    let mut lines = Vec::new();
    let mut fact = |name: &str, value: String| lines.push(format!("{name:<11} {value}"));
    fact("checkpoint", folder.display().to_string());
    fact("model", config.name.clone());
    if !config.notice.is_empty() {
        fact("notice", config.notice.clone());
    }
    fact("weights", format!("{:.2} million", report.parameters as f64 / 1e6));
    fact(
        "video",
        format!("{} frames of {} x {} pixels", config.num_frames, vision.image_size, vision.image_size),
    );
    fact("vision", format!("{} layers, width {}", vision.num_hidden_layers, vision.hidden_size));
    fact("language", format!("{} layers, width {}", language.num_hidden_layers, language.hidden_size));
    fact("vocabulary", format!("{} entries", language.vocab_size));
    for (part, count) in &tensors {
        fact("tensors", format!("{count} in {part}"));
    }
    if !report.ignored.is_empty() {
        fact("unused", format!("{} tensors", report.ignored.len()));
    }
    Ok(lines.join("\n"))
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
    use crate::geometry::ImageSize;
    use crate::video::FrameIndex;

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
