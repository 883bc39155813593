//! The operations that training and inference need fast. Every one is
//! differentiable on every device; on the CPU they are fused and parallel.
//!
//! candle's own fused `softmax_last_dim`, `rms_norm`, `layer_norm`, `rope` and
//! `sdpa` cut gradients silently: nothing outside this module calls them.

use candle_core::{D, Result, Tensor};

/// Who may look at whom in [`attention`].
#[derive(Debug, Clone, Copy)]
pub enum AttentionMask<'a> {
    /// Everybody at everybody.
    None,
    /// Query i (of the last `queries` positions) at keys 0..=offset + i.
    Causal {
        /// Number of keys before the first query.
        offset: usize,
    },
    /// Added to the scores before the softmax; broadcast to (batch, heads, queries, keys).
    Additive(&'a Tensor),
}

/// LayerNorm over the last dimension.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centered.sqr()?.mean_keepdim(D::Minus1)?;
    let normed = centered.broadcast_div(&(variance + eps)?.sqrt()?)?;
    normed.broadcast_mul(weight)?.broadcast_add(bias)
}

/// RMSNorm over the last dimension.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean_square + eps)?.sqrt()?)?.broadcast_mul(weight)
}

/// Scaled dot-product attention. `q`: (batch, heads, queries, dim); `k`, `v`:
/// (batch, kv_heads, keys, dim) where kv_heads divides heads. Softmax in f32.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64, mask: AttentionMask<'_>) -> Result<Tensor> {
    let groups = q.dim(1)? / k.dim(1)?;
    let (k, v) = (repeat_heads(k, groups)?, repeat_heads(v, groups)?);
    let scores = (q.contiguous()?.matmul(&k.t()?.contiguous()?)? * scale)?;
    let scores = match mask {
        AttentionMask::None => scores,
        AttentionMask::Causal { offset } => scores.broadcast_add(&causal_mask(&scores, offset)?)?,
        AttentionMask::Additive(mask) => scores.broadcast_add(mask)?,
    };
    candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(&v.contiguous()?)
}

/// SwiGLU's middle: silu(gate) * up.
pub fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}

/// Exact (erf) GELU.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    x.gelu_erf()
}

/// GELU in its tanh form (`gelu_pytorch_tanh`).
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    x.gelu()
}

/// Rotary embedding, half-split form. `x`: (batch, heads, length, dim); `cos`, `sin`: (length, dim / 2) in f32.
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let (a, b) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let (cos, sin) = (cos.to_dtype(x.dtype())?, sin.to_dtype(x.dtype())?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], D::Minus1)
}

/// (batch, kv_heads, n, d) to (batch, kv_heads * groups, n, d).
fn repeat_heads(x: &Tensor, groups: usize) -> Result<Tensor> {
    if groups == 1 {
        return Ok(x.clone());
    }
    let (batch, heads, length, dim) = x.dims4()?;
    x.unsqueeze(2)?.expand((batch, heads, groups, length, dim))?.reshape((batch, heads * groups, length, dim))
}

fn causal_mask(scores: &Tensor, offset: usize) -> Result<Tensor> {
    let (queries, keys) = (scores.dim(D::Minus2)?, scores.dim(D::Minus1)?);
    let mask: Vec<f32> = (0..queries)
        .flat_map(|i| (0..keys).map(move |j| if j > offset + i { f32::NEG_INFINITY } else { 0.0 }))
        .collect();
    Tensor::from_vec(mask, (queries, keys), scores.device())?.to_dtype(scores.dtype())
}

/// Softmax cross entropy in nats: mean over the rows of `logits` (rows, classes)
/// whose label (i64) differs from `ignored`; 0 if there is none. Labels outside
/// the classes are an error.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, ignored: i64) -> Result<Tensor> {
    let kept: Vec<(u32, u32)> = counted_rows(logits, labels, ignored)?;
    if kept.is_empty() {
        return logits.sum_all()? * 0.0;
    }
    let (rows, classes): (Vec<u32>, Vec<u32>) = kept.into_iter().unzip();
    let count = rows.len();
    let rows = Tensor::from_vec(rows, count, logits.device())?;
    let classes = Tensor::from_vec(classes, (count, 1), logits.device())?;
    let log_q = candle_nn::ops::log_softmax(&logits.index_select(&rows, 0)?, D::Minus1)?;
    log_q.gather(&classes, 1)?.mean_all()?.neg()
}

/// (row, class) of every row that counts.
fn counted_rows(logits: &Tensor, labels: &Tensor, ignored: i64) -> Result<Vec<(u32, u32)>> {
    let (rows, classes) = logits.dims2()?;
    let labels = labels.to_vec1::<i64>()?;
    if labels.len() != rows {
        candle_core::bail!("cross entropy: {rows} rows of logits but {} labels", labels.len());
    }
    let mut counted = Vec::with_capacity(rows);
    for (row, &label) in labels.iter().enumerate() {
        if label == ignored {
            continue;
        }
        match u32::try_from(label) {
            Ok(class) if (class as usize) < classes => counted.push((row as u32, class)),
            _ => candle_core::bail!("cross entropy: label {label} of row {row} is not in 0..{classes}"),
        }
    }
    Ok(counted)
}
