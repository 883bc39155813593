//! Small dense systems of normal equations.

/// Gaussian elimination of a symmetric positive definite system; `None` when it is not.
pub fn solve<const N: usize>(mut matrix: [[f64; N]; N], mut rhs: [f64; N]) -> Option<[f64; N]> {
    for k in 0..N {
        if matrix[k][k] <= 1e-12 || !matrix[k][k].is_finite() {
            return None;
        }
        let pivot = matrix[k];
        for i in k + 1..N {
            let factor = matrix[i][k] / pivot[k];
            for (value, above) in matrix[i][k..].iter_mut().zip(&pivot[k..]) {
                *value -= factor * above;
            }
            rhs[i] -= factor * rhs[k];
        }
    }
    let mut x = [0.0; N];
    for k in (0..N).rev() {
        let known: f64 = (k + 1..N).map(|j| matrix[k][j] * x[j]).sum();
        x[k] = (rhs[k] - known) / matrix[k][k];
    }
    Some(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_system_is_solved_and_a_singular_one_refused() {
        let x = solve([[4.0, 1.0], [1.0, 3.0]], [1.0, 2.0]).unwrap();
        assert!((x[0] - 1.0 / 11.0).abs() < 1e-12 && (x[1] - 7.0 / 11.0).abs() < 1e-12);
        assert!(solve([[1.0, 1.0], [1.0, 1.0]], [1.0, 1.0]).is_none());
    }
}
