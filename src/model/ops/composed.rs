//! The operations as compositions of candle's differentiable tensor operations:
//! the way on other devices and dtypes, the reference of the tests, and the
//! baseline of `loc3r bench`. Contracts stand on the functions of the same name
//! in the parent module.

use candle_core::{D, Result, Tensor};

use super::AttentionMask;
use super::storage::{is_half, wide};

/// See [`super::layer_norm`].
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    if is_half(x) {
        return layer_norm(&wide(x)?, &wide(weight)?, &wide(bias)?, eps)?.to_dtype(x.dtype());
    }
    let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centered.sqr()?.mean_keepdim(D::Minus1)?;
    let normed = centered.broadcast_div(&(variance + eps)?.sqrt()?)?;
    normed.broadcast_mul(weight)?.broadcast_add(bias)
}

/// See [`super::rms_norm`].
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    // Squares of what residual streams hold are beyond f16.
    if is_half(x) {
        return rms_norm(&wide(x)?, &wide(weight)?, eps)?.to_dtype(x.dtype());
    }
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean_square + eps)?.sqrt()?)?.broadcast_mul(weight)
}

/// See [`super::attention()`]. Heads that share a key head are rows of one product: keys and
/// values are not copied for them.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64, mask: AttentionMask<'_>) -> Result<Tensor> {
    let (batch, heads, queries, dim) = q.dims4()?;
    let (_, key_heads, keys, _) = k.dims4()?;
    if key_heads == 0 || heads % key_heads != 0 {
        candle_core::bail!("attention: {key_heads} heads of keys do not divide {heads} heads of queries");
    }
    let rows = heads / key_heads * queries;
    // A score of 20 in bf16 is off by up to 0.06, which is 6 % of its weight.
    let precise = |x: &Tensor| if is_half(x) { wide(x) } else { Ok(x.clone()) };
    let grouped = precise(q)?.reshape((batch, key_heads, rows, dim))?;
    let scores = (grouped.matmul(&precise(k)?.contiguous()?.t()?)? * scale)?;
    let scores = masked(scores.reshape((batch, heads, queries, keys))?, mask)?;
    let shares = softmax(scores)?.to_dtype(v.dtype())?.reshape((batch, key_heads, rows, keys))?;
    super::matmul(&shares, &v.contiguous()?)?.reshape((batch, heads, queries, v.dim(3)?))
}

/// Softmax over the last dimension. It takes the scores, the largest tensors of a long video: no
/// more than two of them are alive at once.
fn softmax(scores: Tensor) -> Result<Tensor> {
    let highest = scores.max_keepdim(D::Minus1)?.detach();
    let below = scores.broadcast_sub(&highest)?;
    drop(scores);
    let weights = below.exp()?;
    drop(below);
    weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)
}

/// Scores (batch, heads, queries, keys) with what may not be seen at -∞.
fn masked(scores: Tensor, mask: AttentionMask<'_>) -> Result<Tensor> {
    match mask {
        AttentionMask::None => Ok(scores),
        AttentionMask::Causal { offset } => {
            scores.broadcast_add(&visibility(&scores, |i, j| j <= offset + i)?)
        }
        AttentionMask::Continuations { prefix, length } => {
            let own = |i: usize, j: usize| j - prefix <= i && (j - prefix) / length == i / length;
            scores.broadcast_add(&visibility(&scores, |i, j| j < prefix || own(i, j))?)
        }
        AttentionMask::Additive(mask) => scores.broadcast_add(&mask.to_dtype(scores.dtype())?),
    }
}

/// See [`super::attention_tokens`].
pub fn attention_tokens(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: super::HeadCounts,
    scale: f64,
    mask: AttentionMask<'_>,
) -> Result<Tensor> {
    let split = |x: &Tensor, heads: usize| {
        let (batch, length, width) = x.dims3()?;
        x.reshape((batch, length, heads, width / heads))?.transpose(1, 2)
    };
    let (q, k, v) = (split(q, heads.queries)?, split(k, heads.keys)?, split(v, heads.keys)?);
    let mixed = attention(&q, &k, &v, scale, mask)?;
    mixed.transpose(1, 2)?.contiguous()?.flatten_from(2)
}

/// See [`super::linear()`].
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(weight.dim(0)?);
    let rows = x.reshape(((), width))?.matmul(&weight.t()?)?;
    let rows = match bias {
        Some(bias) => rows.broadcast_add(bias)?,
        None => rows,
    };
    rows.reshape(shape)
}

/// See [`super::silu_mul`].
pub fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}

/// See [`super::rope`].
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let (a, b) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let (cos, sin) = (cos.to_dtype(x.dtype())?, sin.to_dtype(x.dtype())?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], D::Minus1)
}

/// Mean of -ln softmax over the (row, class) pairs `counted`; not empty.
pub(super) fn cross_entropy(logits: &Tensor, counted: &[(u32, u32)]) -> Result<Tensor> {
    let (rows, classes): (Vec<u32>, Vec<u32>) = counted.iter().copied().unzip();
    let count = rows.len();
    let rows = Tensor::from_vec(rows, count, logits.device())?;
    let classes = Tensor::from_vec(classes, (count, 1), logits.device())?;
    let log_q = candle_nn::ops::log_softmax(&logits.index_select(&rows, 0)?, D::Minus1)?;
    log_q.gather(&classes, 1)?.mean_all()?.neg()
}

fn visibility(scores: &Tensor, sees: impl Fn(usize, usize) -> bool) -> Result<Tensor> {
    let (queries, keys) = (scores.dim(D::Minus2)?, scores.dim(D::Minus1)?);
    let sees = &sees;
    let mask: Vec<f32> = (0..queries)
        .flat_map(|i| (0..keys).map(move |j| if sees(i, j) { 0.0 } else { f32::NEG_INFINITY }))
        .collect();
    Tensor::from_vec(mask, (queries, keys), scores.device())?.to_dtype(scores.dtype())
}
