//! `loc3r reconstruct`.

use std::process::ExitCode;

/// Layout and camera path of a video.
#[derive(Debug, Default, clap::Args)]
pub(super) struct ReconstructArgs {}

pub(super) fn run(_args: ReconstructArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`loc3r reconstruct` is not part of this build")
}
