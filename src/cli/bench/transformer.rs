//! `loc3r bench forward` and `loc3r bench train`: the same transformer blocks
//! from the fused operations, from plain candle operations and, where it is
//! installed, in PyTorch; in seconds, GFLOP/s and as a share of the speed of a
//! bare matrix product (the roofline).

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use candle_core::{DType, Device, Tensor, Var};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{fastest, reference};
use crate::cli::output;
use crate::model::ops::{self, AttentionMask, Gelu, HeadCounts, composed};
use crate::train::optimizer::{AdamW, AdamWConfig};

const REFERENCE: &str = include_str!("../../../tests/reference/transformer_bench.py");
const EPS: f64 = 1e-5;
/// Side of the matrix product that counts as the peak.
const PEAK_SIDE: usize = 1024;

/// Size of the measured blocks.
#[derive(Debug, clap::Args)]
pub(super) struct TransformerArgs {
    /// Sequences per batch
    #[arg(long, default_value_t = 4)]
    batch: usize,
    /// Tokens per sequence
    #[arg(long, default_value_t = 600)]
    tokens: usize,
    /// Width of a token
    #[arg(long, default_value_t = 256)]
    width: usize,
    /// Attention heads; divides the width
    #[arg(long, default_value_t = 8)]
    heads: usize,
    /// Transformer blocks
    #[arg(long, default_value_t = 6)]
    blocks: usize,
    /// Timed repetitions; the fastest counts
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Python with PyTorch, for the reference
    #[arg(long, default_value = "python3")]
    python: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    Forward,
    Train,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Fused,
    Composed,
}

/// Weights of one pre-norm block, named in the order of their use.
struct Block {
    norm1: [Var; 2],
    qkv: [Var; 2],
    out: [Var; 2],
    norm2: [Var; 2],
    up: [Var; 2],
    down: [Var; 2],
}

impl Block {
    fn new(width: usize, rng: &mut ChaCha8Rng) -> anyhow::Result<Self> {
        let mut linear = |outputs: usize, inputs: usize| -> anyhow::Result<[Var; 2]> {
            let bound = 1.0 / (inputs as f32).sqrt();
            let values: Vec<f32> = (0..outputs * inputs).map(|_| rng.random_range(-bound..bound)).collect();
            let weight = Tensor::from_vec(values, (outputs, inputs), &Device::Cpu)?;
            Ok([Var::from_tensor(&weight)?, Var::zeros(outputs, DType::F32, &Device::Cpu)?])
        };
        let (qkv, out) = (linear(3 * width, width)?, linear(width, width)?);
        let (up, down) = (linear(4 * width, width)?, linear(width, 4 * width)?);
        let norm = || -> anyhow::Result<[Var; 2]> {
            let one = Var::ones(width, DType::F32, &Device::Cpu)?;
            Ok([one, Var::zeros(width, DType::F32, &Device::Cpu)?])
        };
        Ok(Self { norm1: norm()?, qkv, out, norm2: norm()?, up, down })
    }

    fn variables(&self) -> impl Iterator<Item = &Var> {
        [&self.norm1, &self.qkv, &self.out, &self.norm2, &self.up, &self.down].into_iter().flatten()
    }

    fn fused(&self, x: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
        let width = x.dim(2)?;
        let qkv = ops::linear(&normed(x, &self.norm1, Way::Fused)?, &self.qkv[0], Some(&self.qkv[1]))?;
        let scale = 1.0 / ((width / heads) as f64).sqrt();
        let mixed = ops::attention_packed(&qkv, HeadCounts::equal(heads), scale, AttentionMask::None)?;
        let x = ops::add(x, &ops::linear(&mixed, &self.out[0], Some(&self.out[1]))?)?;
        let normed = normed(&x, &self.norm2, Way::Fused)?;
        let ([up, up_bias], [down, down_bias]) = (&self.up, &self.down);
        let change = ops::mlp(&normed, [up, up_bias], [down, down_bias], Gelu::Erf)?;
        ops::add(&x, &change)
    }

    fn composed(&self, x: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
        let width = x.dim(2)?;
        let linear = |x: &Tensor, [weight, bias]: &[Var; 2]| composed::linear(x, weight, Some(bias));
        let qkv = linear(&normed(x, &self.norm1, Way::Composed)?, &self.qkv)?;
        let part = |index: usize| qkv.narrow(2, index * width, width)?.contiguous();
        let scale = 1.0 / ((width / heads) as f64).sqrt();
        let counts = HeadCounts::equal(heads);
        let mixed =
            composed::attention_tokens(&part(0)?, &part(1)?, &part(2)?, counts, scale, AttentionMask::None)?;
        let x = (x + linear(&mixed, &self.out)?)?;
        let hidden = linear(&normed(&x, &self.norm2, Way::Composed)?, &self.up)?;
        &x + linear(&hidden.gelu_erf()?, &self.down)?
    }
}

fn normed(x: &Tensor, [weight, bias]: &[Var; 2], way: Way) -> candle_core::Result<Tensor> {
    match way {
        Way::Fused => ops::layer_norm(x, weight, bias, EPS),
        Way::Composed => composed::layer_norm(x, weight, bias, EPS),
    }
}

fn blocks_forward(blocks: &[Block], x: &Tensor, heads: usize, way: Way) -> candle_core::Result<Tensor> {
    blocks.iter().try_fold(x.clone(), |x, block| match way {
        Way::Fused => block.fused(&x, heads),
        Way::Composed => block.composed(&x, heads),
    })
}

/// Seconds of the fastest of `repeats` runs after one to warm up.
fn fastest_warm(repeats: usize, mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    work()?;
    fastest(repeats, work)
}

fn measure(args: &TransformerArgs, pass: Pass, way: Way) -> anyhow::Result<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let blocks =
        (0..args.blocks).map(|_| Block::new(args.width, &mut rng)).collect::<anyhow::Result<Vec<_>>>()?;
    let count = args.batch * args.tokens * args.width;
    let values: Vec<f32> = (0..count).map(|_| rng.random_range(-1.7..1.7)).collect();
    let x = Tensor::from_vec(values, (args.batch, args.tokens, args.width), &Device::Cpu)?;
    let variables =
        blocks.iter().flat_map(Block::variables).enumerate().map(|(i, var)| (format!("{i:04}"), var.clone()));
    let mut optimizer = AdamW::new(variables, AdamWConfig { clip_norm: None, ..AdamWConfig::default() })?;
    fastest_warm(args.repeats, || {
        let out = blocks_forward(&blocks, &x, args.heads, way)?;
        if pass == Pass::Train {
            optimizer.backward_step(&out.sqr()?.mean_all()?, 1e-4)?;
        }
        Ok(())
    })
}

/// GFLOP/s of a bare f32 matrix product.
fn matmul_peak(repeats: usize) -> anyhow::Result<f64> {
    let a = Tensor::ones((PEAK_SIDE, PEAK_SIDE), DType::F32, &Device::Cpu)?;
    let seconds = fastest_warm(4 * repeats, || Ok(a.matmul(&a).map(drop)?))?;
    Ok(2.0 * (PEAK_SIDE as f64).powi(3) / seconds * 1e-9)
}

/// GFLOP of one pass, a multiply-add counted as two; backward is twice forward.
fn work_gflop(args: &TransformerArgs, pass: Pass) -> f64 {
    let (tokens, width) = ((args.batch * args.tokens) as f64, args.width as f64);
    let block = 24.0 * tokens * width * width + 4.0 * tokens * args.tokens as f64 * width;
    let passes = if pass == Pass::Train { 3.0 } else { 1.0 };
    passes * args.blocks as f64 * block * 1e-9
}

/// Seconds in PyTorch, or why there are none.
fn pytorch(args: &TransformerArgs, pass: Pass) -> anyhow::Result<Result<f64, String>> {
    let sizes = [args.batch, args.tokens, args.width, args.heads, args.blocks, args.repeats];
    let arguments = sizes.map(|size| size.to_string());
    let report = match reference::run(&args.python, &["torch"], REFERENCE, &arguments)? {
        Ok(report) => report,
        Err(reason) => return Ok(Err(reason)),
    };
    let key = if pass == Pass::Train { "train" } else { "forward" };
    Ok(Ok(report[key].as_f64().context("the PyTorch reference printed no seconds")?))
}

pub(super) fn run(args: &TransformerArgs, pass: Pass) -> anyhow::Result<ExitCode> {
    ensure!(
        args.heads > 0 && args.width.is_multiple_of(args.heads),
        "{} heads do not divide the width {}; choose --heads that does",
        args.heads,
        args.width
    );
    let peak = matmul_peak(args.repeats)?;
    let fused = measure(args, pass, Way::Fused)?;
    let composed = measure(args, pass, Way::Composed)?;
    let reference = pytorch(args, pass)?;
    let gflop = work_gflop(args, pass);
    if args.json {
        output::result(
            &serde_json::json!({
                "gflop": gflop,
                "matmul_gflops": peak,
                "fused_seconds": fused,
                "composed_seconds": composed,
                "pytorch_seconds": reference.as_ref().ok(),
                "fused_over_pytorch_speed": reference.as_ref().ok().map(|seconds| seconds / fused),
                "roofline": gflop / fused / peak,
            })
            .to_string(),
        );
        return Ok(ExitCode::SUCCESS);
    }
    output::result(&table(args, pass, peak, fused, composed, &reference)?);
    Ok(ExitCode::SUCCESS)
}

fn table(
    args: &TransformerArgs,
    pass: Pass,
    peak: f64,
    fused: f64,
    composed: f64,
    reference: &Result<f64, String>,
) -> anyhow::Result<String> {
    let gflop = work_gflop(args, pass);
    let name = if pass == Pass::Train { "training step" } else { "forward pass" };
    let mut text = format!(
        "{name}: {} blocks, width {}, {} heads, batch {} x {} tokens, f32, fastest of {}\n",
        args.blocks, args.width, args.heads, args.batch, args.tokens, args.repeats
    );
    writeln!(text, "{:<22}{:>10}{:>12}{:>14}", "", "seconds", "GFLOP/s", "of matmul")?;
    let mut row = |label: &str, seconds: f64| {
        let speed = gflop / seconds;
        writeln!(text, "{label:<22}{seconds:>10.3}{speed:>12.1}{:>13.0}%", 100.0 * speed / peak)
    };
    row("fused operations", fused)?;
    row("plain candle", composed)?;
    if let Ok(seconds) = reference {
        row("PyTorch", *seconds)?;
    }
    writeln!(text, "{:<22}{:>10}{peak:>12.1}{:>13.0}%", "bare matmul", "", 100.0)?;
    writeln!(text, "fused is {:.2} times as fast as plain candle", composed / fused)?;
    match reference {
        Ok(seconds) => write!(text, "ratio to PyTorch: {:.2} (1.00 is as fast)", seconds / fused)?,
        Err(reason) => write!(text, "ratio to PyTorch: not measured ({reason})")?,
    }
    Ok(text)
}
