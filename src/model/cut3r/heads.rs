//! Pose, points, confidence and colour of a frame (needed for display only: the
//! language model reads the camera token).

use candle_core::{D, Result, Tensor};
use candle_nn::{Module as _, VarBuilder};

use super::blocks::{Mlp, Rope2d, RopePrecision, SelfAttention};
use super::dpt::Dpt;
use super::{Cut3rConfig, DecodedFrame, EncodedFrame, HeadKind, grid_positions, pose_encoding};
use crate::model::layers::{LayerNorm, Linear, linear};
use crate::model::ops;

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

/// What a frame says of itself.
#[derive(Debug, Clone)]
pub struct OwnView {
    /// Pose encoding (B, 7): translation, quaternion wxyz with w >= 0; camera-to-world.
    pub camera_pose: Tensor,
    /// Points in the own camera.
    pub points: DenseOutput,
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

    /// Pose and points in the own camera; the other heads are as much work again each.
    pub(super) fn own_view(&self, frame: &EncodedFrame, decoded: &DecodedFrame) -> Result<OwnView> {
        let last = patches(decoded, decoded.image_layers.len())?;
        let raw = match &self.dense {
            Dense::Dpt { own, .. } => own.forward(&self.dpt_input(frame, decoded, &last)?, frame.grid)?,
            Dense::Linear { own, patch, .. } => in_front(&unfold(&own.forward(&last)?, frame.grid, *patch)?)?,
        };
        Ok(OwnView {
            camera_pose: pose_encoding(&self.pose.forward(&decoded.camera_token)?)?,
            points: dense_points(&raw)?,
        })
    }

    pub(super) fn forward(&self, frame: &EncodedFrame, decoded: &DecodedFrame) -> Result<FrameHeads> {
        let OwnView { camera_pose, points } = self.own_view(frame, decoded)?;
        let grid = frame.grid;
        let last = patches(decoded, decoded.image_layers.len())?;
        let rope = Rope2d::new(&grid_positions(grid), self.head_dim, RopePrecision::Full, last.device())?;
        let condition = decoded.camera_token.unsqueeze(1)?;
        let crossed = self
            .transform
            .iter()
            .try_fold(last.clone(), |tokens, block| block.forward(&tokens, &condition, &rope))?;
        let (world, rgb) = match &self.dense {
            Dense::Dpt { cross, rgb, .. } => (
                cross.forward(&self.dpt_input(frame, decoded, &crossed)?, grid)?,
                rgb.forward(&self.dpt_input(frame, decoded, &last)?, grid)?,
            ),
            Dense::Linear { cross, rgb, patch, .. } => (
                unfold(&cross.forward(&crossed)?, grid, *patch)?,
                unfold(&rgb.forward(&last)?, grid, *patch)?,
            ),
        };
        Ok(FrameHeads { camera_pose, own: points, world: dense_points(&world)?, rgb: colors(&rgb)? })
    }

    /// The four token maps of a convolutional head that ends with `last`.
    fn dpt_input(&self, frame: &EncodedFrame, decoded: &DecodedFrame, last: &Tensor) -> Result<[Tensor; 4]> {
        let [early, late] = self.layers;
        Ok([frame.tokens.clone(), patches(decoded, early)?, patches(decoded, late)?, last.clone()])
    }
}

/// Image tokens (B, N, D) after decoder block `layer`, counted from 1.
fn patches(decoded: &DecodedFrame, layer: usize) -> Result<Tensor> {
    let tokens = &decoded.image_layers[layer - 1];
    tokens.narrow(1, 1, tokens.dim(1)? - 1)?.contiguous()
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
    norm: LayerNorm,
    linear: Linear,
}

impl ModulatedNorm {
    fn new(c: &Cut3rConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let width = c.dec_embed_dim;
        Ok(Self {
            norm: LayerNorm::new(width, c.norm_eps, &vb.pp("norm"))?,
            linear: linear(width, 2 * width, true, &vb.pp("mlp.1"))?,
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
        let x = ops::add(x, &self.attn.forward(&self.norm1.forward(x, condition)?, Some(rope))?)?;
        ops::add(&x, &self.mlp.forward(&self.norm2.forward(&x, condition)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tiny;
    use super::super::{Carry, DptConfig};
    use super::*;

    #[test]
    fn pose_and_own_points_are_the_same_with_and_without_the_other_heads() {
        let dpt = DptConfig { feature_dim: 8, last_dim: 4, layer_dims: [4, 4, 8, 8] };
        for kind in [HeadKind::Dpt(dpt), HeadKind::Linear] {
            let (network, images) = tiny(kind, 2);
            let mut recurrence = network.start(1).unwrap();
            for at in 0..2 {
                let frame = network.encode(&images.narrow(0, at, 1).unwrap()).unwrap();
                let decoded = network.step(&frame, &mut recurrence, Carry::Update).unwrap();
                let all = network.heads(&frame, &decoded).unwrap().unwrap();
                let own = network.own_view(&frame, &decoded).unwrap().unwrap();
                let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert_eq!(own.points.points.dims(), [1, 32, 32, 3]);
                assert_eq!(values(&own.camera_pose), values(&all.camera_pose));
                assert_eq!(values(&own.points.points), values(&all.own.points));
                assert_eq!(values(&own.points.confidence), values(&all.own.confidence));
                assert_ne!(values(&own.points.points), values(&all.world.points));
            }
        }
    }
}
