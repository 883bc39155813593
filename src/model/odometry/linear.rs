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

/// Cholesky solution of a larger system; `None` when it is not positive definite.
pub fn solve_dense(mut matrix: Vec<Vec<f64>>, mut rhs: Vec<f64>) -> Option<Vec<f64>> {
    for k in 0..rhs.len() {
        let (above, rest) = matrix.split_at_mut(k);
        let row = &mut rest[0];
        for (j, other) in above.iter().enumerate() {
            let known: f64 = row[..j].iter().zip(&other[..j]).map(|(a, b)| a * b).sum();
            row[j] = (row[j] - known) / other[j];
        }
        let left = row[k] - row[..k].iter().map(|a| a * a).sum::<f64>();
        if left <= 1e-12 || !left.is_finite() {
            return None;
        }
        row[k] = left.sqrt();
        rhs[k] = (rhs[k] - row[..k].iter().zip(&rhs).map(|(a, b)| a * b).sum::<f64>()) / row[k];
    }
    for k in (0..rhs.len()).rev() {
        let known: f64 = (k + 1..rhs.len()).map(|j| matrix[j][k] * rhs[j]).sum();
        rhs[k] = (rhs[k] - known) / matrix[k][k];
    }
    Some(rhs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_system_is_solved_and_a_singular_one_refused() {
        let x = solve([[4.0, 1.0], [1.0, 3.0]], [1.0, 2.0]).unwrap();
        assert!((x[0] - 1.0 / 11.0).abs() < 1e-12 && (x[1] - 7.0 / 11.0).abs() < 1e-12);
        assert!(solve([[1.0, 1.0], [1.0, 1.0]], [1.0, 1.0]).is_none());
        let y = solve_dense(vec![vec![4.0, 1.0], vec![1.0, 3.0]], vec![1.0, 2.0]).unwrap();
        assert!(x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-12));
        assert!(solve_dense(vec![vec![1.0, 1.0], vec![1.0, 1.0]], vec![1.0, 1.0]).is_none());
    }
}
