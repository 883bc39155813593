//! `loc3r bench`.

use std::process::ExitCode;

/// Measure speed against references.
#[derive(Debug, Default, clap::Args)]
pub(super) struct BenchArgs {}

pub(super) fn run(_args: BenchArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`loc3r bench` is not part of this build")
}
