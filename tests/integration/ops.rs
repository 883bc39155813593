//! The losses against reference values and gradients in f64, and the fused
//! operations inside a small network.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use loc3r::train::loss::{BinCentres, GaussianNll, LossTerms, LossWeights, OrientationLoss, VarianceForm};

/// Relative to the largest entry of the expected tensor.
const TOLERANCE: f64 = 1e-12;

struct Golden(HashMap<String, Tensor>);

impl Golden {
    fn load() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/losses.safetensors");
        Self(candle_core::safetensors::load(path, &Device::Cpu).unwrap())
    }

    fn get(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("golden file has no {name}"))
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        self.get(name).flatten_all().unwrap().to_vec1().unwrap()
    }

    fn assert_equal(&self, name: &str, actual: &Tensor) {
        let expected = self.numbers(name);
        let actual: Vec<f64> = actual.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(actual.len(), expected.len(), "{name}");
        let scale = expected.iter().fold(0f64, |max, x| max.max(x.abs()));
        for (index, (a, e)) in actual.iter().zip(&expected).enumerate() {
            assert!((a - e).abs() <= TOLERANCE * scale.max(1e-3), "{name}[{index}]: {a} instead of {e}");
        }
    }
}

fn variable(tensor: &Tensor) -> Var {
    Var::from_tensor(&tensor.copy().unwrap()).unwrap()
}

fn forms() -> [(&'static str, VarianceForm); 5] {
    [
        ("logvar", VarianceForm::LogVariance),
        ("softplus_sigma", VarianceForm::SoftplusSigma),
        ("softplus_var", VarianceForm::SoftplusVariance),
        ("exp_sigma", VarianceForm::ExpSigma),
        ("sigma", VarianceForm::Sigma),
    ]
}

fn check_gaussian(golden: &Golden, part: &str, name: &str, form: VarianceForm) {
    let nll = GaussianNll { form, log_variance_bound: None };
    let raw_name = if form == VarianceForm::Sigma { "sigma" } else { "raw" };
    let mean = variable(golden.get(&format!("{part}.pred")));
    let raw = variable(golden.get(&format!("{part}.{raw_name}")));
    let target = golden.get(&format!("{part}.target"));
    golden.assert_equal(
        &format!("{part}.{name}.per_token"),
        &nll.per_token(mean.as_tensor(), raw.as_tensor(), target).unwrap(),
    );
    let loss = nll.mean(mean.as_tensor(), raw.as_tensor(), target).unwrap();
    golden.assert_equal(&format!("{part}.{name}.loss"), &loss);
    let grads = loss.backward().unwrap();
    golden.assert_equal(&format!("{part}.{name}.grad_pred"), grads.get(mean.as_tensor()).unwrap());
    golden.assert_equal(&format!("{part}.{name}.grad_raw"), grads.get(raw.as_tensor()).unwrap());
    if part != "bev" {
        return;
    }
    let batch = |tensor: &Tensor| tensor.unsqueeze(0).unwrap();
    let mask = batch(golden.get("bev.mask"));
    let loss = nll.layout(&batch(mean.as_tensor()), &batch(raw.as_tensor()), &batch(target), &mask).unwrap();
    golden.assert_equal(&format!("bev.{name}.masked_loss"), &loss);
    let grads = loss.backward().unwrap();
    golden.assert_equal(&format!("bev.{name}.masked_grad_pred"), grads.get(mean.as_tensor()).unwrap());
    golden.assert_equal(&format!("bev.{name}.masked_grad_raw"), grads.get(raw.as_tensor()).unwrap());
}

#[test]
fn gaussian_losses_and_gradients_match_the_reference() {
    let golden = Golden::load();
    for (name, form) in forms() {
        check_gaussian(&golden, "bev", name, form);
        check_gaussian(&golden, "pos", name, form);
    }
}

fn assert_angles(golden: &Golden, name: &str, angles: &Tensor) {
    for (actual, expected) in angles.to_vec1::<f64>().unwrap().iter().zip(golden.numbers(name)) {
        let turns = (actual - expected) / std::f64::consts::TAU;
        assert!((turns - turns.round()).abs() < TOLERANCE, "{name}: {actual} instead of {expected}");
    }
}

fn check_orientation(golden: &Golden, name: &str, centres: BinCentres) {
    let theta = golden.numbers("ori.theta_rad");
    let logits = variable(golden.get("ori.logits"));
    let bins = OrientationLoss { centres, ..OrientationLoss::default() };
    let centres: Vec<f64> = (0..36).map(|bin| bins.centre(bin).to_degrees()).collect();
    golden.assert_equal(&format!("ori.{name}.centers_deg"), &Tensor::new(centres, &Device::Cpu).unwrap());
    let q = candle_nn::ops::softmax(logits.as_tensor(), 1).unwrap();
    let (angles, resultant) = bins.circular_mean(&q).unwrap();
    assert_angles(golden, &format!("ori.{name}.decoded_rad"), &angles);
    golden.assert_equal(&format!("ori.{name}.decoded_R"), &resultant);
    let grads = angles.sum_all().unwrap().backward().unwrap();
    golden.assert_equal(&format!("ori.{name}.decoded_grad_logits"), grads.get(logits.as_tensor()).unwrap());
    for (sigma, sigma_bins) in [("sigma10", 1.0), ("sigma20", 2.0)] {
        let bins = OrientationLoss { sigma_bins, ..bins };
        let key = |field: &str| format!("ori.{name}.{sigma}.{field}");
        let targets: Vec<f64> = theta.iter().flat_map(|&angle| bins.target(angle)).collect();
        let targets = Tensor::from_vec(targets, (theta.len(), 36), &Device::Cpu).unwrap();
        golden.assert_equal(&key("target"), &targets);
        let (decoded, resultant) = bins.circular_mean(&targets).unwrap();
        assert_angles(golden, &key("decoded_target_rad"), &decoded);
        golden.assert_equal(&key("target_R"), &resultant);
        golden.assert_equal(&key("per_sample"), &bins.per_sample(logits.as_tensor(), &theta).unwrap());
        let loss = bins.mean(logits.as_tensor(), &theta).unwrap();
        golden.assert_equal(&key("kl"), &loss);
        let grads = loss.backward().unwrap();
        golden.assert_equal(&key("grad_logits"), grads.get(logits.as_tensor()).unwrap());
        let log_q = q.log().unwrap();
        let cross = (targets * log_q).unwrap().sum(1).unwrap().mean_all().unwrap().neg().unwrap();
        golden.assert_equal(&key("cross_entropy"), &cross);
    }
}

#[test]
fn orientation_losses_and_gradients_match_the_reference() {
    let golden = Golden::load();
    for (name, centres) in [
        ("half", BinCentres::HalfFromZero),
        ("int", BinCentres::FromZero),
        ("m180_half", BinCentres::HalfFromMinusPi),
        ("m180_int", BinCentres::FromMinusPi),
    ] {
        check_orientation(&golden, name, centres);
    }
}

#[test]
fn total_loss_and_gradients_match_the_reference() {
    let golden = Golden::load();
    let var = |name: &str| variable(golden.get(name));
    let (bev_mean, bev_raw) = (var("bev.pred"), var("bev.raw"));
    let (pos_mean, pos_raw, logits) = (var("pos.pred"), var("pos.raw"), var("ori.logits"));
    let batch = |tensor: &Tensor| tensor.unsqueeze(0).unwrap();
    let nll = GaussianNll { log_variance_bound: None, ..GaussianNll::default() };
    let layout = nll
        .layout(
            &batch(bev_mean.as_tensor()),
            &batch(bev_raw.as_tensor()),
            &batch(golden.get("bev.target")),
            &batch(golden.get("bev.mask")),
        )
        .unwrap();
    let position = nll.mean(pos_mean.as_tensor(), pos_raw.as_tensor(), golden.get("pos.target")).unwrap();
    let theta = golden.numbers("ori.theta_rad");
    let orientation = OrientationLoss::default().mean(logits.as_tensor(), &theta).unwrap();
    let terms = LossTerms {
        cross_entropy: None,
        layout: Some(layout),
        position: Some(position),
        orientation: Some(orientation),
    };
    let total = terms.total(&LossWeights::default()).unwrap().unwrap();
    assert_eq!(total.dtype(), DType::F64);
    golden.assert_equal("total.loss", &total);
    let grads = total.backward().unwrap();
    for (name, var) in [
        ("total.grad_bev_pred", &bev_mean),
        ("total.grad_bev_raw", &bev_raw),
        ("total.grad_pos_pred", &pos_mean),
        ("total.grad_pos_raw", &pos_raw),
        ("total.grad_ori_logits", &logits),
    ] {
        golden.assert_equal(name, grads.get(var.as_tensor()).unwrap());
    }
}
