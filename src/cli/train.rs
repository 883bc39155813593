//! `loc3r train`.

use std::process::ExitCode;

/// Train a model on generated rooms.
#[derive(Debug, Default, clap::Args)]
pub(super) struct TrainArgs {}

pub(super) fn run(_args: TrainArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`loc3r train` is not part of this build")
}
