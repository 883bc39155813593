//! Activations, residual add and rotary embedding in one parallel pass each.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::Gelu;
use super::lanes::{erf, exp, fma, sigmoid};
use super::storage::{CHUNK, Values, contiguous, tensor_like};

/// √(2/π).
const ROOT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

impl Gelu {
    #[inline]
    fn erf_value(x: f32) -> f32 {
        0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2).0)
    }

    #[inline]
    fn erf_slope(x: f32) -> f32 {
        let (erf, gaussian) = erf(x * std::f32::consts::FRAC_1_SQRT_2);
        // Density of the normal distribution: e^(-x²/2) / √(2π).
        fma(x * 0.5 * ROOT_2_OVER_PI, gaussian, 0.5 * (1.0 + erf))
    }

    /// ½ (1 + tanh u) = sigmoid(2u).
    #[inline]
    fn tanh_gate(x: f32) -> f32 {
        sigmoid(2.0 * ROOT_2_OVER_PI * x * fma(CUBIC * x, x, 1.0))
    }

    #[inline]
    fn tanh_slope(x: f32) -> f32 {
        let gate = Self::tanh_gate(x);
        let inner = 2.0 * ROOT_2_OVER_PI * fma(3.0 * CUBIC * x, x, 1.0);
        fma(x * gate * (1.0 - gate), inner, gate)
    }
}

impl Gelu {
    /// Replaces x by its activation.
    pub(super) fn apply(self, values: &mut [f32]) {
        match self {
            Self::Erf => values.iter_mut().for_each(|x| *x = Self::erf_value(*x)),
            Self::Tanh => values.iter_mut().for_each(|x| *x *= Self::tanh_gate(*x)),
        }
    }

    /// Replaces x by its activation and multiplies `gradient` by the slope there.
    pub(super) fn apply_with_slopes(self, values: &mut [f32], gradient: &mut [f32]) {
        let pairs = values.iter_mut().zip(gradient);
        match self {
            Self::Erf => pairs.for_each(|(x, g)| {
                *g *= Self::erf_slope(*x);
                *x = Self::erf_value(*x);
            }),
            Self::Tanh => pairs.for_each(|(x, g)| {
                *g *= Self::tanh_slope(*x);
                *x *= Self::tanh_gate(*x);
            }),
        }
    }
}

fn map(x: &[f32], f: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| {
        out.iter_mut().zip(x).for_each(|(out, &x)| *out = f(x));
    });
    out
}

fn map2(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).zip(y.par_chunks(CHUNK)).for_each(|((out, x), y)| {
        out.iter_mut().zip(x).zip(y).for_each(|((out, &x), &y)| *out = f(x, y));
    });
    out
}

/// GELU of every value.
pub(super) struct GeluOp(pub(super) Gelu);

impl CustomOp1 for GeluOp {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(x, layout)?;
        let out = match self.0 {
            Gelu::Erf => map(x, Gelu::erf_value),
            Gelu::Tanh => map(x, |x| x * Gelu::tanh_gate(x)),
        };
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let (xv, gv) = (Values::of(x), Values::of(&grad));
        let (xs, gs) = (xv.contiguous()?, gv.contiguous()?);
        let out = match self.0 {
            Gelu::Erf => map2(xs, gs, |x, g| g * Gelu::erf_slope(x)),
            Gelu::Tanh => map2(xs, gs, |x, g| g * Gelu::tanh_slope(x)),
        };
        tensor_like(out, x).map(Some)
    }
}

/// silu(gate) · up.
pub(super) struct SiluMul;

impl CustomOp2 for SiluMul {
    fn name(&self) -> &'static str {
        "silu mul"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gl: &Layout,
        up: &CpuStorage,
        ul: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let out = map2(contiguous(gate, gl)?, contiguous(up, ul)?, |gate, up| gate * sigmoid(gate) * up);
        Ok((CpuStorage::F32(out), gl.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (gate_v, up_v, grad_v) = (Values::of(gate), Values::of(up), Values::of(&grad));
        let (gates, ups, grads) = (gate_v.contiguous()?, up_v.contiguous()?, grad_v.contiguous()?);
        let (mut d_gate, mut d_up) = (vec![0.0; gates.len()], vec![0.0; gates.len()]);
        d_gate
            .par_chunks_mut(CHUNK)
            .zip(d_up.par_chunks_mut(CHUNK))
            .zip(gates.par_chunks(CHUNK).zip(ups.par_chunks(CHUNK)).zip(grads.par_chunks(CHUNK)))
            .for_each(|((d_gate, d_up), ((gate, up), grad))| {
                let inputs = gate.iter().zip(up).zip(grad);
                for ((d_gate, d_up), ((&gate, &up), &grad)) in d_gate.iter_mut().zip(d_up).zip(inputs) {
                    let s = sigmoid(gate);
                    *d_up = grad * gate * s;
                    *d_gate = grad * up * s * fma(gate, 1.0 - s, 1.0);
                }
            });
        Ok((Some(tensor_like(d_gate, gate)?), Some(tensor_like(d_up, up)?)))
    }
}

/// x + y of equal shapes.
pub(super) struct Add;

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "residual add"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        y: &CpuStorage,
        yl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let out = map2(contiguous(x, xl)?, contiguous(y, yl)?, |x, y| x + y);
        Ok((CpuStorage::F32(out), xl.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.clone()), Some(grad.clone())))
    }
}

/// Half-split rotation of (…, length, heads, dim) rows by position.
pub(super) struct Rope {
    /// Consecutive rows that share a position: 1 for (batch, heads, length,
    /// dim), the number of heads for (batch, length, heads · dim).
    pub(super) rows_per_position: usize,
    /// Rotates the other way: the gradient.
    pub(super) backwards: bool,
}

impl Rope {
    fn rotate(&self, x: &[f32], cos: &[f32], sin: &[f32], half: usize) -> Vec<f32> {
        let length = cos.len() / half;
        let sign = if self.backwards { -1.0 } else { 1.0 };
        let row = 2 * half;
        let rows_per_chunk = (CHUNK / row).max(1);
        let mut out = vec![0.0; x.len()];
        out.par_chunks_mut(row * rows_per_chunk)
            .zip(x.par_chunks(row * rows_per_chunk))
            .enumerate()
            .for_each(|(chunk, (out, x))| {
                for (i, (out, x)) in out.chunks_mut(row).zip(x.chunks(row)).enumerate() {
                    let position = (chunk * rows_per_chunk + i) / self.rows_per_position % length;
                    let angles = position * half..(position + 1) * half;
                    let (a, b) = x.split_at(half);
                    let (out_a, out_b) = out.split_at_mut(half);
                    let inputs = a.iter().zip(b).zip(cos[angles.clone()].iter().zip(&sin[angles]));
                    for ((out_a, out_b), ((&a, &b), (&cos, &sin))) in out_a.iter_mut().zip(out_b).zip(inputs)
                    {
                        let sin = sin * sign;
                        *out_a = a * cos - b * sin;
                        *out_b = b * cos + a * sin;
                    }
                }
            });
        out
    }

    /// Half of the head dimension, checked against the positions there are.
    fn half(&self, x: &Layout, angles: &Layout) -> Result<usize> {
        let (length, half) = angles.shape().dims2()?;
        let rows = x.shape().elem_count() / (2 * half).max(1);
        let fits = half > 0
            && length > 0
            && rows * 2 * half == x.shape().elem_count()
            && rows.is_multiple_of(length * self.rows_per_position);
        if !fits {
            candle_core::bail!("rope: angles ({length}, {half}) do not fit input {:?}", x.dims());
        }
        Ok(half)
    }
}

impl CustomOp3 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        cos: &CpuStorage,
        cl: &Layout,
        sin: &CpuStorage,
        sl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let half = self.half(xl, cl)?;
        if sl.dims() != cl.dims() {
            candle_core::bail!("rope: cos {:?} and sin {:?} differ in shape", cl.dims(), sl.dims());
        }
        let out = self.rotate(contiguous(x, xl)?, contiguous(cos, cl)?, contiguous(sin, sl)?, half);
        Ok((CpuStorage::F32(out), xl.shape().clone()))
    }

    /// The angles are constants: no gradient for them.
    fn bwd(
        &self,
        _: &Tensor,
        cos: &Tensor,
        sin: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let back = Self { backwards: !self.backwards, ..*self };
        let grad = grad.contiguous()?.apply_op3_no_bwd(cos, sin, &back)?;
        Ok((Some(grad), None, None))
    }
}

/// Mean of -ln softmax(logits)_class over (row, class) pairs.
pub(super) struct CrossEntropy {
    pub(super) counted: Vec<(u32, u32)>,
}

impl CrossEntropy {
    /// e^(x - max) of one row goes to `scratch`; returns (max, sum).
    fn shifted(row: &[f32], scratch: &mut Vec<f32>) -> (f32, f32) {
        scratch.clear();
        scratch.extend_from_slice(row);
        super::lanes::exp_shifted(scratch)
    }
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, classes) = layout.shape().dims2()?;
        let logits = contiguous(logits, layout)?;
        let losses: Vec<f32> = self
            .counted
            .par_iter()
            .map_init(Vec::new, |scratch, &(row, class)| {
                let row = &logits[row as usize * classes..][..classes];
                let (shift, total) = Self::shifted(row, scratch);
                total.ln() + shift - row[class as usize]
            })
            .collect();
        let mean = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64;
        Ok((CpuStorage::F32(vec![mean as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (rows, classes) = logits.dims2()?;
        let scale = grad.to_scalar::<f32>()? / self.counted.len() as f32;
        let mut labels = vec![None; rows];
        for &(row, class) in &self.counted {
            labels[row as usize] = Some(class as usize);
        }
        let values = Values::of(logits);
        let mut out = vec![0.0; rows * classes];
        out.par_chunks_mut(classes).zip(values.contiguous()?.par_chunks(classes)).zip(labels).for_each(
            |((out, row), label)| {
                let Some(label) = label else { return };
                let shift = super::lanes::max(row);
                out.iter_mut().zip(row).for_each(|(out, &x)| *out = exp(x - shift));
                let factor = scale / super::lanes::sum(out);
                for out in out.iter_mut() {
                    *out *= factor;
                }
                out[label] -= scale;
            },
        );
        tensor_like(out, logits).map(Some)
    }
}
