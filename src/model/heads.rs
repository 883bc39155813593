//! Layout, position and orientation heads (Loc3R-VLM, sections on layout
//! reconstruction and situation modelling), and decoding of what they say.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::{Module as _, VarBuilder};

use super::config::{BevAxes, BinCenters, HeadsConfig, ModelConfig, Uncertainty};
use super::layers::{Linear, Mlp, linear};
use crate::geometry::{BevPoint, BevSigma, ORIENTATION_BINS, Orientation, OrientationHistogram};
use crate::qa::{Situation, SituationEstimate};

/// Keeps ln σ² finite where softplus underflows.
const SOFTPLUS_FLOOR: f64 = 1e-6;

/// A predicted point on the floor plane.
#[derive(Debug, Clone)]
pub struct GaussianOutput {
    /// Mean in metres, (.., 2).
    pub mean: Tensor,
    /// Uncertainty as the head emits it, (.., 2); see [`Heads::log_variance`].
    pub raw: Tensor,
}

impl GaussianOutput {
    /// Takes rows of four numbers (.., 4) apart.
    pub fn split(output: &Tensor) -> Result<Self> {
        Ok(Self { mean: output.narrow(D::Minus1, 0, 2)?, raw: output.narrow(D::Minus1, 2, 2)? })
    }
}

/// The three heads.
#[derive(Debug, Clone)]
pub struct Heads {
    layout: Linear,
    position: Mlp,
    orientation: Mlp,
    config: HeadsConfig,
}

impl Heads {
    /// Reads `f_proj`, `f_pos.*` and `f_ori.*`.
    pub fn new(config: &ModelConfig, weights: &VarBuilder<'_>) -> Result<Self> {
        let width = config.language.hidden_size;
        let hidden = config.heads.hidden_size.unwrap_or(width);
        Ok(Self {
            layout: linear(width, 4, true, &weights.pp("f_proj"))?,
            position: Mlp::new(width, hidden, 4, &weights.pp("f_pos"))?.with(config.heads.activation),
            orientation: Mlp::new(width, hidden, ORIENTATION_BINS, &weights.pp("f_ori"))?
                .with(config.heads.activation),
            config: config.heads.clone(),
        })
    }

    /// Hidden rows of patch tokens (.., h) to points.
    pub fn layout(&self, hidden: &Tensor) -> Result<GaussianOutput> {
        GaussianOutput::split(&self.layout.forward(hidden)?)
    }

    /// Hidden rows of `<Pos>` (.., h) to points.
    pub fn position(&self, hidden: &Tensor) -> Result<GaussianOutput> {
        GaussianOutput::split(&self.position.forward(hidden)?)
    }

    /// Hidden rows of `<Ori>` (.., h) to logits (.., 36).
    pub fn orientation(&self, hidden: &Tensor) -> Result<Tensor> {
        self.orientation.forward(hidden)
    }

    /// ln σ² from the raw uncertainty, clamped; any shape. Differentiable.
    pub fn log_variance(&self, raw: &Tensor) -> Result<Tensor> {
        let log_variance = match self.config.uncertainty {
            Uncertainty::LogVariance => raw.clone(),
            Uncertainty::SoftplusSigma => ((softplus(raw)? + SOFTPLUS_FLOOR)?.log()? * 2.0)?,
            Uncertainty::SoftplusVariance => (softplus(raw)? + SOFTPLUS_FLOOR)?.log()?,
            Uncertainty::ExpSigma => (raw * 2.0)?,
        };
        log_variance.clamp(-self.config.max_log_variance, self.config.max_log_variance)
    }

    /// Points with σ of `output` (n, 2), in the bev space of this crate.
    pub fn decode_points(&self, output: &GaussianOutput) -> Result<Vec<(BevPoint, BevSigma)>> {
        let rows = |x: &Tensor| x.to_dtype(DType::F32)?.reshape(((), 2))?.to_vec2::<f32>();
        let sigma = (self.log_variance(&output.raw.to_dtype(DType::F32)?)? * 0.5)?.exp()?;
        Ok(rows(&output.mean)?
            .into_iter()
            .zip(rows(&sigma)?)
            .map(|(mean, sigma)| match self.config.bev_axes {
                BevAxes::RightForward => {
                    (BevPoint::new(mean[0], mean[1]), BevSigma { x: sigma[0], y: sigma[1] })
                }
                BevAxes::ForwardLeft => {
                    (BevPoint::new(-mean[1], mean[0]), BevSigma { x: sigma[1], y: sigma[0] })
                }
            })
            .collect())
    }

    /// The reading of one situation. `position`: one point; `logits`: (36).
    pub fn decode_situation(&self, position: &GaussianOutput, logits: &Tensor) -> Result<SituationEstimate> {
        let points = self.decode_points(position)?;
        let Some(&(position, position_sigma)) = points.first() else {
            candle_core::bail!("the position head gave no row");
        };
        let logits = logits.to_dtype(DType::F32)?.flatten_all()?;
        let probabilities = candle_nn::ops::softmax(&logits, D::Minus1)?.to_vec1::<f32>()?;
        let histogram = OrientationHistogram(self.to_half_bins(probabilities));
        let (orientation, concentration) = histogram.circular_mean();
        Ok(SituationEstimate {
            situation: Situation { position, orientation },
            position_sigma,
            orientation: histogram,
            concentration,
        })
    }

    /// Rearranges bins of other conventions to centres at -π + (b + ½)·10° in the bev
    /// space. Whole bins are shared between their two neighbours.
    fn to_half_bins(&self, bins: Vec<f32>) -> Vec<f32> {
        let count = bins.len();
        let half = match self.config.bin_centers {
            BinCenters::Half => bins,
            BinCenters::Whole => (0..count).map(|b| 0.5 * (bins[b] + bins[(b + 1) % count])).collect(),
        };
        match self.config.bev_axes {
            BevAxes::RightForward => half,
            // A quarter turn: 9 bins of 10°.
            BevAxes::ForwardLeft => (0..count).map(|b| half[(b + count - count / 4) % count]).collect(),
        }
    }

    /// An estimate that says exactly `situation`, for situations placed by hand.
    pub fn certain(situation: Situation) -> SituationEstimate {
        let bins = ORIENTATION_BINS;
        let nearest = (0..bins)
            .min_by(|&a, &b| {
                let off = |bin| {
                    Orientation::from_radians(OrientationHistogram::bin_center(bin, bins))
                        .distance(situation.orientation)
                };
                off(a).total_cmp(&off(b))
            })
            .unwrap_or(0);
        let mut histogram = vec![0.0; bins];
        histogram[nearest] = 1.0;
        SituationEstimate {
            situation,
            position_sigma: BevSigma { x: 0.0, y: 0.0 },
            orientation: OrientationHistogram(histogram),
            concentration: 1.0,
        }
    }
}

/// ln(1 + eˣ) without overflow: max(x, 0) + ln(1 + e^-|x|).
fn softplus(x: &Tensor) -> Result<Tensor> {
    let tail = (x.abs()?.neg()?.exp()? + 1.0)?.log()?;
    x.relu()? + tail
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn heads(change: impl Fn(&mut HeadsConfig)) -> Heads {
        let mut config = ModelConfig::tiny();
        change(&mut config.heads);
        Heads::new(&config, &VarBuilder::zeros(DType::F32, &Device::Cpu)).unwrap()
    }

    fn raw(values: [f32; 2]) -> Tensor {
        Tensor::new(&[values], &Device::Cpu).unwrap()
    }

    #[test]
    fn sigma_follows_the_parametrisation_and_the_clamp() {
        let sigma = |uncertainty, value: f32| {
            let heads = heads(|config| config.uncertainty = uncertainty);
            heads.decode_points(&GaussianOutput { mean: raw([0.0; 2]), raw: raw([value; 2]) }).unwrap()[0].1.x
        };
        assert!((sigma(Uncertainty::LogVariance, 2.0) - 1.0f32.exp()).abs() < 1e-5);
        assert!((sigma(Uncertainty::ExpSigma, 1.0) - 1.0f32.exp()).abs() < 1e-5);
        assert!((sigma(Uncertainty::SoftplusSigma, 1.0) - 1.313_26).abs() < 1e-4);
        assert!((sigma(Uncertainty::SoftplusVariance, 1.0) - 1.313_26f32.sqrt()).abs() < 1e-4);
        assert!((sigma(Uncertainty::LogVariance, 50.0) - 5.0f32.exp()).abs() < 1e-3);
    }

    #[test]
    fn a_forward_left_network_lands_in_our_frame() {
        let heads = heads(|config| config.bev_axes = BevAxes::ForwardLeft);
        let mut logits = vec![-50.0f32; ORIENTATION_BINS];
        logits[18] = 50.0; // centre +5° in the network's frame, +95° in ours
        let position = GaussianOutput { mean: raw([3.0, 1.0]), raw: raw([0.0; 2]) };
        let estimate = heads
            .decode_situation(&position, &Tensor::from_vec(logits, ORIENTATION_BINS, &Device::Cpu).unwrap())
            .unwrap();
        assert_eq!(estimate.situation.position, BevPoint::new(-1.0, 3.0));
        assert!((estimate.situation.orientation.degrees() - 95.0).abs() < 1e-2);
    }

    #[test]
    fn whole_bins_decode_to_their_own_centres() {
        let heads = heads(|config| config.bin_centers = BinCenters::Whole);
        let mut logits = vec![-50.0f32; ORIENTATION_BINS];
        logits[30] = 50.0; // -180° + 300°
        let position = GaussianOutput { mean: raw([0.0; 2]), raw: raw([0.0; 2]) };
        let estimate = heads
            .decode_situation(&position, &Tensor::from_vec(logits, ORIENTATION_BINS, &Device::Cpu).unwrap())
            .unwrap();
        assert!((estimate.situation.orientation.degrees() - 120.0).abs() < 1e-2);
    }
}
