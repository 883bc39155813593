//! Every fused operation against its composition (values and gradients, odd
//! sizes, strided inputs) and against finite differences.

use candle_core::{DType, Device, Result, Tensor, Var};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;

fn random(rng: &mut ChaCha8Rng, shape: &[usize]) -> Var {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| rng.random_range(-1.5..1.5)).collect();
    Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

fn assert_close(what: &str, a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len(), "{what}");
    let scale = b.iter().fold(1f32, |max, x| max.max(x.abs()));
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "{what}[{index}]: {a} instead of {b}");
    }
}

/// Σ out · w with fixed uneven weights: a loss with a full gradient.
fn weigh(out: &Tensor) -> Tensor {
    let weights: Vec<f32> = (0..out.elem_count()).map(|i| ((i * 37 % 23) as f32 - 10.0) * 0.1).collect();
    let weights = Tensor::from_vec(weights, out.shape(), &Device::Cpu).unwrap();
    (out * weights.to_dtype(out.dtype()).unwrap()).unwrap().sum_all().unwrap()
}

type Op<'a> = dyn Fn(&[Tensor]) -> Result<Tensor> + 'a;

/// `fused` in f32 and `composed` in f64 must agree in value and gradients.
fn check(shapes: &[&[usize]], fused: &Op<'_>, composed: &Op<'_>) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let vars: Vec<Var> = shapes.iter().map(|shape| random(&mut rng, shape)).collect();
    let doubles: Vec<Var> =
        vars.iter().map(|var| Var::from_tensor(&var.to_dtype(DType::F64).unwrap()).unwrap()).collect();
    let tensors = |vars: &[Var]| -> Vec<Tensor> { vars.iter().map(|var| var.as_tensor().clone()).collect() };
    let (actual, expected) = (fused(&tensors(&vars)).unwrap(), composed(&tensors(&doubles)).unwrap());
    assert_eq!(actual.dims(), expected.dims());
    assert_close("value", &flat(&actual), &flat(&expected), 3e-6);
    let (actual, expected) = (weigh(&actual).backward().unwrap(), weigh(&expected).backward().unwrap());
    for (index, (var, double)) in vars.iter().zip(&doubles).enumerate() {
        match (actual.get(var.as_tensor()), expected.get(double.as_tensor())) {
            (Some(a), Some(e)) => assert_close(&format!("gradient {index}"), &flat(a), &flat(e), 1e-5),
            (None, None) => {}
            (a, e) => panic!("gradient {index}: {} instead of {}", a.is_some(), e.is_some()),
        }
    }
    finite_differences(&vars, fused);
}

/// Gradient along the gradient itself against a symmetric difference.
fn finite_differences(vars: &[Var], op: &Op<'_>) {
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let grads = weigh(&op(&tensors).unwrap()).backward().unwrap();
    for (index, var) in vars.iter().enumerate() {
        let Some(grad) = grads.get(var.as_tensor()) else { continue };
        let norm = grad.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
        let step = 1e-2 / f64::from(norm.max(1e-6));
        let at = |sign: f64| {
            let mut moved: Vec<Tensor> = tensors.iter().map(Tensor::detach).collect();
            moved[index] = (&moved[index] + (grad * (sign * step)).unwrap()).unwrap();
            let out = op(&moved).unwrap().to_dtype(DType::F64).unwrap();
            weigh(&out).to_scalar::<f64>().unwrap()
        };
        let slope = (at(1.0) - at(-1.0)) / 2e-2;
        let error = (slope - f64::from(norm)).abs() / f64::from(norm.max(1.0));
        assert!(error < 1e-2, "argument {index}: finite difference {slope}, gradient {norm}");
    }
}

#[test]
fn linear_matches_with_and_without_bias() {
    for (rows, inputs, outputs) in [(1, 5, 3), (37, 33, 17), (300, 64, 65)] {
        check(
            &[&[2, rows, inputs], &[outputs, inputs], &[outputs]],
            &|a| linear(&a[0], &a[1], Some(&a[2])),
            &|a| composed::linear(&a[0], &a[1], Some(&a[2])),
        );
        check(&[&[rows, inputs], &[outputs, inputs]], &|a| linear(&a[0], &a[1], None), &|a| {
            composed::linear(&a[0], &a[1], None)
        });
    }
}

#[test]
fn mlp_matches() {
    for activation in [Gelu::Erf, Gelu::Tanh] {
        for (rows, width, hidden, outputs) in [(1, 3, 5, 2), (70, 9, 33, 7)] {
            let op = |a: &[Tensor]| mlp(&a[0], [&a[1], &a[2]], [&a[3], &a[4]], activation);
            check(
                &[&[2, rows, width], &[hidden, width], &[hidden], &[outputs, hidden], &[outputs]],
                &op,
                &op,
            );
        }
    }
}

#[test]
fn linear_takes_transposed_operands() {
    check(&[&[9, 7], &[9, 5]], &|a| linear(&a[0].t()?, &a[1].t()?, None), &|a| {
        composed::linear(&a[0].t()?, &a[1].t()?, None)
    });
}

#[test]
fn norms_match() {
    for (rows, width) in [(1, 1), (3, 7), (70, 33), (2, 256)] {
        if width > 1 {
            check(
                &[&[2, rows, width], &[width], &[width]],
                &|a| layer_norm(&a[0], &a[1], &a[2], 1e-5),
                &|a| composed::layer_norm(&a[0], &a[1], &a[2], 1e-5),
            );
        }
        check(&[&[rows, width], &[width]], &|a| rms_norm(&a[0], &a[1], 1e-6), &|a| {
            composed::rms_norm(&a[0], &a[1], 1e-6)
        });
    }
}

#[test]
fn norms_take_strided_inputs() {
    check(&[&[6, 4, 8], &[6], &[6]], &|a| layer_norm(&a[0].transpose(0, 2)?, &a[1], &a[2], 1e-5), &|a| {
        composed::layer_norm(&a[0].transpose(0, 2)?, &a[1], &a[2], 1e-5)
    });
}

#[test]
fn layer_norm_survives_a_large_mean() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let x = (random(&mut rng, &[5, 64]).as_tensor() + 1000.0).unwrap();
    let (one, zero) = (
        Tensor::ones(64, DType::F32, &Device::Cpu).unwrap(),
        Tensor::zeros(64, DType::F32, &Device::Cpu).unwrap(),
    );
    let double = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
    let expected = composed::layer_norm(&double(&x), &double(&one), &double(&zero), 1e-5).unwrap();
    assert_close("value", &flat(&layer_norm(&x, &one, &zero, 1e-5).unwrap()), &flat(&expected), 1e-3);
}

#[test]
fn activations_match() {
    for length in [1, 15, 20_011] {
        check(&[&[length]], &|a| gelu_erf(&(&a[0] * 3.0)?), &|a| (&a[0] * 3.0)?.gelu_erf());
        check(&[&[length]], &|a| gelu_tanh(&(&a[0] * 3.0)?), &|a| (&a[0] * 3.0)?.gelu());
        check(&[&[length], &[length]], &|a| silu_mul(&a[0], &a[1]), &|a| composed::silu_mul(&a[0], &a[1]));
        check(&[&[length], &[length]], &|a| add(&a[0], &a[1]), &|a| &a[0] + &a[1]);
    }
    check(&[&[5, 3], &[3, 5]], &|a| silu_mul(&a[0], &a[1].t()?), &|a| composed::silu_mul(&a[0], &a[1].t()?));
}

#[test]
fn activations_saturate() {
    let x = Tensor::new(&[-1e4f32, -40.0, 40.0, 1e4], &Device::Cpu).unwrap();
    for saturated in [gelu_erf(&x), gelu_tanh(&x)] {
        let saturated = flat(&saturated.unwrap());
        assert!(saturated[..2].iter().all(|value| value.abs() < 1e-30), "{saturated:?}");
        assert_eq!(saturated[2..], [40.0, 1e4]);
    }
    assert_close("silu", &flat(&silu_mul(&x, &x).unwrap()), &[0.0, 0.0, 1600.0, 1e8], 1e-6);
}

fn angles(length: usize, half: usize, dtype: DType) -> (Tensor, Tensor) {
    let values: Vec<f32> = (0..length * half).map(|i| i as f32 * 0.37).collect();
    let angles = Tensor::from_vec(values, (length, half), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    (angles.cos().unwrap(), angles.sin().unwrap())
}

#[test]
fn rope_matches_in_both_layouts() {
    let (cos, sin) = angles(11, 3, DType::F32);
    check(&[&[2, 4, 11, 6]], &|a| rope(&a[0], &cos, &sin), &|a| composed::rope(&a[0], &cos, &sin));
    check(&[&[2, 11, 4, 6]], &|a| rope(&a[0].transpose(1, 2)?, &cos, &sin), &|a| {
        composed::rope(&a[0].transpose(1, 2)?, &cos, &sin)
    });
    check(&[&[2, 11, 24]], &|a| rope_tokens(&a[0], 4, &cos, &sin), &|a| rope_tokens(&a[0], 4, &cos, &sin));
}

fn check_attention(counts: HeadCounts, queries: usize, keys: usize, dim: usize, mask: AttentionMask<'_>) {
    let scale = 0.7 / (dim as f64).sqrt();
    let (h, kv) = (counts.queries, counts.keys);
    check(
        &[&[2, h, queries, dim], &[2, kv, keys, dim], &[2, kv, keys, dim]],
        &|a| attention(&a[0], &a[1], &a[2], scale, mask),
        &|a| composed::attention(&a[0], &a[1], &a[2], scale, mask),
    );
    check(
        &[&[2, queries, h * dim], &[2, keys, kv * dim], &[2, keys, kv * dim]],
        &|a| attention_tokens(&a[0], &a[1], &a[2], counts, scale, mask),
        &|a| composed::attention_tokens(&a[0], &a[1], &a[2], counts, scale, mask),
    );
}

#[test]
fn attention_matches_without_mask() {
    check_attention(HeadCounts::equal(3), 7, 7, 8, AttentionMask::None);
    check_attention(HeadCounts::equal(1), 1, 13, 5, AttentionMask::None);
    check_attention(HeadCounts { queries: 6, keys: 2 }, 19, 31, 4, AttentionMask::None);
    check_attention(HeadCounts::equal(2), 150, 70, 16, AttentionMask::None);
}

#[test]
fn attention_matches_causally_with_offset() {
    check_attention(HeadCounts::equal(2), 17, 17, 6, AttentionMask::Causal { offset: 0 });
    check_attention(HeadCounts { queries: 4, keys: 1 }, 5, 140, 8, AttentionMask::Causal { offset: 135 });
    check_attention(HeadCounts::equal(1), 260, 300, 8, AttentionMask::Causal { offset: 40 });
}

#[test]
fn attention_matches_over_continuations() {
    let mask = |prefix, length| AttentionMask::Continuations { prefix, length };
    check_attention(HeadCounts::equal(2), 12, 17, 6, mask(5, 4));
    check_attention(HeadCounts { queries: 4, keys: 2 }, 6, 6, 8, mask(0, 3));
    check_attention(HeadCounts { queries: 4, keys: 1 }, 150, 190, 8, mask(40, 150));
}

#[test]
fn attention_matches_with_broadcast_masks() {
    for shape in [vec![9, 12], vec![2, 1, 9, 12], vec![2, 3, 9, 12], vec![1, 1, 1, 12], vec![2, 1, 9, 1]] {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mask = random(&mut rng, &shape).as_tensor().detach();
        check_attention(HeadCounts::equal(3), 9, 12, 4, AttentionMask::Additive(&mask));
    }
}

#[test]
fn closed_keys_get_exactly_no_weight() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let [q, k, v] = [(); 3].map(|()| random(&mut rng, &[1, 1, 4, 4]).as_tensor().detach());
    let closed: Vec<f32> = (0..4).map(|key| if key < 2 { 0.0 } else { f32::NEG_INFINITY }).collect();
    let mask = Tensor::from_vec(closed, (1, 1, 1, 4), &Device::Cpu).unwrap();
    let open = attention(&q, &k, &v, 0.5, AttentionMask::Additive(&mask)).unwrap();
    let cut = |t: &Tensor| t.narrow(2, 0, 2).unwrap();
    let expected = attention(&q, &cut(&k), &cut(&v), 0.5, AttentionMask::None).unwrap();
    assert_close("value", &flat(&open), &flat(&expected), 1e-6);
}

#[test]
fn trained_masks_keep_their_gradient() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let x = random(&mut rng, &[1, 1, 4, 4]).as_tensor().detach();
    let mask = random(&mut rng, &[4, 4]);
    let out = attention(&x, &x, &x, 0.5, AttentionMask::Additive(mask.as_tensor())).unwrap();
    assert!(weigh(&out).backward().unwrap().get(mask.as_tensor()).is_some());
}

/// Scores of 4161 and 4162 are one number in half precision.
#[test]
fn scores_of_half_precision_numbers_are_told_apart() {
    for dtype in [DType::BF16, DType::F16] {
        let half = |values: &[f32], shape: [usize; 4]| {
            Tensor::from_slice(values, &shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
        };
        let (q, k) = (half(&[64.0, 1.0], [1, 1, 1, 2]), half(&[65.0, 1.0, 65.0, 2.0], [1, 1, 2, 2]));
        let v = half(&[0.0, 3.0, 1.0, 3.0], [1, 1, 2, 2]);
        let mask = half(&[0.0, 0.0], [1, 1, 1, 2]);
        for mask in [AttentionMask::None, AttentionMask::Additive(&mask)] {
            for way in [composed::attention, attention] {
                let out = way(&q, &k, &v, 1.0, mask).unwrap();
                assert_eq!(out.dtype(), dtype);
                // 1 / (1 + e⁻¹), in half precision.
                assert_close("value", &flat(&out), &[0.731_059, 3.0], 2e-3);
            }
        }
    }
}

#[test]
fn composed_attention_of_half_precision_numbers_agrees_with_f32() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let half = [[2, 6, 5, 8], [2, 2, 9, 8], [2, 2, 9, 8]]
        .map(|shape| random(&mut rng, &shape).as_tensor().to_dtype(DType::BF16).unwrap());
    let [q, k, v] = half.each_ref().map(|x| x.to_dtype(DType::F32).unwrap());
    let mask = AttentionMask::Causal { offset: 4 };
    let expected = composed::attention(&q, &k, &v, 0.5, mask).unwrap();
    let out = composed::attention(&half[0], &half[1], &half[2], 0.5, mask).unwrap();
    assert_close("value", &flat(&out), &flat(&expected), 1e-2);
}

#[test]
fn attention_takes_strided_operands() {
    check(
        &[&[2, 9, 3, 8], &[2, 11, 3, 8], &[2, 3, 8, 11]],
        &|a| {
            attention(
                &a[0].transpose(1, 2)?,
                &a[1].transpose(1, 2)?,
                &a[2].transpose(2, 3)?,
                0.4,
                AttentionMask::None,
            )
        },
        &|a| {
            composed::attention(
                &a[0].transpose(1, 2)?,
                &a[1].transpose(1, 2)?,
                &a[2].transpose(2, 3)?,
                0.4,
                AttentionMask::None,
            )
        },
    );
}

#[test]
fn packed_attention_matches() {
    for (counts, mask) in [
        (HeadCounts::equal(3), AttentionMask::None),
        (HeadCounts { queries: 4, keys: 2 }, AttentionMask::Causal { offset: 0 }),
    ] {
        let width = 5 * (counts.queries + 2 * counts.keys);
        check(&[&[2, 10, width]], &|a| attention_packed(&a[0], counts, 0.5, mask), &|a| {
            attention_packed(&a[0], counts, 0.5, mask)
        });
    }
}

#[test]
fn parts_of_a_packed_projection_are_read_in_place() {
    let part = |x: &Tensor, index: usize| x.narrow(2, index * 12, 12);
    let counts = HeadCounts::equal(3);
    check(
        &[&[2, 10, 36]],
        &|a| {
            let (q, k, v) = (part(&a[0], 0)?, part(&a[0], 1)?, part(&a[0], 2)?);
            attention_tokens(&q, &k, &v, counts, 0.5, AttentionMask::None)
        },
        &|a| {
            let (q, k, v) = (part(&a[0], 0)?, part(&a[0], 1)?, part(&a[0], 2)?);
            composed::attention_tokens(&q, &k, &v, counts, 0.5, AttentionMask::None)
        },
    );
}

#[test]
fn attention_refuses_shapes_that_disagree() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let (q, k) = (zeros(&[1, 3, 4, 8]), zeros(&[1, 2, 4, 8]));
    let error = attention(&q, &k, &k, 1.0, AttentionMask::None).unwrap_err().to_string();
    assert!(error.contains("disagree"), "{error}");
    let short = attention(&k, &k, &k, 1.0, AttentionMask::Causal { offset: 1 }).unwrap_err().to_string();
    assert!(short.contains("but 4 keys"), "{short}");
    for mask in [(0, 3), (1, 4), (0, 0)] {
        let (prefix, length) = mask;
        let uneven = attention(&k, &k, &k, 1.0, AttentionMask::Continuations { prefix, length });
        assert!(uneven.unwrap_err().to_string().contains("continuations"), "{mask:?}");
    }
}

#[test]
fn cross_entropy_matches_and_ignores() {
    let labels = Tensor::new(&[3i64, -100, 0, 6, -100, 2], &Device::Cpu).unwrap();
    check(&[&[6, 7]], &|a| cross_entropy(&(&a[0] * 4.0)?, &labels, -100), &|a| {
        cross_entropy(&(&a[0] * 4.0)?, &labels, -100)
    });
    let logits = Tensor::zeros((2, 8), DType::F32, &Device::Cpu).unwrap();
    let none = Tensor::new(&[-100i64, -100], &Device::Cpu).unwrap();
    assert_eq!(cross_entropy(&logits, &none, -100).unwrap().to_scalar::<f32>().unwrap(), 0.0);
    let one = Tensor::new(&[-100i64, 5], &Device::Cpu).unwrap();
    let loss = cross_entropy(&logits, &one, -100).unwrap().to_scalar::<f32>().unwrap();
    assert!((loss - 8f32.ln()).abs() < 1e-6);
}

#[test]
fn cross_entropy_refuses_labels_outside_the_classes() {
    let logits = Tensor::zeros((1, 4), DType::F32, &Device::Cpu).unwrap();
    let labels = Tensor::new(&[4i64], &Device::Cpu).unwrap();
    let error = cross_entropy(&logits, &labels, -100).unwrap_err().to_string();
    assert!(error.contains("label 4 of row 0 is not in 0..4"), "{error}");
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let x = random(&mut rng, &[1, 200, 32]);
            let weight = random(&mut rng, &[32]);
            let normed = layer_norm(x.as_tensor(), weight.as_tensor(), weight.as_tensor(), 1e-5).unwrap();
            let counts = HeadCounts::equal(4);
            let out = attention_tokens(&normed, &normed, &normed, counts, 0.3, AttentionMask::None).unwrap();
            let grads = weigh(&out).backward().unwrap();
            [
                flat(&out),
                flat(grads.get(x.as_tensor()).unwrap()),
                flat(grads.get(weight.as_tensor()).unwrap()),
            ]
        })
    };
    assert_eq!(run(1), run(3));
}
