//! Bounds-checked matrix products on strided f32 slices.

use gemm::{Parallelism, gemm};

/// A matrix over borrowed values: element (i, j) at i·row_stride + j·column_stride.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major without gaps.
    pub(super) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// Rows `row_stride` apart.
    pub(super) fn strided(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { values, rows, columns, row_stride, column_stride: 1 }
    }

    /// The transpose, without moving anything.
    pub(super) fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    fn fits(&self) -> bool {
        let last = self.rows.saturating_sub(1) * self.row_stride
            + self.columns.saturating_sub(1) * self.column_stride;
        self.rows == 0 || self.columns == 0 || last < self.values.len()
    }
}

/// What happens to the old content of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    Replace,
    Add,
}

/// Number of threads for one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    One,
    All,
}

/// out = (out +) scale · a · b, `out` row-major without gaps (a.rows, b.columns).
pub(super) fn multiply(
    out: &mut [f32],
    into: Into,
    scale: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
    threads: Threads,
) {
    assert!(out.len() == a.rows * b.columns, "matrix product: shapes disagree");
    multiply_strided(out, b.columns, into, scale, a, b, threads);
}

/// Like [`multiply`] with rows of `out` that are `row_stride` apart; what lies between them stays.
pub(super) fn multiply_strided(
    out: &mut [f32],
    row_stride: usize,
    into: Into,
    scale: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
    threads: Threads,
) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    if m == 0 || n == 0 {
        return;
    }
    let fits = row_stride >= n && out.len() >= (m - 1) * row_stride + n;
    assert!(k == b.rows && fits && a.fits() && b.fits(), "matrix product: shapes disagree");
    if k == 0 {
        if into == Into::Replace {
            out.chunks_mut(row_stride).take(m).for_each(|row| row[..n].fill(0.0));
        }
        return;
    }
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::All => Parallelism::Rayon(rayon::current_num_threads()),
    };
    #[expect(unsafe_code, reason = "the gemm crate takes pointers; the assertion above bounds every access")]
    // SAFETY: `out` holds m rows of n values `row_stride` apart, exclusively borrowed; the strided
    // views of a (m, k) and b (k, n) lie inside their slices (`fits`).
    unsafe {
        gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            row_stride as isize,
            into == Into::Add,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplies_transposed_and_accumulates() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut out = [1.0; 4];
        let a = Matrix::new(&a, 2, 3);
        multiply(&mut out, Into::Add, 2.0, a, a.t(), Threads::One);
        assert_eq!(out, [29.0, 65.0, 65.0, 155.0]);
        multiply(&mut out, Into::Replace, 1.0, a, a.t(), Threads::All);
        assert_eq!(out, [14.0, 32.0, 32.0, 77.0]);
    }

    #[test]
    fn a_result_may_be_part_of_wider_rows() {
        let (a, mut out) = ([1.0, 2.0], [7.0; 5]);
        let (column, row) = (Matrix::new(&a, 2, 1), Matrix::new(&a, 1, 2));
        multiply_strided(&mut out, 3, Into::Add, 1.0, column, row, Threads::One);
        assert_eq!(out, [8.0, 9.0, 7.0, 9.0, 11.0]);
        let nothing = Matrix::new(&[], 2, 0);
        multiply_strided(&mut out, 3, Into::Replace, 1.0, nothing, nothing.t(), Threads::One);
        assert_eq!(out, [0.0, 0.0, 7.0, 0.0, 0.0]);
    }

    #[test]
    #[should_panic(expected = "shapes disagree")]
    fn too_short_operands_are_caught() {
        let mut out = [0.0; 4];
        let a = Matrix::strided(&[0.0; 5], 2, 2, 4);
        multiply(&mut out, Into::Replace, 1.0, a, a, Threads::One);
    }
}
