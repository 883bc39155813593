//! Linear, GELU, linear as one operation: the hidden values stay inside, so
//! candle's backward pass neither copies nor sums tensors four times as wide
//! as a token.

use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::Gelu;
use super::gemm::{Into, Matrix, Threads, multiply};
use super::linear::column_sums;
use super::storage::{CHUNK, Values, contiguous, tensor_like};

/// Rows that one thread fills with the bias at a time.
const ROWS: usize = 64;

/// Operands: x (…, width), then the two layers, each packed into one vector:
/// weight (outputs · inputs), bias (outputs).
pub(super) struct Mlp {
    pub(super) activation: Gelu,
    pub(super) hidden: usize,
    pub(super) outputs: usize,
    /// Hidden values before the activation, from the forward to the backward pass.
    kept: Mutex<Option<Vec<f32>>>,
}

/// A packed layer.
struct Layer<'a> {
    weight: Matrix<'a>,
    bias: &'a [f32],
}

impl<'a> Layer<'a> {
    fn new(packed: &'a [f32], inputs: usize, outputs: usize) -> Result<Self> {
        if packed.len() != outputs * (inputs + 1) {
            candle_core::bail!("mlp: {} packed values for {inputs} to {outputs}", packed.len());
        }
        let (weight, bias) = packed.split_at(outputs * inputs);
        Ok(Self { weight: Matrix::new(weight, outputs, inputs), bias })
    }

    /// x Wᵀ + b for `rows` rows.
    fn apply(&self, x: Matrix<'_>, rows: usize) -> Vec<f32> {
        let outputs = self.bias.len();
        let mut out = vec![0.0; rows * outputs];
        out.par_chunks_mut(outputs * ROWS)
            .for_each(|block| block.chunks_mut(outputs).for_each(|row| row.copy_from_slice(self.bias)));
        multiply(&mut out, Into::Add, 1.0, x, self.weight.t(), Threads::All);
        out
    }
}

/// Packed gradient of a layer from its input and the gradient of its output.
fn layer_gradient(x: Matrix<'_>, inputs: usize, grad: &[f32], outputs: usize) -> Vec<f32> {
    let mut packed = vec![0.0; outputs * inputs];
    let rows = grad.len() / outputs.max(1);
    let matrix = Matrix::new(grad, rows, outputs);
    multiply(&mut packed, Into::Replace, 1.0, matrix.t(), x, Threads::All);
    packed.extend(column_sums(grad, outputs));
    packed
}

impl Mlp {
    pub(super) fn new(activation: Gelu, hidden: usize, outputs: usize) -> Self {
        Self { activation, hidden, outputs, kept: Mutex::new(None) }
    }

    fn activate(&self, hidden: &mut [f32]) {
        let activation = self.activation;
        hidden.par_chunks_mut(CHUNK).for_each(|chunk| activation.apply(chunk));
    }

    /// What the forward pass kept, or computed again.
    fn hidden_values(&self, up: &Layer<'_>, x: Matrix<'_>, rows: usize) -> Vec<f32> {
        let kept = self.kept.lock().ok().and_then(|mut kept| kept.take());
        kept.unwrap_or_else(|| up.apply(x, rows))
    }
}

impl CustomOp3 for Mlp {
    fn name(&self) -> &'static str {
        "mlp"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        up: &CpuStorage,
        ul: &Layout,
        down: &CpuStorage,
        dl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut shape = xl.dims().to_vec();
        let inputs = shape.pop().unwrap_or(0);
        let rows: usize = shape.iter().product();
        shape.push(self.outputs);
        let up = Layer::new(contiguous(up, ul)?, inputs, self.hidden)?;
        let down = Layer::new(contiguous(down, dl)?, self.hidden, self.outputs)?;
        let mut hidden = up.apply(Matrix::new(contiguous(x, xl)?, rows, inputs), rows);
        let kept = hidden.clone();
        self.activate(&mut hidden);
        let out = down.apply(Matrix::new(&hidden, rows, self.hidden), rows);
        if let Ok(mut slot) = self.kept.lock() {
            *slot = Some(kept);
        }
        Ok((CpuStorage::F32(out), shape.into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        up: &Tensor,
        down: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (xv, uv, dv, gv) = (Values::of(x), Values::of(up), Values::of(down), Values::of(&grad));
        let (xs, gs) = (xv.contiguous()?, gv.contiguous()?);
        let rows = gs.len() / self.outputs.max(1);
        let inputs = xs.len() / rows.max(1);
        let x_matrix = Matrix::new(xs, rows, inputs);
        let up_layer = Layer::new(uv.contiguous()?, inputs, self.hidden)?;
        let down_layer = Layer::new(dv.contiguous()?, self.hidden, self.outputs)?;
        let mut hidden = self.hidden_values(&up_layer, x_matrix, rows);
        let mut slopes = vec![0.0; rows * self.hidden];
        let g = Matrix::new(gs, rows, self.outputs);
        multiply(&mut slopes, Into::Replace, 1.0, g, down_layer.weight, Threads::All);
        let activation = self.activation;
        slopes
            .par_chunks_mut(CHUNK)
            .zip(hidden.par_chunks_mut(CHUNK))
            .for_each(|(slopes, hidden)| activation.apply_with_slopes(hidden, slopes));
        let d_down = layer_gradient(Matrix::new(&hidden, rows, self.hidden), self.hidden, gs, self.outputs);
        let d_up = layer_gradient(x_matrix, inputs, &slopes, self.hidden);
        let mut dx = vec![0.0; xs.len()];
        let slopes = Matrix::new(&slopes, rows, self.hidden);
        multiply(&mut dx, Into::Replace, 1.0, slopes, up_layer.weight, Threads::All);
        Ok((Some(tensor_like(dx, x)?), Some(tensor_like(d_up, up)?), Some(tensor_like(d_down, down)?)))
    }
}
