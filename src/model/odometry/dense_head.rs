//! What single frames tell: per sub-cell of every vision token a category, a
//! colour and a metric point.
//!
//! Our own head (not part of Loc3R-VLM): it pre-trains the bundled vision tower
//! and feeds the camera encoder of kind `odometry`. Every vision token is cut into
//! 2 x 2 *cells*; cells of a frame are in raster order over the finer grid.
//! Shapes: F frames, N tokens a frame (square grid), D tower width, n = 4 N cells.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::{Init, Linear, Module as _, VarBuilder, linear};
use serde::{Deserialize, Serialize};

use crate::model::ops;

/// Cells a token is cut into along each side.
pub const CELLS_PER_SIDE: usize = 2;
const CELLS_PER_TOKEN: usize = CELLS_PER_SIDE * CELLS_PER_SIDE;

/// Channels of the metric point and of its spread.
const POINT: usize = 3;

/// Sizes and names of the dense head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenseConfig {
    /// Names of the categories, in channel order.
    pub categories: Vec<String>,
    /// Names of the colours, in channel order.
    pub colors: Vec<String>,
}

/// What the head says about F frames of n cells.
#[derive(Debug, Clone)]
pub struct DenseOutput {
    /// Category logits (F, n, categories).
    pub category: Tensor,
    /// Colour logits (F, n, colours).
    pub color: Tensor,
    /// Levelled points (F, n, 3): right and forward of the camera, height above the floor; metres.
    pub point: Tensor,
    /// Natural logarithm of the Laplace scale of each coordinate (F, n, 3), metres.
    pub log_scale: Tensor,
}

/// The head; see the module.
#[derive(Debug, Clone)]
pub struct DenseHead {
    config: DenseConfig,
    norm_weight: Tensor,
    norm_bias: Tensor,
    cells: Linear,
}

impl DenseHead {
    /// Loads or initialises the head for a tower of width `hidden`.
    pub fn new(config: &DenseConfig, hidden: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let channels = config.categories.len() + config.colors.len() + 2 * POINT;
        Ok(Self {
            config: config.clone(),
            norm_weight: vb.get_with_hints(hidden, "norm.weight", Init::Const(1.0))?,
            norm_bias: vb.get_with_hints(hidden, "norm.bias", Init::Const(0.0))?,
            cells: linear(hidden, CELLS_PER_TOKEN * channels, vb.pp("cells"))?,
        })
    }

    /// Sizes and names.
    pub fn config(&self) -> &DenseConfig {
        &self.config
    }

    /// Reads vision tokens (F, N, D).
    pub fn forward(&self, tokens: &Tensor) -> Result<DenseOutput> {
        let (categories, colors) = (self.config.categories.len(), self.config.colors.len());
        let tokens = &ops::layer_norm(tokens, &self.norm_weight, &self.norm_bias, 1e-6)?;
        let cells = cells_in_raster_order(&self.cells.forward(tokens)?)?;
        let raw_point = cells.narrow(D::Minus1, categories + colors, POINT)?;
        let raw_scale = cells.narrow(D::Minus1, categories + colors + POINT, POINT)?;
        Ok(DenseOutput {
            category: cells.narrow(D::Minus1, 0, categories)?,
            color: cells.narrow(D::Minus1, categories, colors)?,
            point: affine(&raw_point, &[1.5, 1.5, 0.8], &[0.0, 2.5, 0.9])?,
            log_scale: (raw_scale.clamp(-5.0, 3.0)? - 0.5)?,
        })
    }
}

/// `x * gain + offset` on the last dimension: puts metres and radians into the
/// range in which a freshly initialised layer answers.
fn affine(x: &Tensor, gain: &[f32], offset: &[f32]) -> Result<Tensor> {
    let constant = |values: &[f32]| Tensor::new(values, x.device())?.to_dtype(x.dtype());
    x.broadcast_mul(&constant(gain)?)?.broadcast_add(&constant(offset)?)
}

/// (F, N, 4 c) with N a square grid to (F, 4 N, c) in raster order of the finer grid.
fn cells_in_raster_order(x: &Tensor) -> Result<Tensor> {
    let (frames, tokens, wide) = x.dims3()?;
    let side = (tokens as f64).sqrt().round() as usize;
    if side * side != tokens {
        candle_core::bail!("{tokens} vision tokens are not a square grid");
    }
    let channels = wide / CELLS_PER_TOKEN;
    let s = CELLS_PER_SIDE;
    // (F, rows, columns, s, s, c) -> (F, rows, s, columns, s, c)
    x.reshape(&[frames, side, side, s, s, channels][..])?.permute([0, 1, 3, 2, 4, 5])?.reshape((
        frames,
        tokens * CELLS_PER_TOKEN,
        channels,
    ))
}

/// Mean of per-token values over the cells of each token: the inverse order of
/// the cells, (F, 4 N, c) to (F, N, c).
pub fn tokens_from_cells(cells: &Tensor) -> Result<Tensor> {
    let (frames, count, channels) = cells.dims3()?;
    let tokens = count / CELLS_PER_TOKEN;
    let side = (tokens as f64).sqrt().round() as usize;
    let s = CELLS_PER_SIDE;
    cells
        .reshape(&[frames, side, s, side, s, channels][..])?
        .permute([0, 1, 3, 2, 4, 5])?
        .reshape((frames, tokens, CELLS_PER_TOKEN, channels))?
        .mean(2)
}

/// Class probabilities (F, N, classes) of tokens from cell logits (F, 4 N, classes).
pub fn token_probabilities(logits: &Tensor) -> Result<Tensor> {
    tokens_from_cells(&candle_nn::ops::softmax(&logits.to_dtype(DType::F32)?, D::Minus1)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use candle_nn::{VarBuilder, VarMap};

    fn config() -> DenseConfig {
        DenseConfig {
            categories: ["none", "wall", "chair"].map(str::to_owned).to_vec(),
            colors: ["none", "red"].map(str::to_owned).to_vec(),
        }
    }

    #[test]
    fn cells_are_in_raster_order() {
        // 2 x 2 tokens of 4 cells: token t, cell k holds 10 t + k.
        let values: Vec<f32> = (0..4).flat_map(|t| (0..4).map(move |k| (10 * t + k) as f32)).collect();
        let x = Tensor::from_vec(values, (1, 4, 4), &Device::Cpu).unwrap();
        let cells = cells_in_raster_order(&x).unwrap();
        let flat: Vec<f32> = cells.flatten_all().unwrap().to_vec1().unwrap();
        let expected = [0., 1., 10., 11., 2., 3., 12., 13., 20., 21., 30., 31., 22., 23., 32., 33.];
        assert_eq!(flat, expected);
        let tokens: Vec<f32> = tokens_from_cells(&cells).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(tokens, [1.5, 11.5, 21.5, 31.5]);
    }

    #[test]
    fn shapes_and_unit_descriptors() {
        let map = VarMap::new();
        let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
        let head = DenseHead::new(&config(), 12, vb).unwrap();
        let tokens = Tensor::randn(0f32, 1.0, (2, 16, 12), &Device::Cpu).unwrap();
        let out = head.forward(&tokens).unwrap();
        assert_eq!(out.category.dims(), [2, 64, 3]);
        assert_eq!(out.color.dims(), [2, 64, 2]);
        assert_eq!(out.point.dims(), [2, 64, 3]);
    }
}
