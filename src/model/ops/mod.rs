//! The operations that training and inference need fast. Every one is
//! differentiable on every device. On the CPU in f32 they are fused, parallel
//! and free of copies (candle custom operations with hand-written backward
//! passes); elsewhere they are candle's own differentiable operations
//! ([`composed`]). Half precision on the CPU is how numbers are kept, products are computed
//! in f32. Gradients are first order only.
//!
//! candle's own fused `softmax_last_dim`, `rms_norm`, `layer_norm`, `rope` and
//! `sdpa` cut gradients silently: nothing outside this module calls them.
//!
//! The fused exponential has a relative error below 3e-7, the fused error
//! function an absolute one below 5e-7.

mod attention;
pub mod composed;
mod elementwise;
mod gemm;
mod lanes;
mod linear;
mod mlp;
mod norm;
mod storage;

use candle_core::{D, Result, Tensor};

use attention::{Attention, HeadLayout};
use storage::{fusible, half_on_cpu, wide};

/// Who may look at whom in [`attention()`].
#[derive(Debug, Clone, Copy)]
pub enum AttentionMask<'a> {
    /// Everybody at everybody.
    None,
    /// Query i (of the last `queries` positions) at keys 0..=offset + i.
    Causal {
        /// Number of keys before the first query.
        offset: usize,
    },
    /// Queries are continuations of `length` rows each, side by side behind all `prefix` keys:
    /// query i of a continuation looks at the prefix and at rows 0..=i of its own.
    Continuations {
        /// Number of keys before the first continuation.
        prefix: usize,
        /// Rows of a continuation.
        length: usize,
    },
    /// Added to the scores before the softmax; broadcast to (batch, heads, queries, keys).
    Additive(&'a Tensor),
}

impl<'a> AttentionMask<'a> {
    /// Its numbers in f32, if it has any.
    fn wide(self) -> Result<Option<Tensor>> {
        match self {
            Self::None | Self::Causal { .. } | Self::Continuations { .. } => Ok(None),
            Self::Additive(mask) => wide(mask).map(Some),
        }
    }

    /// The same mask with `numbers`, if there are any.
    fn or(self, numbers: Option<&'a Tensor>) -> Self {
        numbers.map_or(self, Self::Additive)
    }
}

/// Numbers of heads in (batch, length, heads · dim) tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadCounts {
    /// Heads of the queries.
    pub queries: usize,
    /// Heads of keys and values; divides `queries`.
    pub keys: usize,
}

impl HeadCounts {
    /// As many key heads as query heads.
    pub fn equal(heads: usize) -> Self {
        Self { queries: heads, keys: heads }
    }
}

/// x Wᵀ (+ b). `x`: (…, inputs); `weight`: (outputs, inputs); `bias`: (outputs); gives (…, outputs).
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if half_on_cpu(&[x, weight]) {
        let bias = bias.map(wide).transpose()?;
        return linear(&wide(x)?, &wide(weight)?, bias.as_ref())?.to_dtype(x.dtype());
    }
    if !fusible(&[x, weight]) || bias.is_some_and(|bias| !fusible(&[bias])) {
        return composed::linear(x, weight, bias);
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, linear::Linear),
        None => x.apply_op2(&weight, linear::Linear),
    }
}

/// The product of matrices of equal batch, (…, n, k) and (…, k, m).
pub fn matmul(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    if half_on_cpu(&[x, y]) {
        return wide(x)?.matmul(&wide(y)?)?.to_dtype(x.dtype());
    }
    x.matmul(y)
}

/// LayerNorm over the last dimension.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    if !fusible(&[x, weight, bias]) {
        return composed::layer_norm(x, weight, bias, eps);
    }
    let eps = eps as f32;
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, norm::LayerNorm { eps })
}

/// RMSNorm over the last dimension.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    if !fusible(&[x, weight]) {
        return composed::rms_norm(x, weight, eps);
    }
    x.contiguous()?.apply_op2(&weight.contiguous()?, norm::RmsNorm { eps: eps as f32 })
}

/// Scaled dot-product attention. `q`: (batch, heads, queries, dim); `k`, `v`:
/// (batch, kv_heads, keys, dim) where kv_heads divides heads. Softmax in f32.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64, mask: AttentionMask<'_>) -> Result<Tensor> {
    if half_on_cpu(&[q, k, v]) {
        let wide_mask = mask.wide()?;
        return attention(&wide(q)?, &wide(k)?, &wide(v)?, scale, mask.or(wide_mask.as_ref()))?
            .to_dtype(q.dtype());
    }
    if !fusible(&[q, k, v]) || !mask_fusible(mask) {
        return composed::attention(q, k, v, scale, mask);
    }
    let (batch, heads, queries, _) = q.dims4()?;
    let op = Attention::new(scale, HeadLayout::Separate, mask, (batch, heads, queries, k.dim(2)?))?;
    unit_stride(q)?.apply_op3(&unit_stride(k)?, &unit_stride(v)?, op)
}

/// [`attention()`] on heads side by side in each token, as projections give
/// them: no transposes forward or backward. `q`: (batch, queries, heads · dim);
/// `k`, `v`: (batch, keys, kv_heads · dim); gives the shape of `q`.
pub fn attention_tokens(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: HeadCounts,
    scale: f64,
    mask: AttentionMask<'_>,
) -> Result<Tensor> {
    if half_on_cpu(&[q, k, v]) {
        let wide_mask = mask.wide()?;
        let mask = mask.or(wide_mask.as_ref());
        return attention_tokens(&wide(q)?, &wide(k)?, &wide(v)?, heads, scale, mask)?.to_dtype(q.dtype());
    }
    if !fusible(&[q, k, v]) || !mask_fusible(mask) {
        return composed::attention_tokens(q, k, v, heads, scale, mask);
    }
    let (batch, queries, _) = q.dims3()?;
    let op =
        Attention::new(scale, HeadLayout::InTokens(heads), mask, (batch, heads.queries, queries, k.dim(1)?))?;
    unit_stride(q)?.apply_op3(&unit_stride(k)?, &unit_stride(v)?, op)
}

/// [`attention_tokens`] on one packed projection `qkv`: (batch, length,
/// (heads + 2 kv_heads) · dim), queries first, then keys, then values; gives
/// (batch, length, heads · dim). One gradient instead of three: the fastest way.
pub fn attention_packed(
    qkv: &Tensor,
    heads: HeadCounts,
    scale: f64,
    mask: AttentionMask<'_>,
) -> Result<Tensor> {
    if half_on_cpu(&[qkv]) {
        let wide_mask = mask.wide()?;
        return attention_packed(&wide(qkv)?, heads, scale, mask.or(wide_mask.as_ref()))?
            .to_dtype(qkv.dtype());
    }
    let (batch, length, width) = qkv.dims3()?;
    let parts = heads.queries + 2 * heads.keys;
    if parts == 0 || !width.is_multiple_of(parts) {
        candle_core::bail!("attention: {parts} heads of queries, keys and values in a width of {width}");
    }
    let dim = width / parts;
    if !fusible(&[qkv]) || !mask_fusible(mask) {
        let part = |first: usize, count: usize| qkv.narrow(2, first * dim, count * dim)?.contiguous();
        let (q, k) = (part(0, heads.queries)?, part(heads.queries, heads.keys)?);
        let v = part(heads.queries + heads.keys, heads.keys)?;
        return composed::attention_tokens(&q, &k, &v, heads, scale, mask);
    }
    let op = Attention::new(scale, HeadLayout::Packed(heads), mask, (batch, heads.queries, length, length))?;
    unit_stride(qkv)?.apply_op1(attention::PackedAttention(op))
}

/// SwiGLU's middle: silu(gate) * up.
pub fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if !fusible(&[gate, up]) || gate.dims() != up.dims() {
        return composed::silu_mul(gate, up);
    }
    gate.contiguous()?.apply_op2(&up.contiguous()?, elementwise::SiluMul)
}

/// Exact (erf) GELU.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    if !fusible(&[x]) {
        return x.gelu_erf();
    }
    x.contiguous()?.apply_op1(elementwise::GeluOp(Gelu::Erf))
}

/// GELU in its tanh form (`gelu_pytorch_tanh`).
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    if !fusible(&[x]) {
        return x.gelu();
    }
    x.contiguous()?.apply_op1(elementwise::GeluOp(Gelu::Tanh))
}

/// The two forms of GELU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gelu {
    /// Exact, with the error function.
    Erf,
    /// With tanh (`gelu_pytorch_tanh`).
    Tanh,
}

/// Linear, GELU, linear. `x`: (…, inputs); `up` and `down`: weight (outputs,
/// inputs) and bias (outputs) of the two layers.
pub fn mlp(x: &Tensor, up: [&Tensor; 2], down: [&Tensor; 2], activation: Gelu) -> Result<Tensor> {
    let operands = [x, up[0], up[1], down[0], down[1]];
    if half_on_cpu(&operands) {
        let [x, up, up_bias, down, down_bias] = operands.map(wide);
        return mlp(&x?, [&up?, &up_bias?], [&down?, &down_bias?], activation)?.to_dtype(operands[0].dtype());
    }
    if !fusible(&operands) {
        let hidden = composed::linear(x, up[0], Some(up[1]))?;
        let hidden = match activation {
            Gelu::Erf => hidden.gelu_erf()?,
            Gelu::Tanh => hidden.gelu()?,
        };
        return composed::linear(&hidden, down[0], Some(down[1]));
    }
    if !operands.iter().any(|operand| operand.track_op()) {
        let hidden = linear(x, up[0], Some(up[1]))?;
        let hidden = match activation {
            Gelu::Erf => gelu_erf(&hidden)?,
            Gelu::Tanh => gelu_tanh(&hidden)?,
        };
        return linear(&hidden, down[0], Some(down[1]));
    }
    let pack = |[weight, bias]: [&Tensor; 2]| Tensor::cat(&[weight.flatten_all()?, bias.flatten_all()?], 0);
    let op = mlp::Mlp::new(activation, up[0].dim(0)?, down[0].dim(0)?);
    x.contiguous()?.apply_op3(&pack(up)?, &pack(down)?, op)
}

/// x + y of equal shapes, as residual connections need it.
pub fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    if !fusible(&[x, y]) || x.dims() != y.dims() {
        return x + y;
    }
    x.contiguous()?.apply_op2(&y.contiguous()?, elementwise::Add)
}

/// Rotary embedding, half-split form. `x`: (batch, heads, length, dim); `cos`,
/// `sin`: (length, dim / 2) in f32, constants.
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    if !fusible(&[x, cos, sin]) {
        return composed::rope(x, cos, sin);
    }
    let op = elementwise::Rope { rows_per_position: 1, backwards: false };
    x.contiguous()?.apply_op3(&cos.contiguous()?, &sin.contiguous()?, op)
}

/// [`rope`] on heads side by side in each token: `x`: (batch, length, heads · dim).
pub fn rope_tokens(x: &Tensor, heads: usize, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (batch, length, width) = x.dims3()?;
    if !fusible(&[x, cos, sin]) {
        let split = x.reshape((batch, length, heads, width / heads.max(1)))?.transpose(1, 2)?;
        return composed::rope(&split, cos, sin)?.transpose(1, 2)?.contiguous()?.flatten_from(2);
    }
    let op = elementwise::Rope { rows_per_position: heads, backwards: false };
    x.contiguous()?.apply_op3(&cos.contiguous()?, &sin.contiguous()?, op)
}

/// Softmax cross entropy in nats: mean over the rows of `logits` (rows, classes)
/// whose label (i64) differs from `ignored`; 0 if there is none. Labels outside
/// the classes are an error.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, ignored: i64) -> Result<Tensor> {
    let counted = counted_rows(logits, labels, ignored)?;
    if counted.is_empty() {
        return Tensor::zeros((), logits.dtype(), logits.device());
    }
    if !fusible(&[logits]) {
        return composed::cross_entropy(logits, &counted);
    }
    logits.contiguous()?.apply_op1(elementwise::CrossEntropy { counted })
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

/// A mask that is trained needs its gradient: the fused way has none.
fn mask_fusible(mask: AttentionMask<'_>) -> bool {
    match mask {
        AttentionMask::None | AttentionMask::Causal { .. } | AttentionMask::Continuations { .. } => true,
        AttentionMask::Additive(mask) => fusible(&[mask]) && !mask.track_op(),
    }
}

/// The same tensor with its last dimension side by side in memory.
fn unit_stride(x: &Tensor) -> Result<Tensor> {
    let side_by_side = x.stride().last() == Some(&1) || x.dim(D::Minus1)? <= 1;
    if side_by_side { Ok(x.clone()) } else { x.contiguous() }
}

#[cfg(test)]
mod tests;
