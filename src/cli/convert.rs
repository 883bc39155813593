//! `loc3r convert`.

use std::path::PathBuf;
use std::process::ExitCode;

use candle_core::DType;

use super::output::{self, Counter};
use super::places;
use crate::model::convert::convert;
use crate::model::memory_plan::gigabytes;
use crate::model::quantize::{KindReport, Quantization, Quantized, quantize};

/// Make one checkpoint folder out of separate parts, or one quantised GGUF file.
///
/// Reads a folder as people have it: shards with their index, names of LLaVA or of
/// transformers, pytorch_model.bin, CUT3R's own file (cut3r*.pth or cut3r*.safetensors)
/// beside it. Writes one model.safetensors with this program's names, config.json and
/// tokenizer.json, and reads back what it wrote. With --quantize it writes one GGUF file that
/// holds everything: the language model's matrices quantised, the rest as it is.
#[derive(Debug, clap::Args)]
pub(super) struct ConvertArgs {
    /// Checkpoint folder or GGUF file to read, or name of an installed model.
    from: PathBuf,
    /// New folder; with --quantize the new file, FILE.gguf.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Type of the numbers that are not quantised; as they are unless given.
    #[arg(long = "as", value_enum, value_name = "TYPE")]
    numbers: Option<Numbers>,
    /// Write a GGUF file whose language model has matrices of this type.
    #[arg(long, value_enum, value_name = "TYPE")]
    quantize: Option<Blocks>,
}

/// The types of [`Quantization`] by the names that people know them by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Blocks {
    /// 8.5 bits a number.
    #[value(name = "q8_0")]
    Q8,
    /// 6.6 bits a number.
    #[value(name = "q6_K")]
    Q6K,
    /// 5.5 bits a number.
    #[value(name = "q5_K")]
    Q5K,
    /// 4.5 bits a number.
    #[value(name = "q4_K")]
    Q4K,
}

impl Blocks {
    pub(super) fn quantization(self) -> Quantization {
        match self {
            Self::Q8 => Quantization::Q8_0,
            Self::Q6K => Quantization::Q6K,
            Self::Q5K => Quantization::Q5K,
            Self::Q4K => Quantization::Q4K,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Numbers {
    F32,
    F16,
    Bf16,
}

impl Numbers {
    pub(super) fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }
}

pub(super) fn run(args: ConvertArgs) -> anyhow::Result<ExitCode> {
    let dtype = args.numbers.map(Numbers::dtype);
    let mut bar = None;
    let from = places::path_or_installed(args.from)?;
    let progress = &mut |done, total| {
        bar.get_or_insert_with(|| Counter::start("tensors", total)).set(done);
    };
    let quantization = args.quantize.map(Blocks::quantization);
    let (tensors, left_out, bytes, table) = match quantization {
        None => {
            let done = convert(&from, &args.out, dtype, progress)?;
            (done.tensors, done.left_out, done.bytes, String::new())
        }
        Some(quantization) => {
            let done = quantize(&from, &args.out, quantization, dtype, progress)?;
            (done.tensors, done.left_out, done.bytes, table(&done))
        }
    };
    if let Some(bar) = bar {
        bar.clear();
    }
    output::result(&format!(
        "{}: {tensors} tensors, {}, read back; {left_out} that nothing needs left out{table}",
        args.out.display(),
        gigabytes(bytes),
    ));
    Ok(ExitCode::SUCCESS)
}

/// One line a kind of tensor, each with the line break before it.
fn table(done: &Quantized) -> String {
    let mut lines = format!(
        "\n{:<20} {:<5} {:>7} {:>8}  relative difference, largest",
        "kind", "type", "tensors", "size"
    );
    for ((kind, name), report) in &done.kinds {
        let KindReport { tensors, bytes, difference, unfit, .. } = report;
        let unfit = unfit.map_or_else(String::new, |width| {
            format!("  (rows of {width} numbers are no whole blocks of the type asked for)")
        });
        lines +=
            &format!("\n{kind:<20} {name:<5} {tensors:>7} {:>8}  {difference:.4}{unfit}", gigabytes(*bytes));
    }
    lines
}
