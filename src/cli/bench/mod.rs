//! `loc3r bench`: one file per measurement.

mod ask;
mod infer;
mod reference;
mod synth;
mod transformer;

use std::process::ExitCode;
use std::time::Instant;

/// Measure speed against references.
#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    measurement: Measurement,
}

#[derive(Debug, clap::Subcommand)]
enum Measurement {
    /// First layout and further questions on a video.
    Ask(ask::AskBenchArgs),
    /// The parts of answering at published sizes: this program, PyTorch.
    Infer(infer::InferArgs),
    /// Forward pass of transformer blocks: fused, composed, PyTorch.
    Forward(transformer::TransformerArgs),
    /// Training step of transformer blocks: fused, composed, PyTorch.
    Train(transformer::TransformerArgs),
    /// Frames a second of generated rooms, with and without culling.
    Synth(synth::SynthBenchArgs),
}

pub(super) fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    match args.measurement {
        Measurement::Ask(args) => ask::run(&args),
        Measurement::Infer(args) => infer::run(&args),
        Measurement::Forward(args) => transformer::run(&args, transformer::Pass::Forward),
        Measurement::Train(args) => transformer::run(&args, transformer::Pass::Train),
        Measurement::Synth(args) => Ok(synth::run(&args)),
    }
}

/// Seconds of the fastest of `repeats` runs.
fn fastest(repeats: usize, mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..repeats.max(1) {
        let start = Instant::now();
        work()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}
