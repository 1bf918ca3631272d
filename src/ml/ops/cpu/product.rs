//! Products of large matrices by the best kernels of this machine. The right matrix is prepared
//! once and then used for every part of the left one.

use super::gemm::{Matrix, Write, multiply};
#[cfg(target_arch = "x86_64")]
use super::packed::{self, Format, Panels};
use super::uninit::{self, Blank};
use crate::ops::Precision;

/// The initial value that a product is added to.
#[derive(Clone, Copy)]
pub enum Base<'a> {
    Nothing,
    /// The same values in every row: a bias.
    Row(&'a [f32]),
}

/// A prepared right matrix.
pub enum Right<'a> {
    Plain(Matrix<'a>),
    #[cfg(target_arch = "x86_64")]
    Packed(Panels),
}

/// Whether there are kernels for products in `precision`. Others are composed of rounding and f32
/// products.
pub fn serves(precision: Precision) -> bool {
    match precision {
        Precision::F32 => true,
        #[cfg(target_arch = "x86_64")]
        Precision::Bf16 => packed::available(),
        _ => false,
    }
}

impl<'a> Right<'a> {
    /// For bf16, which must be [supported](serves), both matrices are rounded while they are
    /// packed.
    pub fn new(matrix: Matrix<'a>, precision: Precision) -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let format = match precision {
                Precision::Bf16 => packed::bf16(),
                _ => Format::Single,
            };
            if packed::available() {
                return Self::Packed(Panels::pack(matrix, format));
            }
        }
        debug_assert!(precision == Precision::F32);
        Self::Plain(matrix)
    }

    fn columns(&self) -> usize {
        match self {
            Self::Plain(matrix) => matrix.columns,
            #[cfg(target_arch = "x86_64")]
            Self::Packed(panels) => panels.columns(),
        }
    }

    /// Sets whole rows of `target` to `base` + left·right.
    pub fn write<'b>(&self, target: &'b mut Blank, left: Matrix, base: Base) -> &'b mut [f32] {
        assert_eq!(target.len(), left.rows * self.columns());
        match self {
            Self::Plain(matrix) => {
                let (target, write) = match base {
                    Base::Nothing => (uninit::fill(target, 0.0), Write::Replace),
                    Base::Row(values) => (uninit::repeat(target, values), Write::Add),
                };
                multiply(target, matrix.columns, left, *matrix, write);
                target
            }
            #[cfg(target_arch = "x86_64")]
            Self::Packed(panels) => {
                let base = match base {
                    Base::Nothing => packed::Base::Nothing,
                    Base::Row(values) => packed::Base::Row(values),
                };
                packed::write(target, left, panels, base)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cpu::math::to_bf16;
    use crate::rng::Stream;

    /// Against f64 sums of the values, rounded first for bf16; with the kernels of this machine and
    /// with those of a machine without AVX2.
    #[test]
    fn products_of_all_shapes_and_strides() {
        let mut stream = Stream::new(0, "product");
        for (rows, inner, columns) in [
            (1, 1, 1),
            (5, 17, 33),
            (29, 101, 48),
            (130, 1100, 65),
            (14, 7, 10),
        ] {
            let mut random = |count: usize| -> Vec<f32> {
                (0..count).map(|_| stream.range(-1.0, 1.0) as f32).collect()
            };
            let (a, b, bias) = (
                random(rows * inner),
                random(inner * columns),
                random(columns),
            );
            let (turned_a, turned_b) = (turned(&a, rows, inner), turned(&b, inner, columns));
            let lefts = [
                Matrix::new(&a, rows, inner),
                Matrix::new(&turned_a, inner, rows).t(),
            ];
            let rights = [
                Matrix::new(&b, inner, columns),
                Matrix::new(&turned_b, columns, inner).t(),
            ];
            for precision in [Precision::F32, Precision::Bf16] {
                if !serves(precision) {
                    println!("skipped: no kernels for {precision:?} on this processor");
                    continue;
                }
                let round = |value: f32| match precision {
                    Precision::Bf16 => f64::from(to_bf16(value)),
                    _ => f64::from(value),
                };
                let exact = |index: usize| {
                    let (row, column) = (index / columns, index % columns);
                    let terms = (0..inner)
                        .map(|at| round(a[row * inner + at]) * round(b[at * columns + column]));
                    terms.sum::<f64>() + f64::from(bias[column])
                };
                for (left, right) in lefts
                    .iter()
                    .flat_map(|a| rights.iter().map(move |b| (a, b)))
                {
                    let mut ways = vec![Right::new(*right, precision)];
                    if precision == Precision::F32 {
                        ways.push(Right::Plain(*right));
                    }
                    for way in ways {
                        let found = uninit::vector(rows * columns, rows * columns, |_, target| {
                            way.write(target, *left, Base::Row(&bias))
                        });
                        let scale = (inner as f64).sqrt();
                        for (index, value) in found.iter().enumerate() {
                            let error = (f64::from(*value) - exact(index)).abs();
                            assert!(error < 1e-6 * scale, "{rows}×{inner}×{columns}: {error}");
                        }
                    }
                }
            }
        }
    }

    fn turned(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
        let at = |index: usize| values[(index % rows) * columns + index / rows];
        (0..rows * columns).map(at).collect()
    }
}
