//! The losses and their gradients, in f64.

use candle_core::{Device, Tensor, Var};

use super::{Bound, Fixture, ParityError};
use crate::train::loss::{BinCentres, GaussianNll, LossTerms, LossWeights, OrientationLoss, VarianceForm};

/// Share of the largest entry of the expected tensor.
const TOLERANCE: f64 = 1e-12;

const FORMS: [(&str, VarianceForm); 5] = [
    ("logvar", VarianceForm::LogVariance),
    ("softplus_sigma", VarianceForm::SoftplusSigma),
    ("softplus_var", VarianceForm::SoftplusVariance),
    ("exp_sigma", VarianceForm::ExpSigma),
    ("sigma", VarianceForm::Sigma),
];

const CENTRES: [(&str, BinCentres); 4] = [
    ("half", BinCentres::HalfFromZero),
    ("int", BinCentres::FromZero),
    ("m180_half", BinCentres::HalfFromMinusPi),
    ("m180_int", BinCentres::FromMinusPi),
];

pub(super) fn run(fixture: &mut Fixture) -> Result<(), ParityError> {
    fixture.read("safetensors")?;
    fixture.set_bound(Bound::Relative(TOLERANCE));
    for (name, form) in FORMS {
        gaussian(fixture, "bev", name, form)?;
        masked(fixture, name, form)?;
        gaussian(fixture, "pos", name, form)?;
    }
    for (name, centres) in CENTRES {
        orientation(fixture, name, centres)?;
    }
    total(fixture)
}

/// A stored tensor as something to differentiate by.
fn variable(fixture: &Fixture, name: &str) -> Result<Var, ParityError> {
    Ok(Var::from_tensor(&fixture.tensor(name)?.copy()?)?)
}

/// Compares the gradients of a loss.
fn gradients(fixture: &mut Fixture, loss: &Tensor, by: &[(String, &Var)]) -> Result<(), ParityError> {
    let gradients = loss.backward()?;
    for (name, var) in by {
        let gradient = gradients.get(var.as_tensor());
        let gradient = gradient.ok_or_else(|| fixture.wrong(format!("{name}: nothing flows back")))?;
        fixture.compare(name, gradient)?;
    }
    Ok(())
}

fn raw_name(part: &str, form: VarianceForm) -> String {
    format!("{part}.{}", if form == VarianceForm::Sigma { "sigma" } else { "raw" })
}

fn gaussian(fixture: &mut Fixture, part: &str, name: &str, form: VarianceForm) -> Result<(), ParityError> {
    let nll = GaussianNll { form, log_variance_bound: None };
    let mean = variable(fixture, &format!("{part}.pred"))?;
    let raw = variable(fixture, &raw_name(part, form))?;
    let target = fixture.tensor(&format!("{part}.target"))?;
    let per_token = nll.per_token(mean.as_tensor(), raw.as_tensor(), &target)?;
    fixture.compare(&format!("{part}.{name}.per_token"), &per_token)?;
    let loss = nll.mean(mean.as_tensor(), raw.as_tensor(), &target)?;
    fixture.compare(&format!("{part}.{name}.loss"), &loss)?;
    let by = [(format!("{part}.{name}.grad_pred"), &mean), (format!("{part}.{name}.grad_raw"), &raw)];
    gradients(fixture, &loss, &by)
}

/// The layout loss, where some tokens have no target.
fn masked(fixture: &mut Fixture, name: &str, form: VarianceForm) -> Result<(), ParityError> {
    let nll = GaussianNll { form, log_variance_bound: None };
    let mean = variable(fixture, "bev.pred")?;
    let raw = variable(fixture, &raw_name("bev", form))?;
    let [target, mask] = [fixture.tensor("bev.target")?, fixture.tensor("bev.mask")?];
    let batch = |tensor: &Tensor| tensor.unsqueeze(0);
    let loss =
        nll.layout(&batch(mean.as_tensor())?, &batch(raw.as_tensor())?, &batch(&target)?, &batch(&mask)?)?;
    fixture.compare(&format!("bev.{name}.masked_loss"), &loss)?;
    let by = [(format!("bev.{name}.masked_grad_pred"), &mean), (format!("bev.{name}.masked_grad_raw"), &raw)];
    gradients(fixture, &loss, &by)
}

/// Angles are equal modulo a turn.
fn compare_angles(fixture: &mut Fixture, name: &str, angles: &Tensor) -> Result<(), ParityError> {
    let expected = fixture.numbers(name)?;
    let near = |(angle, expected): (f64, &f64)| {
        let turns = (angle - expected) / std::f64::consts::TAU;
        expected + (turns - turns.round()) * std::f64::consts::TAU
    };
    let found: Vec<f64> = angles.to_vec1::<f64>()?.into_iter().zip(&expected).map(near).collect();
    fixture.compare_numbers(name, &found, &expected);
    Ok(())
}

fn orientation(fixture: &mut Fixture, name: &str, centres: BinCentres) -> Result<(), ParityError> {
    let theta = fixture.numbers("ori.theta_rad")?;
    let logits = variable(fixture, "ori.logits")?;
    let count = logits.dim(1)?;
    let bins = OrientationLoss { centres, ..OrientationLoss::default() };
    let degrees: Vec<f64> = (0..count).map(|bin| bins.centre(bin).to_degrees()).collect();
    fixture.compare(&format!("ori.{name}.centers_deg"), &Tensor::new(degrees, &Device::Cpu)?)?;
    let q = candle_nn::ops::softmax(logits.as_tensor(), 1)?;
    let (angles, resultant) = bins.circular_mean(&q)?;
    compare_angles(fixture, &format!("ori.{name}.decoded_rad"), &angles)?;
    fixture.compare(&format!("ori.{name}.decoded_R"), &resultant)?;
    let by = [(format!("ori.{name}.decoded_grad_logits"), &logits)];
    gradients(fixture, &angles.sum_all()?, &by)?;
    for (sigma, sigma_bins) in [("sigma10", 1.0), ("sigma20", 2.0)] {
        let bins = OrientationLoss { sigma_bins, ..bins };
        let key = |field: &str| format!("ori.{name}.{sigma}.{field}");
        let targets: Vec<f64> = theta.iter().flat_map(|&angle| bins.target(angle)).collect();
        let targets = Tensor::from_vec(targets, (theta.len(), count), &Device::Cpu)?;
        fixture.compare(&key("target"), &targets)?;
        let (decoded, resultant) = bins.circular_mean(&targets)?;
        compare_angles(fixture, &key("decoded_target_rad"), &decoded)?;
        fixture.compare(&key("target_R"), &resultant)?;
        fixture.compare(&key("per_sample"), &bins.per_sample(logits.as_tensor(), &theta)?)?;
        let loss = bins.mean(logits.as_tensor(), &theta)?;
        fixture.compare(&key("kl"), &loss)?;
        gradients(fixture, &loss, &[(key("grad_logits"), &logits)])?;
        let cross = (targets * q.log()?)?.sum(1)?.mean_all()?.neg()?;
        fixture.compare(&key("cross_entropy"), &cross)?;
    }
    Ok(())
}

fn total(fixture: &mut Fixture) -> Result<(), ParityError> {
    let (layout_mean, layout_raw) = (variable(fixture, "bev.pred")?, variable(fixture, "bev.raw")?);
    let (mean, raw) = (variable(fixture, "pos.pred")?, variable(fixture, "pos.raw")?);
    let logits = variable(fixture, "ori.logits")?;
    let batch = |tensor: &Tensor| tensor.unsqueeze(0);
    let nll = GaussianNll { log_variance_bound: None, ..GaussianNll::default() };
    let layout = nll.layout(
        &batch(layout_mean.as_tensor())?,
        &batch(layout_raw.as_tensor())?,
        &batch(&fixture.tensor("bev.target")?)?,
        &batch(&fixture.tensor("bev.mask")?)?,
    )?;
    let position = nll.mean(mean.as_tensor(), raw.as_tensor(), &fixture.tensor("pos.target")?)?;
    let theta = fixture.numbers("ori.theta_rad")?;
    let orientation = OrientationLoss::default().mean(logits.as_tensor(), &theta)?;
    let terms = LossTerms {
        cross_entropy: None,
        layout: Some(layout),
        position: Some(position),
        orientation: Some(orientation),
    };
    let Some(total) = terms.total(&LossWeights::default())? else { return Ok(()) };
    fixture.compare("total.loss", &total)?;
    let by = [
        ("total.grad_bev_pred".to_owned(), &layout_mean),
        ("total.grad_bev_raw".to_owned(), &layout_raw),
        ("total.grad_pos_pred".to_owned(), &mean),
        ("total.grad_pos_raw".to_owned(), &raw),
        ("total.grad_ori_logits".to_owned(), &logits),
    ];
    gradients(fixture, &total, &by)
}
