//! From vision features to language tokens: `mlp2x_gelu`, 2D pooling and the order
//! of patch, camera and newline vectors (LLaVA-Video; camera tokens of Loc3R-VLM).
//!
//! Shapes: batch B, frames F, patches N = grid², pooled patches n = pooled², language width h.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Init, Module as _, VarBuilder};

use super::config::{CameraPlace, ModelConfig, NewlineMode, PoolingConfig, PoolingMode};
use super::layers::Mlp;
use super::ops;
use super::sequence::VisualLayout;

/// Projection, pooling and arrangement of vision tokens.
#[derive(Debug, Clone)]
pub struct Projector {
    mlp: Mlp,
    pooling: PoolingConfig,
    grid: usize,
    /// (n, N), for the linear kinds of pooling.
    pooling_matrix: Option<Tensor>,
    newline: Option<Tensor>,
}

impl Projector {
    /// Reads `mm_projector.*` and, where the mode uses one, `image_newline`.
    pub fn new(config: &ModelConfig, weights: &VarBuilder<'_>) -> Result<Self> {
        let width = config.language.hidden_size;
        let grid = config.vision.grid();
        let start = Init::Randn { mean: 0.0, stdev: 1.0 / (width as f64).sqrt() };
        Ok(Self {
            mlp: Mlp::new(config.vision.hidden_size, width, width, &weights.pp("mm_projector"))?,
            pooling: config.pooling,
            grid,
            pooling_matrix: pooling_matrix(config.pooling, grid, weights.dtype(), weights.device())?,
            newline: config
                .has_newline()
                .then(|| weights.get_with_hints(width, "image_newline", start))
                .transpose()?,
        })
    }

    /// Projects and pools: (.., N, D) to (.., n, h).
    pub fn forward(&self, features: &Tensor) -> Result<Tensor> {
        self.pool(&self.project(features)?)
    }

    /// The MLP alone: (.., N, D) to (.., N, h). It runs before the pooling.
    pub fn project(&self, features: &Tensor) -> Result<Tensor> {
        self.mlp.forward(features)
    }

    /// The pooling alone: (.., N, h) to (.., n, h).
    pub fn pool(&self, projected: &Tensor) -> Result<Tensor> {
        let dims = projected.dims().to_vec();
        let (patches, width) = (dims[dims.len() - 2], dims[dims.len() - 1]);
        let frames = projected.elem_count() / (patches * width);
        let flat = projected.reshape((frames, patches, width))?;
        let pooled = match &self.pooling_matrix {
            Some(matrix) => {
                let (tokens, _) = matrix.dims2()?;
                let matrix = matrix.broadcast_left(frames)?.contiguous()?;
                ops::matmul(&matrix, &flat)?.reshape((frames, tokens, width))?
            }
            None => self.pool_max(&flat)?,
        };
        let mut shape = dims;
        let rank = shape.len();
        shape[rank - 2] = pooled.dim(1)?;
        pooled.reshape(shape)
    }

    fn pool_max(&self, flat: &Tensor) -> Result<Tensor> {
        let (frames, _, width) = flat.dims3()?;
        let (stride, side) = (self.pooling.stride, self.pooling.pooled(self.grid));
        let used = flat
            .reshape((frames, self.grid, self.grid, width))?
            .narrow(1, 0, side * stride)?
            .narrow(2, 0, side * stride)?
            .contiguous()?;
        used.reshape(vec![frames, side, stride, side, stride, width])?.max(4)?.max(2)?.reshape((
            frames,
            side * side,
            width,
        ))
    }

    /// Arranges the tokens of B videos: per frame the camera token and rows of patches with
    /// newlines, in the order of `layout`. `pooled`: (B, F, n, h); `camera`: (B, F, h). Gives
    /// (B, T, h) with T = `layout.len()`.
    pub fn arrange(&self, pooled: &Tensor, camera: Option<&Tensor>, layout: &VisualLayout) -> Result<Tensor> {
        let (batch, frames, tokens, width) = pooled.dims4()?;
        let (rows, columns) = (layout.rows, layout.columns);
        if (frames, tokens, camera.is_some()) != (layout.frames, rows * columns, layout.camera) {
            candle_core::bail!(
                "{frames} frames of {tokens} tokens (camera token: {}) do not fit the layout {layout:?}",
                camera.is_some()
            );
        }
        let patches = match layout.newline {
            NewlineMode::Grid => {
                let grid = pooled.reshape(vec![batch, frames, rows, columns, width])?;
                let ends = self.newlines(vec![batch, frames, rows, 1, width])?;
                Tensor::cat(&[grid, ends], 3)?.reshape((batch, frames, rows * (columns + 1), width))?
            }
            NewlineMode::Frame => {
                Tensor::cat(&[pooled.clone(), self.newlines(vec![batch, frames, 1, width])?], 2)?
            }
            NewlineMode::OneToken | NewlineMode::NoToken => pooled.clone(),
        };
        let mut parts = Vec::new();
        if let Some(camera) = camera {
            parts.push(camera.unsqueeze(2)?);
            if layout.camera_newline {
                parts.push(self.newlines(vec![batch, frames, 1, width])?);
            }
        }
        match layout.camera_place {
            CameraPlace::First => parts.push(patches),
            CameraPlace::Last => parts.insert(0, patches),
        }
        let video = Tensor::cat(&parts, 2)?.reshape((batch, frames * layout.frame_len(), width))?;
        match layout.newline {
            NewlineMode::OneToken => Tensor::cat(&[video, self.newlines(vec![batch, 1, width])?], 1),
            _ => Ok(video),
        }
    }

    /// The newline vector repeated to `shape`, whose last axis is h.
    fn newlines(&self, shape: Vec<usize>) -> Result<Tensor> {
        match &self.newline {
            Some(newline) => newline.broadcast_as(shape)?.contiguous(),
            None => candle_core::bail!("this checkpoint has no newline vector"),
        }
    }
}

/// The linear kinds of pooling as one constant matrix (n, N), which [`ModelConfig::validate`]
/// keeps small.
fn pooling_matrix(
    pooling: PoolingConfig,
    grid: usize,
    dtype: DType,
    device: &Device,
) -> Result<Option<Tensor>> {
    let side = pooling.pooled(grid);
    let axis = match pooling.mode {
        PoolingMode::Max => return Ok(None),
        PoolingMode::Bilinear => bilinear_matrix(grid, side),
        PoolingMode::Average => average_matrix(grid, side, pooling.stride),
    };
    let mut matrix = Vec::with_capacity(side * side * grid * grid);
    for row in &axis {
        for column in &axis {
            matrix.extend(row.iter().flat_map(|a| column.iter().map(move |b| a * b)));
        }
    }
    Tensor::from_vec(matrix, (side * side, grid * grid), device)?.to_dtype(dtype).map(Some)
}

/// Weights of linear resampling along one axis with half-pixel centres and no
/// antialiasing (`align_corners=False`): `outputs` rows of `inputs` weights.
pub fn bilinear_matrix(inputs: usize, outputs: usize) -> Vec<Vec<f32>> {
    let scale = inputs as f32 / outputs as f32;
    (0..outputs)
        .map(|output| {
            let source = ((output as f32 + 0.5) * scale - 0.5).max(0.0);
            let low = (source.floor() as usize).min(inputs - 1);
            let high = (low + 1).min(inputs - 1);
            let upper = source - low as f32;
            let mut row = vec![0.0; inputs];
            row[low] += 1.0 - upper;
            row[high] += upper;
            row
        })
        .collect()
}

fn average_matrix(inputs: usize, outputs: usize, stride: usize) -> Vec<Vec<f32>> {
    (0..outputs)
        .map(|output| {
            let mut row = vec![0.0; inputs];
            row[output * stride..(output + 1) * stride].fill(1.0 / stride as f32);
            row
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bilinear_taps_are_the_published_ones() {
        let matrix = bilinear_matrix(27, 14);
        let upper = [
            0.4643, 0.3929, 0.3214, 0.25, 0.1786, 0.1071, 0.0357, 0.9643, 0.8929, 0.8214, 0.75, 0.6786,
            0.6071, 0.5357,
        ];
        let low = [0, 2, 4, 6, 8, 10, 12, 13, 15, 17, 19, 21, 23, 25];
        for (row, (low, upper)) in matrix.iter().zip(low.into_iter().zip(upper)) {
            assert!((row[low + 1] - upper).abs() < 1e-4 && (row[low] - (1.0 - upper)).abs() < 1e-4);
        }
    }

    #[test]
    fn every_token_stands_where_the_layout_says() {
        let device = &Device::Cpu;
        for camera_place in [CameraPlace::First, CameraPlace::Last] {
            let config = ModelConfig {
                newline: NewlineMode::Grid,
                camera_token_dim: 3,
                camera_newline: true,
                camera_place,
                ..ModelConfig::tiny()
            };
            let projector = Projector::new(&config, &VarBuilder::zeros(DType::F32, device)).unwrap();
            let layout = VisualLayout::new(&config, 2);
            let width = config.language.hidden_size;
            // Patches hold 1 to 8, camera tokens 100 and 101, newlines 0.
            let wide = |tokens: Tensor| tokens.unsqueeze(3).unwrap().repeat((1, 1, 1, width)).unwrap();
            let patches = Tensor::arange(1f32, 9.0, device).unwrap().reshape((1, 2, 4)).unwrap();
            let cameras = Tensor::new(&[[[100f32], [101.0]]], device).unwrap();
            let cameras = wide(cameras).squeeze(2).unwrap();
            let video = projector.arrange(&wide(patches), Some(&cameras), &layout).unwrap();
            assert_eq!(video.dims(), [1, layout.len(), width]);
            let rows = video.get(0).unwrap().narrow(1, 0, 1).unwrap();
            let rows: Vec<f32> = rows.flatten_all().unwrap().to_vec1().unwrap();
            let at = |offsets: Vec<u32>| -> Vec<f32> {
                offsets.into_iter().map(|offset| rows[offset as usize]).collect()
            };
            assert_eq!(at(layout.patches()), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
            assert_eq!(at(layout.cameras()), [100.0, 101.0]);
            assert_eq!(rows.iter().filter(|&&value| value == 0.0).count(), layout.len() - 10);
        }
    }
}
