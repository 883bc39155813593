//! `loc3r view`.

use std::process::ExitCode;

/// Open the app on a video.
#[derive(Debug, Default, clap::Args)]
pub(super) struct ViewArgs {}

pub(super) fn run(_args: ViewArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`loc3r view` is not part of this build")
}
