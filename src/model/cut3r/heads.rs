//! Pose, points, confidence and colour of a frame (needed for display only: the
//! language model reads the camera token).

use candle_core::{D, Result, Tensor};
use candle_nn::{Linear, Module as _, VarBuilder};

use super::blocks::{Mlp, Norm, Rope2d, RopePrecision, SelfAttention};
use super::dpt::Dpt;
use super::{Cut3rConfig, DecodedFrame, EncodedFrame, HeadKind, grid_positions, pose_encoding};

/// Smallest length that a vector is divided by.
const SMALLEST: f64 = 1e-8;
/// Head blocks conditioned on the camera token.
const TRANSFORM_BLOCKS: usize = 2;

/// Points of every pixel.
#[derive(Debug, Clone)]
pub struct DenseOutput {
    /// (B, H, W, 3), metres.
    pub points: Tensor,
    /// (B, H, W), at least 1.
    pub confidence: Tensor,
}

/// Everything the heads say about a frame.
#[derive(Debug, Clone)]
pub struct FrameHeads {
    /// Pose encoding (B, 7): translation, quaternion wxyz with w >= 0; camera-to-world.
    pub camera_pose: Tensor,
    /// Points in the own camera.
    pub own: DenseOutput,
    /// Points in the first camera.
    pub world: DenseOutput,
    /// Colours (B, H, W, 3) in (-1, 1).
    pub rgb: Tensor,
}

#[derive(Debug, Clone)]
pub(super) struct Heads {
    pose: Mlp,
    transform: Vec<ModulatedBlock>,
    dense: Dense,
    layers: [usize; 2],
    head_dim: usize,
}

#[derive(Debug, Clone)]
enum Dense {
    Dpt { own: Box<Dpt>, cross: Box<Dpt>, rgb: Box<Dpt> },
    Linear { own: Mlp, cross: Mlp, rgb: Mlp, patch: usize },
}

impl Heads {
    pub(super) fn new(kind: &HeadKind, c: &Cut3rConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let width = c.dec_embed_dim;
        let hidden = c.mlp_ratio * width;
        let dense = match kind {
            HeadKind::Dpt(sizes) => {
                let dpt = |name: &str, out: usize| Dpt::new(sizes, c, out, &vb.pp(name)).map(Box::new);
                Dense::Dpt { own: dpt("dpt_self", 4)?, cross: dpt("dpt_cross", 4)?, rgb: dpt("dpt_rgb", 3)? }
            }
            HeadKind::Linear => {
                let area = c.patch_size * c.patch_size;
                let mlp = |name: &str, out: usize| Mlp::new(width, hidden, out * area, &vb.pp(name));
                Dense::Linear {
                    own: mlp("proj", 4)?,
                    cross: mlp("cross_proj", 4)?,
                    rgb: mlp("rgb_proj", 3)?,
                    patch: c.patch_size,
                }
            }
        };
        Ok(Self {
            pose: Mlp::new(width, hidden, 7, &vb.pp("pose_head.mlp"))?,
            transform: (0..TRANSFORM_BLOCKS)
                .map(|i| ModulatedBlock::new(c, &vb.pp("final_transform").pp(i)))
                .collect::<Result<_>>()?,
            dense,
            layers: [c.dec_depth * 2 / 4, c.dec_depth * 3 / 4],
            head_dim: width / c.dec_num_heads,
        })
    }

    pub(super) fn forward(&self, frame: &EncodedFrame, decoded: &DecodedFrame) -> Result<FrameHeads> {
        let camera_pose = pose_encoding(&self.pose.forward(&decoded.camera_token)?)?;
        let patches = |layer: usize| {
            let tokens = &decoded.image_layers[layer - 1];
            tokens.narrow(1, 1, tokens.dim(1)? - 1)?.contiguous()
        };
        let last = patches(decoded.image_layers.len())?;
        let rope =
            Rope2d::new(&grid_positions(frame.grid), self.head_dim, RopePrecision::Full, last.device())?;
        let condition = decoded.camera_token.unsqueeze(1)?;
        let crossed = self
            .transform
            .iter()
            .try_fold(last.clone(), |tokens, block| block.forward(&tokens, &condition, &rope))?;
        let (own, world, rgb) = match &self.dense {
            Dense::Dpt { own, cross, rgb } => {
                let middle = [patches(self.layers[0])?, patches(self.layers[1])?];
                let input = |last: &Tensor| {
                    [frame.tokens.clone(), middle[0].clone(), middle[1].clone(), last.clone()]
                };
                let plain = input(&last);
                (
                    dense_points(&own.forward(&plain, frame.grid)?)?,
                    dense_points(&cross.forward(&input(&crossed), frame.grid)?)?,
                    rgb.forward(&plain, frame.grid)?,
                )
            }
            Dense::Linear { own, cross, rgb, patch } => {
                let map = |mlp: &Mlp, tokens: &Tensor| unfold(&mlp.forward(tokens)?, frame.grid, *patch);
                (
                    dense_points(&in_front(&map(own, &last)?)?)?,
                    dense_points(&map(cross, &crossed)?)?,
                    map(rgb, &last)?,
                )
            }
        };
        Ok(FrameHeads { camera_pose, own, world, rgb: colors(&rgb)? })
    }
}

/// (B, N, C·p²) per patch to (B, C, H, W).
fn unfold(x: &Tensor, (rows, columns): (usize, usize), patch: usize) -> Result<Tensor> {
    let (batch, _, channels) = x.dims3()?;
    let maps = x.transpose(1, 2)?.contiguous()?.reshape((batch, channels, rows, columns))?;
    candle_nn::ops::pixel_shuffle(&maps, patch)
}

/// Flips points behind the camera to its front: the linear head's rule.
fn in_front(raw: &Tensor) -> Result<Tensor> {
    let (xyz, rest) = (raw.narrow(1, 0, 3)?, raw.narrow(1, 3, 1)?);
    let z = xyz.narrow(1, 2, 1)?;
    let sign = z.ge(&z.zeros_like()?)?.to_dtype(z.dtype())?.affine(2.0, -1.0)?;
    Tensor::cat(&[xyz.broadcast_mul(&sign)?, rest], 1)
}

/// Raw (B, 4, H, W) to points and confidence ("exp" modes).
fn dense_points(raw: &Tensor) -> Result<DenseOutput> {
    let raw = raw.permute((0, 2, 3, 1))?.contiguous()?;
    let points = exp_length(&raw.narrow(D::Minus1, 0, 3)?)?;
    let confidence = (raw.narrow(D::Minus1, 3, 1)?.squeeze(D::Minus1)?.exp()? + 1.0)?;
    Ok(DenseOutput { points, confidence })
}

/// v to v · expm1(|v|) / |v| over the last dimension.
pub(super) fn exp_length(v: &Tensor) -> Result<Tensor> {
    let length = v.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    let safe = length.maximum(SMALLEST)?;
    v.broadcast_div(&safe)?.broadcast_mul(&expm1(&length)?)
}

/// exp(x) - 1 for x >= 0, accurate near zero.
fn expm1(x: &Tensor) -> Result<Tensor> {
    // The series where the difference would cancel.
    let small = x.lt(0.1)?;
    let series =
        x.affine(1.0 / 24.0, 1.0 / 6.0)?.mul(x)?.affine(1.0, 0.5)?.mul(x)?.affine(1.0, 1.0)?.mul(x)?;
    small.where_cond(&series, &(x.exp()? - 1.0)?)
}

/// Raw (B, 3, H, W) to colours in (-1, 1).
fn colors(raw: &Tensor) -> Result<Tensor> {
    const MARGIN: f64 = 1e-6;
    let unit = candle_nn::ops::sigmoid(&raw.permute((0, 2, 3, 1))?.contiguous()?)?;
    (unit.affine(1.0 - 2.0 * MARGIN, MARGIN)? - 0.5)? * 2.0
}

/// LayerNorm whose shift and scale come from the camera token.
#[derive(Debug, Clone)]
struct ModulatedNorm {
    norm: Norm,
    linear: Linear,
}

impl ModulatedNorm {
    fn new(c: &Cut3rConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let width = c.dec_embed_dim;
        Ok(Self {
            norm: Norm::new(width, c.norm_eps, &vb.pp("norm"))?,
            linear: candle_nn::linear(width, 2 * width, vb.pp("mlp.1"))?,
        })
    }

    fn forward(&self, x: &Tensor, condition: &Tensor) -> Result<Tensor> {
        let modulation = self.linear.forward(&condition.silu()?)?.chunk(2, D::Minus1)?;
        let scale = (&modulation[1] + 1.0)?;
        self.norm.forward(x)?.broadcast_mul(&scale)?.broadcast_add(&modulation[0])
    }
}

/// Encoder-like block conditioned on the camera token.
#[derive(Debug, Clone)]
struct ModulatedBlock {
    norm1: ModulatedNorm,
    attn: SelfAttention,
    norm2: ModulatedNorm,
    mlp: Mlp,
}

impl ModulatedBlock {
    fn new(c: &Cut3rConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let width = c.dec_embed_dim;
        Ok(Self {
            norm1: ModulatedNorm::new(c, &vb.pp("norm1"))?,
            attn: SelfAttention::new(width, c.dec_num_heads, &vb.pp("attn"))?,
            norm2: ModulatedNorm::new(c, &vb.pp("norm2"))?,
            mlp: Mlp::new(width, c.mlp_ratio * width, width, &vb.pp("mlp"))?,
        })
    }

    fn forward(&self, x: &Tensor, condition: &Tensor, rope: &Rope2d) -> Result<Tensor> {
        let x = (x + self.attn.forward(&self.norm1.forward(x, condition)?, Some(rope))?)?;
        &x + self.mlp.forward(&self.norm2.forward(&x, condition)?)?
    }
}
