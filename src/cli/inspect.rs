//! `loc3r inspect`.

use std::process::ExitCode;

/// Facts about a video, checkpoint or scene file.
#[derive(Debug, Default, clap::Args)]
pub(super) struct InspectArgs {}

pub(super) fn run(_args: InspectArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`loc3r inspect` is not part of this build")
}
