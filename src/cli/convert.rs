//! `loc3r convert`.

use std::path::PathBuf;
use std::process::ExitCode;

use candle_core::DType;

use super::output::{self, Counter};
use super::places;
use crate::model::convert::convert;
use crate::model::memory_plan::gigabytes;

/// Make one checkpoint folder out of separate parts.
///
/// Reads a folder as people have it: shards with their index, names of LLaVA or of
/// transformers, pytorch_model.bin, CUT3R's own file (cut3r*.pth or cut3r*.safetensors)
/// beside it. Writes one model.safetensors with this program's names, config.json and
/// tokenizer.json, and reads back what it wrote.
#[derive(Debug, clap::Args)]
pub(super) struct ConvertArgs {
    /// Checkpoint folder to read, or name of an installed model.
    from: PathBuf,
    /// New folder.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Type of the numbers; as they are unless given.
    #[arg(long = "as", value_enum, value_name = "TYPE")]
    numbers: Option<Numbers>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Numbers {
    F32,
    F16,
    Bf16,
}

pub(super) fn run(args: ConvertArgs) -> anyhow::Result<ExitCode> {
    let dtype = args.numbers.map(|numbers| match numbers {
        Numbers::F32 => DType::F32,
        Numbers::F16 => DType::F16,
        Numbers::Bf16 => DType::BF16,
    });
    let mut bar = None;
    let from = places::path_or_installed(args.from)?;
    let converted = convert(&from, &args.out, dtype, &mut |done, total| {
        bar.get_or_insert_with(|| Counter::start("tensors", total)).set(done);
    })?;
    if let Some(bar) = bar {
        bar.clear();
    }
    output::result(&format!(
        "{}: {} tensors, {}, read back; {} tensors that nothing needs were left out",
        args.out.display(),
        converted.tensors,
        gigabytes(converted.bytes),
        converted.left_out
    ));
    Ok(ExitCode::SUCCESS)
}
