//! Linear layers, norms and two-layer MLPs, built from a [`VarBuilder`] under the
//! published names; how new weights start is decided here.

use candle_core::{Device, Result, Tensor};
use candle_nn::{Init, Module, VarBuilder};

use super::config::Activation;
use super::ops::{self, Gelu};

/// A fully connected layer: x Wᵀ (+ b).
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// `weight`: (outputs, inputs); `bias`: (outputs).
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// (outputs, inputs).
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }
}

/// `second(gelu(first(x)))`, in one operation where both have a bias.
pub fn gelu_mlp(x: &Tensor, first: &Linear, second: &Linear, gelu: Gelu) -> Result<Tensor> {
    if let (Some(up), Some(down)) = (&first.bias, &second.bias) {
        return ops::mlp(x, [&first.weight, up], [&second.weight, down], gelu);
    }
    let hidden = first.forward(x)?;
    let hidden = match gelu {
        Gelu::Erf => ops::gelu_erf(&hidden)?,
        Gelu::Tanh => ops::gelu_tanh(&hidden)?,
    };
    second.forward(&hidden)
}

impl Module for Linear {
    /// (…, inputs) to (…, outputs).
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, &self.weight, self.bias.as_ref())
    }
}

/// A linear layer `weight (out, in)`, `bias (out)`; starts uniform in ±1/√in, bias 0.
pub fn linear(inputs: usize, outputs: usize, bias: bool, weights: &VarBuilder<'_>) -> Result<Linear> {
    scaled_linear(inputs, outputs, bias, 1.0, weights)
}

/// [`linear`] without bias that ends one of `branches` branches of a residual stream:
/// starts smaller by √branches, so that all of them together do not drown the input.
pub fn branch_end(
    inputs: usize,
    outputs: usize,
    branches: usize,
    weights: &VarBuilder<'_>,
) -> Result<Linear> {
    scaled_linear(inputs, outputs, false, 1.0 / (branches as f64).sqrt(), weights)
}

fn scaled_linear(
    inputs: usize,
    outputs: usize,
    bias: bool,
    scale: f64,
    weights: &VarBuilder<'_>,
) -> Result<Linear> {
    let bound = scale / (inputs as f64).sqrt();
    let weight =
        weights.get_with_hints((outputs, inputs), "weight", Init::Uniform { lo: -bound, up: bound })?;
    let bias = bias.then(|| weights.get_with_hints(outputs, "bias", Init::Const(0.0))).transpose()?;
    Ok(Linear::new(weight, bias))
}

/// LayerNorm with weight and bias.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Reads `weight` and `bias`, each (size).
    pub fn new(size: usize, eps: f64, weights: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            weight: weights.get_with_hints(size, "weight", Init::Const(1.0))?,
            bias: weights.get_with_hints(size, "bias", Init::Const(0.0))?,
            eps,
        })
    }
}

impl Module for LayerNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

/// RMSNorm with weight.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    weight: Tensor,
    eps: f64,
}

impl RmsNorm {
    /// Reads `weight` (size).
    pub fn new(size: usize, eps: f64, weights: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self { weight: weights.get_with_hints(size, "weight", Init::Const(1.0))?, eps })
    }

    /// Where its weight is.
    pub fn device(&self) -> &Device {
        self.weight.device()
    }
}

impl Module for RmsNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::rms_norm(x, &self.weight, self.eps)
    }
}

/// Linear, GELU, linear: `mlp2x_gelu` of LLaVA. Tensors `0.*` and `2.*`.
#[derive(Debug, Clone)]
pub struct Mlp {
    first: Linear,
    second: Linear,
    gelu: Gelu,
}

impl Mlp {
    /// (.., inputs) to (.., outputs), with the exact GELU.
    pub fn new(inputs: usize, hidden: usize, outputs: usize, weights: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            first: linear(inputs, hidden, true, &weights.pp("0"))?,
            second: linear(hidden, outputs, true, &weights.pp("2"))?,
            gelu: Gelu::Erf,
        })
    }

    /// The same layers around another activation.
    #[must_use]
    pub fn with(self, activation: Activation) -> Self {
        let gelu = match activation {
            Activation::Gelu => Gelu::Erf,
            Activation::GeluTanh => Gelu::Tanh,
        };
        Self { gelu, ..self }
    }
}

impl Module for Mlp {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        gelu_mlp(x, &self.first, &self.second, self.gelu)
    }
}

/// (batch, length, heads * dim) to (batch, heads, length, dim).
pub fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, length, width) = x.dims3()?;
    x.reshape((batch, length, heads, width / heads))?.transpose(1, 2)?.contiguous()
}

/// (batch, heads, length, dim) to (batch, length, heads * dim).
pub fn merge_heads(x: &Tensor) -> Result<Tensor> {
    let (batch, heads, length, dim) = x.dims4()?;
    x.transpose(1, 2)?.contiguous()?.reshape((batch, length, heads * dim))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn an_mlp_has_the_activation_that_it_is_given() {
        let one = || {
            let weight = Tensor::new(&[[1f32]], &Device::Cpu).unwrap();
            Linear::new(weight, Some(Tensor::new(&[0f32], &Device::Cpu).unwrap()))
        };
        let mlp = Mlp { first: one(), second: one(), gelu: Gelu::Erf };
        let at_one = |mlp: &Mlp| {
            let x = Tensor::new(&[[1f32]], &Device::Cpu).unwrap();
            mlp.forward(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()[0]
        };
        assert!((at_one(&mlp) - 0.841_345).abs() < 2e-5, "{}", at_one(&mlp));
        let tanh = mlp.with(Activation::GeluTanh);
        assert!((at_one(&tanh) - 0.841_192).abs() < 2e-5, "{}", at_one(&tanh));
    }
}
