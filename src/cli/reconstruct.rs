//! `loc3r reconstruct`: layout, points and camera path of a video as files.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;

use super::conversation::{Conversation, ModelArgs, RecordingArgs};
use super::export::{self, ReconstructionJson};
use super::{output, picture};
use crate::scene::{CameraEstimate, Layout};
use crate::session::SessionState;

const EXAMPLES: &str = "\
Examples:
  loc3r reconstruct walk.mp4                    facts on the terminal
  loc3r reconstruct walk.mp4 --ply room.ply --tum path.txt --json room.json
  loc3r reconstruct walk.mp4 --png room.png --rrd room.rrd

Everything is in metres from the first camera: x right, y forward, z up.";

/// Layout and camera path of a video.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(super) struct ReconstructArgs {
    /// Video file or folder of images
    video: PathBuf,
    #[command(flatten)]
    files: OutputArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    recording: RecordingArgs,
}

/// Files to write.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Files")]
struct OutputArgs {
    /// Point cloud and layout tokens (PLY, binary)
    #[arg(long, value_name = "FILE")]
    ply: Option<PathBuf>,
    /// Camera path (TUM: seconds, position, quaternion)
    #[arg(long, value_name = "FILE")]
    tum: Option<PathBuf>,
    /// Cameras, layout with uncertainty, and times (JSON)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Picture of the scene
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
}

pub(super) fn run(args: ReconstructArgs) -> anyhow::Result<ExitCode> {
    drop(crate::video::open(&args.video)?);
    let mut conversation = Conversation::start(&args.model, args.recording.config(), None)?;
    conversation.open_video(&args.video)?;
    write_files(conversation.state(), &args.files)?;
    output::result(&summary(conversation.state())?);
    conversation.finish()?;
    Ok(ExitCode::SUCCESS)
}

fn write_files(state: &SessionState, files: &OutputArgs) -> anyhow::Result<()> {
    let (Some(layout), Some(video)) = (&state.layout, &state.video) else {
        return Err(anyhow!("the video has no layout; try again"));
    };
    if files.tum.is_some() && state.cameras.is_empty() {
        return Err(anyhow!("the model has no camera encoder and finds no camera path; leave out `--tum`"));
    }
    if let Some(path) = &files.ply {
        export::write_whole(path, &export::ply(&state.points, layout))?;
    }
    if let Some(path) = &files.tum {
        export::write_whole(path, export::tum(&state.cameras, video).as_bytes())?;
    }
    if let Some(path) = &files.json {
        export::write_whole(path, &serde_json::to_vec_pretty(&ReconstructionJson::of(state))?)?;
    }
    if let Some(path) = &files.png {
        export::write_whole(path, &picture::png(state)?)?;
    }
    Ok(())
}

fn cameras(cameras: &[CameraEstimate]) -> String {
    if cameras.is_empty() {
        return "none, the model has no camera encoder".to_owned();
    }
    let path: f32 =
        cameras.windows(2).map(|pair| pair[0].pose.position.distance(pair[1].pose.position)).sum();
    format!("{} frames, path of {path:.2} m", cameras.len())
}

fn tokens(layout: &Layout) -> String {
    let mut sigmas: Vec<f32> = layout.tokens.iter().map(|token| token.sigma.rms()).collect();
    sigmas.sort_by(f32::total_cmp);
    let (Some(bounds), Some(median)) = (layout.bounds(), sigmas.get(sigmas.len() / 2)) else {
        return "none, the model has no position head for vision tokens".to_owned();
    };
    let (count, size) = (layout.tokens.len(), bounds.size());
    format!("{count} tokens over {:.1} x {:.1} m, median sigma {median:.2} m", size.x, size.y)
}

/// The facts, one a line.
fn summary(state: &SessionState) -> anyhow::Result<String> {
    let (Some(model), Some(layout)) = (&state.model, &state.layout) else {
        return Err(anyhow!("no model is loaded"));
    };
    let timing = state.video_timing.unwrap_or_default();
    let mut lines = vec![
        format!("{} on {}", model.name, model.device),
        format!("cameras  {}", cameras(&state.cameras)),
        format!("points   {}", state.points.points.len()),
        format!("layout   {}", tokens(layout)),
        format!(
            "time     decode {:.0}, vision {:.0}, camera {:.0}, prefill {:.0}, in all {:.0} ms",
            timing.decode, timing.vision, timing.camera, timing.prefill, timing.total
        ),
    ];
    if !model.notice.is_empty() {
        lines.push(model.notice.clone());
    }
    Ok(lines.join("\n"))
}
