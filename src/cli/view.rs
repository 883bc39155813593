//! `loc3r view`.

use std::path::PathBuf;
use std::process::ExitCode;

/// Open the app on a video.
#[derive(Debug, Default, clap::Args)]
#[cfg_attr(
    not(feature = "viewer"),
    expect(dead_code, reason = "a build without the app only explains itself")
)]
pub(super) struct ViewArgs {
    /// Video file or folder of images.
    video: Option<PathBuf>,
    /// Checkpoint folder of the model.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Where the model runs: auto, cpu, cuda, cuda:N, metal.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Carry out a file of actions, one JSON value per line.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Write a Rerun recording.
    #[arg(long, value_name = "FILE")]
    rrd: Option<PathBuf>,
    /// Show everything in a Rerun viewer, too.
    #[arg(long)]
    rerun: bool,
    /// Show a recorded session instead of running a model.
    #[arg(long, value_name = "LOG")]
    replay: Option<PathBuf>,
}

#[cfg(feature = "viewer")]
pub(super) fn run(args: ViewArgs) -> anyhow::Result<ExitCode> {
    use anyhow::Context as _;
    let device = if args.device.is_empty() { "auto".to_owned() } else { args.device };
    let options = crate::viewer::ViewerOptions {
        video: args.video,
        model: args.model,
        device: device.parse().map_err(anyhow::Error::msg).context("--device")?,
        script: args.script,
        recording: crate::recording::RecordingConfig { rrd: args.rrd, viewer: args.rerun },
        replay: args.replay,
    };
    Ok(crate::viewer::run(options)?)
}

#[cfg(not(feature = "viewer"))]
pub(super) fn run(_args: ViewArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!(
        "this build has no app; build with the feature `viewer`, or use `loc3r ask` and `loc3r reconstruct`"
    )
}
