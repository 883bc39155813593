//! `loc3r inspect`: what a file or folder holds. Each kind of file has one function here.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::output;
use crate::video::{self, VideoInfo};

/// Facts about a video, checkpoint or scene file.
#[derive(Debug, Default, clap::Args)]
pub(super) struct InspectArgs {
    /// A video file or a folder of images.
    path: PathBuf,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: InspectArgs) -> anyhow::Result<ExitCode> {
    let text = match Kind::of(&args.path) {
        Kind::Video => inspect_video(&args.path, args.json)?,
    };
    output::result(&text);
    Ok(ExitCode::SUCCESS)
}

/// What a path holds, by its name and content.
enum Kind {
    /// A video file, an image, or a folder of images.
    Video,
}

impl Kind {
    fn of(_path: &Path) -> Self {
        Self::Video
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
