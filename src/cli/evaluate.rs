//! `loc3r evaluate`.

use std::process::ExitCode;

/// Measure a model beside its baselines.
#[derive(Debug, Default, clap::Args)]
pub(super) struct EvaluateArgs {}

pub(super) fn run(_args: EvaluateArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`loc3r evaluate` is not part of this build")
}
