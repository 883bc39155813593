//! `loc3r bench`: one file per measurement.

use std::process::ExitCode;

/// Measure speed against references.
#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    measurement: Measurement,
}

#[derive(Debug, clap::Subcommand)]
enum Measurement {}

pub(super) fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    match args.measurement {}
}
