//! LayerNorm and RMSNorm over the last dimension, fused; the backward pass
//! recomputes the statistics of each row.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::lanes::{dot, fma, sum, sum_squares};
use super::linear::sum_rows;
use super::storage::{Values, contiguous, tensor_like};

/// Rows one thread takes at a time.
const ROWS: usize = 32;

/// (x - mean) / √(variance + eps) · weight + bias.
pub(super) struct LayerNorm {
    pub(super) eps: f32,
}

/// x / √(mean square + eps) · weight.
pub(super) struct RmsNorm {
    pub(super) eps: f32,
}

fn check(x: &Layout, weight: &[f32], bias: Option<&[f32]>) -> Result<usize> {
    let width = x.dims().last().copied().unwrap_or(0);
    if width == 0 || weight.len() != width || bias.is_some_and(|bias| bias.len() != width) {
        candle_core::bail!("norm: input {:?} does not fit {} weights", x.dims(), weight.len());
    }
    Ok(width)
}

impl LayerNorm {
    /// Mean and 1 / √(variance + eps).
    fn statistics(&self, row: &[f32]) -> (f32, f32) {
        let scale = 1.0 / row.len() as f32;
        let mean = sum(row) * scale;
        let variance = sum_squares(row, mean) * scale;
        (mean, 1.0 / (variance + self.eps).sqrt())
    }

    /// Fills `dx` and adds to the gradients of weight and bias.
    fn row_backward(
        &self,
        x: &[f32],
        weight: &[f32],
        grad: &[f32],
        dx: &mut [f32],
        dw: &mut [f32],
        db: &mut [f32],
    ) {
        let scale = 1.0 / x.len() as f32;
        let (mean, inverse) = self.statistics(x);
        for ((((d, &x), &w), &g), (dw, db)) in
            dx.iter_mut().zip(x).zip(weight).zip(grad).zip(dw.iter_mut().zip(db.iter_mut()))
        {
            *d = g * w;
            *dw = fma(g, (x - mean) * inverse, *dw);
            *db += g;
        }
        let mean_grad = sum(dx) * scale;
        // Σ gw (x - mean) = Σ gw x - mean Σ gw.
        let along = (dot(dx, x) * scale - mean_grad * mean) * inverse;
        for (d, &x) in dx.iter_mut().zip(x) {
            *d = inverse * (*d - mean_grad - (x - mean) * inverse * along);
        }
    }
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight, bias) = (contiguous(x, xl)?, contiguous(w, wl)?, contiguous(b, bl)?);
        let width = check(xl, weight, Some(bias))?;
        let mut out = vec![0.0; x.len()];
        out.par_chunks_mut(width * ROWS).zip(x.par_chunks(width * ROWS)).for_each(|(out, x)| {
            for (out, x) in out.chunks_mut(width).zip(x.chunks(width)) {
                let (mean, inverse) = self.statistics(x);
                for (((out, &x), &w), &b) in out.iter_mut().zip(x).zip(weight).zip(bias) {
                    *out = fma((x - mean) * inverse, w, b);
                }
            }
        });
        Ok((CpuStorage::F32(out), xl.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (xv, wv, gv) = (Values::of(x), Values::of(weight), Values::of(&grad));
        let (xs, ws, gs) = (xv.contiguous()?, wv.contiguous()?, gv.contiguous()?);
        let width = ws.len();
        let mut dx = vec![0.0; xs.len()];
        let partial: Vec<Vec<f32>> = dx
            .par_chunks_mut(width * ROWS)
            .zip(xs.par_chunks(width * ROWS))
            .zip(gs.par_chunks(width * ROWS))
            .map(|((dx, x), g)| {
                let mut sums = vec![0.0; 2 * width];
                let (dw, db) = sums.split_at_mut(width);
                for ((dx, x), g) in dx.chunks_mut(width).zip(x.chunks(width)).zip(g.chunks(width)) {
                    self.row_backward(x, ws, g, dx, dw, db);
                }
                sums
            })
            .collect();
        let mut dw = sum_rows(partial, 2 * width);
        let db = dw.split_off(width);
        Ok((Some(tensor_like(dx, x)?), Some(tensor_like(dw, weight)?), Some(tensor_like(db, bias)?)))
    }
}

impl RmsNorm {
    fn inverse_root(&self, row: &[f32]) -> f32 {
        1.0 / (sum_squares(row, 0.0) / row.len() as f32 + self.eps).sqrt()
    }

    /// Fills `dx` and adds to the gradient of the weight.
    fn row_backward(&self, x: &[f32], weight: &[f32], grad: &[f32], dx: &mut [f32], dw: &mut [f32]) {
        let inverse = self.inverse_root(x);
        for ((((d, &x), &w), &g), dw) in dx.iter_mut().zip(x).zip(weight).zip(grad).zip(dw) {
            *d = g * w;
            *dw = fma(g, x * inverse, *dw);
        }
        let along = dot(dx, x) / x.len() as f32 * inverse * inverse;
        for (d, &x) in dx.iter_mut().zip(x) {
            *d = inverse * (*d - x * along);
        }
    }
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (contiguous(x, xl)?, contiguous(w, wl)?);
        let width = check(xl, weight, None)?;
        let mut out = vec![0.0; x.len()];
        out.par_chunks_mut(width * ROWS).zip(x.par_chunks(width * ROWS)).for_each(|(out, x)| {
            for (out, x) in out.chunks_mut(width).zip(x.chunks(width)) {
                let inverse = self.inverse_root(x);
                for ((out, &x), &w) in out.iter_mut().zip(x).zip(weight) {
                    *out = x * inverse * w;
                }
            }
        });
        Ok((CpuStorage::F32(out), xl.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (xv, wv, gv) = (Values::of(x), Values::of(weight), Values::of(&grad));
        let (xs, ws, gs) = (xv.contiguous()?, wv.contiguous()?, gv.contiguous()?);
        let width = ws.len();
        let mut dx = vec![0.0; xs.len()];
        let partial: Vec<Vec<f32>> = dx
            .par_chunks_mut(width * ROWS)
            .zip(xs.par_chunks(width * ROWS))
            .zip(gs.par_chunks(width * ROWS))
            .map(|((dx, x), g)| {
                let mut dw = vec![0.0; width];
                for ((dx, x), g) in dx.chunks_mut(width).zip(x.chunks(width)).zip(g.chunks(width)) {
                    self.row_backward(x, ws, g, dx, &mut dw);
                }
                dw
            })
            .collect();
        let dw = sum_rows(partial, width);
        Ok((Some(tensor_like(dx, x)?), Some(tensor_like(dw, weight)?)))
    }
}
