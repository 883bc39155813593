//! The joint objective of Loc3R-VLM: answer cross entropy, Gaussian negative
//! log likelihood of the layout and of the position, Kullback-Leibler
//! divergence of the orientation bins (sections "Training objective" and
//! "Situation modelling"). Metres and radians, natural logarithms, scalars as
//! rank-0 tensors. Everything is differentiable and keeps the dtype of its
//! predictions (f32 in training, f64 in the parity tests).

use std::f64::consts::{PI, TAU};

use candle_core::{D, DType, Result, Tensor};
use serde::{Deserialize, Serialize};

/// Label of tokens that the cross entropy does not count.
pub const IGNORED_LABEL: i64 = -100;

/// What the raw uncertainty output of a head means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VarianceForm {
    /// The head gives ln σ² (default).
    #[default]
    LogVariance,
    /// σ = softplus(raw).
    SoftplusSigma,
    /// σ² = softplus(raw).
    SoftplusVariance,
    /// σ = exp(raw).
    ExpSigma,
    /// The head gives σ > 0 itself.
    Sigma,
}

/// Gaussian negative log likelihood over the floor plane, without the constant
/// ln 2π: ½ Σ over x, y of (d²/σ² + ln σ²).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GaussianNll {
    /// Meaning of the raw uncertainty.
    pub form: VarianceForm,
    /// ln σ² is kept in ±this; `None` leaves it free. Beyond the bound the
    /// uncertainty gets no gradient.
    pub log_variance_bound: Option<f64>,
}

impl Default for GaussianNll {
    fn default() -> Self {
        Self { form: VarianceForm::LogVariance, log_variance_bound: Some(10.0) }
    }
}

impl GaussianNll {
    /// ln σ² in ln m², same shape as `raw`.
    pub fn log_variance(&self, raw: &Tensor) -> Result<Tensor> {
        let log_variance = match self.form {
            VarianceForm::LogVariance => raw.clone(),
            VarianceForm::SoftplusSigma => (softplus(raw)?.log()? * 2.0)?,
            VarianceForm::SoftplusVariance => softplus(raw)?.log()?,
            VarianceForm::ExpSigma => (raw * 2.0)?,
            VarianceForm::Sigma => (raw.log()? * 2.0)?,
        };
        match self.log_variance_bound {
            Some(bound) => log_variance.clamp(-bound, bound),
            None => Ok(log_variance),
        }
    }

    /// Loss of each token: `mean`, `raw`, `target` (…, 2) to (…).
    pub fn per_token(&self, mean: &Tensor, raw: &Tensor, target: &Tensor) -> Result<Tensor> {
        let log_variance = self.log_variance(raw)?;
        let squared = (mean - target)?.sqr()?;
        let precision = log_variance.neg()?.exp()?;
        ((squared * precision)? + log_variance)?.sum(D::Minus1)? * 0.5
    }

    /// Position loss: mean over all tokens of (…, 2) tensors.
    pub fn mean(&self, mean: &Tensor, raw: &Tensor, target: &Tensor) -> Result<Tensor> {
        self.per_token(mean, raw, target)?.mean_all()
    }

    /// Layout loss. `mean`, `raw`, `target`: (batch, tokens, 2) in metres;
    /// `supervised`: (batch, tokens) with 1 for tokens that have a ground truth
    /// and 0 otherwise. Mean over the supervised tokens of each sample, then
    /// over the samples that have any; 0 if none has. Targets of unsupervised
    /// tokens must be finite.
    pub fn layout(
        &self,
        mean: &Tensor,
        raw: &Tensor,
        target: &Tensor,
        supervised: &Tensor,
    ) -> Result<Tensor> {
        let supervised = supervised.to_dtype(mean.dtype())?;
        let summed = (self.per_token(mean, raw, target)? * &supervised)?.sum(D::Minus1)?;
        let count = supervised.sum(D::Minus1)?;
        let per_sample = (summed / count.maximum(1.0)?)?;
        let samples = count.minimum(1.0)?.sum_all()?.maximum(1.0)?;
        per_sample.sum_all()? / samples
    }
}

/// ln(1 + eˣ), exact for large |x|, with the gradient sigmoid(x).
pub fn softplus(x: &Tensor) -> Result<Tensor> {
    // The shift is a constant: its gradient cancels.
    let shift = x.relu()?.detach();
    ((x - &shift)?.exp()? + shift.neg()?.exp()?)?.log()? + shift
}

/// Where bin 0 of the orientation head is centred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BinCentres {
    /// -π + (b + ½) width: the default, equal to `geometry::OrientationHistogram`.
    #[default]
    HalfFromMinusPi,
    /// -π + b width.
    FromMinusPi,
    /// (b + ½) width.
    HalfFromZero,
    /// b width.
    FromZero,
}

/// The orientation head's bins and its soft targets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OrientationLoss {
    /// Number of equal bins around the circle.
    pub bins: usize,
    /// Where they are.
    pub centres: BinCentres,
    /// Width of the wrapped Gaussian target, in bins.
    pub sigma_bins: f64,
}

impl Default for OrientationLoss {
    fn default() -> Self {
        Self { bins: 36, centres: BinCentres::HalfFromMinusPi, sigma_bins: 2.0 }
    }
}

impl OrientationLoss {
    /// Centre of bin `bin` in radians.
    pub fn centre(&self, bin: usize) -> f64 {
        let width = TAU / self.bins as f64;
        let bin = bin as f64;
        match self.centres {
            BinCentres::HalfFromMinusPi => -PI + (bin + 0.5) * width,
            BinCentres::FromMinusPi => -PI + bin * width,
            BinCentres::HalfFromZero => (bin + 0.5) * width,
            BinCentres::FromZero => bin * width,
        }
    }

    /// Target distribution for heading `theta` (radians, any turn): a wrapped
    /// Gaussian sampled at the bin centres, sum 1.
    pub fn target(&self, theta: f64) -> Vec<f64> {
        let sigma = self.sigma_bins * TAU / self.bins as f64;
        let weights: Vec<f64> = (0..self.bins)
            .map(|bin| {
                let difference = (theta - self.centre(bin) + PI).rem_euclid(TAU) - PI;
                (-3..=3)
                    .map(|turn| (-0.5 * ((difference + TAU * f64::from(turn)) / sigma).powi(2)).exp())
                    .sum()
            })
            .collect();
        let total: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / total).collect()
    }

    /// KL(target ‖ softmax(logits)) of each sample: `logits` (samples, bins),
    /// `theta` one heading in radians per sample; gives (samples).
    pub fn per_sample(&self, logits: &Tensor, theta: &[f64]) -> Result<Tensor> {
        let targets: Vec<f64> = theta.iter().flat_map(|&angle| self.target(angle)).collect();
        let entropies: Vec<f64> =
            targets.chunks(self.bins).map(|row| row.iter().map(|&y| y_ln_y(y)).sum()).collect();
        let (device, dtype) = (logits.device(), logits.dtype());
        let targets = Tensor::from_vec(targets, (theta.len(), self.bins), device)?.to_dtype(dtype)?;
        let entropies = Tensor::from_vec(entropies, theta.len(), device)?.to_dtype(dtype)?;
        let log_q = candle_nn::ops::log_softmax(logits, D::Minus1)?;
        entropies - (targets * log_q)?.sum(D::Minus1)?
    }

    /// Mean of [`Self::per_sample`]; 0 without samples.
    pub fn mean(&self, logits: &Tensor, theta: &[f64]) -> Result<Tensor> {
        if theta.is_empty() {
            return Tensor::zeros((), logits.dtype(), logits.device());
        }
        self.per_sample(logits, theta)?.mean_all()
    }

    /// Circular mean of `probabilities` (samples, bins), differentiable:
    /// angles in (-π, π] and resultant lengths in [0, 1], both (samples).
    pub fn circular_mean(&self, probabilities: &Tensor) -> Result<(Tensor, Tensor)> {
        let (device, dtype) = (probabilities.device(), probabilities.dtype());
        let column = |part: fn(f64) -> f64| {
            let values: Vec<f64> = (0..self.bins).map(|bin| part(self.centre(bin))).collect();
            Tensor::from_vec(values, (1, self.bins), device)?.to_dtype(dtype)
        };
        let x = probabilities.broadcast_mul(&column(f64::cos)?)?.sum(D::Minus1)?;
        let y = probabilities.broadcast_mul(&column(f64::sin)?)?.sum(D::Minus1)?;
        let squared = (x.sqr()? + y.sqr()?)?;
        let (x0, y0) = (x.detach(), y.detach());
        let host = |t: &Tensor| t.to_dtype(DType::F64)?.to_vec1::<f64>();
        let angles: Vec<f64> = host(&y0)?.iter().zip(host(&x0)?).map(|(y, x)| y.atan2(x)).collect();
        let angles = Tensor::from_vec(angles, x0.dims(), device)?.to_dtype(dtype)?;
        // Adds zero to the value and (x dy - y dx) / r² to the gradient.
        let turn = (((&x0 * &y)? - (&y0 * &x)?)? / squared.detach())?;
        Ok(((angles + turn)?, squared.sqrt()?))
    }
}

/// y ln y with 0 ln 0 = 0.
fn y_ln_y(y: f64) -> f64 {
    if y > 0.0 { y * y.ln() } else { 0.0 }
}

/// Next-token loss: mean over the rows of `logits` (rows, vocabulary) whose
/// label differs from [`IGNORED_LABEL`]; 0 if there is none. `labels`: (rows) i64.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    crate::model::ops::cross_entropy(logits, labels, IGNORED_LABEL)
}

/// Cross entropy whose rows count by `weights` (rows), normalised by their sum. `logits`
/// (rows, classes), `labels` (rows) i64, all valid.
pub fn weighted_cross_entropy(logits: &Tensor, labels: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let likelihood = candle_nn::ops::log_softmax(logits, D::Minus1)?;
    let of_labels = likelihood.gather(&labels.unsqueeze(1)?, 1)?.squeeze(1)?;
    let total = weights.sum_all()?.maximum(f64::from(f32::MIN_POSITIVE))?;
    (of_labels * weights)?.sum_all()?.div(&total)?.neg()
}

/// Weights of the objective; the defaults are the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LossWeights {
    /// λ_BEV, of the layout loss.
    pub layout: f64,
    /// λ_sit, of position and orientation together.
    pub situation: f64,
    /// λ_ori, of the orientation within the situation.
    pub orientation: f64,
}

impl Default for LossWeights {
    fn default() -> Self {
        Self { layout: 0.05, situation: 0.075, orientation: 3.5 }
    }
}

/// The terms of one step, each a scalar; a term without supervision is `None`.
#[derive(Debug, Clone, Default)]
pub struct LossTerms {
    /// Answer tokens, nats per token.
    pub cross_entropy: Option<Tensor>,
    /// Layout of the patch tokens, nats.
    pub layout: Option<Tensor>,
    /// Described position, nats.
    pub position: Option<Tensor>,
    /// Described heading, nats.
    pub orientation: Option<Tensor>,
}

impl LossTerms {
    /// L_CE + λ_BEV L_BEV + λ_sit (L_pos + λ_ori L_ori) over the terms there
    /// are; `None` if there is none.
    pub fn total(&self, weights: &LossWeights) -> Result<Option<Tensor>> {
        let weighted = [
            (&self.cross_entropy, 1.0),
            (&self.layout, weights.layout),
            (&self.position, weights.situation),
            (&self.orientation, weights.situation * weights.orientation),
        ];
        let mut total: Option<Tensor> = None;
        for (term, weight) in weighted {
            if let Some(term) = term {
                let term = (term * weight)?;
                total = Some(match total {
                    Some(sum) => (sum + term)?,
                    None => term,
                });
            }
        }
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn tensor(values: &[f64], columns: usize) -> Tensor {
        Tensor::from_slice(values, (values.len() / columns, columns), &Device::Cpu).unwrap()
    }

    fn scalar(tensor: &Tensor) -> f64 {
        tensor.to_scalar::<f64>().unwrap()
    }

    #[test]
    fn gaussian_hand_value() {
        let raw = tensor(&[0.25f64.ln(), 4f64.ln()], 2);
        let loss =
            GaussianNll::default().mean(&tensor(&[1.0, 2.0], 2), &raw, &tensor(&[1.5, 1.0], 2)).unwrap();
        assert!((scalar(&loss) - 0.625).abs() < 1e-12);
    }

    #[test]
    fn orientation_hand_values() {
        for (degrees, expected) in [
            (123.0f64, [(30, 0.19848), (29, 0.18414), (31, 0.16661), (28, 0.13304), (32, 0.10893)]),
            (-179.0, [(0, 0.19552), (35, 0.19069), (1, 0.15613), (34, 0.14485), (2, 0.09709)]),
        ] {
            let target = OrientationLoss::default().target(degrees.to_radians());
            for (bin, value) in expected {
                assert!((target[bin] - value).abs() < 5e-6, "{degrees} bin {bin}: {}", target[bin]);
            }
            assert!((target.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn layout_averages_per_sample_and_skips_samples_without_supervision() {
        let mean = Tensor::zeros((3, 2, 2), DType::F64, &Device::Cpu).unwrap();
        let target = Tensor::new(
            &[[[1f64, 1.0], [3.0, 3.0]], [[2.0, 2.0], [9.0, 9.0]], [[5.0, 5.0], [5.0, 5.0]]],
            &Device::Cpu,
        )
        .unwrap();
        let supervised = Tensor::new(&[[1f64, 1.0], [1.0, 0.0], [0.0, 0.0]], &Device::Cpu).unwrap();
        let nll = GaussianNll::default();
        // Unit variance: d²; samples (1 + 9) / 2 and 4, the third not counted.
        let loss = nll.layout(&mean, &mean, &target, &supervised).unwrap();
        assert!((scalar(&loss) - 4.5).abs() < 1e-12);
        let none = nll.layout(&mean, &mean, &target, &supervised.zeros_like().unwrap()).unwrap();
        assert!(scalar(&none).abs() < 1e-12);
    }

    #[test]
    fn bounded_log_variance_stays_finite_and_stops_its_gradient() {
        let raw = Var::from_tensor(&tensor(&[-500.0, 500.0], 2)).unwrap();
        let loss = GaussianNll::default()
            .mean(&tensor(&[0.0, 0.0], 2), raw.as_tensor(), &tensor(&[1.0, 1.0], 2))
            .unwrap();
        assert!((scalar(&loss) - 0.5 * (10f64.exp() + (-10f64).exp())).abs() < 1e-6);
        let grads = loss.backward().unwrap();
        let grad = grads.get(raw.as_tensor()).unwrap().to_vec2::<f64>().unwrap();
        assert_eq!(grad, [[0.0, 0.0]]);
    }

    #[test]
    fn softplus_is_exact_at_the_ends() {
        let values = softplus(&tensor(&[-800.0, 0.0, 800.0], 3)).unwrap().to_vec2::<f64>().unwrap();
        assert_eq!(values[0][0], 0.0);
        assert!((values[0][1] - 2f64.ln()).abs() < 1e-15);
        assert_eq!(values[0][2], 800.0);
    }

    #[test]
    fn total_adds_the_terms_there_are() {
        let term = |value: f64| Some(Tensor::new(value, &Device::Cpu).unwrap());
        let terms =
            LossTerms { cross_entropy: term(1.0), layout: term(2.0), position: None, orientation: term(4.0) };
        let total = terms.total(&LossWeights::default()).unwrap().unwrap();
        assert!((scalar(&total) - (1.0 + 0.1 + 0.075 * 3.5 * 4.0)).abs() < 1e-12);
        assert!(LossTerms::default().total(&LossWeights::default()).unwrap().is_none());
    }

    #[test]
    fn weights_read_with_missing_fields() {
        let weights: LossWeights = serde_json::from_str(r#"{"layout": 1.0}"#).unwrap();
        assert_eq!(weights, LossWeights { layout: 1.0, ..LossWeights::default() });
    }
}
