//! `loc3r bench infer`: the parts of answering at a published size with random weights,
//! beside PyTorch and transformers in the same run, on the processor.
//!
//! The camera encoder is left out: transformers has no CUT3R.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::PoisonError;

use anyhow::{bail, ensure};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{fastest, reference};
use crate::cli::convert::{Blocks, Numbers};
use crate::cli::output;
use crate::model::freed_memory;
use crate::model::memory_plan::{free_memory, gigabytes};
use crate::model::quantized::Weights;
use crate::model::qwen2::{KvCache, Qwen2};
use crate::model::random_weights::{RandomBlocks, language_bytes};
use crate::model::sequence::VisualLayout;
use crate::model::siglip::{self, SiglipTower};
use crate::model::{ModelConfig, PREFILL_CHUNK, SeededVariables};

const REFERENCE: &str = include_str!("../../../tests/reference/infer_bench.py");
/// Tokens of the prompt before and behind the video.
const PROMPT: usize = 80;

/// What is measured.
#[derive(Debug, clap::Args)]
pub(super) struct InferArgs {
    /// Size: tiny, tour, mini, onevision-0.5b or llava-video-7b
    #[arg(long, default_value = "mini")]
    shape: String,
    /// Frames of the video [default: those of the model]
    #[arg(long)]
    frames: Option<u32>,
    /// Tokens of a further question
    #[arg(long, default_value_t = 40)]
    question: usize,
    /// Tokens of an answer
    #[arg(long, default_value_t = 16)]
    answer: usize,
    /// Timed repetitions; the fastest counts
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Quantise the matrices of the language model; the rest is f32
    #[arg(long, value_enum, value_name = "TYPE")]
    quantize: Option<Blocks>,
    /// Type of the numbers of PyTorch's language model, which has no quantised matrices
    #[arg(long, value_enum, value_name = "TYPE", default_value = "f32")]
    reference_as: Numbers,
    /// Python with PyTorch and transformers, for the reference
    #[arg(long, default_value = "python3")]
    python: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Seconds of each part.
#[derive(Debug, Serialize, Deserialize)]
struct Seconds {
    /// All frames through the vision tower.
    vision: f64,
    /// Prompt and video through the language model.
    prefill: f64,
    /// A further question behind the kept video.
    follow_up: f64,
    /// An answer, token by token.
    decode: f64,
}

impl Seconds {
    /// Until the first question is understood: the video, and the question behind it.
    fn first_question(&self) -> f64 {
        self.vision + self.prefill + self.follow_up
    }

    fn parts(&self) -> [(&'static str, f64); 5] {
        [
            ("vision tower, all frames", self.vision),
            ("language model, video", self.prefill),
            ("first question", self.first_question()),
            ("further question", self.follow_up),
            ("answer", self.decode),
        ]
    }
}

pub(super) fn run(args: &InferArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = ModelConfig::preset(&args.shape) else {
        bail!("there is no shape {:?}; choose one of {}", args.shape, ModelConfig::PRESETS.join(", "));
    };
    let frames = args.frames.unwrap_or(config.num_frames).max(1) as usize;
    let prefix = VisualLayout::new(&config, frames).len() + PROMPT;
    let seconds = measure(args, &config, frames, prefix)?;
    let peak = peak_memory();
    // The reference needs it.
    freed_memory::give_back();
    let sizes = json!({
        "vision": config.vision, "language": config.language, "frames": frames, "prefix": prefix,
        "chunk": siglip::CHUNK.min(frames), "prefill_chunk": PREFILL_CHUNK, "question": args.question,
        "answer": args.answer, "numbers": args.reference_as.dtype().as_str(),
    });
    let arguments = [sizes.to_string(), args.repeats.max(1).to_string()];
    let reference = reference::run(&args.python, &["torch", "transformers"], REFERENCE, &arguments)?;
    if args.json {
        let facts = json!({
            "shape": args.shape, "numbers": numbers(args), "sizes": sizes, "seconds": seconds, "peak_bytes": peak,
            "reference": reference.as_ref().ok(),
        });
        output::result(&serde_json::to_string_pretty(&facts)?);
        return Ok(ExitCode::SUCCESS);
    }
    let heading = format!(
        "{}, random weights, {}, {frames} frames, {prefix} tokens of video and prompt, fastest of {}",
        args.shape,
        numbers(args),
        args.repeats
    );
    output::result(&table(&heading, args, &seconds, peak, &reference)?);
    Ok(ExitCode::SUCCESS)
}

/// "f32", or what the language models of both sides are made of.
fn numbers(args: &InferArgs) -> String {
    let reference = args.reference_as.dtype().as_str();
    match args.quantize {
        Some(blocks) => format!("{} (PyTorch {reference})", blocks.quantization().name()),
        None if reference == "f32" => reference.to_owned(),
        None => format!("f32 (PyTorch {reference})"),
    }
}

fn measure(args: &InferArgs, config: &ModelConfig, frames: usize, prefix: usize) -> anyhow::Result<Seconds> {
    let device = &Device::Cpu;
    let vision = {
        let tower = at_rest(1, |weights| SiglipTower::new(&config.vision, weights))?;
        let side = config.vision.image_size;
        let pixels = Tensor::randn(0f32, 1.0, (frames, 3, side, side), device)?;
        fastest(args.repeats, || {
            tower.forward_in_chunks(&pixels)?;
            Ok(())
        })?
    };
    let language = language_model(args, config)?;
    let width = config.language.hidden_size;
    let rows = |count: usize| Tensor::randn(0f32, 1.0, (1, count, width), device);
    let (video, question) = (rows(prefix)?, rows(args.question.max(1))?);
    let mut kept = KvCache::new();
    let prefill = fastest(args.repeats, || {
        kept = KvCache::new();
        for start in (0..prefix).step_by(PREFILL_CHUNK) {
            let chunk = video.narrow(1, start, PREFILL_CHUNK.min(prefix - start))?.contiguous()?;
            language.forward_embeds(&chunk, &mut kept)?;
            kept = kept.detach();
        }
        Ok(())
    })?;
    let follow_up =
        fastest(args.repeats, || Ok(language.forward_embeds(&question, &mut kept.clone()).map(drop)?))?;
    let decode = fastest(args.repeats, || {
        let (mut cache, mut token) = (kept.clone(), 1u32);
        for _ in 0..args.answer {
            let hidden =
                language.forward_embeds(&language.embed(&Tensor::new(&[[token]], device)?)?, &mut cache)?;
            cache = cache.detach();
            token = language.logits(&hidden)?.flatten_all()?.argmax(D::Minus1)?.to_scalar()?;
        }
        Ok(())
    })?;
    Ok(Seconds { vision, prefill, follow_up, decode })
}

/// The language model with random weights.
///
/// # Errors
/// When it does not fit the memory.
fn language_model(args: &InferArgs, config: &ModelConfig) -> anyhow::Result<Qwen2> {
    let device = &Device::Cpu;
    let quantization = args.quantize.map(Blocks::quantization);
    let (needed, free) = (language_bytes(&config.language, quantization)?, free_memory(device));
    ensure!(
        free.is_none_or(|free| needed <= free),
        "the language model of {} takes {} and {} are free; try --quantize q4_K or a smaller shape",
        args.shape,
        gigabytes(needed),
        gigabytes(free.unwrap_or_default())
    );
    let source = quantization.map(RandomBlocks);
    Ok(at_rest(2, |dense| {
        let weights = match &source {
            Some(source) => Weights::with_quantized(dense, source),
            None => Weights::dense(dense),
        };
        Qwen2::from_weights(&config.language, &weights.pp("model"), &weights)
    })?)
}

/// Builds something of random weights that are not to be trained, as those of a checkpoint:
/// operations on variables keep what a backward pass would need.
fn at_rest<T>(
    seed: u64,
    build: impl Fn(&VarBuilder<'_>) -> candle_core::Result<T>,
) -> candle_core::Result<T> {
    let (variables, device) = (SeededVariables::new(seed), &Device::Cpu);
    drop(build(&variables.builder(DType::F32, device))?);
    let map = variables.var_map();
    let map = map.data().lock().unwrap_or_else(PoisonError::into_inner);
    let constants = map.iter().map(|(name, variable)| (name.clone(), variable.as_tensor().detach()));
    build(&VarBuilder::from_tensors(constants.collect(), DType::F32, device))
}

/// The most memory that this process had so far, bytes; `None` where the system does not tell.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn table(
    heading: &str,
    args: &InferArgs,
    seconds: &Seconds,
    peak: Option<u64>,
    reference: &Result<Value, String>,
) -> anyhow::Result<String> {
    let mut text = format!("{heading}\n{:<26}{:>10}{:>10}{:>9}\n", "seconds", "loc3r", "PyTorch", "ratio");
    let theirs = match reference {
        Ok(found) => Some(Seconds::deserialize(&found["seconds"])?),
        Err(_missing) => None,
    };
    for (at, (name, ours)) in seconds.parts().into_iter().enumerate() {
        write!(text, "{name:<26}{ours:>10.3}")?;
        match theirs.as_ref().map(|theirs| theirs.parts()[at].1) {
            Some(theirs) => writeln!(text, "{theirs:>10.3}{:>9.2}", theirs / ours)?,
            None => writeln!(text, "{:>10}{:>9}", "-", "-")?,
        }
    }
    let rate = |secs: f64| args.answer as f64 / secs;
    write!(text, "{:<26}{:>10.1}", "tokens a second", rate(seconds.decode))?;
    match &theirs {
        Some(theirs) => writeln!(text, "{:>10.1}", rate(theirs.decode))?,
        None => writeln!(text, "{:>10}", "-")?,
    }
    if let Some(peak) = peak {
        let theirs = reference.as_ref().ok().and_then(|found| found["peak_bytes"].as_f64());
        let theirs = theirs.map_or("-".to_owned(), |bytes| format!("{:.2}", bytes / 1e9));
        writeln!(text, "{:<26}{:>10.2}{theirs:>10}", "most memory, GB", peak as f64 / 1e9)?;
    }
    match reference {
        Ok(found) => {
            let version = found["version"].as_str().unwrap_or("of unknown version");
            write!(text, "ratio: 1.00 is as fast as PyTorch {version} with transformers")?;
        }
        Err(reason) => write!(text, "no comparison: {reason}")?,
    }
    Ok(text)
}
