//! SigLIP vision tower (arXiv 2303.15343) as LLaVA uses it: the hidden state before
//! the last layer of the original, no post norm, no pooling head.
//!
//! Shapes: frames F, patches N = grid², width D, image side S.

use candle_core::{Result, Tensor};
use candle_nn::{Init, Module as _, VarBuilder};

use super::config::SiglipConfig;
use super::layers::{LayerNorm, Linear, gelu_mlp, linear};
use super::ops::{self, AttentionMask, Gelu, HeadCounts};
use crate::worker::side_by_side;

/// Frames of one pass where many are to be seen: bounds the memory.
pub const CHUNK: usize = 8;

/// Frames that one thread computes together.
const TOGETHER: usize = 2;

/// Patch embedding, learned positions and pre-norm transformer layers.
#[derive(Debug, Clone)]
pub struct SiglipTower {
    patch_weight: Tensor,
    patch_bias: Tensor,
    position: Tensor,
    layers: Vec<SiglipLayer>,
    patch_size: usize,
    grid: usize,
}

impl SiglipTower {
    /// Reads the tensors below `vision_model` of the published files.
    pub fn new(config: &SiglipConfig, weights: &VarBuilder<'_>) -> Result<Self> {
        let (width, patch) = (config.hidden_size, config.patch_size);
        let embeddings = weights.pp("embeddings");
        let bound = 1.0 / ((3 * patch * patch) as f64).sqrt();
        let uniform = Init::Uniform { lo: -bound, up: bound };
        let encoder = weights.pp("encoder").pp("layers");
        let small = Init::Randn { mean: 0.0, stdev: 0.02 };
        let positions = config.grid() * config.grid();
        Ok(Self {
            patch_weight: embeddings.pp("patch_embedding").get_with_hints(
                (width, 3, patch, patch),
                "weight",
                uniform,
            )?,
            patch_bias: embeddings.pp("patch_embedding").get_with_hints(width, "bias", Init::Const(0.0))?,
            position: embeddings.pp("position_embedding").get_with_hints(
                (positions, width),
                "weight",
                small,
            )?,
            layers: (0..config.layers())
                .map(|layer| SiglipLayer::new(config, &encoder.pp(layer)))
                .collect::<Result<_>>()?,
            patch_size: patch,
            grid: config.grid(),
        })
    }

    /// (F, 3, S, S) in [-1, 1] to (F, N, D). Frames know nothing of each other: the processor
    /// computes them side by side, a few at a time.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let frames = pixels.dim(0)?;
        if !pixels.device().is_cpu() || frames <= TOGETHER {
            return self.pass(pixels);
        }
        let starts: Vec<usize> = (0..frames).step_by(TOGETHER).collect();
        let part = |&start: &usize| self.pass(&pixels.narrow(0, start, TOGETHER.min(frames - start))?);
        let parts = side_by_side(&starts, part).into_iter().collect::<Result<Vec<_>>>()?;
        Tensor::cat(&parts, 0)
    }

    fn pass(&self, pixels: &Tensor) -> Result<Tensor> {
        self.layers.iter().try_fold(self.embed(pixels)?, |x, layer| layer.forward(&x))
    }

    /// Like [`Self::forward`], with every stage: embeddings first, then the output of
    /// each layer, (F, N, D) each; the last one is what `forward` gives.
    pub fn hidden_states(&self, pixels: &Tensor) -> Result<Vec<Tensor>> {
        let mut states = vec![self.embed(pixels)?];
        for layer in &self.layers {
            states.push(layer.forward(&states[states.len() - 1])?);
        }
        Ok(states)
    }

    /// `forward`, [`CHUNK`] frames at a time, cut from the graph.
    pub fn forward_in_chunks(&self, pixels: &Tensor) -> Result<Tensor> {
        let total = pixels.dim(0)?;
        let mut features = Vec::new();
        for start in (0..total).step_by(CHUNK) {
            let chunk = pixels.narrow(0, start, CHUNK.min(total - start))?;
            features.push(self.forward(&chunk)?.detach());
        }
        Tensor::cat(&features, 0)
    }

    /// Patches with positions, (F, 3, S, S) to (F, N, D).
    pub fn embed(&self, pixels: &Tensor) -> Result<Tensor> {
        self.patches(pixels)?.broadcast_add(&self.position)
    }

    /// The patch convolution as a matrix product, (F, 3, S, S) to (F, N, D).
    /// Stride equals kernel, so unfolding is a transposition.
    pub fn patches(&self, pixels: &Tensor) -> Result<Tensor> {
        let frames = pixels.dim(0)?;
        let (grid, patch) = (self.grid, self.patch_size);
        let used = pixels.narrow(2, 0, grid * patch)?.narrow(3, 0, grid * patch)?.contiguous()?;
        let unfolded = used
            .reshape(vec![frames, 3, grid, patch, grid, patch])?
            .permute(vec![0, 2, 4, 1, 3, 5])?
            .contiguous()?
            .reshape((frames * grid * grid, 3 * patch * patch))?;
        let weight = self.patch_weight.flatten_from(1)?; // (D, 3 patch²)
        ops::linear(&unfolded, &weight, Some(&self.patch_bias))?.reshape((
            frames,
            grid * grid,
            self.patch_bias.dim(0)?,
        ))
    }
}

#[derive(Debug, Clone)]
struct SiglipLayer {
    norm1: LayerNorm,
    norm2: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
    scale: f64,
}

impl SiglipLayer {
    fn new(config: &SiglipConfig, weights: &VarBuilder<'_>) -> Result<Self> {
        let width = config.hidden_size;
        let (attention, mlp) = (weights.pp("self_attn"), weights.pp("mlp"));
        let square = |name| linear(width, width, true, &attention.pp(name));
        Ok(Self {
            norm1: LayerNorm::new(width, config.layer_norm_eps, &weights.pp("layer_norm1"))?,
            norm2: LayerNorm::new(width, config.layer_norm_eps, &weights.pp("layer_norm2"))?,
            query: square("q_proj")?,
            key: square("k_proj")?,
            value: square("v_proj")?,
            out: square("out_proj")?,
            fc1: linear(width, config.intermediate_size, true, &mlp.pp("fc1"))?,
            fc2: linear(config.intermediate_size, width, true, &mlp.pp("fc2"))?,
            heads: config.num_attention_heads,
            scale: 1.0 / ((width / config.num_attention_heads) as f64).sqrt(),
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let normed = self.norm1.forward(x)?;
        let (q, k) = (self.query.forward(&normed)?, self.key.forward(&normed)?);
        let v = self.value.forward(&normed)?;
        let heads = HeadCounts::equal(self.heads);
        let attended = ops::attention_tokens(&q, &k, &v, heads, self.scale, AttentionMask::None)?;
        let x = ops::add(x, &self.out.forward(&attended)?)?;
        let change = gelu_mlp(&self.norm2.forward(&x)?, &self.fc1, &self.fc2, Gelu::Tanh)?;
        ops::add(&x, &change)
    }
}
