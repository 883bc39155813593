//! `loc3r view`: the app. Arguments only; the app itself is `viewer`.

#[cfg(feature = "viewer")]
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use super::conversation::{ModelArgs, RecordingArgs};
#[cfg(feature = "viewer")]
use crate::model::checkpoint::memory_plans;
#[cfg(feature = "viewer")]
use crate::model::memory_plan::{free_memory, gigabytes};
#[cfg(feature = "viewer")]
use crate::session::ModelChoice;

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
    use super::{output, places};
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
    let models = model_choices(model.as_deref())?;
    Ok(crate::viewer::run(ViewerOptions {
        video,
        model,
        models,
        compute: args.model.compute(),
        cache: args.model.cache()?,
        script: args.script,
        recording: args.recording.config(),
        replay: args.replay,
    })?)
}

/// The models that the app offers: the one it starts with, the installed ones, the bundled one.
#[cfg(feature = "viewer")]
fn model_choices(started_with: Option<&Path>) -> anyhow::Result<Vec<ModelChoice>> {
    let installed = super::places::installed_models()?;
    let named = |path: &Path| {
        let name = path.file_name().unwrap_or(path.as_os_str());
        (name.to_string_lossy().into_owned(), path.to_owned())
    };
    let started_with = started_with.filter(|path| installed.iter().all(|model| model.folder != *path));
    let others = installed.iter().map(|model| (model.name.clone(), model.folder.clone()));
    Ok(started_with
        .map(named)
        .into_iter()
        .chain(others)
        .map(|(name, path)| model_choice(name, path))
        .collect())
}

/// What a model takes, read off its configuration and the headers of its weights.
#[cfg(feature = "viewer")]
fn model_choice(name: String, path: PathBuf) -> ModelChoice {
    let (needs, fits) = match memory_plans(&path, &candle_core::Device::Cpu) {
        Ok([(dtype, plan), _]) => {
            let free = free_memory(&candle_core::Device::Cpu);
            let needs = format!("{} as {}", gigabytes(plan.total()), dtype.as_str());
            (needs, free.is_none_or(|free| plan.total() <= free))
        }
        Err(error) => (error.to_string(), false),
    };
    ModelChoice { name, path, needs, fits }
}
