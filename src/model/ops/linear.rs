//! Fully connected layer: one product forward, two backward, no copies.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::gemm::{Into, Matrix, Threads, multiply};
use super::storage::{Values, contiguous, tensor_like};

/// Rows of a partial bias sum.
const BIAS_ROWS: usize = 128;

/// y = x Wᵀ (+ b).
pub(super) struct Linear;

fn forward(
    x: &[f32],
    x_layout: &Layout,
    weight: &[f32],
    weight_layout: &Layout,
    bias: &[f32],
) -> Result<(CpuStorage, Shape)> {
    let (outputs, inputs) = weight_layout.shape().dims2()?;
    let mut shape = x_layout.dims().to_vec();
    if shape.pop() != Some(inputs) {
        candle_core::bail!("linear: input {:?} does not fit weight ({outputs}, {inputs})", x_layout.dims());
    }
    let rows: usize = shape.iter().product();
    shape.push(outputs);
    let mut out = vec![0.0; rows * outputs];
    let into = if bias.is_empty() {
        Into::Replace
    } else {
        if bias.len() != outputs {
            candle_core::bail!("linear: bias of {} for {outputs} outputs", bias.len());
        }
        out.par_chunks_mut(outputs * BIAS_ROWS)
            .for_each(|block| block.chunks_mut(outputs).for_each(|row| row.copy_from_slice(bias)));
        Into::Add
    };
    let (x, weight) = (Matrix::new(x, rows, inputs), Matrix::new(weight, outputs, inputs));
    multiply(&mut out, into, 1.0, x, weight.t(), Threads::All);
    Ok((CpuStorage::F32(out), shape.into()))
}

/// Gradients of x and W; a constant W gets none.
fn backward(x: &Tensor, weight: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let (outputs, inputs) = weight.dims2()?;
    let (x_values, weight_values, grad_values) = (Values::of(x), Values::of(weight), Values::of(grad));
    let grad = grad_values.contiguous()?;
    let rows = grad.len() / outputs.max(1);
    let grad = Matrix::new(grad, rows, outputs);
    let x_grad = x.track_op().then(|| {
        let mut out = vec![0.0; rows * inputs];
        let weight = Matrix::new(weight_values.contiguous()?, outputs, inputs);
        multiply(&mut out, Into::Replace, 1.0, grad, weight, Threads::All);
        tensor_like(out, x)
    });
    let weight_grad = weight.track_op().then(|| {
        let mut out = vec![0.0; outputs * inputs];
        let x = Matrix::new(x_values.contiguous()?, rows, inputs);
        multiply(&mut out, Into::Replace, 1.0, grad.t(), x, Threads::All);
        tensor_like(out, weight)
    });
    Ok((x_grad.transpose()?, weight_grad.transpose()?))
}

/// Sum over the rows of `grad`, in an order that does not depend on the threads.
pub(super) fn column_sums(grad: &[f32], columns: usize) -> Vec<f32> {
    let partial: Vec<Vec<f32>> = grad
        .par_chunks(columns * BIAS_ROWS)
        .map(|block| {
            let mut sums = vec![0.0; columns];
            for row in block.chunks(columns) {
                sums.iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
            }
            sums
        })
        .collect();
    sum_rows(partial, columns)
}

/// Adds up partial sums in order.
pub(super) fn sum_rows(partial: Vec<Vec<f32>>, columns: usize) -> Vec<f32> {
    let mut total = vec![0.0; columns];
    for sums in partial {
        total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
    }
    total
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        forward(contiguous(x, xl)?, xl, contiguous(w, wl)?, wl, &[])
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        backward(x, weight, &grad.contiguous()?)
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear with bias"
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
        forward(contiguous(x, xl)?, xl, contiguous(w, wl)?, wl, contiguous(b, bl)?)
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
        let (x_grad, weight_grad) = backward(x, weight, &grad)?;
        let bias_grad = bias
            .track_op()
            .then(|| tensor_like(column_sums(Values::of(&grad).contiguous()?, bias.elem_count()), bias))
            .transpose()?;
        Ok((x_grad, weight_grad, bias_grad))
    }
}
