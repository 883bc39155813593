//! `loc3r view`: the app. Arguments only; the app itself is `viewer`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::conversation::{ModelArgs, RecordingArgs};

const EXAMPLES: &str = "\
Examples:
  loc3r view walk.mp4                           open a clip
  loc3r view walk.mp4 --rerun                   and mirror it to a live Rerun viewer
  loc3r view runs/mini                          follow a training run
  loc3r view --replay runs/tour/session.jsonl   look at a session again, without a model
  loc3r view walk.mp4 --script actions.txt      drive the app by a script, then quit";

/// Open the app on a video, or on a training run.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(super) struct ViewArgs {
    /// Video file, folder of images, or folder of a training run [default: the first bundled clip]
    video: Option<PathBuf>,
    /// A file of actions to carry out
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Show a session log instead of running a model
    #[arg(long, value_name = "LOG")]
    replay: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    recording: RecordingArgs,
}

#[cfg(not(feature = "viewer"))]
pub(super) fn run(_args: ViewArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!(
        "this build has no app; build with the feature `viewer`, or use `loc3r ask` and `loc3r tour`"
    )
}

#[cfg(feature = "viewer")]
pub(super) fn run(args: ViewArgs) -> anyhow::Result<ExitCode> {
    use super::{model_menu, output, places};
    use crate::viewer::ViewerOptions;

    let video = match (&args.video, &args.replay) {
        (None, None) => Some(places::first_clip()?),
        (video, _) => video.clone(),
    };
    let named = args.model.model.as_deref();
    let model = match places::model_folder(named) {
        _ if args.replay.is_some() => None,
        Err(error) if named.is_none() => {
            output::note(&format!("{error:#}; the app opens without a model"));
            None
        }
        found => Some(found?),
    };
    let compute = args.model.compute();
    Ok(crate::viewer::run(ViewerOptions {
        video,
        models: model_menu::model_list(compute, model.clone()),
        model,
        compute,
        cache: args.model.cache()?,
        script: args.script,
        recording: args.recording.config(),
        replay: args.replay,
    })?)
}
