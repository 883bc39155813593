//! `loc3r synth`.

use std::process::ExitCode;

/// Generate rooms, or render a scene file.
#[derive(Debug, Default, clap::Args)]
pub(super) struct SynthArgs {}

pub(super) fn run(_args: SynthArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`loc3r synth` is not part of this build")
}
