//! `loc3r init`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;

use super::convert::Numbers;
use super::output::{self, Counter};
use crate::model::ModelConfig;
use crate::model::memory_plan::gigabytes;
use crate::model::random_weights::write_random;

/// Write a checkpoint of random weights, to try what a size takes.
///
/// Answers of such a model mean nothing and are marked so. Sizes: tiny, tour, mini,
/// onevision-0.5b, llava-video-7b; the last two have CUT3R's camera encoder.
#[derive(Debug, clap::Args)]
pub(super) struct InitArgs {
    /// The size.
    preset: String,
    /// New folder.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Type of the numbers.
    #[arg(long = "as", value_enum, value_name = "TYPE", default_value = "bf16")]
    numbers: Numbers,
    /// How many frames of a video it looks at, instead of what the size suggests.
    #[arg(long)]
    frames: Option<std::num::NonZeroU32>,
    /// Decides the weights.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn run(args: &InitArgs) -> anyhow::Result<ExitCode> {
    let mut config = ModelConfig::preset(&args.preset).ok_or_else(|| {
        anyhow!("there is no size {:?}; choose one of {}", args.preset, ModelConfig::PRESETS.join(", "))
    })?;
    if let Some(frames) = args.frames {
        config.num_frames = frames.get();
    }
    let mut bar = None;
    let written = write_random(&config, &args.out, args.numbers.dtype(), args.seed, &mut |done, total| {
        bar.get_or_insert_with(|| Counter::start("tensors", total)).set(done);
    })?;
    if let Some(bar) = bar {
        bar.clear();
    }
    output::result(&format!(
        "{}: {}, {:.2} million random weights in {} tensors, {}",
        args.out.display(),
        config.name,
        written.parameters as f64 / 1e6,
        written.tensors,
        gigabytes(written.bytes),
    ));
    Ok(ExitCode::SUCCESS)
}
