//! Whether a clip looks like those that a model was trained on.
//!
//! Every frame is the mean of its vision features; training frames have a mean and a
//! covariance. The strangeness of a clip is the root mean square Mahalanobis distance of
//! its frames from that mean, per dimension, divided by a limit above all held-out rooms.
//!
//! Shapes: F frames, N patches, D features.

use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

/// Entry of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FamiliarityConfig {
    /// Distance per dimension that counts as strangeness 1.
    pub limit: f32,
}

/// Mean and whitening of the training frames.
#[derive(Debug, Clone)]
pub struct Familiarity {
    mean: Tensor,
    /// W (D, D) with Wᵀ W the inverse of the covariance.
    whitening: Tensor,
    limit: f32,
}

impl Familiarity {
    /// Reads `mean` and `whitening`; `features` is D.
    pub fn new(config: FamiliarityConfig, features: usize, weights: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            mean: weights.get(features, "mean")?,
            whitening: weights.get((features, features), "whitening")?,
            limit: config.limit,
        })
    }

    /// Strangeness of frames (F, N, D): above 1 they look unlike the training data.
    pub fn strangeness(&self, features: &Tensor) -> Result<f32> {
        let frames = frame_features(features)?;
        let away = frames.broadcast_sub(&self.mean.to_dtype(DType::F32)?)?;
        let white = away.matmul(&self.whitening.to_dtype(DType::F32)?.t()?.contiguous()?)?;
        let distances = white.sqr()?.mean(1)?.sqrt()?;
        Ok(distances.mean_all()?.to_scalar::<f32>()? / self.limit)
    }
}

/// What a frame is judged by: (F, N, D) to (F, D), f32.
pub fn frame_features(features: &Tensor) -> Result<Tensor> {
    features.to_dtype(DType::F32)?.mean(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::Device;

    use super::*;

    #[test]
    fn distance_counts_in_units_of_the_spread() {
        let device = Device::Cpu;
        let mean = Tensor::new(&[1f32, 0.0], &device).unwrap();
        // Standard deviations 0.5 and 2.
        let whitening = Tensor::new(&[[2f32, 0.0], [0.0, 0.5]], &device).unwrap();
        let tensors = HashMap::from([("mean".to_owned(), mean), ("whitening".to_owned(), whitening)]);
        let weights = VarBuilder::from_tensors(tensors, DType::F32, &device);
        let familiarity = Familiarity::new(FamiliarityConfig { limit: 2.0 }, 2, &weights).unwrap();
        let strangeness =
            |frame: [[f32; 2]; 2]| familiarity.strangeness(&Tensor::new(&[frame], &device).unwrap()).unwrap();
        // The mean of the patches counts.
        assert_eq!(strangeness([[0.0, 0.0], [2.0, 0.0]]), 0.0);
        // One deviation along the first axis, three along the second: √5 per dimension.
        let expected = 5f32.sqrt() / 2.0;
        assert!((strangeness([[1.5, 6.0], [1.5, 6.0]]) - expected).abs() < 1e-6);
    }
}
