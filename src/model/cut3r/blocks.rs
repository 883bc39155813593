//! Transformer blocks and the two-dimensional rotary embedding.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Module as _, VarBuilder};

use super::Cut3rConfig;
use crate::model::layers::{LayerNorm, Linear, gelu_mlp, linear, merge_heads, split_heads};
use crate::model::ops::{self, AttentionMask, Gelu};

/// Base of the rotary frequencies ("RoPE100").
const ROPE_BASE: f32 = 100.0;

/// Rounding around the rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RopePrecision {
    Full,
    Half,
}

/// Rotary embedding by (row, column): the first half of a head turns with the row,
/// the second with the column. Positions may be negative (the pose token).
#[derive(Debug, Clone)]
pub(super) struct Rope2d {
    row: (Tensor, Tensor),
    column: (Tensor, Tensor),
    precision: RopePrecision,
}

impl Rope2d {
    pub(super) fn new(
        positions: &[(i32, i32)],
        head_dim: usize,
        precision: RopePrecision,
        device: &Device,
    ) -> Result<Self> {
        if !head_dim.is_multiple_of(4) {
            candle_core::bail!(
                "the two-dimensional rotary embedding needs a head size divisible by 4, got {head_dim}"
            );
        }
        let quarter = head_dim / 4;
        let tables = |pick: fn(&(i32, i32)) -> i32| -> Result<(Tensor, Tensor)> {
            let angles: Vec<f32> = positions
                .iter()
                .flat_map(|position| {
                    let at = pick(position) as f32;
                    (0..quarter).map(move |i| at * ROPE_BASE.powf(-(i as f32) / quarter as f32))
                })
                .collect();
            let angles = Tensor::from_vec(angles, (positions.len(), quarter), device)?;
            Ok((angles.cos()?, angles.sin()?))
        };
        Ok(Self { row: tables(|p| p.0)?, column: tables(|p| p.1)?, precision })
    }

    /// Rotates (B, heads, N, head_dim).
    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let rounded = |x: Tensor| match self.precision {
            RopePrecision::Full => Ok(x),
            RopePrecision::Half => x.to_dtype(DType::F16)?.to_dtype(x.dtype()),
        };
        let x = rounded(x.clone())?;
        let half = x.dim(3)? / 2;
        let by_row = ops::rope(&x.narrow(3, 0, half)?.contiguous()?, &self.row.0, &self.row.1)?;
        let by_column = ops::rope(&x.narrow(3, half, half)?.contiguous()?, &self.column.0, &self.column.1)?;
        rounded(Tensor::cat(&[by_row, by_column], 3)?)
    }
}

/// Two linear layers with exact GELU between.
#[derive(Debug, Clone)]
pub(super) struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    pub(super) fn new(width: usize, hidden: usize, out: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            fc1: linear(width, hidden, true, &vb.pp("fc1"))?,
            fc2: linear(hidden, out, true, &vb.pp("fc2"))?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        gelu_mlp(x, &self.fc1, &self.fc2, Gelu::Erf)
    }
}

/// Self attention with one projection for queries, keys and values.
#[derive(Debug, Clone)]
pub(super) struct SelfAttention {
    qkv: Linear,
    proj: Linear,
    heads: usize,
}

impl SelfAttention {
    pub(super) fn new(width: usize, heads: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            qkv: linear(width, 3 * width, true, &vb.pp("qkv"))?,
            proj: linear(width, width, true, &vb.pp("proj"))?,
            heads,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, rope: Option<&Rope2d>) -> Result<Tensor> {
        let qkv = self.qkv.forward(x)?.chunk(3, 2)?;
        let (q, k, v) = (&qkv[0], &qkv[1], &qkv[2]);
        self.proj.forward(&attend(q, k, v, self.heads, rope.map(|rope| (rope, rope)))?)
    }
}

/// Attention of one sequence to another.
#[derive(Debug, Clone)]
struct CrossAttention {
    projq: Linear,
    projk: Linear,
    projv: Linear,
    proj: Linear,
    heads: usize,
}

impl CrossAttention {
    fn new(width: usize, heads: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        let square = |name: &str| linear(width, width, true, &vb.pp(name));
        Ok(Self {
            projq: square("projq")?,
            projk: square("projk")?,
            projv: square("projv")?,
            proj: square("proj")?,
            heads,
        })
    }

    fn forward(&self, x: &Tensor, y: &Tensor, ropes: Option<(&Rope2d, &Rope2d)>) -> Result<Tensor> {
        let (q, k, v) = (self.projq.forward(x)?, self.projk.forward(y)?, self.projv.forward(y)?);
        self.proj.forward(&attend(&q, &k, &v, self.heads, ropes)?)
    }
}

/// Multi-head attention of (B, N, W) queries to (B, M, W) keys, rotated by `ropes`.
fn attend(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: usize,
    ropes: Option<(&Rope2d, &Rope2d)>,
) -> Result<Tensor> {
    let (mut q, mut k, v) = (split_heads(q, heads)?, split_heads(k, heads)?, split_heads(v, heads)?);
    if let Some((query_rope, key_rope)) = ropes {
        (q, k) = (query_rope.apply(&q)?, key_rope.apply(&k)?);
    }
    let scale = (q.dim(3)? as f64).powf(-0.5);
    merge_heads(&ops::attention(&q, &k, &v, scale, AttentionMask::None)?)
}

/// Encoder block.
#[derive(Debug, Clone)]
pub(super) struct Block {
    norm1: LayerNorm,
    attn: SelfAttention,
    norm2: LayerNorm,
    mlp: Mlp,
}

impl Block {
    pub(super) fn new(width: usize, heads: usize, config: &Cut3rConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            norm1: LayerNorm::new(width, config.norm_eps, &vb.pp("norm1"))?,
            attn: SelfAttention::new(width, heads, &vb.pp("attn"))?,
            norm2: LayerNorm::new(width, config.norm_eps, &vb.pp("norm2"))?,
            mlp: Mlp::new(width, config.mlp_ratio * width, width, &vb.pp("mlp"))?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, rope: &Rope2d) -> Result<Tensor> {
        let x = ops::add(x, &self.attn.forward(&self.norm1.forward(x)?, Some(rope))?)?;
        ops::add(&x, &self.mlp.forward(&self.norm2.forward(&x)?)?)
    }
}

/// Decoder block: x attends to itself, then to y.
#[derive(Debug, Clone)]
pub(super) struct DecoderBlock {
    norm1: LayerNorm,
    attn: SelfAttention,
    norm_y: LayerNorm,
    norm2: LayerNorm,
    cross_attn: CrossAttention,
    norm3: LayerNorm,
    mlp: Mlp,
}

impl DecoderBlock {
    pub(super) fn new(width: usize, heads: usize, config: &Cut3rConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let norm = |name: &str| LayerNorm::new(width, config.norm_eps, &vb.pp(name));
        Ok(Self {
            norm1: norm("norm1")?,
            attn: SelfAttention::new(width, heads, &vb.pp("attn"))?,
            norm_y: norm("norm_y")?,
            norm2: norm("norm2")?,
            cross_attn: CrossAttention::new(width, heads, &vb.pp("cross_attn"))?,
            norm3: norm("norm3")?,
            mlp: Mlp::new(width, config.mlp_ratio * width, width, &vb.pp("mlp"))?,
        })
    }

    /// `ropes` are those of x and of y.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        y: &Tensor,
        ropes: Option<(&Rope2d, &Rope2d)>,
    ) -> Result<Tensor> {
        let x = ops::add(x, &self.attn.forward(&self.norm1.forward(x)?, ropes.map(|ropes| ropes.0))?)?;
        let y = self.norm_y.forward(y)?;
        let x = ops::add(&x, &self.cross_attn.forward(&self.norm2.forward(&x)?, &y, ropes)?)?;
        ops::add(&x, &self.mlp.forward(&self.norm3.forward(&x)?)?)
    }
}
