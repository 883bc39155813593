//! Qwen2 decoder (arXiv 2407.10671) with an entry point for embeddings, a cache of
//! keys and values that stays differentiable, and every hidden row as output.
//!
//! Shapes: batch B, new rows T, cached rows P, width h, heads H, key heads G, head width d.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Init, Module as _, VarBuilder};

use super::config::Qwen2Config;
use super::layers::{RmsNorm, merge_heads, split_heads};
use super::ops::{self, AttentionMask};
use super::quantized::{Projection, Table, Weights};

/// Keys (after RoPE) and values of the rows seen so far. They stay in the autograd
/// graph: a prefix run once can be expanded to many continuations and trained through.
#[derive(Debug, Clone, Default)]
pub struct KvCache {
    /// One (keys, values) per layer, each (B, G, P, d).
    layers: Vec<(Tensor, Tensor)>,
}

impl KvCache {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows seen.
    pub fn len(&self) -> usize {
        self.layers.first().and_then(|(keys, _)| keys.dim(2).ok()).unwrap_or(0)
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Keys and values of a layer, each (B, G, P, d).
    pub fn layer(&self, layer: usize) -> Option<(&Tensor, &Tensor)> {
        self.layers.get(layer).map(|(keys, values)| (keys, values))
    }

    /// Forgets all but the first `len` rows.
    pub fn truncate(&mut self, len: usize) -> Result<()> {
        if len == 0 {
            self.layers.clear();
        } else if len < self.len() {
            for (keys, values) in &mut self.layers {
                *keys = keys.narrow(2, 0, len)?.contiguous()?;
                *values = values.narrow(2, 0, len)?.contiguous()?;
            }
        }
        Ok(())
    }

    /// The same values cut off from the autograd graph.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self { layers: self.layers.iter().map(|(k, v)| (k.detach(), v.detach())).collect() }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let size = |x: &Tensor| x.elem_count() * x.dtype().size_in_bytes();
        self.layers.iter().map(|(k, v)| size(k) + size(v)).sum()
    }

    fn append(&mut self, layer: usize, keys: Tensor, values: Tensor) -> Result<(Tensor, Tensor)> {
        let joined = match self.layers.get(layer) {
            Some((old_keys, old_values)) => {
                (Tensor::cat(&[old_keys, &keys], 2)?, Tensor::cat(&[old_values, &values], 2)?)
            }
            None => (keys, values),
        };
        match self.layers.get_mut(layer) {
            Some(slot) => slot.clone_from(&joined),
            None => self.layers.push(joined.clone()),
        }
        Ok(joined)
    }
}

/// What is unusual about a pass; the default is plain causal continuation of the cache.
#[derive(Debug, Clone, Copy, Default)]
pub struct PassOptions<'a> {
    /// The new rows are continuations of so many rows each, side by side: every one goes on from
    /// the cache as if it were the only one.
    pub continuations: Option<usize>,
    /// Also gives the residual stream after these numbers of layers, which rise.
    pub taps: &'a [usize],
    /// Nothing is learned before this layer (counted from 0): gradients end where rows enter it.
    /// With the number of layers, nothing is learned at all.
    pub learned_from: usize,
}

impl PassOptions<'_> {
    /// The rows that enter `layer`, without their history where nothing is learned before it.
    fn learned(&self, rows: Tensor, layer: usize) -> Tensor {
        if layer <= self.learned_from && self.learned_from > 0 { rows.detach() } else { rows }
    }
}

/// Output of a pass.
#[derive(Debug, Clone)]
pub struct HiddenStates {
    /// After the final norm, (B, T, h).
    pub last: Tensor,
    /// After the last layer, before the norm, (B, T, h).
    pub unnormed: Tensor,
    /// After each of [`PassOptions::taps`] layers, (B, T, h).
    pub tapped: Vec<Tensor>,
}

impl HiddenStates {
    /// Passes one after the other along T, without what they tapped.
    pub fn cat(passes: &[Self]) -> Result<Self> {
        let joined = |of: fn(&Self) -> &Tensor| Tensor::cat(&passes.iter().map(of).collect::<Vec<_>>(), 1);
        Ok(Self {
            last: joined(|pass| &pass.last)?,
            unnormed: joined(|pass| &pass.unnormed)?,
            tapped: Vec::new(),
        })
    }
}

/// The decoder with its embedding table and output layer.
#[derive(Debug, Clone)]
pub struct Qwen2 {
    embed_tokens: Table,
    layers: Vec<Qwen2Layer>,
    norm: RmsNorm,
    /// (vocabulary, h); the embedding table when tied.
    output: Table,
    inverse_frequencies: Vec<f32>,
}

impl Qwen2 {
    /// Reads `embed_tokens`, `layers.*` and `norm` below `model`, and `lm_head` below
    /// `root` unless the embeddings are tied.
    pub fn new(config: &Qwen2Config, model: &VarBuilder<'_>, root: &VarBuilder<'_>) -> Result<Self> {
        Self::from_weights(config, &Weights::dense(model), &Weights::dense(root))
    }

    /// Like [`Self::new`], with matrices that stay quantised where they are stored so.
    pub fn from_weights(config: &Qwen2Config, model: &Weights<'_>, root: &Weights<'_>) -> Result<Self> {
        let table = (config.vocab_size, config.hidden_size);
        // New words are as strong as what the layers add, and new logits have unit variance:
        // behind a video, weaker words drown before the answer can depend on them.
        let start = Init::Randn { mean: 0.0, stdev: 1.0 / (config.hidden_size as f64).sqrt() };
        let embed_tokens = Table::new(table, start, &model.pp("embed_tokens"))?;
        let output = if config.tie_word_embeddings {
            embed_tokens.clone()
        } else {
            Table::new(table, start, &root.pp("lm_head"))?
        };
        let layers = model.pp("layers");
        let dim = config.head_dim();
        Ok(Self {
            embed_tokens,
            layers: (0..config.num_hidden_layers)
                .map(|layer| Qwen2Layer::new(config, &layers.pp(layer)))
                .collect::<Result<_>>()?,
            norm: RmsNorm::new(config.hidden_size, config.rms_norm_eps, &model.dense.pp("norm"))?,
            output,
            inverse_frequencies: (0..dim / 2)
                .map(|i| 1.0 / (config.rope_theta as f32).powf(2.0 * i as f32 / dim as f32))
                .collect(),
        })
    }

    /// Where its weights are.
    pub fn device(&self) -> &Device {
        self.norm.device()
    }

    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// The embedding table, (vocabulary, h).
    ///
    /// # Errors
    /// When it is quantised.
    pub fn embeddings(&self) -> Result<&Tensor> {
        match &self.embed_tokens {
            Table::Dense(table) => Ok(table),
            Table::Quantized { .. } => {
                candle_core::bail!("a quantised model cannot be trained; train the one it was made from")
            }
        }
    }

    /// Token ids (.., T) of type u32 to embeddings (.., T, h).
    pub fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        self.embed_tokens.rows(ids)
    }

    /// Continues `cache` by (B, T, h) embeddings; hidden rows after the final norm, (B, T, h).
    pub fn forward_embeds(&self, embeds: &Tensor, cache: &mut KvCache) -> Result<Tensor> {
        Ok(self.forward_with(embeds, cache, PassOptions::default())?.last)
    }

    /// Like [`Self::forward_embeds`] with several continuations at once or a look inside.
    pub fn forward_with(
        &self,
        embeds: &Tensor,
        cache: &mut KvCache,
        options: PassOptions<'_>,
    ) -> Result<HiddenStates> {
        self.forward_told(embeds, cache, options, &mut |_| Ok(()))
    }

    /// Like [`Self::forward_with`]; before every layer `told` hears how many are done.
    ///
    /// # Errors
    /// Those of `told` end the pass: the cache is of no use then.
    pub fn forward_told<E: From<candle_core::Error>>(
        &self,
        embeds: &Tensor,
        cache: &mut KvCache,
        options: PassOptions<'_>,
        told: &mut dyn FnMut(usize) -> std::result::Result<(), E>,
    ) -> std::result::Result<HiddenStates, E> {
        let (_, rows, _) = embeds.dims3()?;
        let offset = cache.len();
        let length = options.continuations.unwrap_or(rows).max(1);
        let positions = (0..rows).map(|row| (offset + row % length) as u32);
        let (cos, sin) = self.angles(positions, embeds.device())?;
        let mask = match options.continuations {
            Some(length) => AttentionMask::Continuations { prefix: offset, length },
            None => AttentionMask::Causal { offset },
        };
        let mut x = embeds.clone();
        let mut tapped = Vec::with_capacity(options.taps.len());
        for (index, layer) in self.layers.iter().enumerate() {
            told(index)?;
            x = options.learned(x, index);
            if options.taps.contains(&index) {
                tapped.push(x.clone());
            }
            x = layer.forward(&x, index, cache, (&cos, &sin), mask)?;
        }
        x = options.learned(x, self.layers.len());
        if options.taps.contains(&self.layers.len()) {
            tapped.push(x.clone());
        }
        Ok(HiddenStates {
            last: options.learned(self.norm.forward(&x)?, self.layers.len()),
            unnormed: x,
            tapped,
        })
    }

    /// Queries (heads, n, d) after RoPE, scaled so that their products with keys are
    /// attention scores, of rows (n, h) that enter layer `layer` (counted from 0) at
    /// `positions`.
    ///
    /// # Errors
    /// When there is no such layer.
    pub fn queries(&self, layer: usize, rows: &Tensor, positions: &[u32]) -> Result<Tensor> {
        let Some(layer) = self.layers.get(layer) else {
            candle_core::bail!("there is no layer {layer}, the decoder has {}", self.layers.len())
        };
        let (cos, sin) = self.angles(positions.iter().copied(), rows.device())?;
        let queries = layer.query.forward(&layer.input_norm.forward(&rows.unsqueeze(0)?)?)?;
        ops::rope(&split_heads(&queries, layer.heads)?, &cos, &sin)?.squeeze(0)? * layer.scale
    }

    /// Rows (n, h) behind `layer` (counted from 0) when its first heads look at one row each, those
    /// of `seen` (n, h), and the other heads at nothing.
    ///
    /// # Errors
    /// When there is no such layer.
    pub fn looking_at(&self, layer: usize, rows: &Tensor, seen: &[Tensor]) -> Result<Tensor> {
        match self.layers.get(layer) {
            Some(layer) => layer.looking_at(rows, seen),
            None => candle_core::bail!("there is no layer {layer}, the decoder has {}", self.layers.len()),
        }
    }

    /// Rows (.., h) behind the last layer to hidden rows.
    pub fn normed(&self, rows: &Tensor) -> Result<Tensor> {
        self.norm.forward(rows)
    }

    /// Hidden rows (.., h) to logits (.., vocabulary).
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        let mut shape = hidden.dims().to_vec();
        let width = shape.pop().unwrap_or(0);
        let rows = hidden.elem_count() / width.max(1);
        shape.push(self.output.shape()?.0);
        self.output.scores(&hidden.reshape((rows, width))?)?.reshape(shape)
    }

    /// Cosines and sines of the RoPE angles, (T, d / 2) each, in f32 whatever the
    /// weights are: bf16 cannot tell position 257 from 256.
    fn angles(&self, positions: impl Iterator<Item = u32>, device: &Device) -> Result<(Tensor, Tensor)> {
        let half = self.inverse_frequencies.len();
        let angles: Vec<f32> = positions
            .flat_map(|position| {
                self.inverse_frequencies.iter().map(move |frequency| position as f32 * frequency)
            })
            .collect();
        let rows = angles.len() / half;
        let table = |f: fn(f32) -> f32| {
            Tensor::from_vec(angles.iter().map(|&a| f(a)).collect::<Vec<_>>(), (rows, half), device)?
                .to_dtype(DType::F32)
        };
        Ok((table(f32::cos)?, table(f32::sin)?))
    }
}

#[derive(Debug, Clone)]
struct Qwen2Layer {
    input_norm: RmsNorm,
    post_norm: RmsNorm,
    query: Projection,
    key: Projection,
    value: Projection,
    out: Projection,
    gate: Projection,
    up: Projection,
    down: Projection,
    heads: usize,
    key_heads: usize,
    scale: f64,
}

impl Qwen2Layer {
    fn new(config: &Qwen2Config, weights: &Weights<'_>) -> Result<Self> {
        let (width, hidden) = (config.hidden_size, config.intermediate_size);
        let key_width = config.num_key_value_heads * config.head_dim();
        let (attention, mlp) = (weights.pp("self_attn"), weights.pp("mlp"));
        let branches = 2 * config.num_hidden_layers;
        let norm = |name| RmsNorm::new(width, config.rms_norm_eps, &weights.dense.pp(name));
        Ok(Self {
            input_norm: norm("input_layernorm")?,
            post_norm: norm("post_attention_layernorm")?,
            query: Projection::new(width, width, true, &attention.pp("q_proj"))?,
            key: Projection::new(width, key_width, true, &attention.pp("k_proj"))?,
            value: Projection::new(width, key_width, true, &attention.pp("v_proj"))?,
            out: Projection::branch_end(width, width, branches, &attention.pp("o_proj"))?,
            gate: Projection::new(width, hidden, false, &mlp.pp("gate_proj"))?,
            up: Projection::new(width, hidden, false, &mlp.pp("up_proj"))?,
            down: Projection::branch_end(hidden, width, branches, &mlp.pp("down_proj"))?,
            heads: config.num_attention_heads,
            key_heads: config.num_key_value_heads,
            scale: 1.0 / (config.head_dim() as f64).sqrt(),
        })
    }

    fn forward(
        &self,
        x: &Tensor,
        index: usize,
        cache: &mut KvCache,
        (cos, sin): (&Tensor, &Tensor),
        mask: AttentionMask<'_>,
    ) -> Result<Tensor> {
        let normed = self.input_norm.forward(x)?;
        let q = ops::rope(&split_heads(&self.query.forward(&normed)?, self.heads)?, cos, sin)?;
        let k = ops::rope(&split_heads(&self.key.forward(&normed)?, self.key_heads)?, cos, sin)?;
        let v = split_heads(&self.value.forward(&normed)?, self.key_heads)?;
        let (k, v) = cache.append(index, k, v)?;
        let attended = merge_heads(&ops::attention(&q, &k, &v, self.scale, mask)?)?;
        self.after_attention(x, &attended)
    }

    /// Rows `x` (.., h) and what the heads saw for them, (.., H d), to rows behind the layer.
    fn after_attention(&self, x: &Tensor, attended: &Tensor) -> Result<Tensor> {
        let x = ops::add(x, &self.out.forward(attended)?)?;
        let normed = self.post_norm.forward(&x)?;
        let hidden = ops::silu_mul(&self.gate.forward(&normed)?, &self.up.forward(&normed)?)?;
        ops::add(&x, &self.down.forward(&hidden)?)
    }

    fn looking_at(&self, rows: &Tensor, seen: &[Tensor]) -> Result<Tensor> {
        let (count, width) = rows.dims2()?;
        let size = width / self.heads;
        let mut attended = Vec::with_capacity(seen.len() + 1);
        for (head, seen) in seen.iter().enumerate() {
            let values = self.value.forward(&self.input_norm.forward(&seen.unsqueeze(0)?)?)?;
            attended.push(values.narrow(2, head * self.key_heads / self.heads * size, size)?);
        }
        let blind = width - size * seen.len();
        attended.push(Tensor::zeros((1, count, blind), rows.dtype(), rows.device())?);
        let attended = Tensor::cat(&attended, 2)?.contiguous()?;
        self.after_attention(&rows.unsqueeze(0)?.contiguous()?, &attended)?.squeeze(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelConfig, SeededVariables};

    /// A new decoder can learn from words only if they reach its output.
    #[test]
    fn behind_a_video_another_word_makes_another_row() {
        let config = ModelConfig::mini().language;
        let root = SeededVariables::new(1).builder(DType::F32, &Device::Cpu);
        let decoder = Qwen2::new(&config, &root.pp("model"), &root).unwrap();
        let values: Vec<f32> =
            (0..128 * config.hidden_size).map(|i| 0.4 * (2.4 * i as f32 * i as f32).sin()).collect();
        let video = Tensor::from_vec(values, (1, 128, config.hidden_size), &Device::Cpu).unwrap();
        let row_of = |word: u32| {
            let mut cache = KvCache::new();
            decoder.forward_embeds(&video, &mut cache).unwrap();
            let text = decoder.embed(&Tensor::new(&[[7, word]], &Device::Cpu).unwrap()).unwrap();
            decoder.forward_embeds(&text, &mut cache).unwrap().narrow(1, 1, 1).unwrap()
        };
        let length =
            |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().sqrt().unwrap().to_scalar::<f32>().unwrap();
        let (how, can) = (row_of(300), row_of(301));
        let difference = length(&(&how - &can).unwrap()) / length(&how);
        assert!(difference > 1.2, "{difference}");
    }

    /// bf16 has no 257: positions kept in it would make these rows those of 256.
    #[test]
    fn position_257_is_not_256_in_bf16() {
        let config = ModelConfig::tiny().language;
        let queries = |dtype: DType, position: u32| {
            let root = SeededVariables::new(1).builder(dtype, &Device::Cpu);
            let decoder = Qwen2::new(&config, &root.pp("model"), &root).unwrap();
            let rows = decoder.embed(&Tensor::new(&[3u32, 4, 5, 6], &Device::Cpu).unwrap()).unwrap();
            assert_eq!(rows.dtype(), dtype);
            decoder.queries(0, &rows, &[position; 4]).unwrap().to_dtype(DType::F32).unwrap()
        };
        let length =
            |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().sqrt().unwrap().to_scalar::<f32>().unwrap();
        let exact = queries(DType::F32, 257);
        let apart = |other: &Tensor| length(&(other - &exact).unwrap()) / length(&exact);
        let (same, before) = (apart(&queries(DType::BF16, 257)), apart(&queries(DType::BF16, 256)));
        assert!(same < 0.02 && before > 0.1, "{same} {before}");
    }

    /// A row that comes first sees itself alone.
    #[test]
    fn heads_that_look_at_one_row_give_what_attention_to_it_gives() {
        let config = Qwen2Config { num_key_value_heads: 1, ..ModelConfig::tiny().language };
        let root = SeededVariables::new(1).builder(DType::F32, &Device::Cpu);
        let decoder = Qwen2::new(&config, &root.pp("model"), &root).unwrap();
        let row = decoder.embed(&Tensor::new(&[[7u32]], &Device::Cpu).unwrap()).unwrap();
        let last = config.num_hidden_layers - 1;
        let options = PassOptions { taps: &[last], ..PassOptions::default() };
        let hidden = decoder.forward_with(&row, &mut KvCache::new(), options).unwrap();
        let entering = hidden.tapped[0].squeeze(0).unwrap();
        let all_heads = vec![entering.clone(); config.num_attention_heads];
        let values = |rows: &Tensor| rows.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let behind = values(&hidden.unnormed);
        let looking = values(&decoder.looking_at(last, &entering, &all_heads).unwrap());
        assert!(behind.iter().zip(&looking).all(|(a, b)| (a - b).abs() < 1e-5), "{behind:?} {looking:?}");
        let one_head = values(&decoder.looking_at(last, &entering, &all_heads[..1]).unwrap());
        assert!(behind.iter().zip(&one_head).any(|(a, b)| (a - b).abs() > 1e-3));
        assert!(decoder.looking_at(last + 1, &entering, &[]).is_err());
    }
}
