//! Matrix products of slices, on the calling thread.
//!
//! `gemm` takes raw pointers, which requires `unsafe`. Every stride is checked against its slice
//! before the call.

/// A matrix in a slice: element (i, j) is at i·`row_stride` + j·`column_stride`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub values: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A dense row-major matrix.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// Contiguous rows of `columns` values, `row_stride` apart.
    pub fn strided(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self {
            values,
            rows,
            columns,
            row_stride,
            column_stride: 1,
        }
    }

    /// The transposed matrix, without copying.
    pub fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// Whether to overwrite or accumulate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Write {
    Replace,
    Add,
}

/// Sets `target` (rows `row_stride` apart) to a·b, or adds a·b.
///
/// # Panics
/// If the shapes do not fit each other or their slices: a bug in the calling kernel.
pub fn multiply(target: &mut [f32], row_stride: usize, a: Matrix, b: Matrix, write: Write) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(k, b.rows, "inner sizes differ");
    if m == 0 || n == 0 {
        return;
    }
    check(target.len(), m, n, row_stride, 1);
    assert!(m == 1 || row_stride >= n, "rows of the target overlap");
    check(a.values.len(), m, k, a.row_stride, a.column_stride);
    check(b.values.len(), k, n, b.row_stride, b.column_stride);
    let stride = |stride: usize| stride as isize;
    // SAFETY: the checks above guarantee that every element of the three matrices is inside its
    // slice; `target` is borrowed exclusively, so it overlaps neither `a` nor `b`; all are
    // initialised.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            target.as_mut_ptr(),
            1,
            stride(row_stride),
            write == Write::Add,
            a.values.as_ptr(),
            stride(a.column_stride),
            stride(a.row_stride),
            b.values.as_ptr(),
            stride(b.column_stride),
            stride(b.row_stride),
            1.0_f32,
            1.0_f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

fn check(length: usize, rows: usize, columns: usize, row_stride: usize, column_stride: usize) {
    if rows == 0 || columns == 0 {
        return;
    }
    let last = (rows - 1)
        .checked_mul(row_stride)
        .zip((columns - 1).checked_mul(column_stride))
        .and_then(|(down, across)| down.checked_add(across));
    assert!(
        last.is_some_and(|last| last < length),
        "a {rows}×{columns} matrix does not fit {length} values"
    );
}
