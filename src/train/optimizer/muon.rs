//! Muon: momentum whose matrix is replaced by the nearest semi-orthogonal one, so
//! that all directions of a weight learn at the same pace (Jordan et al., 2024,
//! "Muon: an optimizer for hidden layers"). The size of a step does not depend on the
//! shape (Liu et al., arXiv 2502.16982, section 2.2).

use candle_core::{DType, Result, Tensor, Var};

const MOMENTUM: f64 = 0.95;
/// Part of the names of weights in stacked layers. Embeddings, projectors and heads, whose
/// rows or columns differ in how often they matter, are better off with AdamW.
const HIDDEN: &str = ".layers.";
/// Newton-Schulz iterations and their quintic's coefficients (Jordan et al.).
const ITERATIONS: usize = 5;
const QUINTIC: (f64, f64, f64) = (3.4445, -4.7750, 2.0315);

/// Whether a parameter is the matrix of a hidden layer.
pub(super) fn applies(name: &str, var: &Var) -> bool {
    var.rank() == 2 && name.contains(HIDDEN)
}

/// One step: `momentum` takes the gradient up, the variable is multiplied with `keep`
/// and moves along the orthogonalised momentum by `size` (root mean square). Clipping needs no regard: only the
/// direction counts.
pub(super) fn step(var: &Var, gradient: &Tensor, momentum: &mut Tensor, size: f64, keep: f64) -> Result<()> {
    let gradient = gradient.to_dtype(DType::F32)?;
    *momentum = ((&*momentum * MOMENTUM)? + (&gradient * (1.0 - MOMENTUM))?)?;
    // Nesterov's look ahead.
    let ahead = ((&*momentum * MOMENTUM)? + (&gradient * (1.0 - MOMENTUM))?)?;
    let (rows, columns) = ahead.dims2()?;
    let scale = size * (rows.max(columns) as f64).sqrt();
    let change = (orthogonalized(&ahead)? * scale)?;
    let kept = (var.as_tensor().detach().to_dtype(DType::F32)? * keep)?;
    var.set(&(kept - change)?.to_dtype(var.dtype())?)
}

/// The semi-orthogonal matrix nearest to `matrix`, roughly: singular values between 0.7 and 1.2.
fn orthogonalized(matrix: &Tensor) -> Result<Tensor> {
    let (rows, columns) = matrix.dims2()?;
    let tall = rows > columns;
    let wide = if tall { matrix.t()? } else { matrix.clone() };
    let norm = f64::from(wide.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?);
    let mut x = (wide / norm.max(f64::from(f32::MIN_POSITIVE)))?;
    let (a, b, c) = QUINTIC;
    for _ in 0..ITERATIONS {
        let gram = x.matmul(&x.t()?)?;
        let mix = ((&gram * b)? + (gram.matmul(&gram)? * c)?)?;
        x = ((&x * a)? + mix.matmul(&x)?)?;
    }
    if tall { x.t()?.contiguous() } else { Ok(x) }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn matrix(rows: usize, columns: usize) -> Tensor {
        // Columns of very different sizes: singular values far apart.
        let values: Vec<f32> = (0..rows * columns)
            .map(|i| (2.4 * (i * i) as f32).sin() * (1.0 + (i % columns) as f32))
            .collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
    }

    #[test]
    fn directions_become_equally_long() {
        for (rows, columns) in [(8, 8), (6, 20), (20, 6)] {
            let x = orthogonalized(&matrix(rows, columns)).unwrap();
            let gram = if rows > columns { x.t().unwrap().matmul(&x) } else { x.matmul(&x.t().unwrap()) };
            let gram = gram.unwrap().to_vec2::<f32>().unwrap();
            // Singular values between 0.7 and 1.2: those of the Gram matrix are at most 0.51
            // away from 1.
            let away: f32 = gram
                .iter()
                .enumerate()
                .flat_map(|(i, row)| {
                    row.iter().enumerate().map(move |(j, v)| v - f32::from(u8::from(i == j)))
                })
                .map(|difference| difference * difference)
                .sum();
            assert!(away.sqrt() < 0.51 * (gram.len() as f32).sqrt(), "{rows} x {columns}: {gram:?}");
        }
    }

    #[test]
    fn a_step_is_as_long_as_asked_for() {
        let var = Var::zeros((64, 96), DType::F32, &Device::Cpu).unwrap();
        let mut momentum = Tensor::zeros((64, 96), DType::F32, &Device::Cpu).unwrap();
        step(&var, &matrix(64, 96), &mut momentum, 2e-4, 1.0).unwrap();
        let rms = var.sqr().unwrap().mean_all().unwrap().sqrt().unwrap().to_scalar::<f32>().unwrap();
        assert!((1e-4..3e-4).contains(&rms), "{rms}");
    }

    #[test]
    fn only_matrices_of_hidden_layers_are_meant() {
        let matrix = Var::zeros((64, 192), DType::F32, &Device::Cpu).unwrap();
        let bias = Var::zeros(64, DType::F32, &Device::Cpu).unwrap();
        assert!(applies("model.layers.0.mlp.up_proj.weight", &matrix));
        assert!(!applies("model.layers.0.self_attn.q_proj.bias", &bias));
        assert!(!applies("model.embed_tokens.weight", &matrix));
        assert!(!applies("camera_encoder.dense.cells.weight", &matrix));
    }
}
