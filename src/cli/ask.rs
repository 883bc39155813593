//! `loc3r ask`.

use std::process::ExitCode;

/// Answer spatial questions about a video.
#[derive(Debug, Default, clap::Args)]
pub(super) struct AskArgs {}

pub(super) fn run(_args: AskArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`loc3r ask` is not part of this build")
}
