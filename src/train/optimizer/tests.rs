//! The step against its definition, groups, state on disk.

use super::*;

fn variables(dtype: DType) -> Vec<(String, Var)> {
    let make = |values: &[f32], columns: usize| {
        let rows = values.len().checked_div(columns);
        let shape = rows.map_or_else(|| vec![values.len()], |rows| vec![rows, columns]);
        let tensor = Tensor::from_slice(values, shape, &Device::Cpu).unwrap();
        Var::from_tensor(&tensor.to_dtype(dtype).unwrap()).unwrap()
    };
    vec![
        ("head.weight".to_owned(), make(&[0.5, -1.0, 2.0, 0.1, 0.3, -0.7], 3)),
        ("head.bias".to_owned(), make(&[1.0, -2.0], 0)),
        ("embed.weight".to_owned(), make(&[0.4, 0.2], 1)),
    ]
}

/// Σ over variables of mean((θ - k)²), a different k for each step.
fn loss(variables: &[(String, Var)], k: f64) -> Tensor {
    let mut total = Tensor::zeros((), variables[0].1.dtype(), &Device::Cpu).unwrap();
    for (_, var) in variables {
        total = (total + (var.as_tensor() - k).unwrap().sqr().unwrap().mean_all().unwrap()).unwrap();
    }
    total
}

fn values(variables: &[(String, Var)]) -> Vec<f64> {
    variables
        .iter()
        .flat_map(|(_, var)| {
            var.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap()
        })
        .collect()
}

fn run(variables: &[(String, Var)], optimizer: &mut AdamW, steps: std::ops::Range<u64>) {
    for step in steps {
        optimizer.backward_step(&loss(variables, 0.3 * step as f64), 1e-2).unwrap();
    }
}

#[test]
fn first_step_moves_every_parameter_by_the_learning_rate() {
    let vars = variables(DType::F32);
    let before = values(&vars);
    let config = AdamWConfig { weight_decay: 0.0, clip_norm: None, ..AdamWConfig::default() };
    AdamW::new(vars.clone(), config).unwrap().backward_step(&loss(&vars, 5.0), 1e-2).unwrap();
    for (old, new) in before.iter().zip(values(&vars)) {
        assert!((new - old - 1e-2).abs() < 1e-6, "{old} {new}");
    }
}

#[test]
fn fused_step_equals_the_composed_one() {
    let (fused, composed) = (variables(DType::F32), variables(DType::F64));
    run(&fused, &mut AdamW::new(fused.clone(), AdamWConfig::default()).unwrap(), 0..20);
    run(&composed, &mut AdamW::new(composed.clone(), AdamWConfig::default()).unwrap(), 0..20);
    for (a, b) in values(&fused).iter().zip(values(&composed)) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

#[test]
fn resumed_run_takes_identical_steps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer.safetensors");
    let straight = variables(DType::F32);
    let mut optimizer = AdamW::new(straight.clone(), AdamWConfig::default()).unwrap();
    run(&straight, &mut optimizer, 0..5);
    optimizer.save(&path).unwrap();
    let resumed: Vec<(String, Var)> = straight
        .iter()
        .map(|(name, var)| {
            (name.clone(), Var::from_tensor(&var.as_tensor().detach().copy().unwrap()).unwrap())
        })
        .collect();
    run(&straight, &mut optimizer, 5..9);
    let mut second = AdamW::new(resumed.clone(), AdamWConfig::default()).unwrap();
    second.load(&path).unwrap();
    assert_eq!(second.steps(), 5);
    run(&resumed, &mut second, 5..9);
    assert_eq!(values(&straight), values(&resumed));
}

#[test]
fn state_of_another_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer.safetensors");
    let vars = variables(DType::F32);
    AdamW::new(vars.clone(), AdamWConfig::default()).unwrap().save(&path).unwrap();
    let mut other = AdamW::new(vars[..2].to_vec(), AdamWConfig::default()).unwrap();
    let message = other.load(&path).unwrap_err().to_string();
    assert!(message.contains("has 6 moments, the model's parameters have 4"), "{message}");
}

#[test]
fn accumulated_batches_step_like_their_mean() {
    let (one, two) = (variables(DType::F32), variables(DType::F32));
    let mut mean = AdamW::new(one.clone(), AdamWConfig::default()).unwrap();
    let both = ((loss(&one, 1.0) + loss(&one, -2.0)).unwrap() * 0.5).unwrap();
    let expected = mean.backward_step(&both, 1e-2).unwrap();
    let mut accumulated = AdamW::new(two.clone(), AdamWConfig::default()).unwrap();
    accumulated.accumulate(&loss(&two, 1.0).backward().unwrap()).unwrap();
    accumulated.accumulate(&loss(&two, -2.0).backward().unwrap()).unwrap();
    assert!(matches!(accumulated.save(Path::new("x")), Err(OptimizerError::Pending { batches: 2 })));
    let report = accumulated.step(1e-2).unwrap();
    assert!((report.gradient_norm - expected.gradient_norm).abs() < 1e-6);
    for (a, b) in values(&one).iter().zip(values(&two)) {
        assert!((a - b).abs() < 1e-6);
    }
}

#[test]
fn clipping_scales_the_global_norm() {
    let vars = variables(DType::F32);
    let config = AdamWConfig { clip_norm: Some(0.5), ..AdamWConfig::default() };
    let report = AdamW::new(vars.clone(), config).unwrap().backward_step(&loss(&vars, 3.0), 1e-3).unwrap();
    assert!(report.gradient_norm > 0.5);
    assert!((report.clip_factor * report.gradient_norm - 0.5).abs() < 1e-9);
}

#[test]
fn groups_freeze_and_decay_by_name() {
    let vars = variables(DType::F32);
    let before = values(&vars);
    let config = AdamWConfig { weight_decay: 10.0, ..AdamWConfig::default() };
    let mut optimizer = AdamW::new(vars.clone(), config).unwrap();
    assert_eq!(optimizer.configure_group(|name| name.starts_with("head."), 0.0, None), 2);
    optimizer.backward_step(&(loss(&vars, 0.0) * 1e-30).unwrap(), 1e-2).unwrap();
    // Frozen head; embeddings do not decay although their gradient is zero.
    assert_eq!(values(&vars), before);
    optimizer.configure_group(|name| name.starts_with("embed"), 1.0, Some(10.0));
    optimizer.backward_step(&(loss(&vars, 0.0) * 1e-30).unwrap(), 1e-2).unwrap();
    let after = values(&vars);
    assert_eq!(after[..8], before[..8]);
    assert!((after[8] - 0.9 * before[8]).abs() < 1e-6);
}

#[test]
fn not_a_number_stops_the_step() {
    let vars = variables(DType::F32);
    let before = values(&vars);
    let mut optimizer = AdamW::new(vars.clone(), AdamWConfig::default()).unwrap();
    let error = optimizer.backward_step(&loss(&vars, f64::NAN), 1e-2).unwrap_err();
    assert!(matches!(error, OptimizerError::NotFinite { step: 0, .. }));
    assert_eq!(values(&vars), before);
}
