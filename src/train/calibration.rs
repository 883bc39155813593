//! The spread that the position head states, made true on held-out rooms.
//!
//! Not part of Loc3R-VLM. Training adds noise to poses and trains on many wordings, so that
//! the likelihood alone leaves the stated spread wider than the errors of the finished
//! network on the rooms and wordings of the benchmark. One factor on every σ, fitted behind the training seeds (temperature scaling:
//! Guo et al., "On Calibration of Modern Neural Networks", ICML 2017), mends that.
//!
//! A two-dimensional Gaussian has a share p of its errors within sqrt(-2 ln(1 - p)) σ.

use candle_core::{D, Tensor};

use super::TrainError;
use super::config::{CameraSource, JointConfig, TrainConfig};
use super::joint_batch::joint_batch;
use super::joint_sample::SampleMaker;
use super::joint_scenes::pick;
use super::joint_stage::JointStage;
use super::pipeline::TrainedModel;

/// The tensor with the biases of mean x, mean y, ln σx², ln σy².
pub const POSITION_BIAS: &str = "model.f_pos.2.bias";
/// Held-out clips, behind those of the validation figures.
pub(super) const CLIPS: u64 = 72;
/// Clips that go through the network at once.
const CHUNK: usize = 2;
/// Factors beyond this or its inverse are not a matter of calibration.
const LIMIT: f64 = 3.0;
/// Factors that are tried between the two.
const TRIED: u32 = 200;

/// The factor on every σ of positions with which the shares of errors within the regions of
/// 10, 20 .. 90 % confidence come closest to that (Kuleshov et al., "Accurate Uncertainties for
/// Deep Learning Using Calibrated Regression", ICML 2018); 1 when no situation could be described.
///
/// # Errors
/// When the network fails.
pub fn fit(config: &TrainConfig, model: &TrainedModel, mut maker: SampleMaker) -> Result<f64, TrainError> {
    let camera = match config.joint.camera {
        CameraSource::None => CameraSource::None,
        CameraSource::Truth | CameraSource::Estimated => CameraSource::Estimated,
    };
    maker.clips.as_benchmark = true;
    let first = config.validation.first_seed + config.validation.clips;
    let samples = maker.held_out(first..first + CLIPS)?;
    let width = model.config.camera_token_dim;
    let heads = model.network.heads()?.clone();
    let stage = JointStage::new(config, maker, &model.variables)?;
    let joint = JointConfig { camera, ..config.joint };
    let mut distances = Vec::new();
    for chunk in samples.chunks(CHUNK) {
        let batch = joint_batch(chunk, &joint, width, None)?;
        let rows = &batch.rows.position;
        if rows.is_empty() {
            continue;
        }
        let output = stage.forward(&batch)?;
        let found = heads.position(&pick(&output.rows, rows)?)?;
        let targets: Vec<f32> = rows.iter().flat_map(|(_, place)| [place.x, place.y]).collect();
        let target = Tensor::from_vec(targets, (rows.len(), 2), found.mean.device())?;
        let variance = heads.log_variance(&found.raw)?.exp()?;
        let squared = ((found.mean - target)?.sqr()? / variance)?.sum(D::Minus1)?;
        distances.extend(squared.sqrt()?.to_vec1::<f32>()?);
    }
    Ok(factor(&distances))
}

/// `bias` of the position head with every σ multiplied by `factor`.
///
/// # Errors
/// When it does not hold four numbers.
pub fn rescaled(bias: &Tensor, factor: f64) -> candle_core::Result<Tensor> {
    let shift = 2.0 * factor.ln() as f32;
    bias + Tensor::new(&[0.0, 0.0, shift, shift], bias.device())?
}

/// The factor for errors measured in their stated σ.
fn factor(distances: &[f32]) -> f64 {
    if distances.is_empty() {
        return 1.0;
    }
    let off = |factor: f64| -> f64 {
        let miss = |level: f64| {
            let reach = (-2.0 * (1.0 - level).ln()).sqrt() * factor;
            let within = distances.iter().filter(|distance| f64::from(**distance) <= reach).count();
            (within as f64 / distances.len() as f64 - level).abs()
        };
        (1..10).map(|tenths| miss(0.1 * f64::from(tenths))).sum()
    };
    (0..=TRIED)
        .map(|step| LIMIT.powf(2.0 * f64::from(step) / f64::from(TRIED) - 1.0))
        .map(|factor| (off(factor), factor))
        .min_by(|(a, _), (b, _)| a.total_cmp(b))
        .map_or(1.0, |(_, factor)| factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Errors of a Gaussian whose spread is stated `stated` times too large.
    fn errors(stated: f64) -> Vec<f32> {
        (0..1000)
            .map(|k| ((-2.0 * (1.0 - (f64::from(k) + 0.5) / 1000.0).ln()).sqrt() / stated) as f32)
            .collect()
    }

    #[test]
    fn a_spread_that_is_stated_too_large_or_small_is_mended() {
        for stated in [0.6, 1.0, 1.7] {
            let found = factor(&errors(stated));
            assert!((found * stated - 1.0).abs() < 0.03, "{stated}: {found}");
        }
        assert!((factor(&[]) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_factor_reaches_every_sigma_and_no_mean() {
        let bias = Tensor::new(&[1.0f32, 2.0, 0.5, -0.5], &Device::Cpu).unwrap();
        let scaled = rescaled(&bias, 0.5).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(scaled[..2], [1.0, 2.0]);
        for (scaled, raw) in scaled[2..].iter().zip([0.5f32, -0.5]) {
            assert!(((0.5 * scaled).exp() - 0.5 * (0.5 * raw).exp()).abs() < 1e-6);
        }
    }
}
